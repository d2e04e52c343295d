"""The federated model beside each site's own and the pooled one, on the sites' test cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from SkinSegLib.core import CTVolume, Progress, SkinSegError, replacing
from SkinSegLib.segmentation import SegmentOptions
from SkinSegLib.segmentation.bundle import Bundle
from SkinSegLib.segmentation.level import find_level

from ..dataset import CaseFolder, CaseRecord
from ..evaluation import (
    Case,
    DataSet,
    Engine,
    Entry,
    Evaluation,
    Reference,
    Row,
    by_segment,
    evaluate,
    write_csv,
)

#: Slices thicker than this are compared by their outlines only, mm.
_THICK_MM = 3.0
COMPARISON, FIGURES = "comparison.md", "comparison.csv"


def test_cases(name: str, data: Path) -> DataSet:
    """The test cases of a site's data set; none where it has no test cases."""
    cases = CaseFolder.open(data)
    chosen = [record for record in cases.records() if record.split == "test"]
    return DataSet(name, tuple(Entry(r.name, partial(_case, cases, r)) for r in chosen))


def _case(cases: CaseFolder, record: CaseRecord, progress: Progress) -> Case:
    volume, mask = cases.read(record)
    if mask is None:
        raise SkinSegError(f"{record.name} has no label yet. Label it first.")
    return Case(Reference(volume, mask, find_level(volume).skin, _in_slices(volume)))


def _in_slices(volume: CTVolume) -> bool:
    thick = max(volume.spacing[2], volume.slice_gap_mm or 0) > _THICK_MM
    return thick and volume.spacing[2] > 1.5 * max(volume.spacing[:2])


def compare(
    models: Mapping[str, Bundle],
    sets: Sequence[DataSet],
    output: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Evaluation:
    """Segment every case by every model, and write comparison.md and comparison.csv.

    ``models``: by what the table calls them. Progress: a stage for each case. Raises SkinSegError
    where no case can be had, OutputError, Cancelled.
    """
    engines = [
        Engine(
            name,
            partial(
                by_segment,
                options=SegmentOptions(engine="network", model=str(bundle.folder), device=device),
            ),
        )
        for name, bundle in models.items()
    ]
    result = evaluate([data for data in sets if data.entries], engines, progress)
    write_csv(result, output / FIGURES)
    with replacing(output / COMPARISON) as temporary:
        temporary.write_text(table(result), encoding="utf-8")
    return result


def table(result: Evaluation) -> str:
    """Means for each model, as Markdown: over all cases, and the surface Dice for each site."""
    sets = list(dict.fromkeys(row.data_set for row in result.rows))
    head = ["model", "surface Dice at 1 mm", *sets, "taken mL", "lost mL"]
    lines = [head, ["---", *("---:" for _ in head[1:])]]
    for engine in dict.fromkeys(row.engine for row in result.rows):
        rows = [row for row in result.rows if row.engine == engine]
        of_sets = [[row for row in rows if row.data_set == name] for name in sets]
        lines.append(
            [
                engine,
                *(f"{surface_dice(part):.4f}" for part in (rows, *of_sets)),
                f"{np.mean([row.figures.taken_ml for row in rows]):.1f}",
                f"{np.mean([row.figures.lost_ml for row in rows]):.1f}",
            ]
        )
    count = len({(row.data_set, row.case) for row in result.rows})
    text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = [f"* {row.engine} on {row.case}: {row.problem}" for row in result.rows if row.problem]
    notes += [f"* {warning}" for warning in result.warnings]
    about = (
        f"Means of {count} test cases: the share of both surfaces within 1 mm of each other, over "
        "all cases and over those of each site; not-patient taken in and patient lost."
    )
    return "\n\n".join([about, text, *(["\n".join(notes)] if notes else [])]) + "\n"


def surface_dice(rows: Sequence[Row]) -> float:
    """The mean surface Dice at 1 mm; 0 for a case whose mask is empty, NaN without a case."""
    values = [np.nan_to_num(row.figures.surface_dice_1mm) for row in rows]
    return float(np.mean(values)) if values else float("nan")
