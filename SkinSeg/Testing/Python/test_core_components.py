"""Parts that hang together, by connected-components-3d or by SimpleITK, and distances."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy import ndimage
from SkinSegLib.core import components, distance_to, largest_component


@pytest.fixture(params=["cc3d", "SimpleITK"], autouse=True)
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the quicker package is installed."""
    if request.param == "SimpleITK":
        monkeypatch.setitem(sys.modules, "cc3d", None)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6])
def test_parts_are_those_of_scipy(share: float) -> None:
    mask = np.random.default_rng(4).random((17, 23, 31)) < share
    labels, count = components(mask)
    expected, expected_count = ndimage.label(mask)
    assert count == expected_count
    assert labels.shape == mask.shape
    assert ((labels > 0) == mask).all()
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == count + 1  # each part has one number in either


def test_only_faces_connect() -> None:
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 0] = mask[1, 1, 1] = True
    assert components(mask)[1] == 2


def test_the_largest_part() -> None:
    mask = np.zeros((20, 30, 40), np.uint8)
    mask[1:5, 1:5, 1:5] = 7
    mask[10:16, 10:20, 10:20] = 3
    found = largest_component(mask)
    assert found.dtype == np.uint8
    assert found.sum() == 600
    assert found[10:16, 10:20, 10:20].all()


def test_the_larger_of_two_alike() -> None:
    mask = np.zeros((9, 9, 21), bool)
    mask[1:8, 1:8, 1:9] = True
    mask[1:8, 1:8, 12:20] = True
    mask[4, 4, 10] = mask[4, 4, 11] = True
    assert largest_component(mask).sum() == 7 * 7 * 8 + 2


@pytest.mark.parametrize("shape", [(3, 4, 5), (0, 4, 5), (1, 1, 1)])
def test_nothing_in_it(shape: tuple[int, int, int]) -> None:
    nothing = np.zeros(shape, bool)
    assert components(nothing)[1] == 0
    assert largest_component(nothing).shape == shape
    assert not largest_component(nothing).any()


def test_an_array_that_is_not_contiguous() -> None:
    mask = np.ones((8, 8, 8), bool)[::2, ::-1, 1:]
    assert largest_component(mask).sum() == mask.size


def test_different_numbers_hang_together() -> None:
    mask = np.zeros((3, 3, 6), np.uint8)
    mask[1, 1, 1:5] = 1, 2, 7, 2
    assert components(mask)[1] == 1
    assert largest_component(mask).sum() == 4
    assert components(-mask.astype(float))[1] == 1


def test_the_larger_one_where_a_sample_of_voxels_says_otherwise() -> None:
    mask = np.zeros((10, 10, 24), bool)
    mask[:9, :9, :9] = True  # of 729 voxels, 125 on every second one
    mask[1:, 1:, 11:21] = True  # of 810, 80
    assert largest_component(mask).sum() == 810


def test_empty_and_not_so_empty_arrays_are_of_the_same_kind() -> None:
    nothing, something = np.zeros((3, 4, 5), bool), np.ones((3, 4, 5), bool)
    assert largest_component(nothing).dtype == largest_component(something).dtype == np.uint8
    assert components(np.zeros((0, 4, 5), bool))[0].dtype.kind == "u"
    assert distance_to(nothing, (1, 1, 1)).dtype == np.float32
    assert np.isinf(distance_to(nothing, (1, 1, 1))).all()


def test_distances_are_in_mm_along_each_axis() -> None:
    region = np.zeros((9, 9, 9), bool)
    region[4, 4, 4] = True
    spacing = (3.0, 0.5, 1.25)
    index = np.indices(region.shape) - 4
    expected = np.linalg.norm(index * np.reshape(spacing, (3, 1, 1, 1)), axis=0)
    found = distance_to(region, spacing)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-5


def test_within_a_region_the_distance_is_zero() -> None:
    region = np.zeros((9, 9, 9), bool)
    region[2:7, 2:7, 2:7] = True
    found = distance_to(region, (1, 1, 1))
    assert (found[region] == 0).all()
    assert found[4, 4, 1] == 1
    assert found[4, 4, 8] == 2
