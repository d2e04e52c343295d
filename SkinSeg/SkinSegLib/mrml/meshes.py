"""Triangle meshes between a segment's closed surface and SkinMesh."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import SceneError, SkinMesh
from ..surface.polydata import CUT_ARRAY, to_polydata


def shaded_polydata(mesh: SkinMesh) -> Any:
    """The mesh as vtkPolyData, same points in the same order, with point normals for shading."""
    from vtkmodules.vtkFiltersCore import vtkPolyDataNormals

    normals = vtkPolyDataNormals()
    normals.SetInputData(to_polydata(mesh))
    normals.SplittingOff()  # splitting would double points and open the surface
    normals.ConsistencyOff()
    normals.Update()
    return normals.GetOutput()


def mesh_of(polydata: Any, closed: bool) -> SkinMesh:
    """vtkPolyData of triangles as SkinMesh; ``closed`` is what the caller knows about it.

    Raises SceneError if it holds anything but triangles.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy

    polys = polydata.GetPolys()
    count = polys.GetNumberOfCells()
    connectivity = vtk_to_numpy(polys.GetConnectivityArray()) if count else np.empty(0)
    if connectivity.size != 3 * count or polydata.GetNumberOfStrips():
        raise SceneError("A surface has cells that are no triangles. Triangulate it first.")
    points = polydata.GetPoints()
    coordinates = vtk_to_numpy(points.GetData()) if points is not None else np.empty((0, 3))
    marks = polydata.GetCellData().GetArray(CUT_ARRAY)
    is_cut = vtk_to_numpy(marks) != 0 if marks is not None else np.zeros(count, dtype=bool)
    return SkinMesh(
        coordinates.astype(np.float32).reshape(-1, 3),
        connectivity.astype(np.int32).reshape(-1, 3),
        is_cut,
        closed,
    )
