"""Scan and mask on the patient's axes, and what a ball in the head reaches, voxel by voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from deface_makers import HALF, LEVEL, grid_of, mask_of
from scan_makers import rotation
from scipy import ndimage
from SkinSegLib.core import CTVolume, PrivacyError
from SkinSegLib.privacy.face import _beyond_ball, front_of, on_axes

# The grid.


def test_places_along_the_axes_of_the_arrays() -> None:
    grid = grid_of(np.zeros((2, 3, 4)))
    assert grid.along(0).tolist() == [6.0, 7.5]
    assert grid.along(1).tolist() == [-12.0, -10.5, -9.0]
    assert grid.along(2).tolist() == [-30.0, -28.5, -27.0, -25.5]
    assert grid.along(0).dtype == np.float64


OBLIQUE = rotation(23, (1, 2, -1)) @ np.diag([2.0, 2.5, -3.0])
FLIPPED = np.array([[0, 0, -2.2], [0, 1.9, 0], [2.6, 0, 0]])


def at(array: np.ndarray, place: np.ndarray) -> float:
    """Between the eight voxels around a place (k, j, i), by how near they are."""
    value = 0.0
    for corner in np.ndindex(2, 2, 2):
        index = np.floor(place).astype(int) + corner
        weight = float(np.prod(1 - np.abs(place - index)))
        if weight > 0:
            value += weight * float(array[tuple(index)])
    return value


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("axes", [OBLIQUE, FLIPPED], ids=["oblique", "flipped"])
def test_scan_and_mask_on_the_patients_axes(axes: np.ndarray, kind: Any) -> None:
    """Each voxel looked up in the scan on its own."""
    rng = np.random.default_rng(4)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, (13.1, -7.3, 101.7)
    voxels = rng.integers(-900, 900, (6, 7, 8)).astype(kind)
    solid = rng.random(voxels.shape) < 0.6
    solid[:2], solid[:, :, 6:] = False, False
    grid = on_axes(CTVolume(voxels, matrix), mask_of(solid, matrix))

    # Every second voxel tells where the head is.
    found = [
        axes @ (i, j, k) + matrix[:3, 3]
        for k, j, i in np.argwhere(solid)
        if not (k % 2 or j % 2 or i % 2)
    ]
    low = 1.5 * np.floor((np.min(found, axis=0) - 12) / 1.5)
    np.testing.assert_allclose(grid.low, low, atol=1e-9)
    count = np.ceil((np.max(found, axis=0) + 12 - low) / 1.5).astype(int) + 1
    assert grid.head.shape == grid.grey.shape == tuple(count[::-1])
    assert grid.grey.dtype == np.float32

    last = np.array(voxels.shape) - 1
    for place in list(np.ndindex(*grid.head.shape))[::7]:
        point = low + 1.5 * np.array(place[::-1])
        there = np.linalg.solve(axes, point - matrix[:3, 3])[::-1]
        near = np.rint(np.clip(there, 0, last)).astype(int)
        measured = bool(np.all((there >= 0) & (there <= last)))
        assert grid.measured[place] == measured
        assert grid.beyond[place] == solid[tuple(near)]
        assert grid.head[place] == (measured and solid[tuple(near)])
        # What was not measured is air.
        grey = at(voxels, there) if measured else LEVEL - HALF
        assert grid.grey[place] == pytest.approx(grey, abs=0.01)
    assert grid.measured.any()


def test_without_a_head_there_is_no_face() -> None:
    volume = CTVolume(np.zeros((4, 4, 4), np.int16), np.eye(4))
    with pytest.raises(PrivacyError, match=r"^There is no head in the scan, so no face to remove"):
        on_axes(volume, mask_of(volume.voxels))


def test_the_front_of_each_column() -> None:
    there = np.random.default_rng(1).random((7, 5, 6)) < 0.25
    depths = np.array([-4.0, -1.0, 0.0, 2.5, 9.0])
    found = front_of(there, depths)
    for k, i in np.ndindex(7, 6):
        hits = [depths[j] for j in range(5) if there[k, j, i]]
        assert found[k, i] == max(hits, default=-np.inf)
    assert np.isinf(found).any()


# What a ball cannot reach.


def reached(beyond: np.ndarray) -> np.ndarray:
    """On every second voxel, carried on 90 mm beyond the ends."""
    head = np.pad(beyond[::2, ::2, ::2], 30, mode="edge")
    core = ndimage.distance_transform_edt(head, 3.0) >= 14
    away = ndimage.distance_transform_edt(~core, 3.0)[30:-30, 30:-30, 30:-30]
    found = np.empty(beyond.shape)
    for k, j, i in np.ndindex(*beyond.shape):
        found[k, j, i] = away[k // 2, j // 2, i // 2]
    return found


@pytest.mark.parametrize("shape", [(30, 41, 34), (33, 40, 35)], ids=["even", "odd"])
def test_distance_from_where_a_ball_can_be(shape: tuple[int, int, int]) -> None:
    """A block that the scan's end cuts below, with a nose on it, and a hole."""
    beyond = np.zeros(shape, bool)
    beyond[:26, 2:28, 5:30] = True
    beyond[10:16, 28:38, 14:20] = True
    beyond[20:22, 10:12, 10:12] = False
    grid = grid_of(np.zeros(shape), beyond=beyond)
    found = _beyond_ball(grid)
    assert found.shape == shape
    np.testing.assert_allclose(found, reached(beyond), rtol=1e-5)
    assert (found == 0).any()


def test_where_the_end_of_the_scan_cuts_the_head_is_no_edge() -> None:
    """A column that the scan cuts at both ends, as it is from the neck up: all of it is reached."""
    beyond = np.zeros((8, 30, 30), bool)
    beyond[:, 4:26, 4:26] = True
    found = _beyond_ball(grid_of(beyond))
    np.testing.assert_array_equal(found, np.broadcast_to(found[:1], found.shape))
    assert found[:, 14, 14].max() == 0


def test_the_ball_is_of_14_mm() -> None:
    """Six steps of 3 mm to the air on either side: its middle can be on three of them."""
    beyond = np.zeros((4, 40, 4), bool)
    beyond[:, 10:30] = True
    found = _beyond_ball(grid_of(beyond))[0, ::2, 0]
    assert found.tolist() == [3.0 * max(9 - j, j - 10, 0) for j in range(20)]
