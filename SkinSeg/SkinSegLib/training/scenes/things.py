"""What lies around a patient in a scanner, painted with random shapes, matter and contacts.

Sizes in mm, greys in network units (0 air, 1 soft tissue, 2 bone and metal). Every painter takes
the field and a generator and adds to ``field.things``; none touches the patient.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.segmentation.coarse import Floats

from .field import SceneField

Painter = Callable[[SceneField, np.random.Generator], None]
Vector = NDArray[np.float32]


def unit(vector: NDArray[np.floating]) -> Vector:
    """A vector of the same direction and of length 1."""
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def _below(rng: np.random.Generator) -> Vector:
    """The side that the patient lies on: posterior as a rule, now and then any other."""
    if rng.random() < 0.15:
        return unit(rng.standard_normal(3))
    return unit(np.array([0.0, -1.0, 0.0]) + rng.normal(0, 0.15, 3))


def _gap(rng: np.random.Generator) -> float:
    """Touching, pressed in a little, or some way off, mm."""
    return float(rng.uniform(-6, 2) if rng.random() < 0.6 else rng.uniform(2, 30))


def _plane(field: SceneField, direction: Vector, gap_mm: float) -> Floats:
    """Distance beyond a plane that faces the patient from ``direction``."""
    along: Floats = np.tensordot(direction, field.places, axes=1)
    return along - np.float32(field.support(direction) + gap_mm)


def table(field: SceneField, rng: np.random.Generator) -> None:
    """Flat or hollowed slab: a hard shell around foam."""
    down = _below(rng)
    beyond = _plane(field, down, _gap(rng))
    side = unit(np.cross(down, [1.0, 0.1, 0.0]))
    across: Floats = np.tensordot(side, field.places, axes=1)
    if rng.random() < 0.6:
        beyond = beyond + across**2 / np.float32(2 * rng.uniform(150, 600))
    beyond = beyond + field.smooth_noise(rng, 150) * np.float32(rng.uniform(0, 1.5))
    thick, wide = rng.uniform(8, 70), rng.uniform(70, 300)
    inside = np.maximum(np.maximum(-beyond, beyond - np.float32(thick)), np.abs(across) - wide)
    field.paint(field.cover(inside), rng.uniform(0.02, 0.45))
    field.paint(field.shell(inside, rng.uniform(1, 6)), rng.uniform(0.3, 1.5))
    if rng.random() < 0.35 * field.odd:
        field.paint(field.cover(inside), rng.uniform(0.7, 1.2))


def holder(field: SceneField, rng: np.random.Generator) -> None:
    """A trough around the back of the head."""
    down = _below(rng)
    axis = unit(np.array([1.0, 0.0, 0.0]) + rng.normal(0, 0.15, 3))
    flat = field.places - axis[:, None, None, None] * np.tensordot(axis, field.places, axes=1)
    solid = field.filled >= 0.5
    middle = flat[:, solid].mean(axis=1) + rng.normal(0, 8, 3)
    around = flat - middle[:, None, None, None].astype(np.float32)
    radius = np.linalg.norm(around, axis=0)
    toward: Floats = np.tensordot(down, around, axes=1) / np.maximum(radius, 1)
    widest = rng.uniform(60, 99) if field.odd > 0 else rng.uniform(90, 99.5)
    near = float(np.percentile(radius[solid], widest)) + _gap(rng) / 2
    signed = radius - np.float32(near)
    thick = rng.uniform(1.5, 14)
    share = field.shell(signed, thick) * (toward > rng.uniform(-0.2, 0.7))
    share = share * _slab(field, axis, rng, 60, 260)
    field.paint(share, rng.uniform(0.08, 1.3 if field.odd > 0 else min(1.3, 5 / thick)))


def cushion(field: SceneField, rng: np.random.Generator) -> None:
    """Foam or a pillow that the head sinks into, with or without a cover."""
    down = _below(rng)
    rest = _plane(field, down, 0.0) + np.float32(rng.uniform(3, 60))
    bumps = field.smooth_noise(rng, rng.uniform(40, 120)) * np.float32(rng.uniform(1, 12))
    top = -(rest + bumps)
    inside = np.maximum(top, rest - np.float32(rng.uniform(20, 90)))
    clear = np.float32(rng.uniform(-1, 3)) - field.distance
    inside = np.maximum(inside, clear)
    densest = 0.5 if field.odd > 0 else 0.3
    body = rng.uniform(0.01, 0.12) if rng.random() < 0.6 else rng.uniform(0.1, densest)
    texture = np.maximum(1 + field.smooth_noise(rng, 12) * np.float32(rng.uniform(0, 0.3)), 0.2)
    field.paint(field.cover(inside), (body * texture).astype(np.float32))
    if rng.random() < 0.6:
        field.paint(field.shell(inside, rng.uniform(0.5, 3)), rng.uniform(0.2, 0.9))


def sheet(field: SceneField, rng: np.random.Generator) -> None:
    """Cloth in folds, partly on the skin."""
    for _ in range(int(rng.integers(1, 4))):
        waves = field.smooth_noise(rng, rng.uniform(25, 90)) * np.float32(rng.uniform(2, 14))
        signed = field.distance - np.float32(rng.uniform(0, 12)) - waves
        signed = np.maximum(signed, np.float32(0.3) - field.distance)
        share = field.shell(signed, rng.uniform(0.6, 5))
        share = share * (_plane(field, _below(rng), -rng.uniform(10, 120)) > 0)
        field.paint(share, rng.uniform(0.15, 0.8))


def thermoplastic(field: SceneField, rng: np.random.Generator) -> None:
    """A radiotherapy mask: a perforated shell on the front of the head."""
    gap = rng.uniform(0, 3) if rng.random() < 0.7 else rng.uniform(3, 15)
    # A real one spans the hollows of a face.
    least = 0.0 if field.odd > 0 else 1.5
    wave: Floats = np.abs(field.smooth_noise(rng, rng.uniform(30, 100)))
    signed = field.distance - np.float32(gap) - wave * np.float32(rng.uniform(least, 3))
    share = field.shell(signed, rng.uniform(1.2, 4 if field.odd > 0 else 3))
    front = unit(np.array([0.0, 1.0, 0.0]) + rng.normal(0, 0.3, 3))
    share = share * (np.tensordot(front, field.places, axes=1) > rng.uniform(-60, 20))
    if rng.random() < 0.6:
        pitch = rng.uniform(6, 14)
        grid = np.cos(2 * np.pi * field.places / np.float32(pitch)).sum(axis=0)
        share = share * (grid < rng.uniform(0.8, 1.8))
    field.paint(share, rng.uniform(0.4, 1.2))


def band(field: SceneField, rng: np.random.Generator) -> None:
    """Strap, bandage or headband that lies on the skin all around or for a part."""
    axis = unit(np.array([1.0, 0.0, 0.0]) + rng.normal(0, 0.6, 3))
    off = rng.uniform(-0.3, 1.5) if rng.random() < 0.7 else rng.uniform(1.5, 8)
    signed = field.distance - np.float32(off)
    thick = np.exp(rng.uniform(np.log(0.5), np.log(8)))
    share = field.shell(signed, thick) * _slab(field, axis, rng, 12, 90)
    if rng.random() < 0.5:
        side = unit(rng.standard_normal(3))
        share = share * (np.tensordot(side, field.places, axes=1) > rng.uniform(-40, 40))
    # A thick one is of foam or cloth.
    densest = 1.1 if field.odd > 0 else min(1.1, 2 / thick)
    field.paint(share, rng.uniform(0.1, densest))


def tube(field: SceneField, rng: np.random.Generator) -> None:
    """Tubes, wires and glasses' arms: bent cylinders, hollow or full, some of them metal."""
    for _ in range(int(rng.integers(1, 4))):
        start = _near_skin(field, rng, rng.uniform(0, 6))
        heading = unit(rng.standard_normal(3))
        radius = float(rng.uniform(0.7, 9))
        points = [start]
        for _ in range(14):
            heading = unit(heading + rng.normal(0, 0.25, 3))
            points.append(points[-1] + heading * 12)
        signed = np.full_like(field.distance, np.inf)
        for a, b in pairwise(points):
            box = field.box(np.minimum(a, b), np.maximum(a, b), radius + 2 * field.size_mm)
            near = signed[box]
            np.minimum(near, _capsule(field.places[(slice(None), *box)], a, b, radius), out=near)
        wall = max(0.6, radius * rng.uniform(0.15, 1.0))
        share = field.cover(signed) - field.cover(signed + np.float32(wall))
        field.paint(np.clip(share, 0, 1), rng.uniform(0.6, 2.0))


def glasses(field: SceneField, rng: np.random.Generator) -> None:
    """Two rims with lenses in front of the face, and arms along the temples to the ears."""
    front = unit(np.array([0.0, 1.0, 0.0]) + rng.normal(0, 0.1, 3))
    side = unit(np.cross(front, [1.0, 0.0, 0.0]))
    up = unit(np.cross(side, front))
    height = up * float(rng.normal(0, 15))
    middle = _middle(field) + front * float(rng.uniform(70, 100)) + height
    grey, radius = rng.uniform(0.5, 2.0), float(rng.uniform(0.8, 2.0))
    share = np.zeros_like(field.things)
    for sign in (-1.0, 1.0):
        centre = middle + side * np.float32(sign * rng.uniform(30, 36))
        offset = field.places - centre[:, None, None, None]
        depth: Floats = np.tensordot(front, offset, axes=1)
        across = np.linalg.norm(offset - front[:, None, None, None] * depth, axis=0)
        rim = np.hypot(across - np.float32(22), depth) - np.float32(radius)
        share = np.maximum(share, field.cover(rim))
        if rng.random() < 0.7:
            lens = np.maximum(np.abs(depth) - np.float32(1.0), across - np.float32(22))
            share = np.maximum(share, 0.7 * field.cover(lens))
        hinge = centre + side * np.float32(sign * 24)
        ear = hinge - front * np.float32(rng.uniform(90, 120)) + side * np.float32(sign * 12)
        share = np.maximum(share, field.cover(_capsule(field.places, hinge, ear, radius)))
    field.paint(share, grey)


def studs(field: SceneField, rng: np.random.Generator) -> None:
    """Electrodes, clips and markers on the skin."""
    for _ in range(int(rng.integers(2, 9))):
        centre = _near_skin(field, rng, rng.uniform(0.5, 4))
        radius = float(rng.uniform(1.5, 8))
        distance = np.linalg.norm(field.places - centre[:, None, None, None], axis=0)
        field.paint(field.cover(distance - np.float32(radius)), rng.uniform(0.5, 2.0))


def block(field: SceneField, rng: np.random.Generator) -> None:
    """Any solid thing beside the head: wedges, boxes, an arm rest, a bottle."""
    side = unit(rng.standard_normal(3))
    inside = -_plane(field, side, _gap(rng))
    for _ in range(int(rng.integers(2, 5))):
        normal = unit(rng.standard_normal(3))
        along: Floats = np.tensordot(normal, field.places, axes=1)
        middle = float(normal @ side) * 60
        inside = np.maximum(inside, np.abs(along - np.float32(middle)) - rng.uniform(15, 90))
    field.paint(field.cover(inside), rng.uniform(0.02, 1.2))


#: Painters and how often each is in a scene; those of odd things.
PAINTERS: tuple[tuple[Painter, float], ...] = (
    (block, 0.2),
    (table, 0.6),
    (cushion, 0.45),
    (holder, 0.45),
    (sheet, 0.35),
    (thermoplastic, 0.22),
    (band, 0.3),
    (tube, 0.3),
    (studs, 0.2),
    (glasses, 0.06),
)
_ODD = (block,)


def paint_things(field: SceneField, rng: np.random.Generator) -> list[str]:
    """Paint a random selection. Returns what was painted."""
    painted = []
    for painter, chance in PAINTERS:
        if rng.random() < chance * (field.odd if painter in _ODD else 1):
            painter(field, rng)
            painted.append(painter.__name__)
    return painted


def _slab(
    field: SceneField, axis: Vector, rng: np.random.Generator, least_mm: float, most_mm: float
) -> Floats:
    along: Floats = np.tensordot(axis, field.places, axes=1)
    middle = np.float32(rng.normal(0, 40))
    return field.cover(np.abs(along - middle) - np.float32(rng.uniform(least_mm, most_mm) / 2))


def hand(field: SceneField, rng: np.random.Generator) -> Floats:
    """The patient's own hand beside the head: how much of each cell it fills. It is patient."""
    palm = _near_skin(field, rng, rng.uniform(-2, 40))
    along = unit(rng.standard_normal(3))
    across = unit(np.cross(along, rng.standard_normal(3)))
    size = float(rng.uniform(0.7, 1.1))
    signed = _capsule(field.places, palm - along * np.float32(25 * size), palm, 18 * size)
    for n in range(5):
        root = palm + across * np.float32((n - 2) * 17 * size)
        bent = unit(along + across * np.float32((n - 2) * 0.15) + rng.normal(0, 0.15, 3))
        tip = root + bent * np.float32(rng.uniform(55, 85) * size)
        signed = np.minimum(signed, _capsule(field.places, root, tip, 8 * size))
    arm = palm - along * np.float32(200)
    signed = np.minimum(signed, _capsule(field.places, palm, arm, 26 * size))
    return field.cover(signed)


def _middle(field: SceneField) -> Vector:
    """The patient's centre of mass, mm from the cube's middle."""
    middle: Vector = field.places[:, field.filled >= 0.5].mean(axis=1)
    return middle


def _near_skin(field: SceneField, rng: np.random.Generator, gap_mm: float) -> Vector:
    """A random place about ``gap_mm`` off the skin, mm from the cube's middle."""
    where = np.argwhere(np.abs(field.distance - gap_mm) < field.size_mm)
    if not len(where):
        return np.asarray(rng.normal(0, 60, 3), np.float32)
    place: Vector = field.places[(slice(None), *where[rng.integers(len(where))])]
    return place


def _capsule(places: Floats, a: Vector, b: Vector, radius_mm: float) -> Floats:
    axis = b - a
    offset = places - a[:, None, None, None]
    t = np.clip(np.tensordot(axis, offset, axes=1) / float(axis @ axis), 0, 1)
    nearest = np.linalg.norm(offset - axis[:, None, None, None] * t, axis=0)
    distance: Floats = (nearest - radius_mm).astype(np.float32)
    return distance
