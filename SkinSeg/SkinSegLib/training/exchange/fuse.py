"""One label from those of several people, and what each of them drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import GeometryError, LabelError, bounding_box

#: Air around the head that STAPLE sees, in voxels: how much there is of it shifts its answer.
_MARGIN = 5
_MOST = 200


class Method(StrEnum):
    """``STAPLE``: weighs each author by how well they agree with the rest (Warfield, Zou and Wells
    2004, IEEE Trans. Med. Imaging 23:903). ``MAJORITY``: what more than half of them marked."""

    STAPLE = "staple"
    MAJORITY = "majority"


@dataclass(frozen=True)
class Fused:
    """A label fused from several.

    ``mask``: (k, j, i) uint8. ``authors``: each author's own, as given. ``sensitivity``,
    ``specificity``: of each author against the fused label: STAPLE's own estimates within the box
    around all labels, else counted there. ``disputed``: voxels that not all marked alike.
    """

    mask: NDArray[np.uint8]
    method: Method
    authors: Mapping[str, NDArray[np.uint8]]
    sensitivity: Mapping[str, float]
    specificity: Mapping[str, float]

    @property
    def disputed(self) -> NDArray[np.bool_]:
        """(k, j, i), where the authors differ."""
        return disputed(self.authors)


def disputed(labels: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Where labels (k, j, i; not 0 is head) differ."""
    masks = [mask != 0 for mask in labels.values()]
    result: NDArray[np.bool_] = np.logical_or.reduce(masks) & ~np.logical_and.reduce(masks)
    return result


def require_comparable(labels: Mapping[str, NDArray[Any]]) -> None:
    """Raise GeometryError or LabelError unless there are two labels or more on one grid, and none
    is empty."""
    if not 2 <= len(labels) <= _MOST:
        raise LabelError(f"Give the labels of two people or more, up to {_MOST}.")
    if len({mask.shape for mask in labels.values()}) > 1:
        raise GeometryError("The labels are not on one grid. Read them all onto the same scan.")
    empty = [name for name, mask in labels.items() if not mask.any()]
    if empty:
        raise LabelError(f"The label of {', '.join(empty)} is empty. Leave it out.")


def fuse(labels: Mapping[str, NDArray[Any]], method: Method | str = Method.STAPLE) -> Fused:
    """Fuse labels (k, j, i; not 0 is head) of the same scan, by author.

    With two authors the majority is what both marked. Authors of an odd number are better: of two,
    STAPLE cannot tell who is right. Raises GeometryError for labels on several grids, LabelError
    for fewer than two, empty ones, or labels with nothing in common.
    """
    import SimpleITK as sitk

    require_comparable(labels)
    chosen = Method(method)
    masks = {name: np.ascontiguousarray(mask != 0).view(np.uint8) for name, mask in labels.items()}
    union: NDArray[np.uint8] = np.maximum.reduce(list(masks.values()))
    box = bounding_box(union, _MARGIN)
    assert box is not None
    parts = {name: np.ascontiguousarray(mask[box]) for name, mask in masks.items()}
    images = [sitk.GetImageFromArray(part) for part in parts.values()]
    result = np.zeros(union.shape, np.uint8)
    if chosen == Method.STAPLE and disputed(parts).any():
        staple = sitk.STAPLEImageFilter()
        staple.SetForegroundValue(1)
        result[box] = sitk.GetArrayFromImage(staple.Execute(images)) >= 0.5
        right = dict(zip(masks, map(float, staple.GetSensitivity()), strict=True))
        left = dict(zip(masks, map(float, staple.GetSpecificity()), strict=True))
    else:
        voted = sitk.LabelVotingImageFilter()
        voted.SetLabelForUndecidedPixels(0)
        result[box] = sitk.GetArrayFromImage(voted.Execute(images))
        head = result[box] > 0
        right = {name: _share(part[head]) for name, part in parts.items()}
        left = {name: _share(1 - part[~head]) for name, part in parts.items()}
    if not result.any():
        raise LabelError("The labels have nothing in common. Are they of one scan?")
    return Fused(result, chosen, masks, right, left)


def _share(marks: NDArray[np.uint8]) -> float:
    return float(marks.mean()) if marks.size else 1.0
