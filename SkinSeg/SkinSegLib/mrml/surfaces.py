"""Our mesh as the closed surface of a segment, and putting it back when Slicer dropped it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import SceneError, SkinMesh
from .host import ensure_host
from .keepers import keep, kept, shallow
from .labelmaps import segment_of
from .meshes import mesh_of, shaded_polydata


def set_surfaces(segmentation: Any, meshes: Mapping[str, SkinMesh]) -> None:
    """Make each mesh the closed surface of its segment, and keep it for :func:`restore_surface`.

    ``meshes``: segment ID -> mesh in the coordinates of the segmentation node. The labelmap stays
    the source representation. Raises SceneError if there is no such segment.
    """
    surfaces = {segment_id: shaded_polydata(mesh) for segment_id, mesh in meshes.items()}
    for segment_id, polydata in surfaces.items():
        keep(segmentation, segment_id, polydata)
    _attach(segmentation, surfaces)


def restore_surface(segmentation: Any) -> tuple[str, ...]:
    """Put our meshes back as closed surfaces wherever the labelmap is still the one they fit.

    Returns the IDs of the segments whose closed surface is now ours. Segments that were edited
    since, or never had a mesh of ours, keep what Slicer makes of them.
    """
    ours, surfaces = [], {}
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        polydata = kept(segmentation, segment_id)
        if polydata is None:
            continue
        shown = segmentation.GetClosedSurfaceInternalRepresentation(segment_id)
        if shown is None or not _same(shown, polydata):
            surfaces[segment_id] = shallow(polydata)
        ours.append(segment_id)
    _attach(segmentation, surfaces)
    return tuple(ours)


def node_surface(segmentation: Any, segment_id: str) -> Any:
    """The closed surface of a segment (vtkPolyData) in the coordinates of the segmentation node.

    Ours where it fits (see :func:`restore_surface`), else the one Slicer converts from the
    labelmap. Raises SceneError if the segment is missing or empty.
    """
    segment_of(segmentation, segment_id)
    restore_surface(segmentation)
    segmentation.CreateClosedSurfaceRepresentation()
    polydata = segmentation.GetClosedSurfaceInternalRepresentation(segment_id)
    if polydata is None or polydata.GetNumberOfCells() == 0:
        raise SceneError(f"The segment {segment_id} is empty. Segment the scan first.")
    return shallow(polydata)


def world_surface(segmentation: Any, segment_id: str) -> SkinMesh:
    """The closed surface of a segment in world RAS mm, as Slicer's own export takes it.

    Ours where it fits (see :func:`restore_surface`), else the one Slicer converts from the
    labelmap. Triangles are turned outward where a parent transform mirrors.

    Raises SceneError if the segment is missing or empty.
    """
    slicer = ensure_host()
    from vtkmodules.vtkCommonDataModel import vtkPolyData
    from vtkmodules.vtkFiltersCore import vtkTriangleFilter

    segment_of(segmentation, segment_id)
    ours = segment_id in restore_surface(segmentation)
    surface = vtkPolyData()
    done = slicer.vtkSlicerSegmentationsModuleLogic.GetSegmentClosedSurfaceRepresentation(
        segmentation, segment_id, surface
    )
    if not done or surface.GetNumberOfCells() == 0:
        raise SceneError(f"The segment {segment_id} is empty. Segment the scan first.")
    triangles = vtkTriangleFilter()
    triangles.SetInputData(surface)
    triangles.Update()
    mesh = mesh_of(triangles.GetOutput(), closed=ours)
    if mesh.volume_ml < 0:
        return SkinMesh(mesh.points, mesh.triangles[:, ::-1].copy(), mesh.is_cut, mesh.closed)
    return mesh


def _attach(segmentation: Any, surfaces: Mapping[str, Any]) -> None:
    if not surfaces:
        return
    slicer = ensure_host()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    for segment_id, polydata in surfaces.items():
        segment_of(segmentation, segment_id).AddRepresentation(name, polydata)
    # All segments of a segmentation hold the same representations; this converts only those
    # that have none yet, so segments that the user added, and never ours.
    segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetSegmentation().InvokeEvent(
        slicer.vtkSegmentation.ContainedRepresentationNamesModified
    )


def _same(first: Any, second: Any) -> bool:
    """Whether two surfaces share their points and triangles in memory."""
    if first.GetPoints() is None or second.GetPoints() is None:
        return False
    points = first.GetPoints().GetData() is second.GetPoints().GetData()
    return points and first.GetPolys() is second.GetPolys()


def shown_triangles(segmentation: Any, segment_id: str) -> int:
    """How many triangles the closed surface has that a segment has now; 0 without one."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    polydata = None
    if segment is not None:
        polydata = segmentation.GetClosedSurfaceInternalRepresentation(segment_id)
    return int(polydata.GetNumberOfPolys()) if polydata is not None else 0
