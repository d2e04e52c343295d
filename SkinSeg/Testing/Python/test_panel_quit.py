"""Nothing is left behind: the application quits, is killed, or the module is reloaded."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import LIBRARY
from mrml_makers import small_scan, volume_node
from panel_makers import FileDialog, empty_scene, pump
from SkinSegLib import mrml
from test_worker import gone

#: Opens the panel, starts a run, tells the worker's process number, and goes on until killed.
APPLICATION = """
import sys, time
import Host
host = Host.start()
panel = host.open_panel()
from mrml_makers import small_scan, volume_node
volume_node(small_scan())
import slicer
work = panel.panel.work
while not work.worker.is_ready or work.runner.job is not None:
    slicer.app.processEvents()
panel.ui.segmentButton.click()
while not work.worker.is_busy:
    slicer.app.processEvents()
print(work.worker.pid, work.runner.job.folder, flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    slicer.app.processEvents()
"""


@pytest.fixture
def host():
    """Without the worker that other tests share."""
    pytest.importorskip("PySide6.QtUiTools", exc_type=ImportError)
    import Host

    return Host.start()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_application_leaves_neither_process_nor_scan(how):
    paths = os.pathsep.join(map(str, [LIBRARY, LIBRARY / "Testing", Path(__file__).parent]))
    environment = os.environ | {"PYTHONPATH": paths, "QT_QPA_PLATFORM": "offscreen"}
    application = subprocess.Popen(
        [sys.executable, "-c", APPLICATION], env=environment, stdout=subprocess.PIPE, text=True
    )
    pid, folder = application.stdout.readline().split()
    application.send_signal(how)
    application.wait()
    application.stdout.close()
    assert gone(int(pid))
    from SkinSegLib.worker import remove_leftovers

    remove_leftovers()  # as the next worker does
    assert not Path(folder).exists()


def test_quitting_and_reloading_end_the_workers(host, empty_scene, tmp_path):
    slicer = mrml.ensure_host()
    panel = host.open_panel()
    worker = panel.panel.work.worker
    pump(lambda: worker.is_ready)
    FileDialog.answers.append(str(tmp_path))
    panel.ui.learnCollapsibleButton.collapsed = False
    panel.ui.caseFolderButton.click()
    second = panel.panel.sections[7].work.worker
    pump(lambda: second.is_ready)
    pids = worker.pid, second.pid
    slicer.app.emit_now("aboutToQuit()")
    assert all(gone(pid) for pid in pids)
    host.close_panel()
    assert slicer.app._slots.get("aboutToQuit()", []) == []
    panel = host.open_panel()
    worker = panel.panel.work.worker
    pump(lambda: worker.is_ready)
    pid = worker.pid
    panel.cleanup()  # what a reload does first
    assert gone(pid)
    assert panel.Observations == []
    host.close_panel()
