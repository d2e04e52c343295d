"""Smoothing with a bound: staircase and noise go, no vertex moves farther than was allowed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh, spacing_of, transform_points
from ..core.geometry import Matrix
from .contour import Triangles
from .field import Field
from .polydata import to_polydata

#: The bound unless another is chosen: this many mm, or this part of the largest voxel edge.
_BOUND_MM, _BOUND_VOXEL = 0.2, 1 / 3
#: Of the windowed sinc filter. On phantoms at 0.5, 1 and 0.5 x 0.5 x 3 mm a pass band of 0.03 takes
#: a little more noise off the flat parts, but rounds the ear's rim half as much again.
_ITERATIONS, _PASS_BAND = 20, 0.1
#: Slices this many times as far apart as pixels are thick.
_THICK = 2.5
_NET_ITERATIONS, _NET_RELAXATION = 20, 0.2
#: Edges over which a vertex that is held holds its neighbours.
_RINGS = 3
#: float32 coordinates of a head are good to about 1e-5 mm: stay that far below the bound.
_SAFE = 1 - 1e-4


def default_bound_mm(spacing: tuple[float, float, float]) -> float:
    """How far a vertex may move unless the user says otherwise; ``spacing`` in mm."""
    return max(_BOUND_MM, _BOUND_VOXEL * max(spacing))


def smoothed(mesh: SkinMesh, field: Field, ijk_to_ras: Matrix, bound_mm: float) -> SkinMesh:
    """The mesh with its vertices moved by at most ``bound_mm``; the triangles stay the same.

    Low-pass filter of the surface by a windowed sinc (Taubin, Zhang and Golub 1996, ECCV), which
    keeps the volume; before it, the steps between thick slices are drawn tight. ``field`` and
    ``ijk_to_ras``: what the mesh is the contour of. The cuts, their rims included, stay where they
    are. Where a sheet or a gap is one voxel thin, a vertex moves no farther than to the middle of
    that voxel, or the two sides could pass through each other.
    """
    skin = mesh.triangles[~mesh.is_cut]
    if not len(skin) or bound_mm <= 0:
        return mesh
    room = _room(mesh, field, ijk_to_ras)
    step = _low_pass(_between_slices(mesh, room, ijk_to_ras, bound_mm), skin) - mesh.points
    step[np.unique(mesh.triangles[mesh.is_cut])] = 0
    length = np.maximum(np.linalg.norm(step, axis=1), 1e-12)
    share = _spread(np.minimum(1, room / length), skin)
    share = np.minimum(share, bound_mm * _SAFE / length)
    step *= share[:, None].astype(np.float32)
    return replace(
        mesh,
        points=mesh.points + step,
        processing={**mesh.processing, "smoothing_bound_mm": float(bound_mm)},
    )


def _low_pass(points: NDArray[np.float32], skin: Triangles) -> NDArray[np.float32]:
    """The points of a surface after the windowed sinc filter."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkWindowedSincPolyDataFilter

    sinc = vtkWindowedSincPolyDataFilter()
    # Without the cuts the filter sees rims as boundaries, and does not round them off.
    sinc.SetInputData(to_polydata(SkinMesh(points, skin, np.zeros(len(skin), bool), False)))
    sinc.SetNumberOfIterations(_ITERATIONS)
    sinc.SetPassBand(_PASS_BAND)
    sinc.NormalizeCoordinatesOn()
    sinc.BoundarySmoothingOff()
    sinc.FeatureEdgeSmoothingOff()
    sinc.NonManifoldSmoothingOff()
    sinc.Update()
    found: NDArray[np.float32] = vtk_to_numpy(sinc.GetOutput().GetPoints().GetData())
    return found.astype(np.float32)


def _between_slices(
    mesh: SkinMesh, room: NDArray[np.float64], ijk_to_ras: Matrix, bound_mm: float
) -> NDArray[np.float32]:
    """The points, with those between thick slices drawn tight between those within slices.

    What lies between two slices was not measured: linear interpolation makes a step of it where
    the skin leans. Vertices within a slice, which were, hold still meanwhile. Constrained elastic
    surface net (Gibson 1998, MICCAI).
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkConstrainedSmoothingFilter

    spacing = spacing_of(ijk_to_ras)
    across = int(np.argmax(spacing))
    if spacing[across] < _THICK * min(spacing):
        return mesh.points
    index = transform_points(np.linalg.inv(ijk_to_ras), mesh.points)
    between = np.argmax(np.abs(index - np.rint(index)), axis=1) == across
    limit = np.where(between, np.minimum(bound_mm, room), 0.0)
    limit[np.unique(mesh.triangles[mesh.is_cut])] = 0
    surface = to_polydata(mesh)
    limits = numpy_to_vtk(limit, deep=True)
    limits.SetName("SmoothingConstraints")
    surface.GetPointData().AddArray(limits)
    net = vtkConstrainedSmoothingFilter()
    net.SetInputData(surface)
    net.SetConstraintStrategyToConstraintArray()
    net.SetNumberOfIterations(_NET_ITERATIONS)
    net.SetRelaxationFactor(_NET_RELAXATION)
    net.SetConvergence(0.0)
    net.Update()
    found: NDArray[np.float32] = vtk_to_numpy(net.GetOutput().GetPoints().GetData())
    return found.astype(np.float32)


def _spread(share: NDArray[np.float64], triangles: Triangles) -> NDArray[np.float64]:
    """The least share among each vertex and those up to _RINGS edges away.

    A vertex that has to stay among others that move would be left in a fold.
    """
    for _ in range(_RINGS):
        least = share[triangles].min(axis=1)
        held = least < 1
        share = share.copy()
        for corner in range(3):
            np.minimum.at(share, triangles[held, corner], least[held])
    return share


def _room(mesh: SkinMesh, field: Field, ijk_to_ras: Matrix) -> NDArray[np.float64]:
    """How far each vertex may move before it could meet the other side of a thin sheet, mm.

    A vertex of the contour lies on the line between two voxel centres. Where the surface crosses
    the same line again on the other side of the nearer centre, that centre is the limit.
    """
    index = transform_points(np.linalg.inv(ijk_to_ras), mesh.points)[:, ::-1] - field.origin
    apart = np.abs(index - np.rint(index))
    axis = np.argmax(apart, axis=1)
    rows = np.arange(len(index))
    near = np.rint(index).astype(np.int64)
    beyond = near.copy()
    beyond[rows, axis] += np.where(index[rows, axis] < near[rows, axis], 1, -1)
    last = np.subtract(field.values.shape, 1)
    sides = [field.values[tuple(np.clip(at, 0, last).T)] > 0 for at in (near, beyond)]
    size = np.array(spacing_of(ijk_to_ras)[::-1])
    return np.where(sides[0] != sides[1], (apart * size).max(axis=1), np.inf)
