"""A coarse grid over a scan: block means down, linear interpolation back up, slice by slice.

Nothing of the scan's full size is ever held as floats. No matrix products: of so small matrices
they gain nothing by several threads, and wait for each other where other programs compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import Box, CTVolume, in_pieces
from .level import Level

Floats = NDArray[np.float32]

#: Enough for a head and shoulders at 2 mm; keeps time and memory bounded for anything larger.
MAX_BLOCKS = 6_000_000
#: Layers of blocks that a thread does in one go.
_BLOCKS_AT_ONCE = 8


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

    def tissue_fraction(self, volume: CTVolume, level: Level) -> Floats:
        """How much of each block is tissue: 0 at air's grey value, 1 at soft tissue's and above.

        Padding counts as air. Shape: coarse_shape.
        """
        rows, columns = (np.arange(0, self.shape[axis], self.factors[axis]) for axis in (1, 2))
        result = np.zeros(self.coarse_shape, np.float32)
        scale = np.float32(1.0 / (level.tissue - level.air))
        padding = np.asarray(volume.padding, dtype=volume.voxels.dtype)

        def add(slices: slice) -> None:
            for k in range(slices.start, slices.stop):
                voxels = volume.voxels[k]
                part = np.clip(voxels, level.air, level.tissue).astype(np.float32)
                if padding.size:
                    part[np.isin(voxels, padding)] = level.air
                part -= np.float32(level.air)
                part = np.add.reduceat(np.add.reduceat(part, rows, axis=0), columns, axis=1)
                result[k // self.factors[0]] += part

        # Whole blocks, so that no two pieces add to the same one.
        in_pieces(add, self.shape[0], _BLOCKS_AT_ONCE * self.factors[0])
        depth, height, width = (
            np.diff(np.append(np.arange(0, n, f), n)).astype(np.float32)
            for n, f in zip(self.shape, self.factors, strict=True)
        )
        return result * (scale / (depth[:, None, None] * height[:, None] * width))

    def at_centres(self, volume: CTVolume) -> NDArray[Any]:
        """Grey values of the voxel in the middle of each block; shape: coarse_shape."""
        k, j, i = (
            np.minimum(np.arange(blocks) * f + f // 2, n - 1)
            for blocks, f, n in zip(self.coarse_shape, self.factors, self.shape, strict=True)
        )
        sample: NDArray[Any] = volume.voxels[np.ix_(k, j, i)]
        return sample

    def voxels_of(self, blocks: Box) -> Box:
        """The voxels (k, j, i) that make up a box of blocks."""
        k, j, i = (
            slice(b.start * f, min(b.stop * f, n))
            for b, f, n in zip(blocks, self.factors, self.shape, strict=True)
        )
        return k, j, i

    def slices(self, coarse: Floats, box: Box) -> Iterator[Floats]:
        """The coarse field, interpolated linearly, on each slice (j, i) of a box of voxels."""
        low_k, weight_k = self._between(0, box[0])
        low_j, weight_j = self._between(1, box[1])
        low_i, weight_i = self._between(2, box[2])
        high_i = np.minimum(low_i + 1, self.coarse_shape[2] - 1)
        high_j = np.minimum(low_j + 1, self.coarse_shape[1] - 1)
        for low, weight in zip(low_k, weight_k, strict=True):
            between = coarse[low]
            if weight > 0:
                between = between * (1 - weight) + coarse[low + 1] * weight
            wide = between[:, low_i] * (1 - weight_i) + between[:, high_i] * weight_i
            yield wide[low_j] * (1 - weight_j)[:, None] + wide[high_j] * weight_j[:, None]

    def at(self, coarse: Floats, k: int, j: NDArray[np.intp], i: NDArray[np.intp]) -> Floats:
        """The coarse field at voxels of slice ``k``, as :meth:`slices` has it."""
        low_k, weight_k = self._between(0, slice(k, k + 1))
        low_j, weight_j = self._between(1, j)
        low_i, weight_i = self._between(2, i)
        high_j, high_i = (
            np.minimum(low + 1, blocks - 1)
            for low, blocks in zip((low_j, low_i), self.coarse_shape[1:], strict=True)
        )
        between = coarse[low_k[0]]
        if weight_k[0] > 0:
            between = between * (1 - weight_k[0]) + coarse[low_k[0] + 1] * weight_k[0]
        low, high = (
            between[row, low_i] * (1 - weight_i) + between[row, high_i] * weight_i
            for row in (low_j, high_j)
        )
        found: Floats = low * (1 - weight_j) + high * weight_j
        return found

    def _between(
        self, axis: int, part: slice | NDArray[np.intp]
    ) -> tuple[NDArray[np.int64], Floats]:
        """For each voxel along an axis the block centre before it, and the next one's weight."""
        n, factor, blocks = self.shape[axis], self.factors[axis], self.coarse_shape[axis]
        position = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, blocks - 1)
        low = np.minimum(position.astype(np.int64), max(blocks - 2, 0))
        return low[part], (position - low).astype(np.float32)[part]
