"""The scans in an archive: volume files, InVesalius projects, zips, and one series of every study.

Nothing of what is found here may be shown: the names of files and folders are often patients'.
"""

from __future__ import annotations

import fnmatch
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..core import Progress, ScanReadError
from ..scan.archive import looks_like_dicom
from ..scan.dicom_choice import reasons
from ..scan.dicom_header import Frame
from ..scan.dicom_series import find
from ..scan.images import image_suffix

DICOM, ZIP, PROJECT = "DICOM series", "DICOM zip", "InVesalius project"
_KINDS = {"nrrd": "NRRD", "nhdr": "NRRD", "nii": "NIfTI", "mha": "MetaImage", "mhd": "MetaImage"}
#: So many files of a zip are looked at for DICOM.
_PEEK = 50


@dataclass(frozen=True)
class Scan:
    """One scan of an archive.

    ``key``: what it is known by from run to run: its path below the archive, or the UID of its
    study. ``files``: absolute; all of one series where ``kind`` is DICOM, whose UID ``series`` is,
    else one.
    ``about``: why this series was chosen, without patient data; "" where there was no choice.
    """

    kind: str
    key: str = field(repr=False)
    files: tuple[Path, ...] = field(repr=False)
    about: str = ""
    series: str = field(default="", repr=False)


@dataclass(frozen=True)
class Archive:
    """What :func:`find_scans` found below ``root``; ``left_out``: how many files of which kind."""

    root: Path = field(repr=False)
    scans: tuple[Scan, ...]
    left_out: Counter[str]


def find_scans(
    root: Path,
    output: Path | None = None,
    exclude: Iterable[str] = (),
    progress: Progress | None = None,
) -> Archive:
    """Every scan below a folder, in a fixed order; links to folders and hidden files are passed by.

    Of each DICOM study only the series best for a head (see scan.dicom_choice.rank), wherever its
    files lie. ``output``: a folder not to look into. ``exclude``: patterns of paths below ``root``
    (fnmatch) to leave out. Reads headers only, and reports within the caller's stage.

    Raises ScanReadError if ``root`` is no folder that can be read, Cancelled.
    """
    root = root.absolute()
    if not root.is_dir():
        raise ScanReadError(
            "The archive is no folder, or does not exist. Give the folder that holds the scans; "
            "for a single scan use skinseg segment."
        )
    left_out: Counter[str] = Counter()
    single: list[Scan] = []
    others: list[Path] = []
    patterns = tuple(exclude)
    for path in _files(root, output, left_out):
        key = path.relative_to(root).as_posix()
        if any(fnmatch.fnmatch(key, pattern) for pattern in patterns):
            left_out["files excluded"] += 1
            continue
        if not os.access(path, os.R_OK):
            left_out["files that may not be read"] += 1
            continue
        kind = _kind(path)
        if kind == "":
            others.append(path)
        elif kind is None:
            left_out["segmentations and zips without DICOM"] += 1
        else:
            single.append(Scan(kind, key, (path,)))
    return Archive(root, (*single, *_studies(root, others, left_out, progress)), left_out)


def _files(root: Path, output: Path | None, left_out: Counter[str]) -> Iterator[Path]:
    """As scan.dicom_files.files_below, but what cannot be entered is counted."""
    avoid = None if output is None else output.absolute()

    def refused(error: OSError) -> None:
        if error.filename is not None and Path(error.filename) == root:
            raise ScanReadError(
                f"The archive cannot be read ({error.strerror}). Check its permissions."
            ) from error
        left_out["folders that may not be read"] += 1

    for folder, folders, names in os.walk(root, onerror=refused, followlinks=False):
        here = Path(folder)
        folders[:] = sorted(n for n in folders if not n.startswith(".") and here / n != avoid)
        for name in sorted(names):
            if not name.startswith(".") and (here / name).is_file():
                yield here / name


def _kind(path: Path) -> str | None:
    """What a file is by its name; "" if it may be DICOM, None if it is no scan."""
    name = path.name.lower()
    if name.endswith((".seg.nrrd", ".seg.nhdr")):
        return None
    suffix = image_suffix(path)
    if suffix is not None:
        return _KINDS[suffix.split(".")[1]]
    if name.endswith(".inv3"):
        return PROJECT
    if name.endswith(".zip"):
        return ZIP if _holds_dicom(path) else None
    return ""


def _holds_dicom(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            for item in members[:_PEEK]:
                with archive.open(item) as file:
                    if looks_like_dicom(file.read(264)):
                        return True
    except Exception:  # damaged or encrypted: let it fail as a case, where it is told why
        return True
    return False


def _studies(
    root: Path, files: list[Path], left_out: Counter[str], progress: Progress | None
) -> list[Scan]:
    found = find(files, progress, (0.0, 1.0))
    left_out.update({f"DICOM objects: {kind}": n for kind, n in found.others.items()})
    if found.damaged:
        left_out["damaged DICOM files"] += found.damaged
    studies: dict[str, list[list[Frame]]] = {}
    for series in found.series:  # the best first, and so in every study
        first = series[0]
        known = first.study or first.series or _below(root, first.path.parent)
        studies.setdefault(known, []).append(series)
    scans = []
    for known, every in studies.items():
        chosen = every[0]
        about = ""
        if len(every) > 1:
            about = f"the best of {len(every)} CT series of its study ({reasons(chosen)})"
        paths = tuple(dict.fromkeys(frame.path for frame in chosen))
        scans.append(Scan(DICOM, known, paths, about, chosen[0].series))
    return sorted(scans, key=lambda scan: scan.files[0])


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
