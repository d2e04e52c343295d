"""The exact surface: shapes, projection on the zero set, curvature, and the head's own surface."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from SkinSegLib.core import SurfaceError
from SkinSegLib.training import implicit
from SkinSegLib.training.anatomy import sizes_for
from SkinSegLib.training.head import build_head
from SkinSegLib.training.projection import (
    TOLERANCE_MM,
    as_field,
    curvature_terms,
    gradient,
    nearest,
    project,
    surface_samples,
)


@pytest.fixture(scope="module")
def head():
    return build_head(sizes_for(0))


@pytest.fixture(scope="module")
def skin(head):
    return as_field(head.skin)


@pytest.fixture(scope="module")
def on_skin(skin):
    """Exact points of the skin above the neck's cut, about 3 mm apart."""
    return surface_samples(skin, (-110, -115, -100), (110, 130, 140), 3.0)


def directions(count, seed=0):
    v = np.random.default_rng(seed).normal(size=(count, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def test_projection_onto_a_ball_is_exact():
    center, radius = np.array([3.0, -7.0, 11.0]), 20.0
    field = as_field(implicit.sphere(center, radius))
    out = directions(500)
    start = center + out * np.random.default_rng(1).uniform(10, 30, (500, 1))
    assert np.abs(project(field, start) - (center + radius * out)).max() < 1e-6


def test_projection_does_not_use_the_value_as_a_distance():
    """Three times the distance of a ball, cubed in part, has the same zero set."""
    ball = implicit.sphere((0, 0, 0), 12.0)

    def stretched(x, y, z):
        d = ball(x, y, z)
        return 3 * d + 0.05 * d**3

    out = directions(200)
    start = out * np.random.default_rng(2).uniform(9, 16, (200, 1))
    foot, slip = nearest(as_field(stretched), start)
    assert np.abs(foot - 12 * out).max() < 1e-4
    assert slip.max() < 1e-2


def test_nearest_point_of_an_ellipsoid_matches_a_dense_search():
    """The gradient of an ellipsoid's function does not point to the nearest point; the foot is."""
    radii = np.array([30.0, 18.0, 10.0])
    field = as_field(implicit.ellipsoid((0, 0, 0), radii))
    start = directions(60, 3) * radii + directions(60, 4) * 4
    foot, _ = nearest(field, start, slides=40)
    dense = directions(400_000, 5) * radii
    found, _ = cKDTree(dense).query(start)
    measured = np.linalg.norm(start - foot, axis=1)
    assert (measured <= found + 1e-3).all()
    assert (measured >= found - 0.05).all()


def test_points_that_cannot_arrive_are_refused():
    flat = as_field(lambda x, y, z: np.full_like(x, 5.0))
    with pytest.raises(SurfaceError, match="do not reach"):
        project(flat, np.zeros((3, 3)))


def test_curvature_of_a_ball_and_a_rod():
    ball = as_field(implicit.sphere((0, 0, 0), 5.0))
    _, hessian = curvature_terms(ball, directions(50) * 5.0)
    assert np.allclose(np.trace(hessian, axis1=1, axis2=2), 2 / 5.0, atol=1e-3)
    rod = as_field(implicit.capsule((0, 0, -50), (0, 0, 50), 4.0))
    angle = np.linspace(0, 6, 20)
    points = np.stack([4 * np.cos(angle), 4 * np.sin(angle), angle], axis=1)
    _, hessian = curvature_terms(rod, points)
    assert np.allclose(np.trace(hessian, axis1=1, axis2=2), 1 / 4.0, atol=1e-3)


@pytest.mark.parametrize("k", [0.5, 6.0, 40.0])
def test_smooth_minimum_is_bounded_symmetric_and_local(k):
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-30, 30, (2, 5000))
    blended = implicit.smooth_min(a, b, k)
    assert np.array_equal(blended, implicit.smooth_min(b, a, k))
    assert (blended <= np.minimum(a, b)).all()
    assert (blended >= np.minimum(a, b) - k / 6 - 1e-9).all()
    far = np.abs(a - b) > k
    assert np.array_equal(blended[far], np.minimum(a, b)[far])


def test_samples_of_the_head_lie_on_its_zero_set(skin, on_skin):
    slope = np.linalg.norm(gradient(skin, on_skin), axis=1)
    assert len(on_skin) > 10_000
    assert slope.min() > 0.1
    assert (np.abs(skin(on_skin)) / slope).max() < TOLERANCE_MM


def test_skin_distance_matches_a_dense_search(skin, on_skin):
    """Points moved off the skin: the foot is the nearest of all points of the skin."""
    rng = np.random.default_rng(6)
    start = on_skin[rng.choice(len(on_skin), 300, replace=False)]
    start = start + directions(300, 7) * rng.uniform(0.2, 1.5, (300, 1))
    foot, _ = nearest(skin, start)
    measured = np.linalg.norm(start - foot, axis=1)
    around = (start[:, None, :] + rng.uniform(-2.5, 2.5, (300, 60, 3))).reshape(-1, 3)
    near = np.abs(skin(around)) < 2.0
    found, _ = cKDTree(project(skin, around[near])).query(start)
    assert (measured <= found + 0.01).mean() > 0.99
    assert (measured <= found + 0.5).all()


@pytest.mark.parametrize("seed", [0, 4])
def test_skipping_far_details_changes_nothing_near_the_skin(seed):
    skin = build_head(sizes_for(seed)).skin
    points = surface_samples(as_field(skin), (-110, -115, -100), (110, 130, 140), 5.0)
    points = points + directions(len(points)) * 1.5
    exact = skin(*points.T, margin=1e6)
    parts = np.array_split(points, len(points) // 40)
    quick = np.concatenate([skin(*part.T, margin=10.0) for part in parts])
    assert np.abs(quick - exact).max() < 1e-9


@pytest.mark.parametrize("seed", [0, 9])
def test_slopes_stay_below_the_bound_that_rendering_relies_on(seed):
    field = as_field(build_head(sizes_for(seed)).skin)
    points = np.random.default_rng(8).uniform((-110, -125, -120), (110, 135, 140), (60_000, 3))
    points = points[np.abs(field(points)) < 6]
    slope = np.linalg.norm(gradient(field, points), axis=1)
    assert len(points) > 3000
    assert np.percentile(slope, 99.9) < implicit.SLOPE


def test_it_is_a_head(skin, head):
    """Landmarks, in mm: sizes within the range of adult heads, and the parts in their places."""

    def reach(start, direction):
        way = np.asarray(start, float) + np.arange(0, 160, 0.05)[:, None] * np.asarray(direction)
        return way[np.nonzero(skin(way) < 0)[0][-1]]

    nose = reach((0, 40, -14), (0, 1, 0))[1]
    upper_lip = reach((0, 40, -41), (0, 1, 0))[1]
    lower_lip = reach((0, 40, -51), (0, 1, 0))[1]
    between = reach((0, 40, -46), (0, 1, 0))[1]
    chin = reach((0, 40, -77), (0, 1, 0))[1]
    above_chin = reach((0, 40, -62), (0, 1, 0))[1]
    forehead = reach((0, 0, 55), (0, 1, 0))[1]
    back = reach((0, 0, 45), (0, -1, 0))[1]
    neck = reach((0, 0, -105), (0, 1, 0))[1]
    assert 180 < forehead - back < 215
    assert 140 < reach((0, -20, 40), (1, 0, 0))[0] - reach((0, -20, 40), (-1, 0, 0))[0] < 170
    assert nose > upper_lip + 12
    assert nose > forehead + 15
    assert min(upper_lip, lower_lip) > between + 2
    assert chin > above_chin + 2
    assert chin > neck + 40
    eye = reach((32, 40, 20), (0, 1, 0))[1]
    brow = reach((25, 40, 36), (0, 1, 0))[1]
    assert brow > eye + 1
    for side in (1, -1):
        rim = reach((side * 60, -25, 12), (side, 0, 0))
        assert abs(rim[0]) > 82
        behind = np.array([side * 80.0, -24.0, 12.0])
        assert skin(behind[None])[0] > 0, "no air between ear and skull"


def test_ear_rim_is_about_three_to_five_mm_thick(head, skin):
    ear = head.ears[0]
    out = np.linspace(-8, 8, 1601)
    rim = np.stack([ear.place(14 + 16.0, 6, float(t)) for t in out])
    thick = np.count_nonzero(skin(rim) < 0) * 0.01 * ear.scale
    assert 2.5 < thick < 6


def test_left_and_right_differ(skin, head):
    """The wart is on the patient's left (negative x), and the left ear is the larger one."""
    wart = head.at(-49.4, 77.5, -27.0)
    mirrored = wart * (-1, 1, 1)
    foot, _ = nearest(skin, np.stack([wart, mirrored]))
    height = np.linalg.norm(foot - np.stack([wart, mirrored]), axis=1)
    assert height[0] < 0.6
    assert height[1] > 3.0
    assert skin(mirrored[None])[0] > 0
    right, left = head.ears
    assert (right.side, left.side) == (1, -1)
    assert left.scale > 1.05 * right.scale


def test_seeds_give_different_heads_of_similar_size(on_skin):
    reference = on_skin[::7]
    shifts = []
    for seed in (1, 2):
        other = as_field(build_head(sizes_for(seed)).skin)
        shifts.append(np.abs(other(reference)))
        assert sizes_for(seed) == sizes_for(seed)
    assert sizes_for(1) != sizes_for(2)
    for shift in shifts:
        assert 0.3 < shift.mean() < 8
        assert shift.max() < 30


@pytest.mark.parametrize("seed", [0, 3])
def test_the_solid_head_is_one_piece_without_hollows(seed):
    """On a 3 mm grid: one solid, and no air inside it but pockets of creases a voxel wide."""
    from scipy import ndimage

    field = as_field(build_head(sizes_for(seed)).skin)
    z, y, x = np.mgrid[-108:140:3.0, -124:132:3.0, -112:113:3.0]
    value = field(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)).reshape(x.shape)
    _, solids = ndimage.label(value <= 0)
    assert solids == 1
    airs = np.sort(np.bincount(ndimage.label(value > 0)[0].ravel())[1:])
    assert airs[:-1].sum() <= 3
    assert 3000 < np.count_nonzero(value <= 0) * 0.027 < 6000  # mL


def test_far_points_find_the_nearest_skin(skin, on_skin):
    """Up to 40 mm out and 10 mm in, where the gradient alone leads elsewhere or nowhere."""
    rng = np.random.default_rng(11)
    start = on_skin[rng.choice(len(on_skin), 400, replace=False)]
    start = start + directions(400, 12) * rng.uniform(3, 40, (400, 1))
    value = skin(start)
    start = start[(value > -10) & (start[:, 2] > -70)]
    foot, slip = nearest(skin, start, anchors=lambda: on_skin)
    found, _ = cKDTree(on_skin).query(start)
    measured = np.linalg.norm(start - foot, axis=1)
    assert len(start) > 200
    assert (measured <= found + 1e-9).all()
    assert (measured >= found - 2.6).all()
    assert np.mean(slip < 0.05) > 0.95
