"""The files of the module, and the test host itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
pytest.importorskip("slicer", reason="slicer-core is not installed")
try:
    from PySide6 import QtUiTools, QtWidgets  # noqa: F401 - fails where libEGL or libGL is missing
except ImportError as error:
    pytest.skip(f"Qt cannot start here: {error}", allow_module_level=True)

import Host
from Host import api
from Host.pythonqt import wrapper_class
from Host.ui_loader import check_ui
from mrml_makers import small_scan, volume_node
from SkinSegLib import mrml
from SkinSegLib.core import Cancelled

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def panel():
    mrml.ensure_host().mrmlScene.Clear()
    host = Host.start()
    yield host.open_panel()
    host.close_panel()
    mrml.ensure_host().mrmlScene.Clear()


def test_every_widget_has_a_tooltip_and_the_notice_stands():
    root = ET.parse(ROOT / "Resources" / "UI" / "SkinSeg.ui").getroot()
    check_ui(root)
    top = root.find("widget")
    assert (top.attrib["class"], top.attrib["name"]) == ("qMRMLWidget", "SkinSeg")
    for widget in top.iter("widget"):
        names = [entry.attrib["name"] for entry in widget.findall("property")]
        assert widget is top or "toolTip" in names, widget.attrib["name"]
    assert "Not a medical device" in ET.tostring(root, encoding="unicode")


def test_no_two_widgets_have_one_name():
    """Slicer's ``ui`` finds widgets by name: of two it would give the first to both."""
    root = ET.parse(ROOT / "Resources" / "UI" / "SkinSeg.ui").getroot()
    names = [item.get("name") for item in root.iter() if item.tag in ("widget", "layout")]
    assert sorted(names) == sorted(set(names))


def test_requirements_leave_slicers_own_packages_alone():
    text = (ROOT / "Resources" / "requirements.txt").read_text(encoding="utf-8")
    lines = [line.split("#")[0].strip().lower() for line in text.splitlines()]
    names = {line.split(">")[0].split("=")[0].split("<")[0].strip() for line in lines if line}
    assert not names & {"slicer-core", "vtk", "numpy", "simpleitk", "pydicom", "skinseg"}


def test_opening_the_panel_imports_nothing_heavy():
    code = (
        "import sys, Host\n"
        "host = Host.start()\n"
        "host.open_panel()\n"
        "heavy = {'torch', 'monai', 'scipy', 'SimpleITK', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "host.close_panel()\n"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "Testing")])
    environment = os.environ | {"PYTHONPATH": paths, "QT_QPA_PLATFORM": "offscreen"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr


# The host itself


def test_host_refuses_what_real_slicer_lacks(panel):
    button = panel.ui.segmentButton
    with pytest.raises(AttributeError, match="real Slicer"):
        button.setCaption("x")
    with pytest.raises(AttributeError, match="real Slicer"):
        button.caption = "x"
    with pytest.raises(ValueError, match="no signal"):
        button.connect("clicked(int)", print)
    with pytest.raises(AttributeError, match="real Slicer"):
        mrml.ensure_host().app.processAllEvents()
    with pytest.raises(AttributeError, match=r"api\.json"):
        wrapper_class("qt.QNoSuchWidget")


def test_host_has_the_manners_of_pythonqt(panel):
    button = panel.ui.segmentButton
    assert button.isEnabled() == button.enabled
    button.setText("a")
    assert button.text == "a"
    got = []
    button.enabled = True
    button.clicked.connect(lambda *args: got.append(args))
    button.connect("clicked()", lambda *args: got.append(args))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panel.logic, "process", lambda *a, **k: (_ for _ in ()).throw(Cancelled()))
        panel._parameterNode.inputVolume = volume_node(small_scan())
        button.click()
    assert got == [(False,), ()]


def test_api_list_is_cut_from_the_one_read_off_slicer():
    full = ROOT.parents[1] / "shared" / "slicer_api" / "slicer_qt_api.json"
    if not full.is_file():
        pytest.skip("the full list of Slicer's names is not here")
    everything = json.loads(full.read_text(encoding="utf-8"))
    assert all(everything[key] == entry for key, entry in api.CLASSES.items())
