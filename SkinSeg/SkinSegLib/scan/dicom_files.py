"""Where DICOM files are: in a folder, beside a file, or in what a DICOMDIR lists."""

from __future__ import annotations

import os
from pathlib import Path

from ..core import ScanReadError, header_texts_unsaid
from .archive import MAX_FILES
from .dicom_header import (
    MULTI_FRAME,
    DamagedHeaderError,
    is_directory_file,
    read_dataset,
    read_header,
)


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, in a fixed order; links to folders not followed.

    Without what is no file: a pipe would be waited for without end.
    """
    result = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        paths = (Path(root) / name for name in sorted(names) if not name.startswith("."))
        result += [path for path in paths if path.is_file()]
    return result


def files_meant(path: Path) -> list[Path]:
    """What a DICOM file stands for, as the reader takes it.

    A DICOMDIR: the files it lists; a multi-frame file: itself; a slice: all files beside it too.
    Raises ScanReadError for a DICOMDIR that lists nothing that is there.
    """
    if is_directory_file(path):
        return files_listed(path)
    try:
        header = read_header(path)
        with header_texts_unsaid():
            multi_frame = header is not None and str(header.get("SOPClassUID", "")) in MULTI_FRAME
    except DamagedHeaderError:
        return [path]
    return [path] if multi_frame else files_beside(path)


def files_beside(path: Path) -> list[Path]:
    """All files in the folder of a file, itself included."""
    return [item for item in sorted(path.parent.iterdir()) if item.is_file()]


def files_listed(path: Path) -> list[Path]:
    """The files that a DICOMDIR lists and that are there (PS3.3, F.3.2.2: Referenced File ID).

    Names that lead out of the DICOMDIR's folder, by ".." or by a link, are not followed. Discs are
    often copied in lower case, so names are tried as they are and in lower case.

    Raises ScanReadError if it cannot be parsed or none of its files is there.
    """
    try:
        with header_texts_unsaid():
            names = [
                [str(part) for part in _parts(record)]
                for record in read_dataset(path).DirectoryRecordSequence
                if record.get("ReferencedFileID")
            ][:MAX_FILES]
    except OSError:
        raise
    except Exception as error:  # a directory may be damaged in any way
        raise ScanReadError(
            f"{path} is a damaged DICOMDIR. Give the folder that it is in instead."
        ) from error
    root = path.parent.resolve()
    found = []
    for parts in names:
        for candidate in (root.joinpath(*parts), root.joinpath(*(p.lower() for p in parts))):
            if candidate.is_file() and candidate.resolve().is_relative_to(root):
                found.append(candidate)
                break
    if not found:
        raise ScanReadError(
            f"{path} lists {len(names)} files and none of them is there. "
            "Copy the whole disc, or give the folder that holds the scan."
        )
    return list(dict.fromkeys(found))


def _parts(record: object) -> list[str]:
    value = record.ReferencedFileID  # type: ignore[attr-defined]
    return [value] if isinstance(value, str) else list(value)
