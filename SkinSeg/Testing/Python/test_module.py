"""The real SkinSeg.py and its .ui, over real MRML, in the test host."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from mrml_makers import small_scan, volume_node
from panel_makers import empty_scene, host, unwrap
from SkinSegLib import mrml
from SkinSegLib.core import Cancelled, SceneError

ROOT = Path(__file__).resolve().parents[2]


# What Slicer asks of the module


def test_module_tells_about_itself(host):
    parent = host.module.parent
    assert parent.title == "SkinSeg"
    assert parent.categories == ["Segmentation"]
    assert "Segmentations" in parent.dependencies
    assert "Not a medical device" in parent.helpText
    assert parent.contributors
    assert parent.acknowledgementText
    assert not unwrap(parent.icon).isNull()


def test_phantom_is_offered_as_sample_data(host, monkeypatch):
    slicer = mrml.ensure_host()
    slicer.app.emit_now("startupCompleted()")
    (source,) = slicer.modules.sampleDataSources["SkinSeg"][-1:]
    assert source.sampleName == "SkinSegPhantom"
    assert Path(source.thumbnailFileName).is_file()
    from SkinSegLib.training import phantom

    made = []

    def quick(*arguments):
        made.append(arguments)
        return SimpleNamespace(volume=small_scan())

    monkeypatch.setattr(phantom, "make_phantom", quick)  # the real one takes seconds
    (node,) = source.customDownloader(source)
    assert made == [()]  # the one that skinseg demo makes
    assert node.GetImageData().GetDimensions() == (38, 40, 36)


def test_self_test_runs_the_same_under_ctest_and_reload_and_test(host, monkeypatch):
    import unittest

    case = host.code.SkinSegTest
    under_ctest = [
        test._testMethodName for test in unittest.TestLoader().loadTestsFromTestCase(case)
    ]
    ran = []
    for name in under_ctest:
        monkeypatch.setattr(case, name, lambda self, name=name: ran.append(name))
    host.module.runTest(msec=1)
    assert sorted(ran) == sorted(under_ctest)
    assert len(ran) >= 5


SELF_TESTS = [
    line.split("(")[0].removeprefix("    def ")
    for line in (ROOT / "SkinSeg.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("    def test_")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SELF_TESTS)
def test_self_test(host, name):
    case = host.code.SkinSegTest(name)
    case.messageDelay = 1
    case.setUp()
    getattr(case, name)()


def test_logic_refuses_a_second_run_within_the_first(host):
    logic, volume, caught = host.code.SkinSegLogic(), volume_node(small_scan()), []

    def again(_stage, _fraction):
        with pytest.raises(SceneError, match="running already"):
            logic.process(volume)
        caught.append(True)
        logic.cancel()

    with pytest.raises(Cancelled):
        logic.process(volume, report=again)
    assert caught


def test_progress_goes_forward_from_0_to_1(host):
    seen = []
    host.code.SkinSegLogic().process(volume_node(small_scan()), report=lambda s, f: seen.append(f))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == pytest.approx(1)
