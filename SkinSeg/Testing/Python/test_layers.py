"""Loose layers on the skin: told by the densest value around each voxel, in contacts only."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from SkinSegLib.core import Progress
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.delineate import _not_zero, delineate
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
    scan = rng.integers(-480, -230, (7, 8, 9)).astype(np.int16)
    some = rng.random(scan.shape) < 0.04
    scan[some] = rng.integers(-220, -100, int(some.sum()))
    j, i = np.divmod(np.sort(rng.choice(72, 40, replace=False)), 9)
    found = looseness(scan, k, j, i, spacing, (-116.0, -220.0))
    expected = []
    for place in zip(j.tolist(), i.tolist(), strict=True):
        most = densest_around(scan, k, *place, reach)
        expected.append(min(max((-116 - most) / 104, 0.0), 1.0))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert {0.0, 1.0} < set(found.tolist())


@pytest.mark.parametrize("corner", [(0, 0, 0), (0, 4, 5), (3, 0, 5), (3, 4, 0), (3, 4, 5)])
def test_the_last_voxels_of_a_scan_are_looked_at_too(corner: tuple[int, int, int]) -> None:
    scan = np.full((4, 5, 6), -400, np.int16)
    scan[corner] = 40
    near = np.indices(scan.shape).reshape(3, -1).T - corner
    expected = np.abs(near).max(axis=1).reshape(scan.shape) > 1
    j, i = np.divmod(np.arange(30), 6)
    found = [looseness(scan, k, j, i, (1.0, 1.0, 1.0), (-116.0, -220.0)) for k in range(4)]
    np.testing.assert_array_equal(np.reshape(found, scan.shape), expected)


def test_fine_voxels_are_looked_at_in_steps() -> None:
    """At 0.1 mm five places along each axis, the farthest 1 mm away."""
    scan = np.full((1, 1, 41), -400, np.int16)
    scan[0, 0, 20] = 40
    j, i = np.zeros(41, int), np.arange(41)
    found = looseness(scan, 0, j, i, (0.1, 0.1, 0.1), (-116.0, -220.0))
    assert np.flatnonzero(found == 0).tolist() == [10, 15, 20, 25, 30]


def test_without_voxels_there_is_nothing_to_tell() -> None:
    none = np.zeros(0, int)
    found = looseness(np.zeros((2, 3, 4), np.int16), 1, none, none, (1, 1, 1), (-116, -220))
    assert found.size == 0


def end_of_mask(
    value: int,
    loose: tuple[float, float] | None,
    border: float = 4.0,
    board_at: float = 4.0,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    slope: float = 1.0,
) -> tuple[float, float]:
    """Where the mask of a cube with 12 mm of ``value`` on its left and right ends, mm beyond its
    faces. A board of that value begins ``board_at`` mm to the right; the network sets the border
    at ``border``."""
    scan = Scan(spacing)
    head = scan.fill(cube(scan))
    for side in (1, -1):
        low, high = sorted((side * CUBE, side * (CUBE + 12)))
        scan.fill(scan.box((low, high), (-CUBE, CUBE), (-CUBE, CUBE)), value)
    patient = head | scan.box((-CUBE - 12, CUBE + board_at), (-CUBE, CUBE), (-CUBE, CUBE))
    board = scan.box((CUBE + board_at, CUBE + 12), (-CUBE, CUBE), (-CUBE, CUBE))
    grid = scan.grid()
    x = scan.x[0, 0].reshape(-1, grid.factors[2]).mean(axis=1)
    says = np.clip(0.5 + slope * (CUBE + border - x) / 8, 0, 1).astype(np.float32)
    mask, _ = delineate(
        scan.volume(),
        LEVEL,
        grid,
        scan.blocks(patient),
        scan.blocks(board),
        np.zeros(grid.coarse_shape, bool),
        Progress(),
        np.broadcast_to(says, grid.coarse_shape),
        loose,
    )
    middle = (mask > 0) & scan.box((-SCAN, SCAN), (-4, 4), (-4, 4))
    half = spacing[0] / 2
    ends = scan.x[middle].min() - half, scan.x[middle].max() + half
    return float(-CUBE - ends[0]), float(ends[1] - CUBE)


@pytest.mark.parametrize(
    ("value", "end"),
    [(TISSUE, 4), (-100, 4), (-117, 4), (-142, 2), (-168, 1), (-300, 1), (-479, 1)],
)
def test_the_network_must_be_surer_of_looser_matter(value: int, end: int) -> None:
    """A quarter of the way from loose to surely loose costs 2 mm of the border's 8; the voxel
    beside the cube, which tissue may blur into, stays."""
    assert end_of_mask(value, None)[1] == 4
    assert end_of_mask(value, loose_range(CT))[1] == end


@pytest.mark.parametrize(
    ("spacing", "end"), [((0.5, 1, 1), 1.0), ((2, 0.5, 0.5), 2.0), ((1, 0.5, 2), 1.0)]
)
def test_voxels_that_are_not_cubes(spacing: tuple[float, float, float], end: float) -> None:
    assert end_of_mask(-300, loose_range(CT), spacing=spacing)[1] == end


def test_up_to_the_border_itself() -> None:
    assert end_of_mask(-300, None, border=2.0)[1] == 2
    assert end_of_mask(-300, loose_range(CT), border=2.0)[1] == 1


def test_it_fades_with_the_distance_from_the_object() -> None:
    """The network says 0.7 everywhere, which is 1.6 mm. d mm from the object, of which (8 - d) / 4
    is contact, is left d + (1.6 - d - 8) * (8 - d) / 4: nothing at 6.1 mm."""
    left = end_of_mask(-300, loose_range(CT), border=1.6e6, board_at=10.0, slope=1e-6)
    assert left[1] == pytest.approx(10 + 1 - 6.1, abs=1.0)
    assert left[1] > 3.5  # 8 mm, where contact ends


def test_far_from_objects_loose_matter_is_left_to_the_level() -> None:
    assert end_of_mask(-300, loose_range(CT))[0] == end_of_mask(-300, None)[0] > 8


def test_only_where_there_is_contact_it_is_interpolated() -> None:
    """Wherever one block of the field is, and whichever voxels are asked for."""
    grid = CoarseGrid((9, 8, 14), (2, 2, 3), (2.0, 2.0, 3.0))
    boxes = [(slice(a, b), slice(1, 7), slice(4, 11)) for a, b in ((0, 1), (2, 5), (4, 9), (8, 9))]
    nothing, less = 0, 0
    for place in np.ndindex(grid.coarse_shape):
        field = np.zeros(grid.coarse_shape, np.float32)
        field[place] = 1
        for box in boxes:
            whole = np.zeros(grid.shape)
            whole[box] = list(grid.slices(field, box))
            part = _not_zero(grid, field, box)
            if part is None:
                nothing += 1
            else:
                assert all(0 <= a.start < a.stop <= 7 for a in part)
                less += part != (slice(0, 6), slice(0, 7))
                whole[box][:, part[0], part[1]] = 0
            assert not whole.any()
    assert nothing > 100
    assert less > 50


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_on_every_side_of_a_patient(axis: int, sign: int) -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    if axis:  # so that the box that is looked at does not begin at one place along all axes
        head |= scan.fill(scan.box((-CUBE - 8, -CUBE), (-6, 6), (-6, 6)))
    across = [scan.x, scan.y, scan.z]
    along = sign * across.pop(axis)
    middle, beside = (np.all(np.abs(across) < mm, axis=0) for mm in (4, CUBE))
    # So loose that it costs 1.6 mm in full contact, which ends 4 mm from the board's first block.
    scan.fill(beside & (along > CUBE) & (along < CUBE + 12), -137)
    board = beside & (along > CUBE + 4) & (along < CUBE + 12)
    # The network sets the border 4 mm beyond the cube's face.
    centres = along.reshape(30, 2, 30, 2, 30, 2).mean(axis=(1, 3, 5))
    says = np.clip(0.5 + (CUBE + 4 - centres) / 8, 0, 1).astype(np.float32)
    mask, _ = delineate(
        scan.volume(),
        LEVEL,
        scan.grid(),
        scan.blocks(head | (beside & (along > CUBE) & (along < CUBE + 4))),
        scan.blocks(board),
        np.zeros(scan.grid().coarse_shape, bool),
        Progress(),
        says,
        loose_range(CT),
    )
    expected = (along > -CUBE) & (along < CUBE + 2)
    np.testing.assert_array_equal(mask[middle] > 0, expected[middle])
