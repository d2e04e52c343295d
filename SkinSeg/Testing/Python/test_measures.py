"""Areas, volume and extent, against formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapes import ball, box, inverted, joined, shell
from SkinSegLib.core import SkinMesh
from SkinSegLib.surface import measures

SIZES = st.floats(1, 300)
PLACES = st.floats(-500, 500)


@given(st.tuples(SIZES, SIZES, SIZES), st.tuples(PLACES, PLACES, PLACES))
@settings(max_examples=50, deadline=None)
def test_a_box_anywhere_is_exact(size, low):
    high = tuple(np.add(low, size))
    found = measures(box(low, high))
    a, b, c = size
    assert found.volume_ml == pytest.approx(a * b * c / 1000, rel=1e-3)
    assert found.skin_area_cm2 == pytest.approx((a * b + b * c + c * a) / 50, rel=1e-3)
    assert found.cut_area_cm2 == 0
    assert found.low_ras == pytest.approx(low, abs=1e-4)
    assert found.high_ras == pytest.approx(high, abs=1e-4)
    assert found.size_mm == pytest.approx(size, abs=1e-4)


def test_a_box_of_whole_numbers_has_no_error_at_all():
    found = measures(box((-10, 20, 30), (10, 50, 40)))
    assert found.volume_ml == 6.0
    assert found.skin_area_cm2 == 22.0
    assert (found.low_ras, found.high_ras) == ((-10, 20, 30), (10, 50, 40))


def test_a_ball_and_its_hollow():
    """An icosphere lies within its ball, by a part that falls with the square of its edges."""
    found = measures(ball(80.0, subdivisions=6))
    assert found.volume_ml == pytest.approx(4 / 3 * np.pi * 512, rel=5e-4)
    assert found.skin_area_cm2 == pytest.approx(4 * np.pi * 64, rel=5e-4)
    hollow = measures(shell(80.0, 78.0, subdivisions=6))
    assert hollow.volume_ml == pytest.approx(4 / 3 * np.pi * (512 - 78**3 / 1000), rel=5e-4)


def test_cuts_are_no_skin():
    mesh = box((0, 0, 0), (10, 20, 30))
    bottom = (mesh.points[mesh.triangles][..., 2] == 0).all(axis=1)
    found = measures(replace(mesh, is_cut=bottom))
    assert found.cut_area_cm2 == pytest.approx(2.0)
    assert found.skin_area_cm2 == pytest.approx(20.0)


def test_inside_out_is_negative_and_two_add_up():
    mesh = box((0, 0, 0), (10, 10, 10))
    assert measures(inverted(mesh)).volume_ml == pytest.approx(-1.0)
    assert measures(joined(mesh, box((20, 0, 0), (30, 10, 10)))).volume_ml == pytest.approx(2.0)


def test_vertices_without_triangles_and_empty_meshes():
    mesh = box((0, 0, 0), (10, 10, 10))
    stray = replace(mesh, points=np.vstack([mesh.points, [[999, 999, 999]]]).astype(np.float32))
    assert measures(stray) == measures(mesh)
    none = SkinMesh(
        np.empty((0, 3), np.float32), np.empty((0, 3), np.int32), np.empty(0, bool), False
    )
    assert measures(none).volume_ml == measures(none).skin_area_cm2 == 0


def test_for_json():
    assert measures(box((0, 0, 0), (10, 20, 30))).as_dict() == {
        "skin_area_cm2": 22.0,
        "cut_area_cm2": 0.0,
        "volume_ml": 6.0,
        "low_ras_mm": [0, 0, 0],
        "high_ras_mm": [10, 20, 30],
        "size_mm": [10, 20, 30],
    }
