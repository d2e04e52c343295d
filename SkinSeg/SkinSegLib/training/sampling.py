"""Renders implicit shapes into voxels, in chunks of slices, so that memory stays bounded.

Shapes are painted one over the other into samples finer than the voxels (:mod:`.grid`), which are
then convolved with the point spread. Blocks far from a shape's surface are settled by one
evaluation, since slopes are bounded (:data:`SkinSegLib.training.implicit.SLOPE`); only samples near
a surface are evaluated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import Progress
from SkinSegLib.core.geometry import Matrix

from .grid import TILE_CELLS as _TILE
from .grid import Axis, FineGrid, PointSpread, make_grid
from .implicit import SLOPE, Array, Bounded, Sculpture

AIR_HU = -1000.0
_BATCH = 49152
#: Samples are exact within this distance of a surface, mm.
_MARGIN = 10.0
_COARSE_EDGE = 0.5
_FAR = 1e3
#: Boundaries are taken as settled this many of their sigmas away from the surface.
_SETTLED = 3.3

Texture = Callable[[Array, Array, Array, Array], Array]


@dataclass(frozen=True)
class Layer:
    """One shape and what it is made of; later layers are painted over earlier ones.

    ``hu``: value, or a function of (x, y, z, value so far) giving values. ``exact``: rendered with
    the full accuracy that the outer skin and thin objects need; others are sampled every
    millimetre. ``is_head``: this is the solid head itself. ``under``: an inner part, only deeper
    than this many mm below the skin (at least 4, or it would blur into the skin); ``over``: only
    shallower than this. Inner parts follow the head and are painted after it.
    """

    shape: Bounded
    hu: float | Texture
    exact: bool = False
    under: float | None = None
    over: float | None = None
    is_head: bool = False


class _Chunk:
    """The samples of some tile rows along k; per cell, the head's depth and its inner value."""

    def __init__(self, grid: FineGrid, first_tile: int, tiles: int) -> None:
        self.grid = grid
        ka, ja, ia = grid.axes
        self.tile = (ka.tile, ja.tile, ia.tile)
        self.cell = (ka.cell, ja.cell, ia.cell)
        self.origin = first_tile * ka.tile
        self.size = (tiles * ka.tile, ja.count, ia.count)
        self.values = np.full(self.size, AIR_HU, np.float32)
        self.inside = np.zeros(self.size, np.uint8)
        cells = tuple(n // c for n, c in zip(self.size, self.cell, strict=True))
        self.depth = np.full(cells, _FAR, np.float32)
        self.inner = np.full(cells, np.nan, np.float32)
        self.unsettled = False
        self.counts = tuple(n // t for n, t in zip(self.size, self.tile, strict=True))
        self.tile_depth = np.full(self.counts, _FAR, np.float32)

    def blocks(self, array: NDArray[Any], block: tuple[int, int, int]) -> NDArray[Any]:
        """A view (k blocks, k, j blocks, j, i blocks, i)."""
        (k, j, i), (a, b, c) = array.shape, block
        return array.reshape(k // a, a, j // b, b, i // c, c)

    def centers(self, index: Any, block: tuple[int, int, int]) -> tuple[Array, Array, Array]:
        """RAS mm of the middles of blocks given by their indices."""
        k, j, i = (n * float(b) + (b - 1) / 2 for n, b in zip(index, block, strict=True))
        return self.grid.ras(k + self.origin, j, i)

    def measure_depth(self, shape: Bounded) -> None:
        """The head's value at tiles and, between them linearly, at cells.

        One more row of tiles is measured at either end, so that chunks join without a seam.
        """
        rows = np.arange(-1, self.counts[0] + 1)[:, None, None]
        others = np.ogrid[: self.counts[1], : self.counts[2]]
        x, y, z = np.broadcast_arrays(*self.centers((rows, *(o[None] for o in others)), self.tile))
        near = np.ones(x.shape, bool)
        for axis, at in enumerate((x, y, z)):
            near &= (at > shape.low[axis] - 20) & (at < shape.high[axis] + 20)
        coarse = np.full(x.shape, _FAR, np.float32)
        coarse[near] = _values(shape, x[near], y[near], z[near])
        self.tile_depth = np.ascontiguousarray(coarse[1:-1])
        for axis in range(3):
            count = int(coarse.shape[axis])
            at = (np.arange(count * _TILE) - (_TILE - 1) / 2) / _TILE
            at = np.clip(at, 0, count - 1)
            low = np.minimum(at.astype(int), max(count - 2, 0))
            share = (at - low).astype(np.float32)
            share = share.reshape([-1 if n == axis else 1 for n in range(3)])
            first = np.take(coarse, low, axis)
            coarse = first + share * (np.take(coarse, np.minimum(low + 1, count - 1), axis) - first)
        self.depth = np.ascontiguousarray(coarse[_TILE:-_TILE])

    def settle_inner(self) -> None:
        """Write the values of inner parts, kept per cell until now, into the samples."""
        if not self.unsettled:
            return
        k, j, i = index = np.nonzero(~np.isnan(self.inner))
        view = self.blocks(self.values, self.cell)
        view[k, :, j, :, i, :] = self.inner[index][:, None, None, None]
        self.inner.fill(np.nan)
        self.unsettled = False


def _values(shape: Bounded, x: Array, y: Array, z: Array) -> Array:
    """A shape's values in batches that stay in the processor's cache."""
    result = np.empty(x.shape, np.float32)
    flat = [np.ascontiguousarray(a).reshape(-1) for a in (x, y, z)]
    out = result.reshape(-1)
    for start in range(0, out.size, _BATCH):
        part = slice(start, start + _BATCH)
        a, b, c = (v[part] for v in flat)
        if isinstance(shape, Sculpture):
            out[part] = shape(a, b, c, margin=_MARGIN)
        else:
            out[part] = shape(a, b, c)
    return result


def _slope(shape: Bounded, x: Array, y: Array, z: Array, value: Array) -> Array:
    """Length of the gradient, from forward differences over 0.1 mm."""
    h = np.float32(0.1)
    squared = (_values(shape, x + h, y, z) - value) ** 2
    squared += (_values(shape, x, y + h, z) - value) ** 2
    squared += (_values(shape, x, y, z + h) - value) ** 2
    result: Array = np.clip(np.sqrt(squared) / h, 0.25, 2.0)
    return result


def _paint(chunk: _Chunk, layer: Layer) -> None:
    grid, shape, tile = chunk.grid, layer.shape, chunk.tile
    edge = grid.edge_mm if layer.exact else _COARSE_EDGE
    reach = SLOPE * (grid.half_diagonal(tile) + _SETTLED * edge)
    if layer.is_head:
        chunk.measure_depth(shape)
    x, y, z = chunk.centers(np.ogrid[tuple(slice(n) for n in chunk.counts)], tile)
    near = np.ones(chunk.counts, bool)
    for axis, at in enumerate((x, y, z)):
        near &= (at > shape.low[axis] - reach) & (at < shape.high[axis] + reach)
    if layer.under is not None:
        near &= chunk.tile_depth < -layer.under + reach
    if layer.over is not None:
        near &= chunk.tile_depth > -layer.over - reach
    index = np.nonzero(near)
    if not index[0].size:
        return
    if layer.is_head:
        value = chunk.tile_depth[index]
    else:
        x, y, z = (np.broadcast_to(a, near.shape)[index] for a in (x, y, z))
        value = _values(shape, x, y, z)
    if layer.under is not None:
        value = np.maximum(value, chunk.tile_depth[index] + np.float32(layer.under))
    if layer.over is not None:
        value = np.maximum(value, -chunk.tile_depth[index] - np.float32(layer.over))
    full = (value < -reach) & (not callable(layer.hu))
    if full.any():
        _fill(chunk, layer, tuple(n[full] for n in index), tile)
    active = (value <= reach) & ~full
    if not active.any():
        return
    tiles = [n[active] for n in index]
    # Neighbours together: a batch then lies in a small box, where few details matter.
    chunk.unsettled |= layer.under is not None
    order = np.lexsort([n // 5 for n in tiles[::-1]])
    offsets = np.indices((_TILE, _TILE, _TILE)).reshape(3, -1)
    cells = tuple(
        (t[order][:, None] * _TILE + o[None, :]).ravel()
        for t, o in zip(tiles, offsets, strict=True)
    )
    if layer.exact:
        _paint_samples(chunk, layer, cells, edge)
    else:
        _paint_cells(chunk, layer, cells, edge)


def _fill(chunk: _Chunk, layer: Layer, index: Any, block: tuple[int, int, int]) -> None:
    """Give whole blocks of samples (tiles or cells) the layer's value."""
    k, j, i = index
    if layer.under is not None:
        chunk.unsettled = True
        per_tile = (_TILE, _TILE, _TILE)
        chunk.blocks(chunk.inner, per_tile)[k, :, j, :, i, :] = layer.hu
        return
    chunk.blocks(chunk.values, block)[k, :, j, :, i, :] = layer.hu
    if layer.is_head:
        chunk.blocks(chunk.inside, block)[k, :, j, :, i, :] = 1


def _paint_cells(chunk: _Chunk, layer: Layer, index: Any, edge: float) -> None:
    """Paint what needs no more than one sample per cell."""
    from scipy.special import ndtr

    x, y, z = chunk.centers(index, chunk.cell)
    value = _values(layer.shape, x, y, z)
    if layer.under is not None:
        value = np.maximum(value, chunk.depth[index] + np.float32(layer.under))
    if layer.over is not None:
        value = np.maximum(value, -chunk.depth[index] - np.float32(layer.over))
    active = value <= _SETTLED * edge
    k, j, i = index = tuple(n[active] for n in index)
    share = ndtr(value[active] * np.float32(-1 / edge))
    view = chunk.blocks(chunk.values, chunk.cell)
    if layer.under is not None:
        old = chunk.inner[index]
        unset = np.isnan(old)
        old[unset] = view[k[unset], 0, j[unset], 0, i[unset], 0]
    else:
        old = view[k, 0, j, 0, i, 0]
    new = layer.hu(x[active], y[active], z[active], old) if callable(layer.hu) else layer.hu
    new = (old + share * (new - old)).astype(np.float32)
    if layer.under is not None:
        chunk.inner[index] = new
    else:
        view[k, :, j, :, i, :] = new[:, None, None, None]


def _paint_samples(chunk: _Chunk, layer: Layer, index: Any, edge: float) -> None:
    """Paint cell by cell where a cell is settled, sample by sample where it is not."""
    from scipy.special import ndtr

    grid, shape, cell = chunk.grid, layer.shape, chunk.cell
    x, y, z = chunk.centers(index, cell)
    value = _values(shape, x, y, z)
    if layer.is_head:
        chunk.depth[index] = value
    reach = SLOPE * (grid.half_diagonal(cell) + _SETTLED * edge)
    full = value < -reach
    _fill(chunk, layer, tuple(n[full] for n in index), cell)
    active = np.abs(value) <= reach
    k, j, i = (n[active] for n in index)
    x, y, z, value = x[active], y[active], z[active], value[active]
    slope = _slope(shape, x, y, z, value)
    close = np.abs(value) <= slope * (1.15 * grid.half_diagonal(cell) + _SETTLED * edge)
    settled = ~close & (value < 0)
    _fill(chunk, layer, (k[settled], j[settled], i[settled]), cell)
    k, j, i, slope = (n[close] for n in (k, j, i, slope))
    samples = [(n * c)[:, None] + np.arange(c) for n, c in zip((k, j, i), cell, strict=True)]
    sx, sy, sz = grid.ras(
        samples[0][:, :, None, None] + chunk.origin,
        samples[1][:, None, :, None],
        samples[2][:, None, None, :],
    )
    fine = _values(shape, sx, sy, sz)
    if layer.is_head:
        chunk.blocks(chunk.inside, cell)[k, :, j, :, i, :] = fine <= 0
    fine /= -edge * slope[:, None, None, None]
    share = ndtr(fine)
    view = chunk.blocks(chunk.values, cell)
    old = view[k, :, j, :, i, :]
    if callable(layer.hu):
        raise TypeError("A layer rendered exactly has one value, not a texture.")
    view[k, :, j, :, i, :] = old + share * (np.float32(layer.hu) - old)


def _blur_last(array: NDArray[np.float32], axis: Axis) -> NDArray[np.float32]:
    """Read voxels from the samples along the last axis: banded weights in dense blocks."""
    voxels = axis.weights.shape[0]
    result = np.empty((*array.shape[:-1], voxels), np.float32)
    for start in range(0, voxels, 32):
        rows = axis.weights[start : start + 32]
        used = np.nonzero(rows.any(axis=0))[0]
        band = slice(int(used[0]), int(used[-1]) + 1)
        np.matmul(array[..., band], rows[:, band].T, out=result[..., start : start + 32])
    return result


def _blur_rows(array: NDArray[np.float32], axis: Axis) -> NDArray[np.float32]:
    """The same along the middle axis of (k, j, i)."""
    voxels = axis.weights.shape[0]
    result = np.empty((array.shape[0], voxels, array.shape[2]), np.float32)
    for start in range(0, voxels, 32):
        rows = axis.weights[start : start + 32]
        used = np.nonzero(rows.any(axis=0))[0]
        band = slice(int(used[0]), int(used[-1]) + 1)
        np.matmul(rows[:, band], array[:, band], out=result[:, start : start + 32])
    return result


def render(
    layers: Sequence[Layer],
    shape: tuple[int, int, int],
    ijk_to_ras: Matrix,
    spread: PointSpread,
    *,
    chunk_mb: float = 32.0,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """HU (float32) and truth (uint8, 1 where a voxel's centre is in the head), both (k, j, i).

    ``layers``: painted in order over air. ``chunk_mb``: memory for the samples held at once, which
    changes nothing in the result but rounding. Raises GeometryError for a point spread too sharp
    for the grid, Cancelled through ``progress``.
    """
    grid = make_grid(shape, ijk_to_ras, spread)
    ka, ja, ia = grid.axes
    rows = ka.count // ka.tile
    row_mb = ka.tile * ja.count * ia.count * 5.5 / 1e6
    step = int(np.clip(chunk_mb / row_mb, 1, rows))
    out = np.zeros(shape, np.float32)
    truth = np.zeros(shape, np.uint8)
    first = tuple(round(-axis.first * axis.per_voxel) for axis in grid.axes)
    for start in range(0, rows, step):
        if progress is not None:
            progress.update(start / rows)
        chunk = _Chunk(grid, start, min(step, rows - start))
        for layer in layers:
            if layer.under is None:
                chunk.settle_inner()
            _paint(chunk, layer)
        chunk.settle_inner()
        plane = _blur_rows(_blur_last(chunk.values, ia), ja)
        weights = ka.weights[:, chunk.origin : chunk.origin + chunk.size[0]]
        used = np.nonzero(weights.any(axis=1))[0]
        if used.size:
            voxels = slice(int(used[0]), int(used[-1]) + 1)
            flat = plane.reshape(len(plane), -1)
            target = out[voxels].reshape(-1, flat.shape[1])
            target += weights[voxels] @ flat
        for k in range(shape[0]):
            sample = first[0] + k * ka.per_voxel - chunk.origin
            if 0 <= sample < chunk.size[0]:
                truth[k] = chunk.inside[
                    sample,
                    first[1] : first[1] + shape[1] * ja.per_voxel : ja.per_voxel,
                    first[2] : first[2] + shape[2] * ia.per_voxel : ia.per_voxel,
                ]
    return out, truth
