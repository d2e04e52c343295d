"""SkinMesh to and from vtkPolyData."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import LPS_RAS, SkinMesh

CUT_ARRAY = "Cut"


def to_polydata(mesh: SkinMesh, space: str = "RAS") -> Any:
    """A vtkPolyData of its own memory, in ``space`` (RAS or LPS) mm.

    Both spaces are right-handed, so triangles keep their order. Cell array CUT_ARRAY is 1 where
    the surface is the end of the scan.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    points = vtkPoints()
    coordinates = mesh.points if space == "RAS" else mesh.points * lps_signs()
    points.SetData(numpy_to_vtk(np.ascontiguousarray(coordinates), deep=True))
    cells = vtkCellArray()
    offsets = np.arange(0, mesh.triangles.size + 1, 3, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True),
        numpy_to_vtkIdTypeArray(mesh.triangles.astype(np.int64).ravel(), deep=True),
    )
    polydata = vtkPolyData()
    polydata.SetPoints(points)
    polydata.SetPolys(cells)
    cut = numpy_to_vtk(mesh.is_cut.astype(np.uint8), deep=True)
    cut.SetName(CUT_ARRAY)
    polydata.GetCellData().AddArray(cut)
    return polydata


def lps_signs() -> NDArray[np.float32]:
    """What RAS coordinates are multiplied with to become LPS, and back."""
    return np.diag(LPS_RAS)[:3].astype(np.float32)
