"""Cutting, scaling and mirroring a closed surface; the result is closed again.

Nothing here happens by itself: a scaled or mirrored head is another one than the patient's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import OutputError, SkinMesh, SurfaceError
from .contour import without_unused
from .manifold import found_among, from_manifold, to_body, without_coincident
from .parts import largest_part

#: Must stand in the name of a file that holds a mirrored head, and wherever it is described.
MIRRORED = "mirrored"

#: Directions of the patient that a cut can keep, in RAS.
DIRECTIONS = {
    "superior": (0.0, 0.0, 1.0),
    "inferior": (0.0, 0.0, -1.0),
    "anterior": (0.0, 1.0, 0.0),
    "posterior": (0.0, -1.0, 0.0),
    "right": (1.0, 0.0, 0.0),
    "left": (-1.0, 0.0, 0.0),
}
_AXES = {"R": 0, "A": 1, "S": 2}
#: A plane within 10 degrees of a direction has no side in that direction.
_LEAST_COSINE = math.sin(math.radians(10))
#: What lies this close to a plane is put onto it: slivers thinner than float32 can hold (0.00003 mm
#: at a few hundred mm) would fold when they are rounded.
_ON_PLANE_MM = 1e-3
_SCALES = (0.01, 100.0)


@dataclass(frozen=True)
class CutPlane:
    """A plane through ``origin_ras`` (mm); ``normal_ras`` points to the side that is kept.

    The normal may have any length; it is stored with length 1. Raises SurfaceError if a value is
    not finite or the normal has no length.
    """

    origin_ras: tuple[float, float, float]
    normal_ras: tuple[float, float, float]

    def __post_init__(self) -> None:
        origin = tuple(float(value) for value in self.origin_ras)
        normal = np.asarray(self.normal_ras, np.float64)
        length = float(np.linalg.norm(normal))
        usable = len(origin) == 3 and normal.shape == (3,) and math.isfinite(length)
        if not (usable and all(map(math.isfinite, origin)) and length > 1e-9):
            raise SurfaceError(
                "A cutting plane needs a point in mm and a direction, of three finite numbers each."
            )
        object.__setattr__(self, "origin_ras", origin)
        object.__setattr__(self, "normal_ras", tuple((normal / length).tolist()))

    @classmethod
    def axial(cls, superior_mm: float) -> CutPlane:
        """The plane S = ``superior_mm`` in RAS mm; what is above it is kept."""
        return cls((0.0, 0.0, superior_mm), DIRECTIONS["superior"])

    @classmethod
    def from_slice(cls, slice_to_ras: ArrayLike, keep: str = "superior") -> CutPlane:
        """The plane that a slice view of Slicer shows.

        ``slice_to_ras``: vtkMRMLSliceNode's SliceToRAS, 4x4: its third column is the slice's
        normal, its fourth the slice's centre in mm. Which side the normal points to depends on the
        view's orientation, so ``keep`` says which side stays: a key of DIRECTIONS.

        Raises SurfaceError if the plane has no such side (a sagittal slice and "superior").
        """
        matrix = np.asarray(slice_to_ras, np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise SurfaceError("The slice's matrix is not a finite 4x4 matrix. Use another view.")
        if keep not in DIRECTIONS:
            raise SurfaceError(f"{keep} is no side to keep. Choose {', '.join(DIRECTIONS)}.")
        plane = cls(_three(matrix[:3, 3]), _three(matrix[:3, 2]))
        cosine = float(np.dot(plane.normal_ras, DIRECTIONS[keep]))
        if abs(cosine) < _LEAST_COSINE:
            raise SurfaceError(
                f"The slice has no {keep} side: it runs along that direction. Choose another side "
                "to keep, or another slice view."
            )
        return plane if cosine > 0 else plane.turned()

    def turned(self) -> CutPlane:
        """The same plane, keeping the other side."""
        return CutPlane(self.origin_ras, _three(-np.asarray(self.normal_ras)))

    def distance(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Signed distance in mm of points (n, 3), positive on the side that is kept."""
        normal = np.asarray(self.normal_ras)
        offset = float(np.dot(normal, self.origin_ras))
        return np.asarray(np.asarray(points, np.float64) @ normal - offset, np.float64)


def cut_below(mesh: SkinMesh, *planes: CutPlane, only_largest: bool = True) -> SkinMesh:
    """Remove what is below one or more planes; the cuts are flat, closed and marked as cut.

    A plane that the mesh lies above changes nothing; if none cuts, ``mesh`` itself is returned.
    Every vertex more than 0.001 mm above the planes stays exactly where it was; those of a cut lie
    on its plane, as exactly as float32 can say (an axial plane: exactly).

    ``only_largest``: where a cut divides the head from shoulders or a hand, only the part with the
    largest volume stays, with its hollows. A part that was separate before the cut goes too.

    Raises SurfaceError if nothing would be left, or the mesh is not closed; MissingPackageError
    without manifold3d.
    """
    cut = mesh
    for plane in planes:
        if _cuts(cut, plane):
            cut = _cut(cut, plane)
    return largest_part(cut) if only_largest and cut is not mesh else cut


def scaled(mesh: SkinMesh, factor: float) -> SkinMesh:
    """The mesh ``factor`` times as large, about the centre of its bounding box, which stays.

    Raises SurfaceError for a factor outside 0.01 to 100.
    """
    if not (math.isfinite(factor) and _SCALES[0] <= factor <= _SCALES[1]):
        raise SurfaceError(f"A scale must be between {_SCALES[0]:g} and {_SCALES[1]:g}.")
    if factor == 1.0 or not len(mesh.points):
        return mesh
    centre = _centre(mesh)
    points = centre + factor * (mesh.points.astype(np.float64) - centre)
    return replace(mesh, points=points.astype(np.float32))


def mirrored(mesh: SkinMesh, axis: str) -> SkinMesh:
    """The mirror image along R, A or S, at the middle of the bounding box; outward again.

    It is no longer the patient's head: whoever writes it must name the file so
    (:func:`require_mirrored_name`) and say so wherever it is shown (MIRRORED).

    Raises SurfaceError for another axis.
    """
    if axis not in _AXES:
        raise SurfaceError(f"{axis} is no axis to mirror along. Choose R, A or S.")
    if not len(mesh.points):
        return mesh
    column = _AXES[axis]
    points = mesh.points.copy()
    points[:, column] = 2 * _centre(mesh)[column] - points[:, column].astype(np.float64)
    triangles = np.ascontiguousarray(mesh.triangles[:, ::-1])
    return replace(mesh, points=points, triangles=triangles)


def require_mirrored_name(path: Path | str) -> None:
    """Raises OutputError, with a name to use, unless a file's name says that it is mirrored."""
    name = Path(path).name
    if MIRRORED in name.lower():
        return
    stem, dot, suffix = name.partition(".")
    raise OutputError(
        f"A mirrored head must not pass for the patient's: a file's name must say {MIRRORED}. "
        f"Name it {stem}-{MIRRORED}{dot}{suffix}."
    )


def with_cavities_dropped(mesh: SkinMesh) -> SkinMesh:
    """The largest body alone: hollows within it are filled, separate crumbs are dropped.

    A skin-layer shell that no cut opens becomes solid by that. Returns ``mesh`` itself where there
    is nothing to drop. Raises SurfaceError if no part is oriented outward.
    """
    return largest_part(mesh, hollows=False)


def _cuts(mesh: SkinMesh, plane: CutPlane) -> bool:
    """Whether something of the mesh is below a plane. Raises SurfaceError if all of it is."""
    distance = plane.distance(without_unused(mesh.points, mesh.triangles)[0])
    if distance.size and distance.max() <= _ON_PLANE_MM:
        raise SurfaceError(
            f"The cut would leave nothing: all of the surface is below it, by "
            f"{-distance.max():.1f} to {-distance.min():.1f} mm. Move the plane by more than "
            f"{-distance.max():.1f} mm."
        )
    return bool(distance.size and distance.min() < -_ON_PLANE_MM)


def _cut(mesh: SkinMesh, plane: CutPlane) -> SkinMesh:
    """The part above a plane that cuts the mesh, closed."""
    # In the plane's own axes, where "on the plane" is exactly 0 whatever way it is tilted.
    origin, axes = np.asarray(plane.origin_ras), _axes_of(plane)
    points = (mesh.points.astype(np.float64) - origin) @ axes
    points[np.abs(points[:, 2]) <= _ON_PLANE_MM, 2] = 0.0
    body = to_body(mesh, points)
    result, exact = from_manifold(body.manifold.trim_by_plane((0.0, 0.0, 1.0), 0.0), body)
    on_plane = np.abs(exact[:, 2]) < _ON_PLANE_MM / 2
    exact[on_plane, 2] = 0.0
    ras = (origin + exact @ axes.T).astype(np.float32)
    same, index = found_among(exact, points)
    same &= ~on_plane
    ras[same] = mesh.points[index[same]]
    is_cut = result.is_cut | on_plane[result.triangles].all(axis=1)
    return without_coincident(replace(result, points=ras, is_cut=is_cut))


def _axes_of(plane: CutPlane) -> NDArray[np.float64]:
    """Three perpendicular unit vectors as columns, the third being the plane's normal."""
    normal = np.asarray(plane.normal_ras)
    helper = np.zeros(3)
    helper[int(np.abs(normal).argmin())] = 1.0
    first = np.cross(helper, normal)
    first /= np.linalg.norm(first)
    return np.column_stack([first, np.cross(normal, first), normal])


def _centre(mesh: SkinMesh) -> NDArray[np.float64]:
    used = without_unused(mesh.points, mesh.triangles)[0].astype(np.float64)
    return np.asarray((used.min(axis=0) + used.max(axis=0)) / 2)


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
