"""A drain hole through the wall of a shell: resin and powder must get out of a closed hollow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh, SurfaceError
from .manifold import Body, from_manifold, require_manifold3d, to_body, without_coincident
from .parts import part_of_triangle, part_volumes_ml

Vector = tuple[float, float, float]

_DIAMETERS_MM = (0.5, 50.0)
#: A smaller part of the volume within the outer wall is a pocket, as in an ear, not the hollow.
_LEAST_HOLLOW = 0.1
#: What is no more than this above the lowest point is as low.
_GROUND_MM = 0.1
#: A layer is at most 50 mm thick; across a solid head it is more than this.
_THICKEST_WALL_MM = 60.0
#: Crossings of a ray closer together than this are one.
_SAME_MM = 1e-6
#: Sides of the drill: its polygon is 0.1 % narrower than the circle.
_SIDES = 72
#: Rays along the drill by which the wall is felt: so many on each of these parts of its radius.
_RINGS, _PER_RING = (0.5, 1.0), 24


@dataclass(frozen=True)
class Span:
    """Where a ray is within the material: from ``enter`` to ``leave``, in mm along the drill."""

    enter: float
    leave: float

    def off(self, at: float) -> float:
        """How far ``at`` is from the span; 0 within it."""
        return max(self.enter - at, at - self.leave, 0.0)


def with_drain_hole(
    shell: SkinMesh,
    diameter_mm: float,
    at_ras: Vector | None = None,
    direction: Vector | None = None,
) -> SkinMesh:
    """A round hole of ``diameter_mm`` through one wall of a shell, never through the other side.

    ``at_ras``: a point in RAS mm on or near the wall; by default the lowest (most inferior) point
    of the largest closed hollow, where what is in it collects. ``direction``: of the drill's axis,
    either way; by default superior-inferior there, and square to the nearest triangle at a given
    point. The hole's wall is marked as cut: it is no skin.

    A shell whose hollow is open already, at a cut of the scan or by :func:`cut_below`, needs no
    hole: without ``at_ras`` it is then returned itself, as is a solid head. So is one with nothing
    but pockets: a hollow counts from a tenth of the volume within the outer wall on.

    Raises SurfaceError if the hole does not fit there (no wall, no hollow behind it, or something
    too close behind), or for a diameter outside 0.5 to 50 mm; MissingPackageError without
    manifold3d.
    """
    if not (math.isfinite(diameter_mm) and _DIAMETERS_MM[0] <= diameter_mm <= _DIAMETERS_MM[1]):
        raise SurfaceError(
            f"A drain hole must be {_DIAMETERS_MM[0]:g} to {_DIAMETERS_MM[1]:g} mm wide."
        )
    require_manifold3d()
    if at_ras is None:
        lowest = _lowest_of_hollow(shell)
        if lowest is None:
            return shell
        at = lowest
        axis = _unit(direction or (0.0, 0.0, 1.0))
    else:
        at = np.asarray(at_ras, np.float64)
        if at.shape != (3,) or not np.isfinite(at).all():
            raise SurfaceError("The place of a drain hole needs three finite numbers in RAS mm.")
        axis = _normal_near(shell, at) if direction is None else _unit(direction)
    body = to_body(shell)
    start, stop = _reach(body, at, axis, diameter_mm / 2)
    drill = _drill(at, axis, start, stop, diameter_mm / 2)
    result, _ = from_manifold(body.manifold - drill, body)
    return without_coincident(result)


def closed_hollows_ml(mesh: SkinMesh) -> list[float]:
    """The volume in mL of each hollow that nothing opens (inward parts), the largest first."""
    volumes = part_volumes_ml(mesh.points, mesh.triangles, part_of_triangle(mesh))
    return sorted((-float(volume) for volume in volumes if volume < 0), reverse=True)


def _lowest_of_hollow(mesh: SkinMesh) -> NDArray[np.float64] | None:
    """The most inferior vertex of the closed hollow; None if there are at most pockets."""
    part = part_of_triangle(mesh)
    volumes = part_volumes_ml(mesh.points, mesh.triangles, part)
    if not volumes.size or -volumes.min() < _LEAST_HOLLOW * volumes.max() or volumes.min() >= 0:
        return None
    points = mesh.points[mesh.triangles[part == volumes.argmin()]].reshape(-1, 3)
    # On a flat ground the middle of it, not its edge.
    ground = points[points[:, 2] <= points[:, 2].min() + _GROUND_MM].astype(np.float64)
    lowest: NDArray[np.float64] = ground[((ground - ground.mean(axis=0)) ** 2).sum(axis=1).argmin()]
    return lowest


def _normal_near(mesh: SkinMesh, at: NDArray[np.float64]) -> NDArray[np.float64]:
    corners = mesh.points[mesh.triangles].astype(np.float64)
    nearest = int(((corners.mean(axis=1) - at) ** 2).sum(axis=1).argmin())
    a, b, c = corners[nearest]
    return _unit(np.cross(b - a, c - a))


def _reach(
    body: Body, at: NDArray[np.float64], axis: NDArray[np.float64], radius: float
) -> tuple[float, float]:
    """From where to where the drill must go, in mm along its axis from ``at``."""
    centre = _spans(body, at, axis)
    if not centre:
        raise SurfaceError("There is no wall at the place of the drain hole. Choose another place.")
    wall = min(centre, key=lambda span: span.off(0.0))
    if wall.leave - wall.enter > _THICKEST_WALL_MM:
        raise SurfaceError(
            f"At the place of the drain hole the wall is {wall.leave - wall.enter:.0f} mm thick: "
            "there is no hollow behind it. A drain hole is for a skin layer, not for a solid head."
        )
    others = [span for span in centre if span is not wall]
    enters, leaves = [wall.enter], [wall.leave]
    for offset in _offsets(axis, radius):
        for span in _spans(body, at + offset, axis):
            # A wall that slopes or bends away within the hole's width, or another one.
            if span.leave > wall.enter - radius and span.enter < wall.leave + radius:
                enters.append(span.enter)
                leaves.append(span.leave)
            else:
                others.append(span)
    # Farther than a radius, it would follow a wall that runs along the drill.
    start, stop = max(min(enters), wall.enter - radius), min(max(leaves), wall.leave + radius)
    before = max((span.leave for span in others if span.leave <= start), default=-math.inf)
    after = min((span.enter for span in others if span.enter >= stop), default=math.inf)
    if any(span.enter < stop and span.leave > start for span in others):
        raise SurfaceError(
            "Something is too close behind the wall for a drain hole of this width. Choose a "
            "narrower one, or another place."
        )
    margin = min(1.0, radius)
    return start - min(margin, (start - before) / 2), stop + min(margin, (after - stop) / 2)


def _spans(body: Body, through: NDArray[np.float64], axis: NDArray[np.float64]) -> list[Span]:
    """Where the line through a point is within the material, in order along the axis."""
    low, high = np.array(body.manifold.bounding_box()).reshape(2, 3)
    far = float(np.linalg.norm(high - low) + np.abs([low - through, high - through]).max() + 1.0)
    begin, end = through - far * axis, through + far * axis
    spans, depth, enter = [], 0, 0.0
    before = (-math.inf, 0)
    for hit in body.manifold.ray_cast(begin.tolist(), end.tolist()):
        place = float(np.dot(np.asarray(hit.position) - through, axis))
        step = 1 if float(np.dot(np.asarray(hit.normal), axis)) < 0 else -1
        # Through a vertex or an edge, a ray meets several triangles that are one crossing.
        if place - before[0] < _SAME_MM and step == before[1]:
            continue
        before = (place, step)
        if depth == 0 and step == 1:
            enter = place
        depth += step
        if depth == 0:
            spans.append(Span(enter, place))
    return spans


def _offsets(axis: NDArray[np.float64], radius: float) -> list[NDArray[np.float64]]:
    u, v = _across(axis)
    angles = np.arange(_PER_RING) * 2 * np.pi / _PER_RING
    return [
        part * radius * (math.cos(angle) * u + math.sin(angle) * v)
        for part in _RINGS
        for angle in angles
    ]


def _drill(
    at: NDArray[np.float64], axis: NDArray[np.float64], start: float, stop: float, radius: float
) -> Any:
    manifold3d = require_manifold3d()
    u, v = _across(axis)
    matrix = np.column_stack([u, v, axis, at + start * axis])
    cylinder = manifold3d.Manifold.cylinder(stop - start, radius, circular_segments=_SIDES)
    return cylinder.transform(matrix)


def _across(axis: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two unit vectors that make a right-handed system with the axis."""
    helper = np.zeros(3)
    helper[int(np.abs(axis).argmin())] = 1.0
    u = _unit(np.cross(helper, axis))
    return u, np.asarray(np.cross(axis, u))


def _unit(vector: Vector | NDArray[np.float64]) -> NDArray[np.float64]:
    array = np.asarray(vector, np.float64)
    length = float(np.linalg.norm(array)) if array.shape == (3,) else math.nan
    if not (math.isfinite(length) and length > 1e-12):
        raise SurfaceError("The direction of a drain hole needs three numbers that are not all 0.")
    return np.asarray(array / length)
