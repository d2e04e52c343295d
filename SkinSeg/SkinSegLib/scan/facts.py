"""The figures of a scan for ``skinseg info`` and for reports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, Finding, FindingKind

#: Slices thicker than this blur the face's features.
THICK_SLICES_MM = 3.0
#: Air further than this from -1000 HU means that the grey values are no calibrated HU.
AIR_TOLERANCE_HU = 100.0
#: Voxels looked at for the histogram.
_SAMPLE = 2_000_000


@dataclass(frozen=True)
class ScanFacts:
    """What there is to know about a scan before anything is computed.

    ``size``: voxels along i, j, k. ``spacing_mm``, ``extent_mm``: along i, j, k (extent is size
    times spacing). ``hu_range``: lowest and highest value that is no padding. ``air_hu``: the
    lowest marked mode of the grey values, None if there is none. ``orientation``: the anatomical
    direction in which i, j and k grow, nearest axis: "LPS" for an ordinary axial CT.
    ``obliquity_degrees``: largest angle between i, j or the slice normal and the anatomical axis
    nearest to it. ``tilt_degrees``: angle between the step from slice to slice and the slice
    normal. ``padding_fraction``: part of all voxels, 0..1.
    """

    size: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    hu_range: tuple[float, float]
    air_hu: float | None
    orientation: str
    obliquity_degrees: float
    tilt_degrees: float
    voxel_type: str
    padding_values: tuple[float, ...]
    padding_fraction: float
    modality: str
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]


def facts(volume: CTVolume) -> ScanFacts:
    """Measure a scan; takes well under a second at 512 x 512 x 250."""
    nk, nj, ni = volume.voxels.shape
    si, sj, sk = volume.spacing
    extent = (ni * si, nj * sj, nk * sk)
    fraction, lowest, highest = _range(volume)
    air = _air(volume)
    orientation, obliquity, tilt = _directions(volume.ijk_to_ras)
    return ScanFacts(
        size=(ni, nj, nk),
        spacing_mm=(si, sj, sk),
        extent_mm=extent,
        hu_range=(lowest, highest),
        air_hu=air,
        orientation=orientation,
        obliquity_degrees=obliquity,
        tilt_degrees=tilt,
        voxel_type=str(volume.voxels.dtype),
        padding_values=volume.padding,
        padding_fraction=fraction,
        modality=volume.modality,
        notes=volume.notes,
        findings=_findings(volume, air, tilt),
    )


def _findings(volume: CTVolume, air: float | None, tilt: float) -> tuple[Finding, ...]:
    findings = [Finding(FindingKind.READ_NOTE, note) for note in volume.notes]
    # Perpendicular distance: with gantry tilt the step between slices is longer than that.
    step = volume.slice_gap_mm or volume.spacing[2] * float(np.cos(np.radians(tilt)))
    coarsest = max(*volume.spacing[:2], step)
    if coarsest > THICK_SLICES_MM:
        findings.append(
            Finding(
                FindingKind.THICK_SLICES,
                f"The measured voxels are up to {coarsest:.1f} mm apart: nose, lips and ears "
                "come out stepped or flattened. Use a series with slices of 1 to 2 mm if there is "
                "one.",
            )
        )
    if air is None or abs(air + 1000.0) > AIR_TOLERANCE_HU:
        seen = "no air is seen" if air is None else f"air is at {air:.0f}"
        findings.append(
            Finding(
                FindingKind.NOT_CALIBRATED,
                f"The grey values may be no calibrated HU: {seen}, not near -1000. The level of "
                "the skin is taken from the scan itself.",
            )
        )
    return tuple(findings)


def _range(volume: CTVolume) -> tuple[float, float, float]:
    """Padding fraction, and lowest and highest value among the other voxels."""
    voxels = volume.voxels
    lowest, highest = float(voxels.min()), float(voxels.max())
    count = sum(int(np.count_nonzero(voxels == value)) for value in volume.padding)
    if count == voxels.size:
        return 1.0, lowest, highest
    if volume.padding and (lowest in volume.padding or highest in volume.padding):
        ends = [_slice_range(part, volume.padding) for part in voxels]
        lowest = min(low for low, _ in ends)
        highest = max(high for _, high in ends)
    return count / voxels.size, lowest, highest


def _slice_range(part: NDArray[np.float64], padding: tuple[float, ...]) -> tuple[float, float]:
    kept = part
    for value in padding:
        kept = kept[kept != value]
    if kept.size == 0:
        return np.inf, -np.inf
    return float(kept.min()), float(kept.max())


def _air(volume: CTVolume) -> float | None:
    """The lowest marked mode of the histogram without padding: air, where the scan shows any.

    Marked: at least 5 % of the highest mode and 0.5 % of the voxels, within 20 HU bins smoothed
    over three of them. None for a scan of one value.
    """
    voxels = volume.voxels
    step = max(1, int(np.ceil((voxels.size / _SAMPLE) ** (1 / 3))))
    sample = voxels[::step, ::step, ::step].ravel().astype(np.float32)
    for value in volume.padding:
        sample = sample[sample != value]
    if sample.size == 0:
        return None
    low, high = (float(v) for v in np.percentile(sample, [0.01, 99.9]))
    if high <= low:
        return None
    bins = int(np.clip((high - low) / 20.0, 16, 1000))
    counts, edges = np.histogram(sample, bins=bins, range=(low, high))
    padded = np.concatenate([[0.0], np.convolve(counts, [0.25, 0.5, 0.25], mode="same"), [0.0]])
    inner = padded[1:-1]
    peak = (inner >= padded[:-2]) & (inner >= padded[2:])
    peak &= (inner >= 0.05 * inner.max()) & (inner >= 0.005 * sample.size)
    places = np.flatnonzero(peak)
    if places.size == 0:
        return None
    first = int(places[0])
    near = sample[(sample >= edges[max(0, first - 1)]) & (sample <= edges[min(bins, first + 2)])]
    return float(np.median(near))


def _directions(matrix: NDArray[np.float64]) -> tuple[str, float, float]:
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal /= np.linalg.norm(normal)
    cosine = float(axes[:, 2] @ normal)
    tilt = float(np.degrees(np.arccos(min(1.0, abs(cosine)))))
    # Gantry tilt shears the third axis; the normal says how the slices lie.
    upright = np.stack([axes[:, 0], axes[:, 1], np.copysign(1.0, cosine) * normal], axis=1)
    letters, worst = _letters(upright)
    return letters, worst, tilt


def _letters(axes: NDArray[np.float64]) -> tuple[str, float]:
    """Nearest anatomical direction of each column, each axis used once, and the worst angle."""
    names = ("LR", "PA", "IS")
    letters, worst = [""] * 3, 0.0
    free_rows, free_columns = {0, 1, 2}, {0, 1, 2}
    while free_columns:
        row, column = max(
            ((r, c) for r in free_rows for c in free_columns), key=lambda rc: abs(axes[rc])
        )
        letters[column] = names[row][int(axes[row, column] > 0)]
        worst = max(worst, float(np.degrees(np.arccos(min(1.0, abs(axes[row, column]))))))
        free_rows.remove(row)
        free_columns.remove(column)
    return "".join(letters), worst
