"""The outer ear: rim (helix), antihelix, concha, tragus and lobe, built in its own frame.

In that frame the first axis runs along the pinna to posterior, the second along it to superior,
the third out of it, lateral and somewhat anterior; mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .implicit import Array, Sculpture, Shape, Solid, capsule, ellipsoid, solid

#: Radius of the helix rim: a rim about 4 mm across round its edge.
HELIX_RADIUS = 2.1
#: Half the thickness of the pinna between its rim and the antihelix.
PLATE_HALF = 1.5


@dataclass(frozen=True)
class EarFrame:
    """Where one ear sits. ``side``: +1 right, -1 left; ``origin``: front edge at canal height.

    ``axes``: rows are posterior, superior and outward directions of the pinna.
    """

    side: int
    origin: Array
    axes: Array
    scale: float

    def place(self, posterior: float, superior: float, outward: float) -> Array:
        """A point given in mm of the average ear, in RAS mm."""
        local = np.array([posterior, superior, outward]) * self.scale
        point: Array = self.origin + local @ self.axes
        return point

    def local(self, shape: Shape, reach: float) -> Solid:
        """A shape given in the ear's own frame, put into place; ``reach`` mm from its origin."""
        m, (ox, oy, oz), s = self.axes, (float(v) for v in self.origin), self.scale

        def placed(x: Array, y: Array, z: Array) -> Array:
            px, py, pz = x - ox, y - oy, z - oz
            a, b, c = (
                px * float(m[i, 0] / s) + py * float(m[i, 1] / s) + pz * float(m[i, 2] / s)
                for i in range(3)
            )
            result: Array = shape(a, b, c)
            result *= s
            return result

        return solid(placed, self.origin - reach * s, self.origin + reach * s)


def ear_frame(
    side: int, origin: Array, angle_deg: float, lean_deg: float, scale: float
) -> EarFrame:
    """The frame of an ear: ``angle_deg`` off the side of the head, top leaning to posterior."""
    angle, lean = np.radians(angle_deg), np.radians(lean_deg)
    back = np.array([side * np.sin(angle), -np.cos(angle), 0.0])
    out = np.array([side * np.cos(angle), np.sin(angle), 0.0])
    up = np.array([0.0, 0.0, 1.0])
    axes = np.stack(
        [
            np.cos(lean) * back - np.sin(lean) * up,
            np.sin(lean) * back + np.cos(lean) * up,
            out,
        ]
    )
    return EarFrame(side, np.asarray(origin, np.float64), axes, scale)


def _ring(
    center: tuple[float, float], radii: tuple[float, float], tube: float, out: float, egg: float
) -> Shape:
    """A tube along an egg-shaped curve in the plane of the pinna, ``out`` mm above it."""
    (ca, cb), (ra, rb) = center, radii

    def shape(a: Array, b: Array, c: Array) -> Array:
        v = b - cb
        u = (a - ca) / (1 + np.clip(v, -rb, rb) * egg)
        k0 = np.sqrt((u / ra) ** 2 + (v / rb) ** 2)
        k1 = np.sqrt((u / ra**2) ** 2 + (v / rb**2) ** 2) + 1e-4
        flat = np.maximum(k0, 0.3) * (k0 - 1) / np.maximum(k1, 0.3 / rb)
        result: Array = np.sqrt(flat**2 + (c - out) ** 2) - tube
        return result

    return shape


def _plate(
    center: tuple[float, float], radii: tuple[float, float], half: float, egg: float
) -> Shape:
    """A flat egg-shaped plate with a rounded edge, slightly hollow towards its middle."""
    (ca, cb), (ra, rb) = center, radii

    def shape(a: Array, b: Array, c: Array) -> Array:
        v = b - cb
        u = (a - ca) / (1 + np.clip(v, -rb, rb) * egg)
        k0 = np.sqrt((u / ra) ** 2 + (v / rb) ** 2)
        flat = (k0 - 1) * ra
        lift = c + 1.2 * np.clip(1 - k0 * k0, 0, None)
        edge = np.maximum(flat, 0)
        result: Array = np.sqrt(edge**2 + lift**2) - half
        return result

    return shape


def add_ear(head: Sculpture, frame: EarFrame) -> None:
    """Join one ear to the head and hollow out its concha; see :class:`EarFrame` for its place."""
    s = frame.scale
    tail = frame.place
    # What lies between the concha and the skull, so that the bowl has a wall behind it.
    head.add(ellipsoid(tail(7, -1, -8), (14 * s, 17 * s, 9 * s), frame.axes), 5.0)
    head.add(frame.local(_plate((14, 2), (14.5, 28), PLATE_HALF, 0.010), 48), 3.0)
    head.add(frame.local(_ring((14, 3), (16.5, 29.5), HELIX_RADIUS, 1.6, 0.010), 52), 2.5)
    head.add(frame.local(_ring((10, -1), (11, 16), 2.3, 0.8, 0.006), 36), 4.0)
    # The upper limb of the antihelix, which ends in the hollow below the rim.
    head.add(capsule(tail(16, 13, 0.4), tail(11, 24, 0.0), 2.0 * s, 1.2 * s), 4.0)
    head.add(ellipsoid(tail(10, -25, 0.6), (7.5 * s, 8.5 * s, 3.4 * s), frame.axes), 7.0)
    head.carve(ellipsoid(tail(9.5, -1, 3.0), (8.2 * s, 12.5 * s, 9.5 * s), frame.axes), 4.0)
    # Crus of the helix, dividing the concha, and the tragus in front of the canal.
    head.add(capsule(tail(-2, 5, -1), tail(8, 4, -6.0), 2.2 * s, 1.4 * s), 5)
    head.add(ellipsoid(tail(0.5, -5, 2.5), (3.2 * s, 5.5 * s, 3.2 * s), frame.axes), 5)


def canal_points(frame: EarFrame) -> Array:
    """Polyline (3, 3), RAS mm, of the ear canal: from the open concha to the ear drum."""
    outer = frame.place(9.0, -3.5, 0.0)
    entrance = frame.place(6.0, -3.5, -8.5)
    drum = entrance + np.array([-frame.side * 24.0, 4.0, 2.0])
    return np.stack([outer, entrance, drum])
