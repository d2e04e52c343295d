"""``skinseg dicom deidentify`` and ``reveal`` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pydicom
import pytest
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
