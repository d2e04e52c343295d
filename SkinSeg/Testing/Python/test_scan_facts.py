"""The figures of a scan, and the recognition of padding."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scan_makers import rotation
from SkinSegLib.core import LPS_RAS, CTVolume, FindingKind
from SkinSegLib.scan import ScanFacts, facts
from SkinSegLib.scan.grey import settle


def head(shape: tuple[int, int, int] = (40, 64, 64), air: float = -1000) -> np.ndarray:
    """An ellipsoid of tissue in noisy air, int16."""
    k, j, i = (np.linspace(-1, 1, n) for n in shape)
    inside = k[:, None, None] ** 2 + j[:, None] ** 2 + i**2 < 0.6
    noise = np.random.default_rng(1).normal(0, 15, shape)
    return np.rint(np.where(inside, 40, air) + noise).astype(np.int16)


def circle(shape: tuple[int, ...]) -> np.ndarray:
    """Outside the reconstruction circle, (j, i)."""
    j, i = (np.linspace(-1, 1, n) for n in shape[1:])
    return np.asarray(j[:, None] ** 2 + i**2 > 1.02)


def volume(voxels: np.ndarray, lps: np.ndarray | None = None, **more) -> CTVolume:
    lps = np.diag([0.5, 0.6, 2.0, 1.0]) if lps is None else lps
    return CTVolume(voxels, LPS_RAS @ lps, **more)


def kinds(result: ScanFacts) -> set[FindingKind]:
    return {finding.kind for finding in result.findings}


def test_plain_axial_scan() -> None:
    voxels = head()
    result = facts(volume(voxels, notes=("a note",)))
    assert result.size == (64, 64, 40)
    assert result.spacing_mm == pytest.approx((0.5, 0.6, 2.0))
    assert result.extent_mm == pytest.approx((32, 38.4, 80))
    assert result.hu_range == (voxels.min(), voxels.max())
    assert result.orientation == "LPS"
    assert result.obliquity_degrees == pytest.approx(0, abs=1e-6)
    assert result.tilt_degrees == pytest.approx(0, abs=1e-6)
    assert result.right_handed
    assert result.voxel_type == "int16"
    assert result.air_hu == pytest.approx(-1000, abs=5)
    assert result.notes == ("a note",)
    assert kinds(result) == {FindingKind.READ_NOTE}


@pytest.mark.parametrize(
    ("columns", "letters", "right"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "LPS", True),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "RAS", True),
        ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], "LAS", False),
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], "LIP", True),
        ([[0, 1, 0], [0, 0, -1], [1, 0, 0]], "PIL", False),
    ],
)
def test_orientation_letters(columns: list[list[int]], letters: str, right: bool) -> None:
    lps = np.eye(4)
    lps[:3, :3] = np.array(columns).T
    result = facts(volume(head((8, 9, 10)), lps))
    assert result.orientation == letters
    assert result.right_handed is right


def test_oblique_and_tilted() -> None:
    lps = np.eye(4)
    lps[:3, :3] = rotation(25, (0, 0, 1)) @ np.diag([0.5, 0.5, 2.0])
    assert facts(volume(head(), lps)).obliquity_degrees == pytest.approx(25)
    lps = np.diag([0.5, 0.5, 2.0, 1.0])
    lps[1, 2] = 2 * np.tan(np.radians(15))
    result = facts(volume(head(), lps))
    assert result.tilt_degrees == pytest.approx(15)
    assert result.obliquity_degrees == pytest.approx(0, abs=1e-6)
    assert result.orientation == "LPS"


def test_thick_slices() -> None:
    assert kinds(facts(volume(head(), np.diag([0.5, 0.5, 3.2, 1])))) == {FindingKind.THICK_SLICES}
    assert not kinds(facts(volume(head(), np.diag([0.5, 0.5, 3.0, 1]))))
    assert kinds(facts(volume(head(), slice_gap_mm=6.0))) == {FindingKind.THICK_SLICES}


@pytest.mark.parametrize("air", [-1000, -1024, -940])
def test_calibrated(air: int) -> None:
    assert not kinds(facts(volume(head(air=air))))


@pytest.mark.parametrize("air", [-700, -300, 0, -1400])
def test_not_calibrated(air: int) -> None:
    result = facts(volume(head(air=air)))
    assert kinds(result) == {FindingKind.NOT_CALIBRATED}
    if air < 0:
        assert result.air_hu == pytest.approx(air, abs=10)


def test_constant_scan() -> None:
    result = facts(volume(np.zeros((4, 5, 6), np.int16)))
    assert result.air_hu is None
    assert kinds(result) == {FindingKind.NOT_CALIBRATED}
    assert result.hu_range == (0, 0)


def test_padding_is_left_out_of_the_range() -> None:
    voxels = head()
    voxels[:, circle(voxels.shape)] = -2000
    result = facts(volume(voxels, padding=(-2000.0,)))
    assert result.hu_range[0] > -1100
    assert result.padding_fraction == pytest.approx(np.mean(voxels == -2000))
    assert result.air_hu == pytest.approx(-1000, abs=5)
    everything = facts(volume(np.full((3, 4, 5), -2000, np.int16), padding=(-2000.0,)))
    assert everything.padding_fraction == 1.0
    assert everything.air_hu is None


def test_fast_on_a_full_size_scan() -> None:
    voxels = np.zeros((250, 512, 512), np.int16)
    voxels[:, :256] = -1000
    voxels[:, :10] = -2000
    scan = volume(voxels, padding=(-2000.0,))
    started = time.perf_counter()
    facts(scan)
    assert time.perf_counter() - started < 3.0  # 0.2 s on a free machine; tests share theirs


# Padding that the file does not declare


@pytest.mark.parametrize("value", [-2000, -3024, -1500, -32768])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_undeclared_padding_is_found(value: int, dtype: type) -> None:
    voxels = head().astype(dtype)
    if dtype is np.float32:
        voxels += np.float32(0.25)
    voxels[:, circle(voxels.shape)] = value
    settled, padding, notes = settle(voxels)
    assert padding == (float(value),)
    assert settled.dtype == dtype
    assert "well below air" in notes[0]


def test_padding_of_an_uncalibrated_scan_is_found_by_its_place() -> None:
    voxels = head(air=-600)
    voxels[:, circle(voxels.shape)] = -2000
    assert settle(voxels)[1] == (-2000.0,)


def test_air_is_never_taken_for_padding() -> None:
    """Noisy air, air clipped at -1024, streaks far below air, and low air of a cone-beam scan."""
    noisy = head()
    clipped = np.maximum(head(), -1024).astype(np.int16)
    streaks = head()
    streaks[5:8, 20:22] = np.linspace(-1900, -1200, 64).astype(np.int16)
    low = np.maximum(head(air=-1450), -1500).astype(np.int16)
    flat = np.where(head() > -500, 40, -1400).astype(np.int16)
    flat[0, 0, 0] = -1300
    for voxels in (noisy, clipped, streaks, low):
        assert settle(voxels)[1] == ()
    # A scan whose air is one value everywhere, corners included, is more than a circle's outside.
    assert settle(flat)[1] == ()


def test_declared_padding_equal_to_clipped_air() -> None:
    voxels = np.maximum(head(), -1024).astype(np.int16)
    voxels[3:9, 4:60, 4:60][voxels[3:9, 4:60, 4:60] < -500] = -1024
    assert settle(voxels, [-1024.0])[1] == ()
    outside = head()
    outside[:, circle(outside.shape)] = -1024
    assert settle(outside, [-1024.0])[1] == (-1024.0,)


def test_whole_numbers_become_int16_and_nothing_else_does() -> None:
    whole = np.array([[[-1000.0, 40.0, 3071.0]]])
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        assert settle(whole.astype(dtype))[0].dtype == np.int16
    for other in (whole + 0.5, whole + 40000, whole * 1e6):
        assert settle(other)[0].dtype == np.float32
    assert settle(np.array([[[True, False]]]))[0].dtype == np.int16
