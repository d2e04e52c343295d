"""What a mesh file holds, and the formats that VTK writes and reads: STL, OBJ, VTP, and PLY."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, SkinMesh
from . import ply
from .polydata import lps_signs, polygons, to_polydata

SPACES = ("LPS", "RAS")
UNIT = "mm"
#: Bytes of a binary STL before its first triangle, and of each triangle.
_STL_HEADER, _STL_ROW = 84, 50
_TEXT_START = 1024


@dataclass(frozen=True)
class FileMesh:
    """Triangles as they stand in a file.

    ``points``: (n, 3), in mm, along the axes of ``tag``. ``triangles``: (m, 3) int64. ``tag``:
    "LPS", "RAS", or "" where the file does not say.
    """

    points: NDArray[Any]
    triangles: NDArray[np.int64]
    tag: str

    def in_space(self, space: str) -> NDArray[Any]:
        """The points in LPS or RAS; untagged ones are LPS, as Slicer assumes."""
        return self.points if (self.tag or "LPS") == space else self.points * lps_signs()


def stamp(space: str) -> str:
    """The tag as Slicer reads it from a header, and what made the file."""
    return f"SkinSeg. SPACE={space}"


def tag_of(text: str | bytes) -> str:
    """The space that a header or comment names; "" if it names none.

    ``text``: bytes where VTK met something that is not UTF-8, as an umlaut of another program's.
    """
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    found = re.search(rf"SPACE=({'|'.join(SPACES)})\b", text)
    return found.group(1) if found else ""


def not_written(path: Path) -> OutputError:
    """The error of a writer that did not get to the end of its (temporary) file."""
    return OutputError(
        f"{path.name} could not be written in full. Is the disk full? "
        "Free some space, or choose another folder."
    )


def damaged(path: Path, kind: str) -> OutputError:
    """The error of a file that holds no, or only part of, what its name promises."""
    return OutputError(
        f"{path.name} cannot be read as {kind}: it is damaged, cut short, or no {kind} file. "
        "Copy it again from its source, or export it again."
    )


def write_polydata(mesh: SkinMesh, path: Path, space: str, *, ascii: bool = False) -> None:
    """Write STL, PLY, OBJ or VTP by VTK, binary where the format can be; ``ascii``: STL as text.

    Raises OutputError if the writer fails.
    """
    from vtkmodules import vtkIOGeometry, vtkIOPLY, vtkIOXML
    from vtkmodules.vtkCommonCore import vtkStringArray

    suffix = path.suffix.lower()
    polydata = to_polydata(mesh, space)
    if suffix == ".stl":
        writer = vtkIOGeometry.vtkSTLWriter()
        writer.SetFileType(1 if ascii else 2)
        writer.SetHeader(stamp(space))
    elif suffix == ".ply":
        writer = vtkIOPLY.vtkPLYWriter()
        writer.SetFileTypeToBinary()
        writer.AddComment(stamp(space))
        writer.AddComment(f"unit: {UNIT}")
    elif suffix == ".obj":
        writer = vtkIOGeometry.vtkOBJWriter()
    else:
        writer = vtkIOXML.vtkXMLPolyDataWriter()
        writer.SetDataModeToAppended()
        writer.EncodeAppendedDataOff()
        for name, text in (("SPACE", space), ("UNIT", UNIT)):
            words = vtkStringArray()
            words.SetName(name)
            words.InsertNextValue(text)
            polydata.GetFieldData().AddArray(words)
    run_writer(writer, polydata, path)
    if suffix == ".obj":
        # The writer has no comment of its own; Slicer looks for the tag in the first lines.
        body = path.read_bytes()
        path.write_bytes(f"# {stamp(space)}\n# unit: {UNIT}\n".encode() + body)


def run_writer(writer: Any, polydata: Any, path: Path) -> None:
    """Let one of VTK's writers write. Raises OutputError if it did not get to the end."""
    problems: list[str] = []
    writer.AddObserver("ErrorEvent", lambda _writer, event: problems.append(event))
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    written = writer.Write()
    if not written or writer.GetErrorCode() or problems:
        raise not_written(path)


def read_stl(path: Path) -> FileMesh:
    """Binary or text; each triangle has corners of its own. Raises OutputError."""
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    kind = "STL"
    if not _is_whole_stl(path):
        raise damaged(path, kind)
    reader = vtkSTLReader()
    reader.MergingOff()
    output = output_of(reader, path, kind)
    points, triangles = arrays_of(output, path, kind)
    return FileMesh(points, triangles, tag_of(reader.GetHeader() or ""))


def read_obj(path: Path) -> FileMesh:
    """Groups and materials are left aside, polygons cut into triangles. Raises OutputError."""
    from vtkmodules.vtkIOGeometry import vtkOBJReader

    with path.open("rb") as file:
        start = file.read(_TEXT_START).decode("latin-1")
    # VTK's reader gives the last comment only, and Slicer looks at the first lines.
    comments = " ".join(line for line in start.splitlines() if line.startswith("#"))
    points, triangles = arrays_of(output_of(vtkOBJReader(), path, "OBJ"), path, "OBJ")
    return FileMesh(points, triangles, tag_of(comments))


def read_vtp(path: Path) -> FileMesh:
    """Slicer's own tag is a field array SPACE. Raises OutputError."""
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    output = output_of(vtkXMLPolyDataReader(), path, "VTP")
    array = output.GetFieldData().GetAbstractArray("SPACE")
    space = str(array.GetValue(0)) if array and array.GetNumberOfValues() else ""
    points, triangles = arrays_of(output, path, "VTP")
    return FileMesh(points, triangles, space if space in SPACES else "")


def read_ply(path: Path) -> FileMesh:
    """Text or binary, not by VTK, whose reader crashes on a file cut short. Raises OutputError."""
    found = ply.parse(path.read_bytes())
    if found is None:
        raise damaged(path, "PLY")
    polydata = polygons(found.points, found.counts, found.corners)
    points, triangles = arrays_of(polydata, path, "PLY")
    return FileMesh(points, triangles, tag_of(" ".join(found.comments)))


def _is_whole_stl(path: Path) -> bool:
    """A binary STL says how many triangles it has; VTK takes fewer without a word."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(_STL_HEADER)
        file.seek(max(0, size - _TEXT_START))
        end = file.read()
    if header.lstrip().startswith(b"solid") and b"endsolid" in end:
        return True
    rows = int.from_bytes(header[80:84], "little")
    return len(header) == _STL_HEADER and size >= _STL_HEADER + rows * _STL_ROW


def output_of(reader: Any, path: Path, kind: str) -> Any:
    problems: list[str] = []
    for source in (reader, reader.GetExecutive()):
        source.AddObserver("ErrorEvent", lambda _source, event: problems.append(event))
    reader.SetFileName(str(path))
    reader.Update()
    if problems or reader.GetErrorCode():
        raise damaged(path, kind)
    return reader.GetOutput()


def arrays_of(polydata: Any, path: Path, kind: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Points and triangles; other polygons and strips are cut into triangles."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkTriangleFilter

    if polydata.GetPoints() is None:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.int64)
    points = vtk_to_numpy(polydata.GetPoints().GetData())
    for cells in (polydata.GetPolys(), polydata.GetStrips()):
        corners = vtk_to_numpy(cells.GetConnectivityArray())
        if corners.size and (corners.min() < 0 or corners.max() >= len(points)):
            raise damaged(path, kind)
    count = polydata.GetNumberOfPolys()
    mixed = polydata.GetPolys().GetConnectivityArray().GetNumberOfValues() != 3 * count
    if mixed or polydata.GetPolys().GetMaxCellSize() > 3 or polydata.GetNumberOfStrips():
        cut = vtkTriangleFilter()
        cut.SetInputData(polydata)
        cut.PassLinesOff()
        cut.PassVertsOff()
        cut.Update()
        polydata = cut.GetOutput()
        points = vtk_to_numpy(polydata.GetPoints().GetData())
    triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return points, triangles.astype(np.int64, copy=False)
