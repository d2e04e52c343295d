"""The level: half-way between air and tissue, found in the scan, refused where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.core import CTVolume, SegmentationError
from SkinSegLib.segmentation.level import find_level


def scan(air: float, tissue: float, noise: float = 12.0, bone: float | None = None) -> CTVolume:
    """Half air, half tissue, some bone, with noise."""
    rng = np.random.default_rng(1)
    values = np.where(np.arange(40)[:, None, None] < 20, air, tissue) * np.ones((40, 40, 40))
    if bone is not None:
        values[30:34] = bone
    values += rng.normal(0, noise, values.shape)
    return CTVolume(values.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize(("air", "tissue"), [(-1000, 40), (-985, 60), (-1000, -90), (-1010, 120)])
def test_calibrated_scans_share_one_level(air, tissue):
    level = find_level(scan(air, tissue, bone=900))
    assert level.calibrated
    assert level.skin == -480


@pytest.mark.parametrize(
    ("air", "tissue"), [(24, 1064), (0, 130), (-700, 300), (3000, 4200), (-480, 352)]
)
def test_uncalibrated_scans_are_cut_half_way(air, tissue):
    level = find_level(scan(air, tissue, noise=abs(tissue - air) / 50))
    assert not level.calibrated
    assert level.skin == pytest.approx((air + tissue) / 2, abs=0.03 * (tissue - air))


def test_noise_free_scan_of_two_values():
    assert find_level(scan(0, 200, noise=0)).skin == pytest.approx(100, abs=2)


def test_the_users_level_wins():
    assert find_level(scan(-1000, 40), -300).skin == -300


def test_padding_is_neither_air_nor_tissue():
    volume = scan(100, 700)
    voxels = volume.voxels.copy()
    voxels[:, :, :25] = -5000
    padded = find_level(CTVolume(voxels, volume.ijk_to_ras, padding=(-5000.0,)))
    assert padded.skin == pytest.approx(400, abs=20)
    with pytest.raises(SegmentationError, match="padding only"):
        find_level(CTVolume(np.full_like(voxels, -5000), volume.ijk_to_ras, padding=(-5000.0,)))


def test_metal_does_not_stretch_the_levels():
    volume = scan(24, 1064)
    volume.voxels[0, 0, :5] = 30000
    assert find_level(volume).skin == pytest.approx(544, abs=20)


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.full((9, 9, 9), 7), "same value"),
        (np.random.default_rng(0).normal(-1000, 10, (9, 9, 9)), "nothing but air"),
        (np.random.default_rng(0).normal(40, 12, (30, 30, 30)), "no two kinds"),
        (np.random.default_rng(0).normal(500, 90, (30, 30, 30)), "no two kinds"),
    ],
)
def test_scans_without_skin_are_refused(voxels, message):
    with pytest.raises(SegmentationError, match=message):
        find_level(CTVolume(voxels.astype(np.int16), np.eye(4)))


def test_a_level_of_ones_own_helps_where_none_is_found():
    voxels = np.random.default_rng(0).normal(500, 90, (30, 30, 30)).astype(np.int16)
    assert find_level(CTVolume(voxels, np.eye(4)), 450).skin == 450
