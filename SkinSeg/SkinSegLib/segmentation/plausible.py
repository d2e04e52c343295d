"""Whether what was found looks like a head: a few measures of shape, each explained to the user.

A skull is a closed shell of bone around a large region of soft tissue: seen from a place in the
brain, nearly every direction meets bone. From no place in a chest, a limb or a phantom do so many.
A scan that shows no skull may still be a face with its neck, so it is doubted only if something
speaks against that: lungs, a trunk's thickness, bone that lies deep, as in a limb, or none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, distance_to
from .coarse import CoarseGrid, Floats
from .level import Level
from .locate import Bools, Spacing

#: Blocks of about this size are enough, and quick.
_BLOCK_MM = 4.0
#: Bone, in parts of the contrast between air and soft tissue above the latter: 250 HU where
#: calibrated. Above the second (900 HU) lie the jaw, teeth and shafts of long bones.
_BONE, _HARD = 0.2, 0.83
#: Less of a block than this is no bone.
_BONE_SHARE = 0.25
#: Directions looked in from a place, how far, and how many must end within the scan.
_DIRECTIONS, _FAR_MM, _LEAST_KNOWN = 64, 130.0, 24
#: Places looked from: this far apart and deep in the patient, with no bone nearer than the last.
_APART_MM, _DEEP_MM, _CLEAR_MM = 12.0, 20.0, 10.0
_MOST_PLACES = 300
#: A place counts as enclosed if at least this share of its directions meet bone.
_ENCLOSED = 0.8
#: Bone nearer to the skin than this is superficial, as the vault, the jaw and the teeth are.
_SUPERFICIAL_MM = 25.0

#: From here on it is a skull (share of directions; mL of the patient that are so enclosed).
_SKULL = (0.85, 40.0)
#: Solid heads with some neck; with shoulders they come to 18 litres. With a skull: newborns.
_HEAD_ML, _NEWBORN_ML = (1500.0, 20000.0), 300.0
#: Half a newborn's head is 45 mm; tables, and the walls of a dry skull, are thinner all over.
_LEAST_DEPTH_MM = 25.0
#: Faces with neck have some hundred mL of bone; a few mL are a hand, none is no patient.
_LEAST_BONE_ML = 60.0
#: Faces and necks enclose 8 to 140 mL of air in nose, mouth and throat; limbs none, lungs more.
_AIRWAY_ML, _LUNGS_ML = 4.0, 300.0
#: Half of what is thickest; heads come to 82 mm.
_TRUNK_DEPTH_MM = 92.0
#: Faces have more than this share of their bone near the skin, see bone in more than the second
#: share of directions, and have more mL of hard bone and teeth than the third.
_LEAST_SUPERFICIAL, _LEAST_SEEN, _LEAST_HARD_ML = 0.38, 0.3, 3.0


@dataclass(frozen=True)
class Shape:
    """What is measured of a patient found.

    ``skull``: the largest share, 0..1, of directions that meet bone, of all places looked from;
    ``enclosed_ml``: around how much of the patient at least _ENCLOSED of them do. ``bone_ml``,
    ``hard_ml``: bone, and bone as hard as teeth; ``superficial``: share of the bone near the skin.
    ``air_ml``: enclosed air. ``tissue_depth_mm``, ``depth_mm``: half the thickness at the thickest
    place, of tissue and with the enclosed air; beyond the end of the scan the patient goes on.
    """

    skull: float
    enclosed_ml: float
    bone_ml: float
    hard_ml: float
    superficial: float
    air_ml: float
    tissue_depth_mm: float
    depth_mm: float

    @property
    def has_skull(self) -> bool:
        """Whether there is a shell of bone around soft tissue."""
        return self.skull >= _SKULL[0] and self.enclosed_ml >= _SKULL[1]


def measure(
    volume: CTVolume, level: Level, grid: CoarseGrid, patient: Bools, cavities: Bools
) -> Shape:
    """Measure a patient on the coarse grid, (k, j, i). ``cavities``: enclosed air."""
    step = tuple(
        max(1, min(n, round(_BLOCK_MM / size)))
        for n, size in zip(patient.shape, grid.spacing, strict=True)
    )
    spacing: Spacing = tuple(s * n for s, n in zip(grid.spacing, step, strict=True))  # type: ignore[assignment]
    grey = grid.at_centres(volume)
    tissue = _pooled(patient, step)
    air = (_pooled(cavities, step) > 0.3) & (tissue < 0.5)
    bright = patient & (grey > level.tissue + _BONE * (level.tissue - level.air))
    hard = bright & (grey > level.tissue + _HARD * (level.tissue - level.air))
    bone_share = _pooled(bright, step)
    block_ml = float(np.prod(grid.spacing)) / 1000
    inside, bone = tissue >= 0.5, bone_share >= _BONE_SHARE
    to_air = distance_to(~inside, spacing)
    depth = distance_to(~(inside | air), spacing)
    padding = np.zeros(0, bool)
    if volume.padding:
        padding = _pooled(np.isin(grey, np.asarray(volume.padding, grey.dtype)), step) > 0
    kinds = np.where(bone, _IS_BONE, np.where(inside, _IS_SOFT, _IS_OUT)).astype(np.uint8)
    if padding.size:
        kinds[padding & ~inside] = _IS_UNKNOWN
    seen, places_ml = _looked_around(kinds, depth, spacing)
    bone_total = float(bone_share.sum())
    return Shape(
        float(seen.max(initial=0.0)),
        float(np.count_nonzero(seen >= _ENCLOSED)) * places_ml,
        float(np.count_nonzero(bright)) * block_ml,
        float(np.count_nonzero(hard)) * block_ml,
        float(bone_share[depth < _SUPERFICIAL_MM].sum()) / bone_total if bone_total else 0.0,
        float(np.count_nonzero(cavities)) * block_ml,
        float(to_air.max(initial=0.0)),
        float(depth.max(initial=0.0)),
    )


_IS_SOFT, _IS_BONE, _IS_OUT, _IS_UNKNOWN = range(4)


def _pooled(array: Bools, step: tuple[int, ...]) -> Floats:
    """Share of each whole block of ``step`` that is true; what is left at the far ends is not."""
    total: NDArray[np.uint16] | None = None
    stops = [n - n % width for n, width in zip(array.shape, step, strict=True)]
    for offset in product(*(range(width) for width in step)):
        part = array[tuple(slice(o, n, w) for o, n, w in zip(offset, stops, step, strict=True))]
        total = part.astype(np.uint16) if total is None else total + part
    assert total is not None
    return (total / np.float32(np.prod(step))).astype(np.float32)


def _looked_around(
    kinds: NDArray[np.uint8], depth: Floats, spacing: Spacing
) -> tuple[NDArray[np.float64], float]:
    """From each of some places, the share of directions that meet bone; and mL per place.

    A direction ends at bone, or leaves the soft tissue, or is not known: the scan ends.
    """
    size = np.array(spacing)
    apart = np.maximum(1, np.rint(_APART_MM / size).astype(int))
    lattice = np.zeros(kinds.shape, bool)
    lattice[tuple(slice(n // 2, None, n) for n in apart)] = True
    places = np.argwhere(lattice & (kinds == _IS_SOFT) & (depth >= _DEEP_MM))
    # Of a trunk with a head there are too many: an even choice of them.
    thinning = max(1.0, len(places) / _MOST_PLACES)
    places = places[(np.arange(int(len(places) / thinning)) * thinning).astype(int)] + 1
    padded = np.pad(kinds, 1, constant_values=_IS_UNKNOWN)
    steps = _directions() / size
    ends = np.full((len(places), _DIRECTIONS), _IS_SOFT, np.uint8)
    nearest = np.full(len(places), np.inf)
    last = np.array(padded.shape) - 1
    pace = float(min(size.min(), _BLOCK_MM))
    place, direction = (n.ravel() for n in np.indices(ends.shape))
    for way in np.arange(pace, _FAR_MM, pace):
        at = np.rint(places[place] + steps[direction] * way).astype(np.intp)
        met = padded[tuple(np.clip(at, 0, last).T)]
        ended = met != _IS_SOFT
        ends[place[ended], direction[ended]] = met[ended]
        np.minimum.at(nearest, place[met == _IS_BONE], way)
        place, direction = place[~ended], direction[~ended]
        if not place.size:
            break
    bone = np.count_nonzero(ends == _IS_BONE, axis=1)
    known = np.count_nonzero(ends != _IS_UNKNOWN, axis=1)
    share = np.where(
        (known >= _LEAST_KNOWN) & (nearest >= _CLEAR_MM), bone / np.maximum(known, 1), 0.0
    )
    return share, thinning * float(np.prod(size * apart)) / 1000


def _directions() -> NDArray[np.float64]:
    """Unit vectors (n, 3), evenly spread: a Fibonacci lattice on the ball."""
    n = np.arange(_DIRECTIONS) + 0.5
    z = 1 - 2 * n / _DIRECTIONS
    turn = np.pi * (1 + 5**0.5) * n
    radius = np.sqrt(1 - z * z)
    return np.stack([z, radius * np.sin(turn), radius * np.cos(turn)], axis=1)


def reasons_against(
    shape: Shape, volume_ml: float, cut: bool, cut_all_round: bool
) -> tuple[str, ...]:
    """Why this may be no head, in words; empty where nothing speaks against it.

    ``volume_ml``: of the mask. ``cut``, ``cut_all_round``: whether the scan ends in the patient on
    some side, on all six.
    """
    reasons = []
    if shape.tissue_depth_mm < _LEAST_DEPTH_MM:
        reasons.append(f"it is nowhere thicker than {2 * shape.tissue_depth_mm:.0f} mm")
    least_ml = _NEWBORN_ML if shape.has_skull else _HEAD_ML[0]
    if volume_ml < least_ml and not cut:
        reasons.append(f"its volume is {volume_ml:.0f} mL")
    if shape.has_skull:
        return tuple(reasons)
    if volume_ml > _HEAD_ML[1]:
        reasons.append(f"its volume is {volume_ml:.0f} mL")
    if cut_all_round:
        reasons.append("it fills the scan on all six sides")
    if shape.air_ml > _LUNGS_ML:
        reasons.append(f"it encloses {shape.air_ml:.0f} mL of air, as lungs do")
    if shape.depth_mm > _TRUNK_DEPTH_MM:
        reasons.append(f"it is {2 * shape.depth_mm:.0f} mm thick, as a trunk is")
    if shape.air_ml < _AIRWAY_ML:
        reasons.append("it encloses no air, as nose and throat do")
    if shape.bone_ml < _LEAST_BONE_ML:
        reasons.append(f"it holds {shape.bone_ml:.0f} mL of bone")
    elif shape.superficial < _LEAST_SUPERFICIAL:
        reasons.append("its bone lies deep, as in a limb or a trunk")
    elif shape.skull < _LEAST_SEEN or shape.hard_ml < _LEAST_HARD_ML:
        reasons.append("its bone is not that of a skull or a jaw")
    if reasons:
        reasons.append("no skull is seen")
    return tuple(reasons)
