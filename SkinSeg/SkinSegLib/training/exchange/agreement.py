"""How far several labels of one scan agree: by pair, and by region of the head.

Regions are cut by planes through what all labels together fill, along the patient's axes: thirds
from top to bottom, thirds from front to back, and halves to the right and left. They are places,
not anatomy: on a scan of a whole head the upper third is the crown, the lower one jaw and neck;
ears lie in the middle third from front to back, the nose in the front one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, GeometryError, bounding_box, transform_points

from ..evaluation.measures import Distances, Reference
from ..evaluation.outlines import Outline
from .fuse import require_comparable

WHOLE = "whole"
#: Name, axis of RAS, and from and to as shares of the extent, counted towards right, front and top.
REGIONS: tuple[tuple[str, int, float, float], ...] = (
    ("upper third", 2, 2 / 3, 1),
    ("middle third", 2, 1 / 3, 2 / 3),
    ("lower third", 2, 0, 1 / 3),
    ("front third", 1, 2 / 3, 1),
    ("middle, front to back", 1, 1 / 3, 2 / 3),
    ("back third", 1, 0, 1 / 3),
    ("right half", 0, 0.5, 1),
    ("left half", 0, 0, 0.5),
)
#: Slices thicker than this, mm, and than one and a half voxels are compared slice by slice.
_THICK_MM, _THICK = 3.0, 1.5
_NO_LEVEL = math.inf

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Agreement:
    """Two labels in one region. ``region``: WHOLE or of REGIONS. ``dice``: of voxels.
    ``surface_dice_1mm``, ``surface_dice_2mm``: shares of both surfaces within that distance of each
    other. ``mean_mm``, ``p95_mm``: distance of the surfaces; NaN where there is none. Where the
    scan cuts the head, surfaces do not count. ``differ_ml``: volume in which they differ."""

    first: str
    second: str
    region: str
    dice: float
    surface_dice_1mm: float
    surface_dice_2mm: float
    mean_mm: float
    p95_mm: float
    differ_ml: float


def agreement(volume: CTVolume, labels: Mapping[str, NDArray[Any]]) -> list[Agreement]:
    """Compare all pairs of labels (k, j, i; not 0 is head), by author, in the whole and by region.

    Raises GeometryError for labels that are not on the scan's grid, LabelError for fewer than two
    or empty ones.
    """
    require_comparable(labels)
    if next(iter(labels.values())).shape != volume.voxels.shape:
        raise GeometryError("The labels are not on the grid of the scan. Give their own scan.")
    thick = volume.spacing[2] > max(_THICK_MM, _THICK * max(volume.spacing[:2]))
    surfaces = {
        name: _Surface.of(Reference(volume, mask, _NO_LEVEL, in_slices=thick))
        for name, mask in labels.items()
    }
    union = np.logical_or.reduce([mask != 0 for mask in labels.values()])
    box = bounding_box(union, 0)
    assert box is not None
    places = _ras(volume, np.argwhere(_shell(union[box]))[:, ::-1] + _corner(box))
    low, high = places.min(axis=0), places.max(axis=0)
    found = []
    for (first, a), (second, b) in itertools.combinations(surfaces.items(), 2):
        found += _pair(volume, (first, a), (second, b), low, high)
    return found


@dataclass(frozen=True)
class _Surface:
    """A label, its surface, and which of the surface's points lie at no cut, with their RAS."""

    mask: NDArray[np.bool_]
    outline: Outline
    counted: NDArray[np.bool_]
    ras: Points

    @classmethod
    def of(cls, reference: Reference) -> _Surface:
        outline = reference.outline
        ras = _ras(reference.volume, outline.index)
        return cls(reference.solid, outline, ~reference.at_cut, ras)


def _pair(
    volume: CTVolume,
    one: tuple[str, _Surface],
    two: tuple[str, _Surface],
    low: Points,
    high: Points,
) -> list[Agreement]:
    (first, a), (second, b) = one, two
    there, _ = b.outline.nearest(a.outline.index)
    back, _ = a.outline.nearest(b.outline.index)
    distance = np.concatenate([there, back])
    weight = np.concatenate([a.outline.weights, b.outline.weights])
    counted = np.concatenate([a.counted, b.counted])
    ras = np.concatenate([a.ras, b.ras])
    differs = np.argwhere(a.mask != b.mask)[:, ::-1]
    where = _ras(volume, differs)
    sizes = _sizes(volume, (a.mask, b.mask), low, high)
    found = []
    for name, axis, start, end in ((WHOLE, 0, -math.inf, math.inf), *REGIONS):
        inside = counted & _within(ras, axis, start, end, low, high)
        apart = int(np.count_nonzero(_within(where, axis, start, end, low, high)))
        both = sizes[name]
        distances = Distances.of(distance[inside], weight[inside])
        total = float(weight[inside].sum())
        shares = [
            float(weight[inside & (distance <= limit + 1e-6)].sum()) / total if total else math.nan
            for limit in (1, 2)
        ]
        found.append(
            Agreement(
                first,
                second,
                name,
                (both - apart) / both if both else math.nan,
                shares[0],
                shares[1],
                distances.mean,
                distances.p95,
                apart * volume.voxel_volume_ml,
            )
        )
    return found


def _within(
    ras: Points, axis: int, start: float, end: float, low: Points, high: Points
) -> NDArray[np.bool_]:
    return _between(ras[:, axis], start, end, float(low[axis]), float(high[axis]))


def _between(
    place: NDArray[np.float64], start: float, end: float, low: float, high: float
) -> NDArray[np.bool_]:
    share = (place - low) / max(high - low, 1e-9)
    # A surface lies up to half a voxel beyond the outermost centre, and belongs to the end region.
    inside: NDArray[np.bool_] = (share >= (start if start > 0 else -math.inf)) & (
        share < (end if end < 1 else math.inf)
    )
    return inside


def _sizes(
    volume: CTVolume, masks: tuple[NDArray[np.bool_], NDArray[np.bool_]], low: Points, high: Points
) -> dict[str, int]:
    """Voxels of both masks together in each region; slice by slice, to save memory."""
    sizes = dict.fromkeys([WHOLE, *(name for name, *_ in REGIONS)], 0)
    matrix = volume.ijk_to_ras
    j, i = np.ogrid[: masks[0].shape[1], : masks[0].shape[2]]
    for k in np.flatnonzero(masks[0].any(axis=(1, 2)) | masks[1].any(axis=(1, 2))):
        here = masks[0][k].astype(np.uint8) + masks[1][k]
        sizes[WHOLE] += int(here.sum())
        ras = [row[0] * i + row[1] * j + (row[2] * k + row[3]) for row in matrix[:3]]
        for name, axis, start, end in REGIONS:
            inside = _between(ras[axis], start, end, float(low[axis]), float(high[axis]))
            sizes[name] += int(here[inside].sum())
    return sizes


def _ras(volume: CTVolume, index: NDArray[Any]) -> Points:
    return transform_points(volume.ijk_to_ras, index)


def _corner(box: tuple[slice, slice, slice]) -> list[int]:
    return [axis.start for axis in box[::-1]]


def _shell(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outermost voxels along each line of the array: enough for the extent in any direction."""
    result = np.zeros_like(mask)
    for axis in range(3):
        there = mask.any(axis=axis)
        first, last = (
            mask.argmax(axis=axis),
            mask.shape[axis] - 1 - np.flip(mask, axis).argmax(axis),
        )
        for end in (first, last):
            at = [*np.nonzero(there)]
            at.insert(axis, end[there])
            result[tuple(at)] = True
    return result
