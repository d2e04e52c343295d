"""Arguments that several commands share: their types, groups, and what becomes of them."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .segmentation import SegmentOptions
    from .surface import FinishOptions, SurfaceOptions

#: Those of SkinSegLib.surface.FORMATS, whose import would make ``--help`` slow; a test compares.
MESH_ENDINGS = (".stl", ".ply", ".obj", ".vtp", ".3mf", ".glb", ".gltf")


def engine_arguments() -> argparse.ArgumentParser:
    """How a scan is segmented, as a parent for the parser of a command."""
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--engine",
        choices=("auto", "network", "threshold"),
        default="auto",
        help="default: the best there is",
    )
    engine.add_argument("--model", metavar="MODEL", help="the network's model: a name, or a folder")
    engine.add_argument(
        "--level", type=number, metavar="HU", help="grey value of the skin; default: found"
    )
    engine.add_argument(
        "--device",
        type=device,
        default="auto",
        help="auto, cpu, cuda, cuda:N or mps, for engines that can use a GPU; default: auto",
    )
    return engine


def segment_options(chosen: argparse.Namespace) -> SegmentOptions:
    """What :func:`engine_arguments` were given."""
    from .segmentation import SegmentOptions

    options = SegmentOptions(engine=chosen.engine, level_hu=chosen.level, device=chosen.device)
    return options if chosen.model is None else replace(options, model=chosen.model)


def surface_arguments() -> argparse.ArgumentParser:
    """The arguments that say how a surface is made, as a parent of commands' parsers."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--layer",
        type=within(0.2, 50, " mm"),
        metavar="MM",
        help="write the outer MM mm of the head as a shell, not the solid head",
    )
    parent.add_argument(
        "--detail",
        type=within(0.1, 20, " mm"),
        metavar="MM",
        help="step of the grid that the surface is made on; default: the scan's voxels",
    )
    parent.add_argument(
        "--smooth",
        type=within(0, 5, " mm"),
        metavar="MM",
        help="the farthest that smoothing may move the surface, 0 for none; "
        "default: 0.2 or a third of a voxel",
    )
    fewer = parent.add_mutually_exclusive_group()
    fewer.add_argument(
        "--deviation",
        type=within(0, 5, " mm"),
        metavar="MM",
        help="how far leaving out triangles may take 99%% of the surface, 0 to keep all; "
        "default: 0.03",
    )
    fewer.add_argument("--triangles", type=_count, metavar="N", help="about how many to keep")
    add_finish(parent)
    add_for_sharing(parent)
    return parent


def add_file(parser: argparse.ArgumentParser) -> None:
    """How the surface's file is written."""
    parser.add_argument("--ascii", action="store_true", help="write STL as text")
    parser.add_argument(
        "--space",
        choices=("LPS", "RAS"),
        default="LPS",
        help="direction of the coordinates; default: LPS, which most programs expect",
    )
    parser.add_argument(
        "--provenance",
        action="store_true",
        help="write FILE.json beside the surface: how it was made, and its checksum",
    )


def add_for_sharing(parser: argparse.ArgumentParser) -> None:
    """Let the user say that the surface will leave the house; see :func:`warn_of_face`."""
    parser.add_argument(
        "--for-sharing",
        action="store_true",
        help="say, when it is written, that a surface of the skin is a face",
    )


def warn_of_face(chosen: argparse.Namespace) -> None:
    """What nobody who shares a surface should overlook."""
    if chosen.for_sharing:
        print(
            "Warning: a surface of the skin is the patient's face. Do not share it as anonymous: "
            "make it of a scan that skinseg dicom deface wrote, or ask the patient.",
            file=sys.stderr,
        )


def surface_options(chosen: argparse.Namespace) -> SurfaceOptions:
    """What :func:`surface_arguments` were given, but for the layer."""
    from .surface import SurfaceOptions

    kept = {} if chosen.deviation is None else {"deviation_mm": chosen.deviation}
    return SurfaceOptions(
        detail_mm=chosen.detail, smooth_mm=chosen.smooth, triangles=chosen.triangles, **kept
    )


def add_finish(parser: argparse.ArgumentParser) -> None:
    """What is done to the surface before it is written; the mask stays the whole head's."""
    group = parser.add_argument_group("done to the surface, in this order, needs skinseg[mesh]")
    group.add_argument(
        "--cut-below",
        type=number,
        metavar="S_MM",
        help="cut off what is below this S coordinate (RAS, mm), flat; the largest part stays",
    )
    group.add_argument(
        "--mirror",
        choices=("left-right",),
        help="write the mirror image; the file's name must say mirrored",
    )
    group.add_argument(
        "--scale", type=within(0.01, 100, ""), metavar="F", help="make it F times as large"
    )
    group.add_argument(
        "--drain-hole",
        type=within(0.5, 50, " mm"),
        metavar="MM",
        help="with --layer: a hole of MM mm at the lowest point, where the shell is closed",
    )


def check_finish(
    parser: argparse.ArgumentParser, chosen: argparse.Namespace, paths: Iterable[Path | None]
) -> None:
    """What does not go together is bad usage; ``paths``: the files that show the surface."""
    if chosen.drain_hole is not None and chosen.layer is None:
        parser.error("--drain-hole needs --layer: a solid head has nothing to drain")
    if chosen.mirror is None:
        return
    from .core import OutputError
    from .surface import require_mirrored_name

    try:
        for path in paths:
            if path is not None:
                require_mirrored_name(path)
    except OutputError as error:
        parser.error(str(error))


def finish_options(chosen: argparse.Namespace) -> FinishOptions:
    """What :func:`add_finish` was given."""
    from .surface import FinishOptions

    return FinishOptions(chosen.cut_below, chosen.mirror, chosen.scale, chosen.drain_hole)


def ending(*endings: str) -> Callable[[str], Path]:
    """An argument type: a path that ends in one of ``endings``."""

    def path(text: str) -> Path:
        if not text.lower().endswith(endings):
            raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(endings)}")
        return Path(text)

    return path


def number(text: str) -> float:
    """An argument type: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is no number")
    return value


def device(text: str) -> str:
    """An argument type: where to compute."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:N, mps")
    return text


def within(least: float, most: float, unit: str) -> Callable[[str], float]:
    """An argument type: a number from ``least`` to ``most``."""

    def checked(text: str) -> float:
        value = number(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text}{unit} is out of range: {least:g} to {most:g}")
        return value

    return checked


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of triangles: 100 or more")
    return int(text)
