"""Loose layers on the skin: told by the densest value around each voxel, in contacts only."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from SkinSegLib.core import Progress
from SkinSegLib.segmentation.delineate import delineate
from SkinSegLib.segmentation.layers import loose_range, looseness
from SkinSegLib.segmentation.level import Level
from test_delineate import CUBE, LEVEL, SCAN, TISSUE, Scan, cube

CT = Level(-1000.0, 40.0, -480.0, True)


def test_fat_is_not_loose_and_cloth_is() -> None:
    assert loose_range(CT) == pytest.approx((-116.0, -220.0))
    assert loose_range(Level(0.0, 200.0, 100.0, False)) == pytest.approx((170.0, 150.0))


def densest_around(scan: NDArray[np.int16], k: int, j: int, i: int, reach: list[int]) -> int:
    box = tuple(slice(max(0, n - r), n + r + 1) for n, r in zip((k, j, i), reach, strict=True))
    return int(scan[box].max())


@pytest.mark.parametrize(
    ("spacing", "reach"),
    [((1.0, 1.0, 1.0), [1, 1, 1]), ((5.0, 0.5, 0.5), [1, 2, 2]), ((0.6, 2.0, 0.7), [2, 1, 1])],
)
@pytest.mark.parametrize("k", [0, 3, 6])
def test_by_the_densest_voxel_within_a_millimetre_and_the_next_one(spacing, reach, k: int) -> None:
    rng = np.random.default_rng(5)
    scan = rng.integers(-480, -100, (7, 8, 9)).astype(np.int16)
    places = np.sort(rng.choice(72, 40, replace=False))
    found = looseness(scan, k, places, spacing, (-116.0, -220.0))
    expected = []
    for place in places.tolist():
        most = densest_around(scan, k, place // 9, place % 9, reach)
        expected.append(min(max((-116 - most) / 104, 0.0), 1.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0 < np.count_nonzero(found) < 40


def test_fine_voxels_are_looked_at_in_steps() -> None:
    """At 0.1 mm five places along each axis, the farthest 1 mm away."""
    scan = np.full((1, 1, 41), -400, np.int16)
    scan[0, 0, 20] = 40
    found = looseness(scan, 0, np.arange(41), (0.1, 0.1, 0.1), (-116.0, -220.0))
    assert np.flatnonzero(found == 0).tolist() == [10, 15, 20, 25, 30]


def test_without_voxels_there_is_nothing_to_tell() -> None:
    found = looseness(np.zeros((2, 3, 4), np.int16), 1, np.zeros(0, int), (1, 1, 1), (-116, -220))
    assert found.size == 0


def end_of_mask(value: int, loose: tuple[float, float] | None, right: bool = True) -> float:
    """Where the mask of a cube with 12 mm of ``value`` on its right ends (or on its left side),
    in mm; the network sets the border 4 mm to the right of the cube's face."""
    scan = Scan()
    head = scan.fill(cube(scan))
    for side in (1, -1):
        low, high = sorted((side * CUBE, side * (CUBE + 12)))
        scan.fill(scan.box((low, high), (-CUBE, CUBE), (-CUBE, CUBE)), value)
    patient = head | scan.box((-CUBE - 12, CUBE + 4), (-CUBE, CUBE), (-CUBE, CUBE))
    board = scan.box((CUBE + 4, CUBE + 12), (-CUBE, CUBE), (-CUBE, CUBE))
    x = scan.x[0, 0].reshape(-1, 2).mean(axis=1)
    says = np.clip(0.5 + (CUBE + 4 - x) / 8, 0, 1).astype(np.float32)
    mask, _ = delineate(
        scan.volume(),
        LEVEL,
        scan.grid(),
        scan.blocks(patient),
        scan.blocks(board),
        np.zeros(scan.grid().coarse_shape, bool),
        Progress(),
        np.broadcast_to(says, scan.grid().coarse_shape),
        loose,
    )
    middle = (mask > 0) & scan.box((-SCAN, SCAN), (-4, 4), (-4, 4))
    ends = scan.x[middle].max() if right else scan.x[middle].min()
    return float(ends) + (0.5 if right else -0.5)


@pytest.mark.parametrize(
    ("value", "end"),
    [(TISSUE, 4), (-100, 4), (-117, 4), (-142, 2), (-168, 1), (-300, 1), (-479, 1)],
)
def test_the_network_must_be_surer_of_looser_matter(value: int, end: int) -> None:
    """A quarter of the way from loose to surely loose costs 2 mm of the border's 8; the voxel
    beside the cube, which tissue may blur into, stays."""
    assert end_of_mask(value, None) == CUBE + 4
    assert end_of_mask(value, loose_range(CT)) == CUBE + end


def test_far_from_objects_loose_matter_is_left_to_the_level() -> None:
    assert end_of_mask(-300, loose_range(CT), right=False) == end_of_mask(-300, None, right=False)
    assert end_of_mask(-300, None, right=False) < -CUBE - 8
