"""Regions that a recipe's step works in: boxes, balls, strokes, half-spaces, drawn outlines.

Places are voxel indices (k, j, i), fractions allowed; sizes are mm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import SkinSegError

Bools = NDArray[np.bool_]
Spacing = tuple[float, float, float]

#: Corners that each drawn outline is resampled to before two are interpolated.
_CORNERS = 200


def region(shape: Mapping[str, Any], size: tuple[int, int, int], spacing: Spacing) -> Bools:
    """The voxels (k, j, i) of a grid of ``size`` that a shape covers. ``spacing``: mm, k, j, i.

    ``shape`` has one of these, all of voxel indices:

    * ``box``: [[k0, k1], [j0, j1], [i0, i1]], ends included, null for the grid's own;
    * ``ball``: [k, j, i] with ``radius_mm``;
    * ``stroke``: [[k, j, i], ...], a line with ``radius_mm``, as a round brush draws it;
    * ``side``: [k, j, i] with ``normal`` [k, j, i] in mm: all on that side of the plane;
    * ``outline``: {"axis": 0, "at": {"40": [[j, i], ...], ...}}, closed outlines drawn on slices
      across ``axis``, interpolated corner by corner between them, none beyond the first and last.

    Raises SkinSegError for any other shape.
    """
    if "box" in shape:
        return _box(shape["box"], size)
    if "ball" in shape:
        return _stroke([shape["ball"]], float(shape["radius_mm"]), size, spacing)
    if "stroke" in shape:
        return _stroke(shape["stroke"], float(shape["radius_mm"]), size, spacing)
    if "side" in shape:
        return _side(shape["side"], shape["normal"], size, spacing)
    if "outline" in shape:
        return _outline(shape["outline"], size)
    raise SkinSegError(
        f"A recipe's step has none of the shapes box, ball, stroke, side, outline: {shape}."
    )


def _box(ends: list[list[int | None]], size: tuple[int, int, int]) -> Bools:
    inside = np.zeros(size, bool)
    part = tuple(
        slice(0 if low is None else max(int(low), 0), n if high is None else int(high) + 1)
        for (low, high), n in zip(ends, size, strict=True)
    )
    inside[part] = True
    return inside


def _stroke(
    points: list[list[float]], radius_mm: float, size: tuple[int, int, int], spacing: Spacing
) -> Bools:
    inside = np.zeros(size, bool)
    line = np.asarray(points, float)
    scale = np.asarray(spacing)
    reach = radius_mm / scale + 1
    for a, b in zip(line, line[1:] if len(line) > 1 else line, strict=False):
        low = np.maximum(np.floor(np.minimum(a, b) - reach), 0).astype(int)
        high = np.minimum(np.ceil(np.maximum(a, b) + reach) + 1, size).astype(int)
        if (low >= high).any():
            continue
        axes = [np.arange(lo, hi) for lo, hi in zip(low, high, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * scale
        along, offset = (b - a) * scale, places - a * scale
        t = np.clip(offset @ along / max(float(along @ along), 1e-9), 0, 1)
        distance = np.linalg.norm(offset - t[..., None] * along, axis=-1)
        part = tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True))
        inside[part] |= distance <= radius_mm
    return inside


def _side(
    point: list[float], normal: list[float], size: tuple[int, int, int], spacing: Spacing
) -> Bools:
    total = np.zeros(size, np.float32)
    for axis in range(3):
        line = (np.arange(size[axis]) - point[axis]) * spacing[axis] * normal[axis]
        total += line.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    result: Bools = total > 0
    return result


def _outline(drawn: Mapping[str, Any], size: tuple[int, int, int]) -> Bools:
    axis = int(drawn["axis"])
    outlines = {int(n): _resampled(np.asarray(c, float)) for n, c in drawn["at"].items()}
    keys = sorted(outlines)
    inside = np.zeros(size, bool)
    across = np.moveaxis(inside, axis, 0)
    for n in range(max(keys[0], 0), min(keys[-1], size[axis] - 1) + 1):
        after = next(k for k in keys if k >= n)
        before = max(k for k in keys if k <= n)
        t = (n - before) / (after - before) if after > before else 0.0
        corners = outlines[before] * (1 - t) + outlines[after] * t
        across[n] = _filled(corners, across.shape[1:])
    return inside


def _resampled(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """A closed outline with _CORNERS corners, evenly along it, from its first one on."""
    closed = np.vstack([corners, corners[:1]])
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1)))
    wanted = np.linspace(0, length[-1], _CORNERS, endpoint=False)
    return np.stack([np.interp(wanted, length, closed[:, n]) for n in range(2)], axis=1)


def _filled(corners: NDArray[np.float64], size: tuple[int, ...]) -> Bools:
    from matplotlib.path import Path

    inside = np.zeros(size, bool)
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    high = np.minimum(np.ceil(corners.max(axis=0)) + 1, size).astype(int)
    if (low >= high).any():
        return inside
    rows, columns = np.mgrid[low[0] : high[0], low[1] : high[1]]
    hit = Path(corners).contains_points(np.stack([rows.ravel(), columns.ravel()], axis=1))
    inside[low[0] : high[0], low[1] : high[1]] = hit.reshape(rows.shape)
    return inside
