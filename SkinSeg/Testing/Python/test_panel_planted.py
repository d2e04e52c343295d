"""The panel with a scan full of planted names: its log, its exports, and what is left behind."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
import shutil
import tempfile
from types import SimpleNamespace

import pydicom
import pytest
from mrml_makers import volume_node
from panel_makers import click, empty_scene, host, panel, pump, segmentations
from planted_makers import FOLDER, found_below, found_in, planted_scan
from SkinSegLib import mrml
from SkinSegLib.scan import read


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The planted scan as Slicer's DICOM module loads it: the volume bears the patient's name."""
    scan, _ = planted_scan(tmp_path / "in")
    files = {str(pydicom.dcmread(path).SOPInstanceUID): str(path) for path in scan.iterdir()}
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(mrml.ensure_host(), "dicomDatabase", database, raising=False)
    node = volume_node(read(scan))
    node.SetName(f"4: {FOLDER}")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    return node, scan


def test_nothing_gets_out_of_the_panel(panel, study, tmp_path, monkeypatch, capfd, caplog):
    temp, out = tmp_path / "temp", tmp_path / "out"
    for folder in (temp, out):
        folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    monkeypatch.setenv("TMPDIR", str(temp))  # of the worker, which starts below
    shared = set(os.listdir("/dev/shm"))
    node, scan = study
    panel._parameterNode.inputVolume = node
    panel.ui.engineSelector.currentIndex = 2
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1, panel.ui.resultLabel.text
    panel.ui.folderButton.directory = str(out)
    click(panel, panel.ui.exportButton)
    assert any(path.suffix == ".stl" for path in out.iterdir()), panel.ui.exportLabel.text
    assert found_below(out) == {}
    # An error: its files are gone.
    shutil.rmtree(scan)
    click(panel, panel.ui.exportDicomButton)
    assert "not found" in panel.ui.exportLabel.text
    said = capfd.readouterr()
    log = panel.ui.logText.plainText
    for text in (log, panel.ui.exportLabel.text, caplog.text, said.out, said.err):
        assert not found_in(text.encode()), text
    assert log
    assert found_below(temp) == {}
    assert found_below(out) == {}
    assert {name for name in os.listdir("/dev/shm") if f"-{os.getpid()}-" in name} <= shared
