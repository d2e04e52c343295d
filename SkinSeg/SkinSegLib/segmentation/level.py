"""Where in the grey values the skin lies: half-way between air and soft tissue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, SegmentationError

AIR_HU, TISSUE_HU = -1000.0, 40.0
#: Where the modes may lie and the scan still count as calibrated. Air is tight: it is what
#: calibration is made with. The rest varies: fat, contrast agent, 8-bit steps, wood.
AIR_RANGE_HU, TISSUE_RANGE_HU = (-1060.0, -940.0), (-360.0, 190.0)
#: Soft tissue whose commonest value lies here is calibrated. Of 129 head CTs it is at -11 to 55 HU
#: in 126; in three it is fat, at -137 to -122.
_SOFT_TISSUE_HU = (-30.0, 75.0)
#: Up to here what is commonest is fat, wood or cloth, which say nothing of where soft tissue lies.
_FAT_HU = -60.0
#: Otsu's classes are two kinds of matter from this Ashman's D on. Noise split in two has 2.7, the
#: real heads at hand 4.2 and more; a noisy CBCT with half the contrast comes to 3.4.
_LEAST_SEPARATION = 3.0
#: More of the voxels than this at the highest value are what lay beyond the range of an export.
_CLIPPED_SHARE = 0.01
#: Greys are inverted if the rim of the slices is this bright and their middle this dark (shares
#: of voxels above the level; rim and middle as parts of the half slice).
_RIM, _MIDDLE = 0.8, 0.4
_RIM_BRIGHT, _MIDDLE_BRIGHT = 0.7, 0.3
_SAMPLES = 1_000_000
_BINS = 512


@dataclass(frozen=True)
class Level:
    """Grey values of air, soft tissue and the skin between them, in the scan's own units.

    ``calibrated``: in HU, at least nearly, so that bone and metal are known by their values."""

    air: float
    tissue: float
    skin: float
    calibrated: bool

    @property
    def is_found(self) -> bool:
        """Whether air and tissue were found in this scan and are not those of every CT."""
        return (self.air, self.tissue) != (AIR_HU, TISSUE_HU)


def find_level(volume: CTVolume, level_hu: float | None = None) -> Level:
    """Find air and soft tissue in a scan, and the level half-way between.

    On a calibrated CT (air near -1000 HU, soft tissue near 40) the level is -480 HU whatever the
    histogram's exact peaks; elsewhere the two modes on either side of Otsu's threshold decide,
    also where only the tissue is off, as in cone-beam scans that know air.
    ``level_hu`` overrides the level only. Otsu 1979, IEEE Trans. Syst. Man Cybern. 9:62.

    Raises SegmentationError if all values are the same, if there is nothing but air, no two kinds
    of matter and no ``level_hu``, or if air is brighter than tissue.
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
    modes = _modes(sample)
    if modes is None:
        if level_hu is None:
            raise SegmentationError(
                "The scan shows no two kinds of matter: nothing in it can be told from air. Choose "
                "a series that shows the outside of the head, or give the level yourself."
            )
        half = (TISSUE_HU - AIR_HU) / 2
        modes = level_hu - half, level_hu + half
    air, tissue = modes
    if _inverted(volume, (air + tissue) / 2):
        raise SegmentationError(
            "The scan's grey values are inverted: bright around the patient and dark within. "
            "Export it again as CT, or multiply its values by -1."
        )
    calibrated = (
        AIR_RANGE_HU[0] <= air <= AIR_RANGE_HU[1]
        and TISSUE_RANGE_HU[0] <= tissue <= TISSUE_RANGE_HU[1]
    )
    low, high = _SOFT_TISSUE_HU
    if calibrated and (tissue <= _FAT_HU or low <= tissue <= high):
        air, tissue = AIR_HU, TISSUE_HU
    return Level(air, tissue, (air + tissue) / 2 if level_hu is None else level_hu, calibrated)


def _inverted(volume: CTVolume, level: float) -> bool:
    """Whether slices are bright along their rim and dark in the middle."""
    step = [max(1, n // 64) for n in volume.voxels.shape]
    part = volume.voxels[:: step[0], :: step[1], :: step[2]]
    row, column = (np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in part.shape[1:])
    radius = np.hypot(row[:, None], column)
    valid = ~np.isin(part, np.asarray(volume.padding, dtype=part.dtype))
    bright = part >= level
    # In a round field of view the corners are padding, or filled with anything.
    rim, middle = valid & (radius > _RIM) & (radius <= 1), valid & (radius < _MIDDLE)
    if not rim.any() or not middle.any():
        return False
    return bool(bright[rim].mean() > _RIM_BRIGHT and bright[middle].mean() < _MIDDLE_BRIGHT)


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


def _modes(sample: NDArray[np.float32]) -> tuple[float, float] | None:
    """The commonest value below and above Otsu's threshold; None if these are no two kinds."""
    below = sample[sample < sample.max()]
    clipped = sample.size - below.size
    if clipped > _CLIPPED_SHARE * sample.size and below.size and below.min() < below.max():
        # Bone that an export clipped lies in one bin and would be taken for the tissue. If tissue
        # was clipped too, little lies between air and that bin: then it is the tissue.
        peaks = _peaks(below)
        if peaks is not None and np.count_nonzero(below > sum(peaks) / 2) > clipped / 2:
            return peaks
    return _peaks(sample)


def _peaks(sample: NDArray[np.float32]) -> tuple[float, float] | None:
    """See :func:`_modes`; of all the values given."""
    # Metal and clipping must not stretch the histogram until air and tissue share a bin.
    low, high = np.percentile(sample, [0.1, 99.5])
    if high <= low:
        low, high = float(sample.min()), float(sample.max())
    counts, edges = np.histogram(sample, bins=_BINS, range=(float(low), float(high)))
    centres = (edges[:-1] + edges[1:]) / 2
    split = _otsu(counts, centres)
    if _separation(counts, centres, split) < _LEAST_SEPARATION:
        return None
    smooth = np.hanning(9) / np.hanning(9).sum()
    below = int(np.argmax(np.convolve(counts[:split], smooth, mode="same")))
    above = split + int(np.argmax(np.convolve(counts[split:], smooth, mode="same")))
    return float(centres[below]), float(centres[above])


def _otsu(counts: NDArray[np.int64], centres: NDArray[np.float64]) -> int:
    """Index of the first bin above the threshold with the greatest between-class variance."""
    weight = np.cumsum(counts)
    total = weight[-1]
    mean = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * weight / total - mean) ** 2 / (weight * (total - weight))
    between = np.where(np.isfinite(between), between, -1.0)
    # An empty gap between the classes gives equal values all along it: its middle is the threshold.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return int(best[len(best) // 2]) + 1


def _separation(counts: NDArray[np.int64], centres: NDArray[np.float64], split: int) -> float:
    """Distance of the two classes' means in units of their spread.

    Ashman, Bird and Zepf 1994, Astron. J. 108:2348.
    """
    means, variances = [], []
    for part in (slice(None, split), slice(split, None)):
        mean = np.average(centres[part], weights=counts[part])
        means.append(mean)
        variances.append(np.average((centres[part] - mean) ** 2, weights=counts[part]))
    return float(np.sqrt(2) * (means[1] - means[0]) / np.sqrt(max(sum(variances), 1e-12)))
