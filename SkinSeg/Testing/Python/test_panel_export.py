"""The panel's Export: files are counted and read, nothing is asked that need not be."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from mrml_makers import EAR, erase, small_scan, volume_node
from panel_makers import (
    DesktopServices,
    click,
    empty_scene,
    host,
    panel,
    pump,
    segmentations,
    settle,
)
from SkinSegLib import mrml
from SkinSegLib.mrml.review import jump_to
from SkinSegLib.surface import read_mesh, read_points


@pytest.fixture
def done(panel, tmp_path):
    """The panel after a run; exports go to the test's own folder."""
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    panel.ui.folderButton.directory = str(tmp_path)
    return panel, segmentations()[0]


@pytest.fixture
def asked(monkeypatch):
    """Questions that came, and the answer they get."""
    found = {"questions": [], "answer": True}

    def confirm(text, *_args, **_kwargs):
        found["questions"].append(text)
        return found["answer"]

    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", confirm)
    return found


def drawn():
    nodes = mrml.ensure_host().util.getNodesByClass("vtkMRMLModelNode")
    return [node for node in nodes if node.GetName() == "Exported skin"]


def test_one_click_writes_what_is_shown(done, tmp_path, asked):
    panel, node = done
    click(panel, panel.ui.exportButton)
    assert sorted(os.listdir(tmp_path)) == ["Head.stl", "Head.stl.json"]
    surface = mrml.world_surface(node, "Head")
    points, count, *_rest = read_points(tmp_path / "Head.stl")
    assert count == len(surface.triangles)
    assert points[:, 0].max() == pytest.approx(-surface.points[:, 0].min(), abs=1e-3)  # LPS
    assert asked["questions"] == []
    text = panel.ui.exportLabel.text
    assert f"{count} triangles" in text
    assert "The surface is closed." in text
    assert "shows a face" in text
    (model,) = drawn()
    low, high = model.GetPolyData().GetBounds()[:2]
    assert low == pytest.approx(surface.points[:, 0].min(), abs=1e-3)  # read by Slicer, in RAS
    assert high == pytest.approx(surface.points[:, 0].max(), abs=1e-3)
    record = json.loads((tmp_path / "Head.stl.json").read_text())
    assert record["engine"] == "network"
    assert record["model"]["name"] == "skin-ct-head"
    assert record["notice"].startswith("Not a medical device")
    assert record["closed"]
    assert str(tmp_path) not in json.dumps(record)


def test_the_link_opens_the_folder(done, tmp_path):
    panel, _node = done
    click(panel, panel.ui.exportButton)
    DesktopServices.opened.clear()
    link = panel.ui.exportLabel.text.split('"')[1]
    panel.ui.exportLabel._object.linkActivated.emit(link)
    assert DesktopServices.opened == [tmp_path.as_uri()]
    assert str(tmp_path) not in panel.ui.logText.plainText


@pytest.mark.parametrize("answer", [True, False])
def test_a_file_that_is_there_is_asked_about(done, tmp_path, asked, answer):
    panel, _node = done
    asked["answer"] = answer
    (tmp_path / "Head.stl").write_text("the old one")
    click(panel, panel.ui.exportButton)
    assert len(asked["questions"]) == 1
    assert ((tmp_path / "Head.stl").read_bytes() == b"the old one") != answer


@pytest.mark.slow
@pytest.mark.parametrize("index", range(6))
def test_every_format(done, tmp_path, index):
    panel, node = done
    panel.ui.formatSelector.currentIndex = index
    suffix = panel._parameterNode.fileFormat.value
    guess = panel.ui.estimateLabel.text
    click(panel, panel.ui.exportButton)
    path = tmp_path / f"Head{suffix}"
    mesh = read_mesh(path)
    assert mesh.volume_ml == pytest.approx(mrml.world_surface(node, "Head").volume_ml, rel=1e-3)
    assert "triangles" in guess
    from SkinSegLib.mrml.estimate import estimate

    found = estimate(node, layer=False, detail_mm=None, suffix=suffix)
    assert found.triangles == len(mesh.triangles)
    if suffix != ".vtp":  # see estimate.py
        assert found.bytes == pytest.approx(path.stat().st_size, rel=0.35)
    if suffix in (".3mf", ".glb"):
        assert "does not read" in panel.ui.exportLabel.text
        assert "went wrong" not in panel.ui.exportLabel.text
        assert drawn() == []
    else:
        assert len(drawn()) == 1


def test_layer_detail_smoothing_space_scale_and_cut(done, tmp_path, asked):
    panel, node = done
    whole = mrml.world_surface(node, "Head")
    ui = panel.ui
    ui.shapeSelector.currentIndex = 1
    ui.thicknessSlider.value = 8.0
    ui.spaceSelector.currentIndex = 1
    click(panel, ui.exportButton)
    layer = read_mesh(tmp_path / "Skin of Head.stl")
    assert 0 < layer.volume_ml < 0.9 * whole.volume_ml
    points, *_rest = read_points(tmp_path / "Skin of Head.stl")
    assert points[:, 0].min() == pytest.approx(whole.points[:, 0].min(), abs=1.0)  # RAS
    ui.shapeSelector.currentIndex = 0
    assert not ui.thicknessSlider.enabled
    ui.detailSpinBox.value = 6.0
    ui.smoothingSelector.currentIndex = 1
    click(panel, ui.exportButton)
    coarse = read_mesh(tmp_path / "Head.stl")
    assert len(coarse.triangles) < len(whole.triangles)
    ui.detailSpinBox.value = 0.0
    ui.smoothingSelector.currentIndex = 0
    ui.scaleSpinBox.value = 0.5
    ui.cutBox.click()
    ui.cutSpinBox.value = 0.0
    click(panel, ui.exportButton)
    half = read_mesh(tmp_path / "Head cut scaled 0.5.stl")
    assert half.volume_ml == pytest.approx(whole.volume_ml / 16, rel=0.05)
    assert "Cut off below" in ui.exportLabel.text
    assert "Scaled" in ui.exportLabel.text
    assert "not drawn" in ui.exportLabel.text


def test_the_height_of_the_axial_slice_is_taken(done, empty_scene):
    from test_panel_edit import slices

    panel, _node = done
    slices(empty_scene)
    jump_to((0.0, 0.0, -33.5))
    panel.ui.cutHereButton.click()
    assert panel.ui.cutSpinBox.value == -33.5
    assert panel.ui.cutBox.checked


def test_an_edited_head_is_written_as_it_is_now(done, tmp_path):
    panel, node = done
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    click(panel, panel.ui.exportButton)
    points, *_rest = read_points(tmp_path / "Head.stl")
    assert points[:, 0].max() < -EAR[0] - 3  # files are LPS: the ear was at +L
    assert read_mesh(tmp_path / "Head.stl").closed


def test_failures_are_told_and_nothing_is_lost(done, tmp_path, monkeypatch, caplog):
    panel, _node = done
    panel.ui.folderButton.directory = str(tmp_path / "missing")
    click(panel, panel.ui.exportButton)
    assert "does not exist" in panel.ui.exportLabel.text
    panel.ui.folderButton.directory = str(tmp_path)
    (tmp_path / "Head.stl").write_text("the old one")
    from SkinSegLib.widgets import export_section

    def fail(*_args, **_kwargs):
        raise RuntimeError("Doe^Jane")

    with monkeypatch.context() as patch:
        patch.setattr(export_section, "export_request", fail)
        monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", lambda *a, **k: True)
        click(panel, panel.ui.exportButton)
    assert "went wrong" in panel.ui.exportLabel.text
    assert "Doe^Jane" not in caplog.text + panel.ui.exportLabel.text
    assert (tmp_path / "Head.stl").read_bytes() == b"the old one"
    # The worker is killed while it writes.
    panel.ui.detailSpinBox.value = 1.0
    panel.ui.exportButton.click()
    pump(lambda: panel.panel.work.worker.is_busy)
    panel.panel.work.worker.transport._process.kill()
    settle(panel)
    assert "Nothing was changed" in panel.ui.exportLabel.text
    assert (tmp_path / "Head.stl").read_bytes() == b"the old one"
    assert os.listdir(tmp_path) == ["Head.stl"]


@pytest.mark.slow
def test_cancelled_export_leaves_the_old_file(done, tmp_path, asked):
    panel, _node = done
    (tmp_path / "Head.stl").write_text("the old one")
    panel.ui.detailSpinBox.value = 0.8
    panel.ui.exportButton.click()
    pump(lambda: panel.panel.work.worker.is_busy)
    assert panel.ui.segmentButton.text == "Cancel"
    click(panel, panel.ui.segmentButton)
    assert "Cancelled" in panel.ui.exportLabel.text
    assert os.listdir(tmp_path) == ["Head.stl"]
    assert (tmp_path / "Head.stl").read_bytes() == b"the old one"


def test_the_folder_is_kept_for_the_user_and_not_in_the_scene(done, tmp_path, host):
    _panel, _node = done
    mrml.save_scene(tmp_path / "scene.mrb")
    import zipfile

    with zipfile.ZipFile(tmp_path / "scene.mrb") as archive:
        text = b"".join(archive.read(n) for n in archive.namelist() if n.endswith(".mrml"))
    assert str(tmp_path).encode() not in text
    host.close_panel()
    assert host.open_panel().ui.folderButton.directory == str(tmp_path)


def test_the_record_says_that_the_head_was_edited_and_is_asked_about_too(done, tmp_path, asked):
    panel, node = done
    click(panel, panel.ui.exportButton)
    assert not json.loads((tmp_path / "Head.stl.json").read_text())["options"]["edited_by_hand"]
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    (tmp_path / "Head.stl").unlink()
    click(panel, panel.ui.exportButton)
    assert len(asked["questions"]) == 1  # the record alone is there
    assert json.loads((tmp_path / "Head.stl.json").read_text())["options"]["edited_by_hand"]


def test_cut_and_scale_are_not_for_the_next_patient(done):
    panel, _node = done
    panel.ui.scaleSpinBox.value = 0.5
    panel.ui.cutBox.click()
    panel._parameterNode.inputVolume = volume_node(small_scan())
    assert panel.ui.scaleSpinBox.value == 1.0
    assert not panel.ui.cutBox.checked


def test_a_long_name_is_cut(done, tmp_path):
    panel, node = done
    node.GetSegmentation().GetSegment("Head").SetName("Kopf " * 60)
    click(panel, panel.ui.exportButton)
    (name,) = [name for name in os.listdir(tmp_path) if name.endswith(".stl")]
    assert name.startswith("Kopf")
