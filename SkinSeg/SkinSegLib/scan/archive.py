"""Unpacking a zip of DICOM files without trusting it."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import Progress, ScanReadError

#: More than this, unpacked, is refused.
MAX_BYTES = 8 * 1024**3
MAX_FILES = 50_000
_BLOCK = 1024 * 1024
#: What zipfile and the unpackers below it raise for an archive whose bytes were changed.
_DAMAGE = (
    *(zipfile.BadZipFile, EOFError, OSError, OverflowError, ValueError),
    *(zlib.error, lzma.LZMAError, struct.error),
)


def looks_like_dicom(head: bytes) -> bool:
    """Whether a file that starts with ``head`` (132 bytes or more) may be DICOM.

    Either the preamble with its "DICM", or, for old files without one, a first element of group
    0002 or 0008 in little endian (DICOM PS3.10, 7.1).
    """
    return head[128:132] == b"DICM" or head[:4] in (
        b"\x02\x00\x00\x00",
        b"\x08\x00\x00\x00",
        b"\x08\x00\x05\x00",
        b"\x08\x00\x08\x00",
    )


@contextmanager
def unpacked(path: Path, progress: Progress | None = None) -> Iterator[Path]:
    """A private temporary folder with the DICOM files of a zip, removed when the block ends.

    Files are given running numbers for names, so no name in the archive is ever used as a path;
    links and what is not DICOM stay out; what is written is counted, since sizes in a zip may lie.

    Raises ScanReadError for a damaged, encrypted or oversized archive.
    """
    with tempfile.TemporaryDirectory(prefix="skinseg-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _extract(archive, path, folder, progress)
        except _DAMAGE as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise ScanReadError(
                    f"{path} cannot be unpacked ({error.strerror}). "
                    "Check that it can be read and that the temporary folder has room."
                ) from error
            raise ScanReadError(
                f"{path} is a damaged zip archive. Copy or download it again."
            ) from error
        except (RuntimeError, NotImplementedError) as error:
            raise ScanReadError(
                f"{path} is encrypted or packed in a way that cannot be read. "
                "Unpack it yourself and give the folder."
            ) from error
        yield folder


def _extract(archive: zipfile.ZipFile, path: Path, folder: Path, progress: Progress | None) -> None:
    members = [item for item in archive.infolist() if _is_file(item)]
    stated = sum(item.file_size for item in members)
    free = shutil.disk_usage(folder).free
    if len(members) > MAX_FILES or stated > MAX_BYTES:
        raise _too_large(path)
    if stated > 0.9 * free:
        raise ScanReadError(
            f"{path} unpacks to {stated / 1e9:.1f} GB, more than the temporary folder has room "
            "for. Free some space, or unpack it yourself and give the folder."
        )
    written = 0
    for number, item in enumerate(members):
        if progress is not None:
            progress.update(0.3 * number / len(members))
        with archive.open(item) as source:
            block = source.read(_BLOCK)
            if not looks_like_dicom(block):
                continue
            with open(folder / f"{number:06d}.dcm", "wb") as target:
                while block:
                    written += len(block)
                    if written > MAX_BYTES:
                        raise _too_large(path)
                    target.write(block)
                    block = source.read(_BLOCK)


def _is_file(item: zipfile.ZipInfo) -> bool:
    mode = item.external_attr >> 16
    return not item.is_dir() and (stat.S_IFMT(mode) in (0, stat.S_IFREG))


def _too_large(path: Path) -> ScanReadError:
    return ScanReadError(
        f"{path} unpacks to more than {MAX_BYTES // 1024**3} GB or {MAX_FILES} files. "
        "Unpack it yourself and give the folder of the scan."
    )
