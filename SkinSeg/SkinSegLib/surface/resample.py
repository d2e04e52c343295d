"""A field on a finer or a coarser grid, for surfaces with more or less detail than the scan has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core import SurfaceError, spacing_of
from ..core.geometry import Matrix
from .field import EPSILON, FULL, End, Field

#: Most voxels of a refined grid: head, shoulders and couch at 1.5 mm with a layer of 2 mm.
MOST_VOXELS = 100_000_000
#: Slices that are averaged at a time.
_SLAB = 32


def resampled(field: Field, ijk_to_ras: Matrix, detail_mm: float) -> tuple[Field, Matrix]:
    """The field on a grid whose steps are about ``detail_mm`` along every axis, and that grid.

    An axis that is finer than that is averaged, a coarser one interpolated linearly in a whole
    number of steps. The scan's ends stay where they are. Raises SurfaceError if the grid would be
    too large.
    """
    spacing = spacing_of(ijk_to_ras)[::-1]
    factors = [max(1, round(size / detail_mm)) for size in spacing]
    coarser = [detail_mm >= 1.5 * size for size in spacing]
    sizes = [
        max(2, round(n * size / detail_mm)) if coarse else n * factor
        for n, size, factor, coarse in zip(
            field.values.shape, spacing, factors, coarser, strict=True
        )
    ]
    if max(factors) > 1 and np.prod(sizes, dtype=float) > MOST_VOXELS:
        raise SurfaceError(
            f"A detail of {detail_mm:g} mm is too fine for a scan of this size. Choose "
            f"{min(spacing):.2g} mm or more, or leave it out."
        )
    matrix = np.array(ijk_to_ras)
    for axis in range(3):
        if coarser[axis] and field.values.shape[axis] > 2:
            field, matrix = _averaged(field, matrix, axis, sizes[axis])
    return refined(field, matrix, factors)


def refined(field: Field, ijk_to_ras: Matrix, factors: list[int]) -> tuple[Field, Matrix]:
    """The field with each step divided in ``factors`` (k, j, i) by linear interpolation, and that
    grid: index u of the old grid is factor * u of the new one."""
    values = field.values
    matrix = np.array(ijk_to_ras)
    origin = list(field.origin)
    ends: list[tuple[End, End]] = list(field.ends)
    for axis, factor in enumerate(factors):
        if factor < 2:
            continue
        values = _interpolated(values, axis, factor)
        matrix[:3, 2 - axis] /= factor
        origin[axis] *= factor
        low, high = ends[axis]
        ends[axis] = (
            None if low is None else low * factor,
            None if high is None else high * factor,
        )
    k, j, i = origin
    return Field(values, (k, j, i), (ends[0], ends[1], ends[2])), matrix


def _interpolated(values: NDArray[np.int16], axis: int, factor: int) -> NDArray[np.int16]:
    """``factor`` - 1 linearly interpolated layers between each two along an axis."""
    moved = np.moveaxis(values, axis, 0)
    result = np.empty((factor * (len(moved) - 1) + 1, *moved.shape[1:]), np.int16)
    result[::factor] = moved
    for step in range(1, factor):
        part = np.float32(step / factor)
        between = moved[:-1] * (1 - part) + moved[1:] * part
        result[step::factor] = _off_zero(between)
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))


def _averaged(field: Field, ijk_to_ras: Matrix, axis: int, count: int) -> tuple[Field, Matrix]:
    """The field averaged to ``count`` equal cells along an axis, and that grid.

    Index 0 of the new grid is the first of these cells. Where the scan goes on beyond the field,
    a cell of air is added: an averaged one may hold the surface.
    """
    moved = np.moveaxis(field.values, axis, 0)
    n = len(moved)
    edges = np.linspace(0, n, count + 1)
    whole = np.minimum(edges.astype(int), n - 1)
    result = np.empty((count, *moved.shape[1:]), np.int16)
    for start in range(0, moved.shape[1], _SLAB):
        part = moved[:, start : start + _SLAB].astype(np.float32)
        # The integral from the low end to each edge; an edge may lie within a voxel.
        total = np.concatenate([np.zeros_like(part[:1]), np.cumsum(part, axis=0)])
        at = total[whole] + (edges - whole).astype(np.float32)[:, None, None] * part[whole]
        mean = np.diff(at, axis=0) * np.float32(count / n)
        result[:, start : start + _SLAB] = _off_zero(mean)
    width = n / count
    matrix = np.array(ijk_to_ras)
    # The centre of the first cell, in the old index.
    first = field.origin[axis] - 0.5 + width / 2
    matrix[:3, 3] += matrix[:3, 2 - axis] * first
    matrix[:3, 2 - axis] *= width
    low, high = field.ends[axis]
    ends = list(field.ends)
    ends[axis] = (None if low is None else -0.5, None if high is None else count - 0.5)
    beyond = (int(low is None), int(high is None))
    result = np.pad(result, (beyond, (0, 0), (0, 0)), constant_values=-FULL)
    origin = list(field.origin)
    origin[axis] = -beyond[0]
    k, j, i = origin
    values = np.ascontiguousarray(np.moveaxis(result, 0, axis))
    return Field(values, (k, j, i), (ends[0], ends[1], ends[2])), matrix


def _off_zero(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """In place: a vertex must not fall on a grid point."""
    values[np.abs(values) < EPSILON] = EPSILON
    return values
