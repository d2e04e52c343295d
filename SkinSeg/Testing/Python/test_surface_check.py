"""The check of a mesh: each fault made on purpose is found, counted and told."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_makers import ball, head_like, inside_out, pyramid, skin_mesh, together
from SkinSegLib.core import MissingPackageError, SurfaceError
from SkinSegLib.surface import check

#: Fields that count a fault; a good mesh has none of them.
FAULTS = (
    "boundary_edges",
    "non_manifold_edges",
    "inconsistent_edges",
    "bow_tie_vertices",
    "degenerate_triangles",
    "duplicate_triangles",
    "inside_out_components",
    "self_intersections",
)


@pytest.fixture(scope="module", autouse=True)
def _libigl():
    pytest.importorskip("igl", reason="libigl is not installed")


def faults(found):
    return {name: getattr(found, name) for name in FAULTS if getattr(found, name)}


def with_triangles(mesh, *more):
    return skin_mesh(mesh.points, [*mesh.triangles.tolist(), *more])


@pytest.mark.parametrize("mesh", [ball(), pyramid(), head_like()], ids=["ball", "pyramid", "head"])
def test_a_good_mesh(mesh):
    found = check(mesh)
    assert faults(found) == {}
    assert found.printable
    assert found.closed
    assert found.outward
    assert (found.reasons, found.notes) == ((), ())
    assert (found.components, found.cavities) == (1, 0)
    assert found.triangles == len(mesh.triangles)
    assert found.volume_ml == pytest.approx(mesh.volume_ml, rel=1e-6)


def test_measures():
    found = check(pyramid())
    assert found.volume_ml == pytest.approx(20 * 20 * 15 / 3 / 1000)
    assert found.area_cm2 == pytest.approx((400 + 4 * 10 * np.hypot(10, 15)) / 100)
    assert found.bounds_mm == ((-10, -10, 0), (10, 10, 15))


def test_a_hole():
    mesh = ball()
    found = check(skin_mesh(mesh.points, mesh.triangles[1:]))
    assert faults(found) == {"boundary_edges": 3}
    assert not found.closed
    assert not found.printable
    assert "3 edges lie on the rim of a hole" in found.reasons[0]


def test_a_flipped_triangle():
    mesh = ball()
    triangles = mesh.triangles.copy()
    triangles[5] = triangles[5, ::-1]
    found = check(skin_mesh(mesh.points, triangles))
    assert faults(found) == {"inconsistent_edges": 3}
    assert not found.closed
    assert not found.printable
    assert "normals" in found.reasons[0]


@pytest.mark.parametrize("turned", [False, True])
def test_a_duplicate_triangle(turned):
    mesh = ball()
    again = mesh.triangles[5][::-1] if turned else np.roll(mesh.triangles[5], 1)
    found = check(with_triangles(mesh, again.tolist()))
    assert faults(found) == {"duplicate_triangles": 1, "non_manifold_edges": 3}
    assert not found.printable
    assert any("1 triangle is there twice" in reason for reason in found.reasons)


def test_a_bow_tie():
    """Two pyramids that share their tip."""
    mesh, tip = pyramid(), 4
    other = skin_mesh((0, 0, 30) - mesh.points * (1, 1, 1) * [[-1, 1, 1]], mesh.triangles)
    both = together(mesh, other)
    joined = both.triangles.copy()
    joined[joined == len(mesh.points) + tip] = tip
    found = check(skin_mesh(both.points, joined))
    assert faults(found) == {"bow_tie_vertices": 1}
    assert found.closed
    assert not found.printable


def test_a_non_manifold_edge():
    """Two pyramids that share an edge of their bases."""
    mesh = pyramid()
    other = skin_mesh(mesh.points + (20, 0, 0), mesh.triangles)
    both = together(mesh, other)
    joined = both.triangles.copy()
    joined[joined == 5], joined[joined == 8] = 1, 2  # at x = 10
    found = check(skin_mesh(both.points, joined))
    assert found.non_manifold_edges == 1
    assert not found.closed
    assert not found.printable


def test_a_triangle_without_area():
    """A point on an edge, and the gap between it and the edge filled with a triangle."""
    mesh = pyramid()
    points = [*mesh.points.tolist(), (0.0, -10.0, 0.0)]
    rest = [t for t in mesh.triangles.tolist() if t != [0, 1, 4]]
    found = check(skin_mesh(points, [*rest, (0, 5, 4), (5, 1, 4), (0, 1, 5)]))
    # Without it, its neighbours touch along the edge that was its longest side.
    assert faults(found) == {"degenerate_triangles": 1, "self_intersections": 1}
    assert found.closed
    assert not found.printable


def test_a_triangle_with_a_corner_twice():
    found = check(with_triangles(ball(), (3, 3, 7)))
    assert faults(found) == {"degenerate_triangles": 1}
    assert found.closed


def test_walls_that_pass_through_each_other():
    found = check(together(ball(), ball(at=(12, 0, 0))))
    assert set(faults(found)) == {"self_intersections"}
    assert found.closed
    assert not found.printable
    assert "pass through each other" in found.reasons[0]
    unchecked = check(together(ball(), ball(at=(12, 0, 0))), self_intersections=False)
    assert unchecked.self_intersections is None
    assert unchecked.printable
    assert any("not checked" in note for note in unchecked.notes)


def test_inside_out():
    found = check(inside_out(ball()))
    assert faults(found) == {"inside_out_components": 1}
    assert found.closed
    assert not found.outward
    assert not found.printable
    assert "Flip the normals" in found.reasons[0]


def test_two_parts_are_told():
    found = check(together(ball(), ball(at=(50, 0, 0))))
    assert faults(found) == {}
    assert (found.components, found.cavities) == (2, 0)
    assert found.printable
    assert "2 separate parts" in found.notes[0]


def test_a_cavity_is_no_fault():
    found = check(together(ball(20), inside_out(ball(5, (2, 3, 4)))))
    assert faults(found) == {}
    assert (found.components, found.cavities) == (2, 1)
    assert found.outward
    assert found.printable
    assert "hollow" in found.notes[0]


def test_a_second_part_inside_out_is_no_cavity():
    found = check(together(ball(20), inside_out(ball(5, (50, 0, 0)))))
    assert faults(found) == {"inside_out_components": 1}
    assert found.cavities == 0
    assert not found.outward


def test_parts_within_parts():
    """A ball in a hollow of a ball is turned as the outer one; a wrong one is seen there too."""
    right = [ball(40), inside_out(ball(30)), ball(20), inside_out(ball(10))]
    found = check(together(*right))
    assert faults(found) == {}
    assert (found.components, found.cavities) == (4, 2)
    wrong = check(together(*right[:2], inside_out(ball(20))))
    assert (wrong.cavities, wrong.inside_out_components) == (1, 1)
    assert not wrong.printable


def test_thousands_of_parts():
    """As from a threshold: in rows, so that rays meet many of them."""
    grid = np.stack(np.meshgrid(*[np.linspace(-40, 40, 12)] * 3), -1).reshape(-1, 3)
    small = pyramid()
    hollow = skin_mesh(small.points * 0.1, small.triangles[:, ::-1])
    hollows = [skin_mesh(hollow.points + place, hollow.triangles) for place in grid]
    outside = skin_mesh(hollow.points + (2000, 0, 0), hollow.triangles)
    box = skin_mesh(pyramid().points * 30 - (0, 0, 120), pyramid().triangles)
    found = check(together(box, *hollows, outside), self_intersections=False)
    assert found.components == 12**3 + 2
    assert (found.cavities, found.inside_out_components) == (12**3, 1)


def test_nothing():
    found = check(skin_mesh(np.zeros((0, 3)), []))
    assert found.triangles == found.components == 0
    assert not found.closed
    assert not found.printable
    assert "no triangles" in found.reasons[0]
    only = check(skin_mesh(np.eye(3), [(0, 0, 1)]))
    assert not only.printable


def test_a_flat_sheet_of_two_sides_encloses_nothing():
    found = check(skin_mesh(np.eye(3), [(0, 1, 2), (0, 2, 1)]))
    assert found.volume_ml == 0
    assert not found.printable


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_damaged_meshes_are_refused(bad):
    points = pyramid().points.copy()
    points[0, 0] = bad
    with pytest.raises(SurfaceError, match="damaged"):
        check(skin_mesh(points, pyramid().triangles))
    with pytest.raises(SurfaceError, match="damaged"):
        check(with_triangles(pyramid(), (0, 1, 5)))


def test_without_libigl_it_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "igl.predicates", None)
    with pytest.raises(MissingPackageError, match=r"skinseg\[mesh\]"):
        check(ball())
    assert check(ball(), self_intersections=False).printable


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.booleans())
def test_what_is_taken_out_is_seen(seed, removed, shuffled):
    """Any triangles gone: open exactly where a plain count of edges says so."""
    rng = np.random.default_rng(seed)
    mesh = ball()
    kept = mesh.triangles[rng.permutation(len(mesh.triangles))[removed:]]
    if shuffled:
        turns = rng.integers(0, 3, len(kept))
        kept = np.stack([np.roll(t, s) for t, s in zip(kept, turns, strict=True)])
    counts: dict[frozenset[int], int] = {}
    for a, b, c in kept.tolist():
        for edge in ((a, b), (b, c), (c, a)):
            counts[frozenset(edge)] = counts.get(frozenset(edge), 0) + 1
    found = check(skin_mesh(mesh.points, kept), self_intersections=False)
    assert found.boundary_edges == sum(n == 1 for n in counts.values()) > 0
    assert found.non_manifold_edges == found.inconsistent_edges == 0
    assert not found.closed
    assert not found.printable


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(*[st.integers(0, 8)] * 3),
        max_size=25,
    )
)
def test_any_triangles_are_counted_right(triangles):
    """Against plain loops, on soups of nine points with every fault at once."""
    rng = np.random.default_rng(1)
    found = check(skin_mesh(rng.normal(size=(9, 3)), triangles), self_intersections=False)
    whole = [t for t in triangles if len(set(t)) == 3]
    runs: dict[frozenset[int], list[bool]] = {}
    for a, b, c in whole:
        for start, end in ((a, b), (b, c), (c, a)):
            runs.setdefault(frozenset((start, end)), []).append(start < end)
    assert found.boundary_edges == sum(len(r) == 1 for r in runs.values())
    assert found.non_manifold_edges == sum(len(r) > 2 for r in runs.values())
    assert found.inconsistent_edges == sum(len(r) == 2 and r[0] == r[1] for r in runs.values())
    assert found.duplicate_triangles == len(whole) - len({frozenset(t) for t in whole})
    assert found.degenerate_triangles == len(triangles) - len(whole)
    assert found.bow_tie_vertices == sum(fans(whole, point) > 1 for point in range(9))
    assert found.components == islands(whole)


def fans(triangles, point):
    """Groups of the triangles at a point, joined where they share another point, thus an edge."""
    return islands([tuple(set(t) - {point}) for t in triangles if point in t])


def islands(groups):
    found: list[set[int]] = []
    for group in groups:
        touching = [island for island in found if island & set(group)]
        found = [island for island in found if island not in touching]
        found.append(set(group).union(*touching))
    return len(found)
