"""What ITK lets pass in NRRD and NIfTI headers, and what a user should know about them.

ITK reads a truncated NIfTI as zeros, a spacing of zero or NaN as 1 mm and a header without an
orientation as LPS, all without an error (seen with SimpleITK 2.5); so the headers are looked at
here before ITK reads the voxels.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

from ..core import ScanReadError

_NRRD_PATIENT_SPACES = {
    "ras": True,
    "right-anterior-superior": True,
    "las": True,
    "left-anterior-superior": True,
    "lps": True,
    "left-posterior-superior": True,
}


def truncated(path: Path) -> ScanReadError:
    """The error for a file that ends before its voxels do."""
    return ScanReadError(
        f"{path} is truncated: it holds fewer voxels than its header says. "
        "Copy or download it again."
    )


def zero_spacing(path: Path) -> ScanReadError:
    """The error for a voxel size that is zero or not a number."""
    return ScanReadError(
        f"{path} has a voxel spacing of zero or no number. Correct the spacing in the source, "
        "or export the scan again."
    )


def check_nrrd(path: Path) -> tuple[str, ...]:
    """Notes on a NRRD header.

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
    return tuple(notes)


def _nrrd_fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        if not file.readline(64).startswith(b"NRRD000"):
            raise ScanReadError(
                f"{path} is not a NRRD file, whatever its name says. "
                "Check that it was not renamed or damaged."
            )
        for _ in range(1000):
            line = file.readline(65536).decode("utf-8", "replace").strip()
            if not line:
                break
            name, separator, value = line.partition(": ")
            if separator and not line.startswith("#"):
                fields[name.strip().lower()] = value.strip()
    return fields


def check_nifti(path: Path) -> tuple[str, ...]:
    """Notes on a NIfTI-1 or NIfTI-2 header.

    Raises ScanReadError if the file is truncated, has a spacing of zero, or is no NIfTI.
    """
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(540)
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise truncated(path) from error
    for order in "<>":
        size = struct.unpack_from(f"{order}i", head)[0] if len(head) >= 348 else 0
        if size == 348:
            dims = struct.unpack_from(f"{order}8h", head, 40)
            bits = struct.unpack_from(f"{order}h", head, 72)[0]
            spacing = struct.unpack_from(f"{order}8f", head, 76)
            start = int(struct.unpack_from(f"{order}f", head, 108)[0])
            codes = struct.unpack_from(f"{order}2h", head, 252)
            break
        if size == 540 and len(head) == 540:
            bits = struct.unpack_from(f"{order}h", head, 14)[0]
            dims = struct.unpack_from(f"{order}8q", head, 16)
            spacing = struct.unpack_from(f"{order}8d", head, 104)
            start = struct.unpack_from(f"{order}q", head, 168)[0]
            codes = struct.unpack_from(f"{order}2i", head, 344)
            break
    else:
        raise ScanReadError(
            f"{path} is not a NIfTI file, whatever its name says. "
            "Check that it was not renamed or damaged."
        )
    used = min(max(dims[0], 1), 7)
    if any(not math.isfinite(value) or value == 0 for value in spacing[1 : min(used, 3) + 1]):
        raise zero_spacing(path)
    needed = math.prod(max(size, 1) for size in dims[1 : used + 1]) * bits // 8
    single = not head[344:348].startswith(b"ni1")  # "ni1": voxels in an .img file beside it
    if single and _unpacked_size(path, packed, start + needed) < start + needed:
        raise truncated(path)
    if not any(codes):
        return (
            "The file does not say how the patient lies in it; its axes were taken as left, "
            "posterior, superior. Check front and back in the preview.",
        )
    return ()


def _unpacked_size(path: Path, packed: bool, needed: int) -> int:
    if not packed:
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
