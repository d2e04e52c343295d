"""Outputs that cannot be written: found early where possible, nothing half-written ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import names, skinseg, write_scan
from SkinSegLib.cli import main

#: Limits the size of files; writing beyond it fails as on a full disk.
LIMIT = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
"""
#: The disk is full from the beginning, from the mask on, or from the report on.
FULL_FROM = {
    "s.stl": "limit(100_000)",
    "m.nrrd": """
import SkinSegLib.job as job
write = job._write_mask
def write_limited(*arguments):
    limit(2_000)
    write(*arguments)
job._write_mask = write_limited
""",
    "r.json": """
from SkinSegLib.report import Report
as_json = Report.as_json
def as_json_limited(self):
    limit(200)
    return as_json(self)
Report.as_json = as_json_limited
""",
}
FULL_FROM["m.seg.nrrd"] = FULL_FROM["m.nrrd"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


@pytest.mark.parametrize("option", ["-o", "--mask", "--json", "--preview"])
def test_missing_folder_is_found_before_computing(
    scan: Path, tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"-o": "s.stl", "--mask": "m.nrrd", "--json": "r.json", "--preview": "p.png"}
    places = {name: tmp_path / file for name, file in files.items()}
    places[option] = tmp_path / "none" / files[option]
    given = [text for name, path in places.items() for text in (name, str(path))]
    assert main(["segment", str(scan), *given]) == 1
    err = capsys.readouterr().err
    assert f"Error: The folder {tmp_path / 'none'} does not exist. Create it" in err
    assert "Level" not in err
    assert names(tmp_path) == []


def test_folder_without_permission(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # root: let the system say what it says to others

        def refuse(self: Path, *args: object, **kwargs: object) -> None:
            raise PermissionError(13, os.strerror(13))

        monkeypatch.setattr(Path, "touch", refuse)
    try:
        assert main(["segment", str(scan), "-o", str(tmp_path / "s.stl")]) == 1
        err = capsys.readouterr().err
        assert "cannot be written to" in err
        assert "Level" not in err
    finally:
        tmp_path.chmod(0o700)
    assert names(tmp_path) == []


def test_output_is_a_folder(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.stl").mkdir()
    assert main(["segment", str(scan), "-o", str(tmp_path / "s.stl")]) == 1
    assert "is a folder. Give the name of a file in it." in capsys.readouterr().err


def test_demo_folder_that_cannot_be_made(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("old")
    assert main(["demo", str(scan), "-o", str(tmp_path / "file" / "demo")]) == 1
    assert "cannot be made" in capsys.readouterr().err
    assert main(["demo", str(scan), "-o", str(tmp_path / "file")]) == 1
    assert "cannot be made" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "old"


def test_demo_leaves_no_empty_folder_behind(tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path / "none.nrrd"), "-o", str(tmp_path / "demo")]) == 1
    assert names(tmp_path) == []
    (tmp_path / "mine").mkdir()
    assert main(["demo", str(tmp_path / "none.nrrd"), "-o", str(tmp_path / "mine")]) == 1
    assert names(tmp_path) == ["mine"]


@pytest.mark.parametrize("full", FULL_FROM)
def test_disk_full(scan: Path, tmp_path: Path, full: str) -> None:
    if full == "m.seg.nrrd":
        pytest.importorskip("slicer", reason="slicer-core is not installed")
    mask = full if full.startswith("m.") else "m.nrrd"
    outputs = {"-o": "s.stl", "--mask": mask, "--json": "r.json"}
    for name in outputs.values():
        (tmp_path / name).write_text("old")
    given = [text for option, name in outputs.items() for text in (option, tmp_path / name)]
    done = skinseg("segment", scan, *given, code=LIMIT + FULL_FROM[full])
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Error: " in done.stderr
    assert full in done.stderr
    assert "ree some" in done.stderr or "space" in done.stderr  # what to do
    assert "Traceback" not in done.stderr
    assert ".skinseg-" not in done.stderr  # the names of our temporary files
    assert names(tmp_path) == sorted(outputs.values())
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_existing_outputs_are_replaced(scan: Path, tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("s.stl", "m.nrrd", "r.json")]
    for path in places:
        path.write_text("old")
    given = ["-o", str(places[0]), "--mask", str(places[1]), "--json", str(places[2])]
    assert main(["segment", str(scan), *given]) == 0
    assert all(path.read_bytes()[:3] != b"old" for path in places)
    assert names(tmp_path) == ["m.nrrd", "r.json", "s.stl"]


def test_failing_scan_keeps_existing_outputs(tmp_path: Path) -> None:
    (tmp_path / "scan.nrrd").write_text("no scan")
    (tmp_path / "s.stl").write_text("old")
    assert main(["segment", str(tmp_path / "scan.nrrd"), "-o", str(tmp_path / "s.stl")]) == 1
    assert (tmp_path / "s.stl").read_text() == "old"
    assert names(tmp_path) == ["s.stl", "scan.nrrd"]
