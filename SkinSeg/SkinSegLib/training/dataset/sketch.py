"""Some thousand grey values that tell whether two scans are one: for duplicates and leaks.

The head is seen in cells of 8 mm, hung up at its highest point and centred on what lies below, and
only what differs from its neighbourhood counts: all heads are alike when blurred, no two in the
pattern of their bones and cavities. The same scan looks the same after cropping, resampling,
mirroring of its axes in the file, noise, or another kernel. No face can be seen in it.
"""

from __future__ import annotations

import base64
import binascii

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, SegmentationError, largest_component
from SkinSegLib.segmentation.coarse import Floats
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.network_grid import NetworkGrid

#: Cells along superior, anterior, right; their size, and that of the cells they are taken from, mm.
_CELLS, _CELL_MM, _FINE_MM = (20, 27, 24), 8.0, 4.0
#: The neighbourhood that a cell is compared with: sigma of a Gaussian, mm.
_AROUND_MM = 9.0
#: What lies this far below the highest point says where the middle is, mm.
_CENTRED_MM = 120.0
#: How far two scans may be shifted, in cells: along the body one may start lower, and what is in
#: the middle changes with it.
_SHIFTS = (6, 2, 2)
#: Of the cells along anterior, those that are compared: the face may have been taken out.
_BEHIND = 14
#: At least so many layers of cells must be compared.
_LAYERS = 8
#: Steps that a grey value (0 air, 1 tissue) is kept in.
_STEPS = 127


def sketch(volume: CTVolume) -> str:
    """The sketch of a scan as text (base64); empty where no patient can be told from air."""
    from scipy import ndimage

    try:
        grid = NetworkGrid.over(volume, _FINE_MM)
        grey = grid.grey(volume, find_level(volume))
    except SegmentationError:
        return ""
    body = largest_component(grey > 0.5)
    if not body.any():
        return ""
    spacing = np.array([grid.spacing[axis] for axis in grid.axes])
    alone = grey * body
    near = ndimage.gaussian_filter(alone, _CELL_MM / 2 / spacing)
    pattern = near - ndimage.gaussian_filter(alone, _AROUND_MM / spacing)
    top = int(np.flatnonzero(body.any(axis=(1, 2)))[-1])
    low = max(0, top - round(_CENTRED_MM / spacing[0]))
    middle = [float(axis.mean()) for axis in np.nonzero(body[low : top + 1])[1:]]
    down = top - (np.arange(_CELLS[0]) + 0.5) * _CELL_MM / spacing[0]
    across = [
        centre + (np.arange(n) - (n - 1) / 2) * _CELL_MM / step
        for centre, n, step in zip(middle, _CELLS[1:], spacing[1:], strict=True)
    ]
    places = np.stack(np.meshgrid(down, *across, indexing="ij"))
    seen = ndimage.map_coordinates(pattern, places, order=1, cval=0.0)
    kept = np.clip(np.rint(seen * _STEPS), -127, 127).astype(np.int8)
    return base64.b64encode(kept).decode("ascii")


def likeness(one: str, other: str) -> float:
    """-1 to 1: the correlation of two sketches where they overlap, shifted to fit best; 0 where
    one is missing or damaged."""
    a, b = _cells(one), _cells(other)
    if a is None or b is None:
        return 0.0
    return max(_shifted(a, b, np.zeros(3)), _shifted(a, b, _best_shift(a, b)))


def _best_shift(a: Floats, b: Floats) -> NDArray[np.float64]:
    """By how many cells ``a`` must be moved to lie upon ``b``, to a part of a cell: the peak of
    their cross-correlation, by a parabola through its neighbours."""
    from scipy import signal

    every = signal.fftconvolve(b, a[::-1, ::-1, ::-1])
    # One more on each side, for the parabola.
    near = every[
        tuple(slice(n - 2 - most, n + 1 + most) for n, most in zip(a.shape, _SHIFTS, strict=True))
    ]
    inner = near[1:-1, 1:-1, 1:-1]
    peak = np.unravel_index(int(inner.argmax()), inner.shape)
    found = np.zeros(3)
    for axis, most in enumerate(_SHIFTS):
        at = [n + 1 for n in peak]
        below, here, above = (
            float(near[tuple(n + step * (axis == m) for m, n in enumerate(at))])
            for step in (-1, 0, 1)
        )
        bend = below - 2 * here + above
        part = 0.5 * (below - above) / bend if bend < 0 else 0.0
        found[axis] = peak[axis] - most + np.clip(part, -0.5, 0.5)
    return found


def _shifted(a: Floats, b: Floats, shift: NDArray[np.float64]) -> float:
    """The correlation of ``b`` and ``a`` moved by ``shift`` cells."""
    from scipy import ndimage

    moved = ndimage.shift(a, shift, order=1, cval=0.0) if shift.any() else a
    # Layers beyond the end of either scan are empty, and say nothing; the outermost is half so.
    shown = [layers.any(axis=(1, 2)) for layers in (moved, b)]
    both = np.flatnonzero(shown[0] & shown[1])
    both = both[1:-1] if shift[0] else both
    if len(both) < _LAYERS:
        return 0.0
    return _correlation(moved[both][:, :_BEHIND].ravel(), b[both][:, :_BEHIND].ravel())


def _correlation(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _cells(text: str) -> Floats | None:
    try:
        found: NDArray[np.int8] = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
    except (binascii.Error, ValueError):
        return None
    if found.size != np.prod(_CELLS):
        return None
    return found.reshape(_CELLS).astype(np.float32)
