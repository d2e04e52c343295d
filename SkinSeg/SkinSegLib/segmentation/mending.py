"""What mends a mask by one click: crumbs off, holes filled, one place smoothed. Sizes in mm."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core import SegmentationError, largest_component, spacing_of
from ..core.geometry import Matrix
from .openings import outside_part

Mask = NDArray[np.uint8]


def keep_largest(mask: Mask) -> Mask:
    """Only the largest part that hangs together by faces. ``mask``: (k, j, i), 0 and 1."""
    return largest_component(mask)


def fill_holes(mask: Mask) -> Mask:
    """With all air that the mask encloses; where a scan ends, its end counts as a wall.

    An airway that is open at the neck's cut is filled, air beside the neck is not.
    """
    return (~outside_part(mask == 0)).astype(np.uint8)


def smooth_near(
    mask: Mask, ijk_to_ras: Matrix, centre_ras: tuple[float, float, float], radius_mm: float
) -> Mask:
    """Smoothed within a ball, by a Gaussian of a quarter of its radius; unchanged outside it.

    The effect fades out towards the ball's surface, so that no step is left there.
    ``ijk_to_ras``: 4x4, mm. Raises SegmentationError if the ball does not touch the mask's grid.
    """
    from scipy import ndimage

    spacing = np.array(spacing_of(ijk_to_ras))
    centre = (np.linalg.inv(ijk_to_ras) @ (*centre_ras, 1.0))[:3]
    reach = np.ceil(1.5 * radius_mm / spacing)
    low = np.maximum(np.floor(centre - reach), 0).astype(int)[::-1]
    high = np.minimum(np.ceil(centre + reach) + 1, mask.shape[::-1]).astype(int)[::-1]
    if (low >= high).any():
        raise SegmentationError("The place to smooth lies outside the scan. Choose another one.")
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = mask[box].astype(np.float32)
    blurred = ndimage.gaussian_filter(part, 0.25 * radius_mm / spacing[::-1], mode="nearest")
    k, j, i = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    steps = np.stack([i, j, k], axis=-1) - centre
    away = np.linalg.norm(steps @ ijk_to_ras[:3, :3].T, axis=-1)
    weight = np.clip(2 * (1 - away / radius_mm), 0, 1)
    result = mask.copy()
    result[box] = weight * blurred + (1 - weight) * part >= 0.5
    return result
