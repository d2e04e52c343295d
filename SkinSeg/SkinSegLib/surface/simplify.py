"""Simplification with a bound: fewer triangles, no farther from the surface than was allowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, Progress, SkinMesh, spacing_of, transform_points
from ..core.geometry import Matrix
from .contour import Triangles, is_closed
from .deviation import Deviation, area_mm2, deviation
from .field import Field

#: Triangles per mm2 times the deviation in mm, on smoothed heads at voxels of 0.5 and 1 mm: where
#: the search for a count begins.
_TRIANGLES_PER_MM = 0.0125
#: Times that a count is tried before the mesh is left as it is.
_ATTEMPTS = 5
#: A surface nearer than this part of the bound could do with fewer triangles.
_WORTH_ANOTHER = 0.5
#: How far from a cut's plane a vertex may have come to lie by rounding, mm.
_ON_PLANE_MM = 1e-3

_INSTALL = (
    "Simplifying a surface needs the package fast-simplification. Install it with "
    "pip install fast-simplification, or choose no number of triangles."
)


def simplified(
    mesh: SkinMesh,
    field: Field,
    ijk_to_ras: Matrix,
    *,
    triangles: int | None = None,
    deviation_mm: float | None = None,
    progress: Progress | None = None,
) -> SkinMesh:
    """Fewer triangles: about ``triangles`` of them, or else as few as ``deviation_mm`` allows.

    The bound is on the 99th percentile of the two-sided distance to the mesh that was given. It is
    measured, and stands in the result's ``processing`` with mean and maximum. Quadric error
    metrics (Garland and Heckbert 1997, SIGGRAPH) by fast-simplification. The result is closed; a
    mesh that would not stay closed, or would not get smaller, is returned as it is. ``field`` and
    ``ijk_to_ras``: what the mesh is the contour of; cuts stay exactly on their planes.

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
    skin_mm2 = float(area_mm2(mesh)[~mesh.is_cut].sum())
    count = triangles or int(_TRIANGLES_PER_MM * skin_mm2 / (deviation_mm or 1)) + 100
    best: tuple[SkinMesh, Deviation] | None = None
    for _ in range(_ATTEMPTS):
        progress.check()
        if count >= given:
            break
        found = _quadric(mesh, count, field, ijk_to_ras)
        if found is None:
            count = int(count * 1.5)
            continue
        apart = deviation(mesh, found)
        if deviation_mm is None or triangles is not None:
            return _with_figures(found, given, apart)
        if apart.p99 <= deviation_mm:
            best = found, apart
            if apart.p99 > _WORTH_ANOTHER * deviation_mm:
                break
            # The error of a quadric simplification goes with the area of a triangle.
            count = int(count * max(0.2, 1.1 * apart.p99 / deviation_mm))
        elif best is not None:
            break
        else:
            count = int(count * 1.1 * apart.p99 / deviation_mm)
    return mesh if best is None else _with_figures(best[0], given, best[1])


def _with_figures(mesh: SkinMesh, before: int, apart: Deviation) -> SkinMesh:
    figures = {
        "triangles_before": float(before),
        "deviation_mean_mm": apart.mean,
        "deviation_p99_mm": apart.p99,
        "deviation_max_mm": apart.max,
    }
    return replace(mesh, processing={**mesh.processing, **figures})


def _quadric(mesh: SkinMesh, count: int, field: Field, ijk_to_ras: Matrix) -> SkinMesh | None:
    """The mesh with about ``count`` triangles; None if it did not stay closed."""
    import fast_simplification

    # Far from the origin float32 would round the corners together.
    middle = mesh.points.mean(axis=0, dtype=np.float64).astype(np.float32)
    points, triangles = fast_simplification.simplify(
        mesh.points - middle, mesh.triangles, target_count=count
    )
    points, triangles = points + middle, np.ascontiguousarray(triangles, dtype=np.int32)
    if not len(triangles) or not is_closed(triangles):
        return None
    is_cut = _onto_planes(points, triangles, field, ijk_to_ras)
    return replace(mesh, points=points, triangles=triangles, is_cut=is_cut)


def _onto_planes(
    points: NDArray[np.float32], triangles: Triangles, field: Field, ijk_to_ras: Matrix
) -> NDArray[np.bool_]:
    """Put vertices that lie on the scan's ends exactly there (in place); which triangles do."""
    is_cut = np.zeros(len(triangles), bool)
    index = transform_points(np.linalg.inv(ijk_to_ras), points)
    moved = np.zeros(len(points), bool)
    for axis, ends in enumerate(field.ends):
        near = _ON_PLANE_MM / spacing_of(ijk_to_ras)[2 - axis]
        for plane in ends:
            if plane is None:
                continue
            on_plane = np.abs(index[:, 2 - axis] - plane) <= near
            index[on_plane, 2 - axis] = plane
            moved |= on_plane
            is_cut |= on_plane[triangles].all(axis=1)
    points[moved] = transform_points(ijk_to_ras, index[moved])
    return is_cut
