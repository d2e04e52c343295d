"""Our mesh as the closed surface of a segment, and putting it back when Slicer dropped it.

Slicer does not save closed surfaces: it converts them again from the labelmap when a scene is
loaded, and after every edit. So each of our meshes is also kept as a hidden model node, which is
saved, together with a fingerprint of the labelmap that it belongs to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SceneError, SkinMesh
from .host import ensure_host
from .meshes import mesh_of, shaded_polydata
from .volumes import array_of

#: Tag of a segment: the labelmap for which its kept surface was made.
FINGERPRINT_TAG = "SkinSeg.Labelmap"
#: Attribute of a kept surface's model node: the segment's ID.
SEGMENT_ATTRIBUTE = "SkinSeg.SurfaceOfSegment"
_OWNER_ROLE = "SkinSeg.Segmentation"


def segment_labelmap(segmentation: Any, segment_id: str) -> tuple[NDArray[np.uint8], Any]:
    """One segment's voxels, cropped to what it fills.

    Returns a (k, j, i) uint8 mask and the 4x4 matrix from its indices to the coordinates of the
    segmentation node (mm, without the node's parent transform). An empty segment gives an array
    of size 0. Raises SceneError if there is no such segment.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    segment = _segment(segmentation, segment_id)
    image = segmentation.GetBinaryLabelmapInternalRepresentation(segment_id)
    matrix = vtkMatrix4x4()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return np.zeros((0, 0, 0), dtype=np.uint8), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    mask = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 0))
    to_node = array_of(matrix)
    corner = np.array([s.start for s in box[::-1]]) + image.GetExtent()[::2]
    to_node[:3, 3] += to_node[:3, :3] @ corner
    return np.ascontiguousarray(mask[tuple(box)], dtype=np.uint8), to_node


def set_surfaces(segmentation: Any, meshes: Mapping[str, SkinMesh]) -> None:
    """Make each mesh the closed surface of its segment, and keep it for :func:`restore_surface`.

    ``meshes``: segment ID -> mesh in the coordinates of the segmentation node. The labelmap stays
    the source representation. Raises SceneError if there is no such segment.
    """
    slicer = ensure_host()
    surfaces = {}
    for segment_id, mesh in meshes.items():
        segment = _segment(segmentation, segment_id)
        segment.SetTag(FINGERPRINT_TAG, _fingerprint(segmentation, segment_id))
        keeper = _keeper(segmentation, segment_id)
        if keeper is None:
            keeper = slicer.mrmlScene.CreateNodeByClass("vtkMRMLModelNode")
            keeper.UnRegister(None)
            keeper.SetName(f"{segmentation.GetName()} {segment_id} surface")
            keeper.SetHideFromEditors(True)
            keeper.SetAttribute(SEGMENT_ATTRIBUTE, segment_id)
            slicer.mrmlScene.AddNode(keeper)
            keeper.SetNodeReferenceID(_OWNER_ROLE, segmentation.GetID())
        surfaces[segment_id] = shaded_polydata(mesh)
        keeper.SetAndObserveMesh(_shallow(surfaces[segment_id]))
    _attach(segmentation, surfaces)


def restore_surface(segmentation: Any) -> tuple[str, ...]:
    """Put our meshes back as closed surfaces wherever the labelmap is still the one they fit.

    Returns the IDs of the segments whose closed surface is now ours. Segments that were edited
    since, or never had a mesh of ours, keep what Slicer makes of them.
    """
    ours, surfaces = [], {}
    for segment_id in segmentation.GetSegmentation().GetSegmentIDs():
        keeper = _keeper(segmentation, segment_id)
        if keeper is None or keeper.GetPolyData() is None:
            continue
        if not _fits(_segment(segmentation, segment_id), segmentation, segment_id):
            continue
        shown = segmentation.GetClosedSurfaceInternalRepresentation(segment_id)
        if shown is None or not _same(shown, keeper.GetPolyData()):
            surfaces[segment_id] = _shallow(keeper.GetPolyData())
        ours.append(segment_id)
    _attach(segmentation, surfaces)
    return tuple(ours)


def world_surface(segmentation: Any, segment_id: str) -> SkinMesh:
    """The closed surface of a segment in world RAS mm, as Slicer's own export takes it.

    Ours where it fits (see :func:`restore_surface`), else the one Slicer converts from the
    labelmap. Triangles are turned outward where a parent transform mirrors.

    Raises SceneError if the segment is missing or empty.
    """
    slicer = ensure_host()
    from vtkmodules.vtkCommonDataModel import vtkPolyData
    from vtkmodules.vtkFiltersCore import vtkTriangleFilter

    _segment(segmentation, segment_id)
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
    keeper = _keeper(segmentation, segment_id) if ours else None
    mesh = mesh_of(triangles.GetOutput(), closed=keeper is not None)
    if mesh.volume_ml < 0:
        return SkinMesh(mesh.points, mesh.triangles[:, ::-1].copy(), mesh.is_cut, mesh.closed)
    return mesh


def remove_orphans() -> int:
    """Remove kept surfaces whose segmentation is gone; returns how many."""
    slicer = ensure_host()
    orphans = [n for n in _keepers(slicer) if n.GetNodeReference(_OWNER_ROLE) is None]
    for node in orphans:
        slicer.mrmlScene.RemoveNode(node)
    return len(orphans)


def _segment(segmentation: Any, segment_id: str) -> Any:
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise SceneError(f"There is no segment {segment_id}. Segment the scan first.")
    return segment


def _keepers(slicer: Any) -> list[Any]:
    nodes = slicer.util.getNodesByClass("vtkMRMLModelNode")
    return [node for node in nodes if node.GetAttribute(SEGMENT_ATTRIBUTE)]


def _keeper(segmentation: Any, segment_id: str) -> Any:
    for node in _keepers(ensure_host()):
        owned = node.GetNodeReferenceID(_OWNER_ROLE) == segmentation.GetID()
        if owned and node.GetAttribute(SEGMENT_ATTRIBUTE) == segment_id:
            return node
    return None


def _shallow(polydata: Any) -> Any:
    copy = polydata.NewInstance()
    copy.ShallowCopy(polydata)
    return copy


def _attach(segmentation: Any, surfaces: Mapping[str, Any]) -> None:
    if not surfaces:
        return
    slicer = ensure_host()
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    for segment_id, polydata in surfaces.items():
        _segment(segmentation, segment_id).AddRepresentation(name, polydata)
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


def _fingerprint(segmentation: Any, segment_id: str) -> str:
    """Hash of the voxels and the grid they lie on, free of the characters that tags reserve."""
    mask, matrix = segment_labelmap(segmentation, segment_id)
    digest = hashlib.sha256(str(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    return " ".join([digest, *(f"{x:.6g}" for x in matrix[:3].ravel())])


def _fits(segment: Any, segmentation: Any, segment_id: str) -> bool:
    from vtkmodules.vtkCommonCore import reference

    tag = reference("")
    if not segment.GetTag(FINGERPRINT_TAG, tag):
        return False
    kept, now = str(tag).split(), _fingerprint(segmentation, segment_id).split()
    if kept[:1] != now[:1] or len(kept) != len(now):
        return False
    # Files keep the grid to about six digits, so the voxels must agree exactly, the grid nearly.
    before, after = (np.array(words[1:], dtype=float) for words in (kept, now))
    return bool(np.allclose(before, after, rtol=1e-4, atol=2e-3))
