"""Triangles that pass through each other are moved apart, where libigl is there to find them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh

#: Figure of a mesh's ``processing``: pairs of triangles that still pass through each other.
PAIRS = "self_intersecting_pairs"
#: Steps that a vertex is moved, each by this many mm at most.
_STEPS, _STEP_MM = 5, 0.02


def intersecting_pairs(mesh: SkinMesh) -> NDArray[np.int64]:
    """Pairs (n, 2) of triangles that pass through each other; adjacent ones that fold over too.

    Exact predicates in a tree of boxes, by libigl. Raises ImportError without it.
    """
    from igl.predicates import find_self_intersections

    _, pairs, _ = find_self_intersections(
        np.ascontiguousarray(mesh.points, dtype=np.float64),
        np.ascontiguousarray(mesh.triangles, dtype=np.int64),
    )
    result: NDArray[np.int64] = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return result


def untangled(mesh: SkinMesh) -> SkinMesh:
    """The mesh with the corners of intersecting triangles moved towards their neighbours.

    By 0.1 mm at most, and none that lies on a cut. Collapsing edges leaves a few such pairs where
    the surface bends most; PAIRS in ``processing`` says how many are left. Without libigl the mesh
    is returned as it is.
    """
    try:
        pairs = intersecting_pairs(mesh)
    except ImportError:
        return mesh
    points = mesh.points.astype(np.float64)
    movable = np.ones(len(points), bool)
    movable[mesh.triangles[mesh.is_cut]] = False
    found = mesh
    for _ in range(_STEPS):
        if not len(pairs):
            break
        moved = np.unique(mesh.triangles[pairs.ravel()])
        moved = moved[movable[moved]]
        step = _neighbours_mean(points, mesh.triangles, moved) - points[moved]
        length = np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-12)
        points[moved] += step * np.minimum(1, _STEP_MM / length)
        found = replace(mesh, points=points.astype(np.float32))
        pairs = intersecting_pairs(found)
    return replace(found, processing={**mesh.processing, PAIRS: float(len(pairs))})


def _neighbours_mean(
    points: NDArray[np.float64], triangles: NDArray[np.int32], which: NDArray[Any]
) -> NDArray[np.float64]:
    """Mean of the vertices that share an edge with each of the vertices ``which``."""
    wanted = np.zeros(len(points), bool)
    wanted[which] = True
    near = triangles[wanted[triangles].any(axis=1)]
    # In a closed mesh every neighbour follows a vertex in exactly one of its triangles.
    start, end = near.ravel(), np.roll(near, -1, axis=1).ravel()
    total = np.zeros_like(points)
    np.add.at(total, start, points[end])
    count = np.bincount(start, minlength=len(points))[which]
    mean: NDArray[np.float64] = total[which] / count[:, None]
    return mean
