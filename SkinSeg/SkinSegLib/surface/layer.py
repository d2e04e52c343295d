"""The skin as a layer: the outer mm of the solid head, by the distance to its surface."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMask, SkinMesh, distance_to, spacing_of, transform_points
from .contour import contour
from .field import EPSILON, FULL, End, Field, bounding_box

#: Longest edge of the pieces of surface that distances are measured to, in layers.
_PIECE = 0.6
#: The inner wall needs about two grid steps within the layer, or it would touch the outer one.
_STEPS_PER_LAYER = 2.0


def layer_voxels(mask: SkinMask, mesh: SkinMesh, layer_mm: float) -> NDArray[np.uint8]:
    """Labelmap of the layer on the mask's grid, (k, j, i) uint8.

    Voxels of the solid head whose centre is within ``layer_mm`` of the skin (``mesh`` without its
    cuts): where the scan cuts the patient there is no skin. On slices thicker than the layer this
    is the best the grid can do; use the mesh.
    """
    box, _ = bounding_box(mask.voxels)
    inside = mask.voxels[box] > 0
    k, j, i = (s.start for s in box)
    distance = _depth(inside, (k, j, i), mask.ijk_to_ras, mesh, layer_mm)
    result = np.zeros_like(mask.voxels)
    result[box] = (distance <= layer_mm) & inside
    return result


def shell(field: Field, mask: SkinMask, solid: SkinMesh, layer_mm: float) -> SkinMesh:
    """The layer as a closed mesh: the outer wall is the skin itself, the inner lies under it.

    Where the scan cuts the patient the shell is open: its cut is a flat ring. ``field`` is the one
    that ``solid`` was made from. ``layer_mm`` is the wall's thickness.
    """
    field, ijk_to_ras = _refined(field, mask.ijk_to_ras, layer_mm / _STEPS_PER_LAYER)
    inside = field.values > 0
    distance = _depth(inside, field.origin, ijk_to_ras, solid, layer_mm)
    # Full value at half depth: the outer half of the layer keeps the skin's own field.
    wall = np.clip((layer_mm - distance) * np.float32(2 * FULL / layer_mm), -FULL, FULL)
    wall[np.abs(wall) < EPSILON] = EPSILON
    values = np.where(inside, np.minimum(field.values, wall), field.values).astype(np.int16)
    return contour(Field(values, field.origin, field.ends), ijk_to_ras, largest_part=False)


def _depth(
    inside: NDArray[np.bool_],
    origin: tuple[int, int, int],
    ijk_to_ras: NDArray[np.float64],
    mesh: SkinMesh,
    layer_mm: float,
) -> NDArray[np.float32]:
    """Distance in mm from each inside voxel to the skin: exact where it is near ``layer_mm``.

    Elsewhere that to the nearest outside voxel's centre, which is larger by no more than a
    voxel's diagonal. ``inside``: (k, j, i), its first voxel at index ``origin``.
    """
    from scipy.spatial import cKDTree

    i, j, k = spacing_of(ijk_to_ras)
    diagonal = float(np.linalg.norm(ijk_to_ras[:3, :3] @ np.ones(3)))
    diagonal = max(diagonal, float(np.linalg.norm((i, j, k))))
    depth = distance_to(~inside, (k, j, i))
    # The exact distance is in (depth - diagonal, depth]; a contour needs one step on either side.
    undecided = inside & (depth > layer_mm - diagonal) & (depth < layer_mm + 2 * diagonal)
    kji = np.argwhere(undecided)
    ras = transform_points(ijk_to_ras, (kji + origin)[:, ::-1])
    centres, normals = _pieces(mesh, _PIECE * layer_mm)
    to_centre, nearest = cKDTree(centres).query(ras, workers=-1)
    # The foot lies in the plane of the nearest piece, or beyond its rim where the skin bends.
    to_plane = np.abs(np.einsum("ij,ij->i", ras - centres[nearest], normals[nearest]))
    rim = _PIECE * layer_mm / np.sqrt(3)
    depth[undecided] = np.maximum(to_plane, np.sqrt(np.maximum(to_centre**2 - rim**2, 0)))
    return depth


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
    field: Field, ijk_to_ras: NDArray[np.float64], step_mm: float
) -> tuple[Field, NDArray[np.float64]]:
    """The field on a grid of about ``step_mm`` or finer, interpolated linearly, and that grid.

    Index u of the old grid is ``factor`` * u of the new one.
    """
    values = field.values
    matrix = np.array(ijk_to_ras)
    origin = list(field.origin)
    ends: list[tuple[End, End]] = list(field.ends)
    for axis, size in enumerate(spacing_of(ijk_to_ras)[::-1]):
        factor = round(size / step_mm)
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
        # A vertex must not fall on a grid point.
        between[np.abs(between) < EPSILON] = EPSILON
        result[step::factor] = between
    return np.ascontiguousarray(np.moveaxis(result, 0, axis))
