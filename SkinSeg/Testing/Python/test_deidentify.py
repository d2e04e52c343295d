"""Nothing that was planted comes through, and everything that the profile keeps does."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import (
    KEPT,
    KEY,
    WORD,
    all_bytes,
    encodings_of,
    plain_file,
    planted_file,
)
from pydicom.charset import encode_string
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from scan_makers import save, write_dicom
from SkinSegLib.core import Cancelled, Progress
from SkinSegLib.privacy import Action, DeidentifyOptions, Profile, Pseudonyms, deidentify
from SkinSegLib.privacy.profile import basic_table
from SkinSegLib.scan import read

NAMES = Pseudonyms(KEY)
ALL = DeidentifyOptions(
    keep_dates=True, keep_device=True, keep_patient=True, clean_descriptors=True
)


def only(folder: Path) -> Path:
    (path,) = folder.rglob("*.dcm")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / f"in-{WORD}"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "syntax", [None, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=str
)
def test_nothing_planted_survives(tmp_path: Path, source: Path, syntax: str | None) -> None:
    path = source / f"{WORD}^Anna 1957.dcm"
    before = planted_file(path)
    assert path.read_bytes().count(WORD.encode()) > 500  # it was planted
    if syntax is not None:
        data = pydicom.dcmread(path)
        data.file_meta.TransferSyntaxUID = syntax
        data.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    outcome = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert (outcome.written, outcome.refused) == (1, {})
    content = all_bytes(tmp_path / "out")
    for planted in (WORD, WORD.lower(), "19570311", "031157", "0815", "Anna", "037Y"):
        for code in encodings_of(planted):
            assert code not in content, planted
    after = pydicom.dcmread(only(tmp_path / "out"))
    assert "1.2.826.99." not in str(after)
    numbers = [element for element in before if element.VR in ("DS", "IS", "US")]
    for element in (item for item in numbers if item.tag in basic_table()):
        assert element.tag not in after or after[element.tag].value != element.value
    for name, value in KEPT.items():
        assert str(getattr(after, name)) == value
    assert after.AnatomicRegionSequence[0].CodeMeaning == "Head"
    kept = [item.keyword for item in after.AnatomicRegionSequence[0]]
    assert kept == ["CodeValue", "CodeMeaning", "PatientName"]
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)


def test_everything_else_is_kept(tmp_path: Path, source: Path) -> None:
    """All that the table does not name, byte for byte."""
    before = planted_file(source / "a")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    profile = Profile()
    kept = [e for e in before if profile.action(int(e.tag), e.VR) is Action.KEEP]
    kept = [element for element in kept if element.keyword != "PixelData"]
    assert len(kept) > 20
    for element in kept:
        assert after[element.tag] == element, element.keyword


def test_every_row_of_the_table_is_obeyed(tmp_path: Path, source: Path) -> None:
    planted_file(source / "a")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    table = basic_table()
    assert len(table) > 600
    for tag, code in table.items():
        if tag >> 16 < 8 or tag in (0x00100010, 0x00100020):
            continue
        if code == "X":
            assert tag not in after
        elif code == "Z":
            assert after[tag].is_empty
        elif tag not in (0x00200052,):
            assert tag in after
            assert not after[tag].is_empty, hex(tag)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        ("ISO_IR 192", "Łukasz^Żółć"),
        ("ISO_IR 144", "Люксембург^Роза"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞"),
    ],
    ids=str,
)
def test_names_in_every_character_set(
    tmp_path: Path, source: Path, charset: str | list[str], name: str
) -> None:
    plain_file(source / "a", SpecificCharacterSet=charset, PatientName=name, ProtocolName=name[:8])
    raw = (source / "a").read_bytes()
    encodings = pydicom.charset.convert_encodings(charset)
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    content = all_bytes(tmp_path / "out")
    for part in filter(None, name.replace("=", "^").split("^")):
        codes = encodings_of(part) | {encode_string(part, encodings)}
        assert any(code in raw for code in codes), part
        assert not [code for code in codes if code in content]


def test_a_name_in_text_that_the_profile_keeps(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a", ConvolutionKernel="Secret kernel", Manufacturer="Maker")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    assert after.ConvolutionKernel == "REMOVED"
    assert after.Manufacturer == "Maker"


def test_what_was_done_is_recorded(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a")
    outcome = deidentify(source, tmp_path / "out", ALL, NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    assert after.PatientIdentityRemoved == "YES"
    assert after.LongitudinalTemporalInformationModified == "MODIFIED"
    codes = [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113105", "113107", "113108", "113109"]
    assert "PS3.15" in after.DeidentificationMethod[0]
    text = str(outcome.as_dict())
    for value in ("4711", "Secret", "1957", "2012", "A77", "SN-1", str(source)):
        assert value not in text


def test_options(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a")
    deidentify(source, tmp_path / "out", ALL, NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    from datetime import date

    study, series = (date.fromisoformat(str(after[n].value)) for n in ("StudyDate", "SeriesDate"))
    assert (series - study).days == 4
    assert (study - date(2012, 5, 7)).days == NAMES.shift_days("4711-0815") < 0
    assert after.StudyTime == "131411"
    assert (after.PatientAge, after.PatientSex) == ("090Y", "F")
    assert after.DeviceSerialNumber == "SN-12345"
    assert after.StudyDescription == "CT head of"
    assert not after.PatientBirthDate
    deidentify(source, tmp_path / "basic", None, NAMES)
    basic = pydicom.dcmread(only(tmp_path / "basic"))
    assert not basic.StudyDate
    assert "PatientAge" not in basic
    assert "StudyDescription" not in basic
    assert basic.DeviceSerialNumber == "REMOVED"


def test_a_series_stays_one_scan_of_one_patient(tmp_path: Path, source: Path) -> None:
    from scan_makers import GRIDS, assert_markers, marked

    grid = GRIDS["oblique"]
    write_dicom(source, grid, marked(grid))
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert_markers(read(tmp_path / "out"), grid)
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len({path.parent for path in files}) == 1
    for path in files:
        data = pydicom.dcmread(path)
        assert path.stem == data.SOPInstanceUID == data.file_meta.MediaStorageSOPInstanceUID
        assert path.parent.name == data.SeriesInstanceUID == NAMES.uid("1.2.3.4")
        assert data.PatientID == NAMES.patient("S3cretID")
        assert set(str(path.relative_to(tmp_path / "out"))) <= set("0123456789./dcm")


def test_the_same_again_changes_nothing(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a")
    plain_file(source / "b", SOPInstanceUID="1.2.9")
    first = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    state = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in (tmp_path / "out").rglob("*.dcm")}
    again = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert (first.written, again.written, again.already) == (2, 0, 2)
    assert {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in state} == state
    own = deidentify(tmp_path / "out", tmp_path / "own", pseudonyms=NAMES)
    assert own.written == 2
    assert all_bytes(tmp_path / "own") == all_bytes(tmp_path / "out")


def test_own_work_with_something_added_is_no_own_work(tmp_path: Path, source: Path) -> None:
    """An archive that fills in a name must not get it past the next run."""
    plain_file(source / "a")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    path = only(tmp_path / "out")
    data = pydicom.dcmread(path)
    data.InstitutionName = "St. Secret"
    data.save_as(path)
    deidentify(tmp_path / "out", tmp_path / "own", pseudonyms=NAMES)
    assert b"St. Secret" in path.read_bytes()
    assert b"St. Secret" not in all_bytes(tmp_path / "own")


def test_cancelled_and_gone_on_with(tmp_path: Path, source: Path) -> None:
    for number in range(6):
        plain_file(source / f"{number}", SOPInstanceUID=f"1.2.{number}")
    seen = []
    progress = Progress(lambda *_: seen.append(1), lambda: len(seen) > 3)
    with pytest.raises(Cancelled):
        deidentify(source, tmp_path / "out", pseudonyms=NAMES, progress=progress)
    files = [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert 0 < len(files) < 6
    assert all(name.endswith(".dcm") and not name.startswith(".") for name in files)
    rest = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert (rest.already, rest.written) == (len(files), 6 - len(files))


def test_a_dry_run_writes_nothing(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a")
    dry = deidentify(source, tmp_path / "out", pseudonyms=NAMES, dry_run=True)
    assert not (tmp_path / "out").exists()
    wet = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert (dry.written, dry.actions) == (wet.written, wet.actions)


def test_dciodvfy_finds_no_new_error(tmp_path: Path, source: Path) -> None:
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("no dciodvfy: install the Debian package dicom3tools")

    def errors(path: Path) -> set[str]:
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        assert "CTImage" in lines
        return {line for line in lines if line.startswith("Error")}

    data = plain_file(source / "a", InstitutionName="St. Secret", OperatorsName="Nurse^Secret")
    code, study, step, image = Dataset(), Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "1", "99SECRET", "Ward"
    for item, kind in ((study, "3.1.2.3.1"), (step, "3.1.2.3.3"), (image, "5.1.4.1.1.2")):
        item.ReferencedSOPClassUID = f"1.2.840.10008.{kind}"
        item.ReferencedSOPInstanceUID = "1.2.826.99.5"
    data.InstitutionCodeSequence = data.ProcedureCodeSequence = [code]
    data.ReferencedStudySequence = [study]
    data.ReferencedPerformedProcedureStepSequence = [step]
    data.ReferencedImageSequence = data.SourceImageSequence = [image]
    data.StationName, data.ProtocolName, data.PatientComments = "CT1", "Head", "of Mr Secret"
    data.AcquisitionDateTime, data.ContentDate = "20120507131411", "20120507"
    data.ContentTime, data.PatientSex = "131411", "M"
    save(data, source / "a")
    for number, options in enumerate((DeidentifyOptions(), ALL)):
        out = tmp_path / str(number)
        deidentify(source, out, options, NAMES)
        assert errors(only(out)) - errors(source / "a") == set()


def test_a_sequence_in_disguise(tmp_path: Path, source: Path) -> None:
    """Items as bytes of an unknown or of another kind, in attributes that the profile keeps."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    data = plain_file(source / "a", SOPInstanceUID="1.2.1")
    text = f"{WORD} in disguise".encode()
    name = b"\x10\x00\x10\x00" + len(text).to_bytes(4, "little") + text  # implicit VR
    items = b"\xfe\xff\x00\xe0" + len(name).to_bytes(4, "little") + name
    for number, kind in enumerate(("UN", "OB")):
        tag = Tag(0x00082218)  # Anatomic Region Sequence
        data[tag] = RawDataElement(tag, kind, len(items), items, 0, False, True)
        save(data, source / f"{number}")
        assert WORD.encode() in (source / f"{number}").read_bytes()
        out = tmp_path / kind
        outcome = deidentify(source / f"{number}", out, pseudonyms=NAMES)
        assert outcome.written == 1
        assert WORD.encode() not in all_bytes(out)


def test_one_object_twice(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a", SOPInstanceUID="1.2.7")
    shutil.copy(source / "a", source / "b")
    outcome = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert (outcome.written, outcome.repeated) == (1, 1)


def test_what_a_reader_of_the_scan_needs_is_kept(tmp_path: Path, source: Path) -> None:
    """By a list of its own, not by the table."""
    before = plain_file(source / "a", PixelPaddingValue=-2000, GantryDetectorTilt="0.5")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    for name in (
        *("SOPClassUID", "Modality", "ImageType", "ImagePositionPatient", "PixelSpacing"),
        *("ImageOrientationPatient", "SliceThickness", "RescaleSlope", "RescaleIntercept", "Rows"),
        *("Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "KVP"),
        *("SamplesPerPixel", "PhotometricInterpretation", "PixelPaddingValue", "SeriesNumber"),
        *("InstanceNumber", "AcquisitionNumber", "GantryDetectorTilt", "PixelData"),
    ):
        assert after[name] == before[name], name
