"""The nearest of many points: exact where it is near, to tenths of a mm where it is far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]

#: Up to here distances are exact, mm. A k-d tree alone would do for all, but takes milliseconds
#: for a place far off, from which much of a surface is equally far.
EXACT_MM = 4.0
#: Cells in which far distances are counted: about this large, mm, and no more than that many.
_CELL_MM, _MOST_CELLS = 2.0, 8_000_000


@dataclass(frozen=True)
class NearestPoints:
    """Answers for points (n, 3) in mm; ``low``, ``high``: corners of the box of all questions.

    ``layered``: the third coordinate is the number of a layer, and layers are infinitely far
    from each other.
    """

    points: Points
    low: Points
    high: Points
    layered: bool = False

    def query(self, places: Points) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance in mm (n,) from places (n, 3) and index of the nearest point.

        Beyond EXACT_MM it is that to a point in the nearest cell that holds any, which is some
        tenths of a mm too much (1 mm in the worst percent just beyond it). Infinite, with any
        index, where there is none.
        """
        if not len(self.points):
            return np.full(len(places), np.inf), np.zeros(len(places), np.int64)
        between_cells, nearest = self._roughly(places)
        axes = 2 if self.layered else 3
        distance = np.linalg.norm((places - self.points[nearest])[:, :axes], axis=1)
        distance[np.isinf(between_cells)] = np.inf
        near = np.flatnonzero(between_cells <= EXACT_MM + self._diagonal)
        exact, index = self._tree.query(self._apart(places[near]), distance_upper_bound=EXACT_MM)
        found = np.isfinite(exact)
        distance[near[found]], nearest[near[found]] = exact[found], index[found]
        return distance, nearest

    def within(self, places: Points, limit_mm: float) -> NDArray[np.bool_]:
        """Whether a point is within ``limit_mm`` of places (n, 3); at the limit counts."""
        if not len(self.points):
            return np.zeros(len(places), bool)
        near = self._roughly(places)[0] <= limit_mm + self._diagonal
        # The limit is often half a voxel, which rounding must not decide.
        bound = limit_mm * (1 + 1e-6) + 1e-9
        distance, _ = self._tree.query(self._apart(places[near]), distance_upper_bound=bound)
        near[near] = np.isfinite(distance)
        return near

    @cached_property
    def _tree(self) -> Any:
        from scipy.spatial import cKDTree

        # Balancing costs several times what it saves here.
        return cKDTree(self._apart(self.points), balanced_tree=False, compact_nodes=False)

    def _apart(self, places: Points) -> Points:
        return places * (1.0, 1.0, 1e4) if self.layered else places

    @cached_property
    def _size(self) -> Points:
        """Size of a cell, mm; the third is 1 layer where there are such."""
        extent = self.high - self.low
        axes = 2 if self.layered else 3
        layers = extent[2] + 1 if self.layered else 1.0
        most = (float(np.prod(extent[:axes])) * layers / _MOST_CELLS) ** (1 / axes)
        edge = max(_CELL_MM, most)
        return np.array([edge, edge, 1.0 if self.layered else edge])

    @property
    def _diagonal(self) -> float:
        return math.sqrt(2 if self.layered else 3) * float(self._size[0])

    def _cell(self, places: Points) -> tuple[NDArray[np.int64], ...]:
        shift = (0, 0, 0.5) if self.layered else (0, 0, 0)
        cell = np.floor((places - self.low) / self._size + shift).astype(np.int64)
        last = np.floor((self.high - self.low) / self._size + shift).astype(np.int64)
        i, j, k = np.clip(cell, 0, last).T
        return i, j, k

    @cached_property
    def _cells(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """For each cell: distance in mm to the nearest one that holds a point, and such a point."""
        from scipy import ndimage

        count = [int(axis[0]) + 1 for axis in self._cell(self.high[None])]
        holds = np.full(count, -1, np.int64)
        holds[self._cell(self.points)] = np.arange(len(self.points))
        sampling = self._size * (1, 1, 1e4 if self.layered else 1)
        distance, index = ndimage.distance_transform_edt(
            holds < 0, sampling=sampling, return_indices=True
        )
        if self.layered:
            distance[distance > 5e3] = np.inf
        return distance.astype(np.float32), holds[tuple(index)]

    def _roughly(self, places: Points) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        distance, holds = self._cells
        cell = self._cell(places)
        return distance[cell].astype(np.float64), holds[cell]
