"""The panel's Learn: cases into a data set, a training in a process of its own, what goes live."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import stat

import numpy as np
import pytest
from mrml_makers import EAR, erase, small_scan, turned_scan, volume_node
from panel_makers import (
    FileDialog,
    click,
    empty_scene,
    host,
    one_process,
    panel,
    pump,
    segmentations,
    settle,
)
from SkinSegLib import mrml
from SkinSegLib.segmentation.live import live_model, make_live
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.dataset.intake import prepare
from SkinSegLib.training.trainings import TRAININGS, trainings

#: A training of seconds, for what only the real one can show.
TINY = {"steps": 2, "minutes": None, "workers": 0, "made": 0, "validation_scenes": 1}
#: Twenty times what it takes on two cores that are free.
_LONG_S = 400.0


@pytest.fixture(scope="module", autouse=True)
def models_folder(tmp_path_factory):
    """The user's models and key; set before any worker starts."""
    folder = tmp_path_factory.mktemp("models")
    before = os.environ.get("SKINSEG_MODELS")
    os.environ["SKINSEG_MODELS"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SKINSEG_MODELS"]
    else:
        os.environ["SKINSEG_MODELS"] = before


@pytest.fixture(scope="module", autouse=True)
def second_worker(host, models_folder):
    from SkinSegLib.widgets import learning

    with one_process(learning):
        yield


@pytest.fixture
def opened(panel, models_folder, tmp_path):
    """The panel with the section open on a data set's folder that is new."""
    for path in models_folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder = tmp_path / "Our heads"
    folder.mkdir()
    return opened_on(panel, folder)


def opened_on(panel, folder):
    FileDialog.answers += [str(folder)]
    panel.ui.caseFolderButton.click()
    panel.ui.learnCollapsibleButton.collapsed = False
    pump(lambda: learning(panel).state is not None)
    pump(lambda: not learning(panel).running)
    return panel


def learning(panel):
    return panel.panel.sections[7]


def trainer(panel):
    return panel.panel.sections[9]


def noisy_scan():
    """The small head from another day."""
    scan = small_scan()
    voxels = scan.voxels + np.random.default_rng(0).normal(0, 12, scan.voxels.shape)
    return dataclasses.replace(scan, voxels=np.rint(voxels).astype(np.int16))


def segmented(panel, scan):
    """The scan, selected and segmented by the threshold engine, which takes a second."""
    panel._parameterNode.inputVolume = volume_node(scan)
    panel.ui.engineSelector.currentIndex = 2
    click(panel, panel.ui.segmentButton)
    return panel._parameterNode.segmentation


def answers(monkeypatch, *given):
    """Answers to questions, and the questions."""
    asked, left = [], list(given)

    def confirm(text, *args, **kwargs):
        asked.append(text)
        return left.pop(0)

    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", confirm)
    return asked


def filled(folder, *splits):
    """A data set with a case for each split, of as many patients."""
    cases = CaseFolder.create(folder)
    for n, split in enumerate(splits, 1):
        scan = turned_scan(n)
        mask = None if split == "unlabelled" else (scan.voxels > -480).astype(np.uint8)
        taken = prepare(scan, mask, f"PATIENT{n}", split)
        cases.add(taken.record, taken.volume, taken.mask)
    return cases


# The model in use


def test_the_model_in_use_is_the_default_and_a_scene_may_name_another(panel):
    ui, parameters = panel.ui, panel._parameterNode
    assert parameters.model == "live"
    assert ui.modelSelector.currentText == "In use: skin-ct-head"
    parameters.model = "skin-ct-head"  # as scenes from before hold it
    panel.panel.connect(parameters)
    assert ui.modelSelector.currentText == "skin-ct-head"
    assert not ui.removeModelButton.enabled
    parameters.model = "gone"
    panel.panel.connect(parameters)
    assert ui.modelSelector.currentText == "gone (not found here)"


def test_nothing_starts_before_the_section_is_opened(panel):
    assert panel.ui.learnCollapsibleButton.collapsed
    assert learning(panel).work is None
    panel.ui.learnCollapsibleButton.collapsed = False
    assert learning(panel).work is None
    assert "Choose the folder" in panel.ui.casesLabel.text
    for button in (panel.ui.addCaseButton, panel.ui.trainButton, panel.ui.nextCaseButton):
        assert not button.enabled
        assert "Choose the folder" in button.toolTip


# Adding


@pytest.mark.slow
def test_a_corrected_scan_becomes_a_case(opened, models_folder, monkeypatch):
    panel, ui = opened, opened.ui
    assert ui.casesLabel.text.startswith("0 for training, 0 for testing, 0 waiting")
    assert "Segment a volume first" in ui.addCaseButton.toolTip or not ui.addCaseButton.enabled
    node = segmented(panel, small_scan())
    erase(node, EAR - [9, 14, 18], [-40, *(EAR[1:] + [14, 18])])
    ui.labellerEdit.text = "M. Curie"
    ui.patientEdit.text = "4711"
    click(panel, ui.addCaseButton)
    key = models_folder / "pseudonyms.key"
    assert "Added as head_0001, for training." in ui.learnLabel.text, ui.learnLabel.text
    assert str(key) in ui.learnLabel.text
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert ui.casesLabel.text.startswith("1 for training, 0 for testing")
    cases = CaseFolder.open(learning(panel).folder)
    (record,) = cases.records()
    assert record.labelled_by == "M. Curie"
    assert record.engine == "threshold"
    assert 1 < record.edited_ml < 8  # an ear of 4.7 mL, half of it in the head
    assert "4711" not in record.to_json()
    _scan, mask = cases.read(record)
    voxels, _matrix = mrml.segment_labelmap(node, "Head")
    assert np.count_nonzero(mask) == np.count_nonzero(voxels)

    click(panel, ui.addCaseButton)
    assert "is in the data set already" in ui.learnLabel.text
    # The same patient for testing, by the number alone.
    asked = answers(monkeypatch, True)
    segmented(panel, noisy_scan())
    assert ui.patientEdit.text == ""  # it was another volume's
    ui.patientEdit.text = " 4711"
    ui.splitSelector.currentIndex = 1
    click(panel, ui.addCaseButton)
    assert len(asked) == 1  # it looks alike, too
    assert "must not be in both" in ui.learnLabel.text
    assert len(cases.records()) == 1


@pytest.mark.slow
def test_a_scan_that_looks_alike_is_asked_about(opened, monkeypatch):
    panel, ui = opened, opened.ui
    segmented(panel, small_scan())
    click(panel, ui.addCaseButton)
    segmented(panel, noisy_scan())
    asked = answers(monkeypatch, False, True)
    click(panel, ui.addCaseButton)
    assert "looks like one in the data set" in asked[0]
    assert ui.casesLabel.text.startswith("1 for training")
    click(panel, ui.addCaseButton)
    assert ui.casesLabel.text.startswith("2 for training")
    assert "0.0 mL were corrected" in ui.learnLabel.text


@pytest.mark.slow
def test_what_cannot_be_added_is_refused_in_words(opened):
    panel, ui = opened, opened.ui
    (learning(panel).folder / "notes.txt").write_text("mine")
    segmented(panel, small_scan())
    click(panel, ui.addCaseButton)
    assert "not empty and holds no data set" in ui.learnLabel.text
    (learning(panel).folder / "notes.txt").unlink()
    ui.labellerEdit.text = "Mrs. <script>"
    click(panel, ui.addCaseButton)
    assert "Who labels" in ui.learnLabel.text
    ui.labellerEdit.text = ""
    ui.caseDefaceBox.checked = True  # an ellipsoid has no face
    click(panel, ui.addCaseButton)
    assert "Added" not in ui.learnLabel.text
    assert "went wrong" not in ui.learnLabel.text
    assert CaseFolder.create(learning(panel).folder).records() == []


@pytest.mark.slow
def test_the_next_case_is_loaded_labelled_and_leaves_the_queue(opened):
    panel, ui = opened, opened.ui
    for scan, number in ((turned_scan(1), "17"), (turned_scan(2), "18")):
        panel._parameterNode.inputVolume = volume_node(scan)
        ui.patientEdit.text = number
        click(panel, ui.addScanButton)
    assert "waits for its label" in ui.learnLabel.text
    assert "2 waiting" in ui.casesLabel.text
    cases = CaseFolder.open(learning(panel).folder)
    patients = {record.name: record.patient for record in cases.records()}
    pump(lambda: not learning(panel).running)
    ui.nextCaseButton.click()
    assert learning(panel).running == "rank"
    pump(lambda: "segment it" in ui.learnLabel.text)
    node = panel._parameterNode.inputVolume
    first = node.GetName()
    assert first in patients
    assert node.GetAttribute("SkinSeg.Case") == first
    ui.nextCaseButton.click()  # skipped: the order is known, so nothing is ranked again
    settle(panel)
    second = panel._parameterNode.inputVolume.GetName()
    assert second in set(patients) - {first}
    ui.engineSelector.currentIndex = 2
    click(panel, ui.segmentButton)
    click(panel, ui.addCaseButton)
    assert "Added as head_0003" in ui.learnLabel.text, ui.learnLabel.text
    assert f"Next: {first}" in ui.learnLabel.text
    assert ui.casesLabel.text.startswith("1 for training, 0 for testing, 1 waiting")
    (labelled,) = [record for record in cases.records() if record.labelled]
    assert labelled.patient == patients[second]  # by the number given when it was added


# Training


@pytest.mark.slow
def test_train_kill_go_on_use_and_back(panel, tmp_path, models_folder):
    """The real thing, small: nothing is lost by a kill, and segmenting goes on meanwhile."""
    folder = tmp_path / "Our heads"
    filled(folder, "train", "test")
    opened_on(panel, folder)
    ui, learn = panel.ui, learning(panel)
    train = trainer(panel)
    train.options, train.made, train.nice = TINY, 0, 0
    ui.trainButton.click()
    log = folder / TRAININGS / "Our-heads-v1" / "log.csv"
    checkpoint = log.with_name("checkpoint.pt")
    pump(lambda: checkpoint.exists(), _LONG_S)
    assert not ui.trainButton.enabled  # one at a time
    assert ui.learnCancelButton.isVisible()
    os.kill(learn.work.worker.pid, signal.SIGKILL)
    pump(lambda: not learn.running and "ended unexpectedly" in ui.learnLabel.text)
    pump(lambda: ui.resumeButton.isVisible() and ui.resumeButton.enabled)
    assert ui.resumeButton.text.startswith("Go on with the training of 20")
    begun = log.with_name("recipe.json").stat().st_mtime_ns
    first = log.read_text().splitlines()[1]
    ui.resumeButton.click()
    pump(lambda: learn.running == "learn")
    segmented(panel, small_scan())
    assert learn.running == "learn"  # it was not waited for
    assert "Head of" in ui.resultLabel.text
    pump(lambda: not learn.running and "is trained" in ui.learnLabel.text, _LONG_S)
    assert ui.curvesLabel.isVisible()
    lines = log.read_text().splitlines()
    assert lines[-1].startswith("2,")
    # Gone on with, not begun anew.
    assert lines[1] == first
    assert log.with_name("recipe.json").stat().st_mtime_ns == begun
    pump(lambda: ui.comparisonTable.isVisible())
    assert ui.comparisonTable.rowCount == 1
    assert "→" in ui.comparisonTable.cellWidget(0, 1).text
    assert live_model() == "skin-ct-head"  # a person decides
    assert ui.useModelButton.enabled, ui.comparisonLabel.text
    ui.useModelButton.click()
    pump(lambda: "is used from now on" in ui.learnLabel.text and not learn.running)
    assert live_model() == "Our-heads-v1"
    assert ui.modelSelector.currentText == "In use: Our-heads-v1"
    card = models_folder / "Our-heads-v1" / "docs" / "README.md"
    assert "model in use" in card.read_text()
    assert not checkpoint.exists()  # pieces of scans go once it is decided
    pump(lambda: ui.modelBackButton.enabled)
    ui.modelBackButton.click()
    pump(lambda: "is used again" in ui.learnLabel.text)
    assert live_model() == "skin-ct-head"
    assert ui.modelSelector.currentText == "In use: skin-ct-head"


def test_cancelling_keeps_what_there_is_and_a_new_one_asks(panel, tmp_path, monkeypatch):
    folder = tmp_path / "heads"
    filled(folder, "train", "test")
    opened_on(panel, folder)
    ui, learn = panel.ui, learning(panel)
    trainer(panel).options = {"workers": 0, "minutes": 600.0}
    ui.trainButton.click()
    pump(lambda: learn.running == "learn")
    ui.learnCancelButton.click()
    pump(lambda: "was stopped" in ui.learnLabel.text)
    pump(lambda: ui.resumeButton.isVisible() and ui.resumeButton.enabled)
    asked = answers(monkeypatch, False, True)
    ui.trainButton.click()
    assert "throw the training of" in asked[0]
    assert not learn.is_busy
    ui.trainButton.click()
    pump(lambda: learn.running == "learn")
    assert [training.name for training in trainings(CaseFolder.open(folder))] == ["heads-v1"]
    ui.learnCancelButton.click()
    pump(lambda: not learn.running)


def test_a_model_that_is_worse_is_not_offered(panel, tmp_path):
    folder = tmp_path / "heads"
    filled(folder, "train", "test")
    place = folder / TRAININGS / "heads-v1"
    (place / "model").mkdir(parents=True)
    plan = {"name": "heads-v1", "started": "2026-03-01T22:15+01:00", "start": "skin-ct-head"}
    (place / "training.json").write_text(json.dumps(plan))
    good, bad = ({"within": w, "mean_mm": m, "taken_ml": 1.0, "lost_ml": float("inf")}
                 for w, m in ((0.91, 0.4), (0.8, 1.2)))  # fmt: skip
    found = {
        "old": {"name": "skin-ct-head"},
        "new": {"name": "heads-v1"},
        "worse": ["head_0002: 0.110 less of the skin within 1 mm"],
        "tests": [],
        "rows": [{"case": "head_0002", "old": good, "new": bad}],
    }
    (place / "comparison.json").write_text(json.dumps(found))
    opened_on(panel, folder)
    ui = panel.ui
    assert "0.110 less of the skin" in ui.comparisonLabel.text
    assert not ui.useModelButton.enabled
    assert "0.110 less of the skin" in ui.useModelButton.toolTip
    shown = [ui.comparisonTable.cellWidget(0, n).text.strip() for n in range(5)]
    assert shown == ["head_0002", "0.910→0.800", "0.40→1.20", "1.0→1.0", "-→-"]
    assert ui.keepModelButton.enabled
    ui.keepModelButton.click()
    pump(lambda: "skin-ct-head stays in use" in ui.learnLabel.text)
    pump(lambda: not ui.comparisonTable.isVisible())
    (training,) = trainings(CaseFolder.open(folder))
    assert training.decided == "kept"
    assert live_model() == "skin-ct-head"


def test_why_nothing_can_be_trained(panel, tmp_path):
    folder = tmp_path / "heads"
    filled(folder, "train")
    opened_on(panel, folder)
    assert not panel.ui.trainButton.enabled
    assert "for testing" in panel.ui.trainButton.toolTip
    learning(panel).state |= {"test": 1, "problem": "The network needs torch."}
    panel.panel.update()
    assert panel.ui.trainButton.toolTip == "The network needs torch."
    assert not panel.ui.trainButton.enabled
