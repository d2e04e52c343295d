"""What ITK lets pass in NRRD and NIfTI headers, and what a user should know about them.

ITK reads a truncated NIfTI as zeros, NaN in a NIfTI as zero, a spacing of zero or NaN as 1 mm and
a header without an orientation as LPS, all without an error (seen with SimpleITK 2.5); so these are
looked at here, beside ITK.
"""

from __future__ import annotations

import gzip
import math
import os
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from ..core import ScanReadError

_NRRD_PATIENT_SPACES = {
    "ras": True,
    "right-anterior-superior": True,
    "las": True,
    "left-anterior-superior": True,
    "lps": True,
    "left-posterior-superior": True,
}

#: Longest line of a NRRD header that is a field, longest key/value pair, and most lines.
_NRRD_FIELD, _NRRD_VALUE, _NRRD_LINES = 500, 1024 * 1024, 20_000


def truncated(path: Path) -> ScanReadError:
    """The error for a file that ends before its voxels do."""
    return ScanReadError(
        f"{path} is truncated: it holds fewer voxels than its header says. "
        "Copy or download it again."
    )


def damaged_header(path: Path) -> ScanReadError:
    """The error for a header whose axes make no sense."""
    return ScanReadError(
        f"{path} has a damaged header: its axes cannot be understood. "
        "Export the scan again from its source."
    )


def zero_spacing(path: Path) -> ScanReadError:
    """The error for a voxel size that is zero or not a number."""
    return ScanReadError(
        f"{path} has a voxel spacing of zero or no number. Correct the spacing in the source, "
        "or export the scan again."
    )


def check_nrrd(path: Path) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """What of a NRRD header ITK gets wrong: the 4x4 from (i, j, k) to LPS mm, and notes.

    The matrix is None where ITK's is right. SimpleITK 2.5.2 gives files in LAS turned by 180
    degrees about the patient's long axis (x is mirrored in place of y), 2.5.7 as they are.

    Raises ScanReadError for a spacing that is not a number or a file that is no NRRD.
    """
    fields = _nrrd_fields(path)
    values = fields.get("spacings", "") + " " + fields.get("space directions", "")
    numbers = values.replace("(", " ").replace(")", " ").replace(",", " ").split()
    for text in numbers:
        if text.lower() == "none":
            continue
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise zero_spacing(path)
    if any(float(text) == 0.0 for text in fields.get("spacings", "").split()):
        raise zero_spacing(path)
    notes = []
    if "spacings" not in fields and "space directions" not in fields:
        notes.append(
            "The file gives no voxel size; 1 mm was assumed. Lengths and volumes may be wrong."
        )
    if fields.get("space", "").lower() not in _NRRD_PATIENT_SPACES:
        notes.append(
            "The file does not say how the patient lies in it; its axes were taken as left, "
            "posterior, superior. Check front and back in the preview."
        )
    return _las_to_lps(path, fields), tuple(notes)


def _las_to_lps(path: Path, fields: dict[str, str]) -> NDArray[np.float64] | None:
    in_las = fields.get("space", "").lower() in ("las", "left-anterior-superior")
    if not in_las or "space directions" not in fields:
        return None
    vectors = re.findall(r"\(([^()]*)\)", fields["space directions"])
    origin = re.findall(r"\(([^()]*)\)", fields.get("space origin", "")) or ["0,0,0"]
    matrix = np.eye(4)
    try:
        # The fourth axis of a 4D file has no direction here ("none").
        for column, text in enumerate((*vectors[:3], origin[0])):
            matrix[:3, column] = [float(number) for number in text.split(",")]
    except ValueError as error:
        raise damaged_header(path) from error
    if len(vectors) != 3:
        raise damaged_header(path)
    return np.diag([1.0, -1.0, 1.0, 1.0]) @ matrix


def _nrrd_fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        if not file.readline(64).startswith(b"NRRD000"):
            raise ScanReadError(
                f"{path} is not a NRRD file, whatever its name says. "
                "Check that it was not renamed or damaged."
            )
        for _ in range(_NRRD_LINES):
            raw = file.readline(_NRRD_VALUE).rstrip(b"\r\n")
            if not raw:
                break
            _require_nrrd_line(path, raw)
            line = raw.decode("utf-8", "replace").strip()
            name, separator, value = line.partition(": ")
            if separator and not line.startswith("#"):
                fields[name.strip().lower()] = value.strip()
        else:
            raise damaged_header(path)
    return fields


def _require_nrrd_line(path: Path, raw: bytes) -> None:
    """ITK's NRRD reader (seen with SimpleITK 2.5.7) ends the process by a segmentation fault where
    it wants to complain of a line of a kilobyte. Only key/value pairs, comments and the content
    field may be long: of these it does not complain."""
    if len(raw) <= _NRRD_FIELD or raw.startswith(b"#") or raw.startswith(b"content: "):
        return
    if b":=" in raw and b": " not in raw[: raw.index(b":=")]:
        return
    raise damaged_header(path)


@dataclass(frozen=True)
class NiftiHeader:
    """What matters here of a NIfTI header: byte order, type code, bits, sizes, mm, and data start.

    ``codes``: qform_code and sform_code. ``single``: the voxels follow in the same file.
    """

    order: str
    datatype: int
    bits: int
    sizes: tuple[int, ...]
    spacing: tuple[float, ...]
    start: int
    codes: tuple[int, ...]
    single: bool

    @property
    def count(self) -> int:
        """Number of voxels."""
        return math.prod(max(size, 1) for size in self.sizes)


def check_nifti(path: Path) -> tuple[NiftiHeader, tuple[str, ...]]:
    """The header of a NIfTI-1 or NIfTI-2 file, and notes on it.

    Raises ScanReadError if the file is truncated, has a spacing of zero, or is no NIfTI.
    """
    try:
        with _open(path) as file:
            head = file.read(540)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise truncated(path) from error
    header = _nifti_header(head)
    if header is None:
        raise ScanReadError(
            f"{path} is not a NIfTI file, whatever its name says. "
            "Check that it was not renamed or damaged."
        )
    if any(not math.isfinite(value) or value == 0 for value in header.spacing):
        raise zero_spacing(path)
    needed = header.start + header.count * header.bits // 8
    if header.single and _unpacked_size(path, needed) < needed:
        raise truncated(path)
    if any(header.codes):
        return header, ()
    return header, (
        "The file does not say how the patient lies in it; its axes were taken as left, "
        "posterior, superior. Check front and back in the preview.",
    )


def not_finite(path: Path, header: NiftiHeader) -> NDArray[np.int64]:
    """Where a NIfTI of float type holds NaN or infinity: flat indices, i fastest."""
    kind = {16: "f4", 64: "f8"}.get(header.datatype)
    found: list[NDArray[np.int64]] = []
    if kind is not None and header.single:
        with _open(path) as file:
            file.read(header.start)
            done = 0
            while done < header.count:
                block = file.read(min(1 << 22, header.count - done) * int(kind[1]))
                values = np.frombuffer(block, dtype=header.order + kind)
                if values.size == 0:
                    break
                found.append(np.flatnonzero(~np.isfinite(values)) + done)
                done += values.size
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _open(path: Path) -> IO[bytes]:
    if path.name.lower().endswith(".gz"):
        return cast(IO[bytes], gzip.open(path))
    return open(path, "rb")


def _nifti_header(head: bytes) -> NiftiHeader | None:
    """Fields at the places that nifti1.h and nifti2.h give them; None if it is neither."""
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 348 else 0
        if size == 348:
            datatype, bits = struct.unpack_from(f"{order}2h", head, 70)
            dims = struct.unpack_from(f"{order}8h", head, 40)
            spacing = struct.unpack_from(f"{order}8f", head, 76)
            start = int(struct.unpack_from(f"{order}f", head, 108)[0])
            codes = struct.unpack_from(f"{order}2h", head, 252)
        elif size == 540 and len(head) == 540:
            datatype, bits = struct.unpack_from(f"{order}2h", head, 12)
            dims = struct.unpack_from(f"{order}8q", head, 16)
            spacing = struct.unpack_from(f"{order}8d", head, 104)
            start = struct.unpack_from(f"{order}q", head, 168)[0]
            codes = struct.unpack_from(f"{order}2i", head, 344)
        else:
            continue
        used = min(max(dims[0], 1), 7)
        single = size == 540 or not head[344:348].startswith(b"ni1")  # else in an .img beside it
        return NiftiHeader(
            order,
            datatype,
            bits,
            tuple(dims[1 : used + 1]),
            tuple(spacing[1 : min(used, 3) + 1]),
            start,
            codes,
            single,
        )
    return None


def _unpacked_size(path: Path, needed: int) -> int:
    if not path.name.lower().endswith(".gz"):
        return os.path.getsize(path)
    with open(path, "rb") as file:
        file.seek(-4, os.SEEK_END)
        # The last four bytes of a gzip member are its length (RFC 1952). Where they do not fit
        # (several members, more than 4 GiB, or truncated), only unpacking tells.
        if struct.unpack("<I", file.read(4))[0] == needed:
            return needed
    total = 0
    try:
        with gzip.open(path) as stream:
            while total < needed and (block := stream.read(1 << 22)):
                total += len(block)
    except (EOFError, OSError, zlib.error):
        return 0
    return total
