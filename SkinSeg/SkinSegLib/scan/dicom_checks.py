"""What is the matter with each CT series, from headers alone: nothing here reads a pixel.

The checks take headers, or files, so that they also run on a volume that another program loaded,
if it can name the volume's files (Slicer can: see ``mrml.dicom_survey``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core import GeometryError, Progress
from .dicom_choice import Plane, distance_mm, made_from_slices, plane_of, reasons
from .dicom_header import TELLS, Frame
from .dicom_issues import Issue, IssueKind, Outcome, RefusedSeriesError, worst
from .dicom_pixels import decodable, no_decoder
from .dicom_series import Found, find
from .dicom_stack import arrange

#: Looking at headers is all there is to do: the rest of a stage, once files are at hand.
WHOLE = (0.3, 0.7)
#: Explicit VR Big Endian (retired; PS3.5 2016b, A.3).
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@dataclass(frozen=True)
class SeriesInfo:
    """A CT series. ``index`` counts from 1, the default choice first.

    Ask for it with ``series=number``, ``series="#<index>"`` or ``series=uid``. ``rows``,
    ``columns``: voxels. ``spacing_mm``: along i, j and between slices, there the median.
    ``thickness_mm``: of a slice. ``plane``: the named one it is nearest to, ``off_plane_degrees``
    the angle between them. ``kernel``, ``body_part``: "" where not stated or unfit to be shown.
    ``made_from``: "projection", "MPR" or "derived" for pictures made from slices, else "".
    ``issues``: what is the matter, ``outcome`` the worst of it.
    """

    index: int
    number: int | None
    uid: str
    modality: str
    slices: int
    rows: int
    columns: int
    thickness_mm: float
    spacing_mm: tuple[float, float, float]
    plane: Plane
    off_plane_degrees: float
    kernel: str
    body_part: str
    contrast: bool
    made_from: str
    compression: str
    issues: tuple[Issue, ...]

    @property
    def outcome(self) -> Outcome:
        """Whether the series reads as it is, is put right, or is refused."""
        return worst(self.issues)


@dataclass(frozen=True)
class OtherSeries:
    """A series that is no CT, or the part of one that is none: what it is, and how many files."""

    number: int | None
    modality: str
    kind: str
    files: int


@dataclass(frozen=True)
class Survey:
    """What a folder of DICOM holds. ``series``: the best for a head's skin first; ``reason``: why
    that one, "" without any. ``damaged``: files that cannot be understood."""

    series: tuple[SeriesInfo, ...]
    others: tuple[OtherSeries, ...]
    damaged: int
    reason: str


def check_files(paths: Sequence[Path], progress: Progress | None = None) -> Survey:
    """The series in DICOM files, each with its issues. Raises ScanReadError for files that may not
    be read; damaged ones are counted."""
    return survey_of(find(paths, progress, WHOLE))


def survey_of(found: Found) -> Survey:
    """The series that were found, each with its issues."""
    infos = series_infos(found)
    counts: dict[tuple[str, str], list[int]] = {}
    for number, other in enumerate(found.left_out):
        counts.setdefault((other.series, other.kind), []).append(number)
    others = tuple(
        OtherSeries(
            found.left_out[numbers[0]].number,
            found.left_out[numbers[0]].modality,
            kind,
            len(numbers),
        )
        for (_, kind), numbers in counts.items()
    )
    reason = reasons(found.series[0]) if found.series else ""
    return Survey(tuple(infos), others, found.damaged, reason)


def series_infos(found: Found) -> list[SeriesInfo]:
    """One SeriesInfo for each series, in the same order."""
    of_series: dict[str, list[list[Frame]]] = {}
    for frames in found.series:
        of_series.setdefault(frames[0].series, []).append(frames)
    return [
        _info(
            number, frames, [other for other in of_series[frames[0].series] if other is not frames]
        )
        for number, frames in enumerate(found.series, start=1)
    ]


def check_frames(frames: list[Frame], beside: Sequence[list[Frame]] = ()) -> tuple[Issue, ...]:
    """What is the matter with the slices of one series, the worst first.

    ``beside``: the slices of the same series that differ in size, orientation or spacing and were
    put apart.
    """
    used, issues = frames, []
    try:
        stack = arrange(frames)
        used, issues = list(stack.frames), list(stack.issues)
    except (RefusedSeriesError, GeometryError) as error:
        kind = getattr(error, "kind", IssueKind.GEOMETRY)
        issues.append(Issue(kind, Outcome.REFUSED, str(error)))
    issues += [*_apart(frames, beside), *_header_issues(used)]
    order = (Outcome.REFUSED, Outcome.CORRECTED, Outcome.FINE)
    return tuple(sorted(issues, key=lambda issue: order.index(issue.outcome)))


def _info(number: int, frames: list[Frame], beside: list[list[Frame]]) -> SeriesInfo:
    first = frames[0]
    plane, off = plane_of(first)
    return SeriesInfo(
        index=number,
        number=first.number,
        uid=first.series,
        modality=first.modality,
        slices=len(frames),
        rows=first.shape[0],
        columns=first.shape[1],
        thickness_mm=first.thickness,
        spacing_mm=(*first.spacing, distance_mm(frames)),
        plane=plane,
        off_plane_degrees=off,
        kernel=first.details.kernel,
        body_part=first.details.body_part,
        contrast=first.details.contrast,
        made_from=made_from_slices(first) or "",
        compression=_compression(first.details.syntax),
        issues=check_frames(frames, beside),
    )


def _apart(frames: list[Frame], beside: Sequence[list[Frame]]) -> list[Issue]:
    """Slices of the same series that could not belong to the same stack."""
    first, issues = frames[0], []
    for other in beside:
        theirs = other[0]
        if theirs.shape != first.shape or not np.allclose(theirs.spacing, first.spacing, rtol=1e-3):
            kind, what = IssueKind.MIXED_SIZE, "have another size or spacing"
        else:
            kind, what = IssueKind.MIXED_ORIENTATION, "have another orientation"
        text = f"{len(other)} slices of the series {what}; they are a series of their own here."
        issues.append(Issue(kind, Outcome.CORRECTED, text))
    return issues


def _header_issues(frames: list[Frame]) -> list[Issue]:
    first = frames[0]
    rescales = {(frame.slope, frame.intercept) for frame in frames}
    kernels = {frame.details.tells[TELLS.index("kernel")] for frame in frames}
    syntax = first.details.syntax
    compression = _compression(syntax)
    made = made_from_slices(first)
    fine = Outcome.FINE
    issues = []
    if made is not None:
        text = f"The slices are no original ones ({made}); the surface may be less exact."
        issues.append(Issue(IssueKind.DERIVED, fine, text))
    if first.index is not None:
        issues.append(Issue(IssueKind.MULTI_FRAME, fine, "All slices are in multi-frame files."))
    if len(kernels) > 1:
        text = f"The slices were made with {len(kernels)} kernels; their noise and edges differ."
        issues.append(Issue(IssueKind.MIXED_KERNEL, fine, text))
    if not np.isclose(*first.spacing, rtol=1e-3):
        text = "Pixels are {:.3f} mm wide and {:.3f} mm high.".format(*first.spacing)
        issues.append(Issue(IssueKind.NON_SQUARE, fine, text))
    if any(frame.details.padding for frame in frames):
        text = "A padding value is declared; such voxels count as not measured."
        issues.append(Issue(IssueKind.PADDING, fine, text))
    if len(rescales) > 1:
        text = f"Rescale slope and intercept have {len(rescales)} values; each slice uses its own."
        issues.append(Issue(IssueKind.RESCALE, fine, text))
    if not first.details.calibrated:
        text = "Grey values are not said to be HU; the level of the skin is found from the scan."
        issues.append(Issue(IssueKind.NOT_CALIBRATED, fine, text))
    if syntax == _BIG_ENDIAN:
        issues.append(Issue(IssueKind.BIG_ENDIAN, fine, "Numbers are stored big end first."))
    if compression:
        issues.append(_compressed(frames, compression))
    return issues


def _compressed(frames: list[Frame], name: str) -> Issue:
    if decodable(frames[0]):
        return Issue(IssueKind.COMPRESSED, Outcome.FINE, f"The pixels are compressed: {name}.")
    return Issue(IssueKind.COMPRESSED, Outcome.REFUSED, no_decoder(name))


def _compression(syntax: str) -> str:
    """The standard's name of a compressed transfer syntax (PS3.6, A); "" if it is none."""
    from pydicom.uid import UID

    uid = UID(syntax)
    try:
        return str(uid.name) if uid.is_compressed else ""
    except ValueError:  # no transfer syntax that pydicom knows
        return ""
