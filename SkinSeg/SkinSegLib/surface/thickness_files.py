"""A thickness map as a file: vertices with colours (PLY), or with numbers too (VTP)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core import OutputError, Progress, replacing
from .colors import viridis
from .files import read_points
from .formats import UNIT, run_writer, stamp
from .polydata import lps_signs, to_polydata
from .preview import VertexColors, render_views
from .thickness import DEFAULT_RANGE_MM, Thickness

THICKNESS_FORMATS = (".ply", ".vtp")
#: The names of the arrays in the files.
VALUES, COLORS, LEGEND = "thickness_mm", "RGB", "Legend"
_TOLERANCE_MM = 1e-3


def write_thickness(
    thickness: Thickness,
    path: Path | str,
    range_mm: tuple[float, float] = DEFAULT_RANGE_MM,
    space: str = "LPS",
) -> Path:
    """Write a coloured mesh in mm, by the file name's ending; it is read back and compared.

    PLY: an RGB colour for each vertex; VTP: that (array RGB) and the numbers (array thickness_mm,
    NaN where there is no bone). Both say what the colours mean, in a comment and in the field data
    array Legend. ``range_mm``: of the colours.

    Raises OutputError for another ending, an unwritable place or a file that reads back wrong,
    SurfaceError for an impossible range.
    """
    target = Path(path)
    check_thickness_format(target)
    polydata = to_polydata(thickness.mesh, space)
    _add_arrays(polydata, thickness, range_mm, space)
    with replacing(target) as temporary:
        if target.suffix.lower() == ".ply":
            _write_ply(polydata, temporary, thickness.legend(range_mm), space)
        else:
            _write_vtp(polydata, temporary)
        _verify(thickness, temporary, range_mm, space, target.name)
    return target


def check_thickness_format(path: Path | str) -> None:
    """Raises OutputError unless the file name's ending is one of THICKNESS_FORMATS."""
    if Path(path).suffix.lower() not in THICKNESS_FORMATS:
        raise OutputError(
            f"{Path(path).name}: this kind of file holds no colours that others read. "
            f"Choose a name that ends in {' or '.join(THICKNESS_FORMATS)}."
        )


def render_thickness(
    thickness: Thickness,
    path: Path | str,
    range_mm: tuple[float, float] = DEFAULT_RANGE_MM,
    progress: Progress | None = None,
) -> Path:
    """Write a PNG of the coloured mesh from four sides with the scale of its colours in mm.

    Errors as those of :func:`SkinSegLib.surface.render_views`.
    """
    low, high = range_mm
    colors = VertexColors(
        thickness.colors(range_mm),
        viridis(),
        low,
        high,
        title="Skin to bone,\nmm",
        note=f"grey: no bone\nwithin {thickness.limit_mm:g} mm",
    )
    return render_views(thickness.mesh, path, progress=progress, colors=colors)


def _add_arrays(
    polydata: Any, thickness: Thickness, range_mm: tuple[float, float], space: str
) -> None:
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkStringArray

    for name, values in (
        (VALUES, thickness.thickness_mm),
        (COLORS, thickness.colors(range_mm)),
    ):
        array = numpy_to_vtk(np.ascontiguousarray(values), deep=True)
        array.SetName(name)
        polydata.GetPointData().AddArray(array)
    polydata.GetPointData().SetActiveScalars(VALUES)
    fields = polydata.GetFieldData()
    for name, text in (("SPACE", space), (LEGEND, thickness.legend(range_mm))):
        words = vtkStringArray()
        words.SetName(name)
        words.InsertNextValue(text)
        fields.AddArray(words)
    numbers = vtkDoubleArray()
    numbers.SetName("ColorRange_mm")
    for value in range_mm:
        numbers.InsertNextValue(value)
    fields.AddArray(numbers)


def _write_ply(polydata: Any, path: Path, legend: str, space: str) -> None:
    from vtkmodules.vtkIOPLY import vtkPLYWriter

    writer = vtkPLYWriter()
    writer.SetFileTypeToBinary()
    writer.SetArrayName(COLORS)
    for comment in (stamp(space), f"unit: {UNIT}", legend):
        writer.AddComment(comment)
    run_writer(writer, polydata, path)


def _write_vtp(polydata: Any, path: Path) -> None:
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    writer = vtkXMLPolyDataWriter()
    writer.SetDataModeToAppended()
    writer.EncodeAppendedDataOff()
    run_writer(writer, polydata, path)


def _verify(
    thickness: Thickness, path: Path, range_mm: tuple[float, float], space: str, name: str
) -> None:
    mesh = thickness.mesh
    points, count, tag = read_points(path)
    expected = mesh.points if space == "RAS" else mesh.points * lps_signs()
    same = tag == space and count == len(mesh.triangles) and points.shape == expected.shape
    if same:
        same = bool(np.abs(points - expected).max(initial=0) <= _TOLERANCE_MM)
        arrays = _arrays_in(path)
        same &= np.array_equal(arrays.get(COLORS, ()), thickness.colors(range_mm))
        if path.suffix.lower() == ".vtp":
            same &= np.array_equal(arrays.get(VALUES, ()), thickness.thickness_mm, equal_nan=True)
    if not same:
        raise OutputError(
            f"{name} did not read back as it was written and was discarded. "
            "Check the disk, or choose another folder."
        )


def _arrays_in(path: Path) -> dict[str, Any]:
    """The point arrays of a file by name."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOPLY import vtkPLYReader
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader = vtkPLYReader() if path.suffix.lower() == ".ply" else vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    data = reader.GetOutput().GetPointData()
    arrays = (data.GetArray(n) for n in range(data.GetNumberOfArrays()))
    return {array.GetName(): vtk_to_numpy(array) for array in arrays}
