"""What the user can choose about the surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core import SurfaceError

#: How far the simplified surface may be from the full one (99th percentile), mm. At voxels of
#: 0.5 mm and more this is below what the contour itself is off.
DEFAULT_DEVIATION_MM = 0.03


@dataclass(frozen=True)
class SurfaceOptions:
    """Options of :func:`SkinSegLib.surface.build`; all lengths in mm.

    ``layer_mm``: None for the solid head, else the thickness of the skin layer, whose shell has an
    outer and an inner wall. ``detail_mm``: step of the grid that is contoured; None for the scan's
    own. ``smooth_mm``: the farthest that smoothing may move a vertex; None for 0.2 mm or a third
    of the voxel, whichever is larger; 0 for no smoothing. ``deviation_mm``: how far simplification
    may take the surface from what it was, as 99th percentile of the two-sided distance; 0 to keep
    every triangle. ``triangles``: about how many to keep instead, however far off that is.

    Raises SurfaceError for values that make no sense.
    """

    layer_mm: float | None = None
    detail_mm: float | None = None
    smooth_mm: float | None = None
    deviation_mm: float = DEFAULT_DEVIATION_MM
    triangles: int | None = None

    def __post_init__(self) -> None:
        _require(self.layer_mm, 0.2, 50, "The skin layer must be between 0.2 and 50 mm thick.")
        _require(self.detail_mm, 0.1, 20, "The detail must be between 0.1 and 20 mm.")
        _require(self.smooth_mm, 0, 5, "Smoothing may move the surface by 0 to 5 mm.")
        _require(self.deviation_mm, 0, 5, "Simplification may be off by 0 to 5 mm.")
        if self.triangles is not None and self.triangles < 100:
            raise SurfaceError("A surface needs 100 triangles or more.")


def _require(value: float | None, least: float, most: float, message: str) -> None:
    if value is not None and not (math.isfinite(value) and least <= value <= most):
        raise SurfaceError(message)
