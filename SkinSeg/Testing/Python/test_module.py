"""The real SkinSeg.py and its .ui, over real MRML, in the test host."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    from PySide6 import QtUiTools, QtWidgets  # noqa: F401 - fails where libEGL or libGL is missing
except ImportError as error:
    pytest.skip(f"Qt cannot start here: {error}", allow_module_level=True)

import Host
from Host.application import FileDialog, Settings
from Host.pythonqt import unwrap
from mrml_makers import linear, small_scan, volume_node
from SkinSegLib import mrml
from SkinSegLib.core import Cancelled, SceneError, SegmentationError
from SkinSegLib.surface import read_points

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def host():
    return Host.start()


@pytest.fixture(autouse=True)
def empty_scene(host):
    scene = mrml.ensure_host().mrmlScene
    scene.Clear()
    Settings.shared.clear()
    FileDialog.answers.clear()
    yield scene
    host.close_panel()
    scene.Clear()


@pytest.fixture
def panel(host):
    return host.open_panel()


def segmentations():
    return mrml.ensure_host().util.getNodesByClass("vtkMRMLSegmentationNode")


def during(panel, action):
    """Call ``action`` from the event loop, once, while a segmentation runs."""
    done = []
    original = panel._showProgress

    def show(stage, fraction):
        original(stage, fraction)
        if fraction > 0.2 and not done:
            done.append(stage)
            action()

    panel._showProgress = show
    return done


# What Slicer asks of the module


def test_module_tells_about_itself(host):
    parent = host.module.parent
    assert parent.title == "SkinSeg"
    assert parent.categories == ["Segmentation"]
    assert "Segmentations" in parent.dependencies
    assert "Not a medical device" in parent.helpText
    assert parent.contributors
    assert parent.acknowledgementText
    assert not unwrap(parent.icon).isNull()


def test_phantom_is_offered_as_sample_data(host, monkeypatch):
    slicer = mrml.ensure_host()
    slicer.app.emit_now("startupCompleted()")
    (source,) = slicer.modules.sampleDataSources["SkinSeg"][-1:]
    assert source.sampleName == "SkinSegPhantom"
    assert Path(source.thumbnailFileName).is_file()
    from SkinSegLib.training import phantom

    made = []

    def quick(*arguments):
        made.append(arguments)
        return SimpleNamespace(volume=small_scan())

    monkeypatch.setattr(phantom, "make_phantom", quick)  # the real one takes seconds
    (node,) = source.customDownloader(source)
    assert made == [()]  # the one that skinseg demo makes
    assert node.GetImageData().GetDimensions() == (38, 40, 36)


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


def test_self_test_runs_the_same_under_ctest_and_reload_and_test(host, monkeypatch):
    import unittest

    case = host.code.SkinSegTest
    under_ctest = [
        test._testMethodName for test in unittest.TestLoader().loadTestsFromTestCase(case)
    ]
    ran = []
    for name in under_ctest:
        monkeypatch.setattr(case, name, lambda self, name=name: ran.append(name))
    host.module.runTest(msec=1)
    assert sorted(ran) == sorted(under_ctest)
    assert len(ran) >= 5


SELF_TESTS = [
    line.split("(")[0].removeprefix("    def ")
    for line in (ROOT / "SkinSeg.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("    def test_")
]


@pytest.mark.parametrize("name", SELF_TESTS)
def test_self_test(host, name):
    case = host.code.SkinSegTest(name)
    case.messageDelay = 1
    case.setUp()
    getattr(case, name)()


# The panel


def test_panel_says_why_buttons_are_grey(panel):
    ui = panel.ui
    assert not ui.segmentButton.enabled
    assert "Load a head CT" in ui.segmentButton.toolTip
    assert not ui.exportButton.enabled
    assert "Segment a volume first" in ui.exportButton.toolTip
    assert not ui.progressBar.visible
    volume_node(small_scan())
    assert ui.segmentButton.enabled
    assert not ui.exportButton.enabled


def test_clicking_segments_and_then_exports(panel, tmp_path):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    (node,) = segmentations()
    assert panel._parameterNode.segmentation is node
    assert "mL" in panel.ui.resultLabel.text
    assert panel.ui.segmentButton.text == "Segment skin"
    assert not panel.ui.progressBar.visible
    assert panel.ui.exportButton.enabled
    FileDialog.answers.append(str(tmp_path / "mine"))
    panel.ui.exportButton.click()
    assert read_points(tmp_path / "mine.stl")[1] == len(panel.logic.result.head.triangles)
    assert "mine.stl" in panel.ui.resultLabel.text
    FileDialog.answers.append("")  # the user closed the dialog
    panel.ui.exportButton.click()
    assert os.listdir(tmp_path) == ["mine.stl"]


def test_export_that_fails_says_so_and_keeps_what_was_there(panel, tmp_path):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    FileDialog.answers.append(str(tmp_path / "missing" / "skin.stl"))
    panel.ui.exportButton.click()
    assert "does not exist" in panel.ui.resultLabel.text


def test_two_runs_give_two_results_and_overwrite_nothing(panel):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    panel.ui.segmentButton.click()
    first, second = segmentations()
    assert first.GetName() != second.GetName()
    assert panel._parameterNode.segmentation is second


def test_a_second_click_cancels(panel, empty_scene):
    volume_node(small_scan())
    before = empty_scene.GetNumberOfNodes()
    seen = {}

    def click():
        ui = panel.ui
        seen.update(text=ui.segmentButton.text, input=ui.inputSelector.enabled)
        seen.update(export=ui.exportButton.toolTip, bar=ui.progressBar.visible)
        ui.segmentButton.click()
        seen.update(after=ui.segmentButton.toolTip)

    done = during(panel, click)
    panel.ui.segmentButton.click()
    assert done
    assert seen["text"] == "Cancel"
    assert seen["bar"]
    assert not seen["input"]
    assert "Wait" in seen["export"]
    assert "Stopping" in seen["after"]
    assert panel.ui.resultLabel.text.startswith("Cancelled")
    assert empty_scene.GetNumberOfNodes() == before
    assert panel.ui.segmentButton.enabled
    panel.ui.segmentButton.click()
    assert len(segmentations()) == 1


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


def test_removing_the_result_greys_the_export(panel, empty_scene):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    empty_scene.RemoveNode(segmentations()[0])
    assert not panel.ui.exportButton.enabled


def test_leaving_and_coming_back(panel):
    panel.exit()
    volume_node(small_scan())
    panel.enter()
    assert panel.ui.segmentButton.enabled


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


def shown(node, segment_id):
    """Points of the closed surface as the node holds it."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    polydata = node.GetClosedSurfaceInternalRepresentation(segment_id)
    return vtk_to_numpy(polydata.GetPoints().GetData())


def test_surfaces_come_back_where_the_panel_was_never_opened(host, tmp_path):
    mrml.ensure_host().app.emit_now("startupCompleted()")
    logic = host.code.SkinSegLogic()
    logic.process(volume_node(small_scan()))
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.ensure_host().mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = segmentations()
    assert np.array_equal(shown(node, "Head"), logic.result.head.points)


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


def test_labelmaps_and_colour_images_are_not_taken_for_the_scan(panel):
    slicer = mrml.ensure_host()
    panel.exit()
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "colours")
    panel.enter()
    assert panel._parameterNode.inputVolume is None
    panel.exit()
    scan = volume_node(small_scan())
    panel.enter()
    assert panel._parameterNode.inputVolume is scan


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


def test_an_unforeseen_failure_of_export_is_shown_without_details(
    panel, tmp_path, monkeypatch, caplog
):
    volume_node(small_scan())
    panel.ui.segmentButton.click()

    def fail(*_args, **_kwargs):
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(mrml, "export_surface", fail)
    FileDialog.answers.append(str(tmp_path / "skin.stl"))
    panel.ui.exportButton.click()
    assert "went wrong" in panel.ui.resultLabel.text
    assert "RuntimeError" in caplog.text
    assert "Doe^Jane" not in caplog.text + panel.ui.resultLabel.text


@pytest.mark.parametrize(("answer", "kept"), [(False, True), (True, False)])
def test_a_file_that_the_dialog_did_not_ask_about_is_asked_about(
    panel, tmp_path, monkeypatch, answer, kept
):
    volume_node(small_scan())
    panel.ui.segmentButton.click()
    (tmp_path / "mine.stl").write_text("the old one")
    asked = []

    def confirm(text, *_args, **_kwargs):
        asked.append(text)
        return answer

    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", confirm)
    FileDialog.answers.append(str(tmp_path / "mine"))
    panel.ui.exportButton.click()
    assert len(asked) == 1
    assert ((tmp_path / "mine.stl").read_bytes() == b"the old one") == kept
    FileDialog.answers.append(str(tmp_path / "mine.stl"))  # here the dialog itself asked
    panel.ui.exportButton.click()
    assert len(asked) == 1


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


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (SegmentationError("No patient. Try another."), "No patient"),
        (KeyError("Doe^Jane"), "went wrong"),
    ],
)
def test_errors_are_shown_and_the_next_run_works(panel, monkeypatch, caplog, error, shown):
    volume_node(small_scan())

    def fail(*_args, **_kwargs):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("SkinSegLib.segmentation.segment", fail)
        panel.ui.segmentButton.click()
    assert shown in panel.ui.resultLabel.text
    assert "test_module.py" in caplog.text  # where it was raised
    assert str(error) not in caplog.text  # messages name what the user chose
    assert segmentations() == []
    panel.ui.segmentButton.click()
    assert len(segmentations()) == 1


def test_logic_refuses_a_second_run_within_the_first(host):
    logic, volume, caught = host.code.SkinSegLogic(), volume_node(small_scan()), []

    def again(_stage, _fraction):
        with pytest.raises(SceneError, match="running already"):
            logic.process(volume)
        caught.append(True)
        logic.cancel()

    with pytest.raises(Cancelled):
        logic.process(volume, report=again)
    assert caught


def test_progress_goes_forward_from_0_to_1(host):
    seen = []
    host.code.SkinSegLogic().process(volume_node(small_scan()), report=lambda s, f: seen.append(f))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == pytest.approx(1)


# Real scans


def run_logic(host, path):
    from SkinSegLib import scan

    volume = mrml.add_volume(scan.read(path), "scan")
    logic = host.code.SkinSegLogic()
    node = logic.process(volume)
    return node, logic.result


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
