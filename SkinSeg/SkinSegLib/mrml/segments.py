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
    skin: NDArray[np.uint8] | None,
    skin_mesh: SkinMesh | None = None,
    into: Any = None,
) -> Any:
    """Add a new vtkMRMLSegmentationNode with the segments Head and Skin to the scene.

    ``into``: a segmentation node to put them into instead, where those it has are replaced.

    ``head``, ``skin``: (k, j, i) uint8 masks on the grid of the scan, None for an empty segment;
    ``head_mesh``, ``skin_mesh``: closed surfaces in world RAS mm, which become the segments' as
    they are; without one for Skin, Slicer converts its labelmap. The node lies under the volume's
    parent transform, beside the volume in the subject hierarchy (so under its patient and study),
    and refers to the volume's geometry.

    Raises SceneError if the volume was removed, or changed since ``placed`` was made, or ``into``
    is gone. On failure the scene is as it was.
    """
    slicer = ensure_host()
    volume = placed.node
    placed.check()
    remove_orphans()
    scene = slicer.mrmlScene
    if into is not None:
        return _replace_segments(into, placed, (head, skin), (head_mesh, skin_mesh))
    name = scene.GetUniqueNameByString(SEGMENTATION_NAME)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    try:
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        _fill(node, placed, (head, skin), (head_mesh, skin_mesh))
        _show(node)
        place_beside(node, volume)
    except BaseException:
        for part in (node.GetDisplayNode(), node):
            if part is not None:
                scene.RemoveNode(part)
        remove_orphans()
        raise
    return node


def _fill(
    node: Any,
    placed: Placement,
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8] | None],
    meshes: tuple[SkinMesh, SkinMesh | None],
) -> None:
    """Add the segments, and their surfaces as far as there are any."""
    for kind, voxels in zip((HEAD, SKIN), masks, strict=True):
        _add_segment(node, kind, placed, voxels)
    there = {
        kind.segment_id: placed.into_node_space(mesh)
        for kind, mesh, voxels in zip((HEAD, SKIN), meshes, masks, strict=True)
        if mesh is not None and voxels is not None
    }
    set_surfaces(node, there)


def _replace_segments(
    node: Any,
    placed: Placement,
    masks: tuple[NDArray[np.uint8], NDArray[np.uint8] | None],
    meshes: tuple[SkinMesh, SkinMesh | None],
) -> Any:
    """Put both segments into a node that may have some of these names already."""
    if node.GetScene() is None:
        raise SceneError("The segmentation to write to was removed. Choose another one.")
    if node.GetTransformNodeID() != placed.node.GetTransformNodeID():
        raise SceneError(
            "The segmentation to write to lies under another transform than the volume. Choose a "
            "new segmentation."
        )
    before = SegmentsBackup(node)
    try:
        for kind in (HEAD, SKIN):
            node.GetSegmentation().RemoveSegment(kind.segment_id)
        node.SetReferenceImageGeometryParameterFromVolumeNode(placed.node)
        _fill(node, placed, masks, meshes)
        _show(node)
    except BaseException:
        before.restore()
        raise
    return node


def put_skin(node: Any, placed: Placement, skin: NDArray[np.uint8], mesh: SkinMesh | None) -> None:
    """Add the segment Skin, or replace it; where it is shown stays as the user has set it."""
    before = SegmentsBackup(node)
    segmentation = node.GetSegmentation()
    look = _Look(node, SKIN.segment_id)
    try:
        segmentation.RemoveSegment(SKIN.segment_id)
        _add_segment(node, SKIN, placed, skin)
        if mesh is not None:
            set_surfaces(node, {SKIN.segment_id: placed.into_node_space(mesh)})
        look.restore()
    except BaseException:
        before.restore()
        raise


class _Look:
    """How a segment is shown, and its name and colour: Slicer forgets them with the segment."""

    _PROPERTIES = (
        *("SegmentVisibility", "SegmentVisibility3D", "SegmentVisibility2DFill"),
        *("SegmentVisibility2DOutline", "SegmentOpacity3D", "SegmentOpacity2DFill"),
        "SegmentOpacity2DOutline",
    )

    def __init__(self, node: Any, segment_id: str) -> None:
        self._node, self._segment_id = node, segment_id
        segment = node.GetSegmentation().GetSegment(segment_id)
        self._known = segment is not None
        if segment is None:
            return
        display = node.GetDisplayNode()
        self._name, self._color = segment.GetName(), segment.GetColor()
        self._values = {
            name: getattr(display, f"Get{name}")(segment_id) for name in self._PROPERTIES
        }

    def restore(self) -> None:
        """Show the segment of that ID that is there now as the one before; a new one as usual."""
        if not self._known:
            _show_segment(self._node, SKIN, True)
            return
        segment = self._node.GetSegmentation().GetSegment(self._segment_id)
        segment.SetName(self._name)
        segment.SetColor(*self._color)
        display = self._node.GetDisplayNode()
        for name, value in self._values.items():
            getattr(display, f"Set{name}")(self._segment_id, value)


class SegmentsBackup:
    """Our segments of a segmentation node as they are now, with all that belongs to them."""

    def __init__(self, node: Any) -> None:
        slicer = ensure_host()
        self._node = node
        self._scan = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
        names = node.GetAttributeNames()
        self._attributes = {name: node.GetAttribute(name) for name in names if _is_ours(name)}
        self._segments: dict[str, Any] = {}
        for kind in (HEAD, SKIN):
            segment = node.GetSegmentation().GetSegment(kind.segment_id)
            self._segments[kind.segment_id] = None
            if segment is not None:
                copy = slicer.vtkSegment()
                copy.DeepCopy(segment)
                self._segments[kind.segment_id] = copy

    @property
    def has_segments(self) -> bool:
        """Whether there is anything that a run would replace."""
        return any(segment is not None for segment in self._segments.values())

    def restore(self) -> None:
        """Have them back, with the scan and the findings they had; what was not there before goes.

        They are shown as after a run: Slicer forgets how with the segment.
        """
        segmentation = self._node.GetSegmentation()
        for segment_id, segment in self._segments.items():
            segmentation.RemoveSegment(segment_id)
            if segment is not None:
                segmentation.AddSegment(segment, segment_id)
        for name in self._node.GetAttributeNames():
            if _is_ours(name) and name not in self._attributes:
                self._node.RemoveAttribute(name)
        for name, value in self._attributes.items():
            self._node.SetAttribute(name, value)
        if self._scan is not None and self._scan.GetScene() is not None:
            self._node.SetReferenceImageGeometryParameterFromVolumeNode(self._scan)
        else:  # it must not be taken for the head of the scan of the run
            role = self._node.GetReferenceImageGeometryReferenceRole()
            self._node.SetNodeReferenceID(role, None)
        if self.has_segments:
            _show(self._node)


def _is_ours(attribute: str) -> bool:
    return attribute.startswith("SkinSeg.")


def set_labelmap(
    segmentation: Any, segment_id: str, mask: NDArray[np.uint8], matrix: NDArray[np.float64]
) -> None:
    """Replace the voxels of a segment.

    ``mask``: (k, j, i), 0 and 1; ``matrix``: 4x4 from its indices to the coordinates of the
    segmentation node, on the grid of the segmentation. Raises SceneError if Slicer refuses.
    """
    slicer = ensure_host()
    image = _oriented_image(mask, matrix, (0, 0, 0))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(
        image, segmentation, segment_id, logic.MODE_REPLACE, image.GetExtent()
    ):
        raise SceneError(f"Slicer did not accept the voxels of {segment_id}. See the log.")


def _oriented_image(
    mask: NDArray[np.uint8], matrix: NDArray[np.float64], first: tuple[int, ...]
) -> Any:
    """A vtkOrientedImageData of a mask whose voxel ``first`` (i, j, k) is its first."""
    slicer = ensure_host()
    from vtkmodules.util.numpy_support import numpy_to_vtk

    last = [start + count - 1 for start, count in zip(first, mask.shape[::-1], strict=True)]
    image = slicer.vtkOrientedImageData()
    image.SetExtent([end for pair in zip(first, last, strict=True) for end in pair])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.reshape(-1), deep=True))
    image.SetImageToWorldMatrix(vtk_matrix(matrix))
    return image


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
    node: Any, kind: SegmentKind, placed: Placement, voxels: NDArray[np.uint8] | None
) -> None:
    slicer = ensure_host()
    from vtkmodules.vtkCommonCore import VTK_UNSIGNED_CHAR
    from vtkmodules.vtkCommonDataModel import vtkPolyData
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    image = slicer.vtkOrientedImageData()
    image.SetExtent(0, -1, 0, -1, 0, -1)
    image.AllocateScalars(VTK_UNSIGNED_CHAR, 1)
    if voxels is not None:
        own = np.ascontiguousarray(placed.onto_node_grid(voxels), dtype=np.uint8)
        matrix = vtkMatrix4x4()
        placed.node.GetIJKToRASMatrix(matrix)
        image = _oriented_image(own, array_of(matrix), placed.state.extent[::2])
    segment = slicer.vtkSegment()
    segment.SetName(kind.segment_id)
    segment.SetColor(*(c / 255.0 for c in kind.color))
    segment.SetTag(slicer.vtkSegment.GetTerminologyEntryTagName(), kind.terminology)
    names = slicer.vtkSegmentationConverter
    segment.AddRepresentation(names.GetSegmentationBinaryLabelmapRepresentationName(), image)
    if voxels is None:  # or Slicer would try to make a surface of nothing, and complain
        closed = names.GetSegmentationClosedSurfaceRepresentationName()
        segment.AddRepresentation(closed, vtkPolyData())
    if not node.GetSegmentation().AddSegment(segment, kind.segment_id):
        raise SceneError(f"Slicer did not accept the segment {kind.segment_id}. See the log.")


def _show(node: Any) -> None:
    """Head as an outline and Skin filled in slice views; only Head in 3D, or the two flicker."""
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetPreferredDisplayRepresentationName3D("Closed surface")
    display.SetPreferredDisplayRepresentationName2D("Binary labelmap")
    for kind, filled in ((HEAD, False), (SKIN, True)):
        if node.GetSegmentation().GetSegment(kind.segment_id) is not None:
            _show_segment(node, kind, filled)


def _show_segment(node: Any, kind: SegmentKind, filled: bool) -> None:
    display = node.GetDisplayNode()
    display.SetSegmentVisibility2DFill(kind.segment_id, filled)
    display.SetSegmentVisibility2DOutline(kind.segment_id, not filled)
    display.SetSegmentVisibility3D(kind.segment_id, not filled)
