"""SkinSeg.py and the scene: saving, loading, removing, quitting; and the job on real scans."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import numpy as np
import pytest
from mrml_makers import EAR, erase, linear, segmented, small_scan, volume_node
from panel_makers import (
    during,
    empty_scene,
    host,
    panel,
    segmentations,
)
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


def test_closing_the_scene_stops_the_run(panel, empty_scene):
    volume_node(small_scan())
    done = during(panel, lambda: empty_scene.Clear())
    panel.ui.segmentButton.click()
    assert done
    assert segmentations() == []
    assert not panel.logic.isRunning()
    assert not panel.ui.segmentButton.enabled
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    assert len(segmentations()) == 1


def test_removing_the_volume_stops_the_run(panel, empty_scene):
    volume = volume_node(small_scan())
    done = during(panel, lambda: empty_scene.RemoveNode(volume))
    panel.ui.segmentButton.click()
    assert done
    assert "removed" in panel.ui.resultLabel.text
    assert segmentations() == []


def test_reloading_the_module_stops_the_run(host, panel):
    volume_node(small_scan())
    done = during(panel, panel.cleanup)
    panel.ui.segmentButton.click()
    assert done
    assert segmentations() == []
    assert panel.Observations == []


def test_a_loaded_scene_gets_our_surfaces_back(panel, tmp_path):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    result = panel.logic.result
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.ensure_host().mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = segmentations()
    for segment_id, mesh in (("Head", result.head), ("Skin", result.layer)):
        assert np.array_equal(shown(node, segment_id), mesh.points)
    assert panel.ui.exportButton.enabled


def test_surfaces_come_back_where_the_panel_was_never_opened(host, tmp_path):
    mrml.ensure_host().app.emit_now("startupCompleted()")
    logic = host.code.SkinSegLogic()
    logic.process(volume_node(small_scan()))
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.ensure_host().mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = segmentations()
    assert np.array_equal(shown(node, "Head"), logic.result.head.points)


def test_back_from_the_segment_editor_our_surface_of_the_head_is_there_again(panel):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    (node,) = segmentations()
    before = shown(node, "Head")
    said = panel.ui.resultLabel.text
    panel.exit()
    panel.enter()  # nothing was edited
    assert panel.ui.resultLabel.text == said
    panel.exit()
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    assert mrml.restore_surface(node) == ("Skin",)
    panel.enter()
    assert "was edited" in panel.ui.resultLabel.text
    assert mrml.restore_surface(node) == ("Head", "Skin")
    assert shown(node, "Head")[:, 0].min() > before[:, 0].min() + 3  # the ear is gone


def test_a_surface_that_cannot_be_made_again_is_told(panel, monkeypatch):
    def refuse(segmentation, segment_id):
        raise SceneError("Load the scan again.")

    panel.exit()
    monkeypatch.setattr(mrml, "rebuild_surface", refuse)
    panel.logic.getParameterNode().segmentation = segmented(volume_node(small_scan()))[0]
    panel.enter()
    assert panel.ui.resultLabel.text == "Load the scan again."


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


def test_quitting_stops_the_run(host, panel):
    slicer = mrml.ensure_host()
    volume_node(small_scan())
    done = during(panel, lambda: slicer.app.emit_now("lastWindowClosed()"))
    panel.ui.segmentButton.click()
    assert done
    assert segmentations() == []
    assert panel.ui.resultLabel.text.startswith("Cancelled")
    host.close_panel()
    assert slicer.app._slots["lastWindowClosed()"] == []


def test_a_volume_moved_in_mid_run_is_not_segmented(panel, empty_scene):
    volume = volume_node(small_scan())
    before = empty_scene.GetNumberOfNodes()
    assert during(panel, lambda: volume.SetOrigin(1, 2, 3)) == []
    panel.ui.segmentButton.click()
    assert "changed while it was segmented" in panel.ui.resultLabel.text
    assert empty_scene.GetNumberOfNodes() == before


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


SCANS = (
    *("volumes/unc_cthead.nrrd", "volumes/vhm_head_8bit.nrrd", "volumes/chd_phantom.nrrd"),
    *("volumes/dicom2stl_ct_head.nrrd", "volumes/dicom2stl_ct_example.nrrd"),
    *("dicom/weasis_headneck", "dicom/keinos_head.zip", "dicom/ge_tilt"),
)


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
