"""A made head CT whose skin is known exactly.

The truth is the zero set of one function, the outer skin of :mod:`.head`, with nostrils, lips and
ear canals capped (DESIGN, section 1). The voxels are that head, its insides and the scene around
it, convolved with a stated point spread. Distances to the truth come from projection on the zero
set (:mod:`.projection`), never from the function's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SkinSegLib.core import CTVolume, Progress
from SkinSegLib.core.geometry import Matrix

from .anatomy import sizes_for
from .effects import PADDING_HU, add_noise, add_streaks, radius_map, regrey
from .grid import edge_sigma, spread_covariance
from .head import Head, build_head
from .interior import filling_points, hair_layer, opening_air, tissue_layers
from .objects import ObjectSpec, SceneObject, place_objects
from .projection import Field, Points, as_field, curvature_terms, nearest, project, surface_samples
from .sampling import Layer, render
from .spec import PhantomSpec

__all__ = ["ObjectSpec", "Phantom", "PhantomSpec", "make_phantom"]


@dataclass(frozen=True)
class Phantom:
    """A made scan with its truth. Points are (n, 3), RAS mm.

    ``volume``: the scan. ``truth``: (k, j, i) uint8, 1 where the voxel's centre lies in the solid
    head and was measured. ``head``, ``objects``: the scene.
    """

    spec: PhantomSpec
    volume: CTVolume
    truth: NDArray[np.uint8]
    head: Head
    objects: tuple[SceneObject, ...]

    @cached_property
    def field(self) -> Field:
        """The function whose zero set is the truth, of points (n, 3): negative in the head."""
        return as_field(self.head.skin)

    def solid(self, points: ArrayLike) -> NDArray[np.float64]:
        """Negative in the solid head, positive outside, 0 on the skin; (n,). No distance."""
        return self.field(np.asarray(points, np.float64).reshape(-1, 3))

    def project(self, points: ArrayLike) -> Points:
        """Points moved along the gradient onto the skin; see :func:`.projection.project`."""
        return project(self.field, points)

    @cached_property
    def _anchors(self) -> Points:
        return surface_samples(self.field, *self._box(20.0), 3.0)

    def nearest(self, points: ArrayLike) -> Points:
        """The nearest points (n, 3) of the skin, by projection; see :func:`.projection.nearest`."""
        return nearest(self.field, points, anchors=lambda: self._anchors)[0]

    def signed_distance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distance in mm to the nearest skin, negative in the head: length of the perpendicular.

        Points may lie anywhere; those more than 1 mm off are compared with exact points of the
        skin 3 mm apart, so that the foot lies on the right part of it.
        """
        start = np.asarray(points, np.float64).reshape(-1, 3)
        foot = self.nearest(start)
        distance: NDArray[np.float64] = np.linalg.norm(start - foot, axis=1)
        return np.where(self.field(start) < 0, -distance, distance)

    def surface_points(self, spacing_mm: float = 2.0) -> Points:
        """Exact points of the skin inside the scan, about one per spacing x spacing mm."""
        points = surface_samples(self.field, *self._box(0.0), spacing_mm)
        return points[self.cut_distance(points) > 0]

    def _box(self, room_mm: float) -> tuple[Points, Points]:
        """Low and high corner (RAS mm) of what the scan holds of the head, and some room."""
        corners = _corners(self.volume.voxels.shape, self.volume.ijk_to_ras)
        low = np.maximum(corners.min(axis=0) - room_mm, self.head.skin.low)
        return low, np.minimum(corners.max(axis=0) + room_mm, self.head.skin.high)

    def cap_distance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distance in mm to the air that leads out of an opening; below 0 inside it."""
        return as_field(opening_air(self.head))(np.asarray(points, np.float64).reshape(-1, 3))

    def is_cap(self, points: ArrayLike) -> NDArray[np.bool_]:
        """Whether points of the skin lie on a cap, which closes an opening and is no skin."""
        return self.cap_distance(points) < 0

    def cut_distance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distance in mm to where the scan ends (voxel faces, round field); below 0 beyond."""
        p = np.asarray(points, np.float64).reshape(-1, 3)
        inverse = np.linalg.inv(self.volume.ijk_to_ras)
        index = p @ inverse[:3, :3].T + inverse[:3, 3]
        size = np.array(self.volume.voxels.shape[::-1])
        width = 1 / np.linalg.norm(inverse[:3, :3], axis=1)
        result: NDArray[np.float64] = (np.minimum(index + 0.5, size - 0.5 - index) * width).min(
            axis=1
        )
        if self.spec.fov_radius_mm is not None:
            in_slice = (index[:, :2] - (size[:2] - 1) / 2) @ self.volume.ijk_to_ras[:3, :2].T
            result = np.minimum(result, self.spec.fov_radius_mm - np.linalg.norm(in_slice, axis=1))
        return result

    def contact_distance(self, points: ArrayLike) -> NDArray[np.float64]:
        """Distance in mm to the nearest object of the scene; infinite where there is none."""
        p = np.asarray(points, np.float64).reshape(-1, 3)
        result = np.full(len(p), np.inf)
        for thing in self.objects:
            result = np.minimum(result, as_field(thing.outline)(p))
        return result

    def blur_bias(self, points: ArrayLike) -> NDArray[np.float64]:
        """How far (mm) the point spread moves the half height inward at points of the skin.

        To first order half the trace of (Hessian of the distance x covariance of the point spread
        across the normal): sigma^2 times the mean curvature (k1 + k2) / 2 for a round Gaussian,
        sigma^2 / R on a ball, sigma^2 / (2 R) along a rim. Positive: inward. The anti-aliasing
        share of the point spread (:func:`.grid.edge_sigma`) moves nothing and is left out.
        """
        foot = project(self.field, points)
        normal, hessian = curvature_terms(self.field, foot)
        matrix = self.volume.ijk_to_ras
        covariance = spread_covariance(matrix, self.spec.spread)
        covariance = covariance - np.eye(3) * edge_sigma(self.volume.spacing, self.spec.spread) ** 2
        through = np.einsum("ni,ij,nj->n", normal, covariance, normal)
        lean = normal @ covariance
        across = covariance - np.einsum("ni,nj->nij", lean, lean) / through[:, None, None]
        shift: NDArray[np.float64] = 0.5 * np.einsum("nij,nij->n", hessian, across)
        return shift


def _corners(shape: tuple[int, ...], matrix: Matrix) -> Points:
    index = np.array(
        [[i, j, k] for k in (0, shape[0]) for j in (0, shape[1]) for i in (0, shape[2])]
    )
    return (index - 0.5) @ matrix[:3, :3].T + matrix[:3, 3]


def scene_layers(spec: PhantomSpec, head: Head, objects: tuple[SceneObject, ...]) -> list[Layer]:
    """Everything that is painted, in order: objects, hair, head, tissues, air."""
    layers = [layer for thing in objects for layer in thing.layers]
    if spec.hair:
        layers.append(hair_layer(head, spec.seed))
    return layers + tissue_layers(head, spec.seed, spec.fillings)


def make_phantom(spec: PhantomSpec | None = None, progress: Progress | None = None) -> Phantom:
    """Make the scan of a spec (by default the head with table and holder, not touching).

    Raises GeometryError if the grid is unusable or too coarse to sample, Cancelled through
    ``progress``.
    """
    chosen = PhantomSpec.table_and_holder() if spec is None else spec
    report = Progress() if progress is None else progress
    matrix = chosen.matrix
    with report.stage("Build the scene", 0.1):
        head = build_head(sizes_for(chosen.seed))
        objects = place_objects(head, chosen.objects)
        layers = scene_layers(chosen, head, objects)
    with report.stage("Render the scan", 0.8):
        grey, truth = render(layers, chosen.shape, matrix, chosen.spread, progress=report)
    with report.stage("Add noise", 0.1):
        radius = radius_map(chosen.shape, matrix)
        add_streaks(
            grey, matrix, filling_points(head, chosen.fillings), chosen.streak_hu, chosen.seed
        )
        add_noise(grey, chosen.noise_hu, chosen.seed)
        regrey(grey, chosen.greys, radius)
        np.clip(grey, -1024 if chosen.greys.calibrated else -2000, 3071, out=grey)
        voxels = np.rint(grey, out=grey).astype(np.int16)
        padding: tuple[float, ...] = ()
        if chosen.fov_radius_mm is not None:
            outside = radius > chosen.fov_radius_mm
            voxels[:, outside] = PADDING_HU
            truth[:, outside] = 0
            padding = (float(PADDING_HU),)
    volume = CTVolume(voxels, matrix, padding=padding)
    return Phantom(chosen, volume, truth, head, objects)
