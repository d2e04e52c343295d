"""What an adversary tried: identifiers in disguise, where no table looks, and bad files."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import plain_file, reread
from pydicom.dataset import Dataset
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify
from SkinSegLib.privacy.objects import ObjectDeidentifier, Refused

KEY = Pseudonyms(b"k" * 32)


def cleaned(path: Path, changed: Dataset, **options: bool) -> bytes:
    """A changed slice de-identified, as a whole file."""
    changed.save_as(path, enforce_file_format=True)
    objects = ObjectDeidentifier(DeidentifyOptions(**options), KEY)
    dataset = objects.read(path.read_bytes())
    subject = objects.subject(dataset)
    objects.check_pixels(dataset)
    return objects.clean(dataset, subject)


@pytest.fixture
def one(tmp_path: Path) -> tuple[Path, Dataset]:
    path = tmp_path / "one.dcm"
    return path, plain_file(path)


def item(**values: str) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PatientBirthDateInAlternativeCalendar", "SECRET 1950"),
        ("PlacerOrderNumberImagingServiceRequest", "SECRET-1"),
        ("CommentsOnTheScheduledProcedureStep", "Mr SECRET"),
        ("TextValue", "Mr SECRET"),
    ],
)
def test_attributes_that_the_table_does_not_name(one, name, value):
    path, data = one
    setattr(data, name, value)
    assert b"SECRET" not in cleaned(path, data)


@pytest.mark.parametrize(
    "name",
    [
        "IssuerOfAccessionNumberSequence",
        "IssuerOfPatientIDQualifiersSequence",
        "OrderPlacerIdentifierSequence",
        "OrderFillerIdentifierSequence",
        "AssigningFacilitySequence",
    ],
)
def test_who_issued_an_identifier_is_the_hospital(one, name):
    path, data = one
    inner = item(LocalNamespaceEntityID="ST SECRET HOSPITAL", UniversalEntityID="secret.example")
    setattr(data, name, [inner])
    content = cleaned(path, data)
    assert b"SECRET" not in content
    assert b"secret" not in content


def test_uids_of_things_are_replaced_and_uids_of_kinds_stay(one):
    path, data = one
    data.SOPInstanceUIDOfConcatenationSource = "1.2.3.4711"
    data.StudyInstanceUID = "1.2.840.10008.99.4711"  # anybody can begin one with that root
    back = reread(cleaned(path, data))
    assert back.SOPInstanceUIDOfConcatenationSource.startswith("2.25.")
    assert back.StudyInstanceUID.startswith("2.25.")
    assert back.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"


def test_a_data_set_in_the_place_of_a_number(one):
    path, data = one
    data.add_new(0x00101020, "SQ", [item(PatientName="SECRET^Ann", InstitutionName="SECRET")])
    assert b"SECRET" not in cleaned(path, data, keep_patient=True)


def test_dates_in_disguise_are_not_kept(one):
    path, data = one
    del data.StudyDate
    data.add_new(0x00080020, "SH", "20200102")
    assert b"20200102" not in cleaned(path, data, keep_dates=True)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00180015, "CS", "Secret, Ann!"),
        (0x00180060, "DS", b"Secret^Ann"),
        (0x00181150, "IS", b"Dr Secret"),
        (0x00280301, "OB", b"Secret^Ann"),
    ],
)
def test_text_where_none_belongs(one, tag, vr, value):
    path, data = one
    data[tag] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(tag), vr, len(value), value if isinstance(value, bytes) else value.encode(),
        0, False, True,
    )  # fmt: skip
    assert b"Secret" not in cleaned(path, data)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Müller^Jörg", "for Jorg Muller"),
        ("山田^太郎", "様 山田太郎"),
        ("O'Brien-Smith^Al", "seen with Smith"),
    ],
)
def test_a_name_is_found_however_it_is_written(one, name, text):
    path, data = one
    data.SpecificCharacterSet = "ISO_IR 192"
    data.PatientName, data.WindowCenterWidthExplanation = name, text
    back = reread(cleaned(path, data))
    assert back.WindowCenterWidthExplanation == "REMOVED"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", [b"\0\0", b"\0\0\1"], ids=["even", "odd"])
def test_a_name_in_bytes_that_the_profile_keeps(one, encoding, before):
    path, data = one
    data.PatientName, data.SpecificCharacterSet = "Müller^Ann", "ISO_IR 192"
    code = before + "of MÜLLER, A.".encode(encoding)
    data.ICCProfile = code + bytes(len(code) % 2)
    assert reread(cleaned(path, data)).ICCProfile == b"\0\0"
    data = plain_file(path, PatientName="Doe^Ann")
    data.ICCProfile = code + bytes(len(code) % 2)  # of nobody here
    assert reread(cleaned(path, data)).ICCProfile.startswith(code)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("before", [b"\0\0", b"\0\0\1"], ids=["even", "odd"])
def test_a_name_in_bytes_in_another_alphabet(one, encoding, before):
    """Latin letters in UTF-16 are found in either order of bytes; these are not."""
    path, data = one
    data.PatientName, data.SpecificCharacterSet = "Люксембург^Роза", "ISO_IR 192"
    code = before + "Люксембург".encode(encoding)
    data.ICCProfile = code + bytes(len(code) % 2)
    assert reread(cleaned(path, data)).ICCProfile == b"\0\0"


def test_an_index_of_files_says_what_it_is():
    """A DICOMDIR has its class in the file meta information alone (PS3.10, 8.6)."""
    index = pydicom.FileDataset("", {}, preamble=bytes(128))
    index.file_meta = pydicom.dataset.FileMetaDataset()
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    index.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    index.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    index.FileSetID = "SECRET"
    written = io.BytesIO()
    index.save_as(written, enforce_file_format=True)
    objects = ObjectDeidentifier(DeidentifyOptions(), KEY)
    with pytest.raises(Refused, match="DICOMDIR: an index of files"):
        objects.read(written.getvalue())
    with pytest.raises(Refused, match=r"^another kind of object"):
        objects.read(bytes(128) + b"DICM")


def test_colours_are_refused(one):
    path, data = one
    data.SamplesPerPixel, data.PhotometricInterpretation = 3, "RGB"
    data.PlanarConfiguration, data.BitsAllocated, data.BitsStored, data.HighBit = 0, 8, 8, 7
    data.PixelRepresentation = 0
    data.PixelData = np.zeros((64, 64, 3), np.uint8).tobytes()
    with pytest.raises(Refused, match="colour"):
        cleaned(path, data)


def test_no_file_stops_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    source.mkdir()
    plain_file(source / "good.dcm")
    bad = plain_file(source / "bad.dcm", SOPInstanceUID="MRN4711.Secret")
    assert bad.SOPInstanceUID
    os.mkfifo(source / "pipe")
    (source / "x.nrrd").write_bytes(b"NRRD0004\ntype: short\n")
    (source / "x.json").write_text(json.dumps(["a", "list"]))
    outcome = deidentify(source, tmp_path / "out")
    assert outcome.written == 2
    assert sum(outcome.refused.values()) == 1
    said = capsys.readouterr()
    assert "MRN4711" not in said.out + said.err


def test_the_key_does_not_go_into_what_is_shared(tmp_path: Path) -> None:
    from SkinSegLib import cli

    source = tmp_path / "in"
    source.mkdir()
    plain_file(source / "good.dcm")
    given = ["dicom", "deidentify", str(source), "-o", str(tmp_path / "out"), "--new-key", "--key"]
    assert cli.main([*given, str(tmp_path / "out" / "key.txt")]) == 1
    assert not (tmp_path / "out").exists()
    assert cli.main([*given, str(tmp_path / "key.txt"), "--dry-run"]) == 0
    assert not (tmp_path / "key.txt").exists()


def test_a_defaced_slice_keeps_no_other_picture_of_the_face(one) -> None:
    from SkinSegLib.privacy.deface_files import _derived

    _path, data = one
    data.IconImageSequence = [item(PixelData=b"face")]
    data.add_new(0x60003000, "OW", b"face")
    data.add_new(0x00090010, "LO", "MAKER")
    data.add_new(0x00091001, "OB", b"face")
    data.SmallestPixelValueInSeries = 1
    _derived(data, KEY.uid)
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    assert b"face" not in written.getvalue()
    assert "SmallestPixelValueInSeries" not in data
