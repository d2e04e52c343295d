"""What lies below the skin and what grows on it: tissues, bones, air and hair, as layers.

Everything here stays at least :data:`SKIN_MM` below the outer skin (by the layers' ``under``),
except the openings: so near the surface there is skin of one value on one side and air on the
other, and the half height of the blurred edge is the truth's place.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .head import Head
from .implicit import Array, Bounded, Sculpture, Shape, Solid, capsule, chain, ellipsoid, solid
from .sampling import AIR_HU, Layer

SKIN_HU = 40.0
#: Everything else starts at least this deep (in the head shape's value; slopes are below 1.35).
SKIN_MM = 4.2
FAT_HU, BRAIN_HU, FLUID_HU, MUSCLE_HU = -100.0, 35.0, 8.0, 55.0
TABLE_BONE_HU, DIPLOE_HU, SPONGY_HU, TOOTH_HU = 1150.0, 700.0, 350.0, 1900.0
METAL_HU = 3071.0


def grown(shape: Bounded, by: float) -> Solid:
    """A shape moved outward by ``by`` mm (inward where negative)."""

    def moved(x: Array, y: Array, z: Array) -> Array:
        result: Array = shape(x, y, z) - by
        return result

    return solid(moved, shape.low - max(by, 0), shape.high + max(by, 0))


def _joined(parts: Iterator[Bounded], blend: float) -> Sculpture:
    result = Sculpture()
    for part in parts:
        result.add(part, blend)
    return result


def tissue_layers(head: Head, seed: int, fillings: int = 0) -> list[Layer]:
    """Layers from the skin inward, air last. ``fillings``: number of metal fillings in teeth."""
    layers = [Layer(head.skin, SKIN_HU, exact=True, is_head=True)]
    layers += _soft(head)
    layers += _bones(head)
    layers += _orbits(head)
    layers += [Layer(_teeth(head), TOOTH_HU, under=SKIN_MM)]
    layers += [
        Layer(ellipsoid(p, (2.6, 2.6, 2.6)), METAL_HU, under=SKIN_MM)
        for p in filling_points(head, fillings)
    ]
    layers += _air(head, seed)
    return layers


def _soft(head: Head) -> list[Layer]:
    at = head.at
    fat = Sculpture()
    fat.add(capsule(at(0, -20, -45), at(0, -35, -240), 75))
    for side in (1, -1):
        fat.add(ellipsoid(at(side * 42, 40, -38), (28, 40, 36)), 10)
    muscle = _joined((capsule(at(s * 57, 12, -45), at(s * 59, 20, 2), 9) for s in (1, -1)), 0)
    return [
        Layer(fat, FAT_HU, under=SKIN_MM, over=9.0),
        Layer(grown(fat, -4), MUSCLE_HU, under=10.0),
        Layer(muscle, MUSCLE_HU, under=6.0),
    ]


def _bones(head: Head) -> list[Layer]:
    at, s = head.at, head.at(1, 1, 1)
    vault = Sculpture()
    vault.add(ellipsoid(at(0, 0, 57), np.array([66, 89, 66]) * s))
    vault.add(ellipsoid(at(0, -24, 52), np.array([69, 69, 60]) * s), 20)
    vault.add(ellipsoid(at(0, -14, 14), np.array([54, 56, 30]) * s), 16)

    def face() -> Iterator[Bounded]:
        yield ellipsoid(at(0, 56, -18), (31, 26, 24))
        for side in (1, -1):
            yield capsule(at(side * 44, 58, -2), at(side * 62, 8, 2), 6, 4)
            yield capsule(at(side * 41, 12, -54), at(side * 11, 74, -75), 7, 8)
            yield capsule(at(side * 47, 6, -4), at(side * 42, 11, -52), 6, 7)
            yield ellipsoid(at(side * 55, -20, -12), (11, 15, 18))
            yield capsule(at(side * 56, -4, -2), at(side * 18, 18, 4), 11, 8)
            yield capsule(at(side * 24, 84, 32), at(side * 50, 62, 22), 6, 5)
        yield ellipsoid(at(0, 80, -68), (12, 7, 10))

    bones = _joined(face(), 5)
    spine = capsule(at(0, -30, -28), at(0, -42, -250), 13, 15)

    def vertebra(x: Array, y: Array, z: Array, old: Array) -> Array:
        disc = np.abs((z % 19.0) - 9.5) < 2.2
        return np.where(disc, np.float32(90), np.float32(SPONGY_HU))

    canal = capsule(at(0, -46, -15), at(0, -58, -250), 8)
    arch = capsule(at(0, -46, -22), at(0, -58, -250), 12)
    deep = SKIN_MM + 1
    return [
        Layer(vault, TABLE_BONE_HU, under=deep),
        Layer(grown(vault, -2.0), DIPLOE_HU, under=deep + 2),
        Layer(grown(vault, -4.5), TABLE_BONE_HU, under=deep + 4),
        Layer(bones, TABLE_BONE_HU, under=deep),
        Layer(grown(bones, -2.5), SPONGY_HU, under=deep + 2),
        Layer(arch, DIPLOE_HU, under=deep),
        Layer(spine, TABLE_BONE_HU, under=deep),
        Layer(grown(spine, -2), vertebra, under=deep + 2),
        Layer(canal, FLUID_HU, under=deep + 4),
        Layer(grown(vault, -6.5), FLUID_HU, under=deep + 6),
        Layer(grown(vault, -9.0), BRAIN_HU, under=deep + 8),
        Layer(_ventricles(head), FLUID_HU, under=30),
    ]


def _ventricles(head: Head) -> Sculpture:
    return _joined(
        (capsule(head.at(s * 9, 26, 50), head.at(s * 14, -32, 52), 6, 5) for s in (1, -1)), 3
    )


def _orbits(head: Head) -> list[Layer]:
    at = head.at
    layers = []
    for side in (1, -1):
        layers += [
            Layer(ellipsoid(at(side * 31, 60, 20), (17, 24, 16)), FAT_HU, under=SKIN_MM),
            Layer(ellipsoid(at(side * 32, 69, 20), (12, 11.5, 12)), 12.0, under=3.6),
            Layer(ellipsoid(at(side * 32, 76, 20), (4, 2.2, 4)), 90.0, under=3.6),
            Layer(capsule(at(side * 31, 57, 20), at(side * 14, 25, 18), 2.5), 40.0, under=9),
        ]
    return layers


def _tooth_places(head: Head) -> list[tuple[Array, float]]:
    """Middle of each tooth (RAS mm) and its half height."""
    places = []
    for x in np.arange(-24.5, 25, 7.0):
        y = 86.0 - 0.043 * x * x
        places += [(head.at(x, y, -37.5), 8.0), (head.at(x * 0.93, y - 2, -54.5), 8.0)]
    return places


def _teeth(head: Head) -> Sculpture:
    return _joined((ellipsoid(p, (3.2, 4.0, h)) for p, h in _tooth_places(head)), 0)


def filling_points(head: Head, count: int) -> list[Array]:
    """Where metal fillings sit (RAS mm): alternating between the molars of either side."""
    far = sorted(_tooth_places(head), key=lambda place: -abs(place[0][0]))
    up = np.array([0.0, 0.0, 5.0])
    places = [p + up if p[2] < -46 * head.sizes.height else p - up for p, _ in far]
    return places[:count]


def _air(head: Head, seed: int) -> list[Layer]:
    at = head.at
    rng = np.random.default_rng([seed, 2])

    def sinuses() -> Iterator[Bounded]:
        for side in (1, -1):
            yield ellipsoid(at(side * 29, 58, -5), (12, 14, 15))
            yield ellipsoid(at(side * 10, 82, 45), (8, 4.5, 9))
            yield ellipsoid(at(side * 7, 24, 6), (5.5, 10, 7))
            for y in (38, 47, 56, 65):
                yield ellipsoid(at(side * 7.5, y, 17), (4, 3.8, 6))

    def mastoid(side: int) -> Iterator[Bounded]:
        for _ in range(40):
            x, y, z = rng.normal((55, -20, -12), (3.0, 5.5, 7.0))
            radius = rng.uniform(1.3, 3.2)
            yield ellipsoid(at(side * x, y, z), (radius, radius, radius))

    def cavities() -> Iterator[Bounded]:
        for side in (1, -1):
            yield ellipsoid(at(side * 6, 64, 2), (4.2, 30, 17))
        yield chain([at(0, 34, 0), at(0, 24, -22), at(0, 20, -62), at(0, 17, -98)], 8.5)
        yield ellipsoid(at(0, 60, -40), (20, 24, 4))  # above the tongue
        yield chain([at(0, 40, -42), at(0, 24, -46)], 5)

    throat = chain([at(0, 17, -98), at(0, 22, -124), at(0, 8, -180), at(0, -6, -250)], 8.0)
    turbinates = _joined(
        (
            capsule(at(s * 8, 42, z), at(s * 7, 84, z + 2), 2.0)
            for s in (1, -1)
            for z in (-7.0, 4.0)
        ),
        0,
    )
    layers = [
        Layer(_joined(sinuses(), 0), AIR_HU, under=6.5),
        Layer(_joined(mastoid(1), 0), AIR_HU, under=6.5),
        Layer(_joined(mastoid(-1), 0), AIR_HU, under=6.5),
        Layer(_joined(cavities(), 2), AIR_HU, under=5),
        Layer(throat, AIR_HU, under=5),
        Layer(turbinates, SKIN_HU, under=5),
    ]
    layers += [Layer(opening, AIR_HU, exact=True) for opening in head.openings.values()]
    return layers


def hair_layer(head: Head, seed: int, strand_hu: float = 450.0) -> Layer:
    """Hair: thin curved strands about ``strand_hu`` above air, with air between them.

    A strand runs where two fields of waves are zero at once. Paint it before the head.
    """
    at, s = head.at, head.at(1, 1, 1)
    region = Sculpture()
    region.add(ellipsoid(at(0, -8, 48), np.array([81, 105, 92]) * s))
    region.carve(ellipsoid(at(0, 118, -30), np.array([120, 74, 100]) * s), 12)
    region.carve(ellipsoid(at(0, 0, -95), np.array([150, 150, 72]) * s), 12)
    for ear in head.ears:
        region.carve(ellipsoid(ear.place(12, 0, 0), (26, 30, 38)), 6)
    rng = np.random.default_rng([seed, 3])
    across = rng.normal(size=(2, 5, 3))
    across[:, :, 1] *= 0.35  # strands run mostly from front to back
    across *= (2 * np.pi / rng.uniform(3.0, 7.0, (2, 5, 1))) / np.linalg.norm(
        across, axis=2, keepdims=True
    )
    phase = rng.uniform(0, 2 * np.pi, (2, 5))

    def strands(x: Array, y: Array, z: Array, old: Array) -> Array:
        total: Array = np.zeros_like(x)
        for waves, shifts in zip(across, phase, strict=True):
            field = np.zeros_like(x)
            for (a, b, c), shift in zip(waves, shifts, strict=True):
                field += np.sin(
                    np.float32(a) * x + np.float32(b) * y + np.float32(c) * z + np.float32(shift)
                )
            total += field * field
        result: Array = old + np.float32(strand_hu) * np.exp(-total / np.float32(0.8))
        return result

    return Layer(region, strands)


def opening_air(head: Head) -> Shape:
    """All openings as one shape: negative where air leads out of the body."""

    def shape(x: Array, y: Array, z: Array) -> Array:
        result: Array | None = None
        for opening in head.openings.values():
            value = opening(x, y, z)
            result = value if result is None else np.minimum(result, value)
        assert result is not None
        return result

    return shape
