"""Implicit shapes: negative inside, positive outside, zero on the surface, all lengths in mm.

A shape is a function of three coordinate arrays. Every shape is close to a signed distance near
its surface, and its slope stays below :data:`SLOPE` wherever that matters, so a value far from
zero proves that a whole neighbourhood lies on one side. Nothing relies on the value itself being
the distance: exact distances come from :mod:`SkinSegLib.training.projection`.

Source of the approximate ellipsoid distance k0 (k0 - 1) / k1 and of the cubic (twice
differentiable) smooth minimum: I. Quilez, "distance functions" and "smooth minimum" (articles).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Shape = Callable[[Array, Array, Array], Array]
Vector = Sequence[float] | Array

#: Upper bound on the slope of every shape made here (checked by a test on the whole head).
SLOPE = 1.35


class Bounded(Protocol):
    """A shape that knows the box (low corner, high corner; RAS mm) that encloses its inside."""

    @property
    def low(self) -> Array: ...

    @property
    def high(self) -> Array: ...

    def __call__(self, x: Array, y: Array, z: Array) -> Array: ...


@dataclass(frozen=True)
class Solid:
    """A shape with its box. ``low``, ``high``: (3,) mm; the shape is positive outside the box."""

    shape: Shape
    low: Array
    high: Array

    def __call__(self, x: Array, y: Array, z: Array) -> Array:
        return self.shape(x, y, z)


def solid(shape: Shape, low: ArrayLike, high: ArrayLike) -> Solid:
    """A shape together with the box that encloses it."""
    return Solid(shape, np.asarray(low, np.float64), np.asarray(high, np.float64))


def smooth_min(a: Array, b: Array, k: float) -> Array:
    """Minimum of two arrays, blended where they differ by less than k mm; lies at most k/6 below.

    The gradient is a convex combination of the two gradients, so slopes never grow.
    """
    if k <= 0:
        return np.minimum(a, b)
    h = np.abs(a - b)
    np.subtract(k, h, out=h)
    np.maximum(h, 0, out=h)
    blend = h * h
    blend *= h
    blend *= 1.0 / (6.0 * k * k)
    result: Array = np.minimum(a, b)
    result -= blend
    return result


def smooth_max(a: Array, b: Array, k: float) -> Array:
    """Maximum of two arrays, blended as in :func:`smooth_min`; lies at most k/6 above."""
    result: Array = -smooth_min(-a, -b, k)
    return result


def sphere(center: Vector, radius: float) -> Solid:
    """A ball; exact distance."""
    cx, cy, cz = (float(c) for c in center)

    def shape(x: Array, y: Array, z: Array) -> Array:
        distance: Array = np.sqrt((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) - radius
        return distance

    c = np.asarray(center, np.float64)
    return solid(shape, c - radius, c + radius)


def ellipsoid(center: Vector, radii: Vector, axes: ArrayLike | None = None) -> Solid:
    """An ellipsoid; ``axes``: 3x3, rows are the directions of the three radii."""
    cx, cy, cz = (float(c) for c in center)
    ra, rb, rc = (float(r) for r in radii)
    rotation = None if axes is None else np.asarray(axes, np.float64)
    smallest = min(ra, rb, rc)

    def shape(x: Array, y: Array, z: Array) -> Array:
        px, py, pz = x - cx, y - cy, z - cz
        if rotation is not None:
            m = rotation
            px, py, pz = (
                float(m[i, 0]) * px + float(m[i, 1]) * py + float(m[i, 2]) * pz for i in range(3)
            )
        px, py, pz = px * (1 / ra), py * (1 / rb), pz * (1 / rc)
        k0 = px * px
        k0 += py * py
        k0 += pz * pz
        np.sqrt(k0, out=k0)
        px *= 1 / ra
        py *= 1 / rb
        pz *= 1 / rc
        k1 = px * px
        k1 += py * py
        k1 += pz * pz
        np.sqrt(k1, out=k1)
        k1 += 1e-6
        inner = k0 - 1
        approximate = k0 * inner
        approximate /= k1
        # Deep inside a flat ellipsoid the quotient is steep; the plain form never is.
        inner *= smallest
        result: Array = np.where((inner < -0.3 * smallest), inner, approximate)
        return result

    c = np.asarray(center, np.float64)
    size = np.asarray(radii, np.float64)
    half = size if rotation is None else np.sqrt(((rotation * size[:, None]) ** 2).sum(axis=0))
    return solid(shape, c - half, c + half)


def capsule(start: Vector, end: Vector, radius: float, end_radius: float | None = None) -> Solid:
    """A rod with round ends whose radius changes smoothly from ``radius`` to ``end_radius``."""
    a, b = np.asarray(start, np.float64), np.asarray(end, np.float64)
    ax, ay, az = (float(v) for v in a)
    dx, dy, dz = (float(v) for v in b - a)
    squared = max(dx * dx + dy * dy + dz * dz, 1e-12)
    last = radius if end_radius is None else end_radius

    def shape(x: Array, y: Array, z: Array) -> Array:
        px, py, pz = x - ax, y - ay, z - az
        t = (px * dx + py * dy + pz * dz) * (1 / squared)
        np.clip(t, 0, 1, out=t)
        px -= t * dx
        py -= t * dy
        pz -= t * dz
        distance: Array = np.sqrt(px * px + py * py + pz * pz)
        if last != radius:
            distance -= radius + (last - radius) * (t * t * (3 - 2 * t))
        else:
            distance -= radius
        return distance

    widest = max(radius, last)
    return solid(shape, np.minimum(a, b) - widest, np.maximum(a, b) + widest)


def chain(points: ArrayLike, radius: float) -> Solid:
    """A tube of one radius along a polyline, points (n, 3) mm; exact distance outside."""
    p = np.asarray(points, np.float64)
    rods = [capsule(a, b, radius) for a, b in pairwise(p)]

    def shape(x: Array, y: Array, z: Array) -> Array:
        result = rods[0](x, y, z)
        for rod in rods[1:]:
            np.minimum(result, rod(x, y, z), out=result)
        return result

    return solid(shape, p.min(axis=0) - radius, p.max(axis=0) + radius)


def bow(
    center: Vector,
    half_width: float,
    radius: float,
    *,
    back: float = 0.0,
    rise: float = 0.0,
    taper: float = 0.0,
    depth: float = 1.0,
    wave: float = 0.0,
) -> Solid:
    """A tube along a curve that runs left-right and bends back: lips, lids, brows and slits.

    The curve goes through ``center``; at ``half_width`` to either side it lies ``back`` mm further
    to posterior and ``rise`` mm further to superior. ``taper``: share of the radius lost there.
    ``depth``: how many times deeper (anterior-posterior) than high the section is. ``wave`` lifts
    the curve half-way, which gives the upper lip its bow.
    """
    cx, cy, cz = (float(c) for c in center)
    w = float(half_width)
    slope = np.hypot(2 * back / w, (2 * abs(rise) + 4 * abs(wave)) / w)
    shrink = float(1 / np.sqrt(1 + min(slope, 1.0) ** 2))

    def shape(x: Array, y: Array, z: Array) -> Array:
        px = x - cx
        s = np.clip(px, -w, w)
        px -= s
        s *= 1 / w
        s *= s
        py = (y - cy + back * s) * (1 / depth)
        lift: Array = rise * s + 4 * wave * s * (1 - s) if wave else rise * s
        pz = z - cz - lift
        distance: Array = np.sqrt(px * px + py * py + pz * pz)
        distance -= radius * (1 - taper * s)
        distance *= shrink
        return distance

    reach = radius * max(depth, 1.0)
    low = np.array([cx - w - radius, cy - max(back, 0) - reach, cz + min(rise, 0) - radius])
    high = np.array(
        [cx + w + radius, cy - min(back, 0) + reach, cz + max(rise, 0) + abs(wave) + radius]
    )
    return solid(shape, low, high)


def rounded_box(center: Vector, half: Vector, radius: float) -> Solid:
    """A box with rounded edges, half sizes in mm; exact distance outside."""
    cx, cy, cz = (float(c) for c in center)
    hx, hy, hz = (float(h) - radius for h in half)

    def shape(x: Array, y: Array, z: Array) -> Array:
        qx, qy, qz = np.abs(x - cx) - hx, np.abs(y - cy) - hy, np.abs(z - cz) - hz
        inside = np.minimum(np.maximum(np.maximum(qx, qy), qz), 0)
        for q in (qx, qy, qz):
            np.maximum(q, 0, out=q)
        result: Array = np.sqrt(qx * qx + qy * qy + qz * qz) + inside - radius
        return result

    c = np.asarray(center, np.float64)
    return solid(shape, c - np.asarray(half), c + np.asarray(half))


@dataclass(frozen=True)
class _Step:
    shape: Bounded
    blend: float
    carve: bool
    local: bool


class Sculpture:
    """Shapes added to and carved from each other in order, each with its own blend in mm.

    ``margin``: how far (mm) from the surface values are exact; farther out, details that cannot
    matter there may be skipped, which never changes a sign.
    """

    def __init__(self) -> None:
        self._steps: list[_Step] = []
        self.low = np.full(3, np.inf)
        self.high = np.full(3, -np.inf)

    def add(self, shape: Bounded, blend: float = 0.0, *, everywhere: bool = False) -> Sculpture:
        """Join ``shape``; ``everywhere`` evaluates it at every point (for the large parts)."""
        self._steps.append(_Step(shape, blend, False, bool(self._steps) and not everywhere))
        self.low = np.minimum(self.low, shape.low - blend)
        self.high = np.maximum(self.high, shape.high + blend)
        return self

    def carve(self, shape: Bounded, blend: float = 0.0) -> Sculpture:
        """Take ``shape`` away from what has been joined so far."""
        self._steps.append(_Step(shape, blend, True, True))
        return self

    def __call__(self, x: Array, y: Array, z: Array, margin: float = 30.0) -> Array:
        """Values (same shape as x) at points given by three arrays in RAS mm."""
        first = self._steps[0]
        value = first.shape(x, y, z)
        if x.size == 0:
            return value
        low = np.array([x.min(), y.min(), z.min()])
        high = np.array([x.max(), y.max(), z.max()])
        for step in self._steps[1:]:
            if not step.local:
                value = self._join(step, value, step.shape(x, y, z))
                continue
            # Far from an ellipsoid its value falls short of the distance, hence the factor.
            reach = 2.5 * step.blend + margin
            near, far = step.shape.low - reach, step.shape.high + reach
            if (high < near).any() or (low > far).any():
                continue
            if (low >= near).all() and (high <= far).all():
                value = self._join(step, value, step.shape(x, y, z))
                continue
            inside = (x > near[0]) & (x < far[0])
            inside &= (y > near[1]) & (y < far[1])
            inside &= (z > near[2]) & (z < far[2])
            index = np.nonzero(inside)
            if index[0].size:
                part = step.shape(x[index], y[index], z[index])
                value[index] = self._join(step, value[index], part)
        return value

    @staticmethod
    def _join(step: _Step, value: Array, part: Array) -> Array:
        if step.carve:
            return smooth_max(value, -part, step.blend)
        return smooth_min(value, part, step.blend)
