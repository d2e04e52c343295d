"""Which air is the patient's."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.segmentation.openings import cavities_of

SPACING = (2.0, 2.0, 2.0)


def pit(width_mm: float, depth_mm: float):
    """A block with a round pit in its front: the block, and the pit."""
    axis = np.arange(-40.0, 41.0, 2.0)
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    block = (np.abs(z) <= 30) & (np.abs(y) <= 30) & (np.abs(x) <= 30)
    hole = (np.hypot(z, x) < width_mm / 2) & (y > 30 - depth_mm) & (y <= 30)
    return block & ~hole, hole


@pytest.mark.parametrize(("depth_mm", "filled"), [(6.0, False), (24.0, True)])
def test_a_deep_pit_is_the_patients_and_a_shallow_one_is_not(depth_mm, filled):
    block, hole = pit(8.0, depth_mm)
    cavities = cavities_of(block, SPACING, 6.0, 11.0)
    assert cavities[hole].mean() > 0.7 if filled else not cavities.any()


@pytest.mark.parametrize(("likely", "filled"), [(0.8, False), (0.9, True)])
def test_a_wide_pit_is_filled_if_the_network_is_sure(likely, filled):
    """An ear canal whose mouth the smaller ball enters, and too short for the larger one."""
    block, hole = pit(11.0, 14.0)
    assert not cavities_of(block, SPACING, 6.0, 11.0).any()
    word = np.where(hole, np.float32(likely), np.float32(0))
    cavities = cavities_of(block, SPACING, 6.0, 11.0, word)
    assert cavities[hole].mean() > 0.5 if filled else not cavities.any()


def test_the_network_cannot_fill_open_air():
    block, _ = pit(8.0, 6.0)
    cavities = cavities_of(block, SPACING, 6.0, 11.0, np.ones(block.shape, np.float32))
    axis = np.arange(-40.0, 41.0, 2.0)
    outside = (np.abs(axis) > 32)[None, :, None] & np.ones(block.shape, bool)
    assert not cavities[outside].any()


@pytest.mark.parametrize("gap", [1, 2, 3, 5], ids=lambda gap: f"{2 * gap} mm")
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_gap_between_the_patient_and_the_end_of_the_scan_is_no_pocket(gap, axis):
    """A cheek or the tip of a nose that just does not reach it."""
    block = np.zeros((30, 30, 30), bool)
    block[gap:, 4:-4, 4:-4] = True
    ball = np.hypot(*np.mgrid[-15:15, -15:15])
    bulge = np.moveaxis(block & (ball[None] + 1 < 15 + np.arange(30)[:, None, None]), 0, axis)
    for patient in (np.moveaxis(block, 0, axis), bulge, np.flip(bulge, axis)):
        assert not cavities_of(patient, SPACING, 6.0, 11.0).any()


@pytest.mark.parametrize("radius", [3, 8], ids=["narrow", "wide"])
def test_air_that_leaves_the_patient_through_the_end_of_the_scan_alone_is_filled(radius):
    """A windpipe that is cut, or a mouth in a small field of view."""
    patient = np.zeros((30, 40, 40), bool)
    patient[:, 5:-5, 5:-5] = True
    tube = (np.hypot(*np.mgrid[-20:20, -20:20]) <= radius)[None] & (np.arange(30) < 22)[
        :, None, None
    ]
    cavities = cavities_of(patient & ~tube, SPACING, 6.0, 11.0)
    assert (cavities == tube).all()


@pytest.mark.parametrize("lips", [1, 3], ids=lambda lips: f"{2 * lips} mm")
@pytest.mark.parametrize("depth", [5, 12], ids=lambda depth: f"{2 * depth} mm deep")
def test_a_mouth_that_the_scan_ends_in_is_filled(lips, depth):
    """With the lips parted in the last slices: beyond them the slit does not go on."""
    patient = np.zeros((40, 50, 50), bool)
    patient[:, 5:-5, 5:-5] = True
    mouth = np.zeros_like(patient)
    mouth[:depth, 12:35, 14:-14] = True
    slit = np.zeros_like(patient)
    slit[:lips, 5:12, 14:-14] = True
    cavities = cavities_of(patient & ~mouth & ~slit, SPACING, 6.0, 11.0)
    assert cavities[mouth].mean() > 0.95
