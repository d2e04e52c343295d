"""How triangles hang together: edges, the fans around points, and connected parts.

All in whole arrays; a mesh of two million triangles takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Triangles = NDArray[Any]


@dataclass(frozen=True)
class Edges:
    """Every edge's triangles, for triangles with three corners of their own.

    A half-edge is one side of a triangle, numbered as its first corner is in
    ``triangles.ravel()``. ``half``: all, those of one edge next to each other; ``first``: where in
    ``half`` each edge begins; ``count``: half-edges of each edge; ``forward``: how many of them
    run from the lower to the higher point.
    """

    half: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    forward: NDArray[np.int64]

    @property
    def boundary(self) -> int:
        """Edges of one triangle: the rims of holes."""
        return int((self.count == 1).sum())

    @property
    def non_manifold(self) -> int:
        """Edges of three triangles and more."""
        return int((self.count > 2).sum())

    @property
    def inconsistent(self) -> int:
        """Edges along which two triangles run the same way: one of them is turned over."""
        return int(((self.count == 2) & (self.forward != 1)).sum())


def edges_of(triangles: Triangles) -> Edges:
    """The edges of triangles (m, 3)."""
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    points = int(triangles.max(initial=-1)) + 1
    key = np.minimum(start, end) * points + np.maximum(start, end)
    half = np.argsort(key, kind="stable")
    key = key[half]
    first = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]])) if key.size else key
    count = np.diff(first, append=key.size)
    ascending = (start < end)[half].astype(np.int64)
    forward = np.add.reduceat(ascending, first) if key.size else key
    return Edges(half, first, count, forward)


def bow_ties(triangles: Triangles, edges: Edges) -> int:
    """Points at which triangles meet that do not hang together there by edges: two fans and more.

    Corners of one point are joined where their triangles share an edge; a point with two groups of
    corners is such a point.
    """
    corners = np.arange(triangles.size).reshape(-1, 3)
    following = np.roll(corners, -1, axis=1).ravel()
    start, end = triangles.ravel(), np.roll(triangles, -1, axis=1).ravel()
    rising = start < end
    low = np.where(rising, corners.ravel(), following)[edges.half]
    high = np.where(rising, following, corners.ravel())[edges.half]
    same = np.ones(len(edges.half), bool)
    same[edges.first] = False  # the half-edge before it belongs to another edge
    at = np.flatnonzero(same)
    groups = _groups(
        np.concatenate([low[at - 1], high[at - 1]]),
        np.concatenate([low[at], high[at]]),
        triangles.size,
    )
    # Each group counts once, for the point of any of its corners.
    point_of_group = np.empty(groups.max(initial=-1) + 1, np.int64)
    point_of_group[groups] = start
    return int((np.bincount(point_of_group) > 1).sum())


def parts(triangles: Triangles, points: int) -> NDArray[np.int64]:
    """For each triangle the number of the part it is in, from 0; sharing a point connects."""
    a, b, c = triangles.T
    labels = _groups(np.concatenate([a, b]), np.concatenate([b, c]), points)[a]
    _, numbered = np.unique(labels, return_inverse=True)
    result: NDArray[np.int64] = numbered.reshape(-1)
    return result


def repeats(triangles: Triangles) -> NDArray[np.bool_]:
    """Which triangles have the same three corners as one before them, in any order."""
    ordered = np.sort(triangles, axis=1)
    points = int(triangles.max(initial=-1)) + 1
    key = ordered[:, 0] * points + ordered[:, 1]
    order = np.lexsort((ordered[:, 2], key))  # stable: the first of a kind stays first
    again = np.zeros(len(triangles), bool)
    same = (key[order[1:]] == key[order[:-1]]) & (ordered[order[1:], 2] == ordered[order[:-1], 2])
    again[order[1:][same]] = True
    return again


def _groups(rows: NDArray[Any], columns: NDArray[Any], count: int) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(count, count))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
