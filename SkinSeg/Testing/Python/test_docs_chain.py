"""The worked example of Docs/sharing.md, line by line, on a made head full of names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from command import REPOSITORY
from scan_makers import NAME, Grid, write_dicom
from SkinSegLib import cli
from SkinSegLib.core import LPS_RAS
from SkinSegLib.surface import read_mesh
from SkinSegLib.training.phantom import PhantomSpec, make_phantom

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("highdicom")

PLANTED = {
    "PatientID": "S3cretID",
    "ReferringPhysicianName": "Roe^Richard",
    "InstitutionName": "Planted Clinic",
    "StudyDate": "19870605",
    "StudyDescription": "Mrs Doe after her fall",
    "OperatorsName": "Operator^Olga",
    "AccessionNumber": "ACC0815",
}


def commands() -> list[list[str]]:
    lines = (REPOSITORY / "Docs" / "sharing.md").read_text(encoding="utf-8").splitlines()
    found = [line.split()[1:] for line in lines if line.startswith("    skinseg ")]
    assert len(found) == 5
    return found


@pytest.fixture
def clinic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A series of the made head, with its nose, in the folder that the example starts from."""
    spec = PhantomSpec()
    coarse = replace(spec, shape=tuple(n // 2 for n in spec.shape), spacing_mm=(2.0, 2.0, 2.0))
    volume = make_phantom(coarse).volume
    lps = LPS_RAS @ volume.ijk_to_ras
    grid = Grid(lps[:3, :3] / volume.spacing, volume.spacing, tuple(lps[:3, 3]), coarse.shape)
    write_dicom(
        tmp_path / "from-clinic",
        grid,
        volume.voxels,
        StudyInstanceUID="1.2.840.99999.7.1",
        SeriesInstanceUID="1.2.840.99999.7.2",
        FrameOfReferenceUID="1.2.840.99999.7.3",
        **PLANTED,
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_worked_example(clinic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands():
        assert cli.main(command) == 0, (command, capsys.readouterr())
    count = len(list((clinic / "from-clinic").iterdir()))
    assert json.loads((clinic / "deidentified.json").read_text())["written"] == count
    assert json.loads((clinic / "defaced.json").read_text())
    assert (clinic / "defaced.png").is_file()
    shared = list((clinic / "shared").rglob("*.dcm"))
    assert len(shared) == count
    assert read_mesh(clinic / "skin.stl").closed
    results = {path.name: pydicom.dcmread(path) for path in (clinic / "results").iterdir()}
    assert set(results) == {"segmentation.dcm", "surface.dcm"}
    study = pydicom.dcmread(shared[0]).StudyInstanceUID
    assert {str(data.StudyInstanceUID) for data in results.values()} == {study}
    labels = [str(item.SegmentLabel) for item in results["segmentation.dcm"].SegmentSequence]
    assert labels == ["Head", "Skin"]
    nothing_planted_survives(clinic)
    the_face_is_gone(clinic)


def nothing_planted_survives(folder: Path) -> None:
    made = [
        path
        for path in folder.rglob("*")
        if path.is_file() and "from-clinic" not in path.parts and path.name != "key.txt"
    ]
    assert len(made) > 10
    words = [*PLANTED.values(), *NAME.split("^"), "1.2.840.99999.7"]
    for path in made:
        content = path.read_bytes()
        for word in words:
            for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
                assert word.encode(encoding) not in content, (path.name, word)


def the_face_is_gone(folder: Path) -> None:
    """What lies foremost of the head, of the scan that came and of the one to share."""
    foremost = []
    for name in ("from-clinic", "shared"):
        front = np.inf
        for path in (folder / name).rglob("*"):
            if path.is_file():
                data = pydicom.dcmread(path)
                hu = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
                rows = np.flatnonzero((hu > -300).any(axis=1))
                if rows.size:
                    y = float(data.ImagePositionPatient[1]) + rows * float(data.PixelSpacing[0])
                    front = min(front, y.min())
        foremost.append(front)
    assert foremost[1] > foremost[0] + 10  # LPS: y grows to the back; the nose is gone
