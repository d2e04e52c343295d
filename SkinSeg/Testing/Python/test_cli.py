"""The command: every option, the report, exit codes, and how fast it answers."""

from __future__ import annotations

import argparse
import contextlib
import json
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command import LIBRARY, STAGES, names, skinseg, write_scan
from marks import slow
from SkinSegLib import cli
from SkinSegLib.cli import main
from SkinSegLib.segmentation import ENGINES
from SkinSegLib.segmentation.labelmap import FORMATS as LABELMAPS
from SkinSegLib.surface import FORMATS

JSON_KEYS = {
    "engine",
    "level_hu",
    "volume_ml",
    "triangles",
    "closed",
    "findings",
    "seconds",
    "peak_memory_mb",
    "geometry",
    "versions",
}


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "Doe^Jane_1970.nrrd")


def test_report_on_the_screen_and_as_json(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh, report = tmp_path / "skin.stl", tmp_path / "report.json"
    assert main(["segment", str(scan), "-o", str(mesh), "--json", str(report)]) == 0
    out, err = capsys.readouterr()

    known = json.loads(report.read_text())
    assert set(known) >= JSON_KEYS
    assert known["engine"] == "network"
    assert known["model"]["name"] == "skin-ct-head"
    assert len(known["model"]["sha256"]) == 64
    assert f"SHA-256 {known['model']['sha256'][:12]}" in out
    assert known["level_hu"] == pytest.approx(-480, abs=30)
    assert known["volume_ml"] == pytest.approx(2400, rel=0.05)
    assert known["closed"] is True
    assert known["geometry"]["size"] == [73, 73, 73]
    assert known["geometry"]["spacing_mm"] == [3, 3, 3]
    assert list(known["seconds"]) == [s for s in STAGES if s not in ("Layer", "Preview")]
    assert known["peak_memory_mb"] > 50
    assert {"skinseg", "python", "numpy", "vtk"} <= set(known["versions"])
    assert "Not a medical device" in known["notice"]

    content = mesh.read_bytes()
    assert struct.unpack("<I", content[80:84])[0] == known["triangles"] > 10_000
    assert len(content) == 84 + 50 * known["triangles"]

    assert f"{known['volume_ml']:.1f} mL" in out
    assert f"{known['triangles']} triangles, closed" in out
    assert "73 x 73 x 73 voxels of 3 x 3 x 3 mm" in out
    assert "HU" in out
    assert "Peak memory" in out
    assert "Not a medical device" in out
    assert f"Wrote {mesh}" in out
    assert out.count("\n") <= 24, "more than one screen"
    assert all(stage in err for stage in known["seconds"])
    for text in (report.read_text(), out, err):
        assert "Doe" not in text
        assert "1970" not in text


def test_coordinates_are_lps(scan: Path, tmp_path: Path) -> None:
    """The nose is at anterior, which is minus y in LPS; the ear is right, which is minus x."""
    mesh = tmp_path / "skin.stl"
    assert main(["segment", str(scan), "-o", str(mesh)]) == 0
    content = mesh.read_bytes()
    assert b"SPACE=LPS" in content[:80]
    rows = np.frombuffer(content[84:], np.dtype([("v", "<f4", 12), ("a", "<u2")]))["v"]
    points = rows[:, 3:].reshape(-1, 3)
    low, high = points.min(axis=0), points.max(axis=0)
    assert low == pytest.approx([-84, -104, -95], abs=2.5)
    assert high == pytest.approx([70, 85, 95], abs=2.5)


@pytest.mark.parametrize("suffix", [".ply", *slow(s for s in FORMATS if s not in (".stl", ".ply"))])
def test_other_formats(scan: Path, tmp_path: Path, suffix: str) -> None:
    import trimesh

    mesh = tmp_path / f"skin{suffix}"
    assert main(["segment", str(scan), "-o", str(mesh)]) == 0
    if suffix not in (".vtp", ".3mf"):  # trimesh needs a package more for 3MF
        loaded = trimesh.load_mesh(mesh)
        assert loaded.is_watertight
        mm = 1000 if suffix in (".glb", ".gltf") else 1
        assert loaded.volume * mm**3 / 1000 == pytest.approx(2400, rel=0.05)
    assert names(tmp_path) == [mesh.name]


def test_level_is_the_one_asked_for(scan: Path, tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--json", str(report)]
    assert main([*given, "--level", "-300", "--engine", "threshold", "--device", "cpu"]) == 0
    assert json.loads(report.read_text())["level_hu"] == -300


def test_layer_and_labelmap(scan: Path, tmp_path: Path) -> None:
    import SimpleITK as sitk
    import trimesh

    mesh, mask = tmp_path / "skin.ply", tmp_path / "mask.nii.gz"
    report = tmp_path / "r.json"
    given = ["segment", str(scan), "-o", str(mesh), "--mask", str(mask), "--json", str(report)]
    assert main([*given, "--layer", "6"]) == 0
    known = json.loads(report.read_text())
    assert known["layer_mm"] == 6
    assert known["closed"] is True
    shell = trimesh.load(mesh)
    assert shell.is_watertight
    assert shell.volume / 1000 < 0.35 * known["volume_ml"]

    image, source = sitk.ReadImage(str(mask)), sitk.ReadImage(str(scan))
    assert image.GetSize() == source.GetSize()
    np.testing.assert_allclose(image.GetOrigin(), source.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(image.GetDirection(), source.GetDirection(), atol=1e-6)
    labels = sitk.GetArrayFromImage(image)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.count_nonzero(labels) * 0.027 == pytest.approx(known["volume_ml"], rel=0.02)
    grey = sitk.GetArrayFromImage(source)
    assert np.mean(grey[labels > 0] > -480) > 0.99
    assert labels[36, 36, 36] == 1  # deep inside


@pytest.mark.parametrize("suffix", [".nrrd", *slow([".mha"])])
def test_labelmap_formats(scan: Path, tmp_path: Path, suffix: str) -> None:
    import SimpleITK as sitk

    mask = tmp_path / f"mask{suffix}"
    assert main(["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--mask", str(mask)]) == 0
    assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))))) == {0, 1}


@pytest.mark.slow
def test_segmentation_by_slicer(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    from SkinSegLib import mrml

    mask = tmp_path / "head.seg.nrrd"
    assert main(["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--mask", str(mask)]) == 0
    assert names(tmp_path) == ["head.seg.nrrd", "s.stl"]
    scene = mrml.ensure_host().mrmlScene
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    node = mrml.load_segmentation(mask)
    try:
        segmentation = node.GetSegmentation()
        assert list(segmentation.GetSegmentIDs()) == ["Head", "Skin"]
    finally:
        scene.RemoveNode(node)
    header = mask.read_bytes()[:4000].decode("latin-1")
    assert "Doe" not in header
    assert "39937001" in header  # skin


def test_segmentation_without_slicer_core(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "slicer", None)
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl")]
    assert main([*given, "--mask", str(tmp_path / "m.seg.nrrd")]) == 1
    err = capsys.readouterr().err
    assert "skinseg[headless]" in err
    assert "Level" not in err  # found before anything was computed
    assert names(tmp_path) == []


@pytest.mark.slow
def test_preview(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "skin.png"
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--preview", str(picture)]
    assert main(given) == 0
    out, err = capsys.readouterr()
    if "libegl1" in err:
        assert not picture.exists()
        pytest.skip("this machine lacks a graphics library")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert f"Wrote {picture}" in out


def test_preview_that_cannot_be_made_spoils_nothing_else(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from SkinSegLib.surface import preview

    monkeypatch.setattr(preview, "_render", lambda *_: None)  # as where the child crashes
    picture, report = tmp_path / "skin.png", tmp_path / "r.json"
    picture.write_text("old")
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--json", str(report)]
    assert main([*given, "--preview", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert "apt-get install libegl1" in err
    assert "libegl1" in json.loads(report.read_text())["warnings"][0]
    assert f"Wrote {picture}" not in out
    assert picture.read_text() == "old"
    assert names(tmp_path) == ["r.json", "s.stl", "skin.png"]


def test_info(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(scan)]) == 0
    out = capsys.readouterr().out
    assert "73 x 73 x 73 voxels of 3 x 3 x 3 mm (219 x 219 x 219 mm)" in out
    assert "LPS" in out
    assert "Grey values" in out
    assert "Doe" not in out


def test_demo_on_a_scan(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "demo"
    assert main(["demo", str(scan), "-o", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert {"skin.stl", "report.json"} <= set(names(folder))
    assert "skin.png" in names(folder) or "libegl1" in err
    assert f"Wrote {folder / 'skin.stl'}" in out


@pytest.mark.slow
def test_demo_without_a_scan_takes_the_phantom(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The phantom takes long to make, so a small scan stands in; the real one: next test."""
    from SkinSegLib.scan import read
    from SkinSegLib.training import phantom

    made = SimpleNamespace(volume=read(scan))
    monkeypatch.setattr(phantom, "make_phantom", lambda progress: made)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert {"skin.stl", "report.json"} <= set(names(tmp_path / "skinseg-demo"))
    assert "Wrote skinseg-demo/skin.stl" in capsys.readouterr().out


@pytest.mark.slow
def test_demo(tmp_path: Path) -> None:
    done = skinseg("demo", cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "skinseg-demo" / "report.json").read_text())
    assert report["volume_ml"] == pytest.approx(4330, rel=0.02)
    assert report["closed"] is True
    assert [finding["kind"] for finding in report["findings"]] == ["cut by the field of view"]


def test_series_reaches_the_reader(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(scan), "--series", "3"]) == 1
    assert "a series can only be chosen in DICOM" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "required"),
        (["unknown"], "invalid choice"),
        (["segment"], "required"),
        (["segment", "a.nrrd"], "required: -o"),
        (["segment", "a.nrrd", "-o", "a.txt"], "must end in .stl"),
        (["segment", "a.nrrd", "-o", "a.stl", "--mask", "m.png"], "must end in .nrrd"),
        (["segment", "a.nrrd", "-o", "a.stl", "--json", "r.txt"], "must end in .json"),
        (["segment", "a.nrrd", "-o", "a.stl", "--preview", "p.jpg"], "must end in .png"),
        (["segment", "a.nrrd", "-o", "a.stl", "--level", "high"], "'high' is no number"),
        (["segment", "a.nrrd", "-o", "a.stl", "--level", "nan"], "is no number"),
        (["segment", "a.nrrd", "-o", "a.stl", "--layer", "0"], "out of range"),
        (["segment", "a.nrrd", "-o", "a.stl", "--layer", "-2"], "out of range"),
        (["segment", "a.nrrd", "-o", "a.stl", "--engine", "magic"], "invalid choice"),
        (["segment", "a.nrrd", "-o", "a.stl", "--device", "tpu"], "none of auto, cpu"),
        (["segment", "a.nrrd", "-o", "b.stl", "--mask", "./a.nrrd"], "the scan itself"),
        (["demo", "--series", "3"], "--series needs an INPUT"),
        (["info"], "required"),
    ],
)
def test_bad_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert words in err
    assert "usage:" in err


def test_scan_behind_another_spelling_is_no_output(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link.nrrd").symlink_to(scan)
    monkeypatch.chdir(tmp_path)
    for mask in ("link.nrrd", f"../{tmp_path.name}/link.nrrd"):
        with pytest.raises(SystemExit) as ended:
            main(["segment", str(scan), "-o", "s.stl", "--mask", mask])
        assert ended.value.code == 2
        assert "an output is the scan itself" in capsys.readouterr().err
    assert names(tmp_path) == ["link.nrrd"]


def test_two_outputs_cannot_be_one_file() -> None:
    """Each option takes endings of its own, so that no check of the names is needed."""
    segment = cli.build_parser()._subparsers._group_actions[0].choices["segment"]
    takes: dict[str, set[str]] = {}
    for action in segment._actions:
        if action.dest in ("output", "mask", "json", "preview"):
            takes[action.dest] = set()
            for ending in (*FORMATS, *LABELMAPS, ".seg.nrrd", ".json", ".png"):
                with contextlib.suppress(argparse.ArgumentTypeError):
                    action.type(f"x{ending}")
                    takes[action.dest].add(ending)
    assert takes["output"] == set(FORMATS)
    assert takes["mask"] == {*LABELMAPS, ".seg.nrrd"}
    assert takes["json"] == {".json"}
    assert takes["preview"] == {".png"}


def test_choices_are_those_of_the_engines() -> None:
    choices = next(
        action.choices
        for action in cli.build_parser()._subparsers._group_actions[0].choices["segment"]._actions
        if action.dest == "engine"
    )
    assert tuple(choices) == ENGINES


def test_failure_is_a_message_and_a_traceback_only_with_debug(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "none.nrrd"
    assert main(["info", str(missing)]) == 1
    err = capsys.readouterr().err
    assert f"Error: {missing} does not exist" in err
    assert "Traceback" not in err
    assert main(["info", str(missing), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_unexpected_failure_quotes_nothing(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("PatientName Doe^Jane")

    monkeypatch.setattr("SkinSegLib.report.scan_text", fail)
    assert main(["info", str(scan)]) == 1
    err = capsys.readouterr().err
    assert "unexpectedly (ValueError)" in err
    assert "Doe" not in err


def test_out_of_memory(
    scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("SkinSegLib.report.scan_text", fail)
    assert main(["info", str(scan)]) == 1
    assert "not enough memory" in capsys.readouterr().err


def test_help_is_fast_and_imports_nothing_heavy() -> None:
    code = """
import atexit
def tell():
    heavy = {"vtk", "vtkmodules", "SimpleITK", "scipy", "numpy", "torch", "rich", "pydicom"}
    print("heavy:", sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
atexit.register(tell)
"""
    for arguments in (["--help"], ["segment", "--help"], ["--version"]):
        done = skinseg(*arguments, code=code)
        assert done.returncode == 0, done.stderr
        assert "heavy: []" in done.stdout
    took = []
    for _ in range(3):
        started = time.perf_counter()
        skinseg("--help")
        took.append(time.perf_counter() - started)
    assert min(took) < 0.5


@pytest.mark.slow
def test_progress_bar_on_a_terminal(scan: Path, tmp_path: Path) -> None:
    """Through a pseudo-terminal: a bar with stage and time left, which is gone at the end."""
    import os
    import pty
    import subprocess
    import sys

    try:
        ours, theirs = pty.openpty()
    except OSError as error:
        pytest.skip(f"no pseudo-terminals here: {error}")
    code = f"import sys; sys.path.insert(0, {str(LIBRARY)!r}); from SkinSegLib.cli import main"
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"{code}; sys.exit(main())",
            "segment",
            scan,
            "-o",
            tmp_path / "s.stl",
        ],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux ends a pseudo-terminal like this
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    text = shown.decode()
    assert all(stage in text for stage in STAGES if stage not in ("Layer", "Preview"))
    assert "left" in text
    assert "%" in text
    assert b"triangles, closed" in out
