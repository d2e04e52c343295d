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
    assert result.voxel_type == "int16"
    assert result.air_hu == pytest.approx(-1000, abs=5)
    assert result.notes == ("a note",)
    assert kinds(result) == {FindingKind.READ_NOTE}


@pytest.mark.parametrize(
    ("columns", "letters"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "LPS"),
        ([[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "RAS"),
        ([[1, 0, 0], [0, -1, 0], [0, 0, 1]], "LAS"),
        ([[1, 0, 0], [0, 0, -1], [0, 1, 0]], "LIP"),
        ([[0, 1, 0], [0, 0, -1], [1, 0, 0]], "PIL"),
    ],
)
def test_orientation_letters(columns: list[list[int]], letters: str) -> None:
    lps = np.eye(4)
    lps[:3, :3] = np.array(columns).T
    result = facts(volume(head((8, 9, 10)), lps))
    assert result.orientation == letters


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


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("value", [0, 40, -500, 1000])
@pytest.mark.parametrize("where", ["circle", "small circle", "rotated", "end slices", "one side"])
def test_a_fill_value_within_the_range_of_tissue(where: str, value: int, dtype: type) -> None:
    """What resampling leaves outside the measured part is no tissue, and tissue stays tissue."""
    voxels = head((40, 80, 80))
    outside = np.zeros(voxels.shape, dtype=bool)
    j, i = np.indices(voxels.shape[1:]) - 39.5
    if where == "circle":
        outside[:] = j**2 + i**2 > 40.5**2
    elif where == "small circle":
        outside[:] = j**2 + i**2 > 25**2  # cuts the tissue
    elif where == "rotated":
        outside[:] = np.maximum(abs(0.95 * j - 0.3 * i), abs(0.95 * i + 0.3 * j)) > 39.5
    elif where == "end slices":
        outside[-6:] = True
    else:
        outside[:, :, :9] = True
    if dtype is np.float32:
        voxels = voxels + np.float32(0.25)
    voxels = voxels.astype(dtype)
    voxels[outside] = value
    voxels[20, 38:41, 38:41] = value  # apart from the fill: measured
    given = voxels.copy()
    settled, padding, notes = settle(voxels)
    np.testing.assert_array_equal(voxels, given)
    assert padding == (-3024.0,)
    assert settled.dtype == dtype
    np.testing.assert_array_equal(settled == -3024, outside | (settled == -3024) & _beside(outside))
    np.testing.assert_array_equal(settled[settled != -3024], voxels[settled != -3024])
    assert (settled[20, 38:41, 38:41] == value).all()
    assert len(notes) == 1
    assert f"all hold {value}" in notes[0]


def _beside(outside: np.ndarray) -> np.ndarray:
    """Within three voxels: there a voxel of tissue may hold the fill value by chance."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(outside, iterations=3))


def test_declared_zero_around_the_circle_leaves_tissue_of_zero() -> None:
    voxels = head()
    voxels[:, circle(voxels.shape)] = 0
    voxels[20, 30:34, 30:34] = 0
    settled, padding, notes = settle(voxels, [0.0])
    assert padding == (-3024.0,)
    assert (settled[20, 30:34, 30:34] == 0).all()
    assert (settled[:, circle(voxels.shape)] == -3024).all()
    assert len(notes) == 1


def test_several_fills_get_a_value_that_the_scan_does_not_hold() -> None:
    voxels = head()
    voxels[:, circle(voxels.shape)] = -3024
    voxels[:8] = 0
    settled, padding, _ = settle(voxels)
    assert padding == (-3025.0, -3024.0)
    assert (settled[:8] == -3025).all()


def test_background_of_one_value_that_is_air_stays_air() -> None:
    """Clipped or masked air, whatever its number, is the lowest there is or close to that."""
    noisy = head()
    corners = circle(noisy.shape)
    for value in (-1000, -1024, -999, -920):
        masked = noisy.copy()
        masked[:, corners] = value
        assert settle(masked)[1] == ()
        box = noisy.copy()
        box[:, :, :9], box[:3] = value, value
        assert settle(box)[1] == ()
    stored = np.clip(noisy.astype(int) + 1000, 0, 4095).astype(np.uint16)  # 0 is clipped air
    assert settle(stored)[1] == ()
    grey = (np.clip(noisy, -1000, 1000) // 16 * 16).astype(np.int16)  # 8 bits
    assert settle(grey)[1] == ()
    for air in (-600, -300, 0):  # not calibrated: clipped at its own air, noise a little below
        low = np.maximum(head(air=air), air).astype(np.int16)
        low[:, corners] = air
        low[5, 20:30, 20:30] = air - 50
        assert settle(low)[1] == ()


def test_noise_at_the_edge_is_no_fill() -> None:
    """Tissue in every corner, as in a scan cropped to the face, is measured."""
    voxels = np.rint(np.random.default_rng(3).normal(0, 2, (40, 64, 64))).astype(np.int16)
    voxels[10:30, 20:40, 20:40] = -1000
    assert settle(voxels)[1] == ()


def test_whole_numbers_become_int16_and_nothing_else_does() -> None:
    whole = np.array([[[-1000.0, 40.0, 3071.0]]])
    for dtype in (np.float32, np.float64, np.int32, np.int64):
        assert settle(whole.astype(dtype))[0].dtype == np.int16
    for other in (whole + 0.5, whole + 40000, whole * 1e6):
        assert settle(other)[0].dtype == np.float32
    assert settle(np.array([[[True, False]]]))[0].dtype == np.int16
