"""``skinseg thickness``: from a scan to a coloured map of the soft tissue over the bones."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import add_for_sharing, ending, number, segment_options, warn_of_face

if TYPE_CHECKING:
    from .core import Progress, Replacements
    from .surface import Thickness

#: How much of the job each part is, by the time it takes; reading the scan is the rest.
_READ, _COMPUTE, _MEASURE, _WRITE = 0.1, 0.6, 0.2, 0.1


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    parents: Sequence[argparse.ArgumentParser],
) -> None:
    """Add the command and its arguments; ``parents`` have those on the scan and the engine."""
    parser = commands.add_parser(
        "thickness",
        parents=list(parents),
        help="how thick the soft tissue over the skull is",
        description="The distance from each point of the skin to the nearest bone, as a coloured "
        "mesh and in figures. Bone is what is at least as dense as the bone level.",
    )
    parser.add_argument(
        "input", type=Path, metavar="SCAN", help="as for skinseg segment: file or DICOM folder"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=ending(".ply", ".vtp"),
        required=True,
        metavar="FILE",
        help="mesh to write: .ply (colours) or .vtp (colours and mm), in mm, LPS",
    )
    parser.add_argument(
        "--json", type=ending(".json"), metavar="FILE", help="figures to write as JSON"
    )
    parser.add_argument(
        "--preview",
        type=ending(".png"),
        metavar="FILE",
        help="picture to write, with the scale of the colours",
    )
    parser.add_argument(
        "--bone-hu",
        type=number,
        metavar="HU",
        help="grey value at which bone begins; default: 300, on calibrated scans only",
    )
    parser.add_argument(
        "--range",
        type=number,
        nargs=2,
        default=(0.0, 20.0),
        metavar=("LOW", "HIGH"),
        help="of the colours, in mm; default: 0 20, the same for every scan",
    )
    add_for_sharing(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Segment, measure, write; then say what the figures are."""
    from .core import replacing_together
    from .job import scan_at
    from .pipeline import JobOptions, compute
    from .report import make_report, table
    from .segmentation.level import find_level
    from .surface import bone_level, skull_thickness
    from .terminal import watched

    wanted = _checked(chosen)
    with watched(sys.stderr) as progress:
        volume = scan_at(chosen.input, chosen.series)(progress.part(0.0, _READ))
        found = find_level(volume, chosen.level)
        level = bone_level(
            found.air, found.tissue, calibrated=found.calibrated, bone_hu=chosen.bone_hu
        )
        options = JobOptions(segment_options(chosen), layer_voxels=False, layer_mesh=False)
        result = compute(volume, options, progress.part(_READ, _COMPUTE))
        thickness = skull_thickness(
            result.head, volume, bone_hu=level, progress=progress.part(_READ + _COMPUTE, _MEASURE)
        )
        figures = _figures(thickness, chosen.range)
        with replacing_together() as files:
            missing = _write(thickness, chosen, progress.part(1 - _WRITE, _WRITE), files)
            report = make_report(
                volume,
                result.mask,
                result.head,
                result.head,
                progress.seconds,
                warnings=tuple(missing.values()),
            )
            if chosen.json is not None:
                with files.add(chosen.json) as temporary:
                    content = {**report.as_dict(), "thickness": figures}
                    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            progress.finish()
        chosen.written = True
    print(table(_rows(thickness)), end="")
    print(report.as_text())
    for path in wanted:
        if path not in missing:
            print(f"Wrote {path}")
    for warning in report.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    warn_of_face(chosen)


def _checked(chosen: argparse.Namespace) -> list[Path]:
    """The files to write, after what would only fail after minutes of computing."""
    from .core import OutputError, require_writable
    from .surface import checked_range

    checked_range(tuple(chosen.range))
    wanted = [path for path in (chosen.output, chosen.json, chosen.preview) if path is not None]
    if chosen.input.resolve() in [path.resolve() for path in wanted]:
        raise OutputError("An output is the scan itself. Choose another name for it.")
    for path in wanted:
        require_writable(path)
    return wanted


def _write(
    thickness: Thickness, chosen: argparse.Namespace, progress: Progress, files: Replacements
) -> dict[Path, str]:
    """Write mesh and picture; returns what could not be made, and why."""
    from .core import MissingPackageError
    from .surface import render_thickness, write_thickness

    limits = (chosen.range[0], chosen.range[1])
    with progress.stage("Write", 0.5), files.add(chosen.output) as temporary:
        write_thickness(thickness, temporary, limits)
    if chosen.preview is None:
        return {}
    with progress.stage("Preview", 0.5):
        try:
            with files.add(chosen.preview) as temporary:
                render_thickness(thickness, temporary, limits, progress)
        except MissingPackageError as error:
            return {chosen.preview: str(error)}
    return {}


def _figures(thickness: Thickness, limits: Sequence[float]) -> dict[str, Any]:
    summary = {
        name: None if value != value else round(value, 3)
        for name, value in asdict(thickness.summary).items()
    }
    return {
        **summary,
        "bone_hu": thickness.bone_hu,
        "limit_mm": thickness.limit_mm,
        "range_mm": list(limits),
        "legend": thickness.legend((limits[0], limits[1])),
    }


def _rows(thickness: Thickness) -> list[tuple[str, str]]:
    summary = thickness.summary
    return [
        (
            "Thickness",
            f"median {summary.median_mm:.1f} mm, mean {summary.mean_mm:.1f}, 5 % below "
            f"{summary.p5_mm:.1f}, 95 % below {summary.p95_mm:.1f}; skin to nearest bone, by area",
        ),
        (
            "Bone",
            f"from {thickness.bone_hu:g} on; {summary.without_bone:.1%} of the skin has none "
            f"within {thickness.limit_mm:g} mm",
        ),
    ]
