"""How far a mesh is from the phantom's exact skin, in both directions, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SkinSegLib.core import SkinMesh, SurfaceError

from .phantom import Phantom
from .projection import Points, normals

#: Points nearer than this to a cap, a cut or an object are no measure of the skin, mm.
MARGIN_MM = 3.0


@dataclass(frozen=True)
class ErrorFigures:
    """Distances |d| in mm over ``count`` points; ``signed_mean`` is positive outside the head."""

    count: int
    mean: float
    signed_mean: float
    p95: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True)
class SkinDistance:
    """Distances of points to the exact skin.

    ``figures``: over the points that count. ``unblurred``: the same with the shift that the point
    spread causes (:meth:`Phantom.blur_bias`) taken off; ``bias_mean``, ``bias_max``: that shift in
    mm, inward, over the same points. ``distance``: (n,) signed mm of every point, positive
    outside. ``near_cap``, ``near_cut``, ``near_object``: (n,) bool, why points do not count.
    ``missed``: from exact points of the skin to the mesh, where a mesh was measured.
    """

    figures: ErrorFigures
    unblurred: ErrorFigures
    bias_mean: float
    bias_max: float
    distance: NDArray[np.float64]
    near_cap: NDArray[np.bool_]
    near_cut: NDArray[np.bool_]
    near_object: NDArray[np.bool_]
    missed: ErrorFigures | None = None

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(n,) bool: points away from caps, cuts and objects."""
        return ~(self.near_cap | self.near_cut | self.near_object)


def error_figures(signed: ArrayLike) -> ErrorFigures:
    """Figures of signed distances in mm. Raises SurfaceError if there are none."""
    values = np.asarray(signed, np.float64)
    if not values.size:
        raise SurfaceError(
            "No point of the surface is far enough from caps, cuts and objects to be measured. "
            "Use a smaller margin."
        )
    size = np.abs(values)
    p95, p99, p999 = (float(v) for v in np.percentile(size, [95, 99, 99.9]))
    return ErrorFigures(
        values.size, float(size.mean()), float(values.mean()), p95, p99, p999, float(size.max())
    )


def surface_error(
    points: ArrayLike, phantom: Phantom, margin_mm: float = MARGIN_MM
) -> SkinDistance:
    """Distances of points (n, 3; RAS mm), say a mesh's vertices, to the exact skin.

    Points within ``margin_mm`` of a cap, of where the scan ends or of an object do not count;
    neither do points whose foot lies there. Raises SurfaceError if none is left.
    """
    given = np.asarray(points, np.float64).reshape(-1, 3)
    foot = phantom.nearest(given)
    distance = np.linalg.norm(given - foot, axis=1)
    distance[phantom.solid(given) < 0] *= -1
    groups = [
        np.minimum(measure(given), measure(foot)) < margin_mm
        for measure in (phantom.cap_distance, phantom.cut_distance, phantom.contact_distance)
    ]
    counted = ~(groups[0] | groups[1] | groups[2])
    figures = error_figures(distance[counted])
    bias = phantom.blur_bias(foot[counted])
    return SkinDistance(
        figures,
        error_figures(distance[counted] + bias),
        float(bias.mean()),
        float(bias.max()),
        distance,
        groups[0],
        groups[1],
        groups[2],
    )


def in_narrow_crease(phantom: Phantom, feet: ArrayLike, voxels: float = 2.0) -> NDArray[np.bool_]:
    """Whether there is skin again within ``voxels`` voxels outward of points (n, 3) of the skin.

    Such a gap is too narrow for the scan to show, whatever is made of it.
    """
    foot = np.asarray(feet, np.float64).reshape(-1, 3)
    outward = normals(phantom.field, foot)
    inverse = np.linalg.inv(phantom.volume.ijk_to_ras)[:3, :3]
    reach = voxels / np.linalg.norm(outward @ inverse.T, axis=1)
    found = np.zeros(len(foot), bool)
    # From a tenth on: nearer, the skin would meet itself.
    for part in np.linspace(0.1, 1.0, 12):
        found |= phantom.solid(foot + outward * (reach * part)[:, None]) < 0
    return found


def mesh_error(
    mesh: SkinMesh, phantom: Phantom, margin_mm: float = MARGIN_MM, spacing_mm: float = 2.0
) -> SkinDistance:
    """Both directions for a closed mesh in RAS mm: its vertices to the skin, the skin to it.

    ``spacing_mm``: distance between the exact points of the skin that are looked for on the mesh
    (which finds ears cut off, where no vertex is). Raises SurfaceError as :func:`surface_error`.
    """
    from dataclasses import replace

    forward = surface_error(mesh.points, phantom, margin_mm)
    exact = phantom.surface_points(spacing_mm)
    keep = np.ones(len(exact), bool)
    for measure in (phantom.cap_distance, phantom.cut_distance, phantom.contact_distance):
        keep &= measure(exact) >= margin_mm
    return replace(forward, missed=error_figures(_to_mesh(mesh, exact[keep])))


def _to_mesh(mesh: SkinMesh, points: Points) -> NDArray[np.float64]:
    """Signed distance (n,) from points to a mesh, positive outside it."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    from SkinSegLib.surface import to_polydata

    distance = vtkImplicitPolyDataDistance()
    distance.SetInput(to_polydata(mesh))
    result = vtkDoubleArray()
    distance.FunctionValue(numpy_to_vtk(np.ascontiguousarray(points), deep=True), result)
    values: NDArray[np.float64] = np.array(vtk_to_numpy(result)).reshape(-1)
    return values
