"""The outer surface of the head: the truth that everything is measured against.

``outer_skin`` is the solid head after the label protocol (DESIGN, section 1): nostrils, lips and
ear canals are closed by caps, which lie at most 5 mm deep. The air behind them is made in
:mod:`SkinSegLib.training.interior` and taken out only in rendering.

Left and right differ on purpose, so that a mirrored result is seen at once: a wart 5 mm high and
10 mm wide on the patient's LEFT cheek (:data:`WART`, negative x), and a left ear 8 % larger than
the right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .anatomy import HeadSizes
from .ear import EarFrame, add_ear, canal_points, ear_frame
from .implicit import (
    Array,
    Sculpture,
    Solid,
    bow,
    capsule,
    chain,
    ellipsoid,
    sphere,
)

#: Where the wart sits on the average head (patient's left cheek), RAS mm, before projection.
WART = (-47.6, 73.2, -27.0)


@dataclass(frozen=True)
class Head:
    """The outer skin and its openings.

    ``skin``: the solid head, caps closed. ``openings``: name -> the air that leads out of the
    body there; where the surface lies inside one of these it is a cap. ``ears``: right, left.
    """

    sizes: HeadSizes
    skin: Sculpture
    openings: dict[str, Solid]
    ears: tuple[EarFrame, EarFrame]

    def at(self, x: float, y: float, z: float) -> Array:
        """A place on the average head, in RAS mm of this head."""
        return _scaled(self.sizes, x, y, z)


def _scaled(sizes: HeadSizes, x: float, y: float, z: float) -> Array:
    return np.array([x * sizes.width, y * sizes.length, z * sizes.height])


def build_head(sizes: HeadSizes) -> Head:
    """Sculpt the head of the given sizes."""
    skin = Sculpture()
    _vault_and_neck(skin, sizes)
    _face(skin, sizes)
    for side in (1, -1):
        _eye(skin, sizes, side)
    _nose(skin, sizes)
    _mouth(skin, sizes)
    right = ear_frame(1, _scaled(sizes, 71, 2, 1), sizes.ear_angle_deg, 12, sizes.ear)
    left = ear_frame(
        -1, _scaled(sizes, -71, 2, 1), sizes.ear_angle_deg + 3, 10, sizes.ear * sizes.left_ear
    )
    for ear in (right, left):
        add_ear(skin, ear)
    skin.add(sphere(_scaled(sizes, *WART), 5.0), 4.0)
    openings = {
        "right nostril": _nostril(sizes, 1),
        "left nostril": _nostril(sizes, -1),
        "lips": lip_slit(sizes),
        "right ear canal": chain(canal_points(right), 3.2),
        "left ear canal": chain(canal_points(left), 3.2),
    }
    return Head(sizes, skin, openings, (right, left))


def _vault_and_neck(skin: Sculpture, sizes: HeadSizes) -> None:
    def at(x: float, y: float, z: float) -> Array:
        return _scaled(sizes, x, y, z)

    scale = _scaled(sizes, 1, 1, 1)
    n = sizes.neck
    skin.add(ellipsoid(at(0, 0, 46), np.array([71, 95, 83]) * scale))
    skin.add(ellipsoid(at(0, -24, 44), np.array([73, 75, 76]) * scale), 34, everywhere=True)
    skin.add(ellipsoid(at(0, 2, 4), np.array([65, 70, 52]) * scale), 45, everywhere=True)
    skin.add(capsule(at(0, -14, -40), at(0, -32, -175), 49 * n, 56 * n), 40, everywhere=True)
    skin.add(ellipsoid(at(0, -34, -255), np.array([190, 62, 82])), 90, everywhere=True)
    for side in (1, -1):
        # Sternocleidomastoid from the mastoid to the sternum, and trapezius to the shoulder.
        skin.add(capsule(at(side * 54, -20, -22), at(side * 16, 16, -185), 11 * n), 34)
        skin.add(capsule(at(side * 22, -48, -30), at(side * 70, -48, -190), 16 * n, 26 * n), 55)
    skin.add(ellipsoid(at(0, 29, -124), (9, 9, 14)), 24)  # larynx


def _face(skin: Sculpture, sizes: HeadSizes) -> None:
    def at(x: float, y: float, z: float) -> Array:
        return _scaled(sizes, x, y, z)

    j = sizes.jaw_width
    skin.add(ellipsoid(at(0, 40, -6), (54, 48, 60)), 30)
    skin.add(ellipsoid(at(0, 38, -50), (46 * j, 46, 36)), 34)
    for side in (1, -1):
        chin = at(side * 14, 72 + sizes.chin, -78)
        skin.add(capsule(at(side * 45 * j, 8, -50), chin, 15, 14), 30)
        skin.add(capsule(at(side * 54 * j, 6, 0), at(side * 46 * j, 8, -48), 14), 36)
        skin.add(ellipsoid(at(side * 44, 57, -3), (18, 21, 13)), 26)  # cheek bone
        skin.add(ellipsoid(at(side * 31, 60, -38), (19, 17, 24)), 30)  # cheek
    skin.add(ellipsoid(at(0, 79.5 + sizes.chin, -77), (16, 13, 13)), 20)
    skin.add(ellipsoid(at(0, 71, -40), (30, 24, 22)), 18)  # over the dental arches
    for side in (1, -1):
        skin.add(capsule(at(side * 4, 83, 36), at(side * 44, 62, 37), 10, 9), 26)  # brow


def _eye(skin: Sculpture, sizes: HeadSizes, side: int) -> None:
    def at(x: float, y: float, z: float) -> Array:
        return _scaled(sizes, side * x, y, z)

    skin.carve(ellipsoid(at(33, 98, 19), (20, 20, 12)), 18)
    skin.add(sphere(at(32, 70.5, 20), 13.5), 9)
    # Upper lid: a thicker shell over the upper part; the slit and the fold are shallow grooves.
    skin.add(ellipsoid(at(32, 71.3, 22.5), (14, 13.6, 11)), 4)
    skin.carve(bow(at(32, 84.6, 17.2), 13.5, 1.0, back=7.5, rise=1.5, taper=0.6, depth=1.7), 2.4)
    skin.carve(bow(at(34, 83.6, 28.0), 11, 1.2, back=4.0, rise=-2.5, taper=0.8), 4.0)
    skin.add(sphere(at(18.5, 77.0, 17.5), 2.4), 5)  # inner corner


def _nose(skin: Sculpture, sizes: HeadSizes) -> None:
    long, wide = sizes.nose_length, sizes.nose_width

    def at(x: float, y: float, z: float) -> Array:
        # The nose grows out of the face at y = 86.
        return _scaled(sizes, x * wide, 86 + (y - 86) * long, z)

    skin.add(capsule(at(0, 83, 34), at(0, 98, 2), 8, 9), 20)
    skin.add(capsule(at(0, 94, 10), at(0, 107, -13), 8.5, 9), 14)
    for side in (1, -1):
        skin.add(capsule(at(side * 10, 78, 12), at(side * 14, 84, -16), 9, 8), 18)
    skin.add(capsule(at(0, 84, -12), at(0, 101, -16), 11, 9), 3)  # no hollow behind the tip
    skin.add(sphere(at(0, 109, -15), 9.2), 14)
    for side in (1, -1):
        wing = capsule(at(side * 14, 92, -19), at(side * 8.0, 102, -18), 6.6 * wide, 7.2)
        skin.add(wing, 5)
    skin.add(capsule(at(0, 93, -25), at(0, 109, -20.5), 4.2, 5.0), 8)  # columella
    for side in (1, -1):
        # The open vestibule: skin goes in a little before the cap closes the nostril.
        skin.carve(ellipsoid(at(side * 7.6, 99.5, -27.3), (2.9, 5.8, 4.2)), 3.5)


def _nostril(sizes: HeadSizes, side: int) -> Solid:
    long, wide = sizes.nose_length, sizes.nose_width

    def at(x: float, y: float, z: float) -> Array:
        return _scaled(sizes, side * x * wide, 86 + (y - 86) * long, z)

    return chain([at(8, 99.5, -28), at(7.6, 98, -19), at(6.5, 90, -8), at(6, 76, -2)], 2.9)


def _mouth(skin: Sculpture, sizes: HeadSizes) -> None:
    f = sizes.lips

    def at(x: float, y: float, z: float) -> Array:
        return _scaled(sizes, x, y, z)

    upper = bow(
        at(0, 95.6, -41.0), 25, 5.6 * f, back=14.5, rise=-4.6, taper=0.62, depth=1.15, wave=0.7
    )
    lower = bow(at(0, 94.0, -51.2), 23, 6.4 * f, back=13.5, rise=4.6, taper=0.62, depth=1.1)
    skin.carve(capsule(at(0, 103.5, -27), at(0, 104.6, -35), 2.4, 3.0), 8)  # philtrum
    skin.add(upper, 5)
    skin.add(lower, 5)
    skin.carve(ellipsoid(at(0, 97.5, -61.5), (17, 7.5, 5)), 12)  # the fold above the chin
    slit = bow(at(0, 100.4, -46.0), 23.5, 0.9, back=12, rise=0.2, taper=0.9, depth=4.0, wave=-0.5)
    skin.carve(slit, 2.4)


def lip_slit(sizes: HeadSizes) -> Solid:
    """The air between the lips, from the closing line inward to the mouth."""
    return bow(
        _scaled(sizes, 0, 92.5, -45.8), 20, 0.8, back=10, rise=0.1, taper=0.4, depth=9.0, wave=-0.3
    )
