"""Grids that are finer than the voxels, cut into chunks, tiles and cells, and blurred.

A scan's value is the object averaged by the point spread: a true convolution, taken on a grid of
samples about :data:`SAMPLE_MM` apart and then read at the voxel centres. Each sample holds a
boundary softened by :data:`EDGE_SHARE` of the sample step (the anti-aliasing share of the point
spread); the rest of the point spread is convolved with real weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import GeometryError, spacing_of
from SkinSegLib.core.geometry import Matrix

#: Least wanted distance between samples, mm; wider point spreads need fewer (one per sigma), and
#: no voxel gets less than one.
SAMPLE_MM = 0.55
#: Sigma of the softened boundary, in sample steps.
EDGE_SHARE = 0.4
_CELL_MM = 1.0
#: Cells per tile along each axis.
TILE_CELLS = 4


@dataclass(frozen=True)
class PointSpread:
    """How a scan blurs. ``sigma_mm``: of the isotropic Gaussian (FWHM = 2.355 sigma).

    ``slice_mm``: width of the box that averages along the slice axis; 0 for none.
    """

    sigma_mm: float = 0.5
    slice_mm: float = 0.0

    @property
    def fwhm_mm(self) -> float:
        """Full width at half maximum of the Gaussian."""
        return 2.3548200450309493 * self.sigma_mm


@dataclass(frozen=True)
class Axis:
    """One axis of the fine grid: ``count`` samples ``step`` mm apart, the first one ``first``
    voxels from voxel 0; ``weights``: (voxels, samples) reads voxels from samples."""

    count: int
    step: float
    per_voxel: int
    first: float
    cell: int
    weights: NDArray[np.float32]

    @property
    def tile(self) -> int:
        """Samples per tile."""
        return self.cell * TILE_CELLS


def edge_sigma(spacing: tuple[float, float, float], spread: PointSpread) -> float:
    """Sigma in mm of the boundary in the samples, for voxels of this spacing."""
    return EDGE_SHARE * max(s / _per_voxel(s, spread.sigma_mm) for s in spacing)


def _per_voxel(spacing: float, sigma: float) -> int:
    return max(1, int(np.ceil(spacing / max(SAMPLE_MM, sigma) - 1e-6)))


def make_axis(voxels: int, spacing: float, per: int, sigma: float, box: float) -> Axis:
    """The samples along one axis, ``per`` a voxel, read by a Gaussian (sigma mm) and a box (mm)."""
    from scipy.special import ndtr  # type: ignore[import-untyped,unused-ignore]

    step = spacing / per
    reach = int(np.ceil((4 * sigma + box / 2) / step)) + 1
    cell = max(1, round(_CELL_MM / step))
    tile = cell * TILE_CELLS
    samples = (voxels - 1) * per + 1 + 2 * reach
    count = -(-samples // tile) * tile
    at = (np.arange(count) - reach) * step
    gap = at[None, :] - (np.arange(voxels) * spacing)[:, None]
    if box > 0:  # the slice profile: a box blurred by the Gaussian
        weights = ndtr((gap + box / 2) / sigma) - ndtr((gap - box / 2) / sigma)
    else:
        weights = np.exp(-0.5 * (gap / sigma) ** 2)
    weights[np.abs(gap) > reach * step] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return Axis(count, step, per, -reach / per, cell, weights.astype(np.float32))


@dataclass(frozen=True)
class FineGrid:
    """The samples behind a grid of voxels. Axes in the order k, j, i."""

    shape: tuple[int, int, int]
    ijk_to_ras: Matrix
    axes: tuple[Axis, Axis, Axis]
    edge_mm: float

    def ras(
        self, k: NDArray[Any], j: NDArray[Any], i: NDArray[Any], dtype: Any = np.float32
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """RAS mm of (fractional) sample indices that broadcast against each other."""
        m = self.ijk_to_ras
        ka, ja, ia = self.axes
        vi = ia.first + np.asarray(i, np.float64) / ia.per_voxel
        vj = ja.first + np.asarray(j, np.float64) / ja.per_voxel
        vk = ka.first + np.asarray(k, np.float64) / ka.per_voxel
        x, y, z = (
            (m[r, 0] * vi + (m[r, 1] * vj + (m[r, 2] * vk + m[r, 3]))).astype(dtype)
            for r in range(3)
        )
        return x, y, z

    def half_diagonal(self, counts: tuple[int, int, int]) -> float:
        """Half the diagonal in mm of a block of so many samples (k, j, i)."""
        steps = [
            self.ijk_to_ras[:3, 2 - n] / axis.per_voxel * (count - 1)
            for n, (axis, count) in enumerate(zip(self.axes, counts, strict=True))
        ]
        corners = [a * steps[0] + b * steps[1] + steps[2] for a in (-1, 1) for b in (-1, 1)]
        return float(max(np.linalg.norm(c) for c in corners) / 2)


def make_grid(shape: tuple[int, int, int], ijk_to_ras: Matrix, spread: PointSpread) -> FineGrid:
    """The fine grid for voxels of ``shape`` (k, j, i) and a point spread.

    The boundary's own softness is taken off the Gaussian, so that the two together have exactly
    the stated sigma. Raises GeometryError if sigma is too small for the voxels to be sampled.
    """
    spacing = spacing_of(ijk_to_ras)
    edge = edge_sigma(spacing, spread)
    if spread.sigma_mm < 1.6 * edge:
        raise GeometryError(
            f"A point spread of sigma {spread.sigma_mm} mm is too sharp to sample on this grid; "
            f"use at least {1.6 * edge:.2f} mm."
        )
    rest = float(np.sqrt(spread.sigma_mm**2 - edge**2))
    per = [_per_voxel(s, spread.sigma_mm) for s in spacing[::-1]]
    boxes = (spread.slice_mm, 0.0, 0.0)
    k, j, i = (make_axis(shape[n], spacing[2 - n], per[n], rest, boxes[n]) for n in range(3))
    return FineGrid(shape, ijk_to_ras, (k, j, i), edge)


def spread_covariance(ijk_to_ras: Matrix, spread: PointSpread) -> NDArray[np.float64]:
    """Covariance (3, 3; mm^2, RAS) of the point spread as rendered on this grid.

    On sheared grids (gantry tilt) the Gaussian along k follows the k axis, so the point spread is
    a slanted Gaussian; this is its exact covariance apart from the small isotropic edge share.
    """
    spacing = spacing_of(ijk_to_ras)
    edge = edge_sigma(spacing, spread)
    covariance = np.eye(3) * edge**2
    for n in range(3):
        unit = ijk_to_ras[:3, n] / spacing[n]
        variance = spread.sigma_mm**2 - edge**2
        if n == 2:
            variance += spread.slice_mm**2 / 12
        covariance += variance * np.outer(unit, unit)
    return covariance
