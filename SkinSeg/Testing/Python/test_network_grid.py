"""The grid that the network sees: any orientation of a scan looks the same to it."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.core import CTVolume
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.level import Level
from SkinSegLib.segmentation.network_grid import NetworkGrid

LEVEL = Level(-1000.0, 40.0, -480.0, True)


def _ball(spacing=(1.0, 1.0, 2.0), shape=(30, 60, 48)):
    """A ball off centre in RAS (right, front, high) with a dense core; RAS axes, mm."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    x, y, z = i * spacing[0], j * spacing[1], k * spacing[2]
    radius = np.sqrt((x - 32) ** 2 + (y - 36) ** 2 + (z - 38) ** 2)
    voxels = np.where(radius < 12, 40, -1000).astype(np.int16)
    voxels[radius < 4] = 3000
    return CTVolume(voxels, np.diag([*spacing, 1.0]))


def _turned(volume: CTVolume, axes: tuple[int, int, int], flips: tuple[int, ...]) -> CTVolume:
    """The same scan with its array axes in another order and some of them backward."""
    voxels = volume.voxels.transpose(axes)
    matrix = np.eye(4)
    order = [2 - axes[2 - n] for n in range(3)]  # which of i, j, k the new i, j, k are
    matrix[:3, :3] = volume.ijk_to_ras[:3, :3][:, order]
    matrix[:3, 3] = volume.ijk_to_ras[:3, 3]
    for axis in flips:
        voxels = np.flip(voxels, axis)
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (voxels.shape[axis] - 1)
        matrix[:3, column] *= -1
    return CTVolume(np.ascontiguousarray(voxels), matrix)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_every_orientation_gives_the_same_picture(axes, flips):
    volume = _ball()
    expected = NetworkGrid.over(volume, 3.0).grey(volume, LEVEL)
    turned = _turned(volume, axes, flips)
    got = NetworkGrid.over(turned, 3.0).grey(turned, LEVEL)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_cells_cover_the_scan_and_average_it():
    volume = _ball()
    grid = NetworkGrid.over(volume, 3.0)
    assert grid.network_shape == (20, 20, 16)
    np.testing.assert_allclose(grid.spacing, 3.0)
    grey = grid.grey(volume, LEVEL)
    clipped = np.clip((volume.voxels + 1000) / 1040, 0, 2)
    assert grey.mean() == pytest.approx(clipped.mean(), rel=1e-4)
    assert grey.max() <= 2.0
    high = np.unravel_index(grey.argmax(), grey.shape)
    assert np.abs((np.array(high) + 0.5) * 3 - (39, 36.5, 32.5)).max() < 3


def test_slices_thicker_than_cells_are_interpolated():
    volume = _ball(spacing=(1.0, 1.0, 6.0), shape=(10, 60, 48))
    grid = NetworkGrid.over(volume, 3.0)
    grey = grid.grey(volume, LEVEL)
    assert grey.shape == (20, 20, 16)
    middle = (grey[1:-1:2] + grey[2::2])[:, :, :]
    assert np.isfinite(middle).all()
    # Cell 2 lies a quarter slice before slice 1's centre: three quarters of it, a quarter of 0.
    np.testing.assert_allclose(grey[2], 0.25 * grey[0] + 0.75 * _slice(volume, 1), atol=1e-5)


def _slice(volume: CTVolume, k: int) -> np.ndarray:
    one = CTVolume(volume.voxels[k : k + 1], volume.ijk_to_ras)
    return NetworkGrid.over(one, 3.0).grey(one, LEVEL)[0]


def test_padding_is_air():
    volume = _ball()
    voxels = volume.voxels.copy()
    voxels[:, :10] = 3071
    padded = CTVolume(voxels, volume.ijk_to_ras, padding=(3071.0,))
    grey = NetworkGrid.over(padded, 3.0).grey(padded, LEVEL)
    assert grey[:, :3].max() == 0


def test_uncalibrated_greys_look_alike():
    volume = _ball()
    shifted = CTVolume((volume.voxels // 2 + 700).astype(np.int16), volume.ijk_to_ras)
    level = Level(200.0, 720.0, 460.0, False)
    grid = NetworkGrid.over(volume, 3.0)
    np.testing.assert_allclose(grid.grey(shifted, level), grid.grey(volume, LEVEL), atol=2e-3)


def test_label_is_the_share_of_each_cell():
    volume = _ball()
    mask = (volume.voxels > -480).astype(np.uint8)
    label = NetworkGrid.over(volume, 3.0).label(mask)
    assert label.sum() * 27 == pytest.approx(mask.sum() * 2, rel=1e-5)
    assert label.min() >= 0
    assert label.max() <= 1 + 1e-6


@pytest.mark.parametrize("flips", [(), (0, 2), (1,)])
def test_what_the_network_says_lands_where_it_was_seen(flips):
    volume = _turned(_ball(), (1, 2, 0), flips)
    grid = NetworkGrid.over(volume, 3.0)
    mask = (volume.voxels > -480).astype(np.uint8)
    coarse = CoarseGrid.over(volume, 2.0)
    back = grid.on_coarse(grid.label(mask), coarse)
    assert back.shape == coarse.coarse_shape
    truth = coarse.tissue_fraction(volume, LEVEL) >= 0.5
    assert np.mean((back >= 0.5) == truth) > 0.985
    assert 2 * np.sum((back >= 0.5) & truth) / (np.sum(back >= 0.5) + truth.sum()) > 0.93
