"""The real SkinSeg.py and its .ui, over real MRML, in the test host."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from mrml_makers import small_scan, volume_node
from panel_makers import (
    FileDialog,
    during,
    empty_scene,
    host,
    panel,
    segmentations,
    unwrap,
)
from SkinSegLib import mrml
from SkinSegLib.core import Cancelled, SceneError, SegmentationError
from SkinSegLib.surface import read_points

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.slow
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
