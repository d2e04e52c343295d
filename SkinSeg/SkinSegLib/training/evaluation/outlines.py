"""The surface of a mask as points with an area each, and distances to such a surface."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import bounding_box
from SkinSegLib.core.geometry import Matrix

from .nearest import NearestPoints, Points


@dataclass(frozen=True)
class Outline:
    """The surface of a mask, or its outlines within slices (``in_slices``).

    ``index``: (n, 3) points as fractional voxel indices (i, j, k), each half-way between a voxel
    in the mask and one outside it; beyond the grid all is outside. ``cells``: (m, 3) triangles, or
    (m, 2) lines in slices, as indices of points. ``matrix``: 3x3, from indices to mm. ``shape``:
    voxels (k, j, i) of the grid.
    """

    index: Points
    cells: NDArray[np.int64]
    matrix: Matrix
    shape: tuple[int, ...]
    in_slices: bool

    @classmethod
    def of(cls, mask: NDArray[Any], matrix: Matrix, in_slices: bool = False) -> Outline:
        """The surface of a mask (k, j, i); flying edges (Schroeder et al. 2015) as VTK has it."""
        box = bounding_box(mask, 0)
        if box is None:
            return cls(np.zeros((0, 3)), np.zeros((0, 3), np.int64), matrix, mask.shape, in_slices)
        padded = np.pad(mask[box] != 0, 1).view(np.uint8)
        if in_slices:
            parts = [_contour(part[None]) for part in padded]
            points = np.concatenate([p + (0, 0, k) for k, (p, _) in enumerate(parts)])
            first = np.cumsum([0, *(len(p) for p, _ in parts[:-1])])
            cells = np.concatenate([c + n for (_, c), n in zip(parts, first, strict=True)])
        else:
            points, cells = _contour(padded)
        corner = [axis.start - 1 for axis in box[::-1]]
        return cls(points + corner, cells, matrix, mask.shape, in_slices)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(n,) area in mm^2 (length in mm, in slices) that each point stands for."""
        points = self.index @ self.matrix.T
        a, *others = (points[corner] for corner in self.cells.T)
        if len(others) == 2:
            size = np.linalg.norm(np.cross(others[0] - a, others[1] - a), axis=1) / 2
        else:
            size = np.linalg.norm(others[0] - a, axis=1)
        total = np.zeros(len(points))
        for corner in self.cells.T:
            total += np.bincount(corner, size / self.cells.shape[1], len(points))
        return total

    def nearest(self, index: Points) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance in mm (n,) from places (n, 3; voxel indices i, j, k) and the nearest point.

        Accuracy: :meth:`.nearest.NearestPoints.query`. In slices, to outlines of the same slice;
        where it has none, to those of others. Infinite, and any point, if there is none at all.
        """
        distance, sample = self._searched.query(self._measured(index))
        missing = ~np.isfinite(distance)
        if self.in_slices and missing.any() and len(self.index):
            owners = self._samples[1]
            whole = self._search(self._samples[0] @ self.matrix.T, layered=False)
            distance[missing], sample[missing] = whole.query(index[missing] @ self.matrix.T)
            return distance, owners[sample]
        return distance, self._samples[1][sample] if len(self.index) else sample

    def within(self, index: Points, limit_mm: float) -> NDArray[np.bool_]:
        """Whether places (n, 3; voxel indices i, j, k) are within ``limit_mm``, limit included.

        In slices, of the outlines in the same slice only.
        """
        return self._searched.within(self._measured(index), limit_mm)

    @cached_property
    def _samples(self) -> tuple[Points, NDArray[np.int64]]:
        """Places (voxel indices) on the surface, denser than its points, each with its point."""
        own = np.arange(len(self.index))
        if self.cells.shape[1] == 2:
            a, b = self.cells.T
            between = [self.index[a] * (1 - t) + self.index[b] * t for t in (0.25, 0.5, 0.75)]
            return np.concatenate([self.index, *between]), np.concatenate([own, a, a, b])
        edges = np.concatenate([self.cells[:, [n, (n + 1) % 3]] for n in range(3)])
        edges = edges[edges[:, 0] < edges[:, 1]]  # on a closed surface each edge comes both ways
        middle = (self.index[edges[:, 0]] + self.index[edges[:, 1]]) / 2
        return np.concatenate([self.index, middle]), np.concatenate([own, edges[:, 0]])

    @cached_property
    def _searched(self) -> NearestPoints:
        return self._search(self._measured(self._samples[0]), self.in_slices)

    def _search(self, points: Points, layered: bool) -> NearestPoints:
        ends = np.array([(-0.5, n - 0.5) for n in self.shape[::-1]])
        corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
        placed = self._measured(corners) if layered else corners @ self.matrix.T
        return NearestPoints(points, placed.min(axis=0), placed.max(axis=0), layered)

    def _measured(self, index: Points) -> Points:
        """Places in mm; in slices the third coordinate is the slice's number."""
        if not self.in_slices:
            return index @ self.matrix.T
        return index * (*np.linalg.norm(self.matrix[:, :2], axis=0), 1.0)


def _contour(mask: NDArray[np.uint8]) -> tuple[Points, NDArray[np.int64]]:
    """Points (i, j, k) and triangles of a mask's surface; of a single slice, lines."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges2D, vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(mask).reshape(-1)))
    flat = mask.shape[0] == 1
    contour = vtkFlyingEdges2D() if flat else vtkFlyingEdges3D()
    contour.SetInputData(image)
    contour.SetValue(0, 0.5)
    contour.ComputeScalarsOff()
    if not flat:
        contour.ComputeNormalsOff()
    contour.Update()
    found = contour.GetOutput()
    corners = 2 if flat else 3
    if not found.GetNumberOfPoints():
        return np.zeros((0, 3)), np.zeros((0, corners), np.int64)
    points = vtk_to_numpy(found.GetPoints().GetData()).astype(np.float64)
    cells = (found.GetLines() if flat else found.GetPolys()).GetConnectivityArray()
    return points, vtk_to_numpy(cells).reshape(-1, corners).astype(np.int64)
