"""A CT volume from a folder, a zip or a single file of DICOM."""

from __future__ import annotations

from pathlib import Path

from ..core import LPS_RAS, CTVolume, Progress, ScanReadError
from .dicom_pixels import interpolated, slices
from .dicom_series import MULTI_FRAME, Found, Frame, SeriesInfo, files_below, find, read_dataset
from .dicom_stack import arrange
from .grey import settle

SeriesChoice = int | str | None


def read_folder(
    folder: Path,
    series: SeriesChoice = None,
    progress: Progress | None = None,
    shown: Path | None = None,
) -> CTVolume:
    """The largest CT series below a folder, or the one asked for.

    ``series``: a series number (int or text), "#n" for the n-th of :func:`series_in`, or a Series
    Instance UID. ``shown``: what to call the folder in messages (the zip it came from).

    Raises ScanReadError if there is no such CT series or it does not form one volume.
    """
    name = shown or folder
    found = find(_files(folder, name), progress)
    return _read(_chosen(found, series, name), found, progress)


def read_single(path: Path, series: SeriesChoice, progress: Progress | None) -> CTVolume:
    """What one DICOM file stands for.

    A multi-frame file is a scan by itself. A single-frame file is one slice; whoever picks it
    means the scan, so its whole series is read from the files beside it (not from subfolders).
    """
    try:
        header = read_dataset(path, stop_before_pixels=True)
        sop, uid = str(header.get("SOPClassUID", "")), str(header.get("SeriesInstanceUID", ""))
    except OSError:
        raise
    except Exception as error:  # a header may be damaged in any way
        raise ScanReadError(f"{path} is a damaged DICOM file. Copy or export it again.") from error
    alone = find([path])
    if sop in MULTI_FRAME:
        return _read(_chosen(alone, series, path), alone, progress)
    if not alone.series:
        raise _no_ct(alone, path)
    beside = find([item for item in sorted(path.parent.iterdir()) if item.is_file()], progress)
    same = [frames for frames in beside.series if any(f.path == path for f in frames)]
    if series is not None:
        return _read(_chosen(beside, series, path.parent), beside, progress)
    frames = same[0] if same and uid else alone.series[0]
    beside.series = [frames]
    return _read(frames, beside, progress)


def series_in(folder: Path, shown: Path | None = None) -> list[SeriesInfo]:
    """The CT series below a folder, the default choice first."""
    return find(_files(folder, shown or folder)).infos()


def frames_in(folder: Path, series: SeriesChoice = None, shown: Path | None = None) -> list[Frame]:
    """The slices that :func:`read_folder` makes its volume from, in no certain order.

    Raises ScanReadError as it does.
    """
    name = shown or folder
    return _chosen(find(_files(folder, name)), series, name)


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
        f"#{info.index}: series {info.number}, {info.slices} slices of {info.columns} x {info.rows}"
        for info in found.infos()
    )
    problem = "There is no such series" if not matches else "Several series have this number"
    raise ScanReadError(f"{problem} in {name}. Ask for one of: {offered}.")


def _no_ct(found: Found, name: Path) -> ScanReadError:
    held = ", ".join(f"{count} {kind}" for kind, count in found.others.most_common(5))
    if found.damaged:
        held = ", ".join(filter(None, [held, f"{found.damaged} damaged"]))
    reason = f" (found: {held})" if held else " (no DICOM files found)"
    return ScanReadError(f"{name} holds no CT series{reason}. Choose the folder that holds the CT.")


def _read(frames: list[Frame], found: Found, progress: Progress | None) -> CTVolume:
    stack = arrange(frames)
    voxels, declared = slices(stack, progress)
    voxels, padding, remarks = settle(voxels, declared)
    if stack.source is not None:  # after settling: padding must be known before slices are mixed
        voxels = interpolated(voxels, stack.source, padding)
    notes = list(stack.notes)
    if len(found.series) > 1:
        notes.append(
            f"{len(found.series)} CT series were found; the one read has {len(frames)} slices."
        )
    if found.damaged:
        notes.append(f"{found.damaged} damaged DICOM files were left out.")
    if progress is not None:
        progress.update(1.0)
    return CTVolume(
        voxels,
        LPS_RAS @ stack.ijk_to_lps,
        padding=padding,
        modality=frames[0].modality,
        notes=(*notes, *remarks),
        slice_gap_mm=stack.largest_gap_mm,
    )
