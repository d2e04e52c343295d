"""File headers with a name wherever one fits: what is left of them, byte for byte."""

from __future__ import annotations

import gzip
import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from privacy_makers import WORD
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy.volumes import clean_sidecar, clean_volume

NAME = WORD.encode()
VOXELS = bytes(range(1, 17))
DAMAGED, RARE = "damaged", "volume of a rare layout"
ELSEWHERE = "volume with its voxels in another file"
SEVERAL = "volume with its voxels in several files, or elsewhere"


def cleaned(folder: Path, content: bytes, suffix: str) -> bytes:
    path = folder / f"a{suffix}"
    path.write_bytes(content)
    result, ending = clean_volume(path, suffix)
    assert ending == (".nrrd" if suffix == ".nhdr" else suffix)
    return result


def refused(folder: Path, content: bytes, suffix: str) -> str:
    with pytest.raises(PrivacyError) as caught:
        cleaned(folder, content, suffix)
    return str(caught.value)


#: nifti1.h: data_type, db_name, extents, session_error, regular, intent_p1 to 3, glmax, glmin,
#: descrip, aux_file, intent_name; nifti2.h: intent_p1 to 3, descrip, aux_file, intent_name, unused.
TEXTS = {
    348: ((4, 10), (14, 18), (32, 4), (36, 2), (38, 1), (56, 12), (140, 8), (148, 80), (228, 24))
    + ((328, 16), (347, 1)),
    540: ((80, 24), (240, 80), (320, 24), (508, 16), (525, 15)),
}
MAGIC = {348: (344, b"n+1\0"), 540: (4, b"n+2\0\r\n\x1a\n")}


def nifti(
    size: int = 348,
    order: str = "<",
    dims: tuple[int, ...] = (2, 2, 2),
    kind: tuple[int, int] = (4, 16),
    gap: int = 4,
    number: int | None = None,
) -> bytes:
    """A header that has a letter in every byte but those that tell where the voxels are."""
    header = bytearray((NAME * size)[:size])
    struct.pack_into(order + "i", header, 0, size)
    number = len(dims) if number is None else number
    row = [number, *dims, *[9] * (7 - len(dims))][:8]
    struct.pack_into(
        order + ("8h" if size == 348 else "8q"), header, 40 if size == 348 else 16, *row
    )
    struct.pack_into(order + "2h", header, 70 if size == 348 else 12, *kind)
    place, offset = (108, "f") if size == 348 else (168, "q")
    struct.pack_into(order + offset, header, place, size + gap)
    at, magic = MAGIC[size]
    header[at : at + 3] = magic[:3]
    return bytes(header) + (NAME * 9)[:gap]


def kept_of_nifti(content: bytes, size: int, order: str, dims: tuple[int, ...]) -> bytes:
    header = bytearray(content[:size])
    for offset, count in TEXTS[size]:
        header[offset : offset + count] = bytes(count)
    at, magic = MAGIC[size]
    header[at : at + len(magic)] = magic
    row = [len(dims), *dims, *[1] * (7 - len(dims))]
    struct.pack_into(
        order + ("8h" if size == 348 else "8q"), header, 40 if size == 348 else 16, *row
    )
    place, offset = (108, "f") if size == 348 else (168, "q")
    struct.pack_into(order + offset, header, place, size + 4)
    return bytes(header) + bytes(4)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", [348, 540])
@pytest.mark.parametrize(
    ("dims", "kind", "gap"),
    [
        ((2, 2, 2), (4, 16), 4),
        ((2, 2, 2), (512, 16), 36),
        ((4, 1, 1), (16, 32), 4),
        ((2, 4, 1, 0), (2, 8), 0),
        ((2,), (64, 64), 4),
        ((2, 1, 2, 1, 2, 1, 1), (4, 16), 20),
    ],
)
def test_of_a_nifti_only_numbers_stay(
    tmp_path: Path,
    size: int,
    order: str,
    packed: bool,
    dims: tuple[int, ...],
    kind: tuple[int, int],
    gap: int,
) -> None:
    """Grid, scaling, acquisition times: all that is no text, of either version and byte order."""
    voxels = VOXELS if kind[0] != 2 else VOXELS[:8]
    header = nifti(size, order, dims, kind, gap)
    expected = kept_of_nifti(header, size, order, dims) + voxels
    for behind in (b"", NAME):
        content = header + voxels + behind
        if packed:
            result = cleaned(tmp_path, gzip.compress(content), ".nii.gz")
            assert result[3:8] == bytes(5)  # neither a name nor a date
            assert gzip.decompress(result) == expected
        else:
            assert cleaned(tmp_path, content, ".nii") == expected


@pytest.mark.parametrize("size", [348, 540])
def test_a_nifti_that_does_not_fit_its_header(tmp_path: Path, size: int) -> None:
    for content in (
        nifti(size) + VOXELS[:-1],
        nifti(size, number=0) + VOXELS,
        nifti(size, dims=(2, 2, 2, 1, 1, 1, 1), number=8) + VOXELS,
        nifti(size, kind=(4, 8)) + VOXELS,
        nifti(size, kind=(1, 1)) + VOXELS,
        nifti(size, gap=-4) + VOXELS,
        struct.pack("<i", 541) + (nifti(size) + VOXELS)[4:],
    ):
        assert refused(tmp_path, content, ".nii") == DAMAGED
    for magic in (b"ni1", b"ni2"):
        content = (nifti(size) + VOXELS).replace(MAGIC[size][1][:3], magic)
        assert refused(tmp_path, content, ".nii") == ELSEWHERE


FIELDS = (
    "type: short",
    "dimension: 3",
    "space: left-posterior-superior",
    "sizes: 2 2 2",
    "space directions: (0.5,0,0) (0,-0.5,1e-3) none",
    "kinds: domain domain domain",
    "endian: little",
    "encoding: raw",
    'space units: "mm" "mm" "mm"',
    "space origin: (-31.5,17,+503.)",
    "measurement frame: (1,0,0) (0,1,0) (0,0,1)",
    "centers: cell node ???",
    "thicknesses: nan 1 .5",
)


def nrrd(*fields: str, end: str = "\n") -> bytes:
    return end.join(["NRRD0005", *fields, "", ""]).encode()


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_of_a_nrrd_the_grid_stays(tmp_path: Path, end: str) -> None:
    secret = (
        f"# {WORD}",
        f"DicomPatientName:={WORD}",
        f"content: {WORD}",
        f"# type: {WORD}",
        f"type:={WORD}: short",
        f"{WORD}",
        f"sample units: {WORD}",
        f"space units: {WORD}",
        "line skip: 0",
        "byte skip: 0",
    )
    between = [text for n, field in enumerate(FIELDS) for text in (secret[n % 10], field)]
    for voxels in (VOXELS, b"\n\n" + VOXELS[2:], b"\r\n\r\n" + VOXELS[:8] + b"\r\n\r\n"):
        result = cleaned(tmp_path, nrrd(*between, end=end) + voxels + NAME, ".nrrd")
        assert result == nrrd(*FIELDS) + voxels


def test_voxels_that_look_like_a_field(tmp_path: Path) -> None:
    for voxels in (b"\nsizes: 1 1 1\n\n\n", b'\nunits: "mm"\n\n\n'):
        content = nrrd(*FIELDS) + voxels.ljust(16)
        assert cleaned(tmp_path, content + NAME, ".nrrd") == content


def test_a_field_that_is_there_twice(tmp_path: Path) -> None:
    content = nrrd(f"type: mr {WORD} 1957", *FIELDS) + VOXELS
    assert cleaned(tmp_path, content, ".nrrd") == nrrd(*FIELDS) + VOXELS


@pytest.mark.parametrize("encoding", ["gzip", "gz", "GZ"])
def test_a_packed_nrrd(tmp_path: Path, encoding: str) -> None:
    head = nrrd(*FIELDS).replace(b": raw", f": {encoding}".encode())
    result = cleaned(tmp_path, head + gzip.compress(VOXELS + NAME) + NAME, ".nrrd")
    assert result.startswith(head)
    assert result[len(head) + 3 : len(head) + 8] == bytes(5)
    assert gzip.decompress(result[len(head) :]) == VOXELS
    short = head + gzip.compress(VOXELS[:-1])
    assert refused(tmp_path, short, ".nrrd") == DAMAGED


@pytest.mark.parametrize("field", ["data file", "datafile", "Data File"])
def test_voxels_beside_a_nrrd(tmp_path: Path, field: str) -> None:
    (tmp_path / "other").mkdir()
    for name in ("a.raw", "a%03d.raw", "LIST.raw", "other/a.raw", "a.txt"):
        (tmp_path / name).write_bytes(VOXELS + NAME)
    (tmp_path / "link.raw").symlink_to("a.txt")
    head = nrrd(*FIELDS)[:-1]
    assert cleaned(tmp_path, head + f"{field}: a.raw\n\n".encode(), ".nhdr") == (
        nrrd(*FIELDS) + VOXELS
    )
    outside = f"../{tmp_path.name}/a.raw"
    for name in ("a%03d.raw", "LIST.raw", "other/a.raw", "a.txt", "link.raw", outside):
        content = head + f"{field}: {name}\n".encode()
        assert refused(tmp_path, content, ".nhdr") == SEVERAL
    assert refused(tmp_path, head + f"{field}: b.raw\n".encode(), ".nhdr") == DAMAGED


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("sizes: 2 2 2", "sizes: 2 2 3", DAMAGED),
        ("sizes: 2 2 2", "sizes: -2 2 2", DAMAGED),
        ("sizes: 2 2 2", "sizes: -2 -2 2", DAMAGED),
        ("sizes: 2 2 2", "sizes: 0 2 2", DAMAGED),
        ("sizes: 2 2 2", "sizes: ", DAMAGED),
        ("sizes: 2 2 2", "sizes: 2 2 2.5", DAMAGED),
        ("sizes: 2 2 2", "sizes: 2 2 two", DAMAGED),
        ("dimension: 3", "old: 3", DAMAGED),
        ("encoding: raw", "encoding: hex", DAMAGED),
        ("type: short", "type: block", RARE),
        ("kinds: domain", "line skip: 1\nkinds: domain", RARE),
        ("kinds: domain", "byte skip: -1\nkinds: domain", RARE),
        ("kinds: domain", "lineskip: 1\nkinds: domain", RARE),
        ("kinds: domain", "byteskip: 9\nkinds: domain", RARE),
        ("NRRD0005", "NRRDjunk", DAMAGED),
        ("NRRD000", "NRRD000é", DAMAGED),
    ],
)
def test_a_nrrd_whose_voxels_cannot_be_told(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    content = nrrd(*FIELDS).decode().replace(old, new).encode()
    assert refused(tmp_path, content + VOXELS, ".nrrd") == reason


def test_a_nrrd_with_the_least_of_fields(tmp_path: Path) -> None:
    fields = ("type: short", "dimension: 3", "sizes: 2 2 2", "encoding: raw")
    assert cleaned(tmp_path, nrrd(*fields) + VOXELS, ".nrrd") == nrrd(*fields) + VOXELS
    without_voxels = nrrd(*fields)[:-1]
    assert refused(tmp_path, without_voxels, ".nrrd") == DAMAGED


META = (
    "ObjectType = Image",
    "NDims = 3",
    "BinaryData = True",
    "BinaryDataByteOrderMSB = False",
    "CompressedData = False",
    "TransformMatrix = 1 0 0 0 1 0 0 0 1",
    "Offset = -31.5 17 503",
    "CenterOfRotation = 0 0 0",
    "AnatomicalOrientation = RAI",
    "ElementSpacing = 0.5 0.5 1e-1",
    "DimSize = 2 2 2",
    "ElementType = MET_SHORT",
)


def meta(*fields: str, last: str = "LOCAL") -> bytes:
    return "\n".join([*fields, f"ElementDataFile = {last}", ""]).encode()


def test_of_a_metaimage_the_grid_stays(tmp_path: Path) -> None:
    secret = (
        f"PatientName = {WORD}",
        f"Comment = a = {WORD}",
        f"Name={WORD}",
        f"AnatomicalOrientation = {WORD}",
        f"ObjectType = Image of {WORD}",
        f"{WORD}",
        "AcquisitionDate = 19570311",
    )
    fields = [text for n, field in enumerate(META) for text in (secret[n % 7], field)]
    content = meta(*fields) + VOXELS
    assert cleaned(tmp_path, content + NAME, ".mha") == meta(*META) + VOXELS
    windows = content[: -len(VOXELS)].replace(b"\n", b"\r\n") + VOXELS
    assert cleaned(tmp_path, windows, ".mha") == meta(*META) + VOXELS
    assert refused(tmp_path, content[:-1], ".mha") == DAMAGED


def test_a_metaimage_with_several_channels(tmp_path: Path) -> None:
    fields = (*META, "ElementNumberOfChannels = 3")
    result = cleaned(tmp_path, meta(*fields) + VOXELS * 3 + NAME, ".mha")
    assert result == meta(*fields) + VOXELS * 3
    fields = META[:4] + META[5:]  # it need not say that nothing is packed
    assert cleaned(tmp_path, meta(*fields) + VOXELS, ".mha") == meta(*fields) + VOXELS


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_a_packed_metaimage(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    fields = [field.replace("CompressedData = False", "CompressedData = true") for field in META]
    content = meta(*fields, "CompressedDataSize = 19570311") + pack(VOXELS + NAME) + NAME
    head, _, voxels = cleaned(tmp_path, content, ".mha").partition(b"LOCAL\n")
    size = f"CompressedDataSize = {len(voxels)}"
    assert head + b"LOCAL\n" == meta(*fields, size)
    assert zlib.decompress(voxels) == VOXELS
    assert refused(tmp_path, meta(*fields) + pack(VOXELS[:-1]), ".mha") == DAMAGED


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("BinaryData = True", "BinaryData = False", RARE),  # text, that may say anything
        ("BinaryData = True", "HeaderSize = 8", RARE),  # a header that no reader shows
        ("BinaryData = True", "HeaderSize = -1", RARE),
        ("CompressedData = False", "CompressedData = maybe", RARE),
        ("DimSize = 2 2 2", "DimSize = -2 -2 2", DAMAGED),
        ("DimSize = 2 2 2", "DimSize = 0 2 2", DAMAGED),
        ("DimSize = 2 2 2", "DimSize = 2 2 2.5", DAMAGED),
        ("NDims = 3", "ElementNumberOfChannels = -1", DAMAGED),
        ("MET_SHORT", "MET_LONG", DAMAGED),
        ("LOCAL", "a.raw", ELSEWHERE),
        ("ElementDataFile", "Element", DAMAGED),
    ],
)
def test_a_metaimage_whose_voxels_cannot_be_told(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    content = meta(*META).decode().replace(old, new).encode()
    assert refused(tmp_path, content + VOXELS, ".mha") == reason


def test_a_metaimage_beside_its_voxels_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(VOXELS)
    assert refused(tmp_path, meta(*META, last="a.raw"), ".mhd") == ELSEWHERE


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_small_file_does_not_fill_the_memory(tmp_path: Path, suffix: str) -> None:
    """Of what is packed no more is unpacked than the voxels that the header tells of."""
    zeros = 16_000_000
    content = {
        ".nii.gz": gzip.compress(nifti() + VOXELS + bytes(zeros), 1),
        ".nrrd": nrrd(*FIELDS).replace(b": raw", b": gzip") + gzip.compress(bytes(zeros), 1),
        ".mha": meta("CompressedData = True", *META[5:]) + zlib.compress(bytes(zeros), 1),
    }[suffix]
    tracemalloc.start()
    cleaned(tmp_path, content, suffix)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < zeros / 4


def test_of_a_sidecar_the_numbers_stay() -> None:
    found = {
        "SliceThickness": 2.5,
        "KVP": 120,
        "ImageOrientationPatientDICOM": [1, 0, 0, 0, 1.0, 0],
        "EchoTime": [0.01, WORD],
        "FlipAngle": True,
        "ExposureTime": {"of": WORD},
        "RepetitionTime": [[1, 2]],
        "PatientID": 4711,
        "PatientName": WORD,
        "DeviceSerialNumber": "SN-1",
        "StationName": "x" * 64,
    }
    kept = {"SliceThickness", "KVP", "ImageOrientationPatientDICOM"}
    content = json.dumps(found).encode()
    plain = clean_sidecar(content)
    assert json.loads(plain) == {name: found[name] for name in kept}
    again = json.dumps(dict(reversed(found.items()))).encode()
    assert clean_sidecar(again) == plain  # the order of its names tells nothing
    device = kept | {"DeviceSerialNumber", "StationName"}
    assert json.loads(clean_sidecar(content, True)) == {name: found[name] for name in device}
    for value in (4711, "x" * 65):
        long = json.dumps({**found, "StationName": value}).encode()
        assert "StationName" not in json.loads(clean_sidecar(long, True))


def test_sidecars_that_cannot_be_read() -> None:
    for content in (b"", b"{", b"[1]", b'"KVP"', b"\xff\xfe{", b"[" * 100_000):
        with pytest.raises(PrivacyError, match=r"^damaged$"):
            clean_sidecar(content)
    # Python's reader of JSON allows for more depth than may be walked through here.
    deep = b'{"EchoTime": ' + b"[" * 600 + b"]" * 600 + b"}"
    assert json.loads(clean_sidecar(deep)) == {}
