"""From shapes to voxels: the convolution, the truth mask, any grid, chunks, the blur's bias."""

from __future__ import annotations

import numpy as np
import pytest
from phantom_makers import PLAIN, part, ras_of_voxels, whole
from scipy.ndimage import map_coordinates
from scipy.special import erf
from SkinSegLib.core import Cancelled, GeometryError, Progress
from SkinSegLib.training import implicit
from SkinSegLib.training.anatomy import sizes_for
from SkinSegLib.training.grid import PointSpread, edge_sigma
from SkinSegLib.training.head import build_head
from SkinSegLib.training.phantom import PhantomSpec, make_phantom, scene_layers
from SkinSegLib.training.sampling import Layer, render

NOSE = (0.0, 100.0, -20.0)


def blurred_ball(r, radius, sigma):
    """A ball convolved with a Gaussian, in closed form, at distance r from its middle."""
    r = np.maximum(r, 1e-6)
    a, b = (radius - r) / sigma, (radius + r) / sigma
    inside = 0.5 * (erf(a / np.sqrt(2)) + erf(b / np.sqrt(2)))
    return inside - sigma / (r * np.sqrt(2 * np.pi)) * (np.exp(-a * a / 2) - np.exp(-b * b / 2))


def render_ball(radius, sigma, spacing=1.0, chunk_mb=64.0, slice_mm=0.0):
    center = np.array([0.13, 0.21, -0.3])
    n = int((2 * radius + 10) / spacing)
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = -spacing * (n - 1) / 2
    ball = Layer(implicit.sphere(center, radius), 40.0, exact=True, is_head=True)
    hu, truth = render([ball], (n, n, n), matrix, PointSpread(sigma, slice_mm), chunk_mb=chunk_mb)
    k, j, i = np.indices(hu.shape)
    points = np.stack([i, j, k], axis=-1) * spacing + matrix[:3, 3]
    return hu, truth, points, np.linalg.norm(points - center, axis=-1)


@pytest.mark.parametrize("radius", [2.0, 5.0, 12.0])
def test_rendering_is_the_true_convolution(radius):
    """Against the closed form: within 3 % of the step, which is 0.03 mm of edge position."""
    sigma = 0.5
    hu, truth, _, r = render_ball(radius, sigma)
    exact = -1000 + 1040 * blurred_ball(r, radius, sigma)
    assert np.abs(hu - exact).max() < 32
    assert np.abs(hu - exact).mean() < 2
    assert np.array_equal(truth, (r <= radius).astype(np.uint8))


def half_height(radius, sigma, spacing):
    """Mean radius of the half height of a rendered ball, in mm."""
    hu, _, _, r = render_ball(radius, sigma, spacing)
    edge = np.abs(r - radius) < 0.3
    slope = 1040 / (sigma * np.sqrt(2 * np.pi))
    return (r[edge] + (hu[edge] + 480) / slope).mean()


@pytest.mark.parametrize(("radius", "sigma"), [(3.0, 0.5), (6.0, 1.0), (4.0, 0.7)])
def test_blur_bias_is_what_rendering_a_ball_gives(radius, sigma):
    """A ball's half height moves inward by (sigma^2 - edge^2) / R, what blur_bias states."""
    edge = edge_sigma((0.5, 0.5, 0.5), PointSpread(sigma))
    moved = radius - half_height(radius, sigma, 0.5)
    assert moved == pytest.approx((sigma**2 - edge**2) / radius, abs=0.015)
    assert moved > 0.03


def test_blur_bias_of_the_phantom_is_sigma_squared_times_mean_curvature():
    phantom = make_phantom(part(NOSE, (20, 20, 20), psf_sigma_mm=0.6))
    tip = phantom.project([[0.0, 119.0, -14.5]])
    bias = phantom.blur_bias(tip)[0]
    edge = edge_sigma((1.0, 1.0, 1.0), PointSpread(0.6))
    # The tip is close to a ball of 9 to 13 mm.
    assert (0.36 - edge**2) / 14 < bias < (0.36 - edge**2) / 8
    wide = make_phantom(part(NOSE, (20, 20, 20), psf_sigma_mm=0.6, slice_mm=4.0))
    assert wide.blur_bias(tip)[0] > 2 * bias


def test_slice_profile_averages_along_the_slice_axis_only():
    """A 4 mm slice box: rendering with it equals averaging a rendering without it along k."""
    thick, _, _, _ = render_ball(6.0, 0.8, slice_mm=4.0)
    fine, _, _, _ = render_ball(6.0, 0.8)
    weights = np.array([0.5, 1, 1, 1, 0.5]) / 4  # the trapezoid rule over 4 mm
    expected = sum(w * fine[n : len(fine) - 4 + n] for n, w in enumerate(weights))
    assert np.abs(thick[2:-2] - expected).max() < 45
    assert np.abs(thick[2:-2] - expected).mean() < 3
    assert np.abs(thick - fine).max() > 100


def test_chunks_join_without_a_seam():
    spec = part((-60.0, 0.0, 10.0), (50, 50, 60), hair=True)
    layers = scene_layers(spec, build_head(sizes_for(0)), ())
    one, truth_one = render(layers, spec.shape, spec.matrix, spec.spread, chunk_mb=1e4)
    many, truth_many = render(layers, spec.shape, spec.matrix, spec.spread, chunk_mb=0.1)
    assert np.abs(one - many).max() < 0.05
    assert np.array_equal(truth_one, truth_many)
    assert 0.1 < truth_one.mean() < 0.9


def test_truth_is_the_sign_at_voxel_centres():
    phantom = make_phantom(part((-60.0, 0.0, 0.0), (60, 60, 60)))
    value = phantom.solid(ras_of_voxels(phantom.volume).reshape(-1, 3))
    clear = np.abs(value) > 1e-3
    truth = phantom.truth.ravel()
    assert np.array_equal(truth[clear] == 1, value[clear] <= 0)
    assert 0.1 < truth.mean() < 0.9


def test_same_spec_same_bytes_and_seeds_differ():
    spec = part(NOSE, (40, 40, 40), noise_hu=8.0, hair=True)
    first, again = make_phantom(spec), make_phantom(spec)
    assert first.volume.voxels.tobytes() == again.volume.voxels.tobytes()
    assert first.truth.tobytes() == again.truth.tobytes()
    other = make_phantom(part(NOSE, (40, 40, 40), noise_hu=8.0, hair=True, seed=5))
    assert not np.array_equal(first.truth, other.truth)


def grids():
    """Rows of matrices over the left ear and the wart: oblique, left-handed, anisotropic."""
    c, s = np.cos(0.4), np.sin(0.4)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, c, -s], [0, s, c]]
    )
    center = np.array([-66.0, 5.0, -4.0])
    for name, columns in {
        "oblique": turn * 1.2,
        "left-handed": np.diag([1.3, 1.3, 1.3]) @ np.diag([1, -1, 1]),
        "swapped": np.array([[0, 0, 1.2], [1.2, 0, 0], [0, 1.2, 0]]),
        "anisotropic": np.diag([-0.8, -0.8, 2.0]),
    }.items():
        size = np.ceil(48 / np.linalg.norm(columns, axis=0)).astype(int)
        matrix = np.eye(4)
        matrix[:3, :3] = columns
        matrix[:3, 3] = center - columns @ ((size - 1) / 2)
        yield pytest.param(matrix, tuple(int(n) for n in size[::-1]), id=name)


@pytest.fixture(scope="module")
def reference():
    return make_phantom(part((-66.0, 5.0, -4.0), (90, 90, 90), psf_sigma_mm=0.9))


@pytest.mark.parametrize(("matrix", "shape"), list(grids()))
def test_every_grid_shows_the_same_anatomy(reference, matrix, shape):
    spec = PhantomSpec(shape=shape, ijk_to_ras=tuple(map(tuple, matrix)), psf_sigma_mm=0.9, **PLAIN)
    phantom = make_phantom(spec)
    assert np.allclose(phantom.volume.ijk_to_ras, matrix)
    points = ras_of_voxels(phantom.volume).reshape(-1, 3)
    inverse = np.linalg.inv(reference.volume.ijk_to_ras)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    expected = map_coordinates(
        reference.volume.voxels.astype(np.float32), index.T[::-1], order=3, mode="nearest"
    )
    # Inner parts are sampled every mm along the grid's own axes: compare where the skin is.
    near = np.abs(phantom.solid(points)) < 2.0
    off = np.abs(phantom.volume.voxels.ravel()[near] - expected[near])
    assert near.sum() > 1000
    assert np.median(off) < 15
    assert np.percentile(off, 99) < 120


def test_single_slice_and_thick_slices():
    flat = make_phantom(part((0, 0, 20.0), (200, 230, 5), spacing=(2.0, 2.0, 5.0), slice_mm=5.0))
    assert flat.volume.voxels.shape == (1, 115, 100)
    assert 0.2 < flat.truth.mean() < 0.9


def test_a_point_spread_too_sharp_for_the_grid_is_refused():
    with pytest.raises(GeometryError, match="too sharp"):
        make_phantom(part(NOSE, (20, 20, 20), psf_sigma_mm=0.1))


def test_progress_and_cancelling():
    seen = []
    progress = Progress(report=lambda stage, fraction: seen.append((stage, fraction)))
    make_phantom(part(NOSE, (20, 20, 20)), progress)
    assert {stage for stage, _ in seen} == {"Build the scene", "Render the scan", "Add noise"}
    assert seen[-1][1] == pytest.approx(1.0)
    with pytest.raises(Cancelled):
        make_phantom(part(NOSE, (20, 20, 20)), Progress(is_cancelled=lambda: len(seen) > 0))


@pytest.mark.slow
def test_skin_lies_at_half_height_everywhere_on_the_whole_head():
    """Interpolated grey values at exact skin points: -480 HU where the bias is small."""
    phantom = make_phantom(whole(spacing=3.0, sigma=1.4))
    points = phantom.surface_points(8.0)
    keep = (phantom.cap_distance(points) > 4) & (phantom.cut_distance(points) > 6)
    points = points[keep]
    bias = phantom.blur_bias(points)
    points = points[np.abs(bias) < 0.05]
    inverse = np.linalg.inv(phantom.volume.ijk_to_ras)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    grey = map_coordinates(phantom.volume.voxels.astype(np.float32), index.T[::-1], order=3)
    slope = 1040 / (1.4 * np.sqrt(2 * np.pi))
    assert len(points) > 800
    assert abs(np.median(grey) + 480) / slope < 0.05
    assert np.percentile(np.abs(grey + 480), 95) / slope < 0.25
