"""What the user should look at after a segmentation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core import (
    FACES,
    CTVolume,
    Finding,
    FindingKind,
    bounding_box,
    components,
    distance_to,
    transform_points,
)
from .coarse import CoarseGrid
from .level import Level
from .locate import Bools
from .plausible import Shape, reasons_against

#: A patient that meets the end of the scan in less than this is touched, not cut.
_CUT_CM2 = 1.0
_THICK_MM = 3.0
#: Denser than teeth; scanners whose range ends before that show metal at the end of it.
_METAL_HU, _LEAST_CLIPPED_HU = 2800.0, 2000.0
#: One filling; where the scanner's range ends early, its end may also be the densest bone.
_METAL_ML, _CLIPPED_METAL_ML = 0.05, 0.3
#: At every border the network changes its mind over some mm: doubt counts only if deeper than
#: this from all that it is sure of, and from this volume on.
_DOUBT_DEPTH_MM, _DOUBT_ML = 5.0, 1.0
#: A list of a hundred places is not read.
_MOST_PLACES = 5
#: A smaller place where something touches is not told of by itself; those nearer to each other than
#: this count together.
_CONTACT_ML, _TOGETHER_MM = 0.05, 10.0


def cut_faces(mask: NDArray[np.uint8], spacing: tuple[float, float, float]) -> tuple[str, ...]:
    """Which of FACES the patient is cut by. ``mask``: (k, j, i); ``spacing``: mm along i, j, k."""
    cut = []
    for face in FACES:
        axis = 2 - "ijk".index(face[0])
        end = np.take(mask, 0 if face[1] == "-" else -1, axis=axis)
        area = float(np.prod(spacing)) / spacing[2 - axis] * int(np.count_nonzero(end))
        if area >= _CUT_CM2 * 100:
            cut.append(face)
    return tuple(cut)


def find(
    volume: CTVolume,
    level: Level,
    mask: NDArray[np.uint8],
    cuts: tuple[str, ...],
    grid: CoarseGrid,
    contacts: Bools,
    shape: Shape,
    doubt: Bools | None = None,
) -> tuple[Finding, ...]:
    """Findings of a finished mask; positions in RAS mm.

    ``contacts``, ``doubt``: on ``grid``, see Location. ``shape``: what was measured of the patient.
    """
    findings = [_cut_finding(volume, mask, face) for face in cuts]
    findings += _field_findings(volume, mask)
    findings += _contact_findings(volume, grid, contacts)
    if doubt is not None:
        findings += _doubt_findings(volume, grid, doubt)
    if level.calibrated:
        findings += _metal_findings(volume, mask)
    if level.is_found:
        findings.append(
            Finding(
                FindingKind.NOT_CALIBRATED,
                f"Air lies at {level.air:.0f} and soft tissue at {level.tissue:.0f} in this scan; "
                f"the skin was taken half-way. Check the outline and adjust the level if needed.",
            )
        )
    thickest = max(*volume.spacing, volume.slice_gap_mm or 0.0)
    if thickest > _THICK_MM:
        findings.append(
            Finding(
                FindingKind.THICK_SLICES,
                f"Slices are {thickest:.1f} mm apart: detail between them is interpolated.",
            )
        )
    findings += _plausibility(volume, mask, cuts, shape)
    return tuple(findings)


def _ras(volume: CTVolume, kji: NDArray[np.float64]) -> tuple[float, float, float]:
    r, a, s = transform_points(volume.ijk_to_ras, kji[None, ::-1])[0]
    return round(float(r), 1), round(float(a), 1), round(float(s), 1)


def _cut_finding(volume: CTVolume, mask: NDArray[np.uint8], face: str) -> Finding:
    axis = 2 - "ijk".index(face[0])
    index = 0 if face[1] == "-" else mask.shape[axis] - 1
    where = np.argwhere(np.take(mask, index, axis=axis)).mean(axis=0)
    centre = np.insert(where, axis, index)
    return Finding(
        FindingKind.CUT_BY_FIELD_OF_VIEW,
        f"The scan ends within the patient ({_direction(volume, face)} end). The surface is flat "
        "there and is no skin.",
        _ras(volume, centre),
    )


def _field_findings(volume: CTVolume, mask: NDArray[np.uint8]) -> list[Finding]:
    """Where the patient meets padding: the round field of view ends within the patient."""
    padding = volume.padding_mask()
    if padding is None:
        return []
    area, meeting = 0.0, []
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        for here, there in ((low, high), (high, low)):
            where = np.argwhere((mask[here] > 0) & padding[there])
            area += len(where) * float(np.prod(volume.spacing)) / volume.spacing[2 - axis]
            meeting.append(where)
    if area < _CUT_CM2 * 100:
        return []
    # A place on the cut, not its centre: that of a ring around the head lies in the brain.
    places = np.concatenate(meeting)
    return [
        Finding(
            FindingKind.CUT_BY_FIELD_OF_VIEW,
            f"The round field of view ends within the patient ({area / 100:.0f} cm2). The surface "
            "there is no skin.",
            _ras(volume, _middle_one(places)),
        )
    ]


def _direction(volume: CTVolume, face: str) -> str:
    """Anatomical name of a face: the direction its outward normal comes nearest to."""
    column = volume.ijk_to_ras[:3, "ijk".index(face[0])] * (1 if face[1] == "+" else -1)
    axis = int(np.argmax(np.abs(column)))
    names = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    return names[axis][int(column[axis] > 0)]


def _contact_findings(volume: CTVolume, grid: CoarseGrid, contacts: Bools) -> list[Finding]:
    if not contacts.any():
        return []
    voxel_ml = float(np.prod(grid.spacing)) / 1000
    labels = _contact_places(contacts, grid.spacing, _CONTACT_ML / voxel_ml)
    findings = []
    sizes = np.bincount(labels.ravel())[1:] * voxel_ml
    # The largest few: a mask touches at a hundred places.
    for label in np.argsort(-sizes)[:_MOST_PLACES]:
        if sizes[label] < _CONTACT_ML:
            break
        blocks = np.argwhere(labels == label + 1)
        # Of those that there are the one nearest to the middle: around a head that is within it.
        away = (blocks - blocks.mean(axis=0)) * grid.spacing
        nearest = blocks[np.argmin(np.linalg.norm(away, axis=1))]
        centre = (nearest + 0.5) * grid.factors - 0.5
        findings.append(
            Finding(
                FindingKind.TOUCHES_OBJECT,
                "An object touches the patient and was cut off here. Check the outline.",
                _ras(volume, centre),
            )
        )
    return findings


def _contact_places(
    contacts: Bools, spacing: tuple[float, float, float], least: float
) -> NDArray[np.int64]:
    """Places of contact, numbered: those of ``least`` blocks, and what there is far from them.

    A tube touches at one place after the other, and each may be next to nothing: those make one.
    """
    from scipy import ndimage

    places, _ = ndimage.label(contacts, np.ones((3, 3, 3)))
    large = np.bincount(places.ravel()) >= least
    large[0] = False
    together, count = components(distance_to(contacts, spacing) <= _TOGETHER_MM / 2)
    has_large = np.bincount(together[large[places]], minlength=count + 1) > 0
    result: NDArray[np.int64] = np.where(large[places], places, 0).astype(np.int64)
    small = contacts & ~has_large[together]
    result[small] = together[small].astype(np.int64) + len(large)
    return result


def _doubt_findings(volume: CTVolume, grid: CoarseGrid, doubt: Bools) -> list[Finding]:
    """Places where the network neither calls the tissue patient nor object."""
    deep = distance_to(~doubt, grid.spacing) > _DOUBT_DEPTH_MM
    if doubt.all() or not deep.any():
        return []
    block_ml = float(np.prod(grid.spacing)) / 1000
    labels, _ = components(doubt & (distance_to(deep, grid.spacing) <= _DOUBT_DEPTH_MM))
    sizes = np.bincount(labels.ravel())[1:] * block_ml
    findings = []
    for label in np.argsort(-sizes)[:_MOST_PLACES]:
        if sizes[label] < _DOUBT_ML:
            break
        places = np.argwhere((labels == label + 1) & deep)
        centre = (_middle_one(places) + 0.5) * grid.factors - 0.5
        findings.append(
            Finding(
                FindingKind.LOW_CONFIDENCE,
                f"The network is not sure whether {sizes[label]:.0f} mL here are patient. "
                "Check the outline.",
                _ras(volume, centre),
                float(sizes[label]),
            )
        )
    return findings


def _metal_findings(volume: CTVolume, mask: NDArray[np.uint8]) -> list[Finding]:
    """Metal by the head: its streaks reach beyond it and move the skin's edge."""
    box = bounding_box(mask, margin=0)
    if box is None:
        return []
    scan = volume.voxels[box]
    top = float(scan.max())
    metal = scan >= (min(top, _METAL_HU) if top >= _LEAST_CLIPPED_HU else _METAL_HU)
    if volume.padding:
        metal &= ~np.isin(scan, np.asarray(volume.padding, dtype=scan.dtype))
    places = np.argwhere(metal)
    metal_ml = len(places) * volume.voxel_volume_ml
    if metal_ml < (_METAL_ML if top >= _METAL_HU else _CLIPPED_METAL_ML):
        return []
    middle = _middle_one(places) + [part.start for part in box]
    return [
        Finding(
            FindingKind.METAL_STREAKS,
            f"The scan holds {metal_ml:.1f} mL of metal. Where its streaks cross the skin the "
            "outline may have spikes or gaps.",
            _ras(volume, middle),
            metal_ml,
        )
    ]


def _middle_one(places: NDArray[np.int64]) -> NDArray[np.float64]:
    """That of some places (n, 3) which is nearest to the middle of all: one of them, not a hole."""
    middle = np.median(places, axis=0)
    nearest = int(np.linalg.norm(places - middle, axis=1).argmin())
    result: NDArray[np.float64] = places[nearest].astype(np.float64)
    return result


def _plausibility(
    volume: CTVolume, mask: NDArray[np.uint8], cuts: tuple[str, ...], shape: Shape
) -> list[Finding]:
    volume_ml = int(np.count_nonzero(mask)) * volume.voxel_volume_ml
    reasons = reasons_against(shape, volume_ml, bool(cuts), len(cuts) == len(FACES))
    if not reasons:
        return []
    return [
        Finding(
            FindingKind.NOT_A_HEAD,
            f"What was found may not be a head: {' and '.join(reasons)}. "
            "Look at the result before you use it.",
        )
    ]
