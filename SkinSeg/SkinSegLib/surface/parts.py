"""The connected parts of a mesh: bodies, which are oriented outward, and hollows, inward."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh, SurfaceError
from .contour import without_unused
from .nesting import inside_others
from .topology import parts


def part_of_triangle(mesh: SkinMesh) -> NDArray[np.int64]:
    """The number (from 0) of the connected part that each triangle belongs to; shape (m,)."""
    return parts(mesh.triangles, len(mesh.points))


def part_volumes_ml(
    points: NDArray[Any], triangles: NDArray[Any], part: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The volume in mL that each part encloses, negative for a hollow; by divergence theorem."""
    if not len(triangles):
        return np.zeros(0)
    centred = points.astype(np.float64)
    centred -= centred[triangles[:, 0]].mean(axis=0)
    # By components: np.cross takes several times as long.
    (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (
        centred[triangles[:, corner]].T for corner in range(3)
    )
    six = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    return np.bincount(part, weights=six) / 6000.0


def chosen_triangles(mesh: SkinMesh, chosen: NDArray[np.bool_]) -> SkinMesh:
    """The mesh of some of the triangles, without the vertices that none of them uses.

    ``chosen``: (m,) booleans, whole parts: ``closed`` is carried over.
    """
    points, triangles = without_unused(mesh.points, mesh.triangles[chosen])
    return replace(mesh, points=points, triangles=triangles, is_cut=mesh.is_cut[chosen])


def largest_part(mesh: SkinMesh, *, hollows: bool = True) -> SkinMesh:
    """The largest body by volume, with the hollows within it if ``hollows``; the rest is dropped.

    Returns ``mesh`` itself where there is nothing to drop. Raises SurfaceError if no part is
    oriented outward.
    """
    part = part_of_triangle(mesh)
    volumes = part_volumes_ml(mesh.points, mesh.triangles, part)
    if not volumes.size or volumes.max() <= 0:
        raise SurfaceError(
            "The surface encloses nothing: it is empty, or inside out. Build it again."
        )
    largest = int(volumes.argmax())
    kept = [largest]
    if hollows:
        kept += _hollows_in(mesh, part, volumes, largest)
    if len(kept) == len(volumes):
        return mesh
    return chosen_triangles(mesh, np.isin(part, kept))


def _hollows_in(
    mesh: SkinMesh, part: NDArray[np.int64], volumes: NDArray[np.float64], body: int
) -> list[int]:
    """The parts of negative volume that lie within the part ``body``."""
    hollows = np.flatnonzero(volumes < 0)
    if np.count_nonzero(volumes > 0) == 1 or not hollows.size:
        return [int(number) for number in hollows]
    some = np.isin(part, [body, *hollows])
    numbers, renumbered = np.unique(part[some], return_inverse=True)
    within = inside_others(
        mesh.points.astype(np.float64),
        mesh.triangles[some].astype(np.int64),
        renumbered.astype(np.int64),
        np.searchsorted(numbers, hollows),
    )
    return [int(number) for number in hollows[within]]
