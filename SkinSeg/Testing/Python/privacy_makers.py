"""DICOM files with something planted wherever the standard's table looks, and where it does not."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from scan_makers import Grid, dicom_slice, save
from SkinSegLib.privacy.profile import basic_table

#: In every planted text.
WORD = "PLANTED"
#: The planted file's own text in attributes that the profile keeps.
KEPT = {"Manufacturer": "Maker of scanners", "ConvolutionKernel": "B31s", "KVP": "120"}
KEY = bytes(range(32))


def planted_value(tag: int, vr: str, depth: int = 0) -> Any:
    """A value of a kind that can be told again by its bytes; of sequences, one item with more."""
    text = f"{WORD}{tag:08X}"
    number = zlib.crc32(text.encode()) % 20000 + 10001
    values: dict[str, Any] = {
        **dict.fromkeys(("LO", "LT", "ST", "UT", "UC"), f"{text} of Someone"),
        "SH": text[:16],
        "PN": f"{text}^Anna^Dr",
        "CS": text[:16],
        "AE": text[:16],
        "AS": "037Y",
        "DA": "19570311",
        "TM": "031157.077",
        "DT": "19570311031157.077",
        "UI": f"1.2.826.99.{tag}",
        "UR": f"https://{text}.example",
        "DS": f"{number}.25",
        "IS": str(number),
        "US": number,
        "OB": text.encode() + b" " * (len(text) % 2),
        "UN": text.encode() + b" " * (len(text) % 2),
    }
    if vr != "SQ":
        return values[vr]
    item = Dataset()
    for inner in (0x00100010, 0x00081030, 0x00080020, 0x0008103E, 0x00400555, 0x00081140):
        kind = dictionary_VR(inner)
        if kind != "SQ" or depth < 2:
            item.add_new(inner, kind, planted_value(inner, kind, depth + 1))
    item.add_new(0x00110010, "LO", f"{WORD} CREATOR")
    item.add_new(0x00111001, "LT", f"{WORD} nested private")
    return Sequence([item])


def plant(data: Dataset) -> None:
    """Give every attribute of Table E.1-1 a planted value, where it is not there, and more."""
    for tag in basic_table():
        if tag >> 16 < 8 or tag in (0x00080018, 0x0020000D, 0x0020000E):
            continue
        vr = dictionary_VR(tag) if dictionary_has_tag(tag) else "LO"
        vr = vr if " or " not in vr else "OB"
        data.add(DataElement(Tag(tag), vr, planted_value(tag, vr)))
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.99.1", "1.2.826.99.2"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.826.99.3"
    block = data.private_block(0x0019, f"{WORD} MAKER", create=True)
    block.add_new(1, "LO", f"{WORD} private")
    block.add_new(2, "SQ", planted_value(0x00191002, "SQ"))
    data.add_new(0x50000010, "LO", f"{WORD} curve")
    data.add_new(0x60000022, "LO", f"{WORD} overlay")
    data.add_new(0x60003000, "OW", f"{WORD} overlay bits".encode().ljust(32))
    data.add_new(0x00081FFE, "LO", f"{WORD} unknown to the standard")
    data.add_new(0x0040A067, "PN", f"{WORD}^Author")  # a name that the table does not name
    # An item deep within a sequence that the table does not name.
    code = Dataset()
    code.CodeValue, code.CodeMeaning = "T-D1100", "Head"
    code.add_new(0x00100010, "PN", f"{WORD}^Deep")
    code.add_new(0x00111001, "LT", f"{WORD} deep private")
    data.AnatomicRegionSequence = Sequence([code])
    meta = data.file_meta
    meta.SourceApplicationEntityTitle = f"{WORD}AE"
    meta.ImplementationVersionName = f"{WORD}V"
    meta.PrivateInformationCreatorUID = "1.2.826.99.4"
    meta.PrivateInformation = f"{WORD} in the meta ".encode()
    data.preamble = f"{WORD} preamble".encode().ljust(128, b"\0")
    data.PatientID, data.PatientName = f"{WORD}-ID-0815", f"{WORD}^Anna"
    data.ReferringPhysicianName = f"{WORD}^Doctor"
    for name, value in KEPT.items():
        setattr(data, name, value)


def planted_file(path: Path, **changes: Any) -> Dataset:
    """Write one such slice; returns what was written."""
    rng = np.random.default_rng(1)
    pixels = rng.integers(-1020, -980, (64, 64)).astype(np.int16)
    data = dicom_slice(pixels, (0, 0, 0), np.eye(3), Grid().spacing)
    plant(data)
    for name, value in changes.items():
        setattr(data, name, value)
    data.PixelData = data.PixelData + f"{WORD} behind the last pixel".encode()
    save(data, path)
    return data


def plain_file(path: Path, pixels: np.ndarray | None = None, **changes: Any) -> Dataset:
    """An ordinary slice of a patient with a date, in 64 x 64 noise unless pixels are given."""
    if pixels is None:
        pixels = np.random.default_rng(2).integers(-1020, -980, (64, 64)).astype(np.int16)
    given = {
        "PatientID": "4711-0815",
        "PatientName": "Doe^Secret",
        "PatientBirthDate": "19570311",
        "PatientSex": "F",
        "PatientAge": "094Y",
        "StudyDate": "20120507",
        "StudyTime": "131411",
        "SeriesDate": "20120511",
        "AccessionNumber": "A77",
        "StudyDescription": "CT head of Mr Secret, 63",
        "DeviceSerialNumber": "SN-12345",
        "ReferringPhysicianName": "",
        "StudyID": "1",
        "InstanceNumber": 1,
        "PositionReferenceIndicator": "",
        "FrameOfReferenceUID": "1.2.826.99.77",
        "AcquisitionNumber": 1,
        "KVP": "120",
        **changes,
    }
    data = dicom_slice(pixels, (0, 0, 0), np.eye(3), (0.5, 0.5, 1.0), **given)
    save(data, path)
    return data


def with_text(value: int, shape: tuple[int, int] = (256, 256)) -> np.ndarray:
    """Noise with a line of text near the upper border, drawn in one value; int16 HU."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", shape[::-1])
    ImageDraw.Draw(picture).text((10, 8), "DOE SECRET 11.03.1957", fill=1)
    pixels = np.random.default_rng(4).normal(-1000, 10, shape).astype(np.int16)
    return np.where(np.asarray(picture), np.int16(value), pixels)


def all_bytes(folder: Path) -> bytes:
    """Every file of a folder with its name, what is packed also unpacked."""
    import gzip

    parts = []
    for path in sorted(folder.rglob("*")):
        parts.append(str(path.relative_to(folder)).encode())
        if path.is_file():
            content = path.read_bytes()
            parts.append(content)
            if content[:2] == b"\x1f\x8b":
                parts.append(gzip.decompress(content))
    return b"\n".join(parts)


def without_new_uids(path: Path) -> bytes:
    """A file's bytes but for the UIDs that take the place of others: they hold any four digits in
    one file of a hundred."""
    return re.sub(rb"2\.25\.\d+", b"", path.read_bytes())


def encodings_of(text: str, *more: str) -> set[bytes]:
    """A text in every encoding that a file may use for it; ``more``: Python's names of others."""
    found = set()
    for name in ("latin-1", "utf-8", "utf-16-le", "utf-16-be", *more):
        try:
            found.add(text.encode(name))
        except UnicodeEncodeError:
            continue
    return found


def reread(content: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(content))
