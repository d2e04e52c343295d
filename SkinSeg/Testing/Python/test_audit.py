"""What the audit lets pass, and what it finds that was put into a file after de-identification."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, WORD, plain_file, plant, planted_file, planted_value, with_text
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from SkinSegLib.core import Progress
from SkinSegLib.privacy import DeidentifyOptions, Profile, Pseudonyms, deidentify
from SkinSegLib.privacy import audit as module
from SkinSegLib.privacy.audit import AuditOptions, audit
from SkinSegLib.privacy.audit_rules import walk
from SkinSegLib.privacy.deface_files import VISUAL
from SkinSegLib.privacy.objects import BURNED_IN, ObjectDeidentifier
from SkinSegLib.privacy.profile import Action, basic_table

NAMES = Pseudonyms(KEY)
ANY_FACE = AuditOptions(with_face=True)
SEALED = AuditOptions(with_face=True, pseudonyms=NAMES)


def clean(folder: Path, options: DeidentifyOptions | None = None, **changes: Any) -> Path:
    """One de-identified file in ``folder``; returns its path."""
    folder.mkdir()
    path = folder / "a.dcm"
    path.write_bytes(_cleaned(options or DeidentifyOptions(), tuple(changes.items())))
    return path


@functools.cache
def _cleaned(options: DeidentifyOptions, changes: tuple[tuple[str, Any], ...]) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in", Path(name) / "out"
        source.mkdir()
        plain_file(source / "a.dcm", **dict(changes))
        outcome = deidentify(source, target, options, NAMES)
        assert outcome.written == 1, outcome.refused
        return next(target.rglob("*.dcm")).read_bytes()


def problems(path: Path, options: AuditOptions = ANY_FACE) -> set[str]:
    report = audit(path.parent, options)
    assert report.failed == (1 if report.problems else 0)
    assert len(report.passed) == 1 - report.failed
    return set(report.problems)


def change(path: Path, **values: Any) -> None:
    dataset = pydicom.dcmread(path)
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.save_as(path)


@pytest.mark.parametrize("chosen", ["0000", "1000", "0100", "0010", "0001", "1111"])
def test_what_deidentify_makes_passes(tmp_path: Path, chosen: str) -> None:
    source = tmp_path / "source"
    source.mkdir()
    planted_file(source / "a.dcm")
    plain_file(source / "b.dcm")
    options = DeidentifyOptions(*(letter == "1" for letter in chosen))
    assert deidentify(source, tmp_path / "out", options, NAMES).written == 2
    report = audit(tmp_path / "out", SEALED)
    assert report.good
    assert not report.problems
    assert len(report.passed) == 2


def test_safe_private_attributes_pass_and_others_do_not(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = plain_file(source / "a.dcm")
    data.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "39.37")
    data.save_as(source / "a.dcm", enforce_file_format=True)
    options = DeidentifyOptions(keep_safe_private=True)
    assert deidentify(source, tmp_path / "out", options, NAMES).written == 1
    report = audit(tmp_path / "out", SEALED)
    assert report.good, report.problems
    (path,) = (tmp_path / "out").rglob("*.dcm")
    after = pydicom.dcmread(path)
    assert after[0x00191023].value == "39.37"
    after.private_block(0x0019, "GEMS_ACQU_01").add_new(0x25, "DS", "1")
    after.save_as(path)
    assert any("removed" in text for text in audit(tmp_path / "out", ANY_FACE).problems)


def test_what_is_not_deidentified(tmp_path: Path) -> None:
    planted_file(tmp_path / "Doe.dcm")
    (tmp_path / "notes.txt").write_text("Doe")
    report = audit(tmp_path, ANY_FACE)
    assert report.failed == 1
    assert report.others == 1
    assert not report.passed
    assert len(report.problems) > 500
    text = json.dumps(report.as_dict())
    assert WORD not in text
    assert "Doe" not in text
    assert "private (0019,xxxx): should have been removed" in report.problems
    assert any(text.startswith("PatientIdentityRemoved") for text in report.problems)


@pytest.mark.parametrize("chosen", [(False,) * 4, (True,) * 4], ids=["basic", "all options"])
def test_every_attribute_of_the_table(tmp_path: Path, chosen: tuple[bool, ...]) -> None:
    """Planted into a clean file, none gets through but what an option keeps."""
    dataset = pydicom.dcmread(clean(tmp_path / "out"))
    meta = dataset.file_meta
    plant(dataset)
    dataset.file_meta = meta
    profile = Profile(DeidentifyOptions(*chosen))
    found = {text.partition(":")[0] for text in walk(dataset, profile, str(dataset.PatientID))}
    missed = set()
    for tag in basic_table():
        element = dataset.get(tag)
        if tag >> 16 < 8 or element is None or element.is_empty:
            continue
        kept = profile.action(tag, element.VR) in (Action.KEEP, Action.SHIFT, Action.DESCEND)
        name = keyword_for_tag(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        if not kept and name not in found:
            missed.add(name)
    assert not missed
    assert {"PatientName", "PatientID", "(0008,1FFE)", "private (0019,xxxx)"} <= found


def put(**values: Any) -> Callable[[Path], None]:
    return lambda path: change(path, **values)


def nested(path: Path) -> None:
    item = Dataset()
    item.add_new(0x00100010, "PN", "Doe^Jane")
    change(path, AnatomicRegionSequence=Sequence([item]))


def private(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.private_block(0x0019, "MAKER", create=True).add_new(1, "LO", "Doe")
    dataset.save_as(path)


def overlay(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60003000, "OW", b"\1" * 512)
    dataset.save_as(path)


def disguised(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x00189004, "LT", "Doe^Jane")  # Content Qualification, a code
    dataset.save_as(path)


def in_the_meta(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.file_meta.SourceApplicationEntityTitle = "WARD7"
    dataset.save_as(path)


def preamble(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(b"Doe".ljust(128) + content[128:])


def at_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"Doe")


def behind_the_pixels(path: Path) -> None:
    change(path, PixelData=pydicom.dcmread(path).PixelData + b"Doe Jane")


def high_bits(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    pixels = np.frombuffer(dataset.PixelData, "<u2").copy() & 0x0FFF
    pixels[0] |= 0x4000
    change(path, BitsStored=12, HighBit=11, PixelRepresentation=0, PixelData=pixels.tobytes())


def text_in_the_pixels(path: Path) -> None:
    pixels = with_text(3000)
    change(path, Rows=256, Columns=256, PixelData=pixels.astype("<i2").tobytes())


def other_code(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.DeidentificationMethodCodeSequence[0].CodeMeaning = "Doe"
    dataset.save_as(path)


def no_code(path: Path) -> None:
    change(path, DeidentificationMethodCodeSequence=Sequence([]))


@pytest.mark.parametrize(
    ("spoil", "finds"),
    [
        (put(PatientIdentityRemoved="NO"), "PatientIdentityRemoved"),
        (put(DeidentificationMethod="by Dr Doe"), "DeidentificationMethod"),
        (put(DeidentificationMethod=["by Dr Doe", "Seal " + "0" * 32]), "DeidentificationMethod"),
        (other_code, "DeidentificationMethodCodeSequence"),
        (no_code, "DeidentificationMethodCodeSequence"),
        (put(LongitudinalTemporalInformationModified="UNMODIFIED"), "LongitudinalTemporal"),
        (put(PatientName="Doe^Jane"), "PatientName"),
        (put(PatientName="S" + "A" * 20), "PatientName"),
        (put(PatientID="4711"), "PatientID"),
        (put(StudyDate="20120507"), "StudyDate"),
        (put(SeriesInstanceUID="1.2.826.99.2"), "SeriesInstanceUID"),
        (put(FrameOfReferenceUID=pydicom.uid.generate_uid(None)), "FrameOfReferenceUID"),
        (put(InstitutionName="General Hospital"), "InstitutionName"),
        (put(PatientAge="094Y"), "PatientAge"),
        (put(KVP="140"), None),
        (nested, "PatientName"),
        (private, "private (0019,xxxx)"),
        (overlay, "OverlayData"),
        (disguised, "ContentQualification"),
        (in_the_meta, "SourceApplicationEntityTitle"),
        (preamble, "its preamble"),
        (at_the_end, "has bytes that no attribute"),
        (behind_the_pixels, "has bytes behind"),
        (high_bits, "has other bits"),
        (text_in_the_pixels, BURNED_IN),
        (put(BurnedInAnnotation="YES"), BURNED_IN),
        (put(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
    ],
)
def test_what_was_put_in_later(
    tmp_path: Path, spoil: Callable[[Path], None], finds: str | None
) -> None:
    path = clean(tmp_path / "out")
    spoil(path)
    found = problems(path)
    if finds is None:
        assert not found
    else:
        assert any(text.startswith(finds) for text in found), found
    assert "Doe" not in str(found)
    assert "4711" not in str(found)
    if not path.read_bytes().startswith(b"Doe") and finds != "secondary capture":
        assert module.UNSEALED in problems(path, SEALED)


def test_dates_that_were_not_shifted(tmp_path: Path) -> None:
    path = clean(tmp_path / "out", DeidentifyOptions(keep_dates=True))
    assert not problems(path)
    change(path, StudyDate="29990101")
    assert problems(path) == {"StudyDate: is no date in the past"}
    change(path, StudyDate="20120507")  # of this nobody can tell but by the seal
    assert not problems(path)
    assert problems(path, SEALED) == {module.UNSEALED}


def test_kept_ages_and_words(tmp_path: Path) -> None:
    options = DeidentifyOptions(keep_patient=True, clean_descriptors=True)
    path = clean(tmp_path / "out", options)
    assert not problems(path)
    change(path, PatientAge="094Y", StudyDescription="CT head of Mr Secret")
    assert problems(path) == {
        "PatientAge: is no age up to 90",
        "StudyDescription: has words that are not known to be harmless",
    }


def test_the_seal_of_another_key(tmp_path: Path) -> None:
    path = clean(tmp_path / "out", DeidentifyOptions(burned_in="accept"))
    assert not problems(path, SEALED)
    other = AuditOptions(with_face=True, pseudonyms=Pseudonyms(bytes(32)))
    assert problems(path, other) == {module.UNSEALED}


def test_text_that_someone_has_looked_at(tmp_path: Path) -> None:
    path = clean(tmp_path / "out", DeidentifyOptions(burned_in="accept"))
    text_in_the_pixels(path)
    assert problems(path) == {BURNED_IN}
    assert not problems(path, AuditOptions(with_face=True, text_seen=True))


def test_faces(tmp_path: Path) -> None:
    path = clean(tmp_path / "out")
    assert problems(path, AuditOptions()) == {module.FACE}
    assert not problems(path)
    objects = ObjectDeidentifier(DeidentifyOptions(), NAMES, (VISUAL,))
    buffer = io.BytesIO()
    source = plain_file(tmp_path / "source.dcm", RecognizableVisualFeatures="NO")
    source.save_as(buffer, enforce_file_format=True)
    data = objects.read(buffer.getvalue())
    path.write_bytes(objects.clean(data, objects.subject(data)))
    assert not problems(path, AuditOptions(pseudonyms=NAMES))
    change(path, RecognizableVisualFeatures="YES")
    assert problems(path, AuditOptions()) == {module.FACE}


def test_objects_and_patients_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    path = clean(folder)
    (folder / "again.dcm").write_bytes(path.read_bytes())
    report = audit(folder, ANY_FACE)
    assert (len(report.passed), report.repeated, report.failed) == (1, 1, 0)
    change(folder / "again.dcm", KVP="121")
    assert set(audit(folder, ANY_FACE).problems) == {module.TWO_CONTENTS}
    (folder / "again.dcm").unlink()
    other = clean(tmp_path / "other", PatientID="0815", SOPInstanceUID="1.2.826.99.8")
    (folder / "other.dcm").write_bytes(other.read_bytes())
    change(folder / "other.dcm", StudyInstanceUID=pydicom.dcmread(path).StudyInstanceUID)
    report = audit(folder, ANY_FACE)
    assert report.problems == {module.TWO_PATIENTS: 2}
    assert not report.passed


def test_files_that_are_damaged_or_no_dicom(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    clean(folder)
    content = clean(tmp_path / "other", SOPInstanceUID="1.2.826.99.8").read_bytes()
    (folder / "cut.dcm").write_bytes(content[: len(content) // 2])
    (folder / "head.dcm").write_bytes(content[:140])
    (folder / "scan.nrrd").write_bytes(b"NRRD0004")
    (folder / ".skinseg-sent-0.jsonl").write_bytes(b"{}")
    report = audit(folder, ANY_FACE)
    assert (len(report.passed), report.failed, report.others) == (1, 2, 1)
    assert not report.good
    assert not audit(tmp_path / "none", ANY_FACE).good


def test_the_report_counts_everything_whatever_comes_first(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    path = clean(folder)
    content = path.read_bytes()
    for name in ("0.txt", "1.txt", "c.nrrd"):
        (folder / name).write_bytes(b"no DICOM")
    for name in ("a0.dcm", "b.dcm"):
        (folder / name).write_bytes(content)
    for number, name in enumerate(("d.dcm", "e.dcm", "f.dcm")):
        changes = {"SOPInstanceUID": f"1.2.826.99.{number}", "SeriesInstanceUID": "1.2.826.99.9"}
        own = {"PatientID": "0815", "StudyInstanceUID": "1.2.826.99.8"} if name != "d.dcm" else {}
        other = clean(tmp_path / name, **changes, **own)
        (folder / name).write_bytes(other.read_bytes())
    change(folder / "f.dcm", PatientAge="094Y", StudyDate="20120507")
    seen: list[float] = []
    progress = Progress(report=lambda _stage, fraction: seen.append(fraction))
    with progress.stage("Audit", 1):
        report = audit(folder, ANY_FACE, progress)
    assert json.loads(json.dumps(report.as_dict())) == {
        "good": False,
        "passed": 3,
        "failed": 1,
        "not_dicom": 3,
        "repeated": 2,
        "patients": 2,
        "studies": 2,
        "series": 2,
        "problems": {"PatientAge: should have been removed": 1, "StudyDate: should be empty": 1},
    }
    assert list(report.as_dict()["problems"]) == sorted(report.problems)
    np.testing.assert_allclose(sorted(set(seen)), np.arange(10) / 9)
    assert {one.path.name for one in report.passed} == {"a.dcm", "d.dcm", "e.dcm"}
    for one in report.passed:
        data = pydicom.dcmread(one.path)
        assert one.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()
        assert (one.study, one.series) == (data.StudyInstanceUID, data.SeriesInstanceUID)
        assert (one.instance, one.patient) == (data.SOPInstanceUID, data.PatientID)


def test_planted_values_have_the_kinds_that_are_planted() -> None:
    """The test of the whole table would pass by planting nothing."""
    assert planted_value(0x00080080, dictionary_VR(0x00080080)).startswith(WORD)
