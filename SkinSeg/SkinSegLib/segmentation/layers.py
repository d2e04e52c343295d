"""What lies on the skin without a gap and is looser than any tissue: cloth, foam, padding.

It is above the level of the skin, which is half-way to air, and no wider than the network's cells,
so that the network is not sure of it. But it is less dense than fat, and so is all around it, which
tells it from skin that only shares its voxel with air.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .coarse import Floats
from .level import Level

#: Below soft tissue by these shares of the contrast, -116 and -220 HU on a calibrated scan, matter
#: begins to be, and surely is, too loose for a patient. Fat is at -100.
_LOOSE = (0.15, 0.25)
#: What is denser within this distance of a voxel, along each axis, may blur into it, and the next
#: voxel in any case; how finely that is looked at.
_BLUR_MM, _STEPS = 1.0, 5


def loose_range(level: Level) -> tuple[float, float]:
    """Grey values below which matter begins to be too loose for a patient, and surely is."""
    begins, ends = (level.tissue - share * (level.tissue - level.air) for share in _LOOSE)
    return begins, ends


def looseness(
    scan: NDArray[Any],
    k: int,
    j: NDArray[np.intp],
    i: NDArray[np.intp],
    spacing: tuple[float, float, float],
    loose: tuple[float, float],
) -> Floats:
    """How surely voxels of a slice are too loose for a patient, 0..1.

    ``scan``: (k, j, i); ``j``, ``i``: the voxels in slice ``k``; ``spacing``: mm along k, j, i;
    ``loose``: see loose_range. By the densest value around each.
    """
    begins, ends = loose
    slices, rows, columns = scan.shape
    densest = scan[k, j, i].astype(np.float32)
    left = np.flatnonzero(densest < begins)
    steps = np.linspace(-1, 1, _STEPS)
    reach = (max(1.0, _BLUR_MM / size) for size in spacing)
    offsets = product(*(np.unique(np.rint(steps * voxels).astype(int)) for voxels in reach))
    # The nearest first: most voxels have tissue beside them, and are done with.
    for dk, dj, di in sorted(offsets, key=lambda o: float(np.linalg.norm(np.multiply(o, spacing)))):
        if not left.size:
            break
        if not 0 <= k + dk < slices:
            continue
        row = np.clip(j[left] + dj, 0, rows - 1)
        column = np.clip(i[left] + di, 0, columns - 1)
        densest[left] = np.maximum(densest[left], scan[k + dk, row, column])
        left = left[densest[left] < begins]
    share: Floats = np.clip((begins - densest) / (begins - ends), 0, 1).astype(np.float32)
    return share
