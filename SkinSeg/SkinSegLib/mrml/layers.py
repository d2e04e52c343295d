"""The segment Skin that follows the head: made after it, and again when the head was edited."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..surface import SurfaceOptions
from ..worker.exchange import get
from ..worker.messages import get_mesh, put_mesh
from .jobs import SegmentSurfaceJob
from .keepers import labelmap_fingerprint, tag_of
from .labelmaps import segment_labelmap
from .rebuild import scan_of
from .segments import HEAD, SKIN, put_skin
from .surfaces import restore_surface, world_surface
from .volumes import is_regular

#: Attribute of a segmentation node: thickness in mm of the layer that is wanted.
WANTED = "SkinSeg.LayerThickness"
#: Tag of the segment Skin: the head's labelmap that it is the layer of, and its own.
MADE_OF, MADE = "SkinSeg.LayerOf", "SkinSeg.Layer"


def want_layer(segmentation: Any, layer_mm: float) -> None:
    """Have a layer of so many mm from now on; :class:`LayerJob` makes it."""
    segmentation.SetAttribute(WANTED, f"{layer_mm:g}")


class LayerJob(SegmentSurfaceJob):
    """Makes the segment Skin of the head as it is now."""

    task = "layer"

    def __init__(self, segmentation: Any) -> None:
        super().__init__(segmentation, HEAD.segment_id, SurfaceOptions())
        self._layer_mm = float(segmentation.GetAttribute(WANTED))
        self._head: dict[str, Any] = {}
        self._skin = ""

    @staticmethod
    def is_needed(segmentation: Any) -> bool:
        """Whether the layer is missing or that of another head.

        Not if the user deleted or edited it, or its head has no surface of ours at the moment.
        """
        if not segmentation.GetAttribute(WANTED):
            return False
        volume = scan_of(segmentation)
        if volume is None or not is_regular(volume):
            return False
        if HEAD.segment_id not in restore_surface(segmentation):
            return False
        skin = segmentation.GetSegmentation().GetSegment(SKIN.segment_id)
        if skin is None:
            return False
        if not tag_of(skin, MADE_OF):  # empty from the start, or again after an undo
            return segment_labelmap(segmentation, SKIN.segment_id)[0].size == 0
        if tag_of(skin, MADE_OF) == _voxels_of(segmentation, HEAD.segment_id):
            return False
        return tag_of(skin, MADE) == _voxels_of(segmentation, SKIN.segment_id)

    def prepare(self) -> Iterator[float]:
        """Hand over the scan, the head's voxels and its surface."""
        yield from super().prepare()
        self._skin = _voxels_of(self._segmentation, SKIN.segment_id)
        mesh = world_surface(self._segmentation, HEAD.segment_id)
        self._head = put_mesh(mesh, self.folder, "head")
        yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        return {**super().arguments(), "head": self._head, "layer_mm": self._layer_mm}

    def finish(self, result: Mapping[str, Any]) -> bool:
        """Put it into the segmentation; False if the head was edited meanwhile, or the layer was,
        or one of them is gone."""
        if self._segmentation.GetScene() is None or not self.is_unchanged():
            return False
        if self._segmentation.GetSegmentation().GetSegment(SKIN.segment_id) is None:
            return False
        if _voxels_of(self._segmentation, SKIN.segment_id) != self._skin:
            return False
        self.handed.placement.check()
        shell = None if result["shell"] is None else get_mesh(result["shell"], self.folder)
        put_skin(self._segmentation, self.handed.placement, get(self.folder, "layer"), shell)
        skin = self._segmentation.GetSegmentation().GetSegment(SKIN.segment_id)
        skin.SetTag(MADE_OF, _voxels_of(self._segmentation, HEAD.segment_id))
        skin.SetTag(MADE, _voxels_of(self._segmentation, SKIN.segment_id))
        return True


def _voxels_of(segmentation: Any, segment_id: str) -> str:
    """The hash of a segment's voxels, wherever they lie: hardening a transform is no edit."""
    return labelmap_fingerprint(segmentation, segment_id).split()[0]
