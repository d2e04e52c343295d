"""The skin as a layer: the outer mm of the solid head, by the distance to its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core import (
    LayerTooThinError,
    Progress,
    SkinMask,
    SkinMesh,
    bounding_box,
    distance_to,
    spacing_of,
    transform_points,
)
from .field import EPSILON, FULL, Field
from .parts import chosen_triangles, part_of_triangle, part_volumes_ml
from .resample import MOST_VOXELS, refined

#: Longest edge of the pieces of surface that distances are measured to, in layers.
_PIECE = 0.6
#: The inner wall needs about two grid steps within the layer, or it would touch the outer one.
_STEPS_PER_LAYER = 2.0
#: A closed hollow smaller than this is filled, mL.
_POCKET_ML = 0.5
#: Distances that are looked up between two chances to cancel.
_CHUNK = 100_000


def layer_voxels(
    mask: SkinMask, mesh: SkinMesh, layer_mm: float, progress: Progress | None = None
) -> NDArray[np.uint8]:
    """Labelmap of the layer on the mask's grid, (k, j, i) uint8.

    Voxels of the solid head whose centre is within ``layer_mm`` of the skin (``mesh`` without its
    cuts): where the scan cuts the patient there is no skin. On slices thicker than the layer this
    is the best the grid can do; use the mesh. Raises Cancelled if ``progress`` says so.
    """
    box = bounding_box(mask.voxels, margin=1)
    result = np.zeros_like(mask.voxels)
    if box is None:
        return result
    inside = mask.voxels[box] > 0
    k, j, i = (s.start for s in box)
    depth = _depth(inside, (k, j, i), mask.ijk_to_ras, mesh, layer_mm, progress or Progress())
    result[box] = (depth <= layer_mm) & inside
    return result


def shell_field(
    field: Field,
    ijk_to_ras: NDArray[np.float64],
    solid: SkinMesh,
    layer_mm: float,
    progress: Progress,
) -> tuple[Field, NDArray[np.float64]]:
    """The layer as a field and its grid: the outer wall is the skin itself, the inner lies under.

    Where the scan cuts the patient the shell is open: its cut is a flat ring. ``field`` on the
    grid ``ijk_to_ras`` is the one that ``solid`` was made from. ``layer_mm``: the wall's thickness.

    Raises LayerTooThinError if the scan's voxels are too coarse for it.
    """
    field, ijk_to_ras = _refined(field, ijk_to_ras, layer_mm)
    inside = field.values > 0
    wall = _depth(inside, field.origin, ijk_to_ras, solid, layer_mm, progress)
    # Full value at half depth: the outer half of the layer keeps the skin's own field.
    np.subtract(layer_mm, wall, out=wall)
    wall *= np.float32(2 * FULL / layer_mm)
    np.clip(wall, -FULL, FULL, out=wall)
    wall[np.abs(wall) < EPSILON] = EPSILON
    np.minimum(wall, field.values, out=wall)
    np.copyto(wall, field.values, where=~inside)
    values = wall.astype(np.int16)
    return Field(values, field.origin, field.ends), ijk_to_ras


def without_pockets(shell: SkinMesh) -> SkinMesh:
    """A shell without the closed hollows in ear lobes and the like, which would trap resin.

    Left out, too, are crumbs of the grid. The large hollow of a shell that no cut opens stays.
    """
    part = part_of_triangle(shell)
    large = np.abs(part_volumes_ml(shell.points, shell.triangles, part)) >= _POCKET_ML
    return shell if large.all() else chosen_triangles(shell, large[part])


def _depth(
    inside: NDArray[np.bool_],
    origin: tuple[int, int, int],
    ijk_to_ras: NDArray[np.float64],
    mesh: SkinMesh,
    layer_mm: float,
    progress: Progress,
) -> NDArray[np.float32]:
    """Distance in mm from each inside voxel to the skin, right where it is near ``layer_mm``.

    Elsewhere it is only on the right side of ``layer_mm``. Distances vary smoothly, so they are
    measured on every n-th voxel, at steps of at most half a layer, and interpolated linearly.
    ``inside``: (k, j, i), its first voxel at index ``origin``.
    """
    spacing = spacing_of(ijk_to_ras)[::-1]
    strides = [max(1, int(layer_mm / _STEPS_PER_LAYER / size + 1e-6)) for size in spacing]
    # One step more at the end, so that every voxel lies between two measured ones.
    sizes = [-(-(n - 1) // s) + 1 for n, s in zip(inside.shape, strides, strict=True)]
    at = [
        np.minimum(np.arange(size) * s, n - 1)
        for size, s, n in zip(sizes, strides, inside.shape, strict=True)
    ]
    k, j, i = (size * s for size, s in zip(spacing, strides, strict=True))
    sparse = inside[np.ix_(*at)]
    depth = distance_to(~sparse, (k, j, i))
    step = max(k, j, i)
    diagonal = float(np.linalg.norm((k, j, i)))
    # To the nearest outside voxel's centre it is farther than to the skin, by up to a diagonal;
    # interpolation looks one step beyond. Half a step more for grids that a tilt has sheared.
    undecided = (
        sparse & (depth > layer_mm - 1.5 * step) & (depth < layer_mm + diagonal + 1.5 * step)
    )
    kji = np.argwhere(undecided)
    index = np.column_stack([at[axis][kji[:, axis]] + origin[axis] for axis in (2, 1, 0)])
    ras = transform_points(ijk_to_ras, index)
    depth[undecided] = _distance_to_skin(mesh, ras, layer_mm, progress)
    return _between(depth, at, inside.shape)


def _between(
    depth: NDArray[np.float32], at: list[NDArray[np.int64]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Values known at the indices ``at`` of each axis, interpolated linearly to all of them."""
    for axis, known in enumerate(at):
        if len(known) == shape[axis]:
            continue
        index = np.arange(shape[axis])
        low = np.clip(np.searchsorted(known, index, side="right") - 1, 0, len(known) - 2)
        part = (index - known[low]) / (known[low + 1] - known[low])
        weight = np.expand_dims(part.astype(np.float32), [a for a in range(3) if a != axis])
        high = depth.take(low + 1, axis=axis)
        high -= (base := depth.take(low, axis=axis))
        high *= weight
        high += base
        depth = high
    return depth


def _distance_to_skin(
    mesh: SkinMesh, ras: NDArray[np.float64], layer_mm: float, progress: Progress
) -> NDArray[np.float64]:
    """Distance in mm from each point to the mesh without its cuts."""
    from scipy.spatial import cKDTree

    centres, normals = _pieces(mesh, _PIECE * layer_mm)
    tree = cKDTree(centres)
    rim = _PIECE * layer_mm / np.sqrt(3)
    result = np.empty(len(ras))
    for start in range(0, len(ras), _CHUNK):
        progress.update(start / len(ras))
        some = ras[start : start + _CHUNK]
        to_centre, nearest = tree.query(some, workers=-1)
        # The foot lies in the plane of the nearest piece, or beyond its rim where the skin bends.
        to_plane = np.abs(np.einsum("ij,ij->i", some - centres[nearest], normals[nearest]))
        result[start : start + _CHUNK] = np.maximum(
            to_plane, np.sqrt(np.maximum(to_centre**2 - rim**2, 0))
        )
    return result


def _pieces(mesh: SkinMesh, edge_mm: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centres and unit normals of the skin's triangles (not of cuts), each divided until no edge
    is longer than ``edge_mm``; both (n, 3)."""
    corners = mesh.points[mesh.triangles[~mesh.is_cut]]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    divisions = np.maximum(np.ceil(longest / edge_mm), 1).astype(int)
    centres, all_normals = [], []
    for n in np.unique(divisions):
        a, b = np.meshgrid(np.arange(n), np.arange(n))
        upright = np.stack([a, b], axis=-1)[a + b <= n - 1] + 1 / 3
        flipped = np.stack([a, b], axis=-1)[a + b <= n - 2] + 2 / 3
        uv = np.concatenate([upright, flipped]) / n
        weights = np.column_stack([uv, 1 - uv.sum(axis=1)]).astype(np.float32)
        some = divisions == n
        centres.append((weights @ corners[some]).reshape(-1, 3))
        all_normals.append(np.repeat(normals[some], len(weights), axis=0))
    return np.concatenate(centres), np.concatenate(all_normals)


def _refined(
    field: Field, ijk_to_ras: NDArray[np.float64], layer_mm: float
) -> tuple[Field, NDArray[np.float64]]:
    """The field on a grid fine enough for the layer, and that grid.

    Raises LayerTooThinError if that grid would be too large.
    """
    spacing = spacing_of(ijk_to_ras)[::-1]
    if _refined_size(field, spacing, layer_mm) > MOST_VOXELS:
        thinnest = layer_mm
        while _refined_size(field, spacing, thinnest) > MOST_VOXELS:
            thinnest += 0.1
        raise LayerTooThinError(
            f"A skin layer of {layer_mm:g} mm is too thin for a scan of this size with voxels of "
            f"{' x '.join(f'{size:.2g}' for size in spacing[::-1])} mm. "
            f"Choose a layer of {thinnest:.1f} mm or more."
        )
    return refined(field, ijk_to_ras, _factors(spacing, layer_mm))


def _factors(spacing: tuple[float, float, float], layer_mm: float) -> list[int]:
    """Into how many steps a voxel is divided along each axis."""
    return [max(1, round(size * _STEPS_PER_LAYER / layer_mm)) for size in spacing]


def _refined_size(field: Field, spacing: tuple[float, float, float], layer_mm: float) -> int:
    factors = _factors(spacing, layer_mm)
    if max(factors) == 1:
        return 0  # nothing is refined: as large as the scan is
    return int(np.prod([n * f for n, f in zip(field.values.shape, factors, strict=True)]))
