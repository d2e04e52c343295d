"""Single rules of the audit: what only just passes, and what only just does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, plain_file, without_new_uids
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from scan_makers import Grid, jpeg_2000, save, write_enhanced
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, audit_rules, deidentify
from SkinSegLib.privacy.audit import audit
from SkinSegLib.privacy.objects import UNDECODED
from test_audit import ANY_FACE, NAMES, SEALED, change, clean, problems, put

NUMBERS = ("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV")


def raw(name: str, vr: str, value: bytes) -> Callable[[Path], None]:
    """Bytes that pydicom would not take for a value."""

    def spoil(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        tag = Tag(name)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
        dataset.save_as(path)

    return spoil


def in_the_meta(**values: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            setattr(dataset.file_meta, name, value)
        dataset.save_as(path)

    return spoil


def without(name: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        delattr(dataset, name)
        dataset.save_as(path)

    return spoil


def packed(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    jpeg_2000(dataset)
    save(dataset, path)


def unknown_code(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.DeidentificationMethodCodeSequence[0].CodeValue = "4711"
    dataset.save_as(path)


def colour(path: Path) -> None:
    change(
        path,
        **{"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
        **{"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0},
        PixelData=bytes(64 * 64 * 3),
    )


def safe_private(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    dataset.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x23, "DS", "39.37")
    dataset.save_as(path)


def of_bytes(end: bytes) -> Callable[[Path], None]:
    """An odd number of pixels of one byte each, and ``end`` behind them."""

    def spoil(path: Path) -> None:
        pixels = np.random.default_rng(3).integers(0, 9, 63 * 63).astype(np.uint8)
        change(
            path,
            **{"Rows": 63, "Columns": 63, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7},
            **{"PixelRepresentation": 0, "PixelData": pixels.tobytes() + end},
        )

    return spoil


@pytest.mark.parametrize(
    ("spoil", "finds"),
    [
        (put(FrameOfReferenceUID="1.2.840.10008.1.4.1.1"), set()),  # the standard's Talairach atlas
        (put(FrameOfReferenceUID=f"2.25.{1 << 128}"), {"FrameOfReferenceUID: was not replaced"}),
        (put(StudyDate="20120507"), {"StudyDate: should be empty"}),
        (put(PatientName="Doe"), {"PatientName: is no pseudonym"}),
        (
            put(DeviceSerialNumber="SN-12345"),
            {"DeviceSerialNumber: was not replaced by a dummy"},
        ),
        (
            raw("ContentQualification", "LT", b"Doe^Jane"),
            {"ContentQualification: is of another kind than the standard says"},
        ),
        (raw("ReferencedSOPClassUID", "UI", b"1.2.Doe\0"), {"ReferencedSOPClassUID: is no UID"}),
        (
            raw("BodyPartExamined", "CS", b"Doe, Ann"),
            {"BodyPartExamined: is no value of its kind"},
        ),
        (
            raw("SpecificCharacterSet", "CS", b"DOE JANE"),
            {"SpecificCharacterSet: is no value of its kind"},
        ),
        (
            in_the_meta(MediaStorageSOPInstanceUID="1.2.826.99.4711"),
            {"MediaStorageSOPInstanceUID: is not the object's"},
        ),
        (
            in_the_meta(ImplementationVersionName="SKINSEG Doe"),
            {"ImplementationVersionName: is not that of SkinSeg"},
        ),
        (in_the_meta(ImplementationVersionName="SKINSEG_1.0rc1"), set()),
        (packed, {"its pixels are compressed, which leaves room for comments"}),
        (without("StudyInstanceUID"), {"StudyInstanceUID: is missing"}),
        (
            unknown_code,
            {
                "DeidentificationMethodCodeSequence: has a code not of CID7050",
                "DeidentificationMethodCodeSequence: lacks the Basic Profile, or says more",
            },
        ),
        (without("SamplesPerPixel"), {UNDECODED}),
        (colour, {"has colour pictures, in which text is not looked for"}),
        (
            safe_private,  # without the option that keeps it
            {"private (0019,xxxx): should have been removed"},
        ),
        (of_bytes(b"\0"), set()),
        (of_bytes(b"D"), {"has bytes behind its last pixel"}),
        (of_bytes(b"\0\0\0"), {"has bytes behind its last pixel"}),
    ],
)
def test_what_is_said_of_a_file(
    tmp_path: Path, spoil: Callable[[Path], None], finds: set[str]
) -> None:
    path = clean(tmp_path / "out")
    spoil(path)
    assert problems(path) == finds


def test_two_bytes_behind_the_last_pixel(tmp_path: Path) -> None:
    path = clean(tmp_path / "out")
    change(path, PixelData=pydicom.dcmread(path).PixelData + b"\0\0")
    assert problems(path) == {"has bytes behind its last pixel"}


def test_the_option_that_blacks_text_out_passes(tmp_path: Path) -> None:
    path = clean(tmp_path / "out", DeidentifyOptions(burned_in="blackout"))
    assert not problems(path, SEALED)


def test_all_frames_of_a_file_are_its_pixels(tmp_path: Path) -> None:
    grid = Grid(shape=(5, 40, 32))
    voxels = np.random.default_rng(1).integers(-1020, -980, grid.shape).astype(np.int16)
    write_enhanced(tmp_path / "in.dcm", grid, voxels)
    deidentify(tmp_path / "in.dcm", tmp_path / "out", None, Pseudonyms(KEY))
    report = audit(tmp_path / "out", SEALED)
    assert (len(report.passed), dict(report.problems)) == (1, {})


@pytest.mark.parametrize(
    ("age", "passes"), [("090Y", True), ("091Y", False), ("091", False), ("091W", True)]
)
def test_ages(tmp_path: Path, age: str, passes: bool) -> None:
    path = clean(tmp_path / "out", DeidentifyOptions(keep_patient=True))
    raw("PatientAge", "AS", age.encode().ljust(4))(path)
    assert problems(path) == (set() if passes else {"PatientAge: is no age up to 90"})


def test_today_is_not_the_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            there = timezone(timedelta(hours=13))  # where it is tomorrow already
            return datetime(2031, 5, 7, 23, 59, tzinfo=UTC).astimezone(tz or there)

    monkeypatch.setattr(audit_rules, "datetime", Clock)
    path = clean(tmp_path / "out", DeidentifyOptions(keep_dates=True))
    for day, passes in ((b"20310506", True), (b"20310507", False), (b"20310506131411", False)):
        raw("StudyDate", "DA", day)(path)
        assert problems(path) == (set() if passes else {"StudyDate: is no date in the past"})


def operator(path: Path) -> Dataset:
    """A slice with numbers, UIDs and bytes in a sequence that becomes a dummy; that item."""
    data = plain_file(path)
    item = Dataset()
    for vr in NUMBERS:
        setattr(item, f"Selector{vr}Value", 4711)
    item.SelectorUIValue = ["1.2.826.99.4711", "1.2.826.99.4712"]
    item.SelectorOBValue, item.SelectorATValue = b"4711", 0x00100010
    item.SelectorLOValue = "4711"
    data.OperatorIdentificationSequence = Sequence([item])
    save(data, path)
    return item


def put_second(item: Dataset, items: Sequence) -> None:
    items.append(Dataset())


def put_private(item: Dataset, items: Sequence) -> None:
    item.add_new(0x00110010, "LO", "REMOVED")


@pytest.mark.parametrize(
    "spoil",
    [
        *(lambda item, _, vr=vr: setattr(item, f"Selector{vr}Value", 1) for vr in NUMBERS),
        lambda item, _: setattr(item, "SelectorDSValue", ["0", "0"]),
        lambda item, _: setattr(item, "SelectorUIValue", "1.2.826.99.4711"),
        lambda item, _: setattr(item, "SelectorLOValue", "Doe"),
        lambda item, _: setattr(item, "SelectorOBValue", b"\1\0"),
        put_second,
        put_private,
    ],
)
def test_a_sequence_of_dummies(tmp_path: Path, spoil: Callable[[Dataset, Sequence], None]) -> None:
    operator(tmp_path / "in.dcm")
    deidentify(tmp_path / "in.dcm", tmp_path / "out", None, NAMES)
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert b"4711" not in without_new_uids(path)
    assert not audit(tmp_path / "out", ANY_FACE).problems
    dataset = pydicom.dcmread(path)
    items = dataset.OperatorIdentificationSequence
    uids = [NAMES.uid(f"1.2.826.99.{number}") for number in (4711, 4712)]
    assert list(items[0].SelectorUIValue) == uids
    spoil(items[0], items)
    dataset.save_as(path)
    found = audit(tmp_path / "out", ANY_FACE).problems
    assert set(found) == {"OperatorIdentificationSequence: was not replaced by a dummy"}
