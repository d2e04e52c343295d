"""Models of one's own in the panel: added from a folder, chosen, deleted after a question."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import pytest
from model_makers import write_model
from mrml_makers import small_scan, volume_node
from panel_makers import FileDialog, click, empty_scene, host, panel
from SkinSegLib import mrml
from SkinSegLib.segmentation.live import LIVE_MODEL


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    """The folder of the user's own models, for this test alone."""
    folder = tmp_path / "own"
    monkeypatch.setenv("SKINSEG_MODELS", str(folder))
    return folder


@pytest.fixture
def asked(monkeypatch):
    """Questions that came, and what is answered."""
    found = {"questions": [], "answer": True}

    def confirm(text, *_args, **_kwargs):
        found["questions"].append(text)
        return found["answer"]

    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", confirm)
    return found


def test_a_model_is_added_chosen_and_deleted(panel, own_models, asked, tmp_path):
    volume_node(small_scan())
    write_model(tmp_path / "ours", tmp_path)
    FileDialog.answers += [str(tmp_path / "ours")]
    click(panel, panel.ui.addModelButton)
    assert (own_models / "ours").is_dir()
    assert panel._parameterNode.model == "ours"
    assert "Added the model ours" in panel.ui.resultLabel.text
    assert panel.ui.removeModelButton.enabled

    asked["answer"] = False
    click(panel, panel.ui.removeModelButton)
    assert (own_models / "ours").is_dir()
    asked["answer"] = True
    click(panel, panel.ui.removeModelButton)
    assert not (own_models / "ours").exists()
    assert panel._parameterNode.model == LIVE_MODEL
    assert len(asked["questions"]) == 2
    assert all("ours" in question for question in asked["questions"])
    assert not panel.ui.removeModelButton.enabled


def test_a_folder_that_is_no_model_is_refused(panel, own_models, tmp_path):
    volume_node(small_scan())
    before = panel._parameterNode.model
    (tmp_path / "empty").mkdir()
    FileDialog.answers += [str(tmp_path / "empty"), ""]
    click(panel, panel.ui.addModelButton)
    assert "empty" in panel.ui.resultLabel.text
    assert panel._parameterNode.model == before
    said = panel.ui.resultLabel.text
    click(panel, panel.ui.addModelButton)  # the dialog was closed
    assert panel.ui.resultLabel.text == said
    assert not own_models.exists() or not list(own_models.iterdir())


def test_a_model_that_has_gone_meanwhile(panel, own_models, asked, tmp_path):
    volume_node(small_scan())
    write_model(tmp_path / "ours", tmp_path)
    FileDialog.answers += [str(tmp_path / "ours")]
    click(panel, panel.ui.addModelButton)
    for path in sorted((own_models / "ours").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (own_models / "ours").rmdir()
    click(panel, panel.ui.removeModelButton)
    assert "ours" in panel.ui.resultLabel.text
