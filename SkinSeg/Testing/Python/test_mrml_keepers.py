"""Our surfaces through deletions, saving, Show 3D, hardened transforms, and other scenes."""

from __future__ import annotations

import zipfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from mrml_makers import bent, linear, mask_of, rotation, segmented, small_scan, volume_node
from SkinSegLib import mrml, surface
from SkinSegLib.core import MissingPackageError, SkinMesh, transform_points
from SkinSegLib.mrml.keepers import SEGMENT_ATTRIBUTE
from SkinSegLib.mrml.volumes import vtk_matrix
from SkinSegLib.surface import read_points

MOVED = rotation(20, 2) @ np.array([[1, 0, 0, 9], [0, 1, 0, -4], [0, 0, 1, 30], [0, 0, 0, 1.0]])
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


pytestmark = pytest.mark.usefixtures("empty_scene")


@pytest.fixture
def watch(empty_scene):
    watch = mrml.watch_scene()
    yield watch
    watch.close()


@pytest.fixture
def both():
    """A segmentation whose two closed surfaces are ours, and the two meshes."""
    placed = mrml.placed_scan(volume_node(small_scan()))
    mask = mask_of(placed.scan)
    head = surface.build(mask, placed.scan)
    shell = SkinMesh(head.points * np.float32(0.9), head.triangles, head.is_cut, head.closed)
    node = mrml.add_segmentation(placed, mask.voxels, head, mask.voxels, shell)
    return node, {"Head": head, "Skin": shell}


def keepers():
    nodes = mrml.ensure_host().util.getNodesByClass("vtkMRMLModelNode")
    return [node for node in nodes if node.GetAttribute(SEGMENT_ATTRIBUTE)]


def points_of(polydata):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(polydata.GetPoints().GetData())


def shown(node, segment_id="Head"):
    """Points of the closed surface as the node holds it."""
    return points_of(node.GetClosedSurfaceInternalRepresentation(segment_id))


def is_shown(node, points, segment_id="Head", atol=0.0):
    there = shown(node, segment_id)
    return there.shape == points.shape and np.abs(there - points).max() <= atol


def models_in(bundle):
    with zipfile.ZipFile(bundle) as archive:
        return [name for name in archive.namelist() if name.endswith((".vtk", ".vtp", ".stl"))]


# Whose mesh is it


def test_another_scenes_mesh_under_our_keepers_name_is_not_taken_for_ours(both):
    node, meshes = both
    other = meshes["Head"].points + np.float32([0, 0, 0.25])
    keeper = next(k for k in keepers() if k.GetAttribute(SEGMENT_ATTRIBUTE) == "Head")
    copy = keeper.GetPolyData().NewInstance()
    copy.DeepCopy(keeper.GetPolyData())
    points_of(copy)[:] = other
    keeper.SetAndObserveMesh(copy)
    assert mrml.restore_surface(node) == ("Skin",)
    assert is_shown(node, meshes["Head"].points)
    node.GetSegmentation().CreateRepresentation("Closed surface", True)
    assert mrml.restore_surface(node) == ("Skin",)
    assert not is_shown(node, other)


def test_another_scenes_triangles_are_not_taken_for_ours(both):
    node, meshes = both
    keeper = next(k for k in keepers() if k.GetAttribute(SEGMENT_ATTRIBUTE) == "Head")
    turned = SkinMesh(
        meshes["Head"].points,
        meshes["Head"].triangles[:, ::-1].copy(),
        meshes["Head"].is_cut,
        closed=True,
    )
    keeper.SetAndObserveMesh(surface.polydata.to_polydata(turned))
    assert mrml.restore_surface(node) == ("Skin",)


def test_kept_surfaces_of_two_patients_are_never_saved_under_one_name(empty_scene):
    names = []
    for amount in (1.0, 1.001):
        scan = small_scan()
        segmented(
            volume_node(replace(scan, ijk_to_ras=np.diag([1, 1, amount, 1]) @ scan.ijk_to_ras))
        )
        names += [keeper.GetName() for keeper in keepers()]
        empty_scene.Clear()
    assert len(set(names)) == len(names) == 2
    assert names[0][:-8] == names[1][:-8]


# Privacy: what is deleted is not saved


def test_with_the_segmentation_its_surfaces_leave_the_scene(watch, both, empty_scene, tmp_path):
    assert len(keepers()) == 2
    mrml.save_scene(tmp_path / "first.mrb")  # gives the hidden nodes their storage nodes
    assert len(models_in(tmp_path / "first.mrb")) == 2
    empty_scene.RemoveNode(both[0])
    assert keepers() == []
    assert mrml.ensure_host().util.getNodesByClass("vtkMRMLModelStorageNode") == []
    mrml.save_scene(tmp_path / "second.mrb")
    assert models_in(tmp_path / "second.mrb") == []


def test_without_a_watch_saving_leaves_them_out_too(both, empty_scene, tmp_path):
    empty_scene.RemoveNode(both[0])
    mrml.save_scene(tmp_path / "scene.mrb")
    assert models_in(tmp_path / "scene.mrb") == []
    assert keepers() == []


def test_a_surface_that_was_left_behind_in_a_file_goes_when_it_is_loaded(
    both, empty_scene, tmp_path
):
    empty_scene.RemoveNode(both[0])
    assert empty_scene.WriteToMRB(str(tmp_path / "old.mrb"), None, None)
    assert len(models_in(tmp_path / "old.mrb")) == 2
    watch = mrml.watch_scene()
    assert empty_scene.ReadFromMRB(str(tmp_path / "old.mrb"), True, None)
    assert keepers() == []
    watch.close()


def test_a_deleted_segments_surface_is_saved_no_more(watch, both, empty_scene, tmp_path):
    node, _meshes = both
    node.GetSegmentation().RemoveSegment("Head")
    # By Slicer's own saving, which nobody announces.
    assert empty_scene.WriteToMRB(str(tmp_path / "scene.mrb"), None, None)
    (name,) = models_in(tmp_path / "scene.mrb")
    assert "Skin" in name


def test_a_deleted_segments_surface_is_not_saved_without_a_watch(both, tmp_path):
    both[0].GetSegmentation().RemoveSegment("Head")
    mrml.save_scene(tmp_path / "scene.mrb")
    (name,) = models_in(tmp_path / "scene.mrb")
    assert "Skin" in name


def test_undoing_a_deletion_brings_our_surface_back(watch, both, tmp_path):
    node, meshes = both
    history = mrml.ensure_host().vtkSegmentationHistory()
    history.SetSegmentation(node.GetSegmentation())
    history.SaveState()
    node.GetSegmentation().RemoveSegment("Head")
    assert history.RestorePreviousState()
    assert mrml.restore_surface(node) == ("Head", "Skin")
    assert is_shown(node, meshes["Head"].points)
    mrml.save_scene(tmp_path / "scene.mrb")
    assert len(models_in(tmp_path / "scene.mrb")) == 2


def test_closing_a_scene_is_no_matter(watch, both, empty_scene):
    empty_scene.Clear()
    assert keepers() == []


def test_one_watch_at_a_time(watch, both, empty_scene, monkeypatch):
    from SkinSegLib.mrml import watch as module

    calls = []
    monkeypatch.setattr(module, "remove_orphans", lambda: calls.append(1))
    for _ in range(3):
        mrml.watch_scene()
    calls.clear()
    both[0].GetSegmentation().RemoveSegment("Skin")
    assert len(calls) == 1
    empty_scene.RemoveNode(both[0])
    assert len(calls) == 2
    mrml.watch_scene().close()
    calls.clear()
    empty_scene.RemoveNode(keepers()[0])
    assert calls == []


# Slicer drops our surface, and it comes back


def test_a_loaded_scene_shows_our_surfaces(watch, both, empty_scene, tmp_path):
    mrml.save_scene(tmp_path / "scene.mrb")
    assert empty_scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode")
    for segment_id, mesh in both[1].items():
        assert is_shown(node, mesh.points, segment_id)


def test_a_scene_added_to_the_scene_shows_our_surfaces(watch, both, empty_scene, tmp_path):
    mrml.save_scene(tmp_path / "scene.mrb")
    assert empty_scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False, None)
    nodes = mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode")
    assert len(nodes) == 2
    assert len(keepers()) == 4
    assert all(is_shown(n, mesh.points, s) for n in nodes for s, mesh in both[1].items())


def test_a_scene_that_was_loaded_before_the_watch_shows_our_surfaces(both, empty_scene, tmp_path):
    mrml.save_scene(tmp_path / "scene.mrb")
    assert empty_scene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    watch = mrml.watch_scene()
    (node,) = mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode")
    assert is_shown(node, both[1]["Skin"].points, "Skin")
    watch.close()


def show_3d_off_and_on(node):
    node.RemoveClosedSurfaceRepresentation()
    node.CreateClosedSurfaceRepresentation()


def other_smoothing(node):
    """What the slider in Segmentations does."""
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0.9")
    show_3d_off_and_on(node)


@pytest.mark.parametrize("act", [show_3d_off_and_on, other_smoothing])
def test_what_show_3d_dropped_comes_back(both, act, tmp_path):
    node, meshes = both
    act(node)
    assert not is_shown(node, meshes["Head"].points)
    path = mrml.export_surface(node, tmp_path / "skin.stl", space="RAS")
    expected = meshes["Head"].points[meshes["Head"].triangles].reshape(-1, 3)
    points = read_points(path)[0]
    assert np.abs(np.sort(points, axis=0) - np.sort(expected, axis=0)).max() < 1e-3
    act(node)
    assert mrml.restore_surface(node) == ("Head", "Skin")
    for segment_id, mesh in meshes.items():
        assert is_shown(node, mesh.points, segment_id)


@pytest.mark.parametrize("matrix", [MOVED, MIRROR, np.diag([1.1, 0.9, 1.0, 1.0])])
def test_hardening_a_linear_transform_moves_our_surface(matrix, empty_scene, tmp_path):
    node, mesh, _mask = segmented(volume_node(small_scan()))
    node.SetAndObserveTransformNodeID(linear(matrix).GetID())
    assert node.HardenTransform()
    assert mrml.restore_surface(node) == ("Head",)
    expected = transform_points(matrix, mesh.points)
    assert is_shown(node, expected, atol=2e-3)
    world = mrml.world_surface(node, "Head")
    assert world.closed
    assert world.volume_ml == pytest.approx(
        mesh.volume_ml * abs(np.linalg.det(matrix[:3, :3])), rel=1e-4
    )
    # And it is kept there: through a file, and once more.
    mrml.save_scene(tmp_path / "scene.mrb")
    (node,) = mrml.load_scene(tmp_path / "scene.mrb")
    assert is_shown(node, expected, atol=2e-3)
    node.ApplyTransformMatrix(vtk_matrix(np.linalg.inv(matrix)))
    assert mrml.restore_surface(node) == ("Head",)
    assert is_shown(node, mesh.points, atol=4e-3)


def test_hardening_before_saving_and_restoring_after_loading(empty_scene, tmp_path):
    node, mesh, _mask = segmented(volume_node(small_scan()))
    node.ApplyTransformMatrix(vtk_matrix(MOVED))
    mrml.save_scene(tmp_path / "scene.mrb")
    (node,) = mrml.load_scene(tmp_path / "scene.mrb")
    assert is_shown(node, transform_points(MOVED, mesh.points), atol=4e-3)


def test_hardening_a_bend_leaves_slicers_own_surface():
    node, mesh, _mask = segmented(volume_node(small_scan()))
    node.SetAndObserveTransformNodeID(bent().GetID())
    assert node.HardenTransform()
    assert mrml.restore_surface(node) == ()  # the voxels are others: for editing, later
    assert not is_shown(node, mesh.points)


# Files named relative to the current folder


def test_relative_names_are_meant_from_the_current_folder(both, tmp_path, monkeypatch):
    node, meshes = both
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    mrml.save_segmentation(node, "head.seg.nrrd")
    mrml.save_scene("sub/scene.mrb")
    for suffix in (".stl", ".ply"):
        mrml.export_surface(node, f"skin{suffix}")
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    assert found == ["head.seg.nrrd", "skin.ply", "skin.stl", "sub/scene.mrb"]
    again = mrml.load_segmentation("head.seg.nrrd")
    assert again.GetSegmentation().GetSegmentIDs() == ("Head", "Skin")
    nodes = mrml.load_scene("sub/scene.mrb")
    assert any(is_shown(n, meshes["Head"].points) for n in nodes)


def test_a_python_with_half_of_slicer_says_so(monkeypatch):
    slicer = mrml.ensure_host()
    monkeypatch.setattr(slicer, "mrmlScene", None)
    monkeypatch.delattr(slicer, "vtkSlicerSegmentationsModuleLogic")
    with pytest.raises(MissingPackageError, match="inside Slicer"):
        mrml.ensure_host()
