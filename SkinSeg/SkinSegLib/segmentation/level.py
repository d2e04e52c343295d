"""Where in the grey values the skin lies: half-way between air and soft tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, SegmentationError

AIR_HU, TISSUE_HU = -1000.0, 40.0
#: How far the modes may lie from these and the scan still count as calibrated. Air is tight: it
#: is what calibration is made with; soft tissue varies (fat, contrast agent, 8-bit steps).
AIR_TOLERANCE_HU, TISSUE_TOLERANCE_HU = 60.0, 150.0
_SAMPLES = 1_000_000
_BINS = 512


@dataclass(frozen=True)
class Level:
    """Grey values of air, soft tissue and the skin between them, in the scan's own units."""

    air: float
    tissue: float
    skin: float
    calibrated: bool


def find_level(volume: CTVolume, level_hu: float | None = None) -> Level:
    """Find air and soft tissue in a scan, and the level half-way between.

    On a calibrated CT (air near -1000 HU, soft tissue near 40) the level is -480 HU whatever the
    histogram's exact peaks; elsewhere the two modes on either side of Otsu's threshold decide.
    ``level_hu`` overrides the level only. Otsu 1979, IEEE Trans. Syst. Man Cybern. 9:62.

    Raises SegmentationError if all values are the same, or there is nothing but air.
    """
    sample = _sample(volume)
    low, high = float(sample.min()), float(sample.max())
    if low == high:
        raise SegmentationError(
            f"Every voxel of the scan has the same value ({low:g}). "
            "Check the export, and choose another series."
        )
    if high < AIR_HU + 300 and low >= AIR_HU - 200:
        raise SegmentationError(
            f"The scan holds nothing but air (values {low:g} to {high:g} HU). "
            "Choose the series that shows the patient."
        )
    air, tissue = _modes(sample)
    calibrated = (
        abs(air - AIR_HU) <= AIR_TOLERANCE_HU and abs(tissue - TISSUE_HU) <= TISSUE_TOLERANCE_HU
    )
    if calibrated:
        air, tissue = AIR_HU, TISSUE_HU
    return Level(air, tissue, (air + tissue) / 2 if level_hu is None else level_hu, calibrated)


def _sample(volume: CTVolume) -> NDArray[np.float32]:
    """About a million values, evenly strided, without padding."""
    step = max(1, round((volume.voxels.size / _SAMPLES) ** (1 / 3)))
    part: NDArray[Any] = volume.voxels[::step, ::step, ::step]
    sample = part.astype(np.float32).ravel()
    if volume.padding:
        sample = sample[~np.isin(sample, np.asarray(volume.padding, dtype=np.float32))]
    if sample.size == 0:
        raise SegmentationError("The scan holds padding only. Choose another series.")
    return sample


def _modes(sample: NDArray[np.float32]) -> tuple[float, float]:
    """The commonest value below and above Otsu's threshold."""
    # Metal and clipping must not stretch the histogram until air and tissue share a bin.
    low, high = np.percentile(sample, [0.1, 99.5])
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    counts, edges = np.histogram(sample, bins=_BINS, range=(float(low), float(high)))
    centres = (edges[:-1] + edges[1:]) / 2
    split = _otsu(counts, centres)
    smooth = np.convolve(counts, np.hanning(9) / np.hanning(9).sum(), mode="same")
    below = int(np.argmax(smooth[:split]))
    above = split + int(np.argmax(smooth[split:]))
    return float(centres[below]), float(centres[above])


def _otsu(counts: NDArray[np.int64], centres: NDArray[np.float64]) -> int:
    """Index of the first bin above the threshold with the greatest between-class variance."""
    weight = np.cumsum(counts)
    total = weight[-1]
    mean = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * weight / total - mean) ** 2 / (weight * (total - weight))
    return int(np.nanargmax(np.where(np.isfinite(between), between, -1.0))) + 1
