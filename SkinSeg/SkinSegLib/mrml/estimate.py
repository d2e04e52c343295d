"""About how large an exported file will be, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .segments import HEAD
from .surfaces import shown_triangles

#: Bytes a triangle, and half a vertex with it, take up in each format (measured on heads).
_BYTES = {".stl": 50, ".ply": 19, ".obj": 37, ".vtp": 25, ".3mf": 17, ".glb": 24, ".gltf": 32}
#: A shell has an outer and an inner wall.
_WALLS = 2
#: How the number of triangles goes with the step of the grid, after simplification.
_POWER = 1.0


@dataclass(frozen=True)
class Estimate:
    """About so many triangles, and bytes in the file."""

    triangles: int
    bytes: int


def estimate(
    segmentation: Any, *, layer: bool, detail_mm: float | None, suffix: str
) -> Estimate | None:
    """From the head's surface that is shown; None while there is none.

    ``detail_mm``: step of the surface's grid, None for the scan's own.
    """
    count = shown_triangles(segmentation, HEAD.segment_id)
    if not count:
        return None
    triangles = float(count * (_WALLS if layer else 1))
    step = _scan_step(segmentation)
    if detail_mm is not None and step is not None:
        triangles *= (step / detail_mm) ** _POWER
    return Estimate(round(triangles), round(triangles * _BYTES[suffix]))


def _scan_step(segmentation: Any) -> float | None:
    """Edge in mm of a cube as large as a voxel of the segmentation's scan."""
    volume = segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
    if volume is None:
        return None
    return float(np.prod(volume.GetSpacing()) ** (1 / 3))
