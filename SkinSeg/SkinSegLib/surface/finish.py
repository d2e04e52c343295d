"""What is done to a finished surface only on request: cut, mirrored, scaled, drilled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import Progress, SkinMesh, SurfaceError
from .hole import closed_hollows_ml, with_drain_hole
from .manifold import require_manifold3d
from .parts import largest_part, part_of_triangle
from .solid import MIRRORED, CutPlane, cut_below, mirrored, require_mirrored_name, scaled

#: What the user calls it, and the axis of RAS it is.
MIRRORS = {"left-right": "R"}


@dataclass(frozen=True)
class FinishOptions:
    """What to do, in this order; None leaves it out.

    ``cut_below_s_mm``: cut off what is below this S coordinate in RAS mm. ``mirror``: a key of
    MIRRORS. ``scale``: a factor. ``drain_hole_mm``: diameter in the finished mesh, of a hole
    through the wall of a skin layer's shell. Raises SurfaceError for values that make no sense.
    """

    cut_below_s_mm: float | None = None
    mirror: str | None = None
    scale: float | None = None
    drain_hole_mm: float | None = None

    def __post_init__(self) -> None:
        if self.cut_below_s_mm is not None and not math.isfinite(self.cut_below_s_mm):
            raise SurfaceError("The place of the cut must be a number: S in RAS mm.")
        if self.mirror is not None and self.mirror not in MIRRORS:
            raise SurfaceError(f"{self.mirror} is no way to mirror. Choose {', '.join(MIRRORS)}.")
        if self.scale is not None and not 0.01 <= self.scale <= 100:
            raise SurfaceError("The scale must be between 0.01 and 100.")
        if self.drain_hole_mm is not None and not 0.5 <= self.drain_hole_mm <= 50:
            raise SurfaceError("The drain hole must be 0.5 to 50 mm wide.")

    def __bool__(self) -> bool:
        return self != FinishOptions()

    @property
    def label(self) -> str:
        """What a picture or a file of the result must say: "mirrored, scaled 0.5", or nothing."""
        words = [MIRRORED] if self.mirror is not None else []
        if self.scale is not None and self.scale != 1.0:
            words.append(f"scaled {self.scale:g}")
        return ", ".join(words)

    def as_dict(self) -> dict[str, Any]:
        """Only what was asked for."""
        asked = {
            "cut_below_s_mm": self.cut_below_s_mm,
            "mirror": self.mirror,
            "scale": self.scale,
            "drain_hole_mm": self.drain_hole_mm,
        }
        return {name: value for name, value in asked.items() if value is not None}

    def check(self, *paths: Path | None) -> None:
        """Find out before the work what would fail after it.

        ``paths``: the files that are to show the result. Raises OutputError if it is mirrored and
        a name does not say so, MissingPackageError if manifold3d is needed and missing.
        """
        if self.mirror is not None:
            for path in paths:
                if path is not None:
                    require_mirrored_name(path)
        if self.cut_below_s_mm is not None or self.drain_hole_mm is not None:
            require_manifold3d()


def finished(
    mesh: SkinMesh, options: FinishOptions, progress: Progress | None = None
) -> tuple[SkinMesh, tuple[str, ...]]:
    """Do what was asked; returns the mesh and a sentence on each thing done, or not needed.

    ``progress``: only asked whether to cancel. Raises SurfaceError, MissingPackageError, Cancelled.
    """
    progress = progress or Progress()
    said = []
    if options.cut_below_s_mm is not None:
        progress.check()
        mesh, words = _cut(mesh, options.cut_below_s_mm)
        said.append(words)
    if options.mirror is not None:
        mesh = mirrored(mesh, MIRRORS[options.mirror])
        said.append(f"{MIRRORED.capitalize()} {options.mirror}: this is not the patient's head.")
    if options.scale is not None:
        mesh = scaled(mesh, options.scale)
        said.append(f"Scaled by {options.scale:g} about its centre, a layer's thickness too.")
    if options.drain_hole_mm is not None:
        progress.check()
        mesh, words = _drained(mesh, options.drain_hole_mm)
        said.append(words)
    progress.check()
    return mesh, tuple(said)


def _cut(mesh: SkinMesh, superior_mm: float) -> tuple[SkinMesh, str]:
    cut = cut_below(mesh, CutPlane.axial(superior_mm), only_largest=False)
    if cut is mesh:
        lowest = float(mesh.points[:, 2].min())
        return mesh, (
            f"Nothing was cut off: the surface ends at S {lowest:.1f} mm, above the cut at "
            f"{superior_mm:g}."
        )
    words = f"Cut off below S {superior_mm:g} mm."
    main = largest_part(cut)
    if main is not cut:
        dropped = len(set(part_of_triangle(cut).tolist())) - len(set(part_of_triangle(main)))
        words += f" Dropped {dropped} part(s) that the cut separated from the largest."
    return main, words


def _drained(mesh: SkinMesh, diameter_mm: float) -> tuple[SkinMesh, str]:
    drained = with_drain_hole(mesh, diameter_mm)
    words = f"Drain hole of {diameter_mm:g} mm at the lowest point of the hollow."
    if drained is mesh:
        words = "No drain hole was made: no hollow is closed, a shell is open where it is cut."
    pockets = closed_hollows_ml(drained)
    if sum(pockets) >= 0.005:  # else they are crumbs of the grid that hold nothing
        words += f" Pockets that stay closed: {len(pockets)}, of {sum(pockets):.2f} mL in all."
    return drained, words
