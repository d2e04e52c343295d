"""Where slices lie in space, and the regular grid they make."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..core import GeometryError
from .dicom_header import TELLS, Frame
from .dicom_issues import Issue, IssueKind, Outcome, RefusedSeriesError

#: Positions are often rounded to 0.1 mm in the header: less than this is no irregularity.
TOLERANCE_MM = 0.1
#: Slices that stand aside from the line through the first and the last by more are refused.
MAX_ASIDE_MM = 1.0
#: A gap that could hide a nose or an ear is not bridged.
MAX_GAP_MM = 20.0
#: Tilt below this comes from rounding in the header.
MIN_TILT_DEGREES = 0.25
#: What tells repeats apart must leave so much of the places covered, or it tells slices apart.
_ENOUGH_PLACES = 0.7
#: What each of TELLS makes of a series in which it differs between slices at one place.
_KINDS = {
    "kernel": IssueKind.MIXED_KERNEL,
    "energy": IssueKind.ENERGIES,
    "phase": IssueKind.PHASES,
    "acquisition": IssueKind.PHASES,
}


@dataclass(frozen=True)
class Stack:
    """Slices in order along the normal, and the grid to put them on.

    ``frames``: n slices. ``ijk_to_lps``: 4x4, mm. ``source``: for each slice of the grid the place
    between the frames it comes from (2.25 = a quarter of the way from frame 2 to 3); None where the
    grid is the frames themselves. ``largest_gap_mm``: between measured slices, where the grid is
    finer than they are. ``issues``: what was noticed, and put right.
    """

    frames: tuple[Frame, ...]
    ijk_to_lps: NDArray[np.float64]
    source: NDArray[np.float64] | None
    largest_gap_mm: float | None
    issues: tuple[Issue, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """The messages of all issues."""
        return tuple(issue.message for issue in self.issues)


def arrange(frames: list[Frame]) -> Stack:
    """Order slices by their position along the slice normal and fit a regular grid.

    Neither file names nor instance numbers are used. Gantry tilt is kept exactly: the third axis is
    the step between slices, which need not be the normal. Uneven gaps get a regular grid along the
    same line, to be filled by linear interpolation between whole slices.

    Raises RefusedSeriesError for slices that do not form one stack (repeated positions of different
    images, a wide gap, a bent line), GeometryError for unusable axes or spacing.
    """
    first = frames[0]
    row, column = _unit(first.row), _unit(first.column)
    if abs(float(row @ column)) > 0.01:
        raise GeometryError(
            "The rows and columns of the slices are not at right angles. "
            "Export the series again from its source."
        )
    if min(first.spacing) <= 0:
        raise GeometryError(
            "The pixel spacing of the series is zero. Export the series again from its source."
        )
    normal = np.cross(row, column)
    notes: list[Issue] = []
    frames = _without_repeats(frames, normal, notes)
    positions = np.array([frame.position for frame in frames])
    depth = positions @ normal
    order = np.argsort(depth, kind="stable")
    positions, depth = positions[order], depth[order]
    source, largest = None, None
    if len(frames) == 1:
        thickness = frames[0].thickness or 1.0
        step = normal * thickness
        notes.append(
            Issue(
                IssueKind.SINGLE_SLICE,
                Outcome.CORRECTED,
                f"The scan is a single slice; {thickness:g} mm was taken as its thickness.",
            )
        )
    else:
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
        _require_straight(positions, depth)
        gaps = np.diff(depth)
        even = np.linspace(depth[0], depth[-1], len(depth))
        if np.abs(depth - even).max() > min(TOLERANCE_MM, 0.2 * float(gaps.min())):
            source = _regular_places(depth, notes)
            step = (positions[-1] - positions[0]) / (depth[-1] - depth[0])
            step = step * _pitch(gaps)
            largest = float(gaps.max())
        _note_tilt(step, normal, notes)
    matrix = np.eye(4)
    matrix[:3, 0] = row * first.spacing[0]
    matrix[:3, 1] = column * first.spacing[1]
    matrix[:3, 2] = step
    matrix[:3, 3] = positions[0]
    ordered = tuple(frames[number] for number in order)
    return Stack(ordered, matrix, source, largest, tuple(notes))


def arranges(frames: list[Frame]) -> bool:
    """Whether :func:`arrange` makes a stack of them."""
    try:
        arrange(frames)
    except (RefusedSeriesError, GeometryError):
        return False
    return True


def _unit(vector: tuple[float, float, float]) -> NDArray[np.float64]:
    array = np.array(vector)
    length = float(np.linalg.norm(array))
    if not 0.9 < length < 1.1:
        raise GeometryError(
            "The series states no usable slice orientation. Export it again from its source."
        )
    return array / length


def _without_repeats(
    frames: list[Frame], normal: NDArray[np.float64], notes: list[Issue]
) -> list[Frame]:
    unique: dict[tuple[str, int | None], Frame] = {}
    for frame in frames:
        # Files without an instance UID cannot be recognised as copies of each other.
        unique.setdefault((frame.instance or str(frame.path), frame.index), frame)
    copies = len(frames) - len(unique)
    if copies:
        text = f"{copies} slices are there twice; each was read once."
        notes.append(Issue(IssueKind.DUPLICATE, Outcome.CORRECTED, text))
    kept = list(unique.values())
    repeats = _repeated(kept, normal)
    if not repeats:
        return kept
    places = len(kept) - repeats
    for names in (n for count in range(1, len(TELLS) + 1) for n in combinations(TELLS, count)):
        chosen = _largest_part(kept, names)
        if len(chosen) < _ENOUGH_PLACES * places or _repeated(chosen, normal):
            continue
        text = (
            f"The series holds several acquisitions of the same place, told apart by their "
            f"{' and '.join(names)}; the largest ({len(chosen)} slices) was read."
        )
        kind = next((_KINDS[name] for name in names if name in _KINDS), IssueKind.REPEATED)
        notes.append(Issue(kind, Outcome.CORRECTED, text))
        return chosen
    raise RefusedSeriesError.of(
        IssueKind.REPEATED,
        f"{repeats} slices of the series lie where another one lies (several phases, or "
        "several reconstructions under one series). Choose another series, or export one "
        "phase as a series of its own.",
    )


def _largest_part(frames: list[Frame], names: tuple[str, ...]) -> list[Frame]:
    """The largest set of frames that agree in these of TELLS; of equals the first."""
    where = [TELLS.index(name) for name in names]
    keys = [tuple(frame.details.tells[index] for index in where) for frame in frames]
    largest = Counter(keys).most_common(1)[0][0]
    return [frame for frame, key in zip(frames, keys, strict=True) if key == largest]


def _repeated(frames: list[Frame], normal: NDArray[np.float64]) -> int:
    depth = np.sort(np.array([frame.position for frame in frames]) @ normal)
    return int(np.count_nonzero(np.diff(depth) < 1e-3))


def _require_straight(positions: NDArray[np.float64], depth: NDArray[np.float64]) -> None:
    share = (depth - depth[0]) / (depth[-1] - depth[0])
    line = positions[0] + share[:, None] * (positions[-1] - positions[0])
    aside = float(np.linalg.norm(positions - line, axis=1).max())
    if aside > MAX_ASIDE_MM:
        raise RefusedSeriesError.of(
            IssueKind.NOT_STRAIGHT,
            f"The slices are not stacked along a straight line (up to {aside:.1f} mm aside). "
            "Reformat the series on the workstation, or choose another one.",
        )


def _pitch(gaps: NDArray[np.float64]) -> float:
    """Slice distance in mm of a regular grid for slices with these gaps.

    The largest part (1, 1/2, 1/3 or 1/4) of the smallest usual gap that meets every slice, so that
    the measured slices stay as they are; where none does, half of that gap. A gap is usual if it
    is at least a third of the median: one pair of almost coinciding slices must not make the grid
    needlessly fine.
    """
    usual = float(gaps[gaps >= np.median(gaps) / 3].min())
    places = np.concatenate([[0.0], np.cumsum(gaps)])
    for parts in (1, 2, 3, 4):
        pitch = usual / parts
        if np.abs(places / pitch - np.rint(places / pitch)).max() * pitch <= TOLERANCE_MM / 2:
            # The exact pitch for which the last slice is met too: rounding must not add up.
            return float(places[-1] / round(places[-1] / pitch))
    return usual / 2


def _regular_places(depth: NDArray[np.float64], notes: list[Issue]) -> NDArray[np.float64]:
    gaps = np.diff(depth)
    if gaps.max() > MAX_GAP_MM:
        raise RefusedSeriesError.of(
            IssueKind.MISSING,
            f"Slices are missing: there is a gap of {gaps.max():.0f} mm in the series. "
            "Export the whole series again, or choose another one.",
        )
    pitch = _pitch(gaps)
    count = int(np.floor((depth[-1] - depth[0]) / pitch + 0.02)) + 1
    places = np.interp(depth[0] + pitch * np.arange(count), depth, np.arange(len(depth)))
    near = np.rint(places)
    places = np.where(np.abs(places - near) * pitch < TOLERANCE_MM / 2, near, places)
    text = (
        f"The distance between slices varies from {gaps.min():.2f} to {gaps.max():.2f} mm; "
        f"{len(depth)} slices were interpolated linearly to {count} at {pitch:.2f} mm."
    )
    missing = _missing(gaps)
    if missing:
        text = f"{missing} slices are missing. {text}"
    kind = IssueKind.MISSING if missing else IssueKind.VARIABLE_SPACING
    notes.append(Issue(kind, Outcome.CORRECTED, text))
    return np.asarray(places, dtype=np.float64)


def _missing(gaps: NDArray[np.float64]) -> int:
    """How many slices a stack lacks that is even but for gaps of whole slices; 0 if it is not."""
    usual = float(np.median(gaps))
    steps = np.rint(gaps / usual)
    lacking = int((steps - 1).sum())
    if steps.min() < 1 or np.abs(gaps - steps * usual).max() > TOLERANCE_MM:
        return 0
    # Where every third gap is wide, the scan was made that way.
    return lacking if np.count_nonzero(steps > 1) <= len(gaps) / 4 else 0


def _note_tilt(step: NDArray[np.float64], normal: NDArray[np.float64], notes: list[Issue]) -> None:
    cosine = float(step @ normal) / float(np.linalg.norm(step))
    tilt = float(np.degrees(np.arccos(min(1.0, cosine))))
    if tilt > MIN_TILT_DEGREES:
        text = (
            f"The slices are tilted by {tilt:.1f} degrees (gantry tilt). The shear is part of the "
            "geometry; the voxels were not resampled for it."
        )
        notes.append(Issue(IssueKind.TILT, Outcome.CORRECTED, text))
