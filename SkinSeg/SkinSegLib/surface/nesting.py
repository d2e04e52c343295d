"""Which parts of a mesh lie within the solid that its other parts enclose."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .polydata import polygons

#: Where in a triangle its ray begins, as weights of the corners, and where it goes. No simple
#: fractions: the ray must not run along faces or through edges, which lie on the voxels' grid.
_PLACE = np.array([0.2137, 0.3391, 0.4472])
_DIRECTION = np.array([0.1371, 0.2619, 0.9553])


def inside_others(
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    part: NDArray[np.int64],
    which: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether each of the parts ``which`` lies in the solid of the rest; ``part``: of triangles.

    The winding number of the other parts around a point of the part, counted along a ray: each
    wall that the ray leaves adds one, each that it enters takes one away.
    """
    from vtkmodules.vtkCommonCore import vtkIdList, vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkStaticCellLocator

    polydata = polygons(points, 3, triangles.ravel())
    locator: Any = vtkStaticCellLocator()
    locator.SetDataSet(polydata)
    locator.BuildLocator()
    reach = 1.0 + float(np.linalg.norm(np.ptp(points, axis=0)))
    largest = _largest_triangles(points, triangles, part)
    hits, cells = vtkPoints(), vtkIdList()
    inside = np.zeros(len(which), bool)
    for n, number in enumerate(which):
        start = _PLACE @ points[triangles[largest[number]]]
        end = start + reach * _DIRECTION
        locator.IntersectWithLine(tuple(start), tuple(end), 0.0, hits, cells)
        hit = np.array([cells.GetId(m) for m in range(cells.GetNumberOfIds())], np.int64)
        hit = np.unique(hit[part[hit] != number])
        a, b, c = (points[triangles[hit, corner]] for corner in range(3))
        leaving = np.sign(np.cross(b - a, c - a) @ _DIRECTION)
        inside[n] = leaving.sum() > 0
    return inside


def _largest_triangles(
    points: NDArray[np.float64], triangles: NDArray[np.int64], part: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each part its triangle with the longest first side: a point well within a triangle."""
    length = ((points[triangles[:, 1]] - points[triangles[:, 0]]) ** 2).sum(axis=1)
    order = np.lexsort((length, part))
    last: NDArray[np.int64] = order[np.flatnonzero(np.diff(part[order], append=-1))]
    return last
