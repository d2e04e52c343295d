"""Scans that show no head: what the finding "may not be a head" is measured on.

A trunk, limbs, an empty table, a dry skull, a water phantom, a block of wood, each varied by its
seed in size, pose, table, voxels, noise and grey scale. They are drawn at the size of the voxels
with softened edges: coarse anatomy, enough to tell a leg from a head, no measure of skin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SkinSegLib.core import CTVolume, SkinSegError
from SkinSegLib.core.geometry import Matrix

from .anatomy import sizes_for
from .effects import GreyScale, add_noise, radius_map, regrey
from .head import build_head
from .implicit import Array, Bounded, capsule, chain, ellipsoid, rounded_box
from .interior import grown, tissue_layers
from .objects import KINDS as OBJECT_KINDS
from .objects import ObjectSpec, place_objects
from .painting import Canvas, column

SKIN_HU, FAT_HU, MUSCLE_HU, LUNG_HU, AIR_HU = 40.0, -100.0, 55.0, -850.0, -1000.0
CORTEX_HU, SPONGY_HU, MARROW_HU = 1150.0, 330.0, -40.0
#: Tissues of the made head at and above this are bone (a dry skull keeps them).
_BONE_FROM_HU = 300.0

#: A painted thing: a shape, its grey value, and how deep below the head's skin it begins, if it
#: belongs to a head (see Layer.under).
Part = tuple[Bounded, float, float | None]


@dataclass(frozen=True)
class _Scene:
    """``parts``: painted in order over air. ``low``, ``high``: corners in RAS mm of what the scan
    shows. ``skin``: the head that parts lie under, for a skull."""

    parts: list[Part]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    skin: Bounded | None = None


def make_negative(kind: str, seed: int, spacing_mm: float = 3.0) -> CTVolume:
    """The scan of a kind (one of NEGATIVES) and seed: the same voxels every time.

    ``spacing_mm``: voxel size in the slice, varied by the seed by up to 20 %; slices are one to
    two times as thick. One scan in six has uncalibrated grey values.

    Raises SkinSegError for an unknown kind.
    """
    if kind not in NEGATIVES:
        raise SkinSegError(f"There is no {kind!r}. Choose one of {', '.join(NEGATIVES)}.")
    rng = np.random.default_rng([seed, list(NEGATIVES).index(kind), 40])
    scene = NEGATIVES[kind](rng, seed)
    in_slice = spacing_mm * rng.uniform(0.8, 1.2)
    spacing = np.array([in_slice, in_slice, spacing_mm * rng.uniform(1.0, 2.0)])
    size = np.array(scene.high) - np.array(scene.low)
    i, j, k = (max(2, round(n)) for n in size / spacing)
    canvas = Canvas((k, j, i), _posed(scene, spacing, (i, j, k), rng), AIR_HU, scene.skin)
    for shape, hu, under in scene.parts:
        canvas.paint(shape, hu, under)
    grey = canvas.values
    add_noise(grey, rng.uniform(5, 40), seed)
    straight = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    if rng.random() < 1 / 6:
        scale = GreyScale(rng.uniform(0.6, 0.9), rng.uniform(150, 400), rng.uniform(0, 120))
        regrey(grey, scale, radius_map((k, j, i), straight))
    np.clip(grey, -1024, 3071, out=grey)
    return CTVolume(np.rint(grey).astype(np.int16), straight)


def below_neck(volume: CTVolume) -> CTVolume | None:
    """Shoulders and chest of a head and neck scan whose slices run from below to above.

    Cut where the outline, from the neck down, has grown to twice the neck's area. None where the
    scan shows less than 10 slices of that.
    """
    tissue = np.count_nonzero(volume.voxels > -480, axis=(1, 2)).astype(np.float64)
    area = np.convolve(np.pad(tissue, 2, mode="edge"), np.ones(5) / 5, "valid")
    first = len(area) // 4
    neck = first + int(np.argmin(area[first : 3 * first]))
    wide = np.flatnonzero(area[:neck] > 2 * area[neck])
    if not wide.size or wide[-1] < 9:
        return None
    return CTVolume(volume.voxels[: wide[-1] + 1].copy(), volume.ijk_to_ras, volume.padding)


def _posed(
    scene: _Scene, spacing: Array, size: tuple[int, int, int], rng: np.random.Generator
) -> Matrix:
    """From index (i, j, k) to the scene's place (RAS mm): it lies askew by up to 15 degrees."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-15, 15, 3) * (0.4, 0.4, 1.0))):
        a, b = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(spacing * (-1, -1, 1))
    centre = (np.array(scene.low) + np.array(scene.high)) / 2
    matrix[:3, 3] = centre - matrix[:3, :3] @ ((np.array(size) - 1) / 2)
    return matrix


def _under_it(lowest: float, rng: np.random.Generator) -> list[Part]:
    """In most scans a table: a plate or a thin shell with foam in it; some touch."""
    if rng.random() < 0.3:
        return []
    top = lowest - rng.choice([0.0, rng.uniform(2, 25)])
    plate = rounded_box((0, top - 14, 0), (rng.uniform(190, 240), 14, 700), 5)
    return [(plate, rng.uniform(40, 120), None), (grown(plate, -3), -950.0, None)]


def _bone(start: Array, end: Array, radius: float, marrow: float = 0.55) -> list[Part]:
    """A long bone: cortex around marrow."""
    return [
        (capsule(start, end, radius), CORTEX_HU, None),
        (capsule(start, end, radius * marrow), MARROW_HU, None),
    ]


def _spine(back: float, size: float, length: float) -> list[Part]:
    body = capsule((0, back, -length), (0, back, length), 17 * size)
    canal = capsule((0, back - 24 * size, -length), (0, back - 24 * size, length), 8 * size)
    return [
        (grown(canal, 5 * size), 500.0, None),
        (body, 600.0, None),
        (grown(body, -3 * size), 250.0, None),
        (canal, 20.0, None),
    ]


def _ribs(rx: float, ry: float, length: float, size: float, drop: float) -> list[Part]:
    """Rings that fall toward the front, open at the breastbone."""
    angle = np.radians(np.linspace(-62, 242, 15))
    parts: list[Part] = []
    for z in np.arange(-length, length, 27.0 * size):
        ring = np.stack([rx * np.cos(angle), -ry * np.sin(angle), z + drop * np.sin(angle)], axis=1)
        parts.append((chain(ring, 5.5 * size), 650.0, None))
    return parts


def _trunk(rng: np.random.Generator, lungs: bool) -> _Scene:
    size = rng.uniform(0.55, 0.75) if rng.random() < 0.2 else rng.uniform(0.85, 1.15)
    rx, ry = rng.uniform(150, 190) * size, rng.uniform(95, 130) * size
    wall = rng.uniform(8, 35) * size
    half = rng.uniform(90, 190) * size
    long = half + 150
    parts: list[Part] = [
        (column((0, 0), (rx, ry), long), SKIN_HU, None),
        (column((0, 0), (rx - 3, ry - 3), long), FAT_HU, None),
        (column((0, 0), (rx - wall, ry - wall), long), MUSCLE_HU, None),
    ]
    bone_x, bone_y = rx - wall - 8, ry - wall - 8
    if lungs:
        for side in (1, -1):
            lobe = ellipsoid(
                (side * 0.47 * rx, 0, rng.uniform(-40, 60) * size),
                (0.4 * rx, 0.68 * ry, rng.uniform(110, 150) * size),
            )
            parts.append((lobe, LUNG_HU, None))
            for _ in range(6):
                foot = rng.uniform((0.25, -0.4, -60), (0.7, 0.4, 60)) * (side * rx, ry, 1)
                vessel = capsule((side * 0.15 * rx, 0, 0), foot, 6 * size, 2 * size)
                parts.append((vessel, MUSCLE_HU, None))
        heart = ellipsoid((-0.2 * rx, 0.25 * ry, -30), np.array([0.4, 0.45, 0.5]) * rx)
        parts.append((heart, MUSCLE_HU, None))
        breastbone = capsule((0, bone_y, -long), (0, bone_y, long), 9 * size)
        parts += [(breastbone, 450.0, None)]
    else:
        for _ in range(int(rng.integers(3, 12))):  # gas in the bowel
            at = rng.uniform((-0.5, -0.2, -half), (0.5, 0.6, half)) * (rx, ry, 1)
            parts.append((ellipsoid(at, rng.uniform(6, 28, 3) * size), AIR_HU, None))
        for side in (1, -1):
            wing = ellipsoid((side * 0.5 * rx, -0.2 * ry, -half), np.array([60, 50, 85]) * size)
            parts += [(wing, 700.0, None), (grown(wing, -6), SPONGY_HU, None)]
            parts.append((ellipsoid((side * 0.3 * rx, 0, -half + 15), (70, 60, 90)), 45.0, None))
    if lungs or rng.random() < 0.5:
        parts += _ribs(bone_x, bone_y, long, size, rng.uniform(10, 40) * size)
    parts += _spine(-0.55 * ry, size, long)
    wide = rx
    if lungs and rng.random() < 0.5:
        radius = rng.uniform(38, 52) * size
        wide = rx + 2 * radius + 12
        for side in (1, -1):
            x = side * (rx + radius + 5)
            parts += [
                (column((x, -10), (radius, radius), long), SKIN_HU, None),
                (column((x, -10), (radius - 3, radius - 3), long), FAT_HU, None),
                (column((x, -10), (radius - 9, radius - 9), long), MUSCLE_HU, None),
            ]
            parts += _bone(np.array([x, -10, -long]), np.array([x, -10, long]), 12 * size)
    # Some fields are smaller than the trunk.
    room = rng.choice([-30.0, 25.0, 40.0], p=[0.15, 0.45, 0.4])
    parts = _under_it(-ry, rng) + parts
    return _Scene(
        parts, (-wide - room, -ry - max(room, 0) - 20, -half), (wide + room, ry + room, half)
    )


def _chest(rng: np.random.Generator, seed: int) -> _Scene:
    return _trunk(rng, lungs=True)


def _belly(rng: np.random.Generator, seed: int) -> _Scene:
    return _trunk(rng, lungs=False)


def _limb(x: float, radius: float, half: float, rng: np.random.Generator, two: bool) -> list[Part]:
    """One limb along z; ``two``: with two bones, as below the knee or the elbow."""
    squash = rng.uniform(0.85, 1.0)
    long = half + 200
    ends = rng.random() < 0.2  # a foot or a stump: it ends within the scan
    top = 0.3 * half if ends else long
    fat = rng.uniform(0.04, 0.25) * radius

    def tissue(inward: float) -> Bounded:
        if ends:
            return capsule((x, 0, -long), (x, 0, top - radius), radius - inward)
        return column((x, 0), (radius - inward, radius * squash - inward), long)

    parts: list[Part] = [
        (tissue(0), SKIN_HU, None),
        (tissue(3), FAT_HU, None),
        (tissue(3 + fat), MUSCLE_HU, None),
    ]
    high = top - 1.4 * radius if ends else long
    places = ((0.45, 0.17), (-0.35, 0.1)) if two else ((rng.uniform(-0.2, 0.2), 0.19),)
    for away, thick in places:
        at = np.array([x + away * radius, 0.35 * radius if two else 0.0, 0.0])
        parts += _bone(at + (0, 0, -long), at + (0, 0, high), thick * radius + 4)
    if rng.random() < 0.4:  # a joint
        joint = ellipsoid((x, 0, rng.uniform(-0.5, 0.5) * half), np.array([0.6, 0.5, 0.6]) * radius)
        parts += [(joint, 900.0, None), (grown(joint, -2.5), SPONGY_HU, None)]
    return parts


def _leg(rng: np.random.Generator, seed: int) -> _Scene:
    radius = rng.uniform(45, 95)
    half = rng.uniform(100, 250)
    both = rng.random() < 0.5
    apart = radius + rng.uniform(2, 30)
    parts = _under_it(-radius, rng)
    calf = radius < 65
    for x in (apart, -apart) if both else (0.0,):
        parts += _limb(x, radius, half, rng, calf)
    wide = radius + (apart if both else 0) + 25
    return _Scene(parts, (-wide, -radius - 40, -half), (wide, radius + 25, half))


def _arm(rng: np.random.Generator, seed: int) -> _Scene:
    radius = rng.uniform(28, 52)
    half = rng.uniform(70, 160)
    parts = _under_it(-radius, rng) + _limb(0.0, radius, half, rng, bool(rng.random() < 0.5))
    return _Scene(parts, (-radius - 30, -radius - 35, -half), (radius + 30, radius + 25, half))


def _table(rng: np.random.Generator, seed: int) -> _Scene:
    """A table with holder, foam, pillow and what else lies there when the head is gone."""
    things = ["table"]
    things += [k for k in OBJECT_KINDS[1:] if rng.random() < (0.15 if k == "mask" else 0.4)]
    specs = tuple(ObjectSpec(kind, rng.uniform(0.5, 20)) for kind in things)
    placed = place_objects(build_head(sizes_for(seed)), specs)
    parts: list[Part] = [
        (layer.shape, float(layer.hu), None)
        for thing in placed
        for layer in thing.layers
        if not callable(layer.hu)
    ]
    wide = rng.uniform(120, 230)
    return _Scene(parts, (-wide, -170, -90), (wide, 110, rng.uniform(80, 150)))


def _skull(rng: np.random.Generator, seed: int) -> _Scene:
    """The bones of the made head and nothing else, with jaw, some with the neck's bones."""
    head = build_head(sizes_for(seed))
    neck = rng.random() < 0.3
    parts: list[Part] = []
    for layer in tissue_layers(head, seed):
        if layer.is_head or (not neck and layer.shape.low[2] < -180):
            continue
        bone = callable(layer.hu) or float(layer.hu) >= _BONE_FROM_HU
        value = SPONGY_HU if callable(layer.hu) else float(layer.hu)
        parts.append((layer.shape, value if bone else AIR_HU, layer.under))
    on = _under_it(-110 * head.sizes.length, rng)
    low = -120.0 if neck else -105.0
    return _Scene(on + parts, (-110, -140, low), (110, 120, 150), head.skin)


def _water(rng: np.random.Generator, seed: int) -> _Scene:
    """A quality phantom or a bottle: water in a plastic wall, some with rods of other matter."""
    radius = rng.uniform(80, 125) if rng.random() < 0.6 else rng.uniform(35, 60)
    half = rng.uniform(50, 130)
    outer = column((0, 0), (radius, radius), half * rng.choice([0.8, 2.0]))
    parts = [*_under_it(-radius, rng), (outer, 120.0, None), (grown(outer, -5), 0.0, None)]
    if rng.random() < 0.6:
        for angle, hu in zip(
            np.arange(6), (900.0, AIR_HU, 340.0, -100.0, 120.0, 600.0), strict=True
        ):
            at = 0.6 * radius * np.array([np.cos(angle), np.sin(angle)])
            rod = 0.09 * radius
            parts.append((column((at[0], at[1]), (rod, rod), half * 0.7), hu, None))
    room = radius + 30
    return _Scene(parts, (-room, -room, -half), (room, room, half))


def _wood(rng: np.random.Generator, seed: int) -> _Scene:
    half = rng.uniform(45, 130, 3)
    hu = rng.uniform(-420, -120)
    parts = [*_under_it(-half[1], rng), (rounded_box((0, 0, 0), half, 3), hu, None)]
    for shrink in np.arange(0.2, 1, 0.2):  # year rings
        ring = column((20, -30), shrink * half[:2], half[2] - 4)
        parts += [(ring, hu + 70, None), (grown(ring, -4), hu, None)]
    x, y, z = half + 30
    return _Scene(parts, (-x, -y, -z), (x, y, z))


#: The kinds, each with what draws it.
NEGATIVES: dict[str, Callable[[np.random.Generator, int], _Scene]] = {
    "chest": _chest,
    "belly": _belly,
    "leg": _leg,
    "arm": _arm,
    "empty table": _table,
    "dry skull": _skull,
    "water phantom": _water,
    "wood": _wood,
}
