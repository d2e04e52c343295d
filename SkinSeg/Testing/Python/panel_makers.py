"""The module and its panel in the test host, for the tests of both.

Where Slicer's packages or Qt are missing, importing this skips the test file.
"""

from __future__ import annotations

import os

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
from SkinSegLib import mrml

__all__ = ["FileDialog", "during", "empty_scene", "host", "panel", "segmentations", "unwrap"]


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
