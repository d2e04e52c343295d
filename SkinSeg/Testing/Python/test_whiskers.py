"""What is too thin to be patient is taken off, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from SkinSegLib.segmentation.whiskers import _eroded, without_whiskers

FINE = (1.0, 0.5, 0.5)


def places(shape, spacing):
    axes = [(np.arange(n) - (n - 1) / 2) * size for n, size in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


@pytest.fixture(scope="module")
def head():
    """A ball of 60 mm."""
    z, y, x = places((80, 160, 160), FINE)
    return (np.sqrt(z**2 + y**2 + x**2) <= 30).astype(np.uint8)


def test_a_smooth_head_stays_as_it_is(head):
    np.testing.assert_array_equal(without_whiskers(head, FINE), head)


def test_a_strap_that_stands_off_goes(head):
    z, y, x = places(head.shape, FINE)
    radius = np.sqrt(z**2 + y**2 + x**2)
    strap = (radius > 32) & (radius < 34) & (np.abs(z) < 8) & (y < 0)
    stitch = (radius < 33) & (np.abs(z) < 1) & (np.abs(x) < 1) & (y < 0)
    found = without_whiskers((head | strap | stitch).astype(np.uint8), FINE)
    # Where it is sewn to the skin, a little of the stitch may stay.
    assert (found & ~head.astype(bool)).sum() * 0.25e-3 < 0.05
    assert found[head > 0].all()


def test_an_ear_of_3_mm_stays(head):
    z, y, x = places(head.shape, FINE)
    ear = (np.abs(z) < 12) & (np.abs(y) < 1.6) & (x > 25) & (x < 38)
    with_ear = (head | ear).astype(np.uint8)
    lost = int((with_ear & ~without_whiskers(with_ear, FINE)).sum())
    assert lost * 0.25e-3 < 0.02


def test_what_only_a_whisker_holds_goes_with_it(head):
    z, y, x = places(head.shape, FINE)
    flap = (np.abs(z) < 0.6) & (np.abs(y) < 12) & (x > 25) & (x < 38)
    bead = np.sqrt(z**2 + y**2 + (x - 36) ** 2) < 3
    found = without_whiskers((head | flap | bead).astype(np.uint8), FINE)
    assert not found[bead & (x > 33)].any()


def test_crumbs_stay(head):
    rough = head.copy()
    edge = ndimage.binary_dilation(head) & (head == 0)
    k, j, i = np.nonzero(edge)
    chosen = np.random.default_rng(0).random(len(k)) < 0.2
    rough[k[chosen], j[chosen], i[chosen]] = 1
    np.testing.assert_array_equal(without_whiskers(rough, FINE), rough)


def test_edges_are_not_chipped():
    block = np.zeros((60, 100, 100), np.uint8)
    block[5:55, 10:90, 10:90] = 1
    np.testing.assert_array_equal(without_whiskers(block, FINE), block)


def test_where_the_scan_ends_the_patient_goes_on(head):
    cut = head[:, :, 79:]
    np.testing.assert_array_equal(without_whiskers(cut, FINE), cut)


def test_voxels_larger_than_the_ball_are_never_thin():
    sheet = np.zeros((9, 20, 20), np.uint8)
    sheet[4] = 1
    np.testing.assert_array_equal(without_whiskers(sheet, (3.0, 2.0, 2.0)), sheet)


@pytest.mark.parametrize(
    "spacing", [(1.0, 0.5, 0.5), (2.0, 0.43, 0.43), (1.0, 1.0, 1.0), (3.0, 0.9, 0.4)]
)
def test_the_erosion_is_that_by_a_ball(spacing):
    noise = np.random.default_rng(0).standard_normal((20, 37, 45))
    solid = ndimage.gaussian_filter(noise, 1.2) > 0
    reach = [int(1.25 / size) for size in spacing]
    z, y, x = places([2 * n + 1 for n in reach], spacing)
    ball = z**2 + y**2 + x**2 <= 1.25**2 + 1e-9
    expected = ndimage.binary_erosion(solid, ball, border_value=1)
    np.testing.assert_array_equal(_eroded(solid, spacing), expected)
