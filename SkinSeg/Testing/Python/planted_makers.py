"""A scan full of planted names, and looking for them in all that a program leaves behind."""

from __future__ import annotations

import copy
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from case_makers import made_case
from numpy.typing import NDArray
from privacy_makers import WORD, encodings_of, plant
from scan_makers import Grid, dicom_slice, save
from SkinSegLib.core import LPS_RAS
from SkinSegLib.training.dataset.files import write_nifti

#: Names of the folder and of files; in no other path.
FOLDER, PREFIX = f"{WORD.title()}_Patricia_1957", f"{WORD}_Anna"
#: Of privacy_makers.planted_value: names, the date of birth and of all else, and UIDs.
SOUGHT = (WORD, WORD.lower(), WORD.title(), "Anna", "19570311", "1957-03-11", "1.2.826.99.")
_PLACED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness")


def planted_scan(place: Path, spacing_mm: float = 6.0) -> tuple[Path, Path]:
    """A made head as DICOM in a folder named after its patient, and its label beside that folder.

    The first slice has something in every attribute of the standard's table, the others in all that
    are no sequences: those take seconds to write.
    """
    volume, mask = made_case(1, spacing_mm)
    lps = LPS_RAS @ volume.ijk_to_ras
    # Every other slice: what takes the time is their headers.
    grid = Grid(
        lps[:3, :3] / spacing_mm, (spacing_mm, spacing_mm, 2 * spacing_mm), tuple(lps[:3, 3])
    )
    thinner = volume.ijk_to_ras @ np.diag([1.0, 1, 2, 1])
    master = _planted(volume.voxels[0], grid)
    folder = place / FOLDER
    folder.mkdir(parents=True)
    plain = copy.deepcopy(master)
    for element in list(plain):
        if element.VR == "SQ":
            del plain[element.tag]
    for k, pixels in enumerate(volume.voxels[::2]):
        data = copy.deepcopy(plain if k else master)
        data.ImagePositionPatient = [f"{value:.8g}" for value in grid.lps((0, 0, k))]
        data.InstanceNumber = k + 1
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.99.3.{k + 1}"
        data.PixelData = np.ascontiguousarray(pixels).tobytes()
        save(data, folder / f"{PREFIX}_{k:04d}.dcm")
    label = place / f"{FOLDER}_label.nii.gz"
    write_nifti(mask[::2], thinner, label)
    return folder, label


def _planted(pixels: NDArray[np.int16], grid: Grid):
    data = dicom_slice(pixels, grid.origin, grid.axes, grid.spacing)
    kept = {name: copy.deepcopy(data[name]) for name in _PLACED}
    plant(data)
    for element in kept.values():
        data[element.tag] = element
    data.BodyPartExamined, data.SeriesNumber = "HEAD", 4
    return data


def found_in(content: bytes, sought: Iterable[str] = SOUGHT) -> set[str]:
    """Which of the words are in some bytes, in the encodings that files use, also packed."""
    parts = [content, *_unpacked(content)]
    return {
        word
        for word in sought
        for code in encodings_of(word, "utf-32-le")
        if any(code in p for p in parts)
    }


def _unpacked(content: bytes, depth: int = 0) -> list[bytes]:
    """What gzip, zip and NRRD have packed, and the text of PNG."""
    found: list[bytes] = []
    if depth < 3:
        body = content
        if content.startswith(b"NRRD"):
            body = content.partition(b"\n\n")[2]
        if body[:2] == b"\x1f\x8b":
            found.append(gzip.decompress(body))
        elif body[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                found += [item.filename.encode() for item in archive.infolist()]
                found += [archive.read(item) for item in archive.infolist()]
        elif body.startswith(b"\x89PNG"):
            for chunk in re.finditer(b"zTXt|iTXt", body):
                found += [_inflated(body[chunk.end() + skip :]) for skip in range(2, 90)]
        for part in list(found):
            found += _unpacked(part, depth + 1)
    return found


def _inflated(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed)
    except zlib.error:
        return b""


def found_below(folder: Path, sought: Iterable[str] = SOUGHT) -> dict[str, set[str]]:
    """Names and contents of everything below a folder in which a word was found."""
    told = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        words = found_in(name.encode("utf-8", "surrogateescape"), sought)
        if path.is_file() and not path.is_symlink():
            words |= found_in(path.read_bytes(), sought)
        if words:
            told[name] = words
    return told
