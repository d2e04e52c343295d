"""Packages in Slicer: one question, Slicer's own left alone, and going on without them."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from mrml_makers import small_scan, volume_node
from panel_makers import Settings, click, empty_scene, host, panel, segmentations
from SkinSegLib import mrml


@pytest.fixture
def bare(panel, monkeypatch):
    """Slicer as it comes: nothing is installed, and it is not being tested."""
    from SkinSegLib.widgets import packages

    there: set[str] = set()
    monkeypatch.setattr(packages, "_has", lambda name: name in there)
    slicer = mrml.ensure_host()
    monkeypatch.setattr(type(slicer.app), "testingEnabled", lambda self: False)
    found = SimpleNamespace(questions=[], answer=True, installed=[], there=there, fails=False)

    def confirm(text, *_args, **_kwargs):
        found.questions.append(text)
        return found.answer

    def pip_install(requirements, constraints=None, requester=None):
        if found.fails:
            raise RuntimeError("no network")
        found.installed.append((list(requirements), constraints.read_text()))
        imported = {"libigl": "igl", "connected-components-3d": "cc3d"}
        names = [r.partition(">")[0] for r in requirements]
        there.update(imported.get(name, name) for name in names)
        there.update({"fast_simplification"} & {r.replace("-", "_") for r in there})

    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", confirm)
    packaging = ModuleType("slicer.packaging")
    packaging.pip_install = pip_install
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer, "packaging", packaging, raising=False)

    class TorchLogic:
        def torchInstalled(self):
            return "torch" in there

        def installTorch(self, askConfirmation=True):
            assert not askConfirmation  # asked once already
            there.add("torch")
            return object()

    torch_utils = ModuleType("PyTorchUtils")
    torch_utils.PyTorchUtilsLogic = TorchLogic
    found.torch_utils = torch_utils
    monkeypatch.setitem(sys.modules, "PyTorchUtils", torch_utils)
    panel.panel.update()
    return panel, found


@pytest.mark.slow
def test_one_question_names_what_and_how_large(bare):
    panel, found = bare
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    (question,) = found.questions
    for name in (
        "torch",
        "monai",
        "connected-components-3d",
        "fast-simplification",
        "manifold3d",
        "libigl",
        "lib3mf",
    ):
        assert f"- {name} (" in question
    assert "MB" in question
    assert "torch" in found.there
    (small, constraints), (last, _same) = found.installed
    requirements = [*small, *last]
    assert last == ["monai>=1.4"]
    assert not any(r.startswith(("torch", "numpy", "vtk", "SimpleITK")) for r in requirements)
    import numpy

    assert f"numpy=={numpy.__version__}" in constraints
    assert "pydicom==" in constraints
    assert len(segmentations()) == 1
    assert panel.ui.packagesLabel.text == "All packages are installed."
    click(panel, panel.ui.segmentButton)
    assert len(found.questions) == 1


@pytest.mark.slow
def test_without_consent_it_goes_on_and_says_how(bare):
    panel, found = bare
    found.answer = False
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    assert found.installed == []
    assert len(segmentations()) == 1
    assert "threshold engine" in panel.ui.logText.plainText
    assert "keep all their triangles" in panel.ui.packagesLabel.text
    click(panel, panel.ui.segmentButton)
    assert len(found.questions) == 1  # not asked again by itself
    found.answer = True
    click(panel, panel.ui.packagesButton)  # but on request
    assert len(found.questions) == 2
    assert found.installed


@pytest.mark.slow
def test_without_network_it_goes_on_and_says_how(bare):
    panel, found = bare
    found.fails = True
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1
    assert "Is there a network" in panel.ui.logText.plainText
    assert "no network" not in panel.ui.logText.plainText  # pip's words are in Slicer's own log


def test_torch_comes_through_its_extension_or_not_at_all(bare, monkeypatch):
    panel, found = bare
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    click(panel, panel.ui.packagesButton)
    ((requirements, _constraints),) = found.installed
    assert "monai>=1.4" not in requirements  # of no use without PyTorch
    assert "Install that extension" in panel.ui.resultLabel.text
    assert "threshold engine" in panel.ui.resultLabel.text


def test_before_slicer_5_12_pip_install_of_slicer_util(bare, monkeypatch):
    panel, _found = bare
    slicer = mrml.ensure_host()
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    seen = []

    def pip_install(arguments):
        seen.append(arguments)
        assert "numpy==" in Path(arguments[-1]).read_text()

    monkeypatch.setattr(slicer.util, "pip_install", pip_install, raising=False)
    click(panel, panel.ui.packagesButton)
    (*requirements, flag, _file), _monai = seen
    assert flag == "--constraint"
    assert "fast-simplification>=0.1.9" in requirements
    assert "Still missing" in panel.ui.resultLabel.text


@pytest.mark.slow
def test_nothing_is_asked_where_slicer_is_tested(panel, monkeypatch):
    from SkinSegLib.widgets import packages

    monkeypatch.setattr(packages, "_has", lambda name: False)

    def ask(*_args, **_kwargs):
        raise AssertionError("a question came")

    monkeypatch.setattr(mrml.ensure_host().util, "confirmYesNoDisplay", ask)
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    assert len(segmentations()) == 1
    assert "SkinSeg/PackagesAsked" not in Settings.shared


def test_requirements_file_and_code_name_the_same(host):
    from SkinSegLib.widgets import packages

    text = (Path(host.code.__file__).parent / "Resources/requirements.txt").read_text()
    lines = {line.split("#")[0].strip() for line in text.splitlines()} - {""}
    assert lines == {pip for _name, pip, _size in packages.ALL}
