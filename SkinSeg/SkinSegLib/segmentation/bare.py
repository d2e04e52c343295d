"""Dense matter that lies bare: boards, holders and glasses, not bone, which has skin over it."""

from __future__ import annotations

import numpy as np

from .coarse import Floats
from .level import Level
from .locate import Bools, Spacing, touching_area
from .openings import outside_part

#: Denser than soft tissue by this share of the contrast, 200 HU on a calibrated scan, and by this
#: many times the noise, so that noisy skin does not pass for a board.
_DENSE, _NOISE = 0.16, 4.0
#: A dense part is bare if outside air is beside this share of its surface. For skulls it comes to
#: 0.12 and less (train scans, a made head, two test scans), for the boards of ge_tilt to 0.94; for
#: the parts of chd_phantom's couch, whose foam is full blocks, to anything from 0.13 to 0.54.
_BARE_SHARE = 0.5
#: Tissue from this fraction on fills its block.
_FULL = 0.95
#: Less is a speck of noise.
_LEAST_ML = 0.1


def bare_parts(grey: Floats, fraction: Floats, level: Level, spacing: Spacing) -> Bools:
    """Blocks of the coarse grid that are dense and lie bare, or are the blurred edge of such.

    ``grey``: value in each block, scan's units; ``fraction``: tissue of each block, 0..1; both
    (k, j, i). ``spacing``: mm along k, j, i.
    """
    from scipy import ndimage

    tissue = fraction >= 0.5
    around = np.ones((3, 3, 3))
    beyond = max(_DENSE * (level.tissue - level.air), _NOISE * _noise(tissue, grey))
    dense = tissue & (grey > level.tissue + beyond)
    labels, count = ndimage.label(dense, around)
    if count == 0:
        return dense
    air = outside_part(~tissue)
    # The blurred edge of a board is not full; the skin over bone is.
    beside_air = air | (ndimage.binary_dilation(air, around) & (fraction < _FULL))
    surface = touching_area(labels, ~dense, spacing, count)
    bare_surface = touching_area(labels, beside_air & ~dense, spacing, count)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * float(np.prod(spacing)) / 1000
    is_bare = sizes >= _LEAST_ML
    is_bare[0] = False
    is_bare[1:] &= bare_surface >= _BARE_SHARE * np.maximum(surface, 1e-6)
    bare: Bools = is_bare[labels]
    edge: Bools = tissue & beside_air & ndimage.binary_dilation(bare, around)
    return bare | edge


def _noise(tissue: Bools, grey: Floats) -> float:
    """Standard deviation of the noise: by the median difference of neighbours within tissue."""
    beside = tissue[..., 1:] & tissue[..., :-1]
    if not beside.any():
        return 0.0
    return 1.048 * float(np.median(np.abs(np.diff(grey, axis=-1))[beside]))
