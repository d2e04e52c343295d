"""``skinseg data`` and ``skinseg models --use``: what is said, refused and kept to itself."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from case_makers import add_case, made_case
from model_makers import write_model
from scan_makers import Grid, write_dicom
from SkinSegLib import cli, cli_data
from SkinSegLib.core import LPS_RAS, CTVolume, Progress
from SkinSegLib.segmentation import live, models
from SkinSegLib.training import compare
from SkinSegLib.training.audit import audit, write_page
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.dataset.files import write_nifti
from SkinSegLib.training.dataset.intake import prepare
from SkinSegLib.training.evaluation import case_folder


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setenv(models.FOLDER_VARIABLE, str(tmp_path / "own"))
    monkeypatch.delenv(cli_data.PATIENT_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments, code: int = 0) -> str:
    found = cli.main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    assert found == code, out + err
    return out + err


def write_case(seed: int, tmp_path):
    volume, mask = made_case(seed)
    scan, label = tmp_path / f"scan{seed}.nii.gz", tmp_path / f"label{seed}.nii.gz"
    write_nifti(volume.voxels, volume.ijk_to_ras, scan)
    write_nifti(mask, volume.ijk_to_ras, label)
    return scan, label


def test_a_dicom_scan_leaves_its_names_behind(tmp_path, capsys):
    volume, mask = made_case(1)
    lps = LPS_RAS @ volume.ijk_to_ras
    grid = Grid(lps[:3, :3] / 4.0, (4.0,) * 3, tuple(lps[:3, 3]), volume.voxels.shape)
    write_dicom(
        tmp_path / "dicom",
        grid,
        volume.voxels,
        PatientID="Planted4711",
        Manufacturer="ACME",
        PatientSex="M",
        PatientAge="034Y",
        StudyDescription="Planted words",
    )
    label = tmp_path / "label.nii.gz"
    write_nifti(mask, volume.ijk_to_ras, label)
    out = run(capsys, "data", "add", "set", "dicom", "--label", label, "--labelled-by", "Anna")
    assert "pseudonyms.key" in out
    assert "shows a face" in out
    (record,) = CaseFolder.open(tmp_path / "set").records()
    assert (record.scanner.maker, record.sex, record.age_decade) == ("ACME", "M", 30)
    for path in (tmp_path / "set").rglob("*"):
        if path.is_file():
            assert b"Planted" not in path.read_bytes()
    assert "Planted" not in out
    assert "ACME" in run(capsys, "data", "list", "set")


def test_one_patient_is_known_again_by_number(tmp_path, capsys, monkeypatch):
    pairs = [write_case(seed, tmp_path) for seed in (1, 2)]
    monkeypatch.setenv(cli_data.PATIENT_VARIABLE, "4711")
    scan, label = pairs[0]
    run(capsys, "data", "add", "set", scan, "--label", label, "--ask-patient")
    scan, label = pairs[1]
    out = run(
        capsys, "data", "add", "set", scan, "--label", label, "--ask-patient", "--for", "test",
        code=1,
    )  # fmt: skip
    assert "same person" in out
    assert "4711" not in out
    monkeypatch.delenv(cli_data.PATIENT_VARIABLE)
    assert "SKINSEG_PATIENT" in run(capsys, "data", "add", "set", scan, "--ask-patient", code=1)


def test_cases_are_moved_and_removed(tmp_path, capsys):
    scan, label = write_case(1, tmp_path)
    run(capsys, "data", "add", "set", scan, "--label", label)
    assert "for testing" in run(capsys, "data", "split", "set", "head_0001", "test")
    run(capsys, "data", "remove", "set", "head_0001")
    assert "No case yet" in run(capsys, "data", "list", "set")
    assert "without" in run(capsys, "data", "add", "set", scan, "--for", "test", code=1).lower()
    assert "no data set" in run(capsys, "data", "list", "nowhere", code=1)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> CaseFolder:
    cases = CaseFolder.create(tmp_path_factory.mktemp("data") / "mixed")
    for seed in (1, 2, 3):
        add_case(cases, seed, "train", sex="F", age_decade=30)
    add_case(cases, 4, "test", sex="F")
    add_case(cases, 5, "unlabelled")
    return cases


def test_the_audit_counts_and_says_what_is_missing(mixed, tmp_path):
    found = audit(mixed)
    assert found.faults == ()
    assert found.counts["Sex"]["F"] == (3, 1, 0)
    assert found.counts["Sex"]["M"] == (0, 0, 0)
    assert found.counts["Slices"]["over 2.5 mm"] == (3, 1, 1)
    missing = "\n".join(found.missing)
    for words in ("patients for testing: 1", "Sex: no labelled case of M", "up to 1 mm",
                  "Contrast medium: known of no labelled case", "metal streaks"):  # fmt: skip
        assert words in missing
    assert "patients for training" not in missing
    write_page(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "3 cases for training, 1 for testing, 1 without a label; 5" in page
    assert re.search(r'src="data:image/png;base64,iVBOR', page)


@pytest.mark.slow
def test_leaks_and_doubles_that_got_in_are_found(tmp_path, capsys):
    """By copying files into the folder, behind the back of what refuses them."""
    cases = CaseFolder.create(tmp_path / "set")
    first = add_case(cases, 1)
    second = add_case(cases, 2, "test")
    add_case(cases, 3)
    path = cases.folder / "records" / f"{second.name}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"patient": first.patient}), encoding="utf-8")
    (cases.folder / "imagesTr" / "head_0003.nii.gz").write_bytes(
        (cases.folder / first.image).read_bytes()
    )
    out = run(capsys, "data", "audit", "set", "-o", "page.html", code=1)
    assert "head_0001 and head_0002 are of the same patient" in out
    assert "head_0003: The files of head_0003 are not those" in out
    record |= {"sketch": first.sketch, "patient": "OTHER"}
    path.write_text(json.dumps(record), encoding="utf-8")
    out = run(capsys, "data", "audit", "set", "--quick", "-o", "page.html", code=1)
    assert "look like the same scan" in out
    assert "One is for training and the other for testing" in out


def test_a_worse_model_stays_out(tmp_path, capsys, mixed, monkeypatch):
    from SkinSegLib.training.evaluation import Evaluation

    for name in ("first", "second"):
        models.add_model(write_model(tmp_path / name, tmp_path).folder)
    run(capsys, "models", "--use", "first", "--untested")
    assert "--cases" in run(capsys, "models", "--use", "second", code=1)
    worse = ["head_0004: 7.0 mL more wrong"]

    def compared(cases, old, new, progress):
        assert (old.name, new.name) == ("first", "second")
        return compare.Comparison(Evaluation((), ()), tuple(worse), old.identity, new.identity)

    monkeypatch.setattr(compare, "compare", compared)
    out = run(capsys, "models", "--use", "second", "--cases", mixed.folder, code=1)
    assert "Worse: head_0004" in out
    assert live.live_model() == "first"
    worse.clear()
    run(capsys, "models", "--use", "second", "--cases", mixed.folder)
    assert live.live_model() == "second"
    assert "second       0.1, yours, in use" in run(capsys, "models")
    assert "first is used again" in run(capsys, "models", "--back")


def test_thick_slices_of_a_case_are_compared_by_their_outlines(tmp_path):
    for seed, step in ((1, 4.0), (2, 12.0)):
        volume, mask = made_case(seed)
        matrix = volume.ijk_to_ras @ np.diag([1, 1, step / 4.0, 1])
        every = round(step / 4.0)
        scan = CTVolume(volume.voxels[::every], matrix)
        cases = CaseFolder.create(tmp_path / f"set{seed}")
        taken = prepare(scan, mask[::every], f"MADE{seed:04}", "test")
        cases.add(taken.record, taken.volume, taken.mask)
        (entry,) = case_folder(cases, "test", "North").entries
        assert entry.load(Progress()).reference.in_slices == (step > 4)
    assert case_folder(cases, "train").entries == ()


@pytest.mark.slow
def test_scores_of_the_sets_own_test_cases(mixed, tmp_path, capsys):
    out = run(
        capsys, "evaluate", "--set", mixed.folder, "--engine", "threshold", "-o", tmp_path / "out"
    )
    assert "head_0004, threshold: skin 0.0" in out
    assert np.all([name not in out for name in ("head_0001", "head_0005")])
