"""Working on the part of a grid that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def bounding_box(mask: NDArray[Any], margin: int) -> Box | None:
    """The smallest box (k, j, i) around the non-zero voxels of a 3D array, None if there are none.

    ``margin``: voxels added on every side, as far as the array goes.
    """
    any_k = np.any(mask, axis=(1, 2))
    if not any_k.any():
        return None
    flat = np.any(mask[any_k], axis=0)
    box = []
    for hit, n in zip((any_k, flat.any(axis=1), flat.any(axis=0)), mask.shape, strict=True):
        where = np.flatnonzero(hit)
        box.append(slice(max(0, int(where[0]) - margin), min(n, int(where[-1]) + 1 + margin)))
    return box[0], box[1], box[2]
