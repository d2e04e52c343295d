"""Things in the scan that are not the patient, each at a clearance asked for, or touching.

Every thing is built from shapes with exact distances and then moved until its least distance to
the skin is the one asked for, measured on a dense set of exact surface points. Things that touch
are pressed in a little and the head painted over them, which makes a real patch of contact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SkinSegLib.core import SkinSegError

from .head import Head
from .implicit import Array, Bounded, Sculpture, Solid, chain, ellipsoid, rounded_box, solid, sphere
from .interior import grown
from .projection import Field, Points, as_field, normals, project, surface_samples
from .sampling import Layer

#: Things that can be put into the scene.
KINDS = (
    "table",
    "holder",
    "foam",
    "pillow",
    "strap",
    "mask",
    "tube",
    "electrodes",
)
#: How far things that touch are pressed into the skin's place, mm; soft things give way more.
PRESS_MM = {"foam": 5.0, "pillow": 6.0}
_PRESS_MM = 1.0


@dataclass(frozen=True)
class ObjectSpec:
    """One thing: its ``kind`` (one of KINDS) and its least distance to the skin in mm.

    ``gap_mm`` 0 means that it touches. Raises SkinSegError for an unknown kind or a gap below 0.
    """

    kind: str
    gap_mm: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise SkinSegError(
                f"There is no object {self.kind!r}. Choose one of {', '.join(KINDS)}."
            )
        if self.gap_mm < 0:
            raise SkinSegError("The gap of an object cannot be below 0 mm. Use 0 to let it touch.")


@dataclass(frozen=True)
class SceneObject:
    """A thing in its place: ``outline``: its outer shape; ``layers``: what is painted."""

    spec: ObjectSpec
    outline: Bounded
    layers: tuple[Layer, ...]


Parts = list[tuple[Bounded, float]]
Builder = Callable[[Head, Field, float], Parts]


def place_objects(head: Head, specs: tuple[ObjectSpec, ...]) -> tuple[SceneObject, ...]:
    """Build every thing and move it to the clearance asked for (within 0.05 mm)."""
    if not specs:
        return ()
    field = as_field(head.skin)
    samples = surface_samples(field, head.at(-100, -115, -110), head.at(100, 130, 140), 6.0)
    return tuple(_place(head, field, spec, samples) for spec in specs)


def _refined(outline: Bounded, field: Field, samples: Points) -> Points:
    """The skin's points nearest to a shape, found among samples and then closer in."""
    distance = as_field(outline)
    best = samples[np.argsort(distance(samples))[:6]]
    spread = np.random.default_rng(0).uniform(-1, 1, (16, 3))
    for reach in (3.0, 0.8):
        tried = (best[:, None, :] + reach * spread).reshape(-1, 3)
        tried = np.concatenate([best, project(field, tried)])
        best = tried[np.argsort(distance(tried))[:6]]
    return best


def _place(head: Head, field: Field, spec: ObjectSpec, samples: Points) -> SceneObject:
    wanted = spec.gap_mm if spec.gap_mm > 0 else -PRESS_MM.get(spec.kind, _PRESS_MM)
    builder = _BUILDERS[spec.kind]
    shift, near = wanted, np.empty((0, 3))
    for _ in range(6):
        parts = builder(head, field, shift)
        outline = parts[0][0]
        near = np.concatenate([_refined(outline, field, samples), near])
        off = wanted - float(as_field(outline)(near).min())
        if abs(off) < 0.02:
            break
        shift += off
    layers = tuple(
        Layer(shape, hu, exact=number == 0 or spec.kind in ("tube", "mask"))
        for number, (shape, hu) in enumerate(parts)
    )
    return SceneObject(spec, outline, layers)


def _both(a: Array, b: Array) -> Array:
    """Where both shapes are; outside, the exact distance to a right-angled edge of the two."""
    outside = np.hypot(np.maximum(a, 0), np.maximum(b, 0))
    result: Array = outside + np.minimum(np.maximum(a, b), 0)
    return result


def _table(head: Head, field: Field, shift: float) -> Parts:
    top = -104.0 * head.sizes.length - shift
    body = rounded_box((0, top - 11, -20), (215, 11, 450), 4)
    return [(body, 60.0), (grown(body, -2), -950.0)]


def _trough(head: Head, radius: float, shift: float) -> Solid:
    """The round hollow in which a head rests: a cylinder along z, negative inside."""
    center = -104.0 * head.sizes.length - shift + radius

    def shape(x: Array, y: Array, z: Array) -> Array:
        result: Array = np.sqrt(x * x + (y - center) ** 2) - radius
        return result

    big = np.array([radius, radius, 1e3])
    return solid(shape, np.array([0, center, 0]) - big, np.array([0, center, 0]) + big)


def _holder(head: Head, field: Field, shift: float) -> Parts:
    radius, half = 110.0 * head.sizes.width, 4.5
    trough = _trough(head, radius, shift)
    rim = float(trough.low[1]) + 0.7 * radius

    def shell(x: Array, y: Array, z: Array) -> Array:
        wall = np.abs(trough(x, y, z) - half) - half
        flat = np.maximum(y - rim, np.abs(z - 50) - 62)
        return _both(wall, flat)

    reach = radius + 2 * half
    body = solid(shell, (-reach, float(trough.low[1]) - 2 * half, -12), (reach, rim, 112))
    return [(body, 80.0), (grown(body, -1.6), -950.0)]


def _foam(head: Head, field: Field, shift: float) -> Parts:
    trough = _trough(head, 97.0 * head.sizes.width, shift)
    low = float(trough.low[1])
    block = rounded_box((0, low + 12, 40), (88, 36, 62), 3)

    def carved(x: Array, y: Array, z: Array) -> Array:
        return _both(block(x, y, z), -trough(x, y, z))

    return [(solid(carved, block.low, block.high), -925.0)]


def _pillow(head: Head, field: Field, shift: float) -> Parts:
    top = -104.0 * head.sizes.length - shift
    body = rounded_box((0, top - 24, 20), (150, 24, 110), 22)
    return [(body, -800.0), (grown(body, -1.5), -945.0)]


def _strap(head: Head, field: Field, shift: float) -> Parts:
    height = 72.0 * head.sizes.height

    def band(x: Array, y: Array, z: Array) -> Array:
        slab = np.abs(z - height + 0.12 * y) * 0.99 - 11
        # The vault's own value is its distance to first order; looked at only near the band.
        result: Array = np.array(np.maximum(slab, 0), dtype=np.float64)
        near = slab < 12
        wall = np.abs(head.skin(x[near], y[near], z[near]) - shift - 1.0) - 1.0
        result[near] = _both(wall, slab[near])
        return result.astype(np.asarray(x).dtype)

    reach = head.at(84, 106, 0) + shift + 4
    low = (-float(reach[0]), -float(reach[1]), height - 28)
    return [(solid(band, low, (float(reach[0]), float(reach[1]), height + 28)), 20.0)]


def _mask(head: Head, field: Field, shift: float) -> Parts:
    at = head.at
    hull = Sculpture()
    hull.add(ellipsoid(at(0, 4, 44), (75, 94, 86)))
    hull.add(ellipsoid(at(0, 42, -20), (62, 62, 74)), 40, everywhere=True)
    hull.add(sphere(at(0, 100, -16), 20), 30, everywhere=True)
    edge = 18.0

    def wall(x: Array, y: Array, z: Array) -> Array:
        result: Array = np.abs(hull(x, y, z) - shift - 1.0) - 1.0
        return _both(result, np.maximum(edge - y, np.abs(z - 15) - 92))

    def punched(x: Array, y: Array, z: Array) -> Array:
        row = np.round(z / 6.0)
        u = x - 3.0 * (row % 2)
        hole = 1.6 - np.hypot(u - 6.0 * np.round(u / 6.0), z - 6.0 * row)
        result: Array = np.maximum(wall(x, y, z), hole)
        return result

    room = shift + 3
    low = np.array([hull.low[0] - room, edge, -78.0])
    high = np.array([hull.high[0] + room, hull.high[1] + room, 108.0])
    return [(solid(punched, low, high), 75.0)]


def _tube(head: Head, field: Field, shift: float) -> Parts:
    stations = np.stack(
        [head.at(*p) for p in ((14, 104, -32), (40, 84, -30), (58, 58, -30), (64, 30, -48))]
        + [head.at(*p) for p in ((56, 26, -85), (52, 14, -125), (62, 0, -165))]
    )
    along = np.linspace(0, len(stations) - 1, 31)
    line = np.stack(
        [np.interp(along, np.arange(len(stations)), stations[:, axis]) for axis in range(3)],
        axis=1,
    )
    radius = 3.6
    line = project(field, line)
    line = line + normals(field, line) * (radius + shift)
    for _ in range(6):  # ironed, so that no sharp bend is left over a hollow
        line[1:-1] = 0.5 * line[1:-1] + 0.25 * (line[:-2] + line[2:])
    return [(chain(line, radius), 110.0), (chain(line, radius - 1.1), -1000.0)]


def _electrodes(head: Head, field: Field, shift: float) -> Parts:
    places = project(
        field,
        np.stack(
            [head.at(*p) for p in ((38, 84, 60), (-30, 60, 112), (70, -20, 95), (-72, 10, 80))]
        ),
    )
    out = normals(field, places)
    pads, snaps = Sculpture(), Sculpture()
    for place, normal in zip(places, out, strict=True):
        side = np.cross(normal, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(normal, side), normal])
        middle = place + normal * (shift + 2.0)
        pads.add(ellipsoid(middle, (6.5, 6.5, 2.0), axes))
        snaps.add(sphere(middle + normal * 2.4, 2.0))
        lead = middle + normal * 2.4
        bend = lead + normal * 14
        wire = chain([lead, bend, bend + normal * 30 + [0, -20.0, 40.0]], 0.9)
        pads.add(wire)
        snaps.add(grown(wire, 0.0))
    return [(pads, 350.0), (snaps, 2800.0)]


_BUILDERS: dict[str, Builder] = {
    "table": _table,
    "holder": _holder,
    "foam": _foam,
    "pillow": _pillow,
    "strap": _strap,
    "mask": _mask,
    "tube": _tube,
    "electrodes": _electrodes,
}
