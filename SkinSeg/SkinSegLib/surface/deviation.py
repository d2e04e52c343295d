"""How far two surfaces are apart, both ways, in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh
from .polydata import to_polydata

#: Points on each surface: enough for the 99th percentile to be steady to a few percent.
SAMPLES = 10_000
#: Of how many triangles a point's is chosen by area: the areas of all take longer than the rest.
_CANDIDATES = 10


@dataclass(frozen=True)
class Deviation:
    """Two-sided distance between two surfaces in mm, over points spread evenly on both.

    ``p99``: the 99th percentile of the side on which it is larger; ``mean`` and ``max`` likewise.
    """

    mean: float
    p99: float
    max: float


def deviation(first: SkinMesh, second: SkinMesh, samples: int = SAMPLES) -> Deviation:
    """Measure :class:`Deviation` at ``samples`` random points of each surface, cuts left out.

    The points are the same every time. A surface without skin counts as it is.
    """
    sides = (
        distances(spread_points(first, samples), second),
        distances(spread_points(second, samples), first),
    )
    return Deviation(
        max(float(side.mean()) for side in sides),
        max(float(np.percentile(side, 99)) for side in sides),
        max(float(side.max()) for side in sides),
    )


def distances(points: NDArray[np.float64], mesh: SkinMesh) -> NDArray[np.float64]:
    """Distance in mm from each point (n, 3; RAS mm) to the nearest point of a mesh."""
    from vtkmodules.vtkCommonCore import mutable
    from vtkmodules.vtkCommonDataModel import vtkGenericCell, vtkStaticCellLocator

    locator = vtkStaticCellLocator()
    locator.SetDataSet(to_polydata(mesh))
    locator.BuildLocator()
    cell, foot = vtkGenericCell(), [0.0, 0.0, 0.0]
    # The filter writes into these; its stubs call them plain numbers.
    which: Any = mutable(0)
    part: Any = mutable(0)
    squared: Any = mutable(0.0)
    result = np.empty(len(points))
    for n, point in enumerate(points.tolist()):
        locator.FindClosestPoint(point, foot, cell, which, part, squared)
        result[n] = squared.get()
    return np.sqrt(result)


def skin_mm2(mesh: SkinMesh) -> float:
    """Area of the skin, without cuts, in mm2; of a large mesh to within about a percent."""
    skin = len(mesh.triangles) - int(np.count_nonzero(mesh.is_cut))
    some = _some_skin(mesh, np.random.default_rng(0), _CANDIDATES * SAMPLES)
    return float(area_mm2(mesh, some).mean()) * skin if skin else 0.0


def _some_skin(mesh: SkinMesh, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
    """Triangles of the skin: all, or ``count`` random ones of more; all triangles without skin."""
    skin = np.flatnonzero(~mesh.is_cut) if not mesh.is_cut.all() else np.arange(len(mesh.is_cut))
    return skin if len(skin) <= count else skin[rng.integers(len(skin), size=count)]


def area_mm2(mesh: SkinMesh, which: NDArray[np.intp] | slice = slice(None)) -> NDArray[np.float64]:
    """Area in mm2 of each triangle, or of those ``which``."""
    triangles = mesh.triangles[which]
    # float64, so that no area of float32 corners rounds to zero.
    a, b, c = (mesh.points[triangles[:, corner]].astype(np.float64) for corner in range(3))
    u, v = (b - a).T, (c - a).T
    # By components: np.cross takes several times as long.
    normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    result: NDArray[np.float64] = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2) / 2
    return result


def spread_points(mesh: SkinMesh, count: int) -> NDArray[np.float64]:
    """Random points, evenly spread over the skin of a mesh; (count, 3)."""
    rng = np.random.default_rng(0)
    some = _some_skin(mesh, rng, _CANDIDATES * count)
    weight = area_mm2(mesh, some)
    if not weight.any():
        weight = np.ones(len(some))
    chosen = some[rng.choice(len(weight), count, p=weight / weight.sum())]
    a, b, c = np.moveaxis(mesh.points[mesh.triangles[chosen]].astype(np.float64), 1, 0)
    u, v = rng.random((2, count, 1))
    # A square folded along its diagonal covers the triangle evenly.
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    result: NDArray[np.float64] = a + u * (b - a) + v * (c - a)
    return result
