"""A CT volume from a folder or a single file of DICOM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import LPS_RAS, CTVolume, Progress, ScanReadError, header_texts_unsaid
from .dicom_choice import reasons
from .dicom_files import files_below, files_beside, files_listed
from .dicom_header import Frame, is_directory_file, read_dataset
from .dicom_pixels import interpolated, slices
from .dicom_series import Found, find
from .dicom_stack import Stack, arrange
from .grey import settle

SeriesChoice = int | str | None


@dataclass(frozen=True)
class Source:
    """A scan and the DICOM slices it was read from.

    ``volume``: the scan on its regular grid. ``headers``: pydicom datasets without pixels, one for
    each file: for single-frame files in the order of the slices, else one multi-frame file.
    ``places``: for each slice, or each frame of the multi-frame file in the file's order, the
    place along k of ``volume`` it lies at (2.25: a quarter of the way from 2 to 3); NaN for a frame
    that is not part of the scan.
    """

    volume: CTVolume
    headers: tuple[Any, ...]
    places: tuple[float, ...]


def found_below(
    folder: Path, series: SeriesChoice, progress: Progress | None, shown: Path | None = None
) -> tuple[list[Frame], Found]:
    """The best CT series for a head below a folder, or the one asked for, and all that was found.

    ``series``: a series number (int or text), "#n" for the n-th series found, or a Series
    Instance UID. ``shown``: what to call the folder in messages (the zip it came from).

    Raises ScanReadError if there is no such CT series.
    """
    name = shown or folder
    found = find(_files(folder, name), progress)
    return _chosen(found, series, name), found


def found_by_file(
    path: Path, series: SeriesChoice, progress: Progress | None
) -> tuple[list[Frame], Found]:
    """The series that one DICOM file stands for, and all that was found.

    A multi-frame file is a scan by itself, a DICOMDIR stands for the files it lists. A single-frame
    file is one slice; whoever picks it means the scan, so its whole series is taken from the files
    beside it (not from subfolders). Raises ScanReadError as :func:`found_below` does.
    """
    if is_directory_file(path):
        listed = find(files_listed(path), progress)
        return _chosen(listed, series, path), listed
    alone = find([path])
    if alone.damaged:
        raise ScanReadError(f"{path} is a damaged DICOM file. Copy or export it again.")
    if not alone.series:
        raise _no_ct(alone, path)
    own = alone.series[0][0]
    if own.index is not None:
        return _chosen(alone, series, path), alone
    beside = find(files_beside(path), progress)
    if series is not None:
        return _chosen(beside, series, path.parent), beside
    same = [frames for frames in beside.series if any(f.path == path for f in frames)]
    beside.series = [same[0] if same and own.series else alone.series[0]]
    return beside.series[0], beside


def read_found(frames: list[Frame], found: Found, progress: Progress | None = None) -> CTVolume:
    """The volume of a series among ``found``; ScanReadError or GeometryError if it is none."""
    return _volume(arrange(frames), found, progress)


def read_source(frames: list[Frame], found: Found, progress: Progress | None = None) -> Source:
    """The scan in the frames that :func:`found_below` gave, and the headers of their files."""
    stack = arrange(frames)
    volume = _volume(stack, found, progress)
    step = volume.ijk_to_ras[:3, 2] @ LPS_RAS[:3, :3]
    start = np.array(stack.frames[0].position)
    along = (np.array([frame.position for frame in stack.frames]) - start) @ step / (step @ step)
    paths = dict.fromkeys(frame.path for frame in stack.frames)
    headers = tuple(read_dataset(path, stop_before_pixels=True) for path in paths)
    if stack.frames[0].index is None:
        return Source(volume, headers, tuple(map(float, along)))
    if len(headers) > 1:
        raise ScanReadError(
            "The scan is spread over several multi-frame files. Export it as single slices."
        )
    places = [np.nan] * int(headers[0].NumberOfFrames)
    for frame, place in zip(stack.frames, along, strict=True):
        assert frame.index is not None
        places[frame.index] = float(place)
    return Source(volume, headers, tuple(places))


def _files(folder: Path, name: Path) -> list[Path]:
    files = files_below(folder)
    if not files:
        raise ScanReadError(f"{name} holds no DICOM files. Choose the folder that holds the scan.")
    return files


def _chosen(found: Found, series: SeriesChoice, name: Path) -> list[Frame]:
    if not found.series:
        raise _no_ct(found, name)
    if series is None:
        return found.series[0]
    text = str(series).strip()
    if text.startswith("#"):
        picked = text[1:]
        if picked.isdigit() and 1 <= int(picked) <= len(found.series):
            return found.series[int(picked) - 1]
        matches = []
    else:
        matches = [f for f in found.series if f[0].series == text or str(f[0].number) == text]
    if len(matches) == 1:
        return matches[0]
    offered = "; ".join(
        f"#{index}: series {frames[0].number}, {len(frames)} slices of "
        f"{frames[0].shape[1]} x {frames[0].shape[0]}"
        for index, frames in enumerate(found.series, start=1)
    )
    problem = "There is no such series" if not matches else "Several series have this number"
    raise ScanReadError(f"{problem} in {name}. Ask for one of: {offered}.")


def _no_ct(found: Found, name: Path) -> ScanReadError:
    held = ", ".join(f"{count} {kind}" for kind, count in found.others.most_common(5))
    if found.damaged:
        held = ", ".join(filter(None, [held, f"{found.damaged} damaged"]))
    reason = f" (found: {held})" if held else " (no DICOM files found)"
    return ScanReadError(f"{name} holds no CT series{reason}. Choose the folder that holds the CT.")


def _volume(stack: Stack, found: Found, progress: Progress | None) -> CTVolume:
    with header_texts_unsaid():
        voxels, declared = slices(stack, progress)
    voxels, padding, remarks = settle(voxels, declared)
    if stack.source is not None:  # after settling: padding must be known before slices are mixed
        voxels = interpolated(voxels, stack.source, padding)
    notes = list(stack.notes)
    if len(found.series) > 1:
        frames = list(stack.frames)
        notes.append(
            f"{len(found.series)} CT series were found; the one read has {len(frames)} slices "
            f"({reasons(frames)})."
        )
    if found.refused and len(found.series) > 1:
        notes.append(
            f"{found.refused} of the CT series found cannot be read; what to do about it is said "
            "by: skinseg dicom check"
        )
    if found.damaged:
        notes.append(f"{found.damaged} damaged DICOM files were left out.")
    if progress is not None:
        progress.update(1.0)
    return CTVolume(
        voxels,
        LPS_RAS @ stack.ijk_to_lps,
        padding=padding,
        modality=stack.frames[0].modality,
        notes=(*notes, *remarks),
        slice_gap_mm=stack.largest_gap_mm,
    )
