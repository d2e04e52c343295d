"""From a field to a closed triangle mesh in RAS mm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh, SurfaceError, transform_points
from .field import FULL, Field
from .topology import parts

Triangles = NDArray[np.int32]


def contour(
    field: Field,
    ijk_to_ras: NDArray[np.float64],
    *,
    largest_part: bool = True,
    check: bool = True,
) -> SkinMesh:
    """The zero set of a field as a closed mesh, oriented outward.

    ``largest_part``: leave out all but the component with most triangles; a shell has several.
    ``check``: find out whether it is closed; else ``closed`` is False whatever it is.

    Flying edges (Schroeder, Maynard and Geveci 2015, IEEE LDAV). Where the scan ends within the
    patient, two layers are added: the last one again, then one that is outside throughout. The
    surface closes between them; moving every vertex of the added layers onto the plane at which
    the scan ends makes the cap exactly flat, and the skin meets it at its own angle.

    Raises SurfaceError if nothing crosses zero.
    """
    once = [(int(low is not None), int(high is not None)) for low, high in field.ends]
    values = np.pad(np.pad(field.values, once, mode="edge"), once, constant_values=-FULL)
    points, triangles = flying_edges(values, 0.0)
    if len(triangles) == 0:
        raise SurfaceError("The mask has no surface. Segment the scan again.")
    kji = points[:, ::-1] + np.subtract(field.origin, [2 * low for low, _ in once]).astype("f4")
    triangles, is_cut = _flatten_ends(kji, triangles, field)
    if largest_part:
        part = parts(triangles, len(kji))
        keep = part == np.bincount(part).argmax()
        triangles, is_cut = triangles[keep], is_cut[keep]
    kji, triangles = without_unused(kji, triangles)
    ras = transform_points(ijk_to_ras, kji[:, ::-1]).astype(np.float32)
    mesh = SkinMesh(ras, triangles, is_cut, check and is_closed(triangles))
    if mesh.volume_ml < 0:
        mesh = SkinMesh(ras, np.ascontiguousarray(triangles[:, ::-1]), is_cut, mesh.closed)
    return mesh


def is_closed(triangles: Triangles) -> bool:
    """Every edge is used exactly twice, once in each direction."""
    if not triangles.size:
        return False
    starts = triangles.ravel()
    ends = np.roll(triangles, -1, axis=1).ravel()
    loops = starts == ends  # of triangles with a corner twice: both directions in one
    if loops.any():
        if np.bincount(starts[loops]).max() > 1:
            return False
        starts, ends = starts[~loops], ends[~loops]
    # One sort: the two directions of an edge come to lie next to each other, even before odd.
    keys = np.minimum(starts, ends).astype(np.int64)
    keys *= int(starts.max()) + 1
    keys += np.maximum(starts, ends)
    keys *= 2
    keys += starts > ends
    if len(keys) % 2:
        return False
    keys.sort()
    first, second = keys[::2], keys[1::2]
    paired = bool(((first & 1) == 0).all() and (second - first == 1).all())
    return paired and bool((np.diff(first) > 0).all())


def flying_edges(values: NDArray[Any], level: float) -> tuple[NDArray[np.float32], Triangles]:
    """Vertices (i, j, k) in voxels and triangles of where an array (k, j, i) crosses a level."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(values.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(values.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, level)
    edges.ComputeNormalsOff()
    edges.ComputeGradientsOff()
    edges.ComputeScalarsOff()
    edges.Update()
    surface = edges.GetOutput()
    if surface.GetNumberOfPolys() == 0:
        return np.empty((0, 3), np.float32), np.empty((0, 3), np.int32)
    points = vtk_to_numpy(surface.GetPoints().GetData()).astype(np.float32)
    connectivity: NDArray[Any] = vtk_to_numpy(surface.GetPolys().GetConnectivityArray())
    return points, connectivity.reshape(-1, 3).astype(np.int32)


def _flatten_ends(
    kji: NDArray[np.float32], triangles: Triangles, field: Field
) -> tuple[Triangles, NDArray[np.bool_]]:
    """Move vertices of the added layers onto the scan's ends (in place); mark those triangles.

    Where two ends meet, vertices of either fall together along the edge; they are merged and the
    triangles between them dropped.
    """
    is_cut = np.zeros(len(triangles), bool)
    on_planes = np.zeros(len(kji), np.uint8)
    for axis, (low, high) in enumerate(field.ends):
        first = field.origin[axis]
        last = first + field.values.shape[axis] - 1
        for plane, beyond in ((low, kji[:, axis] < first), (high, kji[:, axis] > last)):
            if plane is None:
                continue
            is_cut |= beyond[triangles].all(axis=1)
            kji[beyond, axis] = plane
            on_planes += beyond
    double = np.flatnonzero(on_planes > 1)
    if double.size:
        _, kept, which = np.unique(kji[double], axis=0, return_index=True, return_inverse=True)
        target = np.arange(len(kji), dtype=np.int32)
        target[double] = double[kept[which.ravel()]]
        triangles = target[triangles]
        a, b, c = triangles.T
        whole = (a != b) & (b != c) & (c != a)
        triangles, is_cut = triangles[whole], is_cut[whole]
    return triangles, is_cut


def without_unused(
    points: NDArray[np.float32], triangles: Triangles
) -> tuple[NDArray[np.float32], Triangles]:
    """The points that triangles use, and the triangles with these numbers."""
    used = np.zeros(len(points), bool)
    used[triangles] = True
    if used.all():
        return points, triangles
    renumbered = np.cumsum(used, dtype=np.int32) - 1
    return points[used], renumbered[triangles].astype(np.int32)
