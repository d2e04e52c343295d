"""What scanners do to made scenes: the patient's edge is as blurred as the picture is."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("monai", reason="MONAI is not installed")

from SkinSegLib.training.evaluation.cases import _skin_of
from SkinSegLib.training.scenes import Scene
from SkinSegLib.training.scenes.effects import scanned

SEEDS = range(40)


@pytest.fixture(scope="module")
def pictures() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A slanted edge before the scanner, as seen, and the patient's own, of each seed."""
    z, y, _ = np.mgrid[-16:16, -20:20, -20:20].astype(np.float32)
    sharp = np.clip(0.5 + (8 - y - 1.5 * z), 0, 1)
    found = []
    for seed in SEEDS:
        seen, own, measured = scanned(sharp, sharp, 1.0, np.random.default_rng(seed), 0.0)
        found.append((np.where(measured, seen, sharp), np.where(measured, own, sharp), sharp))
    return found


def test_the_patients_edge_goes_through_the_same_slices_and_kernel(pictures) -> None:
    """What is seen differs from it by noise, shading and streaks, and by nothing in shape."""
    ratios = []
    for seen, own, sharp in pictures:
        blurred = np.abs(own - sharp) > 0.2
        if np.count_nonzero(blurred) >= 100:
            off, from_sharp = (np.abs(seen - part)[blurred].mean() for part in (own, sharp))
            ratios.append(off / from_sharp)
    assert max(ratios) < 1
    assert np.median(ratios) < 0.3


def test_some_scans_are_blurred_and_some_are_not(pictures) -> None:
    blurred = [np.abs(own - sharp).max() > 0.2 for _, own, sharp in pictures]
    assert 5 < sum(blurred) < 30


def test_the_patients_own_greys_have_no_noise(pictures) -> None:
    for _, own, sharp in pictures:
        inner = np.s_[3:8, 3:8, 3:-3]
        deep = own[inner]
        assert sharp[inner].min() == 1
        assert np.ptp(deep) < 1e-3


def test_a_hand_that_slices_blur_into_the_head_is_no_part_of_the_reference() -> None:
    filled = np.zeros((20, 40, 60), np.float32)
    filled[4:16, 8:32, 6:36] = 1  # the head
    filled[4:16, 8:32, 37:48] = 1  # a hand, one voxel away
    alone = filled.copy()
    alone[6:10, 12:20, 36] = 0.6  # as thick slices show it
    scene = Scene(alone, filled, alone, np.ones_like(filled), "made", ("hand",))
    found = _skin_of(scene)
    assert found[4:16, 8:32, 6:36].all()
    assert not found[:, :, 39:].any()
