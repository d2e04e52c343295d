"""How thick the soft tissue over the bones is, at each vertex of the skin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, Progress, SkinMesh, SurfaceError
from .bone import DEFAULT_BONE_HU, bone_surface
from .colors import colored
from .deviation import area_mm2

#: Farther from bone than this there is none to measure to: neck, shoulders.
DEFAULT_LIMIT_MM = 30.0
#: Fixed, so that the colours of two patients compare.
DEFAULT_RANGE_MM = (0.0, 20.0)
#: So many triangles, those whose centres are nearest, are measured to exactly. Another one may be
#: nearer where triangles are long: measured on a ball, never on cubic voxels, by up to 0.004 mm on
#: voxels of 0.5 x 0.5 x 3 mm, and by up to 0.05 mm on slices of 5 mm.
_CANDIDATES = 8
_CHUNK = 50_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ThicknessSummary:
    """Figures in mm over the skin that has bone under it, weighted by area.

    ``without_bone``: share (0..1) of the skin's area that has none within the limit. All but it
    are NaN if there is none at all.
    """

    median_mm: float
    mean_mm: float
    p5_mm: float
    p95_mm: float
    without_bone: float


@dataclass(frozen=True)
class Thickness:
    """Distance from the skin to the nearest bone, for each vertex of ``mesh``.

    ``thickness_mm``: (n,) float32; NaN where no bone is within ``limit_mm``, and at vertices that
    only cuts use. ``bone_hu``: the grey value at which bone begins.
    """

    mesh: SkinMesh
    thickness_mm: NDArray[np.float32]
    bone_hu: float
    limit_mm: float = DEFAULT_LIMIT_MM

    @cached_property
    def summary(self) -> ThicknessSummary:
        """The figures of the whole skin."""
        areas = _vertex_areas(self.mesh)
        known = np.isfinite(self.thickness_mm) & (areas > 0)
        total = float(areas.sum())
        if not known.any():
            return ThicknessSummary(math.nan, math.nan, math.nan, math.nan, 1.0)
        values, weights = self.thickness_mm[known].astype(np.float64), areas[known]
        order = np.argsort(values)
        share = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
        p5, median, p95 = np.interp((0.05, 0.5, 0.95), share, values[order])
        return ThicknessSummary(
            median_mm=float(median),
            mean_mm=float(np.average(values, weights=weights)),
            p5_mm=float(p5),
            p95_mm=float(p95),
            without_bone=1.0 - float(weights.sum()) / total,
        )

    def colors(self, range_mm: tuple[float, float] = DEFAULT_RANGE_MM) -> NDArray[np.uint8]:
        """RGB (n, 3) of each vertex: viridis over ``range_mm``, grey where there is no bone."""
        low, high = checked_range(range_mm)
        return colored(self.thickness_mm, low, high)

    def legend(self, range_mm: tuple[float, float] = DEFAULT_RANGE_MM) -> str:
        """What the colours mean, in one line of plain ASCII."""
        low, high = checked_range(range_mm)
        return (
            f"distance from skin to nearest bone in mm: viridis, dark blue {low:g} or less to "
            f"yellow {high:g} or more, grey no bone within {self.limit_mm:g} mm; bone from grey "
            f"value {self.bone_hu:g} on"
        )


def checked_range(range_mm: tuple[float, float]) -> tuple[float, float]:
    """The range itself. Raises SurfaceError unless it is two numbers, the second larger."""
    low, high = range_mm
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SurfaceError("The range of colours needs two numbers in mm, the second the larger.")
    return low, high


def skull_thickness(
    mesh: SkinMesh,
    volume: CTVolume,
    *,
    bone_hu: float | None = None,
    limit_mm: float = DEFAULT_LIMIT_MM,
    progress: Progress | None = None,
) -> Thickness:
    """Distance in mm from each vertex of the skin to the nearest point of the bones' surface.

    ``mesh``: the solid head made from ``volume``, neither cut off its place nor scaled.
    ``bone_hu``: None for 300 HU, which is right for calibrated scans only: see
    :func:`bone_level`, which also refuses the others. It is the nearest distance in any direction,
    not one along the skin's normal, as dense tissue depth maps have it (Toneva et al. 2021,
    Forensic Imaging 25:200460), and takes what is as dense as bone for bone: vessels full of
    contrast agent, implants. Stages: Bone, Thickness.

    Raises SurfaceError if mesh and scan do not belong together or there is no bone, Cancelled.
    """
    if not (math.isfinite(limit_mm) and limit_mm > 0):
        raise SurfaceError("The limit of the thickness must be more than 0 mm.")
    progress = progress or Progress()
    level = DEFAULT_BONE_HU if bone_hu is None else bone_hu
    with progress.stage("Bone", 0.4):
        bone = bone_surface(mesh, volume, level, progress)
    with progress.stage("Thickness", 0.6):
        result = np.full(len(mesh.points), np.nan, np.float32)
        skin = np.zeros(len(mesh.points), bool)
        skin[mesh.triangles[~mesh.is_cut]] = True
        places = mesh.points[skin].astype(np.float64)
        result[skin] = _distance(places, bone, limit_mm, progress)
    return Thickness(mesh, result, level, limit_mm)


def _distance(places: Floats, bone: Floats, limit_mm: float, progress: Progress) -> Floats:
    """From places (n, 3) to triangles (m, 3, 3); NaN beyond the limit."""
    from scipy.spatial import cKDTree

    centres = bone.mean(axis=1)
    # A triangle may reach nearer than its centre, by no more than its longest radius.
    reach = float(np.sqrt(((bone - centres[:, None]) ** 2).sum(axis=2).max()))
    tree = cKDTree(centres, balanced_tree=False, compact_nodes=False)
    count = min(_CANDIDATES, len(bone))
    result = np.full(len(places), np.nan)
    for start in range(0, len(places), _CHUNK):
        progress.update(start / len(places))
        some = places[start : start + _CHUNK]
        _, found = tree.query(
            some, k=[*range(1, count + 1)], distance_upper_bound=limit_mm + reach, workers=-1
        )
        place, candidate = np.nonzero(found < len(bone))
        nearest = np.full(len(some), np.inf)
        distance = _to_triangles(some[place], bone[found[place, candidate]])
        np.minimum.at(nearest, place, distance)
        result[start : start + _CHUNK] = np.where(nearest <= limit_mm, nearest, np.nan)
    return result


def _to_triangles(places: Floats, corners: Floats) -> Floats:
    """Distance (n,) of each place (n, 3) to its triangle (n, 3, 3).

    To the plane where the foot is within the triangle, else to the nearest of its edges.
    """
    nearest = np.full(len(places), np.inf)
    for first in range(3):
        a, b = corners[:, first], corners[:, (first + 1) % 3]
        along, to = b - a, places - a
        length = np.maximum(_dot(along, along), 1e-30)
        part = np.clip(_dot(to, along) / length, 0.0, 1.0)
        off = to - part[:, None] * along
        np.minimum(nearest, _dot(off, off), out=nearest)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normal = np.cross(b - a, c - a)
    square = _dot(normal, normal)
    within = square > 1e-24
    for start, end in ((a, b), (b, c), (c, a)):
        within &= _dot(np.cross(end - start, places - start), normal) >= 0
    height = _dot(places - a, normal)[within] ** 2 / square[within]
    nearest[within] = height
    return np.asarray(np.sqrt(nearest), np.float64)


def _dot(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", a, b))


def _vertex_areas(mesh: SkinMesh) -> Floats:
    """The area of skin (cuts left out) that each vertex stands for: a third of its triangles'."""
    triangles = mesh.triangles[~mesh.is_cut]
    weights = np.repeat(area_mm2(mesh)[~mesh.is_cut] / 3.0, 3)
    result = np.bincount(triangles.ravel(), weights=weights, minlength=len(mesh.points))
    return result.astype(np.float64)
