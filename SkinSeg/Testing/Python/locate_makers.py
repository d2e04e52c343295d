"""Small grids for the tests of what is patient: boxes, a head, a strap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

#: Blocks of 2 mm, and cells so small that the share is the probability where all is tissue.
TWO = (2.0, 2.0, 2.0)
EXACT = 0.5
#: A head of 24 x 22 x 20 mm (k, j, i), away from every edge of the grid.
SHAPE = (18, 18, 44)
HEAD: Box = ((3, 15), (3, 14), (4, 14))
#: Two parts, the second one larger.
TWINS: tuple[Box, Box] = (((3, 15), (3, 14), (4, 14)), ((3, 15), (3, 15), (20, 30)))


def filled(shape: tuple[int, int, int], *boxes: Box) -> Bools:
    """True in the boxes, each (first, end) along k, j, i."""
    grid = np.zeros(shape, bool)
    for box in boxes:
        grid[tuple(slice(*side) for side in box)] = True
    return grid


def floats(where: Bools, value: float = 1.0) -> Floats:
    return where.astype(np.float32) * np.float32(value)


def strap(length: int) -> Bools:
    """One block thick, straight from the head's side along i, ``length`` blocks."""
    return filled(SHAPE, ((8, 9), (8, 9), (14, 14 + length)))
