"""The panel's Review and Edit: findings, the brush's range, one-click edits, what comes after."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import numpy as np
import pytest
from marks import slow
from mrml_makers import EAR, erase, small_scan, volume_node
from panel_makers import click, empty_scene, host, panel, pump, segmentations, settle, settle_all
from SkinSegLib import mrml
from SkinSegLib.core import SceneError
from SkinSegLib.mrml import editing
from SkinSegLib.mrml.review import jump_to, reviews_of


@pytest.fixture
def done(panel):
    """The panel after a run, its facts known."""
    volume_node(small_scan())
    pump(lambda: panel.ui.warningsLabel.text)
    click(panel, panel.ui.segmentButton)
    settle_all(panel)
    (node,) = segmentations()
    return panel, node


def slices(scene):
    """The three slice views' nodes, as the application has them."""
    slicer = mrml.ensure_host()
    made = []
    # Columns of SliceToRAS: right and up in the view, and its normal.
    views = {
        "Red": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "Yellow": [[0, 0, 1], [-1, 0, 0], [0, 1, 0]],
        "Green": [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
    }
    for name, rows in views.items():
        node = slicer.vtkMRMLSliceNode()
        node.SetName(name)
        node.SetLayoutName(name)
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                node.GetSliceToRAS().SetElement(row, column, value)
        node.UpdateMatrices()
        scene.AddNode(node)
        made.append(node)
    return made


def place_of():
    from SkinSegLib.widgets.edit_section import slice_centre

    return slice_centre()


def labelmap(node):
    return mrml.segment_labelmap(node, "Head")


# Review


def test_findings_are_gone_through_and_marked(done, empty_scene):
    panel, node = done
    slices(empty_scene)
    entries = [
        {"kind": "TOUCHES_OBJECT", "message": "here", "position_ras": [10.0, -20.0, 30.0]},
        {"kind": "THICK_SLICES", "message": "all over", "position_ras": None},
        {"kind": "METAL_STREAKS", "message": "there", "position_ras": [-5.0, 6.0, 7.0]},
    ]
    from SkinSegLib.core import Finding, FindingKind

    found = [
        Finding(
            FindingKind[e["kind"]],
            e["message"],
            None if e["position_ras"] is None else tuple(e["position_ras"]),
        )
        for e in entries
    ]
    mrml.remember_findings(node, found)
    panel.panel.update()
    ui = panel.ui
    assert ui.findingsList.count == 3
    assert ui.reviewLabel.text == "3 of 3 findings not checked yet."
    assert not ui.checkedBox.enabled  # none is selected yet
    ui.nextButton.click()  # the severest first: thick slices, which has no place
    assert ui.findingsList.currentRow == 0
    ui.nextButton.click()
    assert ui.findingsList.currentRow == 1
    assert place_of() == pytest.approx((-5, 6, 7))
    ui.nextButton.click()
    assert place_of() == pytest.approx((10, -20, 30))
    ui.checkedBox.click()
    assert [review.checked for review in reviews_of(node)] == [False, False, True]
    assert ui.reviewLabel.text == "2 of 3 findings not checked yet."
    ui.nextButton.click()
    assert ui.findingsList.currentRow == 0
    assert not ui.checkedBox.checked
    ui.previousButton.click()
    assert ui.findingsList.currentRow == 2
    assert ui.checkedBox.checked
    ui.checkedBox.click()
    assert not any(review.checked for review in reviews_of(node))


@pytest.mark.slow
def test_findings_survive_the_scene(done, tmp_path):
    panel, node = done
    panel.ui.nextButton.click()
    panel.ui.checkedBox.click()
    before = reviews_of(node)
    mrml.save_scene(tmp_path / "scene.mrb")
    (again,) = mrml.load_scene(tmp_path / "scene.mrb")
    assert reviews_of(again) == before
    assert before[0].checked


# The brush, on Slicer's own logic


@pytest.fixture
def brush(done):
    """The editor is open, its effect is Paint; gives a function that paints a box (RAS mm)."""
    panel, node = done
    panel.ui.editCollapsibleButton.collapsed = False
    editor = panel.panel.sections[3]._editor
    editor.setActiveEffectByName("Paint")
    slicer = mrml.ensure_host()

    def paint(low, high, mode="Add"):
        logic = editor._object.logic
        logic.SaveStateForUndo()
        logic.UpdateAlignedSourceVolume()
        logic.UpdateMaskLabelmap()
        logic.UpdateReferenceGeometryImage()
        logic.ResetModifierLabelmapToDefault()
        image = logic.GetModifierLabelmap()
        from vtkmodules.util.numpy_support import vtk_to_numpy

        array = vtk_to_numpy(image.GetPointData().GetScalars())
        array = array.reshape(image.GetDimensions()[::-1])
        matrix = small_scan().ijk_to_ras
        k, j, i = np.indices(array.shape)
        index = np.stack([i, j, k, np.ones_like(i)], axis=-1)
        ras = (index + [*image.GetExtent()[::2], 0]) @ matrix.T
        array[((ras[..., :3] >= low) & (ras[..., :3] <= high)).all(axis=-1)] = 1
        image.Modified()
        modes = {
            "Add": logic.ModificationModeAdd,
            "Remove": logic.ModificationModeRemove,
        }
        logic.ModifySegmentByLabelmap(node, "Head", image, modes[mode], False, False)

    return panel, node, editor, paint, slicer


def on_scan(node):
    """The head on the whole grid of the scan."""
    from SkinSegLib.scan.masks import onto_scan

    voxels, matrix = labelmap(node)
    padded = matrix.copy()
    padded[:3, 3] -= padded[:3, :3].sum(axis=1)
    return onto_scan(np.pad(voxels, 1), padded, small_scan())


@pytest.mark.parametrize("mode", ["Add", *slow(["Remove"])])
def test_both_brushes_change_only_tissue(brush, mode):
    _panel, node, editor, paint, _slicer = brush
    editor.setActiveEffectByName("Paint" if mode == "Add" else "Erase")
    parameter = editor.mrmlSegmentEditorNode()
    assert parameter.GetSourceVolumeIntensityMask()
    assert parameter.GetSourceVolumeIntensityMaskRange() == (-480.0, 40.0)
    before, tissue = on_scan(node), small_scan().voxels >= -480
    skin = mrml.segment_labelmap(node, "Skin")[0]
    if mode == "Add":
        paint([20, -80, -80], [80, 80, 80], "Remove")
        cut = on_scan(node)
        assert np.count_nonzero(before) > np.count_nonzero(cut)
        paint([20, -80, -80], [80, 80, 80], "Add")
    else:
        paint([-80, -80, 20], [80, 80, 80], "Remove")
        assert np.count_nonzero(on_scan(node)) < np.count_nonzero(before)
    changed = on_scan(node) != before
    assert not changed[~tissue].any()
    assert np.array_equal(mrml.segment_labelmap(node, "Skin")[0], skin)  # the other is left alone
    if mode == "Add":
        assert not changed.any()  # what was erased is tissue, all of it is back, and no air


@pytest.mark.slow
def test_anywhere_lifts_the_range_and_puts_it_back(brush):
    panel, node, editor, paint, _slicer = brush
    parameter, before = editor.mrmlSegmentEditorNode(), on_scan(node)
    panel.ui.anywhereBox.click()
    assert not parameter.GetSourceVolumeIntensityMask()
    paint([50, -10, -10], [58, 10, 10])  # air beside the head
    air = small_scan().voxels < -480
    assert (on_scan(node) & ~before.astype(bool))[air].any()
    panel.ui.anywhereBox.click()
    assert parameter.GetSourceVolumeIntensityMask()
    assert parameter.GetSourceVolumeIntensityMaskRange() == (-480.0, 40.0)


@pytest.mark.slow
def test_the_range_is_kept_for_each_effect(brush):
    _panel, _node, editor, _paint, _slicer = brush
    parameter = editor.mrmlSegmentEditorNode()
    parameter.SetSourceVolumeIntensityMaskRange(-200.0, 30.0)
    editor.setActiveEffectByName("Erase")
    assert parameter.GetSourceVolumeIntensityMaskRange() == (-480.0, 40.0)
    parameter.SetSourceVolumeIntensityMask(False)
    editor.setActiveEffectByName("Islands")
    assert not parameter.GetSourceVolumeIntensityMask()
    editor.setActiveEffectByName("Paint")
    assert parameter.GetSourceVolumeIntensityMask()
    assert parameter.GetSourceVolumeIntensityMaskRange() == (-200.0, 30.0)
    editor.setActiveEffectByName("Erase")
    assert not parameter.GetSourceVolumeIntensityMask()


@pytest.mark.slow
def test_the_range_of_threshold_is_for_the_brush_and_scissors_cut_air_too(brush):
    _panel, _node, editor, _paint, _slicer = brush
    parameter = editor.mrmlSegmentEditorNode()
    editor.setActiveEffectByName("Threshold")
    parameter.SetSourceVolumeIntensityMask(True)  # as "Use for masking" does
    parameter.SetSourceVolumeIntensityMaskRange(-100.0, 20.0)
    editor.setActiveEffectByName("Paint")
    assert parameter.GetSourceVolumeIntensityMaskRange() == (-100.0, 20.0)
    editor.setActiveEffectByName("Scissors")
    assert not parameter.GetSourceVolumeIntensityMask()


@pytest.mark.slow
def test_the_editor_follows_the_next_run(brush):
    panel, node, editor, _paint, _slicer = brush
    click(panel, panel.ui.segmentButton)
    assert panel.panel.segmentation is not node
    assert editor.segmentationNode() is panel.panel.segmentation
    panel.ui.undoRunButton.click()
    assert editor.segmentationNode() is node


@pytest.mark.slow
def test_the_brush_is_put_down_while_a_job_runs(brush):
    panel, _node, editor, _paint, _slicer = brush
    panel.ui.segmentButton.click()
    assert editor.mrmlSegmentEditorNode().GetActiveEffectName() in ("", None)
    assert not editor._object._shortcuts
    settle(panel)
    assert editor._object._shortcuts


@pytest.mark.slow
def test_the_level_is_kept_when_coming_back(brush):
    panel, _node, _editor, _paint, _slicer = brush
    panel.ui.levelSlider.value = -300
    panel.exit()
    panel.enter()
    pump(lambda: panel.panel.running == "")
    panel.panel.update()
    assert panel.ui.levelSlider.value == -300


@pytest.mark.slow
def test_the_level_moves_the_range_and_draws_its_outline(brush):
    panel, _node, editor, _paint, slicer = brush
    panel.ui.levelSlider.value = -300
    assert editor.mrmlSegmentEditorNode().GetSourceVolumeIntensityMaskRange() == (-300.0, 40.0)
    panel.ui.outlineBox.click()

    def outline():
        nodes = slicer.util.getNodesByClass("vtkMRMLModelNode")
        return next((n for n in nodes if n.GetName() == "Skin level outline"), None)

    pump(outline)
    first = outline().GetPolyData().GetBounds()
    assert outline().GetDisplayNode().GetVisibility2D()
    assert not outline().GetDisplayNode().GetVisibility3D()
    assert first[1] == pytest.approx(42, abs=3)  # where the made head ends
    panel.ui.levelSlider.value = 0
    pump(lambda: outline() is not None and outline().GetPolyData().GetBounds() != first)
    panel.ui.outlineBox.click()
    assert outline() is None


def test_undo_and_redo(brush):
    _panel, node, editor, paint, _slicer = brush
    before = on_scan(node)
    paint([-80, -80, 20], [80, 80, 80], "Remove")
    after = on_scan(node)
    assert (after != before).any()
    editor._object.undo()
    assert np.array_equal(on_scan(node), before)
    editor._object.redo()
    assert np.array_equal(on_scan(node), after)


@pytest.mark.slow
def test_only_what_serves_here_is_shown(brush):
    _panel, _node, editor, _paint, _slicer = brush
    assert not editor.unorderedEffectsVisible
    assert editor._object._order == list(editing.EFFECTS)
    assert not editor.segmentationNodeSelectorVisible
    assert editor.segmentationNode() is segmentations()[0]


@pytest.mark.slow
def test_leaving_puts_the_brush_down(brush):
    panel, _node, editor, _paint, _slicer = brush
    assert editor._object._shortcuts
    panel.exit()
    assert editor.mrmlSegmentEditorNode().GetActiveEffectName() in ("", None)
    assert not editor._object._shortcuts
    panel.enter()
    assert editor._object._shortcuts


@pytest.mark.slow
def test_closing_the_scene_lets_go_of_the_editor(brush, empty_scene):
    panel, _node, editor, _paint, _slicer = brush
    empty_scene.Clear()
    assert editor.segmentationNode() is None
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    assert editor.segmentationNode() is segmentations()[0]


@pytest.mark.slow
def test_what_a_stroke_encloses_is_filled(brush):
    panel, node, _editor, paint, _slicer = brush
    panel.ui.anywhereBox.click()
    panel.ui.fillStrokesBox.click()
    settled = on_scan(node)
    # A square ring in two slices, in the air beside the head.
    for low, high in (([30, -30, 0], [61, -26, 6]), ([30, 26, 0], [61, 30, 6])):
        paint(low, high)
    paint([57, -30, 0], [61, 30, 6])
    ring = on_scan(node)
    pump(lambda: np.count_nonzero(on_scan(node)) > np.count_nonzero(ring))
    filled = (on_scan(node) != ring) & (settled == 0)
    k, j, i = np.nonzero(filled)
    place = small_scan().ijk_to_ras[:3, :3] @ np.array([i.mean(), j.mean(), k.mean()])
    place += small_scan().ijk_to_ras[:3, 3]
    assert 42 < place[0] < 58
    assert abs(place[1]) < 5


@pytest.mark.slow
def test_after_a_pause_our_surface_is_there_again(done):
    panel, node = done
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    assert mrml.restore_surface(node) == ("Skin",)
    pump(lambda: "Head" in mrml.restore_surface(node))
    surface = mrml.world_surface(node, "Head")
    assert surface.closed
    assert surface.points[:, 0].min() > EAR[0] + 3  # the ear is gone
    assert "made again" in panel.ui.logText.plainText


@pytest.mark.slow
def test_back_from_another_module_our_surface_is_there_again(done):
    panel, node = done
    panel.exit()
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    panel.enter()
    pump(lambda: mrml.restore_surface(node) == ("Head", "Skin"))


# One click each


@pytest.mark.slow
def test_keep_only_the_head(done):
    panel, node = done
    before = on_scan(node)
    voxels, matrix = labelmap(node)
    grown = np.pad(voxels, ((2, 2), (2, 2), (2, 2)))
    grown[0, 0, 0] = 1
    moved = matrix.copy()
    moved[:3, 3] -= 2 * moved[:3, :3].sum(axis=1)
    mrml.set_labelmap(node, "Head", grown, moved)
    assert (on_scan(node) != before).any()
    click(panel, panel.ui.keepButton)
    assert np.array_equal(on_scan(node), before)
    assert "0 voxels added, 1 removed" in panel.ui.resultLabel.text
    click(panel, panel.ui.keepButton)
    assert panel.ui.resultLabel.text == "There was nothing to change."
    panel.panel.sections[3]._editor._object.undo()
    panel.panel.sections[3]._editor._object.undo()
    assert (on_scan(node) != before).any()


def test_fill_holes(done):
    panel, node = done
    before = on_scan(node)
    voxels, matrix = labelmap(node)
    hollow = voxels.copy()
    middle = tuple(n // 2 for n in hollow.shape)
    hollow[tuple(slice(m - 2, m + 2) for m in middle)] = 0
    mrml.set_labelmap(node, "Head", hollow, matrix)
    click(panel, panel.ui.fillButton)
    assert np.array_equal(on_scan(node), before)
    assert "64 voxels added, 0 removed" in panel.ui.resultLabel.text


@pytest.mark.slow
def test_smooth_here_changes_nothing_elsewhere(done, empty_scene):
    panel, node = done
    slices(empty_scene)
    jump_to((42.0, 0.0, 0.0))
    assert place_of() == pytest.approx((42, 0, 0))
    voxels, matrix = labelmap(node)
    spiky = voxels.copy()
    inside = np.linalg.inv(matrix) @ [41.0, 0.0, 0.0, 1.0]
    i, j, k = (round(x) for x in inside[:3])
    spiky[k, j, i - 1 : i + 1] = 0  # a dent one voxel wide
    mrml.set_labelmap(node, "Head", spiky, matrix)
    dented = on_scan(node)
    click(panel, panel.ui.smoothButton)
    changed = np.argwhere(on_scan(node) != dented)[:, ::-1]
    assert len(changed)
    scan = small_scan()
    place = changed @ scan.ijk_to_ras[:3, :3].T + scan.ijk_to_ras[:3, 3]
    assert np.linalg.norm(place - [42, 0, 0], axis=1).max() <= 10


@pytest.mark.slow
def test_an_edit_meanwhile_is_not_overwritten(done):
    from SkinSegLib.mrml.jobs import MendJob

    _panel, node = done
    job = MendJob(node, "Head", "keep")
    list(job.prepare())
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    with pytest.raises(SceneError, match="edited meanwhile"):
        job.finish({"added": 1, "removed": 0})
    job.close()


# Another patient


@pytest.mark.slow
def test_the_brush_is_put_down_when_another_volume_is_selected(brush):
    panel, node, editor, _paint, _slicer = brush
    editor.setActiveEffectByName("Paint")
    other = volume_node(small_scan())
    panel._parameterNode.inputVolume = other
    assert editor.segmentationNode() is None
    assert editor.mrmlSegmentEditorNode().GetActiveEffectName() in ("", None)
    assert not editor._object._shortcuts
    panel._parameterNode.inputVolume = mrml.ensure_host().mrmlScene.GetFirstNodeByName("scan")
    assert editor.segmentationNode() is node


@pytest.mark.slow
def test_a_result_whose_scan_is_gone_is_nobodys(done, empty_scene):
    panel, node = done
    scan = panel._parameterNode.inputVolume
    other = volume_node(small_scan())
    empty_scene.RemoveNode(scan)
    panel._parameterNode.inputVolume = other
    panel._parameterNode.segmentation = node
    assert not panel.ui.exportButton.enabled
    assert "not loaded" in panel.ui.exportButton.toolTip
    assert not panel.ui.keepButton.enabled
    assert "not loaded" in panel.ui.reviewLabel.text


@pytest.mark.slow
def test_a_run_does_not_write_into_the_head_of_another_scan(done, monkeypatch):
    panel, node = done
    asked = []
    util = mrml.ensure_host().util
    monkeypatch.setattr(util, "confirmYesNoDisplay", lambda *a, **k: asked.append(a) or True)
    before = on_scan(node)
    panel._parameterNode.inputVolume = volume_node(small_scan())
    panel._parameterNode.outputSegmentation = node
    click(panel, panel.ui.segmentButton)
    assert "another scan" in panel.ui.resultLabel.text
    assert node.GetName() in panel.ui.resultLabel.text
    assert asked == []
    assert np.array_equal(on_scan(node), before)
    assert not panel.ui.undoRunButton.visible  # it is the other one's


@pytest.mark.slow
def test_the_layer_is_made_after_coming_back_to_its_volume(panel):
    first = volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    panel._parameterNode.inputVolume = volume_node(small_scan())  # before the layer is there
    pump(lambda: panel.panel.running == "")
    panel._parameterNode.inputVolume = first
    settle_all(panel)
    assert mrml.segment_labelmap(node, "Skin")[0].any()


@pytest.mark.slow
def test_the_layer_keeps_how_the_user_shows_it(done):
    panel, node = done
    display = node.GetDisplayNode()
    assert not display.GetSegmentVisibility3D("Skin")
    display.SetSegmentOpacity2DFill("Skin", 0.3)
    node.GetSegmentation().GetSegment("Skin").SetName("Haut")
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    pump(lambda: "Skin was made" in panel.ui.logText.plainText.split("made again")[-1])
    settle_all(panel)
    assert not display.GetSegmentVisibility3D("Skin")
    assert display.GetSegmentOpacity2DFill("Skin") == pytest.approx(0.3)
    assert node.GetSegmentation().GetSegment("Skin").GetName() == "Haut"


@pytest.mark.slow
def test_below_a_non_linear_transform_the_layer_comes_with_the_head(panel):
    from mrml_makers import bent

    volume_node(small_scan(), bent())
    click(panel, panel.ui.segmentButton)
    (node,) = segmentations()
    assert mrml.segment_labelmap(node, "Skin")[0].any()
