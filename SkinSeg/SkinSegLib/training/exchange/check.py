"""Whether a label is the solid head of its scan.

What can be told without a second opinion: that its outside is mostly air and its inside mostly
tissue, and that its surface follows the scan's own edge between them. The edge is looked for along
lines through some thousand points of the surface, up to :data:`REACH_MM` to both sides; the same is
done for the label mirrored and turned within its array, which finds the label that was stored the
other way round. A head that is centred in its scan and alike on both sides fits itself mirrored as
well: then nothing can be told from the surface, and nothing is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, GeometryError, LabelError, bounding_box, components
from SkinSegLib.segmentation.level import find_level

from ..evaluation.outlines import Outline

#: The edge is looked for up to so far from the label's surface, in these steps, mm; farther where
#: NEAR_MM is.
REACH_MM, _STEP_MM = 8.0, 0.5
#: Points of the surface that are looked at, and fewest with which anything is said.
_POINTS, _FEWEST = 5000, 200
#: A surface is far from the skin if less than this share of it is near an edge: within NEAR_MM, or
#: one and a quarter of the largest voxel size, so that being a voxel off is not far.
NEAR_MM, _NEAR_VOXELS, _NEAR_SHARE = 3.0, 1.25, 0.5
#: A mirrored label fits clearly better if its mean distance is no more than this share of the
#: label's own, and the difference so many times its standard error. What is wrong in a label stays
#: wrong in its mirror image, so a label that is right never gains by it.
_BETTER, _ERRORS = 0.93, 6.0
#: It must also fit: at least this share of it is near.
_FITS = 0.7
#: Shares of tissue within a label: below the first it is no head, ...
_TISSUE_INSIDE = 0.5
#: Enclosed air that the label leaves out is told of from here on, mL.
_HOLES_ML = 1.0
_SAMPLE = 4_000_000

Points = NDArray[np.float64]


@dataclass(frozen=True)
class LabelFit:
    """How a label fits its scan.

    ``mean_mm``: mean distance of its surface from the scan's edge between air and tissue, where
    none is within REACH_MM that; ``near``: the share within ``near_mm``. NaN where too little of
    the surface lies within the scan. ``tissue_inside``, ``tissue_outside``: shares of voxels at or
    above the level of the skin. ``holes_ml``: air that the label encloses and leaves out.
    ``notes``: what to look at, in words.
    """

    mean_mm: float
    near: float
    near_mm: float
    tissue_inside: float
    tissue_outside: float
    holes_ml: float
    notes: tuple[str, ...] = ()


def check_label(
    volume: CTVolume, mask: NDArray[np.uint8], level_hu: float | None = None
) -> LabelFit:
    """Refuse a label (k, j, i; not 0 is head) that is not the solid head of the scan.

    ``level_hu``: grey value of the skin, found if None. Raises GeometryError for a label of another
    size, LabelError for one that is empty, inverted, the whole picture, outside the head, far from
    the skin, or that fits clearly better mirrored or turned; SegmentationError where the scan shows
    no air or no tissue.
    """
    if mask.shape != volume.voxels.shape:
        raise GeometryError(
            f"The label has {_size(mask)} voxels and the scan {_size(volume.voxels)}. Give the "
            "scan that it was made on."
        )
    solid: NDArray[np.bool_] = mask != 0
    if not solid.any():
        raise LabelError("The label is empty. Choose another segment or value.")
    if solid.all():
        raise LabelError("The label is the whole picture. Choose another segment or value.")
    level = find_level(volume, level_hu).skin
    step = max(1, round((mask.size / _SAMPLE) ** (1 / 3)))
    some = np.s_[::step, ::step, ::step]
    tissue, part = volume.voxels[some] >= level, solid[some]
    inside = float(tissue[part].mean()) if part.any() else 0.0
    outside = float(tissue[~part].mean()) if not part.all() else 0.0
    _require_tissue(solid, inside, outside)
    near_mm = max(NEAR_MM, _NEAR_VOXELS * max(volume.spacing))
    mean, near, better = _fit(volume, solid, level, near_mm)
    if better:
        raise LabelError(
            f"The label does not follow the scan's skin, and fits clearly better {better}. It was "
            "probably stored the other way round: correct its orientation where it comes from, or "
            "flip pictures by --flip."
        )
    if near < _NEAR_SHARE:
        raise LabelError(
            f"Only {near:.0%} of the label's surface lie within {near_mm:g} mm of the scan's skin. "
            "Give the scan that the label was made on, or correct the label."
        )
    holes = float(np.count_nonzero(filled_holes(solid) & ~solid)) * volume.voxel_volume_ml
    fit = LabelFit(mean, near, near_mm, inside, outside, holes)
    return replace(fit, notes=_notes(fit))


def _require_tissue(solid: NDArray[np.bool_], inside: float, outside: float) -> None:
    if outside > inside and inside < _TISSUE_INSIDE:
        corners = [solid[corner] for corner in itertools.product((0, -1), repeat=3)]
        if np.mean(corners) > 0.5:
            raise LabelError(
                "The label is inverted: it holds the air and leaves out the head. Invert it, or "
                "choose another segment or value."
            )
    if inside < _TISSUE_INSIDE:
        raise LabelError(
            f"Only {inside:.0%} of the label are tissue: most of it lies outside the head, or is "
            "another thing. Choose another segment or value, or give the label's own scan."
        )


def filled_holes(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A label (k, j, i) with what it encloses on all sides."""
    box = bounding_box(solid, 1)
    result = solid.copy()
    if box is None:
        return result
    # What is outside the label hangs together through this frame.
    labels, _ = components(np.pad(~solid[box], 1, constant_values=True))
    result[box] |= (labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return result


def _fit(
    volume: CTVolume, solid: NDArray[np.bool_], level: float, near_mm: float
) -> tuple[float, float, str]:
    """Mean distance and share that is near, of the label as it is; how it fits clearly better."""
    matrix = volume.ijk_to_ras[:3, :3]
    points = Outline.of(solid, matrix).index
    size = np.array(solid.shape[::-1])
    # Where the scan ends there is no skin.
    inner = ((points > 0.6) & (points < size - 1.6)).all(axis=1)
    points = points[inner]
    if len(points) > _POINTS:
        chosen = np.random.default_rng(0).choice(len(points), _POINTS, replace=False)
        points = points[np.sort(chosen)]
    if len(points) < _FEWEST:
        return float("nan"), 1.0, ""
    ahead = _outward(solid, points, matrix)
    reach = max(REACH_MM, 2 * near_mm)
    own = _distances(volume, points, ahead, level, reach)
    best, how = own, ""
    for turn, words in _turns(volume):
        where = points.copy()
        lean = ahead.copy()
        for axis in range(3):
            source = (1, 0, 2)[axis] if turn[3] else axis
            where[:, axis] = size[axis] - 1 - points[:, source] if turn[axis] else points[:, source]
            lean[:, axis] = -ahead[:, source] if turn[axis] else ahead[:, source]
        other = _distances(volume, where, lean, level, reach)
        if other.mean() < best.mean():
            best, how = other, words
    gain = own - best
    error = float(gain.std()) / math.sqrt(len(gain))
    clearly = best.mean() < _BETTER * own.mean() and gain.mean() > _ERRORS * error
    clearly &= (best <= near_mm).mean() >= _FITS
    return float(own.mean()), float((own <= near_mm).mean()), how if clearly else ""


def _turns(volume: CTVolume) -> list[tuple[tuple[bool, bool, bool, bool], str]]:
    """Ways to store an array the other way round: flips along i, j, k, and i and j exchanged."""
    square = volume.voxels.shape[1] == volume.voxels.shape[2]
    found = []
    for swap, *flips in itertools.product((False, True), repeat=4):
        if (swap and not square) or not (swap or any(flips)):
            continue
        along = [axis for axis, on in zip("ijk", flips, strict=True) if on]
        words = ["with i and j exchanged"] if swap else []
        if along:
            words.append(f"mirrored along {', '.join(along)}")
        found.append(((flips[0], flips[1], flips[2], swap), " and ".join(words)))
    return found


def _outward(solid: NDArray[np.bool_], points: Points, matrix: NDArray[np.float64]) -> Points:
    """Directions (n, 3; in indices i, j, k for each mm) out of the label: where around a point most
    of what is within 3 mm is not of it."""
    directions = np.array([d for d in itertools.product((-1, 0, 1), repeat=3) if any(d)], float)
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    to_index = np.linalg.inv(matrix)
    last = np.array(solid.shape[::-1]) - 1
    total = np.zeros_like(points)
    coarse = float(np.linalg.norm(matrix, axis=0).max())
    for radius in (max(1.5, 0.6 * coarse), max(3.0, 1.2 * coarse)):
        for direction in directions:
            i, j, k = (
                np.clip(np.rint(points + to_index @ (radius * direction)), 0, last)
                .astype(np.int64)
                .T
            )
            total += np.where(solid[k, j, i], -1.0, 1.0)[:, None] * direction
    length = np.linalg.norm(total, axis=1)
    total[length > 0] /= length[length > 0, None]
    result: Points = total @ to_index.T
    return result


def _distances(
    volume: CTVolume, points: Points, ahead: Points, level: float, reach_mm: float
) -> NDArray[np.float64]:
    """(n,) distance in mm from places (indices i, j, k) to where the scan, going ``ahead``, falls
    below the level: the nearest such place within ``reach_mm``, else that."""
    from scipy import ndimage

    along = np.arange(-reach_mm, reach_mm + _STEP_MM / 2, _STEP_MM)
    places = points[:, None, :] + along[None, :, None] * ahead[:, None, :]
    grey = ndimage.map_coordinates(
        volume.voxels, places.reshape(-1, 3).T[::-1], output=np.float32, order=1, mode="nearest"
    ).reshape(len(points), len(along))
    falls = (grey[:, :-1] >= level) & (grey[:, 1:] < level)
    drop = np.where(falls, grey[:, :-1] - grey[:, 1:], 1.0)
    crossing = along[:-1] + _STEP_MM * np.where(falls, grey[:, :-1] - level, 0.0) / drop
    apart = np.where(falls, np.abs(crossing), reach_mm)
    result: NDArray[np.float64] = apart.min(axis=1)
    return result


def _notes(fit: LabelFit) -> tuple[str, ...]:
    notes = []
    if np.isnan(fit.mean_mm):
        notes.append("Too little of the label's surface lies within the scan to be compared.")
    elif fit.near < 0.8:
        notes.append(
            f"{1 - fit.near:.0%} of the label's surface are farther than {fit.near_mm:g} mm from "
            "an edge between air and tissue. Look at the label."
        )
    if fit.holes_ml > _HOLES_ML:
        notes.append(
            f"The label leaves out {fit.holes_ml:.0f} mL that it encloses; the solid head has them "
            "in it. Fill it (--fill)."
        )
    return tuple(notes)


def _size(array: NDArray[np.generic]) -> str:
    return " x ".join(map(str, array.shape[::-1]))
