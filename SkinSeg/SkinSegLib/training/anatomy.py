"""Sizes of a made head, in mm, and how a seed varies them.

Frame: RAS mm, origin midway between the two ear canals; +x is the patient's right, +y anterior
(the nose), +z superior. The patient's left ear is at negative x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class HeadSizes:
    """What differs from head to head. Factors are 1.0 for the average head; lengths in mm.

    ``width``, ``length``, ``height`` scale the whole head along x, y, z. ``nose_length`` and
    ``nose_width`` scale the nose, ``ear`` the ears; ``ear_angle_deg`` is the angle between the
    pinna and the side of the head. ``chin`` moves the chin forward, ``jaw_width`` scales the jaw.
    ``left_ear`` scales the left ear further: see :mod:`SkinSegLib.training.head`.
    """

    width: float = 1.0
    length: float = 1.0
    height: float = 1.0
    nose_length: float = 1.0
    nose_width: float = 1.0
    ear: float = 1.0
    ear_angle_deg: float = 27.0
    left_ear: float = 1.08
    chin: float = 0.0
    jaw_width: float = 1.0
    neck: float = 1.0
    lips: float = 1.0


def sizes_for(seed: int) -> HeadSizes:
    """The sizes that belong to a seed; seed 0 is the average head, others vary modestly."""
    if seed == 0:
        return HeadSizes()
    rng = np.random.default_rng([seed, 1])

    def around(middle: float, spread: float) -> float:
        return float(middle + spread * np.clip(rng.standard_normal(), -2, 2))

    return HeadSizes(
        width=around(1.0, 0.025),
        length=around(1.0, 0.025),
        height=around(1.0, 0.025),
        nose_length=around(1.0, 0.08),
        nose_width=around(1.0, 0.08),
        ear=around(1.0, 0.06),
        ear_angle_deg=around(27.0, 3.0),
        left_ear=around(1.08, 0.01),
        chin=around(0.0, 2.0),
        jaw_width=around(1.0, 0.04),
        neck=around(1.0, 0.04),
        lips=around(1.0, 0.08),
    )
