"""``skinseg label``: labels from and for other programs, and those of several people."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import ending, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .core import CTVolume, Progress
    from .scan import Source
    from .training.exchange import Agreement

#: Those of SkinSegLib.training.exchange.Kind and Method; a test compares.
KINDS = ("seg.nrrd", "labelmap", "dicom-seg", "rtstruct", "labelme", "png", "inv3")
METHODS = ("staple", "majority")
#: An author's name: what the record of a data set may hold.
_NAME = re.compile(r"[\w .,+/()#^-]{1,64}")
_LABEL = (
    ".seg.nrrd, NRRD, NIfTI, MetaImage, DICOM Segmentation or RT Structure Set, folder of labelme "
    "files or of PNG slices, or InVesalius project (.inv3); told by its content"
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "label",
        help="labels from and for other programs, and those of several people",
        description="Labels (the solid head) from and for other programs; fuse and compare those "
        "of several people.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--scan", type=Path, required=True, metavar="SCAN", help="the scan they were made on"
    )
    common.add_argument("--series", help="DICOM: series number, #n for the n-th one, or its UID")
    common.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    which = common.add_mutually_exclusive_group()
    which.add_argument(
        "--segment",
        metavar="NAME",
        help="segment, mask, region or labelme label to take; default: the only one, or Head",
    )
    which.add_argument(
        "--label",
        type=int,
        metavar="N",
        help="value of a labelmap or of pictures; default: all that is not 0",
    )
    common.add_argument(
        "--flip",
        default="",
        metavar="AXES",
        help="for folders of pictures: axes of the scan (of ijk) that run the other way in them",
    )
    common.add_argument(
        "--level", type=number, metavar="HU", help="grey value of the skin; default: found"
    )
    common.add_argument(
        "--no-check", action="store_true", help="take a label that does not fit the scan's skin"
    )
    _add_conversions(actions, common)
    _add_comparisons(actions, common)


def _add_conversions(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    for name, what in (
        ("import", "a label made elsewhere, checked and put on the grid of its scan"),
        ("export", "a label for another program"),
    ):
        convert = actions.add_parser(name, parents=[common], help=what, description=f"{what}.")
        convert.add_argument("input", type=Path, metavar="LABEL", help=_LABEL)
        convert.add_argument(
            "-o",
            "--output",
            type=Path,
            required=True,
            metavar="PATH",
            help="what to write, by its ending: .seg.nrrd, .nrrd, .nii.gz, .mha, .dcm (a DICOM "
            "Segmentation; the scan must be DICOM) or .inv3; or what --as says",
        )
        convert.add_argument(
            "--as", dest="kind", choices=KINDS, help="rtstruct for .dcm; labelme or png: a folder"
        )
        convert.add_argument("--fill", action="store_true", help="fill what the label encloses")
        convert.set_defaults(run=run_convert)


def _add_comparisons(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    fuse = actions.add_parser(
        "fuse",
        parents=[common],
        help="one label from those of several people",
        description="One label from those of several people, which stay in the file beside it.",
    )
    fuse.add_argument(
        "-o",
        "--output",
        type=ending(".seg.nrrd"),
        required=True,
        metavar="FILE",
        help="segments to write: Head, and one for each author",
    )
    fuse.add_argument(
        "--method",
        choices=METHODS,
        default="staple",
        help="weigh authors by how well they agree, or take what most marked; default: staple",
    )
    fuse.set_defaults(run=run_fuse)
    compare = actions.add_parser(
        "compare",
        parents=[common],
        help="how far labels of several people agree",
        description="How far labels agree, by pair and by region, and where they differ.",
    )
    compare.set_defaults(run=run_compare)
    for parser in (fuse, compare):
        parser.add_argument(
            "inputs",
            nargs="+",
            type=_authored,
            metavar="NAME=LABEL",
            help=f"author and label, two or more: {_LABEL}",
        )
        parser.add_argument("--json", type=ending(".json"), metavar="FILE", help="figures to write")
        parser.add_argument(
            "--picture",
            type=ending(".png"),
            metavar="FILE",
            help="slices with all outlines to write; shows the face",
        )


def _authored(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (equals and path and _NAME.fullmatch(name.strip())) or name.strip() == "Head":
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME=LABEL, with a name of up to 64 letters, digits, spaces and "
            ". , + / ( ) # ^ - that is not Head"
        )
    return name.strip(), Path(path)


def run_convert(chosen: argparse.Namespace) -> None:
    """Read, check and write one label."""
    from .core import require_writable
    from .terminal import watched
    from .training.exchange import Kind, kind_for, write_label

    kind = kind_for(chosen.output, None if chosen.kind is None else Kind(chosen.kind))
    require_writable(chosen.output.parent / "probe")
    with watched(sys.stderr) as progress:
        volume, source = _scan(chosen, progress.part(0.0, 0.5))
        with progress.part(0.5, 0.5).stage("Label", 1.0) as stage:
            mask = _label(chosen.input, chosen, volume, source, fill=chosen.fill)
            stage.update(0.5)
            write_label(chosen.output, volume, mask, kind, source)
            progress.finish()
        chosen.written = True
    print(f"Wrote {chosen.output}: {mask.sum() * volume.voxel_volume_ml:.0f} mL")


def run_fuse(chosen: argparse.Namespace) -> None:
    """Fuse labels, keep each author's, and say how good each was."""
    from .training.exchange import fuse, write_segments

    volume, labels = _labels(chosen)
    fused = fuse(labels, chosen.method)
    write_segments(chosen.output, volume, {"Head": fused.mask, **fused.authors})
    apart = float(fused.disputed.sum()) * volume.voxel_volume_ml
    print(
        f"Wrote {chosen.output}: {fused.mask.sum() * volume.voxel_volume_ml:.0f} mL, "
        f"of which authors differ in {apart:.1f} mL"
    )
    for name in labels:
        print(
            f"{name}: sensitivity {fused.sensitivity[name]:.4f}, "
            f"specificity {fused.specificity[name]:.4f}"
        )
    authors = {
        name: {"sensitivity": fused.sensitivity[name], "specificity": fused.specificity[name]}
        for name in labels
    }
    _outputs(chosen, volume, labels, {"method": str(fused.method), "authors": authors})


def run_compare(chosen: argparse.Namespace) -> None:
    """Say how far labels agree."""
    volume, labels = _labels(chosen)
    _outputs(chosen, volume, labels, {})


def _labels(chosen: argparse.Namespace) -> tuple[CTVolume, dict[str, NDArray[np.uint8]]]:
    from .core import LabelError, require_writable
    from .terminal import watched

    for path in (getattr(chosen, "output", None), chosen.json, chosen.picture):
        if path is not None:
            require_writable(path)
    names = [name for name, _ in chosen.inputs]
    if len(set(names)) < len(names) or len(names) < 2:
        raise LabelError("Give two labels or more, each with an author's name of its own.")
    with watched(sys.stderr) as progress:
        volume, source = _scan(chosen, progress.part(0.0, 0.5))
        with progress.part(0.5, 0.5).stage("Labels", 1.0) as stage:
            labels = {}
            for done, (name, path) in enumerate(chosen.inputs):
                labels[name] = _label(path, chosen, volume, source, f"{name}: ")
                stage.update((done + 1) / len(names))
        progress.finish()
    return volume, labels


def _scan(chosen: argparse.Namespace, progress: Progress) -> tuple[CTVolume, Source | None]:
    """The scan, and if it is DICOM the headers of its slices."""
    from .scan import read, read_source
    from .scan.images import image_suffix

    with progress.stage("Read", 1.0) as stage:
        if image_suffix(chosen.scan) is not None or chosen.scan.suffix.lower() == ".inv3":
            return read(chosen.scan, chosen.series, stage), None
        source = read_source(chosen.scan, chosen.series, stage)
    return source.volume, source


def _label(
    path: Path,
    chosen: argparse.Namespace,
    volume: CTVolume,
    source: Source | None,
    who: str = "",
    fill: bool = False,
) -> NDArray[np.uint8]:
    from .training.exchange import check_label, filled_holes, read_label

    header = None if source is None else source.headers[0]
    mask = read_label(path, volume, chosen.segment, chosen.label, chosen.flip, header)
    if fill:
        mask = filled_holes(mask != 0).view("uint8")
    if not chosen.no_check:
        fit = check_label(volume, mask, chosen.level)
        for note in fit.notes:
            print(f"Note: {who}{note}", file=sys.stderr)
    return mask


def _outputs(
    chosen: argparse.Namespace,
    volume: CTVolume,
    labels: dict[str, NDArray[np.uint8]],
    more: dict[str, Any],
) -> None:
    """Print how far labels agree, and write figures and picture if asked."""
    from .core import replacing
    from .training.exchange import agreement, draw_differences

    rows = agreement(volume, labels)
    print(_table(rows), end="")
    if chosen.json is not None:
        report = {**more, "agreement": [_plain(row) for row in rows]}
        with replacing(chosen.json) as temporary:
            temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"Wrote {chosen.json}")
    if chosen.picture is not None:
        draw_differences(volume, labels, chosen.picture)
        print(f"Wrote {chosen.picture}, which shows the face")
    chosen.written = True


def _plain(row: Agreement) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(row).items()
    }


def _table(rows: list[Agreement]) -> str:
    lines = [f"{'':34}{'Dice':>8}{'<1 mm':>8}{'<2 mm':>8}{'mean mm':>9}{'p95 mm':>8}{'mL':>8}"]
    for row in rows:
        if row.region == "whole":
            lines.append(f"{row.first} and {row.second}")
        lines.append(
            f"  {row.region:32}{row.dice:8.4f}{row.surface_dice_1mm:8.3f}"
            f"{row.surface_dice_2mm:8.3f}{row.mean_mm:9.2f}{row.p95_mm:8.2f}{row.differ_ml:8.1f}"
        )
    return "\n".join(lines) + "\n"
