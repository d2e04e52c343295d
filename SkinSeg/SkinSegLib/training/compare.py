"""A new model against the one in use, on a hospital's own test cases and on made scenes.

A model goes live only if it is no worse. What "worse" means is fixed here before any training, so
that nobody argues with a table afterwards: see :data:`LIMITS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SkinSegLib.core import Progress, SkinSegError
from SkinSegLib.segmentation.bundle import Bundle

from .dataset import CaseFolder
from .evaluation import (
    DataSet,
    Evaluation,
    Row,
    case_folder,
    evaluate,
    network_engine,
    scenes,
    write_csv,
    write_markdown,
    write_picture,
)

OLD, NEW = "model in use", "new model"
#: Made scenes that are asked besides, so that what is not among the test cases is not forgotten.
_SCENES, _HEADS = 8, 4


@dataclass(frozen=True)
class Limits:
    """By how much a new model may fall behind the one in use, in a table of test cases.

    ``mean_share``, ``case_share``: surface Dice at 1 mm, on average and of any one case.
    ``mean_ml``, ``case_ml``: not-patient taken in plus patient lost, mL.
    """

    mean_share: float = 0.005
    case_share: float = 0.02
    mean_ml: float = 1.0
    case_ml: float = 5.0


#: Half a hundredth of the skin is within what two people differ by; 5 mL is an ear.
LIMITS = Limits()


@dataclass(frozen=True)
class Comparison:
    """``evaluation``: all rows, of engines OLD and NEW. ``worse``: why the new model may not go
    live, empty if it may. ``old``, ``new``: see :attr:`.Bundle.identity`."""

    evaluation: Evaluation
    worse: tuple[str, ...]
    old: dict[str, str]
    new: dict[str, str]


def compare(
    cases: CaseFolder,
    old: Bundle,
    new: Bundle,
    device: str = "auto",
    made: int | None = None,
    progress: Progress | None = None,
    done: Callable[[Row], None] | None = None,
) -> Comparison:
    """Run both models on the data set's test cases and on ``made`` made scenes (8).

    ``done`` is told each row. Progress: a stage for each case. Raises SkinSegError where the data
    set has no test case, or one that cannot be read: a model is not let through on half a test.
    """
    tests = case_folder(cases, "test")
    if not tests.entries:
        raise SkinSegError(
            "The data set has no case for testing, so nobody can say whether a model is better. "
            "Keep at least one labelled scan for testing; skinseg data split does that."
        )
    made = _SCENES if made is None else made
    sets: list[DataSet] = [tests]
    if made:
        sets.append(scenes(made, made=_HEADS))
    engines = [
        network_engine(name, str(bundle.folder), device)
        for name, bundle in ((OLD, old), (NEW, new))
    ]
    result = evaluate(sets, engines, progress, done)
    tested = {row.case for row in result.rows if row.data_set == tests.name}
    left_out = len(tests.entries) - len(tested)
    if left_out:
        raise SkinSegError(" ".join(["Not all test cases could be used.", *result.warnings]))
    return Comparison(result, worse_than(result), old.identity, new.identity)


def worse_than(result: Evaluation, limits: Limits = LIMITS) -> tuple[str, ...]:
    """In what the engine NEW of an evaluation is worse than OLD, by the limits; empty if in
    nothing."""
    found: list[str] = []
    for name in dict.fromkeys(row.data_set for row in result.rows):
        cases = pairs(result, name)
        for case, old, new in cases:
            if new.problem and not old.problem:
                found.append(f"{case}: the new model gives no mask ({new.problem})")
        both = [(case, old, new) for case, old, new in cases if not (old.problem or new.problem)]
        if not both:
            if all(new.problem for _, _, new in cases):
                found.append(f"{name}: the new model gives no mask on any case")
            continue
        less = np.array([_share(old) - _share(new) for _, old, new in both])
        more = np.array([_wrong_ml(new) - _wrong_ml(old) for _, old, new in both])
        if np.mean(less) > limits.mean_share:
            found.append(f"{name}: {np.mean(less):.3f} less of the skin within 1 mm on average")
        if np.mean(more) > limits.mean_ml:
            found.append(f"{name}: {np.mean(more):.1f} mL more wrong on average")
        for (case, _, _), share, volume in zip(both, less, more, strict=True):
            if share > limits.case_share:
                found.append(f"{case}: {share:.3f} less of the skin within 1 mm")
            if volume > limits.case_ml:
                found.append(f"{case}: {volume:.1f} mL more wrong")
    return tuple(found)


def comparison_text(comparison: Comparison) -> str:
    """The table for people: one line for each case, the model in use and the new one."""
    lines = ["case: within 1 mm, mean mm, mL taken in, mL lost; in use -> new"]
    result = comparison.evaluation
    for name in dict.fromkeys(row.data_set for row in result.rows):
        for case, old, new in pairs(result, name):
            figures = [
                (row.figures.surface_dice_1mm, row.figures.skin.mean,
                 row.figures.taken_ml, row.figures.lost_ml) for row in (old, new)
            ]  # fmt: skip
            shown = (
                f"{a:.{n}f} -> {b:.{n}f}"
                for n, (a, b) in zip((3, 2, 1, 1), zip(*figures, strict=True), strict=True)
            )
            lines.append(f"{case}: {', '.join(shown)}")
    return "\n".join(lines) + "\n"


def write_comparison(comparison: Comparison, folder: Path) -> dict[str, Path]:
    """Table and picture into a folder that is there: "csv", "markdown", "picture".

    Raises OutputError.
    """
    paths = {
        "csv": folder / "comparison.csv",
        "markdown": folder / "comparison.md",
        "picture": folder / "comparison.png",
    }
    write_csv(comparison.evaluation, paths["csv"])
    write_markdown(comparison.evaluation, paths["markdown"])
    write_picture(comparison.evaluation, paths["picture"])
    return paths


def pairs(result: Evaluation, name: str) -> list[tuple[str, Row, Row]]:
    """Of one data set of an evaluation: each case, with the rows of OLD and NEW."""
    rows = [row for row in result.rows if row.data_set == name and row.reference == "first"]
    of = {(row.case, row.engine): row for row in rows}
    return [
        (case, of[case, OLD], of[case, NEW]) for case in dict.fromkeys(row.case for row in rows)
    ]


def _share(row: Row) -> float:
    """Surface Dice at 1 mm; 0 where there is no surface."""
    share = row.figures.surface_dice_1mm
    return 0.0 if np.isnan(share) else share


def _wrong_ml(row: Row) -> float:
    return row.figures.taken_ml + row.figures.lost_ml
