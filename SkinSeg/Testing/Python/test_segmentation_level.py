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


@pytest.mark.parametrize(("air", "tissue"), [(-1000, 40), (-985, 60), (-1010, -11), (-1000, -90)])
def test_calibrated_scans_share_one_level(air, tissue):
    """Also where fat is commonest."""
    level = find_level(scan(air, tissue, bone=900))
    assert level.calibrated
    assert not level.is_found
    assert level.skin == -480


@pytest.mark.parametrize(("air", "tissue"), [(-985, 142), (-1000, 100), (-998, -45)])
def test_tissue_a_little_off_moves_the_level(air, tissue):
    """Of no CT of a head is soft tissue there; half-way is off by up to half of that."""
    level = find_level(scan(air, tissue, bone=900))
    assert level.calibrated
    assert level.is_found
    assert level.skin == pytest.approx((air + tissue) / 2, abs=6)


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


def head_in_slice(air: float, tissue: float, corner: float | None = None) -> CTVolume:
    """A disc of tissue in air, with noise; ``corner``: the value outside a round field."""
    j, i = np.indices((60, 60)) - 29.5
    radius = np.hypot(j, i)
    values = np.where(radius < 20, tissue, air) * np.ones((30, 1, 1))
    values += np.random.default_rng(2).normal(0, 10, values.shape)
    if corner is not None:
        values[:, radius > 30] = corner
    return CTVolume(values.astype(np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))


@pytest.mark.parametrize("corner", [None, 1000.0])
def test_inverted_grey_values_are_refused(corner):
    with pytest.raises(SegmentationError, match="inverted"):
        find_level(head_in_slice(1000, -40, corner))
    with pytest.raises(SegmentationError, match="inverted"):
        find_level(head_in_slice(1000, -40, corner), 500)


def test_padding_is_no_bright_rim():
    upright = head_in_slice(100, 700, corner=3000.0)
    padded = CTVolume(upright.voxels, upright.ijk_to_ras, padding=(3000.0,))
    assert find_level(padded).skin == pytest.approx(400, abs=20)


def test_tissue_in_every_corner_is_not_inverted():
    values = head_in_slice(-1000, 40).voxels.copy()
    values[:, 2:58, 2:58] = np.where(values[:, 2:58, 2:58] < -500, 60, values[:, 2:58, 2:58])
    assert find_level(CTVolume(values, np.diag([3.0, 3.0, 3.0, 1.0]))).skin == -480


def test_bone_that_an_export_clipped_is_not_taken_for_tissue():
    """A brain window in 8 bit: air and bone at its ends, tissue in between."""
    window = scan(-1000, 40, bone=900)
    values = np.rint(np.clip((window.voxels + 160) * 255 / 400, 0, 255)).astype(np.int16)
    level = find_level(CTVolume(values, window.ijk_to_ras))
    assert not level.calibrated
    assert level.skin == pytest.approx(127.5 / 2, abs=6)


def test_tissue_that_an_export_clipped_is_still_the_tissue():
    window = scan(-1000, 40, noise=100)
    values = np.rint(np.clip((window.voxels + 1000) * 255 / 500, 0, 255)).astype(np.int16)
    assert find_level(CTVolume(values, window.ijk_to_ras)).skin == pytest.approx(127.5, abs=20)
