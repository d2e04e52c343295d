"""What passes between stages: grids, grey values, masks, meshes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from SkinSegLib.core import (
    CTVolume,
    GeometryError,
    ScanReadError,
    SkinMask,
    SkinMesh,
    as_hounsfield,
    checked_matrix,
    largest_component,
    resource_path,
    spacing_of,
    transform_points,
)
from SkinSegLib.core.errors import MissingPackageError

TETRAHEDRON = np.array([[0, 0, 0], [10, 0, 0], [0, 20, 0], [0, 0, 30]], dtype=np.float32)
FACES_OUT = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=np.int32)


def oblique(scale: tuple[float, float, float], angle: float, mirrored: bool) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, -1 if mirrored else 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag(scale)
    matrix[:3, 3] = 5, -6, 7
    return matrix


@given(st.tuples(*[st.floats(0.05, 10)] * 3), st.floats(-3, 3), st.booleans())
def test_spacing_of_any_grid(
    scale: tuple[float, float, float], angle: float, mirrored: bool
) -> None:
    matrix = checked_matrix(oblique(scale, angle, mirrored))
    assert spacing_of(matrix) == pytest.approx(scale)
    voxels = np.zeros((3, 2, 1), np.int16)
    assert CTVolume(voxels, matrix).voxel_volume_ml == pytest.approx(np.prod(scale) / 1000)


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (np.diag([1.0, 0.0, 1.0, 1.0]), "spacing of zero"),
        (np.diag([np.nan, 1.0, 1.0, 1.0]), "not a finite 4x4"),
        (np.eye(3), "not a finite 4x4"),
        (np.eye(4) + np.eye(4, k=-3), "not affine"),
        (np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "same way"),
    ],
)
def test_unusable_geometry(matrix: np.ndarray, words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        checked_matrix(matrix)


def test_geometry_cannot_be_changed_behind_our_back() -> None:
    matrix = np.eye(4)
    volume = CTVolume(np.zeros((2, 2, 2), np.int16), matrix)
    matrix[0, 0] = 3
    assert volume.spacing == (1, 1, 1)
    with pytest.raises(ValueError, match="read-only"):
        volume.ijk_to_ras[0, 0] = 3


def test_transform_points() -> None:
    moved = transform_points(oblique((1, 1, 1), np.pi / 2, False), [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(moved, [[5, -5, 7], [5, -6, 8]], atol=1e-12)


def test_single_precision_loses_nothing_on_the_way() -> None:
    """A scan may lie a kilometre from the origin; float32 steps are 0.06 mm there."""
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, 3] = 1e6
    points = np.array([[0.01, 0.02, 0.03]], np.float32)
    np.testing.assert_allclose(transform_points(matrix, points) - 1e6, points, atol=1e-9)
    np.testing.assert_allclose(transform_points(np.float64(matrix), points), 1e6 + points)
    assert transform_points(matrix, [[1, 2, 3]]).dtype == np.float64
    assert checked_matrix(np.eye(4, dtype=np.int16)).dtype == np.float64
    long = np.array([[30000, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.int16)
    assert spacing_of(long) == (30000, 1, 1)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([-1024, 3071], np.int32), np.int16),
        (np.array([0, 255], np.uint8), np.int16),
        (np.array([0, 32767], np.uint16), np.int16),
        (np.array([0, 40000], np.uint16), np.float32),
        (np.array([-40000, 0], np.int32), np.float32),
        (np.array([-1000.0, 40.5], np.float64), np.float32),
    ],
)
def test_as_hounsfield_loses_nothing(values: np.ndarray, kind: type) -> None:
    converted = as_hounsfield(values.reshape(1, 1, 2)[:, :, ::-1])
    assert converted.dtype == kind
    assert converted.flags.c_contiguous
    np.testing.assert_array_equal(converted[0, 0, ::-1], values)


def test_volume_wants_one_3d_scan() -> None:
    for shape in ((2, 2), (2, 2, 2, 3), (0, 2, 2)):
        with pytest.raises(ScanReadError, match="single CT series"):
            CTVolume(np.zeros(shape, np.int16), np.eye(4))
    with pytest.raises(ScanReadError, match="as_hounsfield"):
        CTVolume(np.zeros((2, 2, 2), np.uint8), np.eye(4))


def test_padding_mask() -> None:
    voxels = np.array([[[-2000, -1000, 40, -3024]]], np.int16)
    assert CTVolume(voxels, np.eye(4)).padding_mask() is None
    assert CTVolume(voxels, np.eye(4), padding=(7,)).padding_mask() is None
    mask = CTVolume(voxels, np.eye(4), padding=(-2000, -3024)).padding_mask()
    assert mask is not None
    assert mask.ravel().tolist() == [True, False, False, True]


def test_mask_volume_is_in_millilitres() -> None:
    voxels = np.zeros((10, 10, 10), np.uint8)
    voxels[:5] = 1
    mask = SkinMask(voxels, oblique((2, 2, 5), 0.3, True), "threshold", -480)
    assert mask.volume_ml == pytest.approx(500 * 20 / 1000)
    with pytest.raises(GeometryError, match="uint8"):
        SkinMask(voxels.astype(bool), np.eye(4), "threshold", -480)


def test_mesh_volume() -> None:
    mesh = SkinMesh(TETRAHEDRON + 1000, FACES_OUT, np.zeros(4, bool), closed=True)
    assert mesh.volume_ml == pytest.approx(1.0)
    inward = SkinMesh(mesh.points, FACES_OUT[:, ::-1], np.zeros(4, bool), closed=True)
    assert inward.volume_ml == pytest.approx(-1.0)


def test_resources_are_found_or_said_to_be_missing() -> None:
    assert resource_path("requirements.txt").is_file()
    with pytest.raises(MissingPackageError, match=r"UI/none\.ui"):
        resource_path("UI", "none.ui")


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.3, 0.5]), st.booleans())
def test_the_largest_part_is_the_largest(seed: int, share: float, odd: bool) -> None:
    """Also where every second voxel, by which it is looked for first, tells something else."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    mask = rng.random((6, 9, 10)) < share
    if odd:  # a large part of which every second voxel sees nothing, and a small one of it all
        mask[:] = False
        mask[1, 1:, :], mask[4, :5:2, :5:2] = True, True
    expected, _ = ndimage.label(mask)
    sizes = np.bincount(expected.ravel())[1:]
    largest = largest_component(mask)
    assert largest.sum() == sizes.max()
    assert len(np.unique(expected[largest > 0])) == 1
