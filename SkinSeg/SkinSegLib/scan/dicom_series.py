"""The CT series in a folder of DICOM files, from their headers."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Progress, ScanReadError
from .archive import looks_like_dicom

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
#: Multi-frame kinds: Enhanced CT, Legacy Converted Enhanced CT, X-Ray 3D Angiographic and
#: Craniofacial (cone-beam).
MULTI_FRAME = (
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.13.1.1",
    "1.2.840.10008.5.1.4.1.1.13.1.2",
)
#: Image Type values of pictures made from slices: never the default while there are slices.
_PROJECTIONS = {"MIP", "MINIP", "AVERAGE", "PROJECTION IMAGE", "MAX_IP", "MIN_IP", "VOLUME"}


@dataclass(frozen=True)
class Frame:
    """One slice: where it is (LPS mm) and where its pixels are.

    ``index``: number of the frame in a multi-frame file, None for a single-frame file.
    ``row`` and ``column``: direction along which the column index i and the row index j grow.
    ``spacing``: mm along i and j. ``group``: acquisition, or stack and time, to tell repeats apart.
    """

    path: Path
    index: int | None
    series: str
    number: int | None
    instance: str
    image_type: tuple[str, ...]
    modality: str
    shape: tuple[int, int]
    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    group: tuple[str, ...]


@dataclass(frozen=True)
class SeriesInfo:
    """A CT series that can be read. ``index`` counts from 1, the default choice first.

    Ask for it with ``series=number``, ``series="#<index>"`` or ``series=uid``.
    """

    index: int
    number: int | None
    uid: str
    modality: str
    slices: int
    rows: int
    columns: int
    thickness_mm: float


@dataclass
class Found:
    """What a look at a folder's headers gave."""

    series: list[list[Frame]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    damaged: int = 0

    def infos(self) -> list[SeriesInfo]:
        """One SeriesInfo for each series, in the same order."""
        return [
            SeriesInfo(
                index=number,
                number=frames[0].number,
                uid=frames[0].series,
                modality=frames[0].modality,
                slices=len(frames),
                rows=frames[0].shape[0],
                columns=frames[0].shape[1],
                thickness_mm=frames[0].thickness,
            )
            for number, frames in enumerate(self.series, start=1)
        ]


def find(paths: Sequence[Path], progress: Progress | None = None) -> Found:
    """Sort the CT slices among DICOM files into series, the largest first.

    Localizers, secondary captures, reports, colour pictures and other modalities are left out and
    counted in ``others``. Slices of one series that differ in size or orientation are apart.
    """
    found = Found()
    frames: list[Frame] = []
    for number, path in enumerate(paths):
        if progress is not None and number % 16 == 0:
            progress.update(0.3 + 0.2 * number / len(paths))
        try:
            header = _header(path)
            if header is None:
                continue
            kind = _other_kind(header)
            if kind is not None:
                found.others[kind] += 1
                continue
            frames.extend(_frames(path, header, found.others))
        except (_DamagedHeader, AttributeError, IndexError, KeyError, TypeError, ValueError):
            # Missing or malformed elements: counted, and said in a note.
            found.damaged += 1
    found.series = sorted(_grouped(frames), key=_rank)
    return found


def files_below(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, in a fixed order; links to folders not followed."""
    result = []
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        result += [Path(root) / name for name in sorted(names) if not name.startswith(".")]
    return result


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with open(path, "rb") as file:
        return looks_like_dicom(file.read(132))


def read_dataset(path: Path, **options: Any) -> Any:
    """pydicom's dataset of a file, without warnings (which may quote what the header holds)."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open(path, "rb") as file:
            preamble = file.read(132)[128:] == b"DICM"
        return pydicom.dcmread(path, force=not preamble, **options)


def _header(path: Path) -> Any | None:
    try:
        if not path.is_file() or not is_dicom(path):
            return None
        return read_dataset(path, stop_before_pixels=True)
    except PermissionError as error:
        raise ScanReadError(
            "A file in the scan's folder may not be read. Change its permissions."
        ) from error
    except Exception as error:  # pydicom documents no closed list of what damage may raise
        raise _DamagedHeader from error


class _DamagedHeader(Exception):
    """The file starts as DICOM does and cannot be parsed."""


def _other_kind(header: Any) -> str | None:
    """What a file is if it is no CT slice; None if it may be one."""
    sop = str(header.get("SOPClassUID", ""))
    modality = str(header.get("Modality", "")).upper()
    if sop in MULTI_FRAME:
        return None
    if sop not in (CT_IMAGE, "") or modality not in ("CT", ""):
        return modality if modality not in ("", "CT") else "other objects"
    if not sop and not modality:
        return "other objects"
    if int(header.get("SamplesPerPixel", 1)) != 1:
        return "colour pictures"
    if "LOCALIZER" in _words(header.get("ImageType")):
        return "localizers"
    if "Rows" not in header or "ImagePositionPatient" not in header:
        return "pictures without a position"
    return None


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value.upper(),) if isinstance(value, str) else tuple(str(v).upper() for v in value)


def _vector(values: Any, count: int) -> tuple[float, ...]:
    result = tuple(float(value) for value in values)
    if len(result) != count or not np.isfinite(result).all():
        raise ValueError("a vector of the wrong length or with a value that is no number")
    return result


def _frames(path: Path, header: Any, others: Counter[str]) -> list[Frame]:
    if str(header.get("SOPClassUID", "")) in MULTI_FRAME:
        return _enhanced_frames(path, header, others)
    orientation = _vector(header.ImageOrientationPatient, 6)
    return [
        _frame(path, None, header, header, orientation, header, _words(header.get("ImageType")))
    ]


def _enhanced_frames(path: Path, header: Any, others: Counter[str]) -> list[Frame]:
    """The frames of a multi-frame file (DICOM PS3.3, C.7.6.16: functional groups)."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = []
    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            for holder in (own, shared):
                if holder is not None and holder.get(name):
                    return holder[name][0]
            return {}

        kind = group("CTImageFrameTypeSequence") or group("XRay3DFrameTypeSequence")
        words = _words(kind.get("FrameType")) or _words(header.get("ImageType"))
        if "LOCALIZER" in words:
            others["localizers"] += 1
            continue
        content = group("FrameContentSequence")
        position = group("PlanePositionSequence")
        orientation = _vector(group("PlaneOrientationSequence").ImageOrientationPatient, 6)
        frame = _frame(
            path,
            index,
            header,
            group("PixelMeasuresSequence"),
            orientation,
            group("PixelValueTransformationSequence"),
            words,
            position=_vector(position.ImagePositionPatient, 3),
            repeat=tuple(
                str(content.get(name, ""))
                for name in ("StackID", "TemporalPositionIndex", "FrameAcquisitionNumber")
            ),
        )
        frames.append(frame)
    return frames


def _frame(
    path: Path,
    index: int | None,
    header: Any,
    measures: Any,
    orientation: tuple[float, ...],
    rescale: Any,
    words: tuple[str, ...],
    position: tuple[float, ...] | None = None,
    repeat: tuple[str, ...] | None = None,
) -> Frame:
    x, y, z = position or _vector(header.ImagePositionPatient, 3)
    between_rows, between_columns = _vector(measures.PixelSpacing, 2)
    number = header.get("SeriesNumber")
    slope = rescale.get("RescaleSlope")
    intercept = rescale.get("RescaleIntercept")
    thickness = measures.get("SliceThickness") or header.get("SpacingBetweenSlices") or 0.0
    return Frame(
        path=path,
        index=index,
        series=str(header.get("SeriesInstanceUID", "")),
        number=None if number is None else int(number),
        instance=str(header.get("SOPInstanceUID", "")),
        image_type=words,
        modality=str(header.get("Modality", "")) or "CT",
        shape=(int(header.Rows), int(header.Columns)),
        position=(x, y, z),
        row=(orientation[0], orientation[1], orientation[2]),
        column=(orientation[3], orientation[4], orientation[5]),
        spacing=(between_columns, between_rows),
        thickness=float(thickness),
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        group=repeat or (str(header.get("AcquisitionNumber", "")),),
    )


def _grouped(frames: list[Frame]) -> list[list[Frame]]:
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in reversed(groups):
            if _belongs(frame, group[0]):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return groups


def _belongs(frame: Frame, other: Frame) -> bool:
    if frame.series != other.series or frame.shape != other.shape:
        return False
    ours, theirs = (*frame.row, *frame.column), (*other.row, *other.column)
    return np.allclose(ours, theirs, atol=0.01) and np.allclose(
        frame.spacing, other.spacing, rtol=1e-3
    )


def _rank(frames: list[Frame]) -> tuple[bool, int, int, str]:
    first = frames[0]
    voxels = len(frames) * first.shape[0] * first.shape[1]
    projection = bool(_PROJECTIONS & set(first.image_type[2:]))
    return projection, -voxels, first.number if first.number is not None else 1 << 31, first.series
