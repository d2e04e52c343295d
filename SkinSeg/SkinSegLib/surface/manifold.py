"""SkinMesh to and from manifold3d, whose results are manifold and remember their triangles.

manifold3d (Apache-2.0) keeps for every triangle of a result the input mesh and the triangle it
comes from: run_original_id and face_id of its Mesh64. With a face_id of its own for each triangle
it neither merges nor splits those that an operation does not reach, and in double precision their
vertices come back as they were, bit by bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, SkinMesh, SurfaceError
from .contour import is_closed, without_unused

#: Odd numbers that make one 64-bit number of a point's three coordinates, modulo 2**64.
_KEYS = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


@dataclass(frozen=True)
class Body:
    """A manifold3d.Manifold made from ``mesh``, known to it by the number ``original``."""

    manifold: Any
    original: int
    mesh: SkinMesh


def require_manifold3d() -> Any:
    """The package. Raises MissingPackageError, which says how to get it."""
    try:
        import manifold3d
    except ImportError as error:
        raise MissingPackageError(
            "Cutting and drilling a surface need the package manifold3d. "
            "Install it with pip install 'skinseg[mesh]', or leave them out."
        ) from error
    return manifold3d


def to_body(mesh: SkinMesh, points: NDArray[np.float64] | None = None) -> Body:
    """The mesh as a Body; ``points``, if given, in place of the mesh's own.

    Raises SurfaceError unless the mesh is a closed manifold; see :func:`require_manifold3d`.
    """
    manifold3d = require_manifold3d()
    original = manifold3d.Manifold.reserve_ids(1)
    count = len(mesh.triangles)
    manifold = manifold3d.Manifold(
        manifold3d.Mesh64(
            mesh.points.astype(np.float64) if points is None else np.ascontiguousarray(points),
            mesh.triangles.astype(np.uint64),
            run_index=np.array([0, 3 * count], np.uint64),
            run_original_id=np.array([original], np.uint32),
            face_id=np.arange(count, dtype=np.uint64),
        )
    )
    status = manifold.status()
    if status != manifold3d.Error.NoError or not count:
        raise SurfaceError(
            f"The surface is not a closed solid ({status.name if count else 'it is empty'}), so it "
            "can be neither cut nor drilled. Build it again, or repair it first."
        )
    return Body(manifold, int(original), mesh)


def from_manifold(manifold: Any, source: Body) -> tuple[SkinMesh, NDArray[np.float64]]:
    """What became of a body as a mesh, and its vertices before rounding to float32, (n, 3).

    ``is_cut`` is carried over; what does not come from the body's own surface is cut. Raises
    SurfaceError if nothing is left, or the result is not closed.
    """
    result = manifold.to_mesh64()
    triangles = np.ascontiguousarray(result.tri_verts, dtype=np.int32).reshape(-1, 3)
    if not len(triangles):
        raise SurfaceError("Nothing would be left of the surface. Choose another place.")
    is_cut = np.ones(len(triangles), bool)
    runs = np.asarray(result.run_index, np.int64) // 3
    face = np.asarray(result.face_id, np.int64)
    for original, start, stop in zip(result.run_original_id, runs[:-1], runs[1:], strict=True):
        if int(original) == source.original:
            is_cut[start:stop] = source.mesh.is_cut[face[start:stop]]
    exact = np.array(result.vert_properties, dtype=np.float64)[:, :3]
    mesh = replace(source.mesh, points=exact.astype(np.float32), triangles=triangles, is_cut=is_cut)
    if not is_closed(triangles):
        raise SurfaceError(
            "The result is not closed, which is a fault in SkinSeg. Leave out cut and hole; please "
            "report it."
        )
    return mesh, exact


def found_among(
    points: NDArray[np.float64], known: NDArray[np.float64]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of the points (n, 3) are, bit by bit, among the known ones (m, 3), and which those are.

    Returns (n,) booleans and (n,) indices, which mean nothing where it is False.
    """
    keys = _keys(known)
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], _keys(points)).clip(max=len(known) - 1)
    index = order[place]
    return (known[index] == points).all(axis=1), index


def without_coincident(mesh: SkinMesh) -> SkinMesh:
    """Vertices that rounding has put into the same place become one, and slivers between them go.

    A file without indices (STL) holds them as one anyway. Where that would open the mesh, it is
    returned as it is.
    """
    keys = np.sort(_keys(mesh.points.astype(np.float64)))
    if (keys[1:] != keys[:-1]).all():
        return mesh  # by far the usual case, and found faster than by sorting rows
    _, first, which = np.unique(mesh.points, axis=0, return_index=True, return_inverse=True)
    # The first of each place stands for the others, so that the order of vertices stays.
    triangles = first[which.ravel()].astype(np.int32)[mesh.triangles]
    a, b, c = triangles.T
    whole = (a != b) & (b != c) & (c != a)
    triangles = triangles[whole]
    if not is_closed(triangles):
        return mesh
    points, triangles = without_unused(mesh.points, triangles)
    return replace(mesh, points=points, triangles=triangles, is_cut=mesh.is_cut[whole])


def _keys(points: NDArray[np.float64]) -> NDArray[np.uint64]:
    """A number for each point, the same for the same coordinates and in practice only for them."""
    bits = np.ascontiguousarray(points + 0.0).view(np.uint64)  # -0.0 becomes 0.0
    # The high bits of a float change most: bring them down before mixing.
    return np.asarray((bits ^ (bits >> np.uint64(29))) @ _KEYS)
