"""Writing a segment's surface to a file, through the segmentation node, and checking the file."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ..core import LPS_RAS, OutputError, SkinMesh, replacing, transform_points
from .host import ensure_host
from .rebuild import rebuild_surface
from .segments import HEAD
from .surfaces import world_surface

#: Sign of the coordinates in a file: what RAS is multiplied with.
_SPACES = {"LPS": LPS_RAS, "RAS": np.eye(4)}


def export_surface(
    segmentation: Any,
    path: Path | str,
    segment_id: str = HEAD.segment_id,
    space: str = "LPS",
) -> Path:
    """Write the closed surface of one segment to ``path``, by its ending, one of surface.FORMATS.

    STL is written by Slicer's own export of segments, into a folder beside the target; the file
    is read back and compared with the surface triangle by triangle, and only then takes the
    target's name. Slicer's export reports success even where nothing was written, and would turn
    the surface inside out below a mirroring transform; both are caught here. Other formats are
    written by :func:`SkinSegLib.surface.write`. Of a head that was edited since, our surface is
    made again first.

    Raises OutputError if the file cannot be written or does not read back; SceneError if the
    segment is missing or empty.
    """
    target = Path(path).absolute()
    if space not in _SPACES:
        raise OutputError(f"There is no coordinate system {space}. Choose LPS or RAS.")
    rebuild_surface(segmentation, segment_id)
    mesh = world_surface(segmentation, segment_id)
    if target.suffix.lower() != ".stl" or _turned(segmentation, segment_id, mesh):
        from ..surface import write

        return write(mesh, target, space=space)
    with (
        replacing(target) as temporary,
        tempfile.TemporaryDirectory(prefix=".skinseg-", dir=target.parent) as folder,
    ):
        written = _by_slicer(segmentation, segment_id, Path(folder), space)
        _verify(written, mesh, space)
        written.replace(temporary)
    return target


def export_name(segmentation: Any, segment_id: str = HEAD.segment_id, suffix: str = ".stl") -> str:
    """The file name to propose for a segment: its own, as far as every system takes it."""
    from ..surface import safe_file_name

    segment = segmentation.GetSegmentation().GetSegment(segment_id) if segmentation else None
    return safe_file_name(segment.GetName() or "" if segment else "", suffix)


def _by_slicer(segmentation: Any, segment_id: str, folder: Path, space: str) -> Path:
    """Let Slicer export one segment as STL into an empty folder; returns the file."""
    slicer = ensure_host()
    from vtkmodules.vtkCommonCore import vtkStringArray

    ids = vtkStringArray()
    ids.InsertNextValue(segment_id)
    # Merged, the file is named after the node alone: a segment's name may hold a "/", and then
    # Slicer writes nothing. A node's name is cleaned, but may come out empty: still one file.
    slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsClosedSurfaceRepresentationToFiles(
        str(folder), segmentation, ids, "STL", space == "LPS", 1.0, True
    )
    files = list(folder.iterdir())
    if len(files) != 1:
        raise OutputError(
            f"Slicer wrote no surface file for the segment {segment_id}. See the log for what "
            "it reported, and check that the folder is writable and the disk not full."
        )
    return files[0]


def _turned(segmentation: Any, segment_id: str, mesh: SkinMesh) -> bool:
    """Whether Slicer's surface of the segment would come out inside out in the world."""
    slicer = ensure_host()
    from vtkmodules.vtkCommonDataModel import vtkPolyData

    surface = vtkPolyData()
    slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentClosedSurfaceRepresentation(
        segmentation, segment_id, surface
    )
    first = [surface.GetCell(0).GetPointId(i) for i in range(3)]
    return not _same_turn(first, mesh.triangles[0].tolist())


def _same_turn(first: list[int], second: list[int]) -> bool:
    return any(first[i:] + first[:i] == second for i in range(3))


def _verify(path: Path, mesh: SkinMesh, space: str) -> None:
    """Read a binary STL back and compare it with the mesh it should hold."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOGeometry import vtkSTLReader

    with path.open("rb") as file:
        header = file.read(80)
    reader = vtkSTLReader()
    reader.SetFileName(str(path))
    reader.MergingOff()
    reader.Update()
    back = reader.GetOutput()
    expected = transform_points(_SPACES[space], mesh.points)[mesh.triangles].reshape(-1, 3)
    good = f"SPACE={space}".encode() in header and back.GetNumberOfPolys() == len(mesh.triangles)
    if good:
        corners = vtk_to_numpy(back.GetPoints().GetData())
        order = vtk_to_numpy(back.GetPolys().GetConnectivityArray())
        good = bool(np.allclose(corners[order], expected, rtol=1e-6, atol=1e-3))
    if not good:
        raise OutputError(
            "The surface file does not read back as it was written. Free some disk space or "
            "choose another folder, and export again."
        )
