"""What a scanner adds to the object: noise, metal streaks, uncalibrated greys, a round field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import transform_points
from SkinSegLib.core.geometry import Matrix

#: Value outside the round field of view; below anything measured.
PADDING_HU = -2048


@dataclass(frozen=True)
class GreyScale:
    """How grey values follow from HU: ``scale`` * HU + ``offset``, then cupping.

    ``cupping``: how much darker (grey values) the middle of a slice is than the edge of the field.
    A calibrated CT is the default; a cone-beam CT has none of these at rest.
    """

    scale: float = 1.0
    offset: float = 0.0
    cupping: float = 0.0

    @property
    def calibrated(self) -> bool:
        """Whether grey values are HU."""
        return self == GreyScale()


def radius_map(shape: tuple[int, int, int], ijk_to_ras: Matrix) -> NDArray[np.float32]:
    """Distance (j, i) in mm of each voxel from the middle of its slice."""
    j, i = np.ogrid[: shape[1], : shape[2]]
    u = ijk_to_ras[:3, 0][:, None, None] * (i - (shape[2] - 1) / 2)
    v = ijk_to_ras[:3, 1][:, None, None] * (j - (shape[1] - 1) / 2)
    radius: NDArray[np.float32] = np.linalg.norm(u + v, axis=0).astype(np.float32)
    return radius


def add_noise(voxels: NDArray[np.float32], sigma: float, seed: int) -> None:
    """Add noise of standard deviation ``sigma``, in place; neighbours in a slice correlate."""
    if sigma <= 0:
        return
    gain = np.float32(sigma / 0.375)  # what the 1-2-1 filter along two axes leaves of 1
    for k, plane in enumerate(voxels):
        rng = np.random.default_rng([seed, 4, k])
        height, width = plane.shape
        noise = rng.standard_normal((height + 2, width + 2), dtype=np.float32)
        noise = 0.25 * noise[:-2] + 0.5 * noise[1:-1] + 0.25 * noise[2:]
        noise = 0.25 * noise[:, :-2] + 0.5 * noise[:, 1:-1] + 0.25 * noise[:, 2:]
        plane += gain * noise


def add_streaks(
    voxels: NDArray[np.float32],
    ijk_to_ras: Matrix,
    metal: Sequence[NDArray[np.float64]],
    strength: float,
    seed: int,
) -> None:
    """Add bright and dark rays that leave each piece of metal within the slices it lies in.

    ``metal``: RAS mm; ``strength``: grey values at 10 mm from the metal, falling off as 1 / r;
    along the slice axis the rays fade with a sigma of 2.5 mm. In place.
    """
    if strength <= 0 or not metal:
        return
    inverse = np.linalg.inv(ijk_to_ras)
    thickness = 1 / float(np.linalg.norm(inverse[2, :3]))  # distance between slices
    j, i = np.ogrid[: voxels.shape[1], : voxels.shape[2]]
    for number, place in enumerate(metal):
        ci, cj, ck = transform_points(inverse, place[None])[0]
        offset = ijk_to_ras[:3, 0][:, None, None] * (i - ci) + ijk_to_ras[:3, 1][:, None, None] * (
            j - cj
        )
        u, v = (np.tensordot(_unit(ijk_to_ras[:3, axis]), offset, axes=1) for axis in (0, 1))
        angle, radius = np.arctan2(v, u), np.hypot(u, v)
        rng = np.random.default_rng([seed, 5, number])
        rays = np.zeros_like(angle)
        for turns in rng.choice(np.arange(2, 26), 8, replace=False):
            rays += np.cos(turns * angle + rng.uniform(0, 2 * np.pi))
        rays *= strength / 2.0 * 10.0 / np.maximum(radius, 5.0)
        for k in range(voxels.shape[0]):
            fade = np.exp(-0.5 * ((k - ck) * thickness / 2.5) ** 2)
            if fade > 0.01:
                voxels[k] += (fade * rays).astype(np.float32)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / float(np.linalg.norm(vector))


def regrey(voxels: NDArray[np.float32], greys: GreyScale, radius: NDArray[np.float32]) -> None:
    """Turn HU into the grey values of an uncalibrated scanner, in place."""
    if greys.calibrated:
        return
    voxels *= np.float32(greys.scale)
    edge = float(radius.max())
    cup = np.float32(greys.cupping) * (1 - (radius / edge) ** 2)
    voxels += np.float32(greys.offset) - cup
