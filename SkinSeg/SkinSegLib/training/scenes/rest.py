"""Something that the head, or an ear, is pressed flat against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SkinSegLib.segmentation.coarse import Floats

from .field import SceneField
from .things import unit

#: How deep it is pressed in, mm: an ear folds, the back of the head gives a little.
_EAR_MM, _BACK_MM = (2.0, 14.0), (0.5, 5.0)


@dataclass(frozen=True)
class Rest:
    """``beyond``: distance in mm beyond the surface that the patient is pressed against, negative
    on the patient's side. ``within``: distance to its rim along that surface, negative on it."""

    beyond: Floats
    within: Floats

    @classmethod
    def against(cls, field: SceneField, rng: np.random.Generator) -> Rest:
        """At either ear or behind the head, flat or hollow, and of any size."""
        beside = rng.random() < 0.5
        toward = [0.0, 0.0, rng.choice([-1.0, 1.0])] if beside else [0.0, -1.0, 0.0]
        direction = unit(np.array(toward) + rng.normal(0, 0.15, 3))
        along: Floats = np.tensordot(direction, field.places, axes=1)
        up = unit(np.cross(direction, rng.standard_normal(3)))
        side = unit(np.cross(direction, up))
        # Centred on what sticks out farthest: there it touches first.
        top = along[field.filled >= 0.5].max()
        tip = field.places[:, (field.filled >= 0.5) & (along > top - 6)].mean(axis=1)
        u: Floats = np.tensordot(up, field.places, axes=1) - np.float32(up @ tip)
        v: Floats = np.tensordot(side, field.places, axes=1) - np.float32(side @ tip)
        depth = rng.uniform(*(_EAR_MM if beside else _BACK_MM))
        beyond = along - np.float32(top - depth)
        if rng.random() < 0.4:
            beyond = beyond + v**2 / np.float32(2 * rng.uniform(80, 400))
        rims = [np.abs(w - rng.normal(0, 15)) - rng.uniform(20, 160) for w in (u, v)]
        return cls(beyond.astype(np.float32), np.maximum(*rims).astype(np.float32))

    def left_of(self, field: SceneField) -> Floats:
        """The share of each cell that is before the surface, and so may be patient."""
        left: Floats = 1 - field.cover(np.maximum(-self.beyond, self.within))
        return left

    def paint(self, field: SceneField, rng: np.random.Generator) -> str:
        """Put a board, a slab or a cushion there; the name of what was put."""
        slab = 0.25 * field.odd
        kinds = ["board", "slab", "pressed cushion"]
        kind = str(rng.choice(kinds, p=[0.5, slab, 0.5 - slab]))
        thick, least, most = {
            "board": (rng.uniform(1.2, 8), 0.25, 2.0),
            "slab": (rng.uniform(8, 70), 0.6, 1.3),
            "pressed cushion": (rng.uniform(15, 80), 0.02, 0.35),
        }[kind]
        inside = np.maximum(np.maximum(-self.beyond, self.beyond - np.float32(thick)), self.within)
        field.paint(field.cover(inside), rng.uniform(least, most))
        if rng.random() < 0.3:
            cover = rng.uniform(0.5, 3)
            field.paint(field.shell(inside + np.float32(cover), cover), rng.uniform(0.2, 1.3))
        return kind
