"""The coarse grid: block means down, linear interpolation back up, also in blocks that are cut."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.core import CTVolume
from SkinSegLib.segmentation import coarse
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.level import Level

LEVEL = Level(-1000.0, 40.0, -480.0, True)
#: (k, j, i) that the blocks of 2 mm do not divide.
SHAPE, SPACING = (7, 11, 14), (0.5, 1.0, 1.0)


def scan(shape: tuple[int, int, int] = SHAPE, padding: tuple[float, ...] = ()) -> CTVolume:
    voxels = np.random.default_rng(3).integers(-1200, 300, shape).astype(np.int16)
    return CTVolume(voxels, np.diag([*SPACING, 1.0]), padding)


def test_blocks_are_near_the_size_and_whole_voxels() -> None:
    grid = CoarseGrid.over(scan(), 2.0)
    assert grid.factors == (2, 2, 4)
    assert grid.spacing == (2.0, 2.0, 2.0)
    assert grid.coarse_shape == (4, 6, 4)


def test_voxels_larger_than_a_block_are_blocks() -> None:
    volume = CTVolume(np.zeros((3, 4, 5), np.int16), np.diag([0.8, 3.0, 2.9, 1.0]))
    grid = CoarseGrid.over(volume, 2.0)
    assert grid.factors == (1, 1, 2)
    assert grid.coarse_shape == (3, 4, 3)


def test_no_more_blocks_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = CTVolume(np.zeros((40, 40, 40), np.int16), np.diag([0.5, 0.5, 0.5, 1.0]))
    monkeypatch.setattr(coarse, "MAX_BLOCKS", 1000)
    assert CoarseGrid.over(volume, 2.0).coarse_shape == (10, 10, 10)
    monkeypatch.setattr(coarse, "MAX_BLOCKS", 999)
    assert CoarseGrid.over(volume, 2.0).factors == (5, 5, 5)


def test_the_share_of_tissue_in_every_block() -> None:
    volume = scan(padding=(100.0,))
    volume.voxels[1:3, 4:7, 2:9] = 100
    grid = CoarseGrid.over(volume, 2.0)
    share = np.clip((volume.voxels.astype(float) + 1000) / 1040, 0, 1)
    share[volume.voxels == 100] = 0
    found = grid.tissue_fraction(volume, LEVEL)
    assert found.shape == grid.coarse_shape
    for place in np.ndindex(grid.coarse_shape):
        part = tuple(slice(p * f, (p + 1) * f) for p, f in zip(place, grid.factors, strict=True))
        assert found[place] == pytest.approx(share[part].mean(), abs=1e-5)


def test_blocks_across_several_pieces() -> None:
    volume = CTVolume(
        np.random.default_rng(3).integers(-1200, 300, (75, 6, 5)).astype(np.int16),
        np.diag([1.0, 1.0, 0.5, 1.0]),
    )
    grid = CoarseGrid.over(volume, 2.0)
    assert grid.factors == (4, 2, 2)
    found = grid.tissue_fraction(volume, LEVEL)
    assert found.dtype == np.float32
    share = np.clip((volume.voxels.astype(float) + 1000) / 1040, 0, 1)
    for k in range(19):
        part = share[4 * k : 4 * k + 4, :2, :2]
        assert found[k, 0, 0] == pytest.approx(part.mean(), abs=1e-5)


def test_the_middle_of_every_block() -> None:
    volume = scan()
    found = CoarseGrid.over(volume, 2.0).at_centres(volume)
    assert (found == volume.voxels[np.ix_([1, 3, 5, 6], [1, 3, 5, 7, 9, 10], [2, 6, 10, 13])]).all()


@pytest.mark.parametrize("shape", [SHAPE, (2, 11, 14), (1, 3, 4), (7, 2, 3)])
@pytest.mark.parametrize("whole", [True, False])
def test_interpolation_is_linear_between_the_blocks(shape, whole: bool) -> None:
    grid = CoarseGrid.over(scan(shape), 2.0)
    field = np.random.default_rng(5).random(grid.coarse_shape).astype(np.float32)
    expected = field.astype(float)
    for axis, (n, factor) in enumerate(zip(shape, grid.factors, strict=True)):
        # Beyond the first and the last centre it goes on as it is.
        at = (np.arange(n) + 0.5) / factor - 0.5
        centres = np.arange(grid.coarse_shape[axis])
        line = lambda values, at=at, centres=centres: np.interp(at, centres, values)  # noqa: E731
        expected = np.apply_along_axis(line, axis, expected)
    box = tuple(slice(0, n) if whole or n < 3 else slice(1, n - 1) for n in shape)
    found = np.stack(list(grid.slices(field, box)))
    assert found.dtype == np.float32
    assert np.abs(found - expected[box]).max() < 1e-6


@pytest.mark.parametrize("shape", [(5, 9, 8), (4, 4, 4), (1, 2, 7)])
def test_at_single_voxels_it_is_what_slices_have(shape: tuple[int, int, int]) -> None:
    grid = CoarseGrid(shape, (2, 3, 1), (2.0, 3.0, 1.0))
    field = np.random.default_rng(3).random(grid.coarse_shape).astype(np.float32)
    whole = tuple(slice(0, n) for n in shape)
    j, i = (n.ravel() for n in np.indices(shape[1:]))
    for k, expected in enumerate(grid.slices(field, (whole[0], whole[1], whole[2]))):
        found = grid.at(field, k, j[::-1], i[::-1])
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found[::-1].reshape(shape[1:]), expected)


def test_the_voxels_of_some_blocks() -> None:
    grid = CoarseGrid.over(scan(), 2.0)
    box = grid.voxels_of((slice(1, 3), slice(0, 6), slice(2, 4)))
    assert box == (slice(2, 6), slice(0, 11), slice(8, 14))
