"""The connected parts of a mesh: bodies, which are oriented outward, and hollows, inward."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh, SurfaceError

#: Triangles whose solid angles are added up at a time.
_CHUNK = 200_000


def used_points(mesh: SkinMesh) -> NDArray[np.float32]:
    """The vertices that triangles use, (n, 3)."""
    used = np.zeros(len(mesh.points), bool)
    used[mesh.triangles] = True
    return mesh.points[used]


def part_of_triangle(mesh: SkinMesh) -> NDArray[np.int32]:
    """The number (from 0) of the connected part that each triangle belongs to; shape (m,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    a, b, c = mesh.triangles.T
    rows, columns = np.concatenate([a, b]), np.concatenate([b, c])
    size = len(mesh.points)
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    # Unused vertices are parts too, without triangles: number only those that have some.
    _, parts = np.unique(labels[a], return_inverse=True)
    return parts.astype(np.int32).ravel()


def part_volumes_ml(mesh: SkinMesh, parts: NDArray[np.int32]) -> NDArray[np.float64]:
    """The volume in mL that each part encloses, negative for a hollow; by divergence theorem."""
    corners = mesh.points[mesh.triangles].astype(np.float64)
    corners -= corners.reshape(-1, 3).mean(axis=0) if len(corners) else 0.0
    six = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2]))
    return np.bincount(parts, weights=six) / 6000.0


def chosen_triangles(mesh: SkinMesh, chosen: NDArray[np.bool_]) -> SkinMesh:
    """The mesh of some of the triangles, without the vertices that none of them uses.

    ``chosen``: (m,) booleans, whole parts: ``closed`` is carried over.
    """
    triangles = mesh.triangles[chosen]
    used = np.zeros(len(mesh.points), bool)
    used[triangles] = True
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return replace(
        mesh,
        points=mesh.points[used],
        triangles=renumbered[triangles].astype(np.int32),
        is_cut=mesh.is_cut[chosen],
    )


def largest_part(mesh: SkinMesh, *, hollows: bool = True) -> SkinMesh:
    """The largest body by volume, with the hollows within it if ``hollows``; the rest is dropped.

    Returns ``mesh`` itself where there is nothing to drop. Raises SurfaceError if no part is
    oriented outward.
    """
    parts = part_of_triangle(mesh)
    volumes = part_volumes_ml(mesh, parts)
    if not volumes.size or volumes.max() <= 0:
        raise SurfaceError(
            "The surface encloses nothing: it is empty, or inside out. Build it again."
        )
    largest = int(volumes.argmax())
    kept = [largest]
    if hollows:
        kept += _hollows_in(mesh, parts, volumes, largest)
    if len(kept) == len(volumes):
        return mesh
    return chosen_triangles(mesh, np.isin(parts, kept))


def _hollows_in(
    mesh: SkinMesh, parts: NDArray[np.int32], volumes: NDArray[np.float64], body: int
) -> list[int]:
    """The parts of negative volume that lie within the part ``body``."""
    hollows = np.flatnonzero(volumes < 0)
    if np.count_nonzero(volumes > 0) == 1:
        return [int(part) for part in hollows]
    wall = mesh.points[mesh.triangles[parts == body]].astype(np.float64)
    low, high = wall.min(axis=(0, 1)), wall.max(axis=(0, 1))
    within = []
    for part in hollows:
        point = mesh.points[mesh.triangles[(parts == part).argmax(), 0]].astype(np.float64)
        if ((point > low) & (point < high)).all() and _winds_around(wall, point):
            within.append(int(part))
    return within


def _winds_around(corners: NDArray[np.float64], point: NDArray[np.float64]) -> bool:
    """Whether a closed surface, (m, 3, 3) corners, encloses a point that is not on it.

    By the sum of solid angles: van Oosterom and Strackee 1983, IEEE Trans. Biomed. Eng. 30:125.
    """
    total = 0.0
    for start in range(0, len(corners), _CHUNK):
        to = corners[start : start + _CHUNK] - point
        a, b, c = to[:, 0], to[:, 1], to[:, 2]
        la, lb, lc = np.linalg.norm(to, axis=2).T
        over = np.einsum("ij,ij->i", a, np.cross(b, c))
        under = (
            la * lb * lc
            + np.einsum("ij,ij->i", a, b) * lc
            + np.einsum("ij,ij->i", b, c) * la
            + np.einsum("ij,ij->i", c, a) * lb
        )
        total += 2 * np.arctan2(over, under).sum()
    return bool(abs(total) > 2 * np.pi)
