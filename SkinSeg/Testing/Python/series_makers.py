"""Made DICOM series of the tests of series, and what the checks say of one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid
from scan_makers import GRIDS, Grid, marked, write_dicom
from SkinSegLib.scan import IssueKind, Outcome, survey

#: What an object that refers to a slice needs of it, beside what every made slice has.
REFERABLE = {
    "FrameOfReferenceUID": "1.2.3.99",
    "PatientBirthDate": "19500101",
    "PatientSex": "O",
    "StudyDate": "20200202",
    "StudyTime": "101010",
    "StudyID": "1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "",
    "Manufacturer": "Maker",
    "PositionReferenceIndicator": "",
    "AcquisitionNumber": 1,
    "KVP": "120",
    "StudyInstanceUID": "1.2.3",
}


def series(folder: Path, grid: Grid = GRIDS["axial"], **changes: Any) -> list[Path]:
    changes = {"SeriesInstanceUID": generate_uid(), **changes}
    places = changes.pop("places", None)
    voxels = changes.pop("voxels", marked(grid))
    return write_dicom(folder, grid, voxels, places, **changes)


def issues(folder: Path) -> dict[IssueKind, Outcome]:
    [info] = survey(folder).series
    return {issue.kind: issue.outcome for issue in info.issues}


def assert_valid(path: Path) -> None:
    """No error by dciodvfy (David Clunie's dicom3tools)."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy: install the Debian package dicom3tools")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")], said
    assert "Segmentation" in said or "EncapsulatedSTL" in said
