"""Compressed data that claims more than it should, found before a decoder takes memory for it.

Decoders take the size of a picture from its code, not from the DICOM header, and allocate it at
once: 2 kB can ask for many GB. Needs no decoder, so that it also holds where GDCM decodes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

#: A deflated data set (PS3.5, A.5) may unpack to so much.
MAX_DEFLATED = 256 * 1024**2
#: More tiles than this in one JPEG 2000 picture of a slice are no sensible code.
_MAX_TILES = 4096
_DEFLATED = "1.2.840.10008.1.2.1.99"
#: Start of a JPEG 2000 code stream with its size (ISO/IEC 15444-1, A.4.1 and A.5.1).
_SIZ = b"\xff\x4f\xff\x51"
#: Markers of JPEG that start a frame, and JPEG-LS's (ISO/IEC 10918-1, B.1.1.3; 14495-1, C.1.1).
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def require_sizes(dataset: Any, shape: tuple[int, int]) -> None:
    """Raise ValueError unless each coded picture is of ``shape`` (rows, columns), in one component.

    For JPEG, JPEG-LS and JPEG 2000; others (RLE) do not state a size of their own.
    """
    for code in _codes(dataset):
        if _SIZ in code[:256]:
            found = _jpeg_2000(code[code.index(_SIZ) :])
        elif code[:2] == b"\xff\xd8":
            found = _jpeg(code)
        else:
            continue
        if found != (*shape, 1):
            raise ValueError("a compressed slice is not of the size that the header states")


def require_inflatable(path: Path) -> None:
    """Raise ValueError for a deflated data set that unpacks to more than MAX_DEFLATED."""
    from pydicom.filereader import read_file_meta_info

    if str(read_file_meta_info(path).get("TransferSyntaxUID", "")) != _DEFLATED:
        return
    with open(path, "rb") as file:
        content = file.read()
    # The data set begins behind the group length's own 12 bytes and what it counts.
    start = 132 + 12 + struct.unpack_from("<I", content, 140)[0]
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    if len(unpacker.decompress(content[start:], MAX_DEFLATED)) >= MAX_DEFLATED:
        raise ValueError("a deflated data set unpacks to too much")


def _codes(dataset: Any) -> Iterator[bytes]:
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    try:
        from pydicom.encaps import generate_frames
    except ImportError:  # pydicom 2.4
        from pydicom.encaps import generate_pixel_data_frame

        yield from generate_pixel_data_frame(dataset.PixelData, frames)
        return
    yield from generate_frames(dataset.PixelData, number_of_frames=frames)


def _jpeg_2000(code: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of a code stream; ValueError for too many tiles."""
    x, y, x0, y0, width, height, tx, ty = struct.unpack_from(">8I", code, 8)
    (components,) = struct.unpack_from(">H", code, 40)
    if min(width, height) < 1 or -(-(x - tx) // width) * -(-(y - ty) // height) > _MAX_TILES:
        raise ValueError("a compressed slice has an impossible number of tiles")
    return y - y0, x - x0, components


def _jpeg(code: bytes) -> tuple[int, int, int]:
    """Rows, columns and components of the first frame; ValueError where none is stated."""
    at = 2
    while at + 10 <= len(code):
        if code[at] != 0xFF:
            break
        marker = code[at + 1]
        if marker in _FRAMES:
            rows, columns, components = struct.unpack_from(">HHB", code, at + 5)
            return rows, columns, components
        # Fill bytes stand alone; every other segment tells its length.
        at += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", code, at + 2)[0]
    raise ValueError("a compressed slice states no size")
