"""Export through the segmentation node, saving, loading: left stays left, files are whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from mrml_makers import (
    EAR,
    NO_EAR,
    bent,
    head_scan,
    linear,
    mask_of,
    nearest,
    rotation,
    segmented,
    volume_node,
)
from SkinSegLib import mrml
from SkinSegLib.core import OutputError, SceneError, transform_points
from SkinSegLib.surface import read_points

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
MOVED = rotation(20, 2) @ np.array([[1, 0, 0, 9], [0, 1, 0, -4], [0, 0, 1, 30], [0, 0, 0, 1.0]])
PARENTS = {
    "no transform": lambda: None,
    "moved": lambda: linear(MOVED),
    "mirrored": lambda: linear(MIRROR),
    "bent": bent,
}
LPS = np.array([-1.0, -1.0, 1.0])
#: Vertices are about a voxel (2 to 2.5 mm) apart.
NEAR = 2.0
#: The tip of the ear, and where the skin would be without one.
OUTWARD = np.array([-8.0, 0, 0])
TIP, NO_TIP = EAR + OUTWARD, NO_EAR - OUTWARD


pytestmark = pytest.mark.usefixtures("empty_scene")


def in_world(parent, position):
    if parent is None:
        return np.asarray(position)
    return np.array(parent.GetTransformToParent().TransformPoint(position))


def signed_volume(points):
    """Of an STL's triangle corners, mL; negative if the surface is inside out."""
    corners = np.asarray(points, dtype=float).reshape(-1, 3, 3)
    a, b, c = (corners - corners.mean(axis=(0, 1))).transpose(1, 0, 2)
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000


@pytest.mark.parametrize(
    ("grid", "above"),
    [
        ("plain", "no transform"),
        ("sheared", "no transform"),
        ("oblique", "moved"),
        ("plain", "mirrored"),
        ("left-handed", "mirrored"),
        ("oblique", "bent"),
        ("left-handed", "bent"),
    ],
)
def test_the_ear_stays_on_its_side_all_the_way(tmp_path, grid, above):
    """Volume node, mask, segmentation, STL, .seg.nrrd and .mrb."""
    parent = PARENTS[above]()
    node, mesh, mask = segmented(volume_node(head_scan(grid), parent))
    tip, no_tip = in_world(parent, TIP), in_world(parent, NO_TIP)
    assert nearest(mesh.points, tip) < NEAR
    assert nearest(mesh.points, no_tip) > 6

    stl = mrml.export_surface(node, tmp_path / "skin.stl")
    points, count, tag = read_points(stl)
    assert (tag, count) == ("LPS", len(mesh.triangles))
    assert nearest(points * LPS, tip) < NEAR
    assert nearest(points * LPS, no_tip) > 6
    assert signed_volume(points) == pytest.approx(mesh.volume_ml, rel=1e-3)

    seg = mrml.save_segmentation(node, tmp_path / "skin.seg.nrrd")
    again = mrml.load_segmentation(seg)
    before, after = (mrml.segment_labelmap(n, "Head") for n in (node, again))
    assert np.array_equal(before[0], after[0])
    np.testing.assert_allclose(before[1], after[1], atol=1e-3)
    assert again.GetSegmentation().GetSegmentIDs() == ("Head", "Skin")
    terms = [
        n.GetSegmentation().GetSegment(s).GetTerminology()
        for n in (node, again)
        for s in ("Head", "Skin")
    ]
    assert terms[:2] == terms[2:]

    mrb = mrml.save_scene(tmp_path / "scene.mrb")
    loaded = [n for n in mrml.load_scene(mrb) if "Head" in mrml.restore_surface(n)]
    assert len(loaded) == 1
    world = mrml.world_surface(loaded[0], "Head")
    np.testing.assert_array_equal(world.triangles, mesh.triangles)
    assert np.abs(world.points - mesh.points).max() < 0.01
    assert np.array_equal(world.is_cut, mesh.is_cut)
    # What lies below a bent transform is the mask mapped back, so count within a rim.
    voxels, _matrix = mrml.segment_labelmap(loaded[0], "Head")
    assert np.count_nonzero(voxels) == pytest.approx(np.count_nonzero(mask.voxels), rel=0.03)


def test_the_exported_file_is_slicers_own_and_holds_our_mesh(tmp_path):
    node, mesh, _mask = segmented(volume_node(head_scan()))
    path = mrml.export_surface(node, tmp_path / "skin.stl")
    assert path.read_bytes().startswith(b"3D Slicer output. SPACE=LPS")
    points, _count, _tag = read_points(path)
    expected = (mesh.points * LPS)[mesh.triangles].reshape(-1, 3)
    assert np.abs(np.sort(points, axis=0) - np.sort(expected, axis=0)).max() < 1e-3
    assert os.listdir(tmp_path) == ["skin.stl"]


@pytest.mark.parametrize("suffix", [".3mf", ".glb"])
def test_formats_that_slicer_does_not_write(tmp_path, suffix):
    if suffix == ".3mf":
        pytest.importorskip("lib3mf", reason="lib3mf is not installed")
    node, mesh, _mask = segmented(volume_node(head_scan()))
    points, count, tag = read_points(mrml.export_surface(node, tmp_path / f"skin{suffix}"))
    assert (tag, count) == ("LPS", len(mesh.triangles))
    assert nearest(points * LPS, TIP) < NEAR


def test_a_proposed_name_is_the_segments_and_can_be_written(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    assert mrml.export_name(node) == "Head.stl"
    node.GetSegmentation().GetSegment("Head").SetName("Kopf: links/rechts ")
    name = mrml.export_name(node, "Head", ".ply")
    assert name == "Kopf_ links_rechts.ply"
    assert mrml.export_surface(node, tmp_path / name).is_file()
    assert mrml.export_name(node, "no such segment") == "surface.stl"
    assert mrml.export_name(None) == "surface.stl"


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".vtp", ".stl"])
@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_other_formats_and_ras(tmp_path, suffix, space):
    node, mesh, _mask = segmented(volume_node(head_scan()))
    path = mrml.export_surface(node, tmp_path / f"skin{suffix}", space=space)
    points, count, tag = read_points(path)
    assert (tag, count) == (space, len(mesh.triangles))
    assert nearest(points * (LPS if space == "LPS" else 1), TIP) < NEAR


def test_export_puts_our_surface_back_first(tmp_path):
    node, mesh, _mask = segmented(volume_node(head_scan()))
    node.GetSegmentation().CreateRepresentation("Closed surface", True)
    _points, count, _tag = read_points(mrml.export_surface(node, tmp_path / "skin.stl"))
    assert count == len(mesh.triangles)


def test_export_of_skin_and_of_a_segment_that_the_user_added(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    assert read_points(mrml.export_surface(node, tmp_path / "layer.stl", "Skin"))[1] > 1000
    segmentation = node.GetSegmentation()
    copy = mrml.ensure_host().vtkSegment()
    copy.DeepCopy(segmentation.GetSegment("Head"))
    copy.SetName("left/right: 50 %")
    assert segmentation.AddSegment(copy, "user")
    path = mrml.export_surface(node, tmp_path / "user.stl", "user")
    assert read_points(path)[1] > 1000
    assert sorted(os.listdir(tmp_path)) == ["layer.stl", "user.stl"]


def test_what_slicer_converts_below_a_mirror_is_not_exported_inside_out(tmp_path):
    volume = volume_node(head_scan(), linear(MIRROR))
    node, mesh, _mask = segmented(volume)
    mrml.ensure_host().mrmlScene.RemoveNode(volume)  # without it our surface is not made again
    array = mrml.ensure_host().util.arrayFromSegmentInternalBinaryLabelmap(node, "Head")
    array[tuple(n // 2 for n in array.shape)] = 0  # an edit: our surface does not fit any more
    node.GetBinaryLabelmapInternalRepresentation("Head").Modified()
    points, count, tag = read_points(mrml.export_surface(node, tmp_path / "skin.stl"))
    assert (tag, count != len(mesh.triangles)) == ("LPS", True)
    assert signed_volume(points) == pytest.approx(mesh.volume_ml, rel=0.03)
    assert nearest(points * LPS, TIP * [-1, 1, 1]) < NEAR


def test_export_of_an_empty_segment_is_refused(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    node.GetSegmentation().AddEmptySegment("empty", "empty")
    for name in ("empty", "missing"):
        with pytest.raises(SceneError, match="Segment the scan first"):
            mrml.export_surface(node, tmp_path / "skin.stl", name)
    assert os.listdir(tmp_path) == []


def test_export_into_a_missing_folder_is_refused(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    with pytest.raises(OutputError, match="does not exist"):
        mrml.export_surface(node, tmp_path / "missing" / "skin.stl")
    with pytest.raises(OutputError, match="Choose LPS or RAS"):
        mrml.export_surface(node, tmp_path / "skin.stl", space="XYZ")


def truncating(monkeypatch):
    """Let Slicer's export come to an end with half of the file on the disk."""
    from SkinSegLib.mrml import export

    original = export._by_slicer

    def half(*args):
        path = original(*args)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return path

    monkeypatch.setattr(export, "_by_slicer", half)


def test_a_file_that_is_not_whole_never_takes_the_name(tmp_path, monkeypatch):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    target = tmp_path / "skin.stl"
    target.write_text("the old one")
    truncating(monkeypatch)
    with pytest.raises(OutputError, match="does not read back"):
        mrml.export_surface(node, target)
    assert target.read_text() == "the old one"
    assert os.listdir(tmp_path) == ["skin.stl"]


def test_slicer_writing_nothing_is_noticed(tmp_path, monkeypatch):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    logic = mrml.ensure_host().vtkSlicerSegmentationsModuleLogic
    name = "ExportSegmentsClosedSurfaceRepresentationToFiles"
    monkeypatch.setattr(
        mrml.ensure_host(), "vtkSlicerSegmentationsModuleLogic", Silent(logic, name)
    )
    with pytest.raises(OutputError, match="wrote no surface file"):
        mrml.export_surface(node, tmp_path / "skin.stl")
    assert os.listdir(tmp_path) == []


class Silent:
    """A logic one of whose functions does nothing and reports success."""

    def __init__(self, logic, name):
        self._logic, self._name = logic, name

    def __getattr__(self, name):
        return (lambda *_args: True) if name == self._name else getattr(self._logic, name)


def test_saving_replaces_only_when_whole(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    target = tmp_path / "skin.seg.nrrd"
    target.write_text("the old one")
    mrml.save_segmentation(node, target)
    assert node.GetStorageNode().GetFileName() == str(target)
    assert os.listdir(tmp_path) == ["skin.seg.nrrd"]
    with pytest.raises(OutputError, match="does not exist"):
        mrml.save_segmentation(node, tmp_path / "missing" / "skin.seg.nrrd")
    assert node.GetStorageNode().GetFileName() == str(target)
    for wrong in ("skin.nrrd", "skin.stl"):
        with pytest.raises(OutputError, match=r"\.seg\.nrrd"):
            mrml.save_segmentation(node, tmp_path / wrong)
    with pytest.raises(OutputError, match=r"\.mrb"):
        mrml.save_scene(tmp_path / "scene.zip")
    with pytest.raises(OutputError, match="does not exist"):
        mrml.save_scene(tmp_path / "missing" / "scene.mrb")


def test_the_scene_does_not_keep_the_path_of_its_own_bundle(tmp_path):
    segmented(volume_node(head_scan()))
    mrml.save_scene(tmp_path / "scene.mrb")
    import zipfile

    with zipfile.ZipFile(tmp_path / "scene.mrb") as bundle:
        scene = next(n for n in bundle.namelist() if n.endswith(".mrml"))
        text = bundle.read(scene).decode()
    assert scene.startswith("scene/")
    assert str(tmp_path) not in text
    assert ".skinseg-" not in text


@pytest.mark.parametrize("content", [b"", b"this is no scene", None])
def test_loading_what_is_none(tmp_path, content, empty_scene):
    names = ("x.seg.nrrd", "x.mrb")
    if content is not None:
        for name in names:
            Path(tmp_path / name).write_bytes(content)
    mrml.ensure_host()
    before = len(mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode"))
    with pytest.raises(SceneError, match=r"x\.seg\.nrrd"):
        mrml.load_segmentation(tmp_path / "x.seg.nrrd")
    after = len(mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode"))
    assert after == before
    with pytest.raises(SceneError, match=r"x\.mrb"):
        mrml.load_scene(tmp_path / "x.mrb")


def test_a_truncated_segmentation_file(tmp_path):
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    path = mrml.save_segmentation(node, tmp_path / "x.seg.nrrd")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"x\.seg\.nrrd"):
        mrml.load_segmentation(path)


def test_a_loaded_and_edited_segmentation_is_not_given_the_old_surface(tmp_path):
    segmented(volume_node(head_scan()))
    mrml.save_scene(tmp_path / "scene.mrb")
    (node,) = mrml.load_scene(tmp_path / "scene.mrb")
    array = mrml.ensure_host().util.arrayFromSegmentInternalBinaryLabelmap(node, "Head")
    array[tuple(n // 2 for n in array.shape)] = 0
    node.GetBinaryLabelmapInternalRepresentation("Head").Modified()
    assert mrml.restore_surface(node) == ()


def test_the_whole_job_on_a_volume_node():
    """The real segmentation, from volume node to segmentation node."""
    scan = head_scan("oblique")
    volume = volume_node(scan, linear(MOVED))
    node, result = mrml.segment_volume(volume, mrml.JobOptions(layer_mm=4.0))
    truth = mask_of(scan).voxels
    both = np.count_nonzero(truth & result.mask.voxels)
    assert 2 * both / (np.count_nonzero(truth) + np.count_nonzero(result.mask.voxels)) > 0.98
    assert nearest(result.head.points, transform_points(MOVED, [TIP])[0]) < 2
    assert node.GetSegmentation().GetSegmentIDs() == ("Head", "Skin")
    assert set(result.seconds) >= {"Locate", "Surface", "Layer"}
