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

_NUMBERS = re.compile(r"[-+0-9.eE,;()\s]*|(nan|none|[-+0-9.eE,;()\s])*", re.IGNORECASE)
_WORD = re.compile(r"[a-zA-Z0-9\- ]{1,40}")
#: Fields of a NRRD that describe the grid, with what their values look like.
_NRRD = {
    **dict.fromkeys(("type", "encoding", "endian", "space"), _WORD),
    **dict.fromkeys(
        (
            *("dimension", "sizes", "spacings", "space dimension", "space directions"),
            *("space origin", "measurement frame", "axis mins", "axis maxs", "thicknesses"),
            *("axismins", "axismaxs", "min", "max", "oldmin", "oldmax", "old min", "old max"),
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
    **dict.fromkeys(("BinaryData", "BinaryDataByteOrderMSB", "CompressedData"), _WORD),
    "ElementByteOrderMSB": _WORD,
    "ElementType": re.compile("MET_[A-Z_]+"),
    "AnatomicalOrientation": re.compile(r"[RLAPIS?]{1,3}"),
    **dict.fromkeys(
        (
            *("NDims", "TransformMatrix", "Offset", "Position", "CenterOfRotation", "Orientation"),
            *("ElementSpacing", "ElementSize", "DimSize", "CompressedDataSize"),
            "ElementNumberOfChannels",
        ),
        _NUMBERS,
    ),
}
#: Of a JSON file beside a NIfTI (BIDS): numbers about the picture, by name.
_JSON = {
    *("SliceThickness", "SpacingBetweenSlices", "KVP", "XRayTubeCurrent", "ExposureTime"),
    *("XRayExposure", "ReconstructionDiameter", "GantryDetectorTilt", "EchoTime", "FlipAngle"),
    *("RepetitionTime", "InversionTime", "MagneticFieldStrength", "ImageOrientationPatientDICOM"),
}
#: NIfTI-1 and NIfTI-2 (nifti1.h, nifti2.h): header size, offset and format of vox_offset, and the
#: text fields, as offset and length.
_NIFTI1 = (348, (108, "f"), ((4, 28), (32, 7), (148, 104), (328, 16)))
_NIFTI2 = (540, (168, "q"), ((240, 104), (508, 16), (525, 15)))


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


def clean_sidecar(content: bytes) -> bytes:
    """A JSON sidecar with the numbers that may stay. Raises PrivacyError if it is no JSON."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise PrivacyError("damaged") from error
    if not isinstance(found, dict):
        raise PrivacyError("damaged")
    kept = {name: value for name, value in found.items() if name in _JSON and _numeric(value)}
    return (json.dumps(kept, indent=2, sort_keys=True) + "\n").encode()


def _numeric(value: Any) -> bool:
    if isinstance(value, list):
        return all(_numeric(one) for one in value)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _packed(content: bytes) -> bytes:
    """gzip without the name and the date that its header can hold."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def _nifti(content: bytes, suffix: str) -> bytes:
    packed = content[:2] == b"\x1f\x8b"
    if packed:
        content = gzip.decompress(content)
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
    struct.pack_into(order + kind, header, place, length + 4)
    dims = struct.unpack_from(
        order + ("8h" if size == 348 else "8q"), header, 40 if size == 348 else 16
    )
    bits = struct.unpack_from(order + "h", header, 72 if size == 348 else 14)[0]
    voxels = bits // 8
    for n in dims[1 : 1 + dims[0]]:
        voxels *= max(1, n)
    if len(content) < start + voxels:
        raise PrivacyError("damaged")
    # Four zeros: no extension follows. What is behind the last voxel is left behind.
    result = bytes(header) + bytes(4) + content[start : start + voxels]
    return _packed(result) if suffix == ".nii.gz" else result


def _nrrd(path: Path) -> bytes:
    content = path.read_bytes()
    head, found, voxels = content.partition(b"\n\n")
    if b"\r\n\r\n" in head[:65536]:
        head, found, voxels = content.partition(b"\r\n\r\n")
    if not content.startswith(b"NRRD000"):
        raise PrivacyError("damaged")
    kept, values, data = [head[:8].decode("ascii")], {}, None
    for raw in head.decode("latin-1").splitlines()[1:]:
        name, colon, value = raw.partition(": ")
        name, value = name.strip().lower(), value.strip()
        if not colon or raw.startswith("#") or ":=" in raw.split(" ")[0]:
            continue
        if name in ("data file", "datafile"):
            data = value
        elif name in ("line skip", "byte skip", "lineskip", "byteskip"):
            if value != "0":
                raise PrivacyError("volume of a rare layout")
        elif name in _NRRD and _NRRD[name].fullmatch(value):
            values[name] = value
            kept.append(f"{name}: {value}")
    if not values.keys() >= _NRRD_NEEDED:
        raise PrivacyError("damaged")
    if data is not None:
        beside = path.parent / data
        if "%" in data or data.startswith("LIST") or beside.parent != path.parent:
            raise PrivacyError("volume with its voxels in several files, or elsewhere")
        voxels = beside.read_bytes()
    elif not found:
        raise PrivacyError("damaged")
    encoding = values["encoding"].lower()
    if encoding not in ("gzip", "gz", "raw") or values["type"].lower() not in _NRRD_BYTES:
        raise PrivacyError("volume of a rare layout")
    size = _NRRD_BYTES[values["type"].lower()] * math.prod(map(int, values["sizes"].split()))
    if encoding == "raw":
        voxels = _exactly(size, voxels)
    else:
        voxels = _packed(_exactly(size, zlib.decompressobj(31).decompress(voxels)))
    return ("\n".join(kept) + "\n\n").encode() + voxels


def _metaimage(content: bytes) -> bytes:
    kept, values, start = [], {}, 0
    while True:
        end = content.index(b"\n", start)
        name, _, value = content[start:end].decode("latin-1").partition("=")
        name, value, start = name.strip(), value.strip(), end + 1
        if name == "ElementDataFile":
            break
        if name in _META and _META[name].fullmatch(value):
            kept.append(f"{name} = {value}")
            values[name] = value
    if value != "LOCAL":
        raise PrivacyError("volume with its voxels in another file")
    voxels = content[start:]
    if values.get("CompressedData", "").lower() == "true":
        packed = zlib.decompressobj()
        packed.decompress(voxels)
        voxels = voxels[: len(voxels) - len(packed.unused_data)]
    else:
        kind = values["ElementType"]
        size = math.prod(map(int, values["DimSize"].split()))
        size *= int(values.get("ElementNumberOfChannels", "1")) * _META_BYTES[kind]
        voxels = _exactly(size, voxels)
    return ("\n".join([*kept, "ElementDataFile = LOCAL"]) + "\n").encode() + voxels


def _exactly(size: int, voxels: bytes) -> bytes:
    """What is behind the last voxel is left behind."""
    if len(voxels) < size:
        raise PrivacyError("damaged")
    return voxels[:size]
