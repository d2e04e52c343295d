"""The result as a segmentation node: the segments Head and Skin, ready to show and to edit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SceneError, SkinMesh
from .host import ensure_host
from .keepers import remove_orphans
from .surfaces import set_surfaces
from .volumes import Placement, array_of, vtk_matrix

SEGMENTATION_NAME = "Skin segmentation"

_TYPES = "Segmentation category and type - 3D Slicer General Anatomy list"
_REGIONS = "Anatomic codes - DICOM master list"
_SKIN_COLOR = (177, 122, 101)


@dataclass(frozen=True)
class SegmentKind:
    """One of our segments: its ID, which is also its name, its codes and its colour (RGB 0..255).

    ``terminology`` is in the form Slicer stores: context, category, type and modifier, region
    context, region and modifier, parted by ``~``; each code is scheme^value^meaning.
    """

    segment_id: str
    terminology: str
    color: tuple[int, int, int]


#: The solid head: everything that is patient, and the air it encloses.
HEAD = SegmentKind(
    "Head",
    f"{_TYPES}~SCT^123037004^Anatomical Structure~SCT^69536005^Head~^^~{_REGIONS}~^^~^^",
    _SKIN_COLOR,
)
#: The outer layer of the head.
SKIN = SegmentKind(
    "Skin",
    f"{_TYPES}~SCT^85756007^Tissue~SCT^39937001^Skin~^^~{_REGIONS}~SCT^69536005^Head~^^",
    _SKIN_COLOR,
)


def add_segmentation(
    placed: Placement,
    head: NDArray[np.uint8],
    head_mesh: SkinMesh,
    skin: NDArray[np.uint8],
    skin_mesh: SkinMesh | None = None,
) -> Any:
    """Add a new vtkMRMLSegmentationNode with the segments Head and Skin to the scene.

    ``head``, ``skin``: (k, j, i) uint8 masks on the grid of the scan; ``head_mesh``,
    ``skin_mesh``: closed surfaces in world RAS mm, which become the segments' closed surfaces as
    they are; without one for Skin, Slicer converts its labelmap. The node lies under the volume's
    parent transform, beside the volume in the subject hierarchy (so under its patient and study),
    and refers to the volume's geometry.

    Raises SceneError if the volume was removed, or changed since ``placed`` was made. Nothing is
    left behind on failure.
    """
    slicer = ensure_host()
    volume = placed.node
    placed.check()
    remove_orphans()
    scene = slicer.mrmlScene
    name = scene.GetUniqueNameByString(SEGMENTATION_NAME)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    try:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        for kind, voxels in ((HEAD, head), (SKIN, skin)):
            _add_segment(node, kind, placed, voxels)
        meshes = {HEAD.segment_id: placed.into_node_space(head_mesh)}
        if skin_mesh is not None:
            meshes[SKIN.segment_id] = placed.into_node_space(skin_mesh)
        set_surfaces(node, meshes)
        _show(node)
        place_beside(node, volume)
    except BaseException:
        for part in (node.GetDisplayNode(), node):
            if part is not None:
                scene.RemoveNode(part)
        remove_orphans()
        raise
    return node


def place_beside(node: Any, volume: Any) -> None:
    """Put a node where ``volume`` is in the subject hierarchy: under its study, or its folder."""
    slicer = ensure_host()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    # The application makes an item for every node by itself, slicer-core does not.
    beside = tree.GetItemByDataNode(volume) or tree.CreateItem(tree.GetSceneItemID(), volume)
    parent = tree.GetItemParent(beside)
    item = tree.GetItemByDataNode(node)
    if item:
        tree.SetItemParent(item, parent)
    else:
        tree.CreateItem(parent, node)


def _add_segment(
    node: Any, kind: SegmentKind, placed: Placement, voxels: NDArray[np.uint8]
) -> None:
    slicer = ensure_host()
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    own = np.ascontiguousarray(placed.onto_node_grid(voxels), dtype=np.uint8)
    matrix = vtkMatrix4x4()
    placed.node.GetIJKToRASMatrix(matrix)
    first = placed.state.extent[::2]
    last = [start + count - 1 for start, count in zip(first, own.shape[::-1], strict=True)]
    image = slicer.vtkOrientedImageData()
    image.SetExtent([end for pair in zip(first, last, strict=True) for end in pair])
    image.GetPointData().SetScalars(numpy_to_vtk(own.reshape(-1), deep=True))
    image.SetImageToWorldMatrix(vtk_matrix(array_of(matrix)))
    segment = slicer.vtkSegment()
    segment.SetName(kind.segment_id)
    segment.SetColor(*(c / 255.0 for c in kind.color))
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), kind.terminology)
    name = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    segment.AddRepresentation(name, image)
    if not node.GetSegmentation().AddSegment(segment, kind.segment_id):
        raise SceneError(f"Slicer did not accept the segment {kind.segment_id}. See the log.")


def _show(node: Any) -> None:
    """Head as an outline and Skin filled in slice views; only Head in 3D, or the two flicker."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName3D("Closed surface")
    display.SetPreferredDisplayRepresentationName2D("Binary labelmap")
    for kind, filled in ((HEAD, False), (SKIN, True)):
        display.SetSegmentVisibility2DFill(kind.segment_id, filled)
        display.SetSegmentVisibility2DOutline(kind.segment_id, not filled)
        display.SetSegmentVisibility3D(kind.segment_id, not filled)
