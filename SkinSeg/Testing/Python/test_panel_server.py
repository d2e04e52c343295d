"""The panel's Advanced: a MONAI Label server makes the mask of the selected volume."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import numpy as np
import pytest
from mrml_makers import volume_node
from panel_makers import Settings, click, empty_scene, host, panel, segmentations
from SkinSegLib import mrml
from SkinSegLib.mrml.segments import HEAD
from test_web_monai_label import Head, Label, figures_alone, label, phantom


class Answer:
    """To every question; what was asked is kept."""

    def __init__(self) -> None:
        self.yes, self.asked = True, []

    def __call__(self, question: str) -> bool:
        self.asked.append(question)
        return self.yes


@pytest.fixture
def answer(monkeypatch):
    from SkinSegLib.widgets import advanced_section

    made = Answer()
    monkeypatch.setattr(advanced_section, "ask", made)
    return made


def test_a_server_segments(panel, label: Label, phantom: Head, answer) -> None:
    ui = panel.ui
    assert not ui.askServerButton.enabled
    volume_node(phantom.volume)
    click(panel, ui.askServerButton)
    assert "address" in ui.resultLabel.text
    ui.serverEdit.text = label.url
    click(panel, ui.askServerButton)
    assert len(answer.asked) == 1
    assert label.url in answer.asked[0]
    assert "face" in answer.asked[0]
    assert "server: skinseg" in ui.resultLabel.text, ui.resultLabel.text
    (node,) = segmentations()
    voxels, _grid = mrml.segment_labelmap(node, HEAD.segment_id)
    assert np.count_nonzero(voxels) == np.count_nonzero(phantom.mask)
    assert Settings.shared["SkinSeg/Server"] == label.url
    assert len(label.came) == 1


def test_what_is_not_taken_changes_nothing(panel, label: Label, phantom: Head, answer) -> None:
    ui = panel.ui
    volume_node(phantom.volume)
    ui.serverEdit.text = label.url
    label.form = figures_alone
    click(panel, ui.askServerButton)
    assert "only figures" in ui.resultLabel.text
    ui.serverEdit.text = "http://example.org"
    click(panel, ui.askServerButton)
    assert "https" in ui.resultLabel.text
    assert not segmentations()
    came = len(label.came)
    answer.yes = False
    ui.serverEdit.text = label.url
    click(panel, ui.askServerButton)
    assert len(label.came) == came
    assert not segmentations()
