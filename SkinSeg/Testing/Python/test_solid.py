"""Cut, scaled, mirrored, drilled: closed again, flat, and all the rest where it was."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from command import LIBRARY
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from shapes import as_mesh, as_trimesh, ball, box, inverted, joined, shell
from SkinSegLib.core import MissingPackageError, OutputError, SkinMesh, SurfaceError
from SkinSegLib.surface import (
    CutPlane,
    FinishOptions,
    cut_below,
    finished,
    measures,
    mirrored,
    require_mirrored_name,
    scaled,
    with_cavities_dropped,
    with_drain_hole,
)
from SkinSegLib.surface.hole import closed_hollows_ml

pytest.importorskip("manifold3d", reason="manifold3d is not installed: skinseg[mesh]")


def assert_sound(mesh: SkinMesh) -> None:
    """Closed by our own word and by another library's, after welding as readers of STL do."""
    assert mesh.closed
    assert mesh.points.dtype == np.float32
    assert mesh.triangles.dtype == np.int32
    assert len(mesh.is_cut) == len(mesh.triangles)
    body = as_trimesh(mesh)
    assert body.is_watertight
    assert body.is_winding_consistent
    body.merge_vertices()
    assert body.is_watertight
    assert mesh.volume_ml > 0


def rows(points: np.ndarray) -> set[bytes]:
    return {bytes(point) for point in np.ascontiguousarray(points)}


def cut_points(mesh: SkinMesh) -> np.ndarray:
    return mesh.points[np.unique(mesh.triangles[mesh.is_cut])]


def cap_ml(radius: float, height: float) -> float:
    return np.pi * height**2 * (3 * radius - height) / 3000


# --- cutting


def test_a_cut_is_flat_closed_and_marked_and_nothing_else_moves():
    head = ball(80.0, (3.3, -7.7, 11.1))
    cut = cut_below(head, CutPlane.axial(-20.3))
    assert_sound(cut)
    assert (cut_points(cut)[:, 2] == np.float32(-20.3)).all()
    assert cut.points[:, 2].min() == np.float32(-20.3)
    above = head.points[head.points[:, 2] > -20.3]
    assert rows(above) <= rows(cut.points)
    assert cut.volume_ml == pytest.approx(cap_ml(80, 11.1 + 80 + 20.3), rel=2e-3)
    radius = np.sqrt(80**2 - (20.3 + 11.1) ** 2)
    assert measures(cut).cut_area_cm2 == pytest.approx(np.pi * radius**2 / 100, rel=3e-3)


@given(
    normal=st.tuples(*[st.floats(-1, 1)] * 3),
    offset=st.floats(-70, 70),
    seed=st.integers(0, 2**16),
)
@example(normal=(0.5, 0.0, 5.960464477539063e-08), offset=0.0, seed=0)
@settings(max_examples=60, deadline=None)
def test_any_plane_through_a_rough_ball(normal, offset, seed):
    assume(np.linalg.norm(normal) > 0.1)
    head = ball(80.0, (150, -200, 90), subdivisions=3)
    rough = 1 + np.random.default_rng(seed).uniform(-0.02, 0.02, (len(head.points), 1))
    centre = np.float32((150, -200, 90))
    head = replace(head, points=((head.points - centre) * rough + centre).astype(np.float32))
    unit = np.array(normal) / np.linalg.norm(normal)
    plane = CutPlane(tuple(centre + offset * unit), normal)
    cut = cut_below(head, plane, only_largest=False)
    assert_sound(cut)
    assert np.abs(plane.distance(cut_points(cut))).max() < 1e-4
    assert plane.distance(cut.points).min() > -1e-4
    kept = head.points[plane.distance(head.points) > 1.1e-3]
    assert rows(kept) <= rows(cut.points)
    other = cut_below(head, plane.turned(), only_largest=False)
    assert cut.volume_ml + other.volume_ml == pytest.approx(head.volume_ml, rel=1e-5)


@pytest.mark.parametrize("superior", [0.0, 40.0])
def test_a_plane_through_vertices(superior):
    """The equator of an icosphere has vertices at 0; a box has faces there."""
    assert_sound(cut_below(ball(80.0, subdivisions=4), CutPlane.axial(superior)))
    block = joined(box((0, 0, 0), (10, 10, 80)), box((20, 0, 0), (30, 10, 41)))
    assert_sound(cut_below(block, CutPlane.axial(superior - 1e-6)))


def test_the_ends_of_the_scan_stay_marked():
    head = ball(80.0)
    ends = head.points[head.triangles].mean(axis=1)[:, 0] > 70
    cut = cut_below(replace(head, is_cut=ends), CutPlane.axial(0.0))
    middle = cut.points[cut.triangles].mean(axis=1)
    expected = (middle[:, 0] > 70) | (middle[:, 2] < 1e-3)
    assert (cut.is_cut == expected).all()


def test_what_was_done_before_is_still_known():
    done = {"smoothing_bound_mm": 0.2}
    mesh = replace(ball(20.0), processing=done)
    assert cut_below(mesh, CutPlane.axial(0.0)).processing == done


def test_several_planes():
    block = box((-50, -50, -50), (50, 50, 50))
    planes = CutPlane.axial(-10), CutPlane((0, 20, 0), (0, -1, 0)), CutPlane((-30, 0, 0), (1, 0, 0))
    cut = cut_below(block, *planes)
    assert_sound(cut)
    found = measures(cut)
    assert found.low_ras == (-30, -50, -10)
    assert found.high_ras == (50, 20, 50)
    assert found.volume_ml == pytest.approx(80 * 70 * 60 / 1000)


def test_a_plane_below_everything_changes_nothing():
    head = ball(80.0)
    assert cut_below(head, CutPlane.axial(-80.0)) is head
    assert cut_below(head, CutPlane.axial(-300.0)) is head
    assert cut_below(head) is head


@pytest.mark.parametrize("superior", [80.0, 300.0])
def test_a_cut_that_leaves_nothing_is_refused(superior):
    with pytest.raises(SurfaceError, match="leave nothing"):
        cut_below(ball(80.0), CutPlane.axial(superior))
    with pytest.raises(SurfaceError, match="leave nothing"):
        cut_below(ball(80.0), CutPlane.axial(10), CutPlane((0, 0, -10), (0, 0, -1)))


def u_shape() -> SkinMesh:
    """Two towers, the right one larger, on a common base."""
    base = box((-50, 0, 0), (50, 20, 20))
    import manifold3d
    from SkinSegLib.surface.manifold import from_manifold, to_body

    body = to_body(base)
    towers = [
        to_body(box(low, high)).manifold
        for low, high in (((20, 0, 10), (50, 20, 90)), ((-50, 0, 10), (-40, 20, 80)))
    ]
    union = manifold3d.Manifold.batch_boolean([body.manifold, *towers], manifold3d.OpType.Add)
    return from_manifold(union, body)[0]


def test_what_a_cut_separates_is_dropped_unless_asked_for():
    head = u_shape()
    both = cut_below(head, CutPlane.axial(30), only_largest=False)
    assert both.volume_ml == pytest.approx((30 * 20 * 60 + 10 * 20 * 50) / 1000)
    largest = cut_below(head, CutPlane.axial(30))
    assert_sound(largest)
    assert largest.volume_ml == pytest.approx(30 * 20 * 60 / 1000)
    assert largest.points[:, 0].min() == 20


def test_the_largest_part_keeps_its_own_hollows_only():
    head = joined(
        box((0, 0, 0), (60, 60, 60)),
        inverted(box((20, 20, 30), (40, 40, 50))),
        box((100, 0, 0), (130, 30, 60)),
        inverted(box((110, 10, 30), (120, 20, 50))),
    )
    cut = cut_below(head, CutPlane.axial(10))
    assert_sound(cut)
    assert cut.volume_ml == pytest.approx((60 * 60 * 50 - 20 * 20 * 20) / 1000)
    assert closed_hollows_ml(cut) == [pytest.approx(8.0)]


def test_a_cut_opens_a_shell():
    cut = cut_below(shell(80.0, 78.0), CutPlane.axial(-40.0))
    assert_sound(cut)
    assert closed_hollows_ml(cut) == []
    ring = np.pi * (80**2 - 78**2) / 100
    assert measures(cut).cut_area_cm2 == pytest.approx(ring, rel=0.02)


def test_open_and_empty_meshes_are_refused():
    head = ball(80.0, subdivisions=3)
    torn = SkinMesh(head.points, head.triangles[1:], head.is_cut[1:], closed=False)
    with pytest.raises(SurfaceError, match="not a closed solid"):
        cut_below(torn, CutPlane.axial(0))


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "manifold3d", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'skinseg\[mesh\]'"):
        cut_below(ball(80.0, subdivisions=2), CutPlane.axial(0))
    with pytest.raises(MissingPackageError):
        with_drain_hole(shell(80.0, 78.0, 2), 5.0)
    with pytest.raises(MissingPackageError):
        FinishOptions(cut_below_s_mm=0.0).check()
    mirrored(ball(80.0, subdivisions=2), "R")
    FinishOptions(scale=0.5).check()


# --- planes


def test_planes_of_slicers_slice_views():
    """The real node: which column is the normal, and where Slicer's three views point it."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    scene = slicer.vtkMRMLScene()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
    node = scene.AddNewNodeByClass("vtkMRMLSliceNode")

    def matrix(orientation: str, offset: float) -> np.ndarray:
        assert node.SetOrientation(orientation)
        node.SetSliceOffset(offset)
        found = node.GetSliceToRAS()
        return np.array([[found.GetElement(i, j) for j in range(4)] for i in range(4)])

    axial = matrix("Axial", -80.0)
    plane = CutPlane.from_slice(axial)
    assert plane.normal_ras == pytest.approx((0, 0, 1))
    assert plane.distance(np.array([[5.0, 6.0, -80.0]])) == pytest.approx([0])
    assert CutPlane.from_slice(axial, keep="inferior").normal_ras == pytest.approx((0, 0, -1))
    coronal = matrix("Coronal", 12.0)
    assert CutPlane.from_slice(coronal, keep="anterior").normal_ras == pytest.approx((0, 1, 0))
    assert CutPlane.from_slice(coronal, keep="posterior").origin_ras[1] == pytest.approx(12)
    sagittal = matrix("Sagittal", -3.0)
    for side, sign in (("right", 1), ("left", -1)):
        found = CutPlane.from_slice(sagittal, keep=side)
        assert found.normal_ras == pytest.approx((sign, 0, 0))
    for view in (coronal, sagittal):
        with pytest.raises(SurfaceError, match="no superior side"):
            CutPlane.from_slice(view)


def test_a_tilted_slice_keeps_what_is_above_whichever_way_it_points():
    angle = np.radians(30)
    tilted = np.eye(4)
    tilted[:3, 2] = 0, np.sin(angle), np.cos(angle)
    tilted[:3, 3] = 1, 2, 3
    turned = tilted * np.array([1, 1, -1, 1])
    for matrix in (tilted, turned):
        plane = CutPlane.from_slice(matrix)
        assert plane.normal_ras == pytest.approx((0, 0.5, np.cos(angle)))
        assert plane.origin_ras == (1, 2, 3)


@pytest.mark.parametrize(
    ("origin", "normal"),
    [((0, 0, 0), (0, 0, 0)), ((0, np.nan, 0), (0, 0, 1)), ((0, 0, 0), (0, np.inf, 1))],
)
def test_planes_that_are_none(origin, normal):
    with pytest.raises(SurfaceError, match="cutting plane"):
        CutPlane(origin, normal)
    with pytest.raises(SurfaceError):
        CutPlane.from_slice(np.full((4, 4), np.nan))
    with pytest.raises(SurfaceError, match="no side"):
        CutPlane.from_slice(np.eye(4), keep="up")


# --- scaling and mirroring


@pytest.mark.parametrize("factor", [0.5, 2.5])
def test_scaling_is_about_the_centre(factor):
    before = box((10, 20, 30), (30, 60, 40))
    after = scaled(before, factor)
    assert_sound(after)
    assert measures(after).size_mm == pytest.approx(np.multiply(measures(before).size_mm, factor))
    assert after.volume_ml == pytest.approx(before.volume_ml * factor**3)
    middle = np.add(measures(after).low_ras, measures(after).high_ras) / 2
    assert middle == pytest.approx((20, 40, 35))
    assert scaled(before, 1.0) is before


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf, 1e3])
def test_scales_that_make_no_sense(factor):
    with pytest.raises(SurfaceError, match="scale"):
        scaled(box((0, 0, 0), (1, 1, 1)), factor)
    with pytest.raises(SurfaceError, match="scale"):
        FinishOptions(scale=factor)


@pytest.mark.parametrize(("axis", "column"), [("R", 0), ("A", 1), ("S", 2)])
def test_mirroring_moves_the_ear_to_the_other_side_and_stays_outward(axis, column):
    low = [-50.0, -60.0, -70.0]
    ear_low, ear_high = [-5.0] * 3, [5.0] * 3
    ear_low[column], ear_high[column] = 75.0, 90.0
    head = joined(box(tuple(low), (50, 60, 70)), box(tuple(ear_low), tuple(ear_high)))
    head = replace(head, is_cut=np.arange(len(head.triangles)) < 2)
    image = mirrored(head, axis)
    assert image.volume_ml == pytest.approx(head.volume_ml)
    assert (measures(image).low_ras, measures(image).high_ras) == (
        measures(head).low_ras,
        measures(head).high_ras,
    )
    ear = image.points[8:, column]
    middle = (low[column] + 90) / 2
    assert sorted(set(ear)) == pytest.approx([2 * middle - 90, 2 * middle - 75])
    others = [other for other in range(3) if other != column]
    assert (image.points[:, others] == head.points[:, others]).all()
    assert (image.is_cut == head.is_cut).all()
    assert mirrored(image, axis).points == pytest.approx(head.points, abs=1e-4)


def test_a_mirrored_file_must_say_so():
    with pytest.raises(OutputError, match=r"Name it skin-mirrored\.stl"):
        require_mirrored_name("folder-mirrored/skin.stl")
    require_mirrored_name("skin_Mirrored.ply")
    options = FinishOptions(mirror="left-right", scale=0.5)
    assert options.label == "mirrored, scaled 0.5"
    with pytest.raises(OutputError):
        options.check("mirrored.stl", "preview.png")
    options.check("mirrored.stl", None)
    with pytest.raises(SurfaceError, match="no axis"):
        mirrored(ball(1.0), "left")
    with pytest.raises(SurfaceError, match="no way to mirror"):
        FinishOptions(mirror="front")


# --- hollows and holes


def test_hollows_and_crumbs_go():
    head = joined(
        box((0, 0, 0), (60, 60, 60)),
        inverted(box((20, 20, 20), (40, 40, 40))),
        box((100, 0, 0), (110, 10, 10)),
    )
    solid = with_cavities_dropped(head)
    assert_sound(solid)
    assert solid.volume_ml == pytest.approx(216.0)
    assert len(solid.points) == 8
    assert with_cavities_dropped(solid) is solid
    with pytest.raises(SurfaceError, match="encloses nothing"):
        with_cavities_dropped(inverted(solid))


@pytest.mark.parametrize("diameter", [2.0, 5.0, 12.0])
def test_a_drain_hole_goes_through_the_lowest_wall_only(diameter):
    hollow = shell(80.0, 78.0)
    drained = with_drain_hole(hollow, diameter)
    assert_sound(drained)
    assert closed_hollows_ml(drained) == []
    assert as_trimesh(drained).body_count == 1
    wall = cut_points(drained)
    assert wall[:, 2].max() < -75
    width = np.ptp(wall[:, :2], axis=0)
    assert width == pytest.approx([diameter, diameter], rel=2e-3)
    # Through the wall: as much is gone as a plug of 2 mm holds, which the ball bends.
    gone = hollow.volume_ml - drained.volume_ml
    assert gone == pytest.approx(np.pi * diameter**2 / 4 * 2 / 1000, rel=0.02)
    far = hollow.points[hollow.points[:, 2] > -70]
    assert rows(far) <= rows(drained.points)


def test_on_a_flat_ground_the_hole_is_in_its_middle():
    ground = joined(box((0, 0, 0), (60, 60, 60)), inverted(box((4, 4, 4), (56, 56, 56))))
    # A box has vertices at its corners only: the nearest to the middle of a finer one is there.
    fine = as_mesh(as_trimesh(ground).subdivide_to_size(8.0))
    wall = cut_points(with_drain_hole(fine, 5.0))
    assert wall[:, :2].mean(axis=0) == pytest.approx([30, 30], abs=6)
    assert wall[:, 2].max() < 6


def test_a_drain_hole_where_the_user_wants_it():
    drained = with_drain_hole(shell(80.0, 78.0), 4.0, at_ras=(79.0, 0.0, 0.0))
    assert_sound(drained)
    assert cut_points(drained)[:, 0].min() > 70
    assert closed_hollows_ml(drained) == []
    oblique = with_drain_hole(shell(80.0, 78.0), 4.0, (0.0, 0.0, -79.0), (0.0, 1.0, -1.0))
    assert_sound(oblique)
    assert closed_hollows_ml(oblique) == []
    assert cut_points(oblique)[:, 2].max() < -70


def test_an_open_shell_and_a_solid_need_no_hole():
    opened = cut_below(shell(80.0, 78.0), CutPlane.axial(-40.0))
    assert with_drain_hole(opened, 5.0) is opened
    solid = ball(80.0)
    assert with_drain_hole(solid, 5.0) is solid


def test_a_pocket_in_the_wall_is_not_the_hollow():
    opened = cut_below(shell(80.0, 70.0), CutPlane.axial(-40.0))
    pocketed = joined(opened, inverted(box((72, -2, -2), (76, 2, 2))))
    mesh, (said,) = finished(pocketed, FinishOptions(drain_hole_mm=5.0))
    assert mesh is pocketed
    assert "No drain hole" in said
    assert "1, of 0.06 mL" in said


def test_holes_that_do_not_fit():
    with pytest.raises(SurfaceError, match="no hollow behind"):
        with_drain_hole(ball(80.0), 5.0, at_ras=(0.0, 0.0, -80.0))
    with pytest.raises(SurfaceError, match="no wall"):
        with_drain_hole(shell(80.0, 78.0), 5.0, (0.0, 0.0, -200.0), (1.0, 0.0, 0.0))
    narrow = joined(box((0, 0, 0), (60, 60, 20)), inverted(box((5, 5, 5), (55, 55, 6))))
    with_drain_hole(narrow, 5.0)
    # Tilted, the drill would have to go on into the opposite wall before it is through.
    with pytest.raises(SurfaceError, match="too close behind"):
        with_drain_hole(narrow, 20.0, (30.0, 30.0, 2.0), (0.0, 1.0, 1.0))
    for diameter in (0.0, -3.0, np.nan, 100.0):
        with pytest.raises(SurfaceError, match="wide"):
            with_drain_hole(shell(80.0, 78.0, 2), diameter)


# --- all of it in order


def test_finishing_in_order_and_what_it_says():
    options = FinishOptions(-30.0, "left-right", 0.5, 5.0)
    mesh, said = finished(shell(80.0, 76.0), options)
    assert_sound(mesh)
    assert measures(mesh).size_mm == pytest.approx((80, 80, 55), abs=0.1)
    assert [words.split()[0] for words in said] == ["Cut", "Mirrored", "Scaled", "No"]
    assert options.as_dict() == {
        "cut_below_s_mm": -30.0,
        "mirror": "left-right",
        "scale": 0.5,
        "drain_hole_mm": 5.0,
    }


def test_a_hole_has_its_width_in_the_scaled_print():
    mesh, _ = finished(shell(80.0, 76.0), FinishOptions(scale=0.5, drain_hole_mm=5.0))
    assert np.ptp(cut_points(mesh)[:, 0]) == pytest.approx(5.0, rel=2e-3)


def test_finishing_says_what_was_not_needed_or_dropped():
    head = ball(80.0)
    mesh, (said,) = finished(head, FinishOptions(cut_below_s_mm=-300.0))
    assert mesh is head
    assert "Nothing was cut off: the surface ends at S -80.0 mm" in said
    _, (said,) = finished(u_shape(), FinishOptions(cut_below_s_mm=30.0))
    assert "Dropped 1 part" in said
    assert not FinishOptions()
    assert finished(head, FinishOptions()) == (head, ())


def test_the_panel_opens_without_the_package():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import SkinSegLib.surface;"
        "print('manifold3d' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(LIBRARY)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
