"""A coarse grid over a scan: block means down, linear interpolation back up, slice by slice.

Both are separable, so a slice is two small matrix products; nothing of the scan's full size is
ever held as floats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume
from .level import Level

Floats = NDArray[np.float32]

#: Enough for a head and shoulders at 2 mm; keeps time and memory bounded for anything larger.
MAX_BLOCKS = 6_000_000


@dataclass(frozen=True)
class CoarseGrid:
    """Blocks of ``factors`` (k, j, i) voxels of a volume of ``shape``; the last may be partial.

    ``spacing``: size in mm of a block along k, j, i.
    """

    shape: tuple[int, int, int]
    factors: tuple[int, int, int]
    spacing: tuple[float, float, float]

    @classmethod
    def over(cls, volume: CTVolume, size_mm: float) -> CoarseGrid:
        """Blocks as near to ``size_mm`` as whole voxels allow, never smaller than a voxel.

        Larger in a scan that would have more than MAX_BLOCKS of them (a whole trunk).
        """
        si, sj, sk = volume.spacing
        nk, nj, ni = volume.voxels.shape
        while True:
            fk, fj, fi = (max(1, round(size_mm / s)) for s in (sk, sj, si))
            grid = cls((nk, nj, ni), (fk, fj, fi), (sk * fk, sj * fj, si * fi))
            if np.prod(grid.coarse_shape) <= MAX_BLOCKS:
                return grid
            size_mm *= 1.1

    @property
    def coarse_shape(self) -> tuple[int, int, int]:
        """Number of blocks along k, j, i."""
        nk, nj, ni = (-(-n // f) for n, f in zip(self.shape, self.factors, strict=True))
        return nk, nj, ni

    def averaging(self, axis: int) -> Floats:
        """(blocks, voxels) matrix that averages the voxels of each block along an axis."""
        n, factor, blocks = self.shape[axis], self.factors[axis], self.coarse_shape[axis]
        matrix = np.zeros((blocks, n), np.float32)
        matrix[np.arange(n) // factor, np.arange(n)] = 1
        matrix /= matrix.sum(axis=1, keepdims=True)
        return matrix

    def interpolating(self, axis: int) -> Floats:
        """(voxels, blocks) matrix of linear interpolation between block centres, flat beyond."""
        n, factor, blocks = self.shape[axis], self.factors[axis], self.coarse_shape[axis]
        position = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, blocks - 1)
        low = np.minimum(position.astype(int), max(blocks - 2, 0))
        weight = (position - low).astype(np.float32)
        matrix = np.zeros((n, blocks), np.float32)
        matrix[np.arange(n), low] = 1 - weight
        if blocks > 1:
            matrix[np.arange(n), low + 1] += weight
        return matrix

    def tissue_fraction(self, volume: CTVolume, level: Level) -> Floats:
        """How much of each block is tissue: 0 at air's grey value, 1 at soft tissue's and above.

        Padding counts as air. Shape: coarse_shape.
        """
        down_j, down_i = self.averaging(1), self.averaging(2).T.copy()
        result = np.zeros(self.coarse_shape, np.float32)
        scale = np.float32(1.0 / (level.tissue - level.air))
        padding = np.asarray(volume.padding, dtype=volume.voxels.dtype)
        for k in range(self.shape[0]):
            voxels = volume.voxels[k]
            part = np.clip(voxels, level.air, level.tissue).astype(np.float32)
            if padding.size:
                part[np.isin(voxels, padding)] = level.air
            part -= np.float32(level.air)
            result[k // self.factors[0]] += down_j @ part @ down_i
        depth = np.bincount(np.arange(self.shape[0]) // self.factors[0]).astype(np.float32)
        return result * (scale / depth[:, None, None])

    def slices(self, coarse: Floats) -> Iterator[Floats]:
        """The coarse field interpolated onto each slice (j, i) of the full grid, in order of k."""
        up_k = self.interpolating(0)
        up_j, up_i = self.interpolating(1), self.interpolating(2).T.copy()
        # Rows and columns first: several full slices lie between the same two coarse ones.
        cache: dict[int, Floats] = {}
        for k in range(self.shape[0]):
            needed = np.flatnonzero(up_k[k]).tolist()
            cache = {c: cache[c] if c in cache else up_j @ coarse[c] @ up_i for c in needed}
            weights = up_k[k, needed]
            result = cache[needed[0]] * weights[0]
            for c, weight in zip(needed[1:], weights[1:], strict=True):
                result += cache[c] * weight
            yield result
