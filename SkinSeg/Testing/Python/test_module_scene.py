"""SkinSeg.py and the scene: saving, loading, removing, quitting; and the job on real scans."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import numpy as np
import pytest
from mrml_makers import linear, small_scan, volume_node
from panel_makers import empty_scene, host, segmentations
from SkinSegLib import mrml
from SkinSegLib.core import SceneError
from SkinSegLib.surface import read_points


def shown(node, segment_id):
    """Points of the closed surface as the node holds it."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    polydata = node.GetClosedSurfaceInternalRepresentation(segment_id)
    return vtk_to_numpy(polydata.GetPoints().GetData())


def test_parameters_are_saved_with_the_scene(host, tmp_path):
    logic = host.code.SkinSegLogic()
    parameters = logic.getParameterNode()
    parameters.inputVolume = volume_node(small_scan())
    parameters.layerThickness = 3.5
    with pytest.raises(ValueError):
        parameters.layerThickness = 500.0
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.load_scene(tmp_path / "scene.mrb")
    again = host.code.SkinSegLogic().getParameterNode()
    assert again.layerThickness == 3.5
    assert again.inputVolume.GetName() == "scan"
    assert again.segmentation is None


@pytest.mark.slow
def test_surfaces_come_back_where_the_panel_was_never_opened(host, tmp_path):
    mrml.ensure_host().app.emit_now("startupCompleted()")
    logic = host.code.SkinSegLogic()
    logic.process(volume_node(small_scan()))
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.ensure_host().mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = segmentations()
    assert np.array_equal(shown(node, "Head"), logic.result.head.points)


@pytest.mark.slow
def test_a_deleted_result_leaves_no_face_behind(host, empty_scene):
    mrml.ensure_host().app.emit_now("startupCompleted()")
    host.code.SkinSegLogic().process(volume_node(small_scan()))
    assert mrml.ensure_host().util.getNodesByClass("vtkMRMLModelNode")
    empty_scene.RemoveNode(segmentations()[0])
    assert mrml.ensure_host().util.getNodesByClass("vtkMRMLModelNode") == []


def test_reloading_and_starting_again_double_no_observer(host, monkeypatch):
    from SkinSegLib.mrml import watch

    calls = []
    monkeypatch.setattr(watch, "restore_all", lambda: calls.append(1))
    for _ in range(3):
        mrml.ensure_host().app.emit_now("startupCompleted()")
        host.open_panel()
        host.close_panel()
    calls.clear()
    scene = mrml.ensure_host().mrmlScene
    scene.StartState(scene.ImportState)
    scene.EndState(scene.ImportState)
    assert len(calls) == 1


def test_a_model_node_on_request(host):
    logic = host.code.SkinSegLogic()
    parent = linear(np.diag([-1.0, 1.0, 1.0, 1.0]))
    node = logic.process(volume_node(small_scan(), parent))
    for segment_id in ("Head", "Skin"):
        model = logic.makeModel(node, segment_id)
        assert model.IsA("vtkMRMLModelNode")
        assert model.GetTransformNodeID() == parent.GetID()
        assert model.GetPolyData().GetNumberOfPoints() == len(shown(node, segment_id))
    with pytest.raises(SceneError, match="no segment"):
        logic.makeModel(node, "Nose")


# Real scans


def run_logic(host, path):
    from SkinSegLib import scan

    volume = mrml.add_volume(scan.read(path), "scan")
    logic = host.code.SkinSegLogic()
    node = logic.process(volume)
    return node, logic.result


@pytest.mark.slow
def test_cranium_through_the_logic(host, cranium_path, tmp_path):
    node, result = run_logic(host, cranium_path)
    assert result.head.closed
    assert 3100 < result.mask.volume_ml < 3400
    assert result.head.volume_ml == pytest.approx(result.mask.volume_ml, rel=0.01)
    assert mrml.restore_surface(node) == ("Head", "Skin")
    path = host.code.SkinSegLogic().export(node, tmp_path / "cranium.stl")
    points, count, tag = read_points(path)
    assert (tag, count) == ("LPS", len(result.head.triangles))
    width, depth, height = np.ptp(points, axis=0)
    assert 185 < width < 200  # ear to ear
    assert 215 < depth < 235  # nose to occiput; the pillow begins right behind
    assert 155 < height < 163


#: The other scans go through the command (test_real_scans.py), which takes minutes already.
SCANS = (*("volumes/unc_cthead.nrrd", "dicom/keinos_head.zip", "dicom/ge_tilt"),)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_real_scans_through_the_logic(host, skinseg_data, name):
    path = skinseg_data / name
    if not path.exists():
        pytest.skip(f"no {path}")
    node, result = run_logic(host, path)
    assert result.head.closed
    assert result.mask.volume_ml > 1000
    assert mrml.restore_surface(node) == ("Head", "Skin")
