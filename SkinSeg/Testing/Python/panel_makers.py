"""The module and its panel in the test host, for the tests of both.

Where Slicer's packages or Qt are missing, importing this skips the test file.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    from PySide6 import QtUiTools, QtWidgets  # noqa: F401 - fails where libEGL or libGL is missing
except ImportError as error:
    pytest.skip(f"Qt cannot start here: {error}", allow_module_level=True)

import Host
from Host.application import DesktopServices, FileDialog, Settings
from Host.pythonqt import unwrap
from SkinSegLib import mrml

__all__ = [
    "DesktopServices",
    "FileDialog",
    "click",
    "during",
    "empty_scene",
    "host",
    "one_process",
    "panel",
    "pump",
    "segmentations",
    "settle",
    "settle_all",
    "unwrap",
]

#: Far more than any of these small jobs takes.
_LIMIT_S = 90.0


@contextmanager
def one_process(code):
    """One process for all the PanelWorkers that a module of the panel makes."""
    from SkinSegLib.worker.runner import Runner

    kept = []
    original = code.PanelWorker

    class KeptWorker(original):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            if kept:
                self.worker = kept[0]
                self.runner = Runner(self.worker, self._later)
            else:
                kept.append(self.worker)

        def close(self):
            self._timer.stop()
            self.runner.cancel()
            if self.worker.is_busy:
                self.worker.close()

    code.PanelWorker = KeptWorker
    try:
        yield
    finally:
        code.PanelWorker = original
        for worker in kept:
            worker.close()


@pytest.fixture(scope="module")
def host():
    """The module, with one worker process for all panels of a test file: each takes seconds."""
    started = Host.start()
    from SkinSegLib.widgets import panel as panel_code

    with one_process(panel_code):
        yield started


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


def pump(until, limit_s=_LIMIT_S):
    """Let Qt work until a condition holds; fails if it never does."""
    application = mrml.ensure_host().app
    end = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < end, "the panel never came to it"
        application.processEvents()
        time.sleep(0.002)


def settle(panel):
    """Wait until nothing runs that a user started."""
    pump(lambda: panel.panel.closed or not panel.panel.is_busy)


def settle_all(panel):
    """Wait until nothing runs, and the result has its layer and its surfaces."""
    settle(panel)
    pump(lambda: panel.panel.running == "" and _is_whole(panel.panel.segmentation))


def _is_whole(node):
    return node is None or mrml.restore_surface(node) == ("Head", "Skin")


def click(panel, button):
    """Click, and wait for what it starts."""
    button.click()
    settle(panel)


def during(panel, action, stage=None):
    """Call ``action`` from the event loop, once, while a segmentation runs (in ``stage``)."""
    done = []
    original = panel.panel._progress

    def show(now, fraction):
        original(now, fraction)
        if panel.panel.is_busy and not done and stage in (None, now) and fraction > 0:
            done.append(now)
            action()

    panel.panel._progress = show
    return done
