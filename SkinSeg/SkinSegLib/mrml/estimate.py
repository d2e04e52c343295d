"""About how large an exported file will be, before anything is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .segments import HEAD
from .surfaces import shown_triangles

#: Bytes a triangle takes up in each format, with its share of the vertices (measured on a head of
#: 138 thousand; VTP is compressed in blocks, and a small one takes up to three times as much).
_BYTES = {".stl": 50, ".ply": 19, ".obj": 49, ".vtp": 17, ".3mf": 18.5, ".glb": 18, ".gltf": 24}
#: A shell has an outer and an inner wall (measured: 1.94 times the triangles).
_WALLS = 1.94
#: Simplification leaves as many triangles on any grid finer than this many of the scan's steps; on
#: coarser ones the contour itself has fewer (measured at 1 mm, 0.5 to 4 mm).
_FULL = 1.46


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
        triangles *= min(1.0, (_FULL * step / detail_mm) ** 2)
    return Estimate(round(triangles), round(triangles * _BYTES[suffix]))


def _scan_step(segmentation: Any) -> float | None:
    """Edge in mm of a cube as large as a voxel of the segmentation's scan."""
    volume = segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())
    if volume is None:
        return None
    return float(np.prod(volume.GetSpacing()) ** (1 / 3))
