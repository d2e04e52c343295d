"""The grid that the network sees: nearly isotropic cells, axes in the order closest to R, A, S.

Every axis is resampled by one small sparse matrix, slice by slice, so that nothing of the scan's
full size is ever held as floats, and a scan of any orientation looks to the network like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume
from .coarse import CoarseGrid, Floats
from .level import Level

#: Grey values as the network sees them: 0 is air, 1 soft tissue, everything denser ends here.
GREY_RANGE = (0.0, 2.0)


@dataclass(frozen=True)
class NetworkGrid:
    """Cells over a scan of ``shape`` voxels (k, j, i).

    ``cells``: their number along the scan's own k, j, i. ``spacing``: cell size in mm along the
    scan's k, j, i. ``axes``: which of the scan's array axes (0 is k) becomes the network's first
    (inferior to superior), second (posterior to anterior) and third (left to right) one;
    ``flipped``: whether that axis runs the other way in the scan.
    """

    shape: tuple[int, int, int]
    cells: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def over(cls, volume: CTVolume, size_mm: float) -> NetworkGrid:
        """Cells as near to ``size_mm`` as a whole number of them over the scan allows."""
        shape = volume.voxels.shape
        sizes = volume.spacing[::-1]
        cells = tuple(max(1, round(n * s / size_mm)) for n, s in zip(shape, sizes, strict=True))
        spacing = tuple(n * s / c for n, s, c in zip(shape, sizes, cells, strict=True))
        axes, flipped = _closest_axes(volume.ijk_to_ras)
        return cls(shape, cells, spacing, axes, flipped)  # type: ignore[arg-type]

    @property
    def network_shape(self) -> tuple[int, int, int]:
        """Number of cells along the network's axes: superior, anterior, right."""
        a, b, c = (self.cells[axis] for axis in self.axes)
        return a, b, c

    def grey(self, volume: CTVolume, level: Level) -> Floats:
        """The scan as the network sees it: network_shape, GREY_RANGE, averaged over each cell.

        Padding counts as air. ``level``: the grey values of air and soft tissue.
        """
        to_k, to_j, to_i = self._to_cells()
        padding = np.asarray(volume.padding, dtype=volume.voxels.dtype)
        contrast = level.tissue - level.air
        top = level.air + GREY_RANGE[1] * contrast
        flat = np.empty((self.shape[0], self.cells[1], self.cells[2]), np.float32)
        for k in range(self.shape[0]):
            voxels = volume.voxels[k]
            part = np.clip(voxels, level.air, top).astype(np.float32)
            if padding.size:
                part[np.isin(voxels, padding)] = level.air
            flat[k] = (to_i @ (to_j @ part).T).T
        coarse = _along_first(to_k, flat)
        coarse -= np.float32(level.air)
        coarse /= np.float32(contrast)
        return self._to_network(coarse)

    def label(self, mask: NDArray[np.uint8]) -> Floats:
        """The share of each cell that a mask (k, j, i; the scan's grid) fills: network_shape."""
        to_k, to_j, to_i = self._to_cells()
        flat = np.stack([(to_i @ (to_j @ part.astype(np.float32)).T).T for part in mask])
        return self._to_network(_along_first(to_k, flat))

    def on_coarse(self, values: Floats, grid: CoarseGrid) -> Floats:
        """What the network says (network_shape), linearly interpolated at blocks of the scan."""
        result = self._from_network(values)
        for axis in range(3):
            blocks = grid.coarse_shape[axis]
            ends = np.minimum(np.arange(1, blocks + 1) * grid.factors[axis], self.shape[axis])
            centres = (np.arange(blocks) * grid.factors[axis] + ends) / 2
            position = centres * self.cells[axis] / self.shape[axis] - 0.5
            matrix = interpolating(position, self.cells[axis])
            result = np.moveaxis(np.tensordot(matrix, result, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(result, np.float32)

    def _to_cells(self) -> list[Any]:
        """For k, j and i the sparse (cells, voxels) matrix that averages over each cell."""
        from scipy.sparse import csr_array

        return [csr_array(_to_cells(n, c)) for n, c in zip(self.shape, self.cells, strict=True)]

    def _to_network(self, values: Floats) -> Floats:
        turned = values.transpose(self.axes)
        backward = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        return np.ascontiguousarray(turned[backward], np.float32)

    def _from_network(self, values: Floats) -> Floats:
        backward = tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)
        back: Floats = values[backward].transpose(np.argsort(self.axes))
        return back


def _along_first(matrix: Any, values: Floats) -> Floats:
    """A sparse matrix applied along the first axis."""
    rows: Floats = matrix @ values.reshape(len(values), -1)
    return rows.reshape(-1, *values.shape[1:])


def _closest_axes(
    ijk_to_ras: NDArray[np.float64],
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Array axes (0 is k) nearest to S, A and R, each used once, and whether they run backward."""
    from scipy.optimize import linear_sum_assignment

    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    _, column = linear_sum_assignment(-np.abs(directions))
    axes = tuple(2 - int(column[row]) for row in (2, 1, 0))
    flipped = tuple(bool(directions[row, column[row]] < 0) for row in (2, 1, 0))
    return axes, flipped  # type: ignore[return-value]


def _to_cells(voxels: int, cells: int) -> Floats:
    """(cells, voxels) matrix: average over each cell, or interpolation where voxels are larger."""
    if cells >= voxels:
        position = (np.arange(cells) + 0.5) * voxels / cells - 0.5
        return interpolating(position, voxels)
    start = np.arange(cells)[:, None] * voxels / cells
    voxel = np.arange(voxels)[None, :]
    overlap = np.minimum(voxel + 1, start + voxels / cells) - np.maximum(voxel, start)
    matrix: Floats = (np.clip(overlap, 0, 1) * cells / voxels).astype(np.float32)
    return matrix


def interpolating(position: NDArray[np.float64], count: int) -> Floats:
    """(positions, count) matrix of linear interpolation; constant beyond the ends."""
    position = np.clip(position, 0, count - 1)
    low = np.minimum(position.astype(np.int64), max(count - 2, 0))
    weight = position - low
    matrix = np.zeros((len(position), count), np.float32)
    row = np.arange(len(position))
    matrix[row, low] = 1 - weight
    matrix[row, np.minimum(low + 1, count - 1)] += weight
    return matrix
