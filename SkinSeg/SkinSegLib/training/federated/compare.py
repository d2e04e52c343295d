"""The federated model beside each site's own and the pooled one, on the sites' test cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from SkinSegLib.core import Progress, replacing
from SkinSegLib.segmentation.bundle import Bundle

from ..evaluation import DataSet, Evaluation, Row, evaluate, network_engine, write_csv

COMPARISON, FIGURES = "comparison.md", "comparison.csv"


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
    engines = [network_engine(name, str(one.folder), device) for name, one in models.items()]
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
