"""Data sets on disk: what is added comes back, and nothing is there twice or by half."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from case_makers import add_case, made_case
from command import LIBRARY
from privacy_makers import plain_file, with_text
from pydicom.dataset import Dataset
from SkinSegLib.core import (
    AlikeError,
    CTVolume,
    GeometryError,
    OutputError,
    PrivacyError,
    SkinMask,
    SkinSegError,
)
from SkinSegLib.privacy import Pseudonyms
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.dataset.intake import (
    HEADER,
    Authorship,
    own_key,
    patient_pseudonym,
    prepare,
)
from SkinSegLib.training.dataset.nnunet import to_nnunet
from SkinSegLib.training.dataset.record import record_from

HERE = os.path.dirname(__file__)


@pytest.fixture
def cases(tmp_path) -> CaseFolder:
    return CaseFolder.create(tmp_path / "set")


def files_of(cases: CaseFolder) -> list[str]:
    found = (p.relative_to(cases.folder).as_posix() for p in cases.folder.rglob("*.gz"))
    return sorted(found)


def test_a_case_comes_back_as_it_was(cases):
    volume, mask = made_case(1)
    record = add_case(cases, 1, labelled_by="Anna", site="North")
    assert record.name == "head_0001"
    again = CaseFolder.open(cases.folder)
    assert again.records() == [record]
    read, label = again.read(record)
    np.testing.assert_array_equal(read.voxels, volume.voxels)
    np.testing.assert_array_equal(label, mask)
    np.testing.assert_allclose(read.ijk_to_ras, volume.ijk_to_ras, atol=1e-4)


def test_other_tools_read_it_the_right_way_round(cases):
    """By SimpleITK: the nose of the made head is in front, and the label lies on the scan."""
    record = add_case(cases, 1)
    index = json.loads((cases.folder / "dataset.json").read_text(encoding="utf-8"))
    assert index["numTraining"] == 1
    assert index["labels"] == {"0": "background", "1": "head"}
    pair = index["training"][0]
    image, label = (sitk.ReadImage(str(cases.folder / pair[kind])) for kind in ("image", "label"))
    assert image.GetSize() == label.GetSize() == record.shape[::-1]
    found = sitk.GetArrayFromImage(label)
    k, j, i = (float(v.mean()) for v in np.nonzero(found))
    highest = np.argwhere(found[round(k), :, round(i)]).ravel()
    ends = [
        image.TransformContinuousIndexToPhysicalPoint((i, float(n), k))[1]
        for n in (highest[0], highest[-1])
    ]
    # LPS: anterior is negative, and the nose reaches farther than the back of the head.
    assert -min(ends) > max(ends) + 5
    across = np.flatnonzero(found.any(axis=(0, 1)))
    sides = [
        image.TransformContinuousIndexToPhysicalPoint((float(n), j, k))[0]
        for n in (across[0], across[-1])
    ]
    assert -min(sides) > max(sides) + 5  # the ear on the patient's right
    assert sitk.GetArrayFromImage(image)[found > 0].min() > -200


def test_the_same_scan_is_refused_also_cropped_and_with_noise(cases):
    add_case(cases, 1)
    before = files_of(cases)
    with pytest.raises(SkinSegError, match="head_0001"):
        add_case(cases, 1, patient="OTHER")
    volume, mask = made_case(1)
    noisy = volume.voxels + np.random.default_rng(5).normal(0, 15, volume.voxels.shape)
    part = replace(volume, voxels=noisy.astype(np.int16)[6:])
    taken = prepare(part, mask[6:], "OTHER")
    with pytest.raises(SkinSegError, match="--allow-alike"):
        cases.add(taken.record, taken.volume, taken.mask)
    assert files_of(cases) == before
    cases.add(taken.record, taken.volume, taken.mask, allow_alike=True)
    assert len(cases.records()) == 2


def test_a_patient_is_never_in_training_and_in_testing(cases):
    add_case(cases, 1, "test", "PATIENT1")
    with pytest.raises(SkinSegError, match="person must not be in both"):
        add_case(cases, 2, "train", "PATIENT1")
    add_case(cases, 2, "test", "PATIENT1")
    cases.set_split("head_0001", "train")
    assert [r.split for r in cases.records()] == ["train", "train"]
    assert all(cases.read(r)[1] is not None for r in cases.records())
    assert files_of(cases)[0] == "imagesTr/head_0001.nii.gz"
    assert not list((cases.folder / "imagesTs").iterdir())


def test_a_scan_that_waits_takes_its_label_and_keeps_what_was_known(cases):
    header = Dataset()
    header.Manufacturer, header.PatientSex, header.PatientAge = "ACME", "F", "093Y"
    volume, mask = made_case(1)
    waiting = prepare(volume, None, "WAITING1", "unlabelled", header=header)
    first = cases.add(waiting.record, waiting.volume, None)
    assert (first.split, first.age_decade, first.sex) == ("unlabelled", 90, "F")
    labelled = prepare(*cases.read(first)[:1], mask, "UNKNOWN9", "test")
    record = cases.add(labelled.record, labelled.volume, labelled.mask)
    assert [r.name for r in cases.records()] == ["head_0002"]
    assert (record.patient, record.scanner.maker, record.sex) == ("WAITING1", "ACME", "F")
    assert files_of(cases) == ["imagesTs/head_0002.nii.gz", "labelsTs/head_0002.nii.gz"]


def test_a_scan_that_waits_is_not_thrown_away_for_one_that_is_only_like_it(cases):
    volume, mask = made_case(1)
    waiting = prepare(volume, None, "WAITING1", "unlabelled")
    cases.add(waiting.record, waiting.volume, None)
    part = prepare(replace(volume, voxels=volume.voxels[6:]), mask[6:], "OTHER")
    with pytest.raises(AlikeError, match="head_0001"):
        cases.add(part.record, part.volume, part.mask)
    cases.add(part.record, part.volume, part.mask, allow_alike=True)
    assert [r.split for r in cases.records()] == ["unlabelled", "train"]


def test_numbers_are_not_given_twice(cases):
    add_case(cases, 1)
    cases.remove("head_0001")
    assert files_of(cases) == []
    assert add_case(cases, 2).name == "head_0002"
    with pytest.raises(SkinSegError, match="no case head_0001"):
        cases.remove("head_0001")


def _add_many(folder, seeds) -> None:
    for seed in seeds:
        add_case(CaseFolder.open(folder), seed)


def test_two_people_add_at_once(cases):
    spawn = multiprocessing.get_context("fork")
    people = [
        spawn.Process(target=_add_many, args=(cases.folder, seeds)) for seeds in ((1, 2), (3, 4))
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    assert [person.exitcode for person in people] == [0, 0]
    records = cases.records()
    assert [r.name for r in records] == [f"head_{n:04}" for n in (1, 2, 3, 4)]
    assert {r.patient for r in records} == {f"MADE{n:04}" for n in (1, 2, 3, 4)}
    for record in records:
        cases.read(record)
    index = json.loads((cases.folder / "dataset.json").read_text(encoding="utf-8"))
    assert index["numTraining"] == 4


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_there_by_half(cases):
    """Each attempt is killed a little later, until one gets through."""
    code = (
        f"import sys; sys.path[:0] = [{str(LIBRARY)!r}, {HERE!r}]\n"
        "from pathlib import Path\n"
        "from case_makers import add_case\n"
        "from SkinSegLib.training.dataset import CaseFolder\n"
        "cases = CaseFolder.open(Path(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "add_case(cases, 1)\n"
    )
    wait = 0.05
    for _ in range(7):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(cases.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdout.readline()
            child.stdin.write(b"\n")
            child.stdin.flush()
            time.sleep(wait)
            child.kill()
        records = cases.records()
        for record in records:
            cases.read(record)
        if records:
            break
        wait *= 2
    else:
        add_case(cases, 1)  # all were killed in time
    assert len(cases.records()) == 1
    with pytest.raises(SkinSegError, match="already"):
        add_case(cases, 1)
    add_case(cases, 2)
    assert len(cases.records()) == 2


def test_a_changed_file_is_told_of(cases):
    record = add_case(cases, 1)
    label = sitk.ReadImage(str(cases.folder / record.label))
    mirrored = sitk.GetImageFromArray(sitk.GetArrayFromImage(label)[..., ::-1])
    mirrored.CopyInformation(label)
    sitk.WriteImage(mirrored, str(cases.folder / record.label))
    with pytest.raises(SkinSegError, match="not those that were added"):
        cases.read(record)
    path = cases.folder / "records" / "head_0001.json"
    path.write_text(path.read_text(encoding="utf-8")[:-30], encoding="utf-8")
    with pytest.raises(SkinSegError, match=r"head_0001\.json"):
        cases.records()


def test_a_full_disk_leaves_the_set_as_it_was(cases, monkeypatch):
    from SkinSegLib.training.dataset import folder

    add_case(cases, 1)
    before = files_of(cases)

    def full(*_):
        raise OutputError("The disk is full. Free some space.")

    monkeypatch.setattr(folder, "write_nifti", full)
    with pytest.raises(OutputError, match="full"):
        add_case(cases, 2)
    monkeypatch.undo()
    assert files_of(cases) == before
    assert add_case(cases, 2).name == "head_0002"


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda v, m: (v, m[1:]), GeometryError),
        (lambda v, m: (v, np.zeros_like(m)), SkinSegError),
        (lambda v, m: (v, 1 - m), SkinSegError),
        (lambda v, m: (v, np.ones_like(m)), SkinSegError),
        (lambda v, m: (v, np.ascontiguousarray(m[:, :, ::-1])), SkinSegError),
    ],
    ids=["other size", "empty", "inverted", "everything", "mirrored"],
)
def test_labels_that_cannot_be_right_are_refused(change, error):
    with pytest.raises(error, match="label"):
        prepare(*change(*made_case(1)), "PATIENT1")


def test_text_in_the_picture_is_refused():
    voxels = np.full((20, 256, 256), -1000, np.int16)
    voxels[:, 80:180, 80:180] = 40
    volume = CTVolume(voxels, np.diag([0.8, 0.8, 2.0, 1.0]))
    prepare(volume, None, "PATIENT1", "unlabelled")
    voxels[12] = with_text(3000) - 1000
    with pytest.raises(PrivacyError, match="slice 13"):
        prepare(replace(volume, voxels=voxels), None, "PATIENT1", "unlabelled")


def test_nothing_of_a_header_but_what_may_stay():
    header = Dataset()
    header.PatientName, header.PatientID = "Roe^Jane", "4711-X"
    header.PatientBirthDate, header.InstitutionName = "19500101", "Saint Nowhere"
    header.Manufacturer, header.ConvolutionKernel = "ACME <b>", ["H31s", "1"]
    header.PatientAge, header.PatientSex, header.KVP = "057Y", "F", "120"
    header.ContrastBolusAgent = "Agent 300"
    volume, mask = made_case(1)
    names = Pseudonyms(b"k" * 32)
    patient = patient_pseudonym(names, volume, header)
    record = prepare(volume, mask, patient, who=Authorship("Anna"), header=header).record
    text = record.to_json()
    for secret in ("Roe", "4711", "1950", "Nowhere", "057", "Agent 300"):
        assert secret not in text
    assert (record.scanner.maker, record.scanner.kernel) == ("ACME b", "H31s")
    assert (record.age_decade, record.sex, record.contrast) == (50, "F", True)
    assert patient == patient_pseudonym(names, volume, None, "4711-X ")
    assert record_from(text) == record


def test_the_panel_reads_all_of_a_header_that_a_case_comes_from(tmp_path):
    """It reads named elements alone; the command hands over whole headers. One patient is one."""
    data = plain_file(
        tmp_path / "a.dcm",
        PatientID="4711",
        IssuerOfPatientID="North",
        PatientSex="F",
        PatientAge="034Y",
        ConvolutionKernel="H31s",
        ContrastBolusAgent="Agent",
        KVP="120",
        SliceThickness="1.5",
    )
    named = pydicom.dcmread(tmp_path / "a.dcm", specific_tags=list(HEADER))
    volume, mask = made_case(1)
    names = Pseudonyms(b"k" * 32)
    records = []
    for header in (data, named):
        patient = patient_pseudonym(names, volume, header)
        records.append(prepare(volume, mask, patient, header=header).record)
    assert records[0] == records[1]
    assert records[0].scanner.kernel == "H31s"
    assert patient_pseudonym(names, volume, data, " 4711 ") == records[0].patient
    data.IssuerOfPatientID = "South"
    assert patient_pseudonym(names, volume, data) != records[0].patient


@pytest.mark.slow
def test_a_case_without_a_face_differs_only_there():
    pytest.importorskip("cryptography")
    from SkinSegLib.privacy.deface import DefaceOptions
    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    made = make_phantom(PhantomSpec(shape=(84, 94, 72), spacing_mm=(3.0, 3.0, 3.0)))
    taken = prepare(made.volume, made.truth, "PATIENT1", deface=DefaceOptions())
    assert taken.record.defaced
    assert taken.mask is not None
    gone = (taken.mask == 0) & (made.truth == 1)
    assert gone.sum() * made.volume.voxel_volume_ml > 100
    assert not ((taken.mask == 1) & (made.truth == 0)).any()
    matrix = made.volume.ijk_to_ras
    front = (np.argwhere(gone)[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3])[:, 1]
    assert front.min() > 0  # of the phantom: before the ear canals
    assert (taken.volume.voxels[gone] < -500).mean() > 0.9


def test_corrections_are_counted():
    volume, mask = made_case(1)
    before = mask.copy()
    before[:3] = 1
    expected = np.count_nonzero(before != mask) * volume.voxel_volume_ml
    record = prepare(volume, mask, "PATIENT1", who=Authorship(before=before)).record
    assert record.edited_ml == pytest.approx(expected, abs=0.01)
    head = SkinMask(mask, volume.ijk_to_ras, "", 0.0)
    assert record.head_ml == pytest.approx(head.volume_ml, abs=0.1)


def test_the_key_of_a_user_is_made_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINSEG_MODELS", str(tmp_path / "models"))
    key, path, made = own_key()
    assert made
    assert own_key() == (key, path, False)
    assert path.stat().st_mode & 0o077 == 0


def test_nnunet_gets_its_own_layout(cases, tmp_path):
    add_case(cases, 1)
    add_case(cases, 2, "test")
    add_case(cases, 3, "unlabelled")
    written = to_nnunet(cases, tmp_path / "raw", 7)
    found = sorted(p.relative_to(written).as_posix() for p in written.rglob("*.gz"))
    assert found == [
        "imagesTr/head_0001_0000.nii.gz",
        "imagesTs/head_0002_0000.nii.gz",
        "labelsTr/head_0001.nii.gz",
        "labelsTs/head_0002.nii.gz",
    ]
    index = json.loads((written / "dataset.json").read_text(encoding="utf-8"))
    assert index["numTraining"] == 1
    assert written.name == "Dataset007_SkinSeg"
    with pytest.raises(OutputError, match="--id"):
        to_nnunet(cases, tmp_path / "raw", 7)


def test_folders_that_are_something_else_are_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(OutputError, match="not empty"):
        CaseFolder.create(tmp_path)
    with pytest.raises(SkinSegError, match="no data set"):
        CaseFolder.open(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
