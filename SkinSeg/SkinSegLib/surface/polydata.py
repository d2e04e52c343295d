"""SkinMesh to vtkPolyData, and on how many cores VTK computes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import LPS_RAS, SkinMesh, cores

CUT_ARRAY = "Cut"


@contextmanager
def on_all_cores() -> Iterator[None]:
    """VTK's filters on all cores within the block; VTK's wheel takes one unless it is told.

    A VTK that was built for several, as Slicer's, is left as it is.
    """
    from vtkmodules.vtkCommonCore import vtkSMPTools

    if vtkSMPTools.GetBackend() != "Sequential" or cores() == 1:
        yield
        return
    vtkSMPTools.SetBackend("STDThread")
    vtkSMPTools.Initialize(cores())
    try:
        yield
    finally:
        vtkSMPTools.SetBackend("Sequential")


def to_polydata(mesh: SkinMesh, space: str = "RAS") -> Any:
    """A vtkPolyData of its own memory, in ``space`` (RAS or LPS) mm.

    Both spaces are right-handed, so triangles keep their order. Cell array CUT_ARRAY is 1 where
    the surface is the end of the scan.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk

    coordinates = mesh.points if space == "RAS" else mesh.points * lps_signs()
    polydata = polygons(coordinates, 3, mesh.triangles.astype(np.int64).ravel())
    cut = numpy_to_vtk(mesh.is_cut.astype(np.uint8), deep=True)
    cut.SetName(CUT_ARRAY)
    polydata.GetCellData().AddArray(cut)
    return polydata


def polygons(points: NDArray[Any], counts: NDArray[Any] | int, corners: NDArray[np.int64]) -> Any:
    """A vtkPolyData of its own memory. ``counts``: corners of each polygon, or of all alike;
    ``corners``: indices into points (n, 3), one polygon after the other."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

    places = vtkPoints()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points), deep=True))
    if isinstance(counts, int):
        offsets = np.arange(0, corners.size + 1, counts, dtype=np.int64)
    else:
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    cells = vtkCellArray()
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(corners, deep=True)
    )
    polydata = vtkPolyData()
    polydata.SetPoints(places)
    polydata.SetPolys(cells)
    return polydata


def lps_signs() -> NDArray[np.float32]:
    """What RAS coordinates are multiplied with to become LPS, and back."""
    return np.diag(LPS_RAS)[:3].astype(np.float32)
