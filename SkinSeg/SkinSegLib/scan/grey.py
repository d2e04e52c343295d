"""From the numbers in a file to HU: type, voxels that are no number, and padding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import ScanReadError, as_hounsfield

#: A scan with more voxels than this that are NaN or infinite is refused.
MAX_NON_FINITE = 0.01
#: HU written where a scan has no number; scanners use -2000 to -3024 for the same purpose.
NO_MEASUREMENT = -3024.0
#: Real air, noise included, does not sit in one value below this.
BELOW_AIR = -1100.0
#: One value at the edge of a scan is no air if it lies above this, ...
ABOVE_AIR = -900.0
#: ... and this part of the other voxels is the air: below this, and this far below the value.
AIR_PART, SURELY_AIR, AIR_DEPTH_HU = 0.002, -500.0, 200.0


def settle(
    array: NDArray[Any], declared: Iterable[float] = ()
) -> tuple[NDArray[Any], tuple[float, ...], tuple[str, ...]]:
    """Voxels as int16 or float32, the padding values among them, and notes on what was changed.

    ``array``: (k, j, i), any real type, HU. ``declared``: padding values in HU that the file names.
    Whole numbers within int16 become int16 (nothing is lost), everything else float32. The input is
    never changed.

    Raises ScanReadError if more than 1 % of the voxels are not finite, or for complex numbers.
    """
    if array.dtype.kind not in "iubf":
        raise ScanReadError(
            f"The voxels are of type {array.dtype}, which is no grey value. "
            "Export the scan as a plain greyscale volume."
        )
    notes: list[str] = []
    padding = {float(value) for value in declared}
    if array.dtype.kind == "f":
        array, filled = _finite(array, notes)
        padding |= filled
        voxels = _whole(array)
    else:
        voxels = as_hounsfield(array)
    padding |= _undeclared(voxels, padding, notes)
    fills = {value for value in _edge_values(voxels) if _air_below(voxels, value, padding)}
    if fills:
        voxels, mark = _without_fill(voxels, fills, notes)
        padding = (padding - fills) | {mark}
    kept = _plausible(voxels, padding, notes)
    return voxels, tuple(sorted(kept)), tuple(notes)


def _finite(array: NDArray[Any], notes: list[str]) -> tuple[NDArray[Any], set[float]]:
    # The sum of all voxels is finite only if each of them is: one pass, no temporary array. It
    # can overflow for absurd values, and then the exact count below settles it.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum(dtype=np.float64)):
            return array, set()
    good = np.isfinite(array)
    count = int(array.size - np.count_nonzero(good))
    if count == 0:
        return array, set()
    if count > MAX_NON_FINITE * array.size:
        raise ScanReadError(
            f"{100 * count / array.size:.1f} % of the voxels are not a number (NaN or infinite). "
            "Export the scan again from its source; a resampled one needs a fill value such as "
            "-1024 outside its field of view."
        )
    lowest = float(np.floor(array.min(where=good, initial=np.inf)))
    fill = NO_MEASUREMENT if lowest > NO_MEASUREMENT else lowest - 1000.0
    notes.append(
        f"{count} voxels are not a number (NaN or infinite); they were marked as no measurement."
    )
    return np.where(good, array, np.asarray(fill, array.dtype)), {fill}


def _whole(array: NDArray[Any]) -> NDArray[Any]:
    limits = np.iinfo(np.int16)
    sample = array.reshape(-1)[:: max(1, array.size // 100_000)]
    if np.array_equal(sample, np.rint(sample)) and (
        limits.min <= array.min() and array.max() <= limits.max
    ):
        whole = array.astype(np.int16)
        if np.array_equal(whole, array):
            return np.ascontiguousarray(whole)
    largest = float(np.finfo(np.float32).max)
    if array.dtype.itemsize > 4 and max(abs(float(array.min())), float(array.max())) > largest:
        raise ScanReadError(
            "The voxels hold values beyond 3e38, which no scan has. Export the scan again."
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _outside_circle(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(j, i) booleans: outside the ellipse inscribed in a slice, with half a voxel to spare."""
    rows, columns = shape[1:]
    j = (np.arange(rows) - (rows - 1) / 2) / (rows / 2 + 0.5)
    i = (np.arange(columns) - (columns - 1) / 2) / (columns / 2 + 0.5)
    return np.asarray(j[:, None] ** 2 + i[None, :] ** 2 > 1.0)


def _lies_outside_circle(voxels: NDArray[Any], value: float) -> bool:
    """Whether ``value`` is what surrounds the reconstruction circle, and hardly anything else."""
    picked = voxels[:: max(1, len(voxels) // 16)] == value
    outside = _outside_circle(voxels.shape)
    count, corner = np.count_nonzero(picked), np.count_nonzero(picked[:, outside])
    return bool(
        corner > 0.95 * picked.shape[0] * np.count_nonzero(outside) and corner > 0.6 * count
    )


def _plausible(voxels: NDArray[Any], declared: set[float], notes: list[str]) -> set[float]:
    """Declared padding, without values that this scan also uses for real air or tissue.

    Some scanners name the value of clipped air (-1024) or even 0 HU as padding. Such a value is
    padding only where it fills the corners outside the reconstruction circle and little else.
    """
    kept = set()
    for value in declared:
        if value < BELOW_AIR or _lies_outside_circle(voxels, value):
            kept.add(value)
        elif (voxels == value).any():
            notes.append(
                f"The file names {value:g} HU as padding, but this scan uses it for real voxels "
                "too; it was read as measured."
            )
    return kept


def _undeclared(voxels: NDArray[Any], known: set[float], notes: list[str]) -> set[float]:
    """One value, well below air and apart from all others, that fills a part of the scan."""
    lowest = float(voxels.min())
    if lowest > BELOW_AIR or lowest in known:
        return set()
    sample = voxels[:, ::2, ::2] if min(voxels.shape[1:]) > 64 else voxels
    count = int(np.count_nonzero(sample == lowest))
    near = int(np.count_nonzero(sample <= lowest + 50)) - count
    if count < 1e-3 * sample.size or near > 0.01 * count or count == sample.size:
        return set()
    air = int(np.count_nonzero((sample > BELOW_AIR) & (sample < -900)))
    if air < 0.01 * (sample.size - count) and not _lies_outside_circle(voxels, lowest):
        return set()  # the lowest value may itself be the air of an uncalibrated scan
    notes.append(f"Voxels of {lowest:g} HU lie well below air and were taken as no measurement.")
    return {lowest}


def _without_fill(
    voxels: NDArray[Any], fills: set[float], notes: list[str]
) -> tuple[NDArray[Any], float]:
    """A copy in which a resampler's fill (0 unless told otherwise) holds a value of its own.

    Such a fill lies among the values of tissue, so it is marked where it is: what hangs together
    with the corners or faces that hold nothing else. Tissue of the same value stays.
    """
    from scipy import ndimage

    result, mark = voxels.copy(), _unused(voxels)
    for value in sorted(fills):
        parts = ndimage.label(voxels == value)[0]
        reached = np.zeros(int(parts.max()) + 1, dtype=bool)
        for block in (*_corners(parts), *_faces(parts)):
            if (block == block[0, 0, 0]).all():
                reached[block[0, 0, 0]] = True
        reached[0] = False  # everything of another value
        fill = reached[parts]
        result[fill] = mark
        notes.append(
            f"{100 * np.count_nonzero(fill) / fill.size:.1f} % of the voxels, at the edge of the "
            f"scan, all hold {value:g}: a fill value, taken as no measurement."
        )
    return result, mark


def _corners(voxels: NDArray[Any]) -> list[NDArray[Any]]:
    """The eight corners of a grid, each a 64th of its sides."""
    ends = [(slice(0, n), slice(-n, None)) for n in (size // 64 + 1 for size in voxels.shape)]
    return [voxels[k, j, i] for k in ends[0] for j in ends[1] for i in ends[2]]


def _faces(voxels: NDArray[Any]) -> list[NDArray[Any]]:
    """The six outermost layers of a grid; none across an axis of one voxel."""
    return [
        np.take(voxels, [end], axis=axis)
        for axis in range(3)
        if voxels.shape[axis] > 1
        for end in (0, -1)
    ]


def _edge_values(voxels: NDArray[Any]) -> set[float]:
    """What all eight corners hold, or all of a face, where that is one value and no air."""
    corners = _corners(voxels)
    first = corners[0][0, 0, 0]
    values = {float(first)} if all((block == first).all() for block in corners) else set()
    for face in _faces(voxels):
        if (face == face[0, 0, 0]).all():
            values.add(float(face[0, 0, 0]))
    return {value for value in values if value > ABOVE_AIR}


def _air_below(voxels: NDArray[Any], value: float, padding: set[float]) -> bool:
    """Whether a scan has air well below ``value``; without any, the value itself may be the air.

    Clipped air is the lowest value there is. A scan without air, or whose air is nowhere near
    -1000 HU, tells nothing.
    """
    step = max(1, voxels.size // 4_000_000) | 1  # odd: not always the same columns
    sample = voxels.reshape(-1)[::step].astype(np.float32)
    sample = sample[(sample != value) & ~np.isin(sample, np.array(sorted(padding), np.float32))]
    below = np.count_nonzero(sample < min(SURELY_AIR, value - AIR_DEPTH_HU))
    return bool(sample.size and below > AIR_PART * sample.size)


def _unused(voxels: NDArray[Any]) -> float:
    """A value for no measurement that the scan does not hold."""
    value = NO_MEASUREMENT
    while (voxels == voxels.dtype.type(value)).any():
        value -= 1.0
    return value
