"""Outputs that cannot be written: found early where possible, nothing half-written ever."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from command import BECOME_NOBODY, REPOSITORY, locked_folder, names, skinseg, write_scan
from SkinSegLib.cli import main
from SkinSegLib.core import CTVolume, OutputError, Progress

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


def test_folder_without_permission(scan: Path) -> None:
    with locked_folder() as folder:
        code = f"import logging, SkinSegLib.cli, SkinSegLib.job{BECOME_NOBODY}"
        done = skinseg("segment", scan, "-o", folder / "s.stl", code=code)
        assert done.returncode == 1
        assert f"Error: The folder {folder} cannot be written to (Permission den" in done.stderr
        assert "Check the permissions" in done.stderr
        assert "Level" not in done.stderr
        assert names(folder) == []


def test_name_that_cannot_be_taken_at_the_end(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on Windows, where another program has the mask open: the surface is not replaced."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "m.nrrd":
            raise PermissionError(13, os.strerror(13))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    places = [tmp_path / name for name in ("m.nrrd", "r.json", "s.stl")]
    for path in places[1:]:
        path.write_text("old")
    given = ["-o", str(places[2]), "--mask", str(places[0]), "--json", str(places[1])]
    assert main(["segment", str(scan), *given]) == 1
    out, err = capsys.readouterr()
    assert f"Error: Cannot write {places[0]}: Permission denied." in err
    assert "close any program that has the file open" in err
    assert out == ""
    assert names(tmp_path) == ["r.json", "s.stl"]
    assert {path.read_text() for path in places[1:]} == {"old"}


def sheared(scan: Path, path: Path) -> Path:
    """The scan as taken with a tilted gantry: each slice is shifted along the patient's front."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(scan))
    image.SetDirection((1, 0, 0, 0, 1, 0.3, 0, 0, np.sqrt(1 - 0.3**2)))
    sitk.WriteImage(image, str(path))
    return path


def test_format_that_cannot_hold_the_grid_is_refused_early(
    scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tilted, out = sheared(scan, tmp_path / "tilted.nrrd"), tmp_path / "out"
    out.mkdir()
    given = ["segment", str(tilted), "-o", str(out / "s.stl"), "--mask"]
    assert main([*given, str(out / "m.nii.gz")]) == 1
    err = capfd.readouterr().err
    assert "Error: m.nii.gz: this format cannot hold the scan's grid" in err
    assert ".nrrd or .seg.nrrd" in err
    assert "Read" in err
    assert "Level" not in err
    assert "WARNING" not in err
    assert names(out) == []


@pytest.mark.parametrize("blame", ["folder", "file"])
def test_a_full_disk_is_not_blamed_on_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blame: str
) -> None:
    import SimpleITK as sitk
    from SkinSegLib.segmentation import labelmap

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(*_: object) -> None:
        raise RuntimeError("ITK says nothing of the disk")

    monkeypatch.setattr(sitk, "WriteImage", write)
    target = labelmap.tempfile if blame == "folder" else Path
    monkeypatch.setattr(target, "mkdtemp" if blame == "folder" else "write_bytes", full)
    with pytest.raises(OutputError, match="No space left on device"):
        labelmap.check_grid(tmp_path / "m.nrrd", np.eye(4), (3, 3, 3))
    monkeypatch.undo()
    assert names(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".seg.nrrd"])
def test_formats_that_hold_a_sheared_grid(scan: Path, tmp_path: Path, suffix: str) -> None:
    import SimpleITK as sitk

    if suffix == ".seg.nrrd":
        pytest.importorskip("slicer", reason="slicer-core is not installed")
    tilted, mask = sheared(scan, tmp_path / "tilted.nrrd"), tmp_path / f"m{suffix}"
    assert main(["segment", str(tilted), "-o", str(tmp_path / "s.stl"), "--mask", str(mask)]) == 0
    written, source = sitk.ReadImage(str(mask)), sitk.ReadImage(str(tilted))
    labels = sitk.GetArrayFromImage(written)
    labels = labels[..., 0] if labels.ndim == 4 else labels
    # The voxel at the middle of the head, and its place; Slicer may crop the grid.
    middle = source.TransformIndexToPhysicalPoint((36, 36, 36))
    i, j, k = written.TransformPhysicalPointToIndex(middle)
    assert labels[k, j, i] > 0
    np.testing.assert_allclose(written.TransformIndexToPhysicalPoint((i, j, k)), middle, atol=1e-3)
    np.testing.assert_allclose(written.GetDirection(), source.GetDirection(), atol=1e-5)


def test_relative_outputs_as_in_the_readme(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith(".venv/bin/skinseg segment PATH"))
    monkeypatch.chdir(tmp_path)
    assert main([str(scan) if word == "PATH" else word for word in line.split()[1:]]) == 0
    out, err = capsys.readouterr()
    written = ["head.seg.nrrd", "report.json", "skin.png", "skin.stl"]
    if "libegl1" in err:
        written.remove("skin.png")
    assert names(tmp_path) == written
    assert all(f"Wrote {name}\n" in out for name in written)


def test_outputs_stay_where_they_were_asked_for(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries may change the process's folder while they compute."""
    from SkinSegLib.job import Outputs, run_job, scan_at

    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)

    def load(progress: Progress) -> CTVolume:
        volume = scan_at(scan)(progress)
        os.chdir(tmp_path)
        return volume

    _, written = run_job(load, Outputs(Path("s.stl"), Path("m.nrrd")), Progress())
    assert names(here) == ["m.nrrd", "s.stl"]
    assert names(tmp_path) == ["here"]
    assert written == (Path("s.stl"), Path("m.nrrd"))


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


@pytest.mark.slow
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
