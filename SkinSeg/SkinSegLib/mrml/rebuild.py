"""Our surface for a segment that was edited, from its voxels of now and the scan below them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import Progress, SkinMask, SkinMesh
from ..surface import build
from ..worker.tasks_mesh import edited_mask
from .host import ensure_host
from .keepers import is_ours
from .labelmaps import segment_labelmap, segment_of
from .segments import HEAD
from .surfaces import restore_surface, set_surfaces
from .volumes import array_of, placed_scan

#: Tag of a segment: grey value of the skin, and from there to tissue, in the scan's own units.
LEVEL_TAG = "SkinSeg.Level"


def remember_level(segmentation: Any, segment_id: str, mask: SkinMask) -> None:
    """Keep the level that a mask was made at with its segment, for :func:`rebuild_surface`."""
    text = f"{mask.level_hu:.9g} {mask.half_contrast_hu:.9g}"
    segment_of(segmentation, segment_id).SetTag(LEVEL_TAG, text)


def rebuild_surface(
    segmentation: Any, segment_id: str, progress: Progress | None = None
) -> SkinMesh | None:
    """Make our surface of a segment again if it was edited since; world RAS mm.

    Returns None where the surface still fits, and where Slicer's own conversion has to do: for
    any segment but the head, for one that never had a surface of ours, whose scan is gone, or that
    lies below a non-linear transform.
    The scan is the one that the segmentation's geometry refers to; the level is the one that the
    segment was made at, else it is found again.

    Raises SceneError, SurfaceError or GeometryError where the segment or its scan is unusable,
    Cancelled through ``progress``.
    """
    if segment_id != HEAD.segment_id or not is_ours(segmentation, segment_id):
        return None
    if segment_id in restore_surface(segmentation):
        return None
    volume = scan_of(segmentation)
    voxels, to_node = segment_labelmap(segmentation, segment_id)
    world = to_world(segmentation)
    if volume is None or world is None or not voxels.any():
        return None
    placed = placed_scan(volume)
    if placed.resampled:
        return None
    scan = placed.scan
    mask = edited_mask(voxels, world @ to_node, scan, remembered_level(segmentation, segment_id))
    mesh = build(mask, scan, progress=progress)
    set_surfaces(segmentation, {segment_id: placed.into_node_space(mesh)})
    return mesh


def scan_of(segmentation: Any) -> Any:
    """The volume node that a segmentation's geometry refers to, None if it is gone."""
    return segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole())


def results_of(volume: Any) -> list[Any]:
    """The segmentation nodes with a head that were made on a volume, the newest last."""
    nodes = ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in nodes if scan_of(node) is volume and has_head(node)]


def has_head(segmentation: Any) -> bool:
    """Whether there is a segment Head."""
    return segmentation.GetSegmentation().GetSegment(HEAD.segment_id) is not None


def remembered_level(segmentation: Any, segment_id: str) -> tuple[float, float] | None:
    """Grey value of the skin and half the contrast that a segment was made at, None if unknown."""
    from vtkmodules.vtkCommonCore import reference

    text = reference("")
    if not segment_of(segmentation, segment_id).GetTag(LEVEL_TAG, text):
        return None
    level, half = (float(word) for word in str(text).split())
    return level, half


def to_world(node: Any) -> Any:
    """4x4 from a node's coordinates to the world; None below a non-linear transform."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        return None
    matrix = vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return array_of(matrix)
