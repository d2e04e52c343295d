"""What must hold for every scan and every mask: hypothesis looks for one that breaks it.

``SKINSEG_EXAMPLES=200`` looks that many times as far; the default is what CI has time for.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mrml_makers import inside
from scipy import ndimage
from SkinSegLib.core import CTVolume, SegmentationError, transform_points
from SkinSegLib.scan.masks import read_mask
from SkinSegLib.segmentation import SegmentOptions, segment
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.labelmap import write_labelmap
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.mending import fill_holes, keep_largest, smooth_near
from SkinSegLib.segmentation.whiskers import without_whiskers

MORE = int(os.environ.get("SKINSEG_EXAMPLES", "1"))


def examples(count: int):
    """``count`` in CI. The same ones every time there, so that a run can be repeated.

    Few are dear: looking for a simpler one that fails would take minutes.
    """
    phases = [Phase.explicit, Phase.generate] + [Phase.shrink] * (count > 12)
    return settings(
        phases=phases,
        max_examples=count * MORE,
        deadline=None,
        derandomize=MORE == 1,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


THRESHOLD = SegmentOptions(engine="threshold")


@cache
def scan() -> CTVolume:
    """A head with one ear and a little noise; each axis has another spacing, and several voxels
    along two of them make a block of the coarse grid."""
    shape, spacing = (44, 90, 102), (1.2, 1.4, 3.0)
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * spacing
    centres = np.stack(np.indices(shape)[::-1], axis=-1).reshape(-1, 3)
    filled = inside(transform_points(matrix, centres)).reshape(shape).astype(float)
    grey = -1000 + 1040 * ndimage.gaussian_filter(filled, (0.5, 1.0, 1.0))
    grey += np.random.default_rng(1).normal(0, 8, shape)
    return CTVolume(np.rint(grey).astype(np.int16), matrix)


@cache
def mask() -> np.ndarray:
    return segment(scan(), THRESHOLD).voxels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def moved(array: np.ndarray, axes: tuple[int, ...], flip: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array.transpose(axes), flip))


def moved_matrix(matrix: np.ndarray, shape, axes, flip) -> np.ndarray:
    """So that every voxel stays where it was, in RAS mm. ``shape``: after the axes were put in
    order."""
    matrix = matrix.copy()
    matrix[:3, :3] = matrix[:3, [2 - axes[2 - column] for column in range(3)]]
    for axis in flip:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (shape[axis] - 1)
        matrix[:3, column] *= -1
    return matrix


AXES = st.sampled_from(list(itertools.permutations(range(3))))
FLIPS = st.sets(st.integers(0, 2)).map(lambda found: tuple(sorted(found)))
ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)


def turned(angles, shift) -> np.ndarray:
    """A rigid motion in RAS mm, 4x4."""
    matrix = np.eye(4)
    for axis, degrees in enumerate(angles):
        a, (u, v) = np.radians(degrees), [n for n in range(3) if n != axis]
        one = np.eye(4)
        one[[u, u, v, v], [u, v, u, v]] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
        matrix = one @ matrix
    matrix[:3, 3] = shift
    return matrix


# The mask moves with the scan


@examples(8)
@given(AXES, FLIPS, ANGLES, st.tuples(*[st.floats(-500, 500)] * 3))
def test_the_order_of_axes_and_the_pose_change_nothing(axes, flip, angles, shift):
    """The whole engine, on the same voxels told in another order, of a patient who lies otherwise.

    The coarse grid's blocks begin at another end of a flipped axis, so that edges may differ.
    """
    voxels = moved(scan().voxels, axes, flip)
    matrix = turned(angles, shift) @ moved_matrix(scan().ijk_to_ras, voxels.shape, axes, flip)
    found = segment(CTVolume(voxels, matrix), THRESHOLD)
    assert dice(found.voxels, moved(mask(), axes, flip)) > 0.999
    np.testing.assert_array_equal(found.ijk_to_ras, matrix)


@examples(4)
@given(ANGLES, st.tuples(*[st.floats(-500, 500)] * 3))
def test_a_pose_alone_does_not_change_one_voxel(angles, shift):
    found = segment(
        replace(scan(), ijk_to_ras=turned(angles, shift) @ scan().ijk_to_ras), THRESHOLD
    )
    np.testing.assert_array_equal(found.voxels, mask())


@examples(6)
@given(st.tuples(*[st.integers(0, 6)] * 6))
def test_more_air_around_the_patient_changes_nothing(widths):
    """The patient elsewhere in the field of view: every voxel of the mask goes along."""
    pads = list(zip(widths[:3], widths[3:], strict=True))
    voxels = np.pad(scan().voxels, pads, constant_values=-1000)
    matrix = scan().ijk_to_ras.copy()
    matrix[:3, 3] -= matrix[:3, :3] @ np.array(widths[:3][::-1])
    found = segment(CTVolume(voxels, matrix), THRESHOLD)
    # Blocks of the coarse grid lie otherwise on the patient.
    assert dice(found.voxels, np.pad(mask(), pads)) > 0.998
    assert found.cut_faces == ()


@examples(6)
@given(st.integers(0, 2), st.booleans(), st.integers(1, 9))
def test_a_crop_cuts_the_mask_and_says_so(axis, at_end, width):
    """What is left of the patient is found as it was, but near the new end of the scan."""
    first = np.argwhere(mask())[:, axis]
    cut = first.max() - width if at_end else first.min() + width
    here = [slice(None)] * 3
    here[axis] = slice(None, cut) if at_end else slice(cut, None)
    matrix = scan().ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2 - axis] * (0 if at_end else cut)
    found = segment(CTVolume(scan().voxels[tuple(here)].copy(), matrix), THRESHOLD)
    assert dice(found.voxels, mask()[tuple(here)]) > 0.99
    assert found.cut_faces == (f"{'kji'[axis]}{'+' if at_end else '-'}",)


def test_the_mask_of_the_network_moves_with_the_scan():
    """The network sees the patient as in training, however the axes are told."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("monai", reason="MONAI is not installed")
    axes, flip = (2, 0, 1), (0,)
    network = SegmentOptions(engine="network", device="cpu")
    here = segment(scan(), network).voxels
    voxels = moved(scan().voxels, axes, flip)
    matrix = moved_matrix(scan().ijk_to_ras, voxels.shape, axes, flip)
    there = segment(CTVolume(voxels, matrix), network).voxels
    assert dice(there, moved(here, axes, flip)) > 0.995


# Monotone in level


@examples(3)
@given(st.lists(st.floats(-850, -150), min_size=3, max_size=3, unique=True))
def test_a_lower_level_never_loses_a_voxel_of_the_tissue(levels):
    """The solid head grows with every level that is lower; enclosed air is filled at each."""
    masks = [segment(scan(), replace(THRESHOLD, level_hu=level)).voxels for level in sorted(levels)]
    for lower, higher in itertools.pairwise(masks):
        lost = (higher > 0) & (lower == 0)
        assert np.count_nonzero(lost) <= 2e-4 * np.count_nonzero(higher)


@examples(15)
@given(st.lists(st.floats(-900, 300), min_size=2, max_size=2, unique=True), st.integers(0, 99))
def test_the_share_of_tissue_in_a_block_falls_with_the_level(levels, seed):
    voxels = np.random.default_rng(seed).integers(-1000, 1000, (9, 11, 10)).astype(np.int16)
    volume = CTVolume(voxels, np.diag([1.3, 1.1, 0.9, 1.0]))
    found = find_level(scan())
    grid = CoarseGrid.over(volume, 2.0)
    shares = []
    for skin in sorted(levels):
        edge = replace(found, skin=skin, air=skin - 520, tissue=skin + 520)
        shares.append(grid.tissue_fraction(volume, edge))
    assert (shares[0] >= shares[1] - 1e-6).all()


# Cleaning twice is cleaning once

MASKS = st.builds(
    lambda seed, sigma, share, shape: _blobs(seed, sigma, share, shape),
    st.integers(0, 10_000),
    st.floats(0.4, 2.0),
    st.floats(0.1, 0.9),
    st.tuples(*[st.integers(1, 16)] * 3),
)


def _blobs(seed: int, sigma: float, share: float, shape: tuple[int, ...]) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return (noise >= np.quantile(noise, 1 - share)).astype(np.uint8)


@examples(40)
@given(MASKS)
def test_cleaning_is_idempotent(found):
    for clean in (keep_largest, fill_holes, lambda m: fill_holes(keep_largest(m))):
        once = clean(found)
        np.testing.assert_array_equal(clean(once), once)
    assert (keep_largest(found) <= found).all()
    assert (fill_holes(found) >= found).all()


@examples(12)
@given(
    st.tuples(*[st.floats(0.5, 1.4)] * 3),
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(2, 30), st.integers(1, 2), st.integers(4, 24)),
        min_size=1,
        max_size=4,
    ),
)
def test_whiskers_once_off_are_off(spacing, straps):
    """Straps and sheets of one or two voxels that stand off a ball."""
    k, j, i = np.indices((34, 36, 38)) - 17
    found = ((k**2 + j**2 + i**2) < 11**2).astype(np.uint8)
    for axis, place, thickness, width in straps:
        index = [slice(5, 5 + width)] * 3
        index[axis] = slice(place, place + thickness)
        found[tuple(index)] = 1
    found = keep_largest(found)
    once = without_whiskers(found, spacing)
    assert (once <= found).all()
    assert once[17, 17, 17]
    np.testing.assert_array_equal(without_whiskers(once, spacing), once)


@examples(20)
@given(MASKS, st.data())
def test_smoothing_a_place_leaves_the_rest_alone(found, data):
    place = np.array([data.draw(st.integers(0, n - 1)) for n in found.shape[::-1]], float)
    matrix = np.diag([1.0, 1.5, 2.0, 1.0])
    centre = transform_points(matrix, place[None])[0]
    smooth = smooth_near(found, matrix, tuple(centre), 4.0)
    changed = np.argwhere(smooth != found)[:, ::-1].astype(float)
    if len(changed):
        away = np.linalg.norm(transform_points(matrix, changed) - centre, axis=1)
        assert away.max() <= 4.0 + 1e-6


@examples(2)
@given(AXES, FLIPS)
def test_segmenting_what_was_segmented_gives_it_again(axes, flip):
    """The mask painted as tissue in air is a scan whose head is that mask."""
    painted = np.where(moved(mask(), axes, flip), 40, -1000).astype(np.int16)
    matrix = moved_matrix(scan().ijk_to_ras, painted.shape, axes, flip)
    found = segment(CTVolume(painted, matrix), THRESHOLD).voxels
    assert dice(found, moved(mask(), axes, flip)) > 0.999


# A grid comes back as it was

GRIDS = st.builds(
    lambda angles, shift, spacing, mirrored: (
        turned(angles, shift) @ np.diag([*(np.array(spacing) * (1, 1, -1 if mirrored else 1)), 1.0])
    ),
    ANGLES,
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(*[st.floats(0.2, 5)] * 3),
    st.booleans(),
)


@examples(15)
@given(GRIDS, MASKS, st.sampled_from([".nrrd", ".nii.gz", ".mha"]))
def test_a_mask_goes_through_a_file_unchanged(matrix, found, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = write_labelmap(found, matrix, Path(folder) / f"mask{ending}")
        voxels, back = read_mask(path)
    whole = np.zeros_like(found)
    k, j, i = np.indices(voxels.shape)
    places = np.stack([i, j, k], axis=-1)[voxels > 0]
    there = transform_points(np.linalg.inv(matrix) @ back, places)
    assert np.abs(there - np.rint(there)).max() < 1e-2
    whole[tuple(np.rint(there).astype(int)[:, ::-1].T)] = 1
    np.testing.assert_array_equal(whole, found)


@examples(15)
@given(GRIDS, st.tuples(*[st.integers(2, 5)] * 3), st.integers(0, 999))
def test_a_scan_goes_through_a_scene_unchanged(matrix, shape, seed):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from SkinSegLib import mrml

    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    node = mrml.add_volume(CTVolume(voxels, matrix), "scan")
    try:
        back = mrml.placed_scan(node).scan
    finally:
        mrml.ensure_host().mrmlScene.RemoveNode(node)
    np.testing.assert_array_equal(back.voxels, voxels)
    np.testing.assert_allclose(back.ijk_to_ras, matrix, atol=1e-9)


# Any numbers at all


@examples(15)
@given(
    st.tuples(*[st.integers(1, 20)] * 3), st.integers(0, 10_000), st.floats(0.3, 60), st.booleans()
)
def test_any_grey_values_give_a_mask_or_a_refusal(shape, seed, spacing, flat):
    rng = np.random.default_rng(seed)
    low, high = np.sort(rng.integers(-3000, 3000, 2))
    voxels = rng.integers(low, high + 1, shape).astype(np.int16)
    if flat:
        voxels[:] = low
    volume = CTVolume(voxels, np.diag([spacing, spacing, spacing, 1.0]))
    try:
        found = segment(volume, THRESHOLD)
    except SegmentationError:
        return
    assert found.voxels.shape == shape
    assert set(np.unique(found.voxels)) <= {0, 1}
    assert found.voxels.any()
