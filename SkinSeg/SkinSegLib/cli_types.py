"""Argument types and groups of arguments that several commands share."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .surface import SurfaceOptions

#: Endings of files that a surface can be written to.
SURFACES = (".stl", ".ply", ".obj", ".vtp")


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


def between(least: float, most: float) -> Callable[[str], float]:
    """An argument type: a length in mm from ``least`` to ``most``."""

    def length(text: str) -> float:
        value = number(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text} mm is out of range: {least:g} to {most:g}")
        return value

    return length


def device(text: str) -> str:
    """An argument type: where to compute."""
    if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", text) is None:
        raise argparse.ArgumentTypeError(f"{text!r} is none of auto, cpu, cuda, cuda:N, mps")
    return text


def surface_arguments() -> argparse.ArgumentParser:
    """The arguments that say how a surface is made, as a parent of commands' parsers."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        "--layer",
        type=between(0.2, 50),
        metavar="MM",
        help="write the outer MM mm of the head as a shell, not the solid head",
    )
    parent.add_argument(
        "--detail",
        type=between(0.1, 20),
        metavar="MM",
        help="step of the grid that the surface is made on; default: the scan's voxels",
    )
    parent.add_argument(
        "--smooth",
        type=between(0, 5),
        metavar="MM",
        help="the farthest that smoothing may move the surface, 0 for none; "
        "default: 0.2 or a third of a voxel",
    )
    fewer = parent.add_mutually_exclusive_group()
    fewer.add_argument(
        "--deviation",
        type=between(0, 5),
        metavar="MM",
        help="how far leaving out triangles may take 99%% of the surface, 0 to keep all; "
        "default: 0.03",
    )
    fewer.add_argument("--triangles", type=_count, metavar="N", help="about how many to keep")
    return parent


def surface_options(chosen: argparse.Namespace) -> SurfaceOptions:
    """What :func:`surface_arguments` were given, but for the layer."""
    from .surface import SurfaceOptions

    kept = {} if chosen.deviation is None else {"deviation_mm": chosen.deviation}
    return SurfaceOptions(
        detail_mm=chosen.detail, smooth_mm=chosen.smooth, triangles=chosen.triangles, **kept
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of triangles: 100 or more")
    return int(text)
