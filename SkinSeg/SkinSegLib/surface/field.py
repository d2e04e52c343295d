"""The field whose zero set is the skin: HU where scan and mask agree, the smoothed mask elsewhere.

The mask says on which side of the skin a voxel lies, the HU where between two voxels the skin
runs (DESIGN section 5). Signs always follow the mask, so the surface separates exactly its voxels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import (
    Box,
    CTVolume,
    GeometryError,
    Progress,
    SkinMask,
    SurfaceError,
    bounding_box,
    in_pieces,
)

#: Field value of one half contrast and more; int16 halves the memory of a float field.
FULL = 32000
#: Smallest absolute value, so that a vertex never falls on a voxel centre.
EPSILON = 320
#: Standard deviation in voxels of the mask's smoothing where HU show no edge.
_SIGMA = 1.0
#: The mask's field counts fully up to the first, not at all beyond the second (voxels).
_BLEND = (1.0, 3.0)
_BLOCK = 32
#: Slices that a thread does in one go.
_SLICES_AT_ONCE = 16
_MARGIN = 6


#: Plane, as an index along an axis, at which the scan ends within the patient; None elsewhere.
End = float | None
#: For each axis (k, j, i) the plane at its low and at its high end.
Ends = tuple[tuple[End, End], tuple[End, End], tuple[End, End]]


@dataclass(frozen=True)
class Field:
    """int16 values (k, j, i) with the zero set between them, positive inside, never zero.

    ``origin``: index (k, j, i) in the grid of the field's first value. ``ends``: for each axis the
    plane at its low and at its high end; a plane lies half a voxel beyond the last voxel centre.
    """

    values: NDArray[np.int16]
    origin: tuple[int, int, int]
    ends: Ends


def build_field(mask: SkinMask, volume: CTVolume, progress: Progress) -> Field:
    """The field around the patient's bounding box.

    Raises GeometryError if mask and scan are not on the same grid, SurfaceError if the mask is
    empty.
    """
    if mask.voxels.shape != volume.voxels.shape or not np.allclose(
        mask.ijk_to_ras, volume.ijk_to_ras, atol=1e-3
    ):
        raise GeometryError(
            "Mask and scan are not on the same grid. Resample the mask to the scan first."
        )
    box = bounding_box(mask.voxels, margin=1)
    if box is None:
        raise SurfaceError("The mask is empty: there is no surface. Segment the scan first.")
    inside, voxels = mask.voxels[box], volume.voxels[box]
    values = np.empty(inside.shape, np.int16)
    scale = np.float32(FULL / mask.half_contrast_hu)
    level = np.float32(mask.level_hu)

    def fill(slices: slice) -> None:
        for k in range(slices.start, slices.stop):
            field = (voxels[k].astype(np.float32) - level) * scale
            np.clip(field, -FULL, FULL, out=field)
            values[k] = _signed(field, inside[k])

    in_pieces(fill, len(values), _SLICES_AT_ONCE, lambda done: progress.update(0.5 * done))
    _smooth_where_no_edge(values, inside, voxels, mask.level_hu)
    progress.update(1.0)
    k, j, i = (s.start for s in box)
    ends = _ends(box, mask.voxels)
    return Field(values, (k, j, i), (ends[0], ends[1], ends[2]))


def _signed(field: NDArray[np.float32], inside: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The field with its sign forced to the mask's, at least EPSILON from zero."""
    result: NDArray[np.float32] = np.where(
        inside > 0, np.maximum(field, EPSILON), np.minimum(field, -EPSILON)
    )
    return result


def _ends(box: Box, mask: NDArray[np.uint8]) -> tuple[tuple[End, End], ...]:
    """The planes at which the scan ends within the patient, for each axis."""
    inside = mask[box]
    ends: list[tuple[End, End]] = []
    for axis, (part, n) in enumerate(zip(box, mask.shape, strict=True)):
        low = part.start == 0 and inside.take(0, axis=axis).any()
        high = part.stop == n and inside.take(-1, axis=axis).any()
        ends.append((-0.5 if low else None, n - 0.5 if high else None))
    return tuple(ends)


def _smooth_where_no_edge(
    values: NDArray[np.int16],
    inside: NDArray[np.uint8],
    voxels: NDArray[Any],
    level: float,
) -> None:
    """Replace the field near boundary voxels whose HU contradict the mask (contact, caps).

    There the forced sign would pull the surface to voxel centres. The Gaussian-smoothed mask has
    the same profile as a blurred edge, so the two blend without a step. In place.
    """
    from scipy import ndimage

    odd = _contradictions(inside, voxels, level)
    blocks = list(_blocks_with(odd))

    def smooth_block(which: slice) -> None:
        (block,) = blocks[which]
        wide, core = _widened(block, values.shape)
        weight = ndimage.distance_transform_edt(~odd[wide])[core]
        weight = np.clip((_BLEND[1] - weight) / (_BLEND[1] - _BLEND[0]), 0, 1)
        smooth = ndimage.gaussian_filter(
            inside[wide].astype(np.float32), _SIGMA, mode="nearest", truncate=3
        )[core]
        blend = weight * (2 * smooth - 1) * FULL + (1 - weight) * values[block]
        values[block] = _signed(blend.astype(np.float32), inside[block])

    in_pieces(smooth_block, len(blocks), 1)


def _contradictions(
    inside: NDArray[np.uint8], voxels: NDArray[Any], level: float
) -> NDArray[np.bool_]:
    """Voxels next to the mask's boundary whose HU are on the other side of the level."""
    odd = np.zeros(inside.shape, bool)
    last = len(inside) - 1

    def compare(slices: slice) -> None:
        for k in range(slices.start, slices.stop):
            compare_slice(k)

    def compare_slice(k: int) -> None:
        here = inside[k]
        edge = (here != inside[max(k - 1, 0)]) | (here != inside[min(k + 1, last)])
        for axis in (0, 1):
            low = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
            high = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
            step = here[low] != here[high]
            edge[low] |= step
            edge[high] |= step
        odd[k] = edge & ((voxels[k] >= level) != (here > 0))

    in_pieces(compare, len(inside), _SLICES_AT_ONCE)
    return odd


def _blocks_with(odd: NDArray[np.bool_]) -> Iterator[tuple[slice, ...]]:
    """Blocks that hold a true voxel or lie within blending distance of one."""
    where = np.argwhere(odd)
    if where.size == 0:
        return
    reach = int(np.ceil(_BLEND[1]))
    wanted: set[tuple[int, ...]] = set()
    for offset in product((-reach, reach), repeat=3):
        corners = np.clip(where + offset, 0, np.subtract(odd.shape, 1)) // _BLOCK
        wanted.update(map(tuple, np.unique(corners, axis=0).tolist()))
    for block in sorted(wanted):
        yield tuple(
            slice(b * _BLOCK, min((b + 1) * _BLOCK, n))
            for b, n in zip(block, odd.shape, strict=True)
        )


def _widened(
    block: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The block with a margin for the filters, and where the block lies in that."""
    wide, core = [], []
    for s, n in zip(block, shape, strict=True):
        start = max(0, s.start - _MARGIN)
        wide.append(slice(start, min(n, s.stop + _MARGIN)))
        core.append(slice(s.start - start, s.stop - start))
    return tuple(wide), tuple(core)
