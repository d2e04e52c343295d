"""The result of an evaluation as CSV, Markdown and a picture."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SkinSegLib.core import ModelError, replacing

from .measures import Figures
from .run import SECOND_REFERENCE, Evaluation, Row


@dataclass(frozen=True)
class _Column:
    """``get``: the figures in a cell. ``more``: whether more is better."""

    heading: str
    get: Callable[[Row], tuple[float, ...]]
    decimals: int
    more: bool = False


def _zone(name: str) -> Callable[[Row], tuple[float, ...]]:
    def get(row: Row) -> tuple[float, ...]:
        distances = getattr(row.figures, name)
        return distances.mean, distances.p95, distances.p99

    return get


_COLUMNS = (
    _Column("Dice", lambda row: (row.figures.dice,), 4, more=True),
    _Column("within 1 mm", lambda row: (row.figures.surface_dice_1mm,), 3, more=True),
    _Column("within 2 mm", lambda row: (row.figures.surface_dice_2mm,), 3, more=True),
    *(_Column(f"{zone} mm", _zone(zone), 2) for zone in ("skin", "free", "contact", "cut")),
    _Column("taken mL", lambda row: (row.figures.taken_ml,), 1),
    _Column("lost mL", lambda row: (row.figures.lost_ml,), 1),
    _Column("partial mL", lambda row: (row.figures.partial_ml,), 1),
    _Column("s", lambda row: (row.seconds,), 1),
    _Column("MB", lambda row: (row.peak_mb,), 0),
)
#: Between these lines of a model card stand the figures.
CARD_MARKS = ("<!-- evaluation -->", "<!-- end of evaluation -->")
#: From this many cases on, a table also has a line for the worst of them.
_MANY = 20
#: With more cases than this, bars cannot be told apart, and the picture has curves.
_MOST_BARS = 16

_ABOUT = (
    "Distances in mm between the surfaces of mask and reference, both ways: mean, 95th and 99th "
    "percentile; *skin* is all away from where the scan ends, made up of *free* (the boundary to "
    "air) and *contact* (within 4 mm of something that is not patient); *cut* is within 3 mm of "
    "where the scan ends. *within* is the share of both surfaces that near each other, away from "
    "cuts. *taken* is not-patient in the mask and *lost* patient not in it, deeper than 1 mm or "
    "half a voxel from the reference's surface; *partial* is what differs nearer to it. Time is "
    "from the scan in memory to the mask, memory the peak of the whole process. Surfaces are known "
    "to about half a voxel."
)


def write_csv(result: Evaluation, path: Path) -> None:
    """One line for each row, with every figure in full; empty where there is none.

    Raises OutputError.
    """
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_flat(result.rows[0])))
        writer.writeheader()
        for row in result.rows:
            writer.writerow(_flat(row))


def _flat(row: Row) -> dict[str, Any]:
    values: dict[str, Any] = {
        "set": row.data_set,
        "case": row.case,
        "engine": row.engine,
        "reference": row.reference,
    }
    for name, value in asdict(row.figures).items():
        if isinstance(value, dict):
            values |= {f"{name}_{part}_mm": number for part, number in value.items()}
        else:
            values[name] = value
    values |= {"seconds": row.seconds, "peak_mb": row.peak_mb}
    rounded = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in values.items()}
    return {k: "" if v == "nan" else v for k, v in rounded.items()} | {"problem": row.problem}


def write_markdown(result: Evaluation, path: Path) -> None:
    """A table for each data set, with the median of each engine. Raises OutputError."""
    with replacing(path) as temporary:
        temporary.write_text(_markdown(result), encoding="utf-8")


def write_card(result: Evaluation, path: Path) -> None:
    """The same tables into a model card, in place of what stands between its two marks.

    Of large sets only the summary. Raises ModelError if the card lacks the marks, OutputError.
    """
    before, after = check_card(path)
    begin, end = CARD_MARKS
    tables = _markdown(result, brief=True, level="###")
    with replacing(path) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{tables}\n{end}{after}", encoding="utf-8")


def check_card(path: Path) -> tuple[str, str]:
    """What stands before and after a card's two marks. Raises ModelError if it lacks them."""
    begin, end = CARD_MARKS
    card = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, marked, rest = card.partition(begin)
    _, closed, after = rest.partition(end)
    if not marked or not closed:
        raise ModelError(
            f"The model card {path.name} has no place for figures. Add the lines {begin} and {end}."
        )
    return before, after


def _markdown(result: Evaluation, brief: bool = False, level: str = "##") -> str:
    parts = [_ABOUT]
    for name in dict.fromkeys(row.data_set for row in result.rows):
        rows = [row for row in result.rows if row.data_set == name]
        parts.append(f"{level} {name}\n\n{_table(rows, brief)}")
    problems = dict.fromkeys(
        f"{row.engine} on {row.case}: {row.problem}" for row in result.rows if row.problem
    )
    notes = [*problems, *result.warnings]
    if notes:
        parts.append("\n".join(f"* {note}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Row], brief: bool) -> str:
    head = ["scan", "engine", *(column.heading for column in _COLUMNS)]
    lines = [head, ["---", "---", *("---:" for _ in _COLUMNS)]]
    for row in rows if not brief or len({row.case for row in rows}) < _MANY else ():
        cells = [_cell(column.get(row), column.decimals) for column in _COLUMNS]
        lines.append([row.case, _who(row), *cells])
    for who in dict.fromkeys(_who(row) for row in rows):
        of = [row for row in rows if _who(row) == who]
        lines.append([f"**median of {len(of)}**", who, *_summary(of, 0.5)])
        if len(of) >= _MANY:
            lines.append(["**worst 5 % from**", who, *_summary(of, 0.95)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _who(row: Row) -> str:
    return row.engine if row.reference == "first" else f"{row.engine}, {row.reference} reference"


def _summary(rows: Sequence[Row], share: float) -> Iterable[str]:
    """Cells with the figures that ``share`` of the rows reach or better."""
    for column in _COLUMNS:
        figures = zip(*(column.get(row) for row in rows), strict=True)
        wanted = 1 - share if column.more else share
        yield _cell([_quantile(values, wanted) for values in figures], column.decimals)


def _quantile(values: Sequence[float], share: float) -> float:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return math.nan
    if all(map(math.isfinite, known)):
        return float(np.quantile(known, share))
    # Infinities stay what they are: nothing lies between one and a number.
    return float(np.quantile(known, share, method="inverted_cdf"))


def _cell(values: Iterable[float], decimals: int) -> str:
    return " / ".join(_text(value, decimals) for value in values)


def _text(value: float, decimals: int) -> str:
    if math.isnan(value):
        return "-"
    return "∞" if math.isinf(value) else f"{value:.{decimals}f}"


def write_picture(result: Evaluation, path: Path) -> None:
    """A PNG: mean distance of the skin and mL taken in, of each engine, a line for each set.

    Bars by scan; for many cases, sorted curves. Against the first reference. Raises OutputError.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row.data_set for row in result.rows))
    figure = Figure(figsize=(12, 4.2 * len(names)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(names), 2, squeeze=False)
    for name, axes in zip(names, grid, strict=True):
        rows = [r for r in result.rows if r.data_set == name and r.reference == "first"]
        for axis, what, get in (
            (axes[0], "mean distance of the skin, mm", lambda f: f.skin.mean),
            (axes[1], "not patient taken in, mL", lambda f: f.taken_ml),
        ):
            _draw(axis, rows, get)
            axis.set_ylabel(what)
            axis.set_title(name)
            axis.grid(axis="y", alpha=0.3)
        axes[1].set_yscale("symlog", linthresh=1)
        # Room for the figures above the bars, and for more than a crumb on the scale of volumes.
        axes[0].set_ylim(0, axes[0].get_ylim()[1] * 1.05)
        axes[1].set_ylim(0, max(10, axes[1].get_ylim()[1] * 1.5))
        axes[0].legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(axis: Any, rows: Sequence[Row], get: Callable[[Figures], float]) -> None:
    cases = list(dict.fromkeys(row.case for row in rows))
    engines = list(dict.fromkeys(row.engine for row in rows))
    if len(cases) > _MOST_BARS:
        for number, engine in enumerate(engines):
            values = sorted(get(row.figures) for row in rows if row.engine == engine)
            axis.plot(np.linspace(0, 100, len(values)), values, color=f"C{number}", label=engine)
        axis.set_xlabel("% of cases that are as good, or better")
        return
    width = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        known = {row.case: get(row.figures) for row in rows if row.engine == engine}
        places = [cases.index(case) + (number - (len(engines) - 1) / 2) * width for case in known]
        # The second reference is no engine: what it differs by is the floor.
        colour = "0.6" if engine == SECOND_REFERENCE else f"C{number}"
        bars = axis.bar(places, [_drawn(v) for v in known.values()], width, color=colour)
        bars.set_label(engine)
        axis.bar_label(bars, [_text(v, 2) for v in known.values()], fontsize=7, padding=1)
    axis.set_xlim(-0.6, max(len(cases), 4) - 0.4)
    axis.set_xticks(range(len(cases)), cases, rotation=20 if len(cases) > 5 else 0, fontsize=8)


def _drawn(value: float) -> float:
    return value if math.isfinite(value) else 0.0
