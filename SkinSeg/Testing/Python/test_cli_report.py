"""What the report says: findings by severity, one judge of the scan, units, what ran."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command import write_scan
from SkinSegLib.cli import main
from SkinSegLib.core import CTVolume, Finding, FindingKind, SkinMask, SkinMesh
from SkinSegLib.report import finding_rows, make_report
from SkinSegLib.scan import facts

Kind = FindingKind


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


def touching(n: int) -> list[Finding]:
    return [
        Finding(Kind.TOUCHES_OBJECT, "An object touches the patient.", (10.0 * i, 2, 3))
        for i in range(n)
    ]


def test_the_severest_come_first_and_none_is_cut_off() -> None:
    findings = [
        *(Finding(Kind.CUT_BY_FIELD_OF_VIEW, f"End {n}.", (n, 0, 0)) for n in range(1, 4)),
        *touching(5),
        Finding(Kind.READ_NOTE, "Slices were uneven."),
        Finding(Kind.READ_NOTE, "There is padding."),
        Finding(Kind.NOT_CALIBRATED, "Air lies at 0."),
        Finding(Kind.THICK_SLICES, "Slices are 5.0 mm apart."),
        Finding(Kind.NOT_A_HEAD, "It holds no bone."),
    ]
    assert finding_rows(findings) == [
        ("Finding", "may not be a head: It holds no bone."),
        ("Finding", "grey values are not calibrated HU: Air lies at 0."),
        ("Finding", "thick slices: Slices are 5.0 mm apart."),
        (
            "Finding",
            "touches an object: 5 places, first at RAS 0, 2, 3 mm: An object touches the patient.",
        ),
        ("Finding", "cut by the field of view: 3 places, first at RAS 1, 0, 0 mm: End 1."),
        ("Finding", "note from reading the scan: Slices were uneven. There is padding."),
    ]


def test_every_kind_has_a_severity() -> None:
    rows = finding_rows(Finding(kind, "x") for kind in FindingKind)
    assert len(rows) == len(FindingKind)


def test_a_single_place_and_no_finding() -> None:
    assert finding_rows(touching(1)) == [
        ("Finding", "touches an object: An object touches the patient. At RAS 0, 2, 3 mm.")
    ]
    assert finding_rows(()) == [("Findings", "none")]


def test_only_the_segmentation_judges_the_scan() -> None:
    """facts() has rules of its own for thick slices and calibration, which info shows."""
    matrix = np.diag([1.0, 1.0, 6.0, 1.0])
    voxels = np.full((4, 4, 4), 500, np.int16)
    voxels[:2] = 0
    volume = CTVolume(voxels, matrix, notes=("There is padding.",))
    of_facts = {finding.kind for finding in facts(volume).findings}
    assert {Kind.THICK_SLICES, Kind.NOT_CALIBRATED, Kind.READ_NOTE} <= of_facts

    thick = Finding(Kind.THICK_SLICES, "Slices are 6.0 mm apart.")
    found = (*touching(2), thick)
    mask = SkinMask(np.ones((4, 4, 4), np.uint8), matrix, "threshold", -480, findings=found)
    mesh = SkinMesh(
        np.eye(4, 3, dtype=np.float32),
        np.array([[0, 1, 2]], np.int32),
        np.zeros(1, bool),
        closed=False,
    )
    report = make_report(volume, mask, mesh, mesh, {})
    note = Finding(Kind.READ_NOTE, "There is padding.")
    assert report.findings == (thick, *touching(2), note)
    listed = json.loads(report.as_json())["findings"]
    assert [entry["kind"] for entry in listed] == [f.kind.value for f in report.findings]
    assert "-480 HU" in report.as_text()


def test_uncalibrated_scan_has_no_hu(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import SimpleITK as sitk

    shifted = tmp_path / "cbct.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(scan)) + 1500, str(shifted))
    report = tmp_path / "r.json"
    given = ["segment", str(shifted), "-o", str(tmp_path / "s.stl"), "--json", str(report)]
    assert main(given) == 0
    known = json.loads(report.read_text())
    assert known["level_hu"] == pytest.approx(1020, abs=30)
    kinds = [finding["kind"] for finding in known["findings"]]
    assert kinds.count(Kind.NOT_CALIBRATED.value) == 1
    assert kinds[0] in (Kind.NOT_A_HEAD.value, Kind.NOT_CALIBRATED.value)
    out = capsys.readouterr().out
    (level,) = (line for line in out.splitlines() if line.startswith("Level"))
    assert level.split() == ["Level", "grey", "value", f"{known['level_hu']:g}"]


@pytest.mark.parametrize(("device", "told"), [("cuda:1", True), ("cpu", False), ("auto", False)])
def test_device_that_is_not_used_is_told(
    scan: Path, tmp_path: Path, device: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "r.json"
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--json", str(report)]
    assert main([*given, "--device", device, "--engine", "threshold"]) == 0
    known = json.loads(report.read_text())
    assert known["engine"] == "threshold"
    words = "The engine threshold computes on the CPU; the device cuda:1 was not used."
    assert known["warnings"] == ([words] if told else [])
    out, err = capsys.readouterr()
    assert (words in err) == told
    assert f"Wrote {report}" in out
