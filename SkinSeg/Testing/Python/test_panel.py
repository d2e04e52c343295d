"""The panel, clicked: scan, segmenting, cancelling, and what happens to the scene meanwhile."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import json
import os
import signal
import time

import numpy as np
import pytest
from mrml_makers import linear, small_scan, volume_node
from panel_makers import (
    FileDialog,
    Settings,
    click,
    during,
    empty_scene,
    host,
    panel,
    pump,
    segmentations,
    settle,
    settle_all,
)
from SkinSegLib import mrml


def shown(node, segment_id):
    """Points of the closed surface as the node holds it."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    polydata = node.GetClosedSurfaceInternalRepresentation(segment_id)
    if polydata is None or polydata.GetPoints() is None:
        return np.full((1, 3), -np.inf)  # it is being made again
    return vtk_to_numpy(polydata.GetPoints().GetData()).copy()


def slow_scan():
    """The small head on a grid that takes a second or two."""
    import dataclasses

    scan = small_scan()
    voxels = np.repeat(np.repeat(np.repeat(scan.voxels, 4, 0), 4, 1), 4, 2)
    matrix = scan.ijk_to_ras @ np.diag([0.25, 0.25, 0.25, 1])
    return dataclasses.replace(scan, voxels=voxels, ijk_to_ras=matrix)


# Scan


def test_panel_says_why_buttons_are_grey(panel):
    ui = panel.ui
    assert not ui.segmentButton.enabled
    assert "Load a head CT" in ui.segmentButton.toolTip
    assert not ui.exportButton.enabled
    assert "Segment a volume first" in ui.exportButton.toolTip
    for button in (ui.keepButton, ui.fillButton, ui.smoothButton):
        assert not button.enabled
        assert "Segment a volume first" in button.toolTip
    assert not ui.nextButton.enabled
    assert "no findings" in ui.nextButton.toolTip
    assert not ui.progressBar.visible
    assert ui.editCollapsibleButton.collapsed
    assert ui.advancedCollapsibleButton.collapsed
    volume_node(small_scan())
    assert ui.segmentButton.enabled
    assert not ui.exportButton.enabled


def test_facts_and_warnings_of_the_volume(panel):
    volume_node(small_scan())
    assert "38 x 40 x 36 voxels of 3.20 x 3.20 x 3.80 mm" in panel.ui.factsLabel.text
    pump(lambda: panel.ui.warningsLabel.text)
    assert "-1000 to 40" in panel.ui.factsLabel.text
    lines = panel.ui.warningsLabel.text.splitlines()
    assert all(line.startswith("Warning: ") for line in lines)  # not by colour alone
    assert "3.8 mm apart" in lines[0]
    assert "field of view" in lines[1]
    assert panel.ui.levelSlider.value == -480
    empty = mrml.ensure_host().mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel._parameterNode.inputVolume = empty
    assert panel.ui.factsLabel.text == panel.ui.warningsLabel.text == ""


def test_the_series_of_a_volume_from_dicom_is_checked(panel, tmp_path, monkeypatch):
    from types import SimpleNamespace

    from scan_makers import GRIDS, load, marked, write_dicom
    from SkinSegLib.scan import read

    grid = GRIDS["axial"]
    paths = write_dicom(tmp_path, grid, marked(grid), places=[0, 1, 2, 4, 5, 6])
    files = {str(load(path).SOPInstanceUID): str(path) for path in paths}
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(mrml.ensure_host(), "dicomDatabase", database, raising=False)
    node = mrml.add_volume(read(tmp_path), "Head CT")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    pump(lambda: panel.ui.warningsLabel.text)
    assert "missing slices" in panel.ui.warningsLabel.text
    assert str(tmp_path) not in panel.ui.warningsLabel.text


def test_the_volume_under_a_transform_and_one_of_nothing_but_air(panel):
    scan = small_scan()
    scan.voxels[...] = -1000
    volume_node(scan)
    pump(lambda: "Warning" in panel.ui.warningsLabel.text)
    click(panel, panel.ui.segmentButton)
    assert segmentations() == []
    assert "Choose" in panel.ui.resultLabel.text or "Check" in panel.ui.resultLabel.text
    turned = volume_node(small_scan(), linear(np.diag([1.0, -1.0, -1.0, 1.0])))
    panel._parameterNode.inputVolume = turned
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    assert node.GetTransformNodeID() == turned.GetTransformNodeID()


def test_links_lead_to_slicers_modules(panel, monkeypatch):
    opened = []
    monkeypatch.setattr(mrml.ensure_host().util, "selectModule", opened.append)
    panel.ui.dicomButton.click()
    panel.ui.sampleButton.click()
    assert opened == ["DICOM", "SampleData"]


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


# Segment


def test_clicking_segments(panel):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    assert panel._parameterNode.segmentation is node
    assert node.GetSegmentation().GetSegmentIDs() == ("Head", "Skin")
    assert mrml.segment_labelmap(node, "Skin")[0].size == 0  # the layer follows by itself
    assert "mL in" in panel.ui.resultLabel.text
    assert "skin-ct-head" in panel.ui.resultLabel.text
    assert panel.ui.segmentButton.text == "Segment skin"
    assert not panel.ui.progressBar.visible
    assert panel.ui.exportButton.enabled
    settle_all(panel)
    here = mrml.compute(small_scan(), mrml.scene_options())
    assert np.array_equal(shown(node, "Head"), here.head.points)  # the worker's is the same
    layer = mrml.world_surface(node, "Skin")  # of the head's surface as float32, so not bit for bit
    assert layer.closed
    assert layer.volume_ml == pytest.approx(here.layer.volume_ml, rel=1e-3)
    skin, _matrix = mrml.segment_labelmap(node, "Skin")
    assert np.count_nonzero(skin) == pytest.approx(np.count_nonzero(here.layer_voxels), rel=1e-3)
    assert "Skin was made" in panel.ui.logText.plainText


@pytest.mark.slow
def test_the_layer_follows_the_head_and_leaves_the_users_own_alone(panel):
    from mrml_makers import EAR, erase

    volume_node(small_scan())
    panel.ui.thicknessSlider.value = 5.0
    click(panel, panel.ui.segmentButton)
    settle_all(panel)
    (node,) = segmentations()
    before = shown(node, "Skin")
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    pump(lambda: shown(node, "Skin")[:, 0].min() > EAR[0] + 3)  # its ear is gone too
    settle_all(panel)
    assert before[:, 0].min() < EAR[0] - 3
    # One that the user drew on is the user's.
    voxels, matrix = mrml.segment_labelmap(node, "Skin")
    voxels[len(voxels) // 2 :] = 0
    mrml.set_labelmap(node, "Skin", voxels, matrix)
    erase(node, [-50, -60, 30], [50, 60, 60])
    pump(lambda: "Head" in mrml.restore_surface(node) and panel.panel.running == "")
    assert np.array_equal(mrml.segment_labelmap(node, "Skin")[0], voxels[: len(voxels) // 2])
    # One that the user deleted stays away.
    node.GetSegmentation().RemoveSegment("Skin")
    erase(node, [-50, -60, 20], [50, 60, 60])
    pump(lambda: "Head" in mrml.restore_surface(node) and panel.panel.running == "")
    assert node.GetSegmentation().GetSegmentIDs() == ("Head",)


@pytest.mark.slow
def test_undo_in_the_editor_does_not_lose_the_layer(panel):
    from mrml_makers import EAR, erase

    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    panel.ui.editCollapsibleButton.collapsed = False
    editor = panel.panel.sections[3]._editor._object
    editor.logic.SaveStateForUndo()  # a stroke before the layer is there
    settle_all(panel)
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    editor.undo()
    settle_all(panel)
    assert shown(node, "Skin")[:, 0].min() < EAR[0] - 3  # with its ear again


def test_another_volume_shows_its_own_result_and_never_anothers(panel):
    first = volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (one,) = segmentations()
    second = volume_node(small_scan())
    panel._parameterNode.inputVolume = second
    assert panel.panel.segmentation is None
    assert not panel.ui.exportButton.enabled
    click(panel, panel.ui.segmentButton)
    (two,) = (node for node in segmentations() if node is not one)
    panel._parameterNode.inputVolume = first
    assert panel._parameterNode.segmentation is one
    assert panel.ui.exportButton.enabled
    panel._parameterNode.segmentation = two  # chosen by hand
    assert not panel.ui.exportButton.enabled
    assert "of another volume" in panel.ui.reviewLabel.text


def test_taking_a_run_back_asks_where_the_head_was_edited(panel, monkeypatch):
    from mrml_makers import EAR, erase

    asked = []
    util = mrml.ensure_host().util
    monkeypatch.setattr(util, "confirmYesNoDisplay", lambda *a, **k: asked.append(a) and False)
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    panel.ui.undoRunButton.click()
    assert len(asked) == 1
    assert segmentations() == [node]
    assert panel.ui.undoRunButton.visible


def test_nothing_is_taken_back_into_the_next_scene(panel, empty_scene):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    empty_scene.Clear()
    assert not panel.ui.undoRunButton.visible


def test_a_scan_of_other_grey_values(panel):
    scan = small_scan()
    scan.voxels[...] = (scan.voxels.astype(np.int32) * 15 + 15000).astype(np.int16)
    volume_node(scan)
    pump(lambda: panel.ui.warningsLabel.text)
    level = panel._parameterNode.level
    assert 0 < level < 15600
    assert panel.ui.levelSlider.minimum < level < panel.ui.levelSlider.maximum
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1


def test_two_runs_give_two_results_and_overwrite_nothing(panel):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    click(panel, panel.ui.segmentButton)
    first, second = segmentations()
    assert first.GetName() != second.GetName()
    assert panel._parameterNode.segmentation is second


@pytest.mark.slow
@pytest.mark.parametrize("answer", [True, False])
def test_segments_are_only_replaced_after_asking(panel, monkeypatch, answer):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    before = shown(node, "Head")
    asked = []
    monkeypatch.setattr(
        mrml.ensure_host().util, "confirmYesNoDisplay", lambda *a, **k: asked.append(a) or answer
    )
    panel._parameterNode.outputSegmentation = node
    panel._parameterNode.manualLevel = True
    panel._parameterNode.level = -300.0
    click(panel, panel.ui.segmentButton)
    assert segmentations() == [node]
    assert len(asked) == 1
    changed = not np.array_equal(shown(node, "Head"), before)
    assert changed == answer
    if answer:
        settle_all(panel)
        panel.ui.undoRunButton.click()
        assert np.array_equal(mrml.segment_labelmap(node, "Head")[0], first_labelmap())
        assert json.loads(node.GetAttribute("SkinSeg.Origin"))["level_hu"] == -480


def first_labelmap():
    voxels = mrml.compute(small_scan(), mrml.scene_options()).mask.voxels
    box = np.nonzero(voxels)
    return voxels[tuple(slice(axis.min(), axis.max() + 1) for axis in box)]


def test_a_run_is_taken_back(panel, empty_scene):
    volume_node(small_scan())
    assert not panel.ui.undoRunButton.visible
    click(panel, panel.ui.segmentButton)
    (first,) = segmentations()
    click(panel, panel.ui.segmentButton)
    assert panel.ui.undoRunButton.visible
    panel.ui.undoRunButton.click()
    assert segmentations() == [first]
    assert panel._parameterNode.segmentation is first
    assert not panel.ui.undoRunButton.visible


def test_a_second_click_cancels(panel, empty_scene):
    volume_node(slow_scan())
    before = empty_scene.GetNumberOfNodes()
    seen = {}

    def stop():
        ui = panel.ui
        seen.update(text=ui.segmentButton.text, input=ui.inputSelector.enabled)
        seen.update(export=ui.exportButton.toolTip, bar=ui.progressBar.visible)
        seen.update(stage=ui.progressLabel.text)
        ui.segmentButton.click()
        seen.update(after=ui.segmentButton.toolTip)

    done = during(panel, stop)
    click(panel, panel.ui.segmentButton)
    assert done
    assert seen["text"] == "Cancel"
    assert seen["bar"]
    assert seen["stage"]
    assert not seen["input"]
    assert "Wait" in seen["export"]
    assert "Stopping" in seen["after"]
    assert panel.ui.resultLabel.text.startswith("Cancelled")
    assert empty_scene.GetNumberOfNodes() == before
    assert panel.ui.segmentButton.enabled


STAGES = ("Hand over", "Level", "Locate", "Openings", "Delineate", "Check", "Surface")


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_cancelled_at_once_at_every_stage(panel, stage):
    volume_node(slow_scan())
    asked = []

    def stop():
        asked.append(time.monotonic())
        panel.ui.segmentButton.click()

    done = during(panel, stop, stage)
    click(panel, panel.ui.segmentButton)
    assert done, panel.ui.resultLabel.text
    assert time.monotonic() - asked[0] < 2.0  # 0.5 where nothing else runs
    assert panel.ui.resultLabel.text.startswith("Cancelled")
    assert segmentations() == []


@pytest.mark.slow
def test_a_click_goes_before_what_the_panel_does_by_itself(panel):
    volume_node(slow_scan())
    pump(lambda: panel.panel.running == "facts")
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1
    pump(lambda: panel.ui.warningsLabel.text)  # which is then done after all


# What happens to the scene meanwhile


def test_closing_the_scene_stops_the_run(panel, empty_scene):
    volume_node(slow_scan())
    done = during(panel, lambda: empty_scene.Clear())
    click(panel, panel.ui.segmentButton)
    assert done
    assert segmentations() == []
    assert not panel.ui.segmentButton.enabled
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1


def test_removing_the_volume_stops_the_run(panel, empty_scene):
    volume = volume_node(slow_scan())
    done = during(panel, lambda: empty_scene.RemoveNode(volume))
    click(panel, panel.ui.segmentButton)
    assert done
    assert "removed" in panel.ui.resultLabel.text
    assert segmentations() == []


def test_removing_another_volume_does_not_matter(panel, empty_scene):
    volume_node(small_scan())
    other = volume_node(small_scan())
    done = during(panel, lambda: empty_scene.RemoveNode(other))
    click(panel, panel.ui.segmentButton)
    assert done
    assert len(segmentations()) == 1


def test_a_volume_moved_in_mid_run_is_not_segmented(panel, empty_scene):
    volume = volume_node(small_scan())
    before = empty_scene.GetNumberOfNodes()
    assert during(panel, lambda: volume.SetOrigin(1, 2, 3), "Locate") == []
    click(panel, panel.ui.segmentButton)
    assert "changed while it was segmented" in panel.ui.resultLabel.text
    assert empty_scene.GetNumberOfNodes() == before


def test_the_output_renamed_or_deleted_in_mid_run(panel, empty_scene, monkeypatch):
    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", lambda *a, **k: True)
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    panel._parameterNode.outputSegmentation = node
    during(panel, lambda: node.SetName("mine"))
    click(panel, panel.ui.segmentButton)
    assert [n.GetName() for n in segmentations()] == ["mine"]
    during(panel, lambda: empty_scene.RemoveNode(node))
    click(panel, panel.ui.segmentButton)
    assert segmentations() == []
    assert "removed" in panel.ui.resultLabel.text


def test_removing_the_result_greys_the_export(panel, empty_scene):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    empty_scene.RemoveNode(segmentations()[0])
    assert not panel.ui.exportButton.enabled
    assert panel.ui.reviewLabel.text == "No findings."


@pytest.mark.slow
def test_reloading_the_module_stops_the_run(host, panel):
    volume_node(slow_scan())
    done = during(panel, panel.cleanup)
    click(panel, panel.ui.segmentButton)
    assert done
    assert segmentations() == []
    assert panel.Observations == []
    again = host.open_panel()
    click(again, again.ui.segmentButton)
    assert len(segmentations()) == 1


def test_a_run_goes_on_in_another_module(panel):
    volume_node(small_scan())
    during(panel, panel.exit)
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1
    panel.enter()
    assert panel.ui.exportButton.enabled


def test_leaving_and_coming_back(panel):
    panel.exit()
    volume_node(small_scan())
    panel.enter()
    assert panel.ui.segmentButton.enabled


def test_a_loaded_scene_gets_our_surfaces_and_findings_back(panel, tmp_path):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    settle_all(panel)
    before = shown(segmentations()[0], "Head"), shown(segmentations()[0], "Skin")
    count = panel.ui.findingsList.count
    assert count > 0
    mrml.save_scene(tmp_path / "scene.mrb")
    mrml.ensure_host().mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"), True, None)
    (node,) = segmentations()
    assert np.array_equal(shown(node, "Head"), before[0])
    assert np.array_equal(shown(node, "Skin"), before[1])
    assert panel.ui.exportButton.enabled
    assert panel.ui.findingsList.count == count


# The worker


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_worker_leaves_the_scene_alone_and_the_next_run_works(panel, empty_scene, how):
    volume_node(slow_scan())
    before = empty_scene.GetNumberOfNodes()
    done = during(panel, lambda: os.kill(panel.panel.work.worker.pid, how))
    click(panel, panel.ui.segmentButton)
    assert done
    assert "Nothing was changed" in panel.ui.resultLabel.text
    assert empty_scene.GetNumberOfNodes() == before
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1


@pytest.mark.slow
def test_an_idle_worker_is_let_go_and_comes_back(panel):
    volume_node(small_scan())
    work = panel.panel.work
    pump(lambda: work.worker.is_ready and panel.panel.running == "" and work.runner.job is None)
    pump(lambda: panel.ui.warningsLabel.text)
    pid = work.worker.pid
    panel._parameterNode.keepWarmMinutes = 0
    pump(lambda: not work.worker.is_running)
    panel._parameterNode.keepWarmMinutes = 10
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1
    assert work.worker.pid != pid


def test_errors_of_the_panel_itself_are_told_without_their_words(panel, monkeypatch, caplog):
    volume_node(small_scan())

    def fail(*_args, **_kwargs):
        raise RuntimeError("Doe^Jane")

    with monkeypatch.context() as patch:
        patch.setattr("SkinSegLib.mrml.jobs.add_result", fail)
        click(panel, panel.ui.segmentButton)
    assert "went wrong" in panel.ui.resultLabel.text
    assert "RuntimeError" in caplog.text
    assert "Doe^Jane" not in caplog.text + panel.ui.resultLabel.text + panel.ui.logText.plainText
    assert segmentations() == []
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1


# Choices


def test_choices_are_kept_for_the_next_scene(panel, empty_scene, tmp_path):
    parameters = panel._parameterNode
    volume_node(small_scan())
    panel.ui.thicknessSlider.value = 3.5
    panel.ui.formatSelector.currentIndex = 1
    panel.ui.engineSelector.currentIndex = 2
    panel.ui.workersSpinBox.value = 1
    assert parameters.layerThickness == 3.5
    assert parameters.fileFormat.name == "PLY"
    assert parameters.engine.name == "THRESHOLD"
    click(panel, panel.ui.segmentButton)
    assert "threshold" in panel.ui.resultLabel.text
    assert not any(str(tmp_path) in str(value) for value in Settings.shared.values())
    empty_scene.Clear()
    assert panel._parameterNode.layerThickness == 3.5
    assert panel._parameterNode.fileFormat.name == "PLY"
    assert panel._parameterNode.engine.name == "THRESHOLD"
    assert panel.ui.thicknessSlider.value == 3.5
    Settings.shared["SkinSeg/engine"] = "of another version"
    empty_scene.Clear()
    assert panel._parameterNode.engine.name == "AUTO"


def test_several_parameter_sets(panel, host, empty_scene):
    first = panel._parameterNode.parameterNode
    slicer = mrml.ensure_host()
    second = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    second.UnRegister(None)
    second.SetAttribute("ModuleName", "SkinSeg")  # as the selector does
    second.SetName("prints")
    slicer.mrmlScene.AddNode(second)
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "another module's")
    selector = panel.ui.parameterSetSelector
    assert selector.nodeCount() == 2
    panel._parameterNode.scale = 2.0
    selector.setCurrentNode(second)
    assert panel._parameterNode.parameterNode is second
    assert panel.ui.scaleSpinBox.value == 1.0
    selector.setCurrentNode(first)
    assert panel.ui.scaleSpinBox.value == 2.0
    assert other.GetScene() is not None


def test_devices_and_models_are_what_there_is(panel):
    pump(lambda: "ready" in panel.ui.logText.plainText)
    ui = panel.ui
    assert ui.deviceSelector.count >= 2
    assert ui.deviceSelector.currentText == "Automatic"
    # A model that goes live must be taken without a choice: the default names none.
    assert ui.modelSelector.currentText == "In use: skin-ct-head"
    assert not ui.removeModelButton.enabled
    assert "came with SkinSeg" in ui.removeModelButton.toolTip


def test_another_frame_of_a_sequence_in_mid_run_is_noticed(panel, empty_scene):
    """A sequence browser's proxy gets the image of the next frame."""
    volume = volume_node(small_scan())
    before = empty_scene.GetNumberOfNodes()
    other = small_scan()
    other.voxels[:] = np.roll(other.voxels, 3, axis=2)
    frame = volume_node(other)
    image = frame.GetImageData()
    empty_scene.RemoveNode(frame)
    assert during(panel, lambda: volume.SetAndObserveImageData(image), "Locate") == []
    click(panel, panel.ui.segmentButton)
    assert "changed while it was segmented" in panel.ui.resultLabel.text
    assert segmentations() == []
    assert empty_scene.GetNumberOfNodes() <= before + 1
    pump(lambda: panel.ui.warningsLabel.text)
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1


# Keyboard, text, size


def test_tab_goes_through_the_panel_from_top_to_bottom(panel):
    from panel_makers import unwrap
    from PySide6 import QtCore, QtWidgets

    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    panel.ui.editCollapsibleButton.collapsed = False
    panel.ui.advancedCollapsibleButton.collapsed = False
    root = unwrap(panel.parent)
    root.resize(420, 2400)
    root.show()
    QtWidgets.QApplication.processEvents()
    places, names = [], []
    widget = root.nextInFocusChain()
    while widget is not root:
        tab = widget.focusPolicy() & QtCore.Qt.FocusPolicy.TabFocus
        shown = widget.isVisibleTo(root) and widget.isEnabled()
        if tab and shown and widget.objectName():  # without the inner parts of the stand-ins
            corner = widget.mapTo(root, QtCore.QPoint(0, 0))
            places.append((corner.y() + min(widget.height(), 20) / 2, corner.x()))
            names.append(widget.objectName())
        widget = widget.nextInFocusChain()
    assert {"segmentButton", "findingsList", "keepButton", "exportButton", "logText"} <= set(names)
    rows = [y for y, _x in places]
    pairs = zip(names, names[1:], rows, rows[1:], strict=False)
    backwards = [(one, two) for one, two, y, next_y in pairs if next_y < y - 20]
    assert not backwards


def test_every_label_has_its_widget_and_nothing_is_cut_off_at_twice_the_size(panel):
    from panel_makers import unwrap
    from PySide6 import QtGui, QtWidgets

    root = unwrap(panel.parent)
    font = root.font()
    font.setPointSizeF(2 * font.pointSizeF())
    root.setFont(font)
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    panel.ui.editCollapsibleButton.collapsed = False
    panel.ui.advancedCollapsibleButton.collapsed = False
    root.resize(840, 4000)
    QtWidgets.QApplication.processEvents()
    for button in root.findChildren(QtWidgets.QPushButton):
        if button.isVisibleTo(root) and button.objectName() != "folderButton":
            needed = QtGui.QFontMetrics(button.font()).horizontalAdvance(button.text())
            assert needed <= button.width(), button.objectName()
    for label in root.findChildren(QtWidgets.QLabel):
        if label.objectName().endswith("Label") and label.buddy() is not None:
            assert label.buddy().objectName() + "Label" == label.objectName()
