"""What can be wrong with a DICOM series, by name, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..core import ScanReadError


class IssueKind(StrEnum):
    """Kinds of issues; the value is what tables and JSON show."""

    DUPLICATE = "duplicate slices"
    MISSING = "missing slices"
    VARIABLE_SPACING = "variable spacing"
    MIXED_ORIENTATION = "mixed orientation"
    MIXED_SIZE = "mixed size"
    MIXED_KERNEL = "mixed kernel"
    PHASES = "several phases"
    ENERGIES = "several energies"
    REPEATED = "slices at the same place"
    TILT = "gantry tilt"
    DERIVED = "derived pictures"
    MULTI_FRAME = "multi-frame"
    COMPRESSED = "compressed"
    BIG_ENDIAN = "big endian"
    NON_SQUARE = "non-square pixels"
    PADDING = "padding value"
    RESCALE = "rescale per slice"
    NOT_CALIBRATED = "not calibrated HU"
    SINGLE_SLICE = "single slice"
    NOT_STRAIGHT = "slices out of line"
    GEOMETRY = "unusable geometry"


class Outcome(StrEnum):
    """What becomes of an issue, and of a series: the worst of its issues."""

    FINE = "reads"
    CORRECTED = "put right"
    REFUSED = "refused"


@dataclass(frozen=True)
class Issue:
    """One thing noticed. ``message``: what it is and what was done, or what to do next.

    Messages hold no text of the header but numbers and names from the standard.
    """

    kind: IssueKind
    outcome: Outcome
    message: str


class RefusedSeriesError(ScanReadError):
    """A series that cannot be read; ``kind`` says for which of the known reasons."""

    kind = IssueKind.GEOMETRY

    @classmethod
    def of(cls, kind: IssueKind, message: str) -> RefusedSeriesError:
        """The error with its kind; the constructor takes the message alone, as every error's."""
        error = cls(message)
        error.kind = kind
        return error


def worst(issues: Iterable[Issue]) -> Outcome:
    """The outcome of a series with these issues."""
    found = {issue.outcome for issue in issues}
    return next((o for o in (Outcome.REFUSED, Outcome.CORRECTED) if o in found), Outcome.FINE)
