"""The series of one orientation, listed or copied."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..core import OutputError, Progress, replacing_together
from .dicom_checks import WHOLE, SeriesInfo, series_infos
from .dicom_choice import Plane, plane_of
from .dicom_header import Frame
from .dicom_series import find
from .reader import opened

#: Gantries tilt by up to 30 degrees, and such a scan is still called axial.
DEFAULT_TOLERANCE_DEGREES = 30.0


@dataclass(frozen=True)
class Filtered:
    """``series``: those that match, numbered as in the whole list. ``files``: theirs, or, where
    they were copied, the copies."""

    series: tuple[SeriesInfo, ...]
    files: tuple[Path, ...]


def filter_by_plane(
    path: str | os.PathLike[str],
    plane: Plane,
    tolerance_degrees: float = DEFAULT_TOLERANCE_DEGREES,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Filtered:
    """The CT series in a DICOM folder, zip or DICOMDIR that lie in a plane of the patient.

    By Image Orientation (Patient) (PS3.3, C.7.6.2.1.1): normal and axis are at most
    ``tolerance_degrees`` apart. ``folder``: where to copy each series' files to, unchanged, as
    ``series-<number in the list>/000001.dcm`` and so on in the order found: no name that stands in
    the source is used. Every copy takes its name at the end, or none does.

    Raises OutputError if the folder is not empty or lies in the source, ScanReadError, Cancelled.
    """
    source = Path(path)
    if folder is not None:
        _require_apart(source, folder)
    with opened(source, progress) as files:
        found = find(files, progress, WHOLE if folder is None else (0.3, 0.2))
        chosen = [
            (info, frames)
            for info, frames in zip(series_infos(found), found.series, strict=True)
            if _matches(frames[0], plane, tolerance_degrees)
        ]
        groups = {info.index: _paths(frames) for info, frames in chosen}
        if folder is not None:
            groups = _copied(groups, folder, progress)
        every = tuple(item for group in groups.values() for item in group)
    return Filtered(tuple(info for info, _ in chosen), every)


def _matches(frame: Frame, plane: Plane, tolerance_degrees: float) -> bool:
    nearest, off = plane_of(frame)
    return nearest == plane and off <= tolerance_degrees + 1e-6


def _paths(frames: list[Frame]) -> list[Path]:
    return list(dict.fromkeys(frame.path for frame in frames))


def _require_apart(source: Path, folder: Path) -> None:
    if source.is_dir() and folder.resolve().is_relative_to(source.resolve()):
        raise OutputError(
            "The output folder lies in the scan's own, where copies would be found as slices that "
            "are there twice. Choose a folder elsewhere."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError("The output folder is not empty. Choose a new or an empty folder.")


def _copied(
    groups: dict[int, list[Path]], folder: Path, progress: Progress | None
) -> dict[int, list[Path]]:
    made: list[Path] = []
    total, done = sum(map(len, groups.values())), 0
    copies: dict[int, list[Path]] = {}
    try:
        with replacing_together() as files:
            for index, paths in groups.items():
                place = folder / f"series-{index}"
                place.mkdir()
                made.append(place)
                copies[index] = []
                for number, path in enumerate(paths, start=1):
                    target = place / f"{number:06d}.dcm"
                    with files.add(target) as temporary:
                        shutil.copyfile(path, temporary)
                    copies[index].append(target)
                    done += 1
                    if progress is not None:
                        progress.update(0.5 + 0.5 * done / total)
            if progress is not None:
                progress.finish()
    except OSError as error:
        _remove(made)
        raise OutputError(
            f"The copies cannot be written ({error.strerror or 'output error'}). "
            "Check the output folder's permissions and room."
        ) from error
    except BaseException:
        _remove(made)
        raise
    return copies


def _remove(folders: list[Path]) -> None:
    """Folders that a copy left empty, since its files are gone by now."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
