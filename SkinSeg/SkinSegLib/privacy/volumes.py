"""NRRD, NIfTI, MetaImage and JSON files beside them: only what describes the grid stays.

The headers are rewritten field by field by what may stay; voxels are carried over as they are.
"""

from __future__ import annotations

import gzip
import json
import math
import re
import struct
import zlib
from pathlib import Path
from typing import Any

from ..core import PrivacyError

#: Numbers with something between them: dates, telephone and case numbers are none.
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|none"
_NUMBERS = re.compile(rf"[\s(),;]*(?:(?:{_NUMBER})(?:[\s(),;]+|$))*", re.IGNORECASE)
_TRUTH = re.compile("true|false", re.IGNORECASE)
_SPACE = re.compile(
    r"(right|left)-(anterior|posterior)-superior(-time)?|[RL][AP]ST?|scanner-xyz(-time)?|"
    r"3D-(right|left)-handed(-time)?",
    re.IGNORECASE,
)
#: Fields of a NRRD that describe the grid, with what their values look like.
_NRRD = {
    "type": re.compile(r"[a-z0-9_ ]{3,20}", re.IGNORECASE),  # and one of _NRRD_BYTES, see below
    "encoding": re.compile("raw|gz|gzip", re.IGNORECASE),
    "endian": re.compile("little|big", re.IGNORECASE),
    "space": _SPACE,
    **dict.fromkeys(
        (
            *("dimension", "sizes", "spacings", "space dimension", "space directions"),
            *("space origin", "measurement frame", "axis mins", "axis maxs", "thicknesses"),
            *("axismins", "axismaxs"),
        ),
        _NUMBERS,
    ),
    "kinds": re.compile(r"(domain|space|time|list|scalar|none|vector|\?\?\?|\s)*"),
    "centers": re.compile(r"(cell|node|none|\?\?\?|\s)*"),
    "centerings": re.compile(r"(cell|node|none|\?\?\?|\s)*"),
    "space units": re.compile(r'("(mm|m|cm|)"|\s)*'),
    "units": re.compile(r'("(mm|m|cm|)"|\s)*'),
}
#: Bytes of a voxel, by the names that files in use have for its type.
_NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8"), 1),
    **dict.fromkeys(("uint8_t", "char"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "int16", "int16_t", "ushort"), 2),
    **dict.fromkeys(("unsigned short", "uint16", "uint16_t", "unsigned short int"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int"), 4),
    **dict.fromkeys(("uint32", "uint32_t", "float"), 4),
    "double": 8,
}
_META_BYTES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_FLOAT"), 4),
    "MET_DOUBLE": 8,
}
#: Needed to read the voxels: without them, or with odd values, a file is refused.
_NRRD_NEEDED = {"type", "dimension", "sizes", "encoding"}
_META = {
    "ObjectType": re.compile("Image"),
    "BinaryData": re.compile("true", re.IGNORECASE),  # else the voxels are text, of any kind
    **dict.fromkeys(("BinaryDataByteOrderMSB", "ElementByteOrderMSB", "CompressedData"), _TRUTH),
    "ElementType": re.compile("|".join(_META_BYTES)),
    "AnatomicalOrientation": re.compile(r"[RLAPIS?]{1,3}"),
    **dict.fromkeys(
        (
            *("NDims", "TransformMatrix", "Offset", "Position", "CenterOfRotation", "Orientation"),
            *("ElementSpacing", "ElementSize", "DimSize", "ElementNumberOfChannels"),
        ),
        _NUMBERS,
    ),
    "HeaderSize": re.compile("0"),  # else something is skipped that no reader shows
}
#: Where the voxels are and how they are written: with odd values, a file is refused.
_META_NEEDED = {"BinaryData", "CompressedData", "HeaderSize"}
#: Of a JSON file beside a NIfTI (BIDS): numbers about the picture, by name.
_JSON = {
    *("SliceThickness", "SpacingBetweenSlices", "KVP", "XRayTubeCurrent", "ExposureTime"),
    *("XRayExposure", "ReconstructionDiameter", "GantryDetectorTilt", "EchoTime", "FlipAngle"),
    *("RepetitionTime", "InversionTime", "MagneticFieldStrength", "ImageOrientationPatientDICOM"),
}
#: And the scanner's identity, which --keep-device keeps.
_JSON_DEVICE = {"DeviceSerialNumber", "StationName"}
#: NIfTI-1 and NIfTI-2 (nifti1.h, nifti2.h): header size, offset and format of vox_offset, and what
#: holds text or is not needed (parameters of an intent, extremes), as offset and length.
_NIFTI1 = (348, (108, "f"), ((4, 28), (32, 7), (56, 12), (140, 8), (148, 104), (328, 16)))
_NIFTI2 = (540, (168, "q"), ((80, 24), (240, 104), (508, 16), (525, 15)))
#: Bits of a voxel by its type.
_NIFTI_BITS = {
    **{2: 8, 256: 8, 4: 16, 512: 16, 8: 32, 16: 32, 768: 32, 64: 64, 1024: 64, 1280: 64},
    **{32: 64, 128: 24, 1536: 128, 1792: 128, 2304: 32},
}
#: Of a file beside a .nhdr with its voxels.
DATA_SUFFIXES = (".raw", ".gz", ".zraw", ".img")


def clean_volume(path: Path, suffix: str) -> tuple[bytes, str]:
    """The file without anything but grid and voxels, and the ending for its new name.

    ``suffix``: its ending in lower case. Raises PrivacyError for a file that cannot be cleaned
    this way: damaged, with several data files, or of a rare layout.
    """
    try:
        if suffix in (".nii", ".nii.gz"):
            return _nifti(path.read_bytes(), suffix), suffix
        if suffix in (".nrrd", ".nhdr"):
            return _nrrd(path), ".nrrd"
        if suffix == ".mha":
            return _metaimage(path.read_bytes()), suffix
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        OverflowError,
        struct.error,
        zlib.error,
    ) as error:
        raise PrivacyError("damaged") from error
    raise PrivacyError("volume with its voxels in another file")


def clean_sidecar(content: bytes, keep_device: bool = False) -> bytes:
    """A JSON sidecar with the numbers that may stay, ``keep_device``: and the scanner's names.

    Raises PrivacyError if it is no JSON.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PrivacyError("damaged") from error
    if not isinstance(found, dict):
        raise PrivacyError("damaged")
    kept = {
        name: value
        for name, value in found.items()
        if (name in _JSON and _numeric(value))
        or (keep_device and name in _JSON_DEVICE and isinstance(value, str) and len(value) <= 64)
    }
    return (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode()


def _numeric(value: Any) -> bool:
    """A number, or a list of nothing but numbers."""
    values = value if isinstance(value, list) else [value]
    return all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)


def _packed(content: bytes) -> bytes:
    """gzip without the name and the date that its header can hold."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def _nifti(content: bytes, suffix: str) -> bytes:
    unpack = zlib.decompressobj(31) if content[:2] == b"\x1f\x8b" else None
    if unpack is not None:  # the header first: it says how much there can be
        content = unpack.decompress(content, _NIFTI2[0] + 4)
    for order in "<>":
        size = struct.unpack_from(order + "i", content)[0]
        if size in (348, 540):
            break
    else:
        raise PrivacyError("damaged")
    length, (place, kind), texts = _NIFTI1 if size == 348 else _NIFTI2
    magic = content[344:347] if size == 348 else content[4:7]
    if magic not in (b"n+1", b"n+2"):
        raise PrivacyError("volume with its voxels in another file")
    start = int(struct.unpack_from(order + kind, content, place)[0])
    if start < length:
        raise PrivacyError("damaged")
    header = bytearray(content[:length])
    for offset, count in texts:
        header[offset : offset + count] = bytes(count)
    if size == 348:
        header[347] = 0
    else:
        header[7:12] = b"\0\r\n\x1a\n"
    struct.pack_into(order + kind, header, place, length + 4)
    kinds, at = (order + "8h", 40) if size == 348 else (order + "8q", 16)
    dims = struct.unpack_from(kinds, header, at)
    if not 1 <= dims[0] <= 7:
        raise PrivacyError("damaged")
    struct.pack_into(kinds, header, at, *dims[: 1 + dims[0]], *[1] * (7 - dims[0]))
    number, bits = struct.unpack_from(order + "2h", header, 70 if size == 348 else 12)
    if _NIFTI_BITS.get(number) != bits:
        raise PrivacyError("damaged")
    voxels = bits // 8
    for n in dims[1 : 1 + dims[0]]:
        voxels *= max(1, n)
    if unpack is not None:
        content += unpack.decompress(unpack.unconsumed_tail, start + voxels)
    if len(content) < start + voxels:
        raise PrivacyError("damaged")
    # Four zeros: no extension follows. What is behind the last voxel is left behind.
    result = bytes(header) + bytes(4) + content[start : start + voxels]
    return _packed(result) if suffix == ".nii.gz" else result


def _nrrd(path: Path) -> bytes:
    content = path.read_bytes()
    found = re.search(rb"\n\r?\n", content)  # the first empty line, after Windows' fashion too
    head = content[: found.start()] if found else content
    if not content.startswith(b"NRRD000"):
        raise PrivacyError("damaged")
    first, values, data = head[:8].decode("ascii"), {}, None
    for raw in head.decode("latin-1").splitlines()[1:]:
        name, colon, value = raw.partition(": ")
        name, value = name.strip().lower(), value.strip()
        if not colon:
            continue
        if name in ("data file", "datafile"):
            data = value
        elif name in ("line skip", "byte skip", "lineskip", "byteskip"):
            if value != "0":
                raise PrivacyError("volume of a rare layout")
        elif name in _NRRD and _NRRD[name].fullmatch(value):
            values[name] = value  # the last, where a field is there twice: one is checked
    if not values.keys() >= _NRRD_NEEDED:
        raise PrivacyError("damaged")
    if data is not None:
        beside = path.parent / data
        if "%" in data or data.startswith("LIST") or beside.parent != path.parent:
            raise PrivacyError("volume with its voxels in several files, or elsewhere")
        # Else a header could have any file of the folder copied out as voxels.
        if beside.is_symlink() or beside.suffix.lower() not in DATA_SUFFIXES:
            raise PrivacyError("volume with its voxels in several files, or elsewhere")
        voxels = beside.read_bytes()
    elif found:
        voxels = content[found.end() :]
    else:
        raise PrivacyError("damaged")
    encoding = values["encoding"].lower()
    if encoding not in ("gzip", "gz", "raw") or values["type"].lower() not in _NRRD_BYTES:
        raise PrivacyError("volume of a rare layout")
    size = _size(values["sizes"], _NRRD_BYTES[values["type"].lower()])
    if encoding == "raw":
        voxels = _exactly(size, voxels)
    else:
        voxels = _packed(_exactly(size, zlib.decompressobj(31).decompress(voxels, size)))
    kept = [first, *(f"{name}: {value}" for name, value in values.items())]
    return ("\n".join(kept) + "\n\n").encode() + voxels


def _metaimage(content: bytes) -> bytes:
    values, start = {}, 0
    while True:
        end = content.index(b"\n", start)
        name, _, value = content[start:end].decode("latin-1").partition("=")
        name, value, start = name.strip(), value.strip(), end + 1
        if name == "ElementDataFile":
            break
        if name in _META and _META[name].fullmatch(value):
            values[name] = value
        elif name in _META_NEEDED:
            raise PrivacyError("volume of a rare layout")
    if value != "LOCAL":
        raise PrivacyError("volume with its voxels in another file")
    voxels = content[start:]
    size = _size(values["DimSize"], _META_BYTES[values["ElementType"]])
    size = _size(values.get("ElementNumberOfChannels", "1"), size)
    if values.get("CompressedData", "").lower() == "true":
        # MetaImage is packed by zlib without gzip's header; 47: either, as readers take it.
        voxels = zlib.compress(_exactly(size, zlib.decompressobj(47).decompress(voxels, size)), 6)
        values["CompressedDataSize"] = str(len(voxels))
    else:
        voxels = _exactly(size, voxels)
    kept = [f"{name} = {value}" for name, value in values.items()]
    return ("\n".join([*kept, "ElementDataFile = LOCAL"]) + "\n").encode() + voxels


def _size(counts: str, each: int) -> int:
    """Bytes of so many voxels of ``each``; with none of them, or fewer, nothing could be cut."""
    numbers = [int(one) for one in counts.split()]
    if not numbers or min(numbers) < 1:
        raise PrivacyError("damaged")
    return each * math.prod(numbers)


def _exactly(size: int, voxels: bytes) -> bytes:
    """What is behind the last voxel is left behind."""
    if len(voxels) < size:
        raise PrivacyError("damaged")
    return voxels[:size]
