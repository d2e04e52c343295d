"""Simplification with a bound: fewer triangles, no farther from the surface than was allowed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, Progress, SkinMesh, spacing_of, transform_points
from ..core.geometry import Matrix
from .contour import Triangles, is_closed, without_unused
from .deviation import SAMPLES, Deviation, deviation, skin_mm2
from .field import Ends
from .untangle import untangled

#: Triangles per mm2 times the deviation in mm, on smoothed heads (0.01 on phantoms, 0.024 to 0.038
#: on real ones): where the search for a count begins.
_TRIANGLES_PER_MM = 0.03
#: The farthest point may be this many times the bound off.
_MOST = 5
#: At most this part of the triangles are kept at the first try.
_FIRST = 0.7
#: Keeping more than this part of the triangles is not worth the time.
_WORTH_IT = 0.8
#: Points by which the deviation of a small mesh is measured.
_FEWEST_SAMPLES = 2000
#: Times that a count is tried before the mesh is left as it is.
_ATTEMPTS = 5
#: A surface nearer than this part of the bound could do with fewer triangles.
_WORTH_ANOTHER = 0.25
#: How far from a cut's plane one of its vertices may have come to lie by collapsing edges, mm.
_ON_PLANE_MM = 0.03

_INSTALL = (
    "Simplifying a surface needs the package fast-simplification. Install it with "
    "pip install fast-simplification, or choose no number of triangles."
)


def simplified(
    mesh: SkinMesh,
    ends: Ends,
    ijk_to_ras: Matrix,
    *,
    triangles: int | None = None,
    deviation_mm: float | None = None,
    progress: Progress | None = None,
) -> SkinMesh:
    """Fewer triangles: about ``triangles`` of them, or else as few as ``deviation_mm`` allows.

    The bound is on the 99th percentile of the two-sided distance to the mesh that was given, with
    no point measured more than five times as far. The figures stand in the result's
    ``processing``. Quadric error metrics (Garland and Heckbert 1997, SIGGRAPH) by
    fast-simplification. The result is closed, and its triangles are untangled; a mesh that would
    not stay closed, or would not get smaller, is returned as it is. ``ends`` and ``ijk_to_ras``:
    of the field that the mesh is the contour of; cuts stay exactly on their planes.

    Raises MissingPackageError where ``triangles`` are asked for without that package; without it a
    deviation is held by leaving the mesh as it is. Raises Cancelled through ``progress``.
    """
    progress = progress or Progress()
    given = len(mesh.triangles)
    if triangles is None and not deviation_mm:
        return mesh
    try:
        import fast_simplification  # noqa: F401
    except ImportError as error:
        if triangles is None:
            return mesh
        raise MissingPackageError(_INSTALL) from error
    guess = int(_TRIANGLES_PER_MM * skin_mm2(mesh) / (deviation_mm or 1)) + 100
    count = triangles or min(guess, int(_FIRST * given))
    most = given if triangles else int(_WORTH_IT * given)
    samples = min(SAMPLES, max(_FEWEST_SAMPLES, given // 10))
    best: tuple[SkinMesh, Deviation] | None = None
    for _ in range(_ATTEMPTS):
        progress.check()
        if count >= most:
            break
        found = _quadric(mesh, count, ends, ijk_to_ras)
        if found is None:
            count = int(count * 1.5)
            continue
        apart = deviation(mesh, found, samples)
        if deviation_mm is None or triangles is not None:
            best = found, apart
            break
        excess = max(apart.p99, apart.max / _MOST) / deviation_mm
        if excess <= 1:
            best = found, apart
            if excess > _WORTH_ANOTHER:
                break
            # The error of a quadric simplification goes with the area of a triangle.
            count = int(count * max(0.2, 1.1 * excess))
        elif best is not None:
            break
        else:
            count = int(count * 1.1 * excess)
    if best is None:
        return mesh
    found, apart = best
    mended = untangled(found)
    if mended.points is not found.points:
        apart = deviation(mesh, mended, samples)
    return _with_figures(mended, given, apart)


def _with_figures(mesh: SkinMesh, before: int, apart: Deviation) -> SkinMesh:
    figures = {
        "triangles_before": float(before),
        "deviation_mean_mm": apart.mean,
        "deviation_p99_mm": apart.p99,
        "deviation_max_mm": apart.max,
    }
    return replace(mesh, processing={**mesh.processing, **figures})


def _quadric(mesh: SkinMesh, count: int, ends: Ends, ijk_to_ras: Matrix) -> SkinMesh | None:
    """The mesh with about ``count`` triangles; None if it did not stay closed."""
    import fast_simplification

    # Far from the origin float32 would round the corners together.
    middle = mesh.points.mean(axis=0, dtype=np.float64).astype(np.float32)
    points, triangles = fast_simplification.simplify(
        mesh.points - middle, mesh.triangles, target_count=count
    )
    points, triangles = without_unused(points + middle, _without_fins(triangles))
    if not is_closed(triangles):
        return None
    is_cut = _onto_planes(points, triangles, ends, ijk_to_ras)
    return replace(mesh, points=points, triangles=triangles, is_cut=is_cut, closed=True)


def _without_fins(triangles: NDArray[np.integer[Any]]) -> Triangles:
    """Without pairs of triangles that lie back to back on the same three corners.

    Collapsing edges where the surface is thin leaves a few: they enclose nothing, and their common
    edges have four triangles. Without them the rest closes.
    """
    corners = np.sort(triangles, axis=1)
    order = np.lexsort(corners.T)
    same = (np.diff(corners[order], axis=0) == 0).all(axis=1)
    keep = np.ones(len(triangles), bool)
    keep[order[:-1][same]] = keep[order[1:][same]] = False
    return np.ascontiguousarray(triangles[keep], dtype=np.int32)


def _onto_planes(
    points: NDArray[np.float32], triangles: Triangles, ends: Ends, ijk_to_ras: Matrix
) -> NDArray[np.bool_]:
    """Put vertices that lie on the scan's ends exactly there (in place); which triangles do."""
    is_cut = np.zeros(len(triangles), bool)
    index = transform_points(np.linalg.inv(ijk_to_ras), points)
    moved = np.zeros(len(points), bool)
    for axis, pair in enumerate(ends):
        near = _ON_PLANE_MM / spacing_of(ijk_to_ras)[2 - axis]
        for plane in pair:
            if plane is None:
                continue
            on_plane = np.abs(index[:, 2 - axis] - plane) <= near
            index[on_plane, 2 - axis] = plane
            moved |= on_plane
            is_cut |= on_plane[triangles].all(axis=1)
    points[moved] = transform_points(ijk_to_ras, index[moved])
    return is_cut
