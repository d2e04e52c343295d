"""Dense matter that lies bare is no patient; bone under skin is."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.segmentation.bare import bare_parts
from SkinSegLib.segmentation.level import Level

SPACING = (2.0, 2.0, 2.0)
LEVEL = Level(-1000.0, 40.0, -480.0, True)


def scene(noise_hu: float = 0.0, skin_mm: float = 4.0):
    """Grey values and tissue of a head of 140 mm with a skull, and where a board of 4 mm lies."""
    axis = (np.arange(100) - 49.5) * 2
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    hu = np.full(radius.shape, -1000.0)
    hu[radius <= 70] = 40
    hu[(radius <= 70 - skin_mm) & (radius > 58 - skin_mm)] = 900
    board = (y > 70) & (y <= 74) & (np.abs(x) < 60) & (np.abs(z) < 60)
    hu[board] = 500
    hu += np.random.default_rng(0).normal(0, noise_hu, hu.shape)
    fraction = np.clip((hu + 1000) / 1040, 0, 1).astype(np.float32)
    return hu.astype(np.float32), fraction, board, radius <= 70


@pytest.mark.parametrize("noise_hu", [0.0, 20.0])
def test_a_board_is_bare_and_a_skull_is_not(noise_hu):
    hu, fraction, board, head = scene(noise_hu)
    bare = bare_parts(hu, fraction, LEVEL, SPACING)
    assert bare[board].mean() > 0.99
    # Beside the board, what may be its own blurred edge.
    assert (bare & head).sum() * 0.008 < 1.0


def test_thin_skin_is_enough():
    hu, fraction, board, head = scene(skin_mm=2.0)
    bare = bare_parts(hu, fraction, LEVEL, SPACING)
    assert bare[board].all()
    assert (bare & head).sum() * 0.008 < 1.0


def test_noise_is_no_board():
    hu, fraction, _, head = scene(150.0)
    bare = bare_parts(hu, fraction, LEVEL, SPACING)
    assert (bare & head).sum() * 0.008 < 2.0


def test_other_grey_values_make_no_difference():
    hu, fraction, _, _ = scene()
    level = Level(0.0, 520.0, 260.0, False)
    bare = bare_parts((hu + 1000) / 2, fraction, level, SPACING)
    np.testing.assert_array_equal(bare, bare_parts(hu, fraction, LEVEL, SPACING))


def test_without_dense_matter_nothing_is_bare():
    hu, fraction, _, _ = scene()
    assert not bare_parts(np.minimum(hu, 60), fraction, LEVEL, SPACING).any()
