"""Where the face is in a scan of a head, from the head's own shape.

What is assumed, and checked as far as it can be: the scan says truly where front, top and left are,
to within some 15 degrees; the nose is in the scan and free of anything in front of it; there is air
behind the nose, as in nasal cavity and sinuses. From the tip of the nose the face reaches up to the
brows and down to where the profile falls back below the chin, by distances that go with the width
of the head (62 of 150 mm up). Where no such nose is found at the front the face is not guessed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, PrivacyError, SkinMask, components, distance_to

#: Step in mm of the grid along the patient's axes that all of this is done on.
STEP_MM = 1.5
#: A ball of this radius does not fit into a nose, and does into cheeks, chin and brow.
_BALL_MM = 14.0
#: A nose stands out of what the ball leaves by at least this, in mm, and has this volume in mL.
_OUT_MM, _NOSE_ML = 7.0, 0.8
#: Farthest of a nose from the middle of the head, in mm: heads are turned.
_ASIDE_MM = 45.0
#: A slice through the tip, ears included, is at most this many times as wide as long.
_WIDE = 1.0
#: Steps by which a tip may lie behind the foremost of its slice, and by which the scan goes on.
_FOREMOST, _BELOW = 4, 6
#: Air in mL behind the nose, in mm to either side, behind, below and above of its tip.
_AIR_ML, _AIR_SIDE, _AIR_BEHIND, _AIR_BELOW, _AIR_ABOVE = 1.0, 22.0, 75.0, 25.0, 50.0
#: Width of an average head, and lengths that go with it: from the tip of the nose up to the brows,
#: to either side, back to where the front ends, and where the chin is looked for.
_WIDTH_MM, _UP, _SIDE, _BACK, _LIPS, _LOWEST = 150.0, 62.0, 64.0, 80.0, (15.0, 40.0), 105.0
#: Below the chin the profile falls back by this against the lips.
_FALLS_BACK = 25.0


@dataclass(frozen=True)
class AxisGrid:
    """A scan on a grid along x, y and z (RAS mm). Arrays are (z, y, x). ``low``: RAS of [0, 0, 0].

    ``grey``: HU, float32. ``head``: bool, the solid head. ``beyond``: the same, carried on as it is
    where the scan ends within the box. ``measured``: bool, where the scan is.
    """

    low: NDArray[np.float64]
    grey: NDArray[np.float32]
    head: NDArray[np.bool_]
    beyond: NDArray[np.bool_]
    measured: NDArray[np.bool_]

    def along(self, axis: int) -> NDArray[np.float64]:
        """RAS mm of the voxels along an axis of the arrays: 0 is z, 1 is y, 2 is x."""
        first: float = float(self.low[2 - axis])
        return np.asarray(first + STEP_MM * np.arange(self.head.shape[axis]), np.float64)


@dataclass(frozen=True)
class Face:
    """Where the face is, all in RAS mm: the ``tip`` of the nose, and how far it reaches.

    ``scale``: 1 for a head 150 mm wide. ``cut_off``: the scan ends within the face.
    """

    tip: tuple[float, float, float]
    top: float
    bottom: float
    side: float
    back: float
    scale: float
    cut_off: bool


def on_axes(volume: CTVolume, mask: SkinMask) -> AxisGrid:
    """Scan and mask on a grid along the patient's axes, the box of the head and 12 mm around it."""
    from scipy import ndimage

    inside = np.argwhere(mask.voxels[::2, ::2, ::2])[:, ::-1] * 2.0
    if not len(inside):
        raise PrivacyError("There is no head in the scan, so no face to remove.")
    points = inside @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
    low, high = points.min(axis=0) - 12.0, points.max(axis=0) + 12.0
    # On a lattice that does not depend on the scan's own grid.
    low = np.floor(low / STEP_MM) * STEP_MM
    shape = tuple(int(n) for n in np.ceil((high - low) / STEP_MM)[::-1] + 1)
    back = np.linalg.inv(volume.ijk_to_ras)
    # From (z, y, x) of the grid to (k, j, i) of the scan: both count the other way round.
    matrix = back[2::-1, 2::-1] * STEP_MM
    offset = (back[:3, :3] @ low + back[:3, 3])[::-1]
    air = mask.level_hu - mask.half_contrast_hu
    grey = ndimage.affine_transform(
        volume.voxels.astype(np.float32), matrix, offset, shape, order=1, cval=air
    )
    head, beyond = (
        ndimage.affine_transform(mask.voxels, matrix, offset, shape, order=0, mode=mode) > 0
        for mode in ("constant", "nearest")
    )
    ends = np.ones(mask.voxels.shape, np.uint8)
    measured = ndimage.affine_transform(ends, matrix, offset, shape, order=0) > 0
    return AxisGrid(low, grey, head, beyond, measured)


def find_face(grid: AxisGrid, level_hu: float) -> Face:
    """The face of a head that looks to the front.

    ``level_hu``: between air and tissue. Raises PrivacyError where there is no nose at the front.
    """
    tip = _tip_of_nose(grid, level_hu)
    x, y, z = tip
    heights, depths, across = grid.along(0), grid.along(1), grid.along(2)
    above = (heights > z + 45) & (heights < z + 100)  # above the ears
    scale = 1.0
    if np.count_nonzero(above) * STEP_MM > 25:
        widths = np.count_nonzero(grid.head[above].any(axis=1), axis=1) * STEP_MM
        scale = float(np.clip(widths.max() / _WIDTH_MM, 0.6, 1.15))
    middle = np.abs(across - x) <= 8
    there = np.any(grid.head[:, :, middle], axis=2)
    last = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    profile = np.where(np.any(there, axis=1), depths[last], -np.inf)
    lips = (heights < z - _LIPS[0] * scale) & (heights > z - _LIPS[1] * scale)
    bottom = z - _LOWEST * scale
    if np.isfinite(profile[lips]).any():
        front = float(np.median(profile[lips][np.isfinite(profile[lips])]))
        below = (heights < z - _LIPS[1] * scale) & (heights > bottom)
        fallen = heights[below & (profile < front - _FALLS_BACK * scale)]
        if len(fallen):
            bottom = float(fallen.max()) - 5.0
    ends = heights[np.any(there, axis=1)]
    top = z + _UP * scale
    cut = bool(ends.min() > bottom or ends.max() < top)
    return Face(tip, top, bottom, _SIDE * scale, y - _BACK * scale, scale, cut)


def _tip_of_nose(grid: AxisGrid, level_hu: float) -> tuple[float, float, float]:
    """Of what a ball cannot reach from within, the part at the front that has air behind it."""
    from_core = _beyond_ball(grid)
    out = grid.head & (from_core > _BALL_MM + STEP_MM)
    labels, _ = components(out)
    air = grid.head & (grid.grey < level_hu)
    from scipy import ndimage

    heights, depths, across = grid.along(0), grid.along(1), grid.along(2)
    best, tip = 0.0, None
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        part = labels[box] == number
        stands = float(from_core[box][part].max()) - _BALL_MM
        if np.count_nonzero(part) * STEP_MM**3 < 1000 * _NOSE_ML or stands < max(_OUT_MM, best):
            continue
        places = np.argwhere(part)
        k, j, i = places[np.argmax(places[:, 1])] + [slab.start for slab in box]
        x, y, z = float(across[i]), float(depths[j]), float(heights[k])
        width = np.flatnonzero(grid.head[k].any(axis=0))
        length = np.flatnonzero(grid.head[k].any(axis=1))
        middle = float(across[width].mean())
        # An ear stands out too, at the side; what is behind the middle of the head is no face.
        if abs(x - middle) > _ASIDE_MM or j < length[0] + 0.7 * (length[-1] - length[0]):
            continue
        # A head is longer than wide; where it is not, an ear looks to the front.
        if len(width) > _WIDE * len(length):
            continue
        # It is the foremost of its slice, and the scan goes on below it: no edge of where it ends.
        if j < length[-1] - _FOREMOST or not grid.measured[max(k - _BELOW, 0), j - _BELOW, i]:
            continue
        near = air[
            np.ix_(
                (heights > z - _AIR_BELOW) & (heights < z + _AIR_ABOVE),
                (depths > y - _AIR_BEHIND) & (depths < y),
                np.abs(across - x) < _AIR_SIDE,
            )
        ]
        if np.count_nonzero(near) * STEP_MM**3 >= 1000 * _AIR_ML:
            best, tip = stands, (x, y, z)
    if tip is None:
        raise PrivacyError(
            "The front of the head cannot be told: there is no nose with air behind it at the "
            "front of the scan. Check that the scan shows the face and that its orientation is "
            "right; a scan without nose is not defaced by guessing."
        )
    return tip


def _beyond_ball(grid: AxisGrid) -> NDArray[np.float32]:
    """Distance in mm from where the middle of a ball that fits into the head can be, on steps of
    3 mm, which is fine enough for a nose; at every voxel of the grid."""
    spacing = (2 * STEP_MM,) * 3
    # Carried on beyond the end of the scan, or the ball would not reach into the cut's corners.
    room = math.ceil(_BALL_MM / spacing[0]) + 1
    head = np.pad(grid.beyond[::2, ::2, ::2], room, mode="edge")
    core = distance_to(~head, spacing) >= _BALL_MM
    found = distance_to(core, spacing)[room:-room, room:-room, room:-room]
    for axis, size in enumerate(grid.head.shape):
        found = np.repeat(found, 2, axis).take(range(size), axis)
    return found


def front_of(there: NDArray[np.bool_], depths: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each column (z, x) of ``there`` (z, y, x) the y in mm of its first voxel from the front;
    -inf where there is none."""
    last = there.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return np.where(there.any(axis=1), depths[last], -np.inf)
