"""The audit of a data set as one HTML page: findings, plots, the cases."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from html import escape
from typing import Any

from .audit import Audit

_COLOURS = {"training": "#4878a8", "testing": "#e08a3c", "without a label": "#b0b0b0"}
_COLUMNS = 5
#: Longer names of scanners and kernels are cut in plots.
_LETTERS = 26
#: A page shows so many different values of a trait; the rest are summed up.
_MOST = 10
_STYLE = """body{font:15px/1.45 sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:left;border-bottom:1px solid #ddd}
img{max-width:100%}.fault{color:#a00000;font-weight:600}"""


def page(found: Audit) -> str:
    """The page's HTML, with its plots within."""
    uses = [sum(r.split == split for r in found.records) for split in ("train", "test")]
    waiting = len(found.records) - sum(uses)
    people = len({record.patient for record in found.records})
    plots = base64.b64encode(_plots(found)).decode("ascii")
    title = f"Data set {escape(found.name)}"
    faults = _list(found.faults, "fault") or "<p>None.</p>"
    missing = _list(found.missing) or "<p>Nothing that was looked for.</p>"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style></head>
<body><h1>{title}</h1>
<p>{uses[0]} cases for training, {uses[1]} for testing, {waiting} without a label; {people}
patients.</p>
<h2>Must be put right</h2>
{faults}
<h2>Missing</h2>
{missing}
<h2>Diversity</h2>
<img alt="Cases by trait" src="data:image/png;base64,{plots}">
<h2>Cases</h2>
{_cases(found)}
</body></html>
"""


def _list(lines: Iterable[str], kind: str = "") -> str:
    items = "".join(f'<li class="{kind}">{escape(line)}</li>' for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def _cases(found: Audit) -> str:
    head = ("case", "use", "patient", "scanner", "kernel", "voxels", "spacing mm", "label by",
            "engine", "corrected mL", "added")  # fmt: skip
    rows = []
    for record in found.records:
        scanner = f"{record.scanner.maker} {record.scanner.model}".strip()
        corrected = "" if record.edited_ml is None else f"{record.edited_ml:.1f}"
        model = record.model.get("name", "")
        rows.append((
            record.name, record.split, record.patient[:8], scanner, record.scanner.kernel,
            " x ".join(str(n) for n in record.shape[::-1]),
            " x ".join(f"{s:.3g}" for s in record.spacing),
            record.labelled_by, f"{record.engine} {model}".strip(), corrected, record.added,
        ))  # fmt: skip
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    heads = "".join(f"<th>{name}</th>" for name in head)
    return f"<table><tr>{heads}</tr>{lines}</table>"


def _plots(found: Audit) -> bytes:
    """Bars of every trait, and the spread of spacing and of corrections; PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.4), dpi=90)
    FigureCanvasAgg(figure)
    rows = -(-(len(found.counts) + 2) // _COLUMNS)
    for n, (name, counts) in enumerate(found.counts.items()):
        axes = figure.add_subplot(rows, _COLUMNS, n + 1)
        _bars(axes, counts)
        axes.set_title(name, fontsize=9)
    axes = figure.add_subplot(rows, _COLUMNS, len(found.counts) + 1)
    axes.scatter(
        [max(r.spacing[:2]) for r in found.records],
        [r.spacing[2] for r in found.records],
        s=14,
        c=[_COLOURS[_USE[r.split]] for r in found.records],
    )
    axes.set(title="Spacing, mm", xlabel="in the slice", ylabel="between slices")
    axes.set(xlim=(0, None), ylim=(0, None))
    axes = figure.add_subplot(rows, _COLUMNS, len(found.counts) + 2)
    edited = [r.edited_ml for r in found.records if r.edited_ml is not None]
    if edited:
        axes.hist(edited, bins=12, color=_COLOURS["training"])
    else:
        axes.axis("off")
    axes.set(title=f"Corrected by hand, mL ({len(edited)} cases)")
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
            text.set_fontsize(9)
    handles = [
        figure.axes[0].barh([0], [0], color=colour, label=use) for use, colour in _COLOURS.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=9)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


_USE = dict(zip(("train", "test", "unlabelled"), _COLOURS, strict=True))


def _bars(axes: Any, counts: dict[str, tuple[int, int, int]]) -> None:
    shown = sorted(counts, key=lambda v: -sum(counts[v])) if len(counts) > _MOST else list(counts)
    kept, rest = shown[:_MOST], shown[_MOST:]
    values = {v[:_LETTERS]: counts[v] for v in kept}
    if rest:
        values[f"{len(rest)} others"] = tuple(sum(counts[v][n] for v in rest) for n in range(3))  # type: ignore[assignment]
    names = list(values)[::-1]
    left = [0] * len(names)
    for n, colour in enumerate(_COLOURS.values()):
        widths = [values[name][n] for name in names]
        axes.barh(names, widths, left=left, color=colour)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axes.xaxis.get_major_locator().set_params(integer=True)
