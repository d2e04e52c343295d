"""``skinseg dicom list|check|filter``: what is in a folder of DICOM, and what can be used.

Nothing printed here names a patient: no name, ID or date, no free text of a header (a series
description may be any), and no path but those that ``filter --files`` is asked for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import ending, within

if TYPE_CHECKING:
    from .scan import OtherSeries, SeriesInfo, Survey

_INPUT = "DICOM folder, zip, DICOMDIR or file"
_UNUSABLE = 1
_PLANES = ("axial", "coronal", "sagittal")


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Add the command; returns what takes further ones: ``skinseg dicom <command>``."""
    parser = commands.add_parser(
        "dicom", help="DICOM in and out", description="Look at DICOM, and write it."
    )
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    shared.add_argument("input", type=Path, metavar="PATH", help=_INPUT)
    shared.add_argument(
        "--json", type=ending(".json"), metavar="FILE", help="result to write as JSON"
    )
    listing = actions.add_parser(
        "list",
        parents=[shared],
        help="the series in a folder",
        description="List all series, the best for a head's skin first. Reads headers only.",
    )
    listing.set_defaults(run=_list)
    check = actions.add_parser(
        "check",
        parents=[shared],
        help="what is the matter with each series",
        description="Say of each CT series what is put right, and why it is refused. Reads headers "
        "only. The exit code is 0 if there is one that can be used, 1 if not.",
    )
    check.set_defaults(run=_check)
    select = actions.add_parser(
        "filter",
        parents=[shared],
        help="the series of one orientation",
        description="List or copy the CT series that lie in one plane of the patient.",
    )
    select.add_argument("--plane", choices=_PLANES, required=True)
    select.add_argument(
        "--tolerance",
        type=within(0, 45, " degrees"),
        default=30.0,
        metavar="DEG",
        help="the farthest the slices may be off the plane, in degrees; default: 30, which a "
        "tilted gantry may reach",
    )
    select.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="new or empty folder to copy them to"
    )
    select.add_argument(
        "--files", action="store_true", help="print the files' paths, one a line, and nothing else"
    )
    select.set_defaults(run=_filter)
    return actions


@contextmanager
def without_path(*paths: Path) -> Iterator[None]:
    """Errors come without the paths given, whose folders are often called after patients."""
    from .core import SkinSegError

    try:
        yield
    except SkinSegError as error:
        text = str(error)
        for path in paths:
            for form in dict.fromkeys((path, path.absolute(), path.resolve())):
                text = text.replace(f"{form}: ", "").replace(str(form), "What was given")
        for path in paths:
            if len(path.parts) > 1:
                text = text.replace(str(path.parent), "its folder")
        nameless = type(error)(text)
        for note in getattr(error, "__notes__", ()):
            nameless.add_note(note)  # where a replaced file is now, if it could not be put back
        raise nameless from error


def _list(chosen: argparse.Namespace) -> None:
    found = _surveyed(chosen)
    _write_json(chosen.json, _as_dict(found))
    print(_table(found.series), end="")
    print(_rest(found), end="")


def _check(chosen: argparse.Namespace) -> int | None:
    found = _surveyed(chosen)
    _write_json(chosen.json, _as_dict(found))
    print(_table(found.series), end="")
    for info in found.series:
        for issue in info.issues:
            print(f"#{info.index}  {issue.kind} ({issue.outcome}): {issue.message}")
    print(_rest(found), end="")
    return None if any(_usable(info) for info in found.series) else _UNUSABLE


def _filter(chosen: argparse.Namespace) -> None:
    from .job import made_folder
    from .scan.dicom_filter import filter_by_plane
    from .terminal import watched

    _require_writable(chosen.json)
    arguments = (chosen.input, chosen.plane, chosen.tolerance)
    with (
        without_path(chosen.input, *filter(None, [chosen.output])),
        watched(sys.stderr) as progress,
        progress.stage("Filter", 1.0),
    ):
        if chosen.output is None:
            found = filter_by_plane(*arguments, progress=progress)
        else:
            with made_folder(chosen.output):
                found = filter_by_plane(*arguments, chosen.output, progress)
            chosen.written = True
    _write_json(chosen.json, {"series": [_series_dict(info) for info in found.series]})
    if chosen.files:
        print("".join(f"{path}\n" for path in found.files), end="")
        return
    print(_table(found.series), end="")
    what = f"{len(found.series)} series, {len(found.files)} files"
    print(f"{what} {'match' if chosen.output is None else 'copied'}: {chosen.plane}.")


def _surveyed(chosen: argparse.Namespace) -> Survey:
    from .scan import survey
    from .terminal import watched

    _require_writable(chosen.json)
    with (
        without_path(chosen.input),
        watched(sys.stderr) as progress,
        progress.stage("Headers", 1.0),
    ):
        return survey(chosen.input, progress)


def _require_writable(path: Path | None) -> None:
    from .core import require_writable

    if path is not None:
        with without_path(path):
            require_writable(path)


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    from .core import replacing

    if path is not None:
        with without_path(path), replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _usable(info: SeriesInfo) -> bool:
    return str(info.outcome) != "refused"


def _as_dict(found: Survey) -> dict[str, Any]:
    return {
        "series": [_series_dict(info) for info in found.series],
        "others": [vars(other) for other in found.others],
        "damaged": found.damaged,
        "best": found.series[0].index if found.series else None,
        "reason": found.reason,
    }


def _series_dict(info: SeriesInfo) -> dict[str, Any]:
    """Without the UID, by which a series can be found again in an archive."""
    facts = {key: value for key, value in vars(info).items() if key not in ("uid", "issues")}
    issues = [
        {"kind": str(issue.kind), "outcome": str(issue.outcome), "message": issue.message}
        for issue in info.issues
    ]
    return {**facts, "outcome": str(info.outcome), "issues": issues}


_COLUMNS = (
    *("#", "series", "kind", "plane", "slices", "size", "spacing (mm)", "thick", "kernel"),
    *("body part", "contrast", "verdict"),
)


def _table(series: Sequence[SeriesInfo]) -> str:
    if not series:
        return ""
    rows = [_COLUMNS, *(_row(info) for info in series)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ("  ".join(text.ljust(n) for text, n in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _row(info: SeriesInfo) -> tuple[str, ...]:
    off = "" if info.off_plane_degrees < 0.5 else f" {info.off_plane_degrees:.1f} deg"
    return (
        f"#{info.index}",
        _number(info),
        " ".join(filter(None, [info.modality, info.made_from])),
        f"{info.plane}{off}",
        str(info.slices),
        f"{info.columns}x{info.rows}",
        "x".join(f"{step:.2f}" for step in info.spacing_mm),
        f"{info.thickness_mm:g}",
        info.kernel or "-",
        info.body_part or "-",
        "yes" if info.contrast else "no",
        str(info.outcome),
    )


def _number(series: SeriesInfo | OtherSeries) -> str:
    return "-" if series.number is None else str(series.number)


def _rest(found: Survey) -> str:
    lines = [
        f"Left out: series {_number(other)}, {other.files} {other.kind}" for other in found.others
    ]
    if found.damaged:
        lines.append(f"Left out: {found.damaged} damaged files")
    if not found.series:
        lines.append("There is no CT series.")
    elif _usable(found.series[0]):
        lines.append(f"Best for a head: #{found.series[0].index}, {found.reason}")
    else:
        lines.append("No series can be used.")
    return "".join(f"{line}\n" for line in lines)
