"""Outlines in slices: from a mask and back, and planes between the slices of a scan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.outlines import Outline

Points = NDArray[np.float64]
#: Planes that are no farther apart than this many times the least distance belong together.
_GAP = 3.01


def loops_in(mask: NDArray[Any]) -> list[list[Points]]:
    """For each slice of a mask (k, j, i) its closed outlines: (n, 2) places as fractional i and j.

    They run half-way between voxels in the mask and those outside it; beyond the grid all is
    outside. Each point is there once, and holes are outlines of their own.
    """
    outline = Outline.of(mask, np.eye(3), in_slices=True)
    slices: list[list[Points]] = [[] for _ in range(len(mask))]
    for loop in _walked(outline.cells, len(outline.index)):
        points = outline.index[loop]
        slices[round(points[0, 2])].append(_without_straight(points[:, :2]))
    return slices


def _walked(cells: NDArray[np.int64], count: int) -> list[list[int]]:
    """Lines, as pairs of points of which each belongs to two lines, joined to closed loops."""
    if not len(cells):
        return []
    ends = cells.ravel()
    order = np.argsort(ends, kind="stable")
    other = cells[:, ::-1].ravel()[order].reshape(count, 2).tolist()
    seen = bytearray(count)
    loops = []
    for start in range(count):
        if seen[start]:
            continue
        loop, before, here = [], -1, start
        while not seen[here]:
            seen[here] = 1
            loop.append(here)
            a, b = other[here]
            before, here = here, (b if a == before else a)
        loops.append(loop)
    return loops


def _without_straight(points: Points) -> Points:
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    kept = points[np.abs(turn) > 1e-9]
    return kept if len(kept) > 2 else points


def filled(loops: Sequence[Points], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The voxels (j, i) whose centres lie within closed outlines (n, 2; fractional i and j).

    What lies within two of them is a hole: even and odd, by VTK's stencil.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    points, lines = vtkPoints(), vtkCellArray()
    points.SetDataTypeToDouble()
    for loop in loops:
        first = points.GetNumberOfPoints()
        lines.InsertNextCell(len(loop) + 1)
        for number, (i, j) in enumerate(loop):
            points.InsertNextPoint(float(i), float(j), 0.0)
            lines.InsertCellPoint(first + number)
        lines.InsertCellPoint(first)
    drawn = vtkPolyData()
    drawn.SetPoints(points)
    drawn.SetLines(lines)
    stencil = vtkPolyDataToImageStencil()
    stencil.SetInputData(drawn)
    stencil.SetOutputSpacing(1, 1, 1)
    stencil.SetOutputOrigin(0, 0, 0)
    stencil.SetOutputWholeExtent(0, shape[1] - 1, 0, shape[0] - 1, 0, 0)
    image = vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    values = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    inside: NDArray[np.bool_] = values.reshape(shape) != 0
    return inside


def on_places(
    planes: NDArray[np.bool_], places: Sequence[float] | Points, count: int
) -> NDArray[np.uint8]:
    """Planes (n, j, i) at ascending places along k, put on ``count`` slices: (k, j, i).

    A slice between two planes gets both, mixed linearly and cut at one half, unless they are
    farther apart than three times the least distance; the outermost reach half that distance out.
    """
    at = np.asarray(places, float)
    result = np.zeros((count, *planes.shape[1:]), np.uint8)
    least = float(np.diff(at).min()) if len(at) > 1 else 1.0
    for k in range(count):
        nearest = int(np.argmin(np.abs(at - k)))
        if abs(at[nearest] - k) < 0.05:
            result[k] = planes[nearest]
            continue
        high = int(np.searchsorted(at, k))
        if 0 < high < len(at) and at[high] - at[high - 1] <= _GAP * least:
            share = (k - at[high - 1]) / (at[high] - at[high - 1])
            low_part, high_part = planes[high - 1], planes[high]
            result[k] = (1 - share) * low_part + share * high_part >= 0.5
        elif abs(at[nearest] - k) <= least / 2 + 1e-6:
            result[k] = planes[nearest]
    return result
