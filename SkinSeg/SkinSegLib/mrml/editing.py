"""The brush that paints only skin: Slicer's editable intensity range, kept per effect."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..core import bounding_box
from .host import ensure_host
from .labelmaps import segment_labelmap
from .segments import HEAD, set_labelmap

#: Tag of our own segment editor node: Slicer's Segment Editor keeps its own choices.
EDITOR_TAG = "SkinSeg"
#: What serves here, in the order of the buttons.
EFFECTS = ("Threshold", "Paint", "Erase", "Scissors", "Islands", "Smoothing")
#: Effects without a range unless one is set: they work on grey values or whole segments by
#: themselves, and scissors that leave the air would leave crumbs of what is cut off.
_FREE = {"Threshold", "Scissors", "Islands", "Smoothing", ""}


def editor_node() -> Any:
    """Our vtkMRMLSegmentEditorNode of the scene, made if there is none."""
    slicer = ensure_host()
    scene, kind = slicer.mrmlScene, "vtkMRMLSegmentEditorNode"
    node = scene.GetSingletonNode(EDITOR_TAG, kind)
    if node is None:
        node = scene.CreateNodeByClass(kind)
        node.UnRegister(None)
        node.SetSingletonTag(EDITOR_TAG)
        node = scene.AddNode(node)
    # Head and Skin overlap; by default Slicer's brush takes from every other segment. Each time,
    # since closing a scene resets the node.
    node.SetOverwriteMode(node.OverwriteNone)
    return node


class IntensityRanges:
    """Which grey values each effect may change: from the skin's level up, unless lifted.

    Sets the editable intensity range of a vtkMRMLSegmentEditorNode whenever its effect changes, and
    remembers what the user made of it for that effect. ``anywhere`` lifts it for all of them.
    """

    def __init__(self, node: Any) -> None:
        self._node = node
        self._default: tuple[float, float] | None = None
        self._kept: dict[str, tuple[bool, float, float]] = {}
        self._effect = self._effect_now()
        self._anywhere = False
        self._setting = False
        self._tag = node.AddObserver("ModifiedEvent", self._on_modified)

    def set_level(self, level: float, highest: float) -> None:
        """The skin's level and the highest value of the scan: the range of every effect anew."""
        self._default = (min(level, highest), max(level, highest))
        self._kept.clear()
        self._apply()

    def set_anywhere(self, anywhere: bool) -> None:
        """Lift the range, for enclosed air, dark streaks and contacts; or put it back."""
        self._anywhere = anywhere
        self._apply()

    def close(self) -> None:
        """Leave the node alone from here on."""
        self._node.RemoveObserver(self._tag)

    def _effect_now(self) -> str:
        return str(self._node.GetActiveEffectName() or "")

    def _on_modified(self, *_: Any) -> None:
        if self._setting:
            return
        effect = self._effect_now()
        if effect == self._effect:
            self._keep(effect)
        else:
            self._effect = effect
            self._apply()

    def _keep(self, effect: str) -> None:
        """Remember what the user made of the range while it was not lifted."""
        if self._default is not None and not self._anywhere:
            low, high = self._node.GetSourceVolumeIntensityMaskRange()
            on = bool(self._node.GetSourceVolumeIntensityMask())
            if effect == "Threshold" and on:
                # "Use for masking": the range is meant for the brush, which Slicer takes next.
                self._kept |= {"Paint": (on, low, high), "Erase": (on, low, high)}
            else:
                self._kept[effect] = (on, low, high)

    def _apply(self) -> None:
        if self._default is None:
            return
        on, low, high = self._kept.get(self._effect, (self._effect not in _FREE, *self._default))
        self._setting = True
        try:
            self._node.SetSourceVolumeIntensityMaskRange(low, high)
            self._node.SetSourceVolumeIntensityMask(on and not self._anywhere)
        finally:
            self._setting = False


class StrokeFiller:
    """Fills what a stroke encloses: air inside a ring that was painted, on the slices it spans.

    ``before()`` looks at the segment, ``fill()`` compares it with what it is now and fills the
    holes, slice by slice across the thinnest side of what was added. Holes that were there before
    the stroke and do not touch it stay.
    """

    def __init__(self, segmentation: Any, segment_id: str = HEAD.segment_id) -> None:
        self._segmentation, self._segment_id = segmentation, segment_id
        self._mask, self._matrix = np.zeros((0, 0, 0), np.uint8), np.eye(4)

    def before(self) -> None:
        """Remember the segment as it is."""
        self._mask, self._matrix = segment_labelmap(self._segmentation, self._segment_id)

    def fill(self) -> int:
        """Fill; returns how many voxels were added. The state of now is the next one's before."""
        from scipy import ndimage

        now, matrix = segment_labelmap(self._segmentation, self._segment_id)
        added = now.copy()
        first = np.linalg.inv(matrix) @ self._matrix[:, 3]
        low = np.rint(first[:3]).astype(int)[::-1]
        inner = [
            slice(max(0, a), min(n, a + m))
            for a, n, m in zip(low, now.shape, self._mask.shape, strict=True)
        ]
        old = tuple(slice(s.start - a, s.stop - a) for s, a in zip(inner, low, strict=True))
        if self._mask.size and all(s.start < s.stop for s in inner):
            added[tuple(inner)] &= self._mask[old] == 0
        box = bounding_box(added, margin=1)
        count = 0
        if box is not None:
            sizes = [s.stop - s.start for s in box]
            across = int(np.argmin(sizes))
            part = np.moveaxis(now[box], across, 0)
            new = np.moveaxis(added[box], across, 0)
            for n, (layer, stroke) in enumerate(zip(part, new, strict=True)):
                if not stroke.any():
                    continue
                holes, number = ndimage.label(ndimage.binary_fill_holes(layer) & (layer == 0))
                if number:
                    touched = np.unique(holes[ndimage.binary_dilation(stroke != 0)])
                    filled = np.isin(holes, touched[touched > 0])
                    part[n][filled] = 1
                    count += int(np.count_nonzero(filled))
        if count:
            set_labelmap(self._segmentation, self._segment_id, now, matrix)
        self._mask, self._matrix = now, matrix
        return count
