"""Quick painting of implicit shapes into voxels: soft edges, no fine samples, no point spread.

For scenes that only have to look like something. What measures skin is rendered by
:mod:`.sampling`.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core.geometry import Matrix

from .implicit import Array, Bounded, Solid, solid


class Canvas:
    """Voxels of ``shape`` (k, j, i) in RAS mm by ``ijk_to_ras``, all ``hu`` to begin with.

    ``values``: HU, float32. ``skin``: the head that inner parts lie under.
    """

    def __init__(
        self, shape: tuple[int, int, int], ijk_to_ras: Matrix, hu: float, skin: Bounded | None
    ) -> None:
        self.values = np.full(shape, hu, np.float32)
        self._matrix = ijk_to_ras.astype(np.float64)
        self._inverse = np.linalg.inv(self._matrix)
        self._edge = float(np.linalg.norm(self._matrix[:3, :3], axis=0).mean())
        self._depth: NDArray[np.float32] | None = None
        if skin is not None:
            box = tuple(slice(0, n) for n in shape)
            self._depth = np.asarray(skin(*self._places(box)), np.float32)

    def paint(self, shape: Bounded, hu: float, under: float | None = None) -> None:
        """Fill a shape; ``under``: only deeper than this below the skin, mm."""
        box = self._box(shape)
        if any(part.stop <= part.start for part in box):
            return
        value = np.asarray(shape(*self._places(box)))
        if under is not None and self._depth is not None:
            value = np.maximum(value, self._depth[box] + under)
        share = np.clip(0.5 - value / self._edge, 0, 1).astype(np.float32)
        view = self.values[box]
        view += share * (np.float32(hu) - view)

    def _box(self, shape: Bounded) -> tuple[slice, ...]:
        """The voxels (k, j, i) in which a shape may lie."""
        corners = np.array(list(product(*zip(shape.low, shape.high, strict=True))))
        index = corners @ self._inverse[:3, :3].T + self._inverse[:3, 3]
        low = np.floor(index.min(axis=0)).astype(int) - 1
        high = np.ceil(index.max(axis=0)).astype(int) + 2
        return tuple(
            slice(int(np.clip(a, 0, n)), int(np.clip(b, 0, n)))
            for a, b, n in zip(low[::-1], high[::-1], self.values.shape, strict=True)
        )

    def _places(self, box: tuple[slice, ...]) -> list[Array]:
        """RAS mm of the voxels of a box: x, y and z, each (k, j, i)."""
        k, j, i = (np.arange(part.start, part.stop, dtype=np.float32) for part in box)
        kk, jj, ii = np.meshgrid(k, j, i, indexing="ij")
        rows = self._matrix.astype(np.float32)
        return [row[0] * ii + row[1] * jj + row[2] * kk + row[3] for row in rows[:3]]


def column(centre: tuple[float, float], radii: tuple[float, float] | Array, half: float) -> Solid:
    """An elliptic cylinder along z, from -half to half mm, about (x, y); edges as in ellipsoid."""
    cx, cy = centre
    rx, ry = (max(float(r), 0.1) for r in radii)

    def shape(x: Array, y: Array, z: Array) -> Array:
        px, py = (x - cx) / rx, (y - cy) / ry
        k0 = np.hypot(px, py)
        k1 = np.hypot(px / rx, py / ry) + 1e-6
        # Deep inside a flat ellipse the quotient is steep; the plain form never is.
        wall = np.where(k0 < 0.7, (k0 - 1) * min(rx, ry), k0 * (k0 - 1) / k1)
        result: Array = np.maximum(wall, np.abs(z) - half)
        return result

    return solid(shape, (cx - rx, cy - ry, -half), (cx + rx, cy + ry, half))
