"""``skinseg dicom deidentify`` and ``reveal`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
from command import write_scan
from privacy_makers import plain_file
from SkinSegLib.cli import main

PASSPHRASE = "correct horse battery"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "Doe-1957"
    folder.mkdir()
    plain_file(folder / "Doe.dcm")
    (folder / "Doe.txt").write_text("Doe")
    return folder


def call(*arguments: object) -> int:
    return main(["dicom", *map(str, arguments)])


def test_the_report_holds_no_value(
    tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    assert call("deidentify", source, "-o", tmp_path / "out", "--json", report) == 0
    printed = capsys.readouterr()
    content = json.loads(report.read_text())
    assert content["written"] == 1
    assert content["refused"] == {"not an image file that is known": 1}
    assert {"attribute": "StudyDate", "action": "emptied", "count": 1} in content["actions"]
    for value in ("Doe", "Secret", "4711", "1957", "2012", "A77", str(tmp_path)):
        assert value not in printed.out + printed.err + report.read_text()
    assert "StudyDate: emptied" in printed.out


def test_key_and_table(
    tmp_path: Path,
    source: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SKINSEG_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr("SkinSegLib.privacy.vault._LOG_N", 12)
    key, table = tmp_path / "key", tmp_path / "who"
    kept = ("--key", key, "--table", table)
    assert call("deidentify", source, "-o", tmp_path / "out", *kept, "--new-key") == 0
    assert call("deidentify", source, "-o", tmp_path / "out", *kept) == 0
    (path,) = (tmp_path / "out").rglob("*.dcm")
    pseudonym = pydicom.dcmread(path).PatientID
    capsys.readouterr()
    assert call("reveal", table, pseudonym) == 0
    assert "4711-0815" in capsys.readouterr().out
    monkeypatch.setenv("SKINSEG_PASSPHRASE", "another passphrase")
    assert call("reveal", table, pseudonym) == 1
    assert call("deidentify", source, "-o", tmp_path / "new", *kept) == 1
    assert not (tmp_path / "new").exists()  # no file without its link


def test_a_key_that_is_missing(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    assert call("deidentify", source, "-o", out, "--key", tmp_path / "no") == 1
    assert call("deidentify", source, "-o", out, "--new-key") == 1
    assert not out.exists()


def test_a_dry_run(tmp_path: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("deidentify", source, "-o", tmp_path / "out", "--dry-run") == 0
    assert "Would write  1 files" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_passphrase_is_no_argument(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("deidentify", "deface", "restore", "reveal"):
        with pytest.raises(SystemExit):
            call(command, "--help")
        assert "--pass" not in capsys.readouterr().out


def test_a_surface_for_sharing_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan, skin = write_scan(tmp_path / "scan.nrrd"), tmp_path / "skin.stl"
    given = ["segment", str(scan), "-o", str(skin), "--engine", "threshold"]
    assert main(given) == 0
    assert "patient's face" not in capsys.readouterr().err
    assert main([*given, "--for-sharing"]) == 0
    assert "patient's face" in capsys.readouterr().err


@pytest.mark.slow
def test_deface_and_restore(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import SimpleITK as sitk
    from phantom_makers import whole
    from SkinSegLib.core import LPS_RAS
    from SkinSegLib.training.phantom import make_phantom

    monkeypatch.setenv("SKINSEG_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr("SkinSegLib.privacy.vault._LOG_N", 12)
    volume = make_phantom(whole(3.0)).volume
    image = sitk.GetImageFromArray(volume.voxels)
    image.SetSpacing(volume.spacing)
    image.SetDirection(((LPS_RAS @ volume.ijk_to_ras)[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin((LPS_RAS @ volume.ijk_to_ras)[:3, 3].tolist())
    image.SetMetaData("PatientName", "Doe")
    source, out, back = (tmp_path / f"{name}.nrrd" for name in ("Doe", "out", "back"))
    sitk.WriteImage(image, str(source))
    report, side = tmp_path / "report.json", tmp_path / "face"
    given = ("--engine", "threshold", "--json", report, "--reversible", side, "--deidentify")
    assert call("deface", source, "-o", out, *given) == 0
    printed = capsys.readouterr()
    assert "after aligning" in " ".join(printed.out.split())
    assert "Doe" not in printed.out + printed.err + report.read_text()
    assert b"Doe" not in out.read_bytes()
    assert json.loads(report.read_text())["proof"]["mean_mm"] > 2.0
    assert call("restore", out, side, "-o", back) == 0
    old, defaced, new = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (source, out, back)
    )
    assert np.count_nonzero(defaced != old) > 10000
    np.testing.assert_array_equal(new, old)
    assert call("deface", source, "-o", tmp_path / "x.nii", "--engine", "threshold") == 1
    assert call("deface", source, "-o", tmp_path / "x.nrrd", "--keep-dates") == 1
    assert not (tmp_path / "x.nrrd").exists()
