"""Writing a mesh, and reading it back to be sure of what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, SkinMesh, replacing
from .polydata import lps_signs, to_polydata

FORMATS = (".stl", ".ply", ".obj", ".vtp")
SPACES = ("LPS", "RAS")
#: Farthest that a coordinate may be off when read back, in mm: text files round.
_TOLERANCE_MM = 1e-3


def check_format(path: Path | str) -> None:
    """Raises OutputError unless the file name's ending is one of FORMATS."""
    if Path(path).suffix.lower() not in FORMATS:
        raise OutputError(
            f"{Path(path).name}: this kind of file is not known. "
            f"Choose a name that ends in {', '.join(FORMATS)}."
        )


def write(mesh: SkinMesh, path: Path | str, space: str = "LPS") -> Path:
    """Write a mesh in mm as binary STL, PLY, VTP or as OBJ, by the file name's ending.

    ``space``: LPS, which Slicer assumes and other programs expect, or RAS. It is written into the
    file as Slicer reads it (``SPACE=LPS``). The file is read back and compared before it replaces
    an existing one; on any error that one stays.

    Raises OutputError for an unknown ending, an unwritable place or a file that reads back wrong.
    """
    target = Path(path)
    check_format(target)
    if space not in SPACES:
        raise OutputError(f"{space} is no coordinate system. Choose LPS or RAS.")
    with replacing(target) as temporary:
        suffix = target.suffix.lower()
        _write(to_polydata(mesh, space), temporary, suffix, space)
        _verify(mesh, temporary, suffix, space, target.name)
    return target


def read_points(path: Path | str) -> tuple[NDArray[Any], int, str]:
    """What a mesh file holds: points (n, 3) as written, number of triangles, and its space tag.

    STL repeats a point for each triangle. The tag is "LPS", "RAS" or "" where there is none.
    Raises OutputError for an unknown ending.
    """
    check_format(path)
    points, triangles, tag = _read(Path(path), Path(path).suffix.lower())
    return points, len(triangles), tag


def _write(polydata: Any, path: Path, suffix: str, space: str) -> None:
    from vtkmodules import vtkIOGeometry, vtkIOPLY, vtkIOXML
    from vtkmodules.vtkCommonCore import vtkStringArray

    tag = f"SPACE={space}"
    if suffix == ".stl":
        writer = vtkIOGeometry.vtkSTLWriter()
        writer.SetFileTypeToBinary()
        writer.SetHeader(f"SkinSeg. {tag}")
    elif suffix == ".ply":
        writer = vtkIOPLY.vtkPLYWriter()
        writer.SetFileTypeToBinary()
        writer.AddComment(tag)
        writer.AddComment("unit: mm")
    elif suffix == ".obj":
        writer = vtkIOGeometry.vtkOBJWriter()
    else:
        writer = vtkIOXML.vtkXMLPolyDataWriter()
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        names = vtkStringArray()
        names.SetName("SPACE")
        names.InsertNextValue(space)
        polydata.GetFieldData().AddArray(names)
    problems: list[str] = []
    writer.AddObserver("ErrorEvent", lambda _writer, event: problems.append(event))
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    written = writer.Write()
    if not written or writer.GetErrorCode() or problems:
        raise OutputError(
            f"{path.name.split('-', 2)[-1]} could not be written in full. Is the disk full? "
            "Free some space, or choose another folder."
        )
    if suffix == ".obj":
        # The writer has no comment of its own; Slicer looks for the tag in the first lines.
        body = path.read_bytes()
        path.write_bytes(f"# SkinSeg. {tag}\n# unit: mm\n".encode() + body)


def _read(path: Path, suffix: str) -> tuple[NDArray[Any], NDArray[Any], str]:
    from vtkmodules import vtkIOGeometry, vtkIOPLY, vtkIOXML
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if suffix == ".stl":
        reader = vtkIOGeometry.vtkSTLReader()
        reader.MergingOff()
    elif suffix == ".ply":
        reader = vtkIOPLY.vtkPLYReader()
    elif suffix == ".obj":
        reader = vtkIOGeometry.vtkOBJReader()
    else:
        reader = vtkIOXML.vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    output = reader.GetOutput()
    if suffix == ".vtp":
        array = output.GetFieldData().GetAbstractArray("SPACE")
        header = f"SPACE={array.GetValue(0)}" if array else ""
    elif suffix == ".ply":
        comments = reader.GetComments()
        header = " ".join(comments.GetValue(n) for n in range(comments.GetNumberOfValues()))
    else:
        header = (reader.GetHeader() if suffix == ".stl" else reader.GetComment()) or ""
    tag = next((space for space in SPACES if f"SPACE={space}" in header), "")
    if output.GetNumberOfPolys() == 0 or output.GetPolys().GetMaxCellSize() != 3:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.int64), tag
    points = vtk_to_numpy(output.GetPoints().GetData())
    connectivity = vtk_to_numpy(output.GetPolys().GetConnectivityArray())
    return points, connectivity.reshape(-1, 3), tag


def _verify(mesh: SkinMesh, path: Path, suffix: str, space: str, name: str) -> None:
    """Raises OutputError unless every triangle and the tag of the file are those of the mesh."""
    points, triangles, tag = _read(path, suffix)
    expected = mesh.points if space == "RAS" else mesh.points * lps_signs()
    same = tag == space and triangles.shape == mesh.triangles.shape
    if same:
        off = np.abs(points[triangles] - expected[mesh.triangles])
        same = bool(off.max(initial=0) <= _TOLERANCE_MM)
    if not same:
        raise OutputError(
            f"{name} did not read back as it was written and was discarded. "
            "Check the disk, or choose another folder."
        )
