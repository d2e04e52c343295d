"""Keeping our meshes through what Slicer does to closed surfaces.

Slicer does not save closed surfaces: it converts them again from the labelmap when a scene is
loaded, and after every edit. So each of our meshes is also kept in a hidden model node, which is
saved. Two tags of the segment say which labelmap the mesh was made for, and which mesh it is:
hidden nodes of several scenes in one folder may be saved under one file name, and a node may then
come back with another patient's face in it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from ..core import SkinMesh, transform_points
from .host import ensure_host
from .labelmaps import segment_labelmap, segment_of
from .meshes import mesh_of, shaded_polydata

#: Tag of a segment: the labelmap for which its kept surface was made.
LABELMAP_TAG = "SkinSeg.Labelmap"
#: Tag of a segment: the points and triangles of its kept surface.
SURFACE_TAG = "SkinSeg.Surface"
#: Attribute of a kept surface's model node: the segment's ID.
SEGMENT_ATTRIBUTE = "SkinSeg.SurfaceOfSegment"
_OWNER_ROLE = "SkinSeg.Segmentation"


def keep(segmentation: Any, segment_id: str, polydata: Any) -> None:
    """Keep a mesh (vtkPolyData) for a segment as it is now, instead of what was kept before.

    Raises SceneError if there is no such segment.
    """
    slicer = ensure_host()
    segment = segment_of(segmentation, segment_id)
    digest = _mesh_digest(polydata)
    segment.SetTag(LABELMAP_TAG, labelmap_fingerprint(segmentation, segment_id))
    segment.SetTag(SURFACE_TAG, digest)
    node = _keeper(segmentation, segment_id)
    # The file is named after the node: with a piece of the digest no two scenes share one.
    name = f"{segmentation.GetName()} {segment_id} surface {digest[:8]}"
    if node is None:
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLModelNode")
        node.UnRegister(None)
        node.SetName(name)
        node.SetHideFromEditors(True)
        node.SetAttribute(SEGMENT_ATTRIBUTE, segment_id)
        slicer.mrmlScene.AddNode(node)
        node.SetNodeReferenceID(_OWNER_ROLE, segmentation.GetID())
    node.SetName(name)
    node.SetAndObserveMesh(shallow(polydata))


def kept(segmentation: Any, segment_id: str) -> Any:
    """The mesh (vtkPolyData) that was kept for a segment, or None where it does not fit.

    It fits if it is the very mesh that was kept, and the segment has the voxels that it was made
    for. Where these lie elsewhere by now, because a linear transform was hardened, the mesh is
    moved along. What a non-linear transform or an edit leaves has other voxels.
    """
    node = _keeper(segmentation, segment_id)
    segment = segment_of(segmentation, segment_id)
    polydata = node.GetPolyData() if node is not None else None
    if polydata is None or tag_of(segment, SURFACE_TAG) != _mesh_digest(polydata):
        return None
    before = tag_of(segment, LABELMAP_TAG).split()
    now = labelmap_fingerprint(segmentation, segment_id).split()
    if before[:1] != now[:1] or len(before) != len(now):
        return None
    old, new = (_matrix(words[1:]) for words in (before, now))
    # Files keep the grid to about six digits: the voxels must agree exactly, the grid nearly.
    if not np.allclose(old, new, rtol=1e-4, atol=2e-3):
        mesh = mesh_of(polydata, closed=True)
        points = transform_points(new @ np.linalg.inv(old), mesh.points).astype(np.float32)
        moved = SkinMesh(points, mesh.triangles, mesh.is_cut, mesh.closed)
        polydata = shaded_polydata(moved)
        keep(segmentation, segment_id, polydata)
    return polydata


def is_ours(segmentation: Any, segment_id: str) -> bool:
    """Whether a mesh was ever kept for a segment, whether or not it still fits."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    return segment is not None and tag_of(segment, SURFACE_TAG) != ""


def remove_orphans() -> int:
    """Remove the kept surfaces of segmentations that are gone; returns how many.

    Those of segments that are gone leave the scene's files; they stay in memory, since Slicer can
    undo the removal of a segment.
    """
    slicer = ensure_host()
    orphans = []
    for node in _keepers():
        # In the middle of a removal the reference still leads to the node: look in the scene.
        owner = slicer.mrmlScene.GetNodeByID(node.GetNodeReferenceID(_OWNER_ROLE) or "")
        if owner is None:
            orphans.append(node)
        else:
            segment = owner.GetSegmentation().GetSegment(node.GetAttribute(SEGMENT_ATTRIBUTE))
            node.SetSaveWithScene(segment is not None)
    for node in orphans:
        for part in (node.GetStorageNode(), node):
            if part is not None and part.GetScene() is not None:
                slicer.mrmlScene.RemoveNode(part)
    return len(orphans)


def shallow(polydata: Any) -> Any:
    """Another vtkPolyData on the same points and triangles."""
    copy = polydata.NewInstance()
    copy.ShallowCopy(polydata)
    return copy


def _keepers() -> list[Any]:
    nodes = ensure_host().util.getNodesByClass("vtkMRMLModelNode")
    return [node for node in nodes if node.GetAttribute(SEGMENT_ATTRIBUTE)]


def _keeper(segmentation: Any, segment_id: str) -> Any:
    for node in _keepers():
        owned = node.GetNodeReferenceID(_OWNER_ROLE) == segmentation.GetID()
        if owned and node.GetAttribute(SEGMENT_ATTRIBUTE) == segment_id:
            return node
    return None


def tag_of(segment: Any, name: str) -> str:
    """A tag of a segment, "" if it has none of that name."""
    from vtkmodules.vtkCommonCore import reference

    value = reference("")
    return str(value) if segment.GetTag(name, value) else ""


def _matrix(words: list[str]) -> Any:
    return np.vstack([np.array(words, dtype=float).reshape(3, 4), [0, 0, 0, 1]])


def _mesh_digest(polydata: Any) -> str:
    """Hash of the points (float32) and the triangles; files keep both, but for the sign of 0."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    if polydata.GetPoints() is None or polydata.GetNumberOfPolys() == 0:
        return "empty"
    points = vtk_to_numpy(polydata.GetPoints().GetData()).astype(np.float32)
    triangles = vtk_to_numpy(polydata.GetPolys().GetConnectivityArray()).astype(np.int64)
    return hashlib.sha256((points + np.float32(0)).tobytes() + triangles.tobytes()).hexdigest()


def labelmap_fingerprint(segmentation: Any, segment_id: str) -> str:
    """Hash of the voxels and the grid they lie on, free of the characters that tags reserve."""
    mask, matrix = segment_labelmap(segmentation, segment_id)
    digest = hashlib.sha256(str(mask.shape).encode() + np.packbits(mask).tobytes()).hexdigest()
    return " ".join([digest, *(f"{x:.9g}" for x in matrix[:3].ravel())])
