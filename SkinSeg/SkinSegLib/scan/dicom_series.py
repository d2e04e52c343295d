"""The series in a folder of DICOM files, from their headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core import Progress
from .dicom_choice import rank
from .dicom_header import DamagedHeaderError, Frame, Other, described, read_header
from .dicom_stack import arranges


@dataclass
class Found:
    """What a look at a folder's headers gave.

    ``series``: the frames of each CT series, the default choice first; the last ``refused`` of them
    form no stack. ``left_out``: all other objects. ``damaged``: number of files that start as DICOM
    does and cannot be understood.
    """

    series: list[list[Frame]] = field(default_factory=list)
    left_out: list[Other] = field(default_factory=list)
    damaged: int = 0
    refused: int = 0

    @property
    def others(self) -> Counter[str]:
        """How many of each kind were left out."""
        return Counter(other.kind for other in self.left_out)


def find(
    paths: Sequence[Path],
    progress: Progress | None = None,
    part: tuple[float, float] = (0.3, 0.2),
) -> Found:
    """Sort the CT slices among DICOM files into series, the best one for a head first.

    Localizers, secondary captures, reports, dose sheets, colour pictures and other modalities are
    left out and counted. Slices of one series that differ in size or orientation are apart. Series
    that form no stack come last. Reads no pixels. ``part``: start and share (0..1) of the caller's
    stage that this is.
    """
    start, share = part
    found = Found()
    frames: list[Frame] = []
    for number, path in enumerate(paths):
        if progress is not None and number % 16 == 0:
            progress.update(start + share * number / len(paths))
        try:
            header = read_header(path)
            if header is None:
                continue
            slices, others = described(path, header)
        except DamagedHeaderError:
            found.damaged += 1  # said in a note
            continue
        frames += slices
        found.left_out += others
    groups = [(not arranges(group), group) for group in _grouped(frames)]
    found.refused = sum(refused for refused, _ in groups)
    found.series = [group for _, group in sorted(groups, key=lambda g: (g[0], *rank(g[1])))]
    return found


def _grouped(frames: list[Frame]) -> list[list[Frame]]:
    groups: dict[str, list[list[Frame]]] = {}
    for frame in frames:
        of_series = groups.setdefault(frame.series, [])
        for group in reversed(of_series):
            if _belongs(frame, group[0]):
                group.append(frame)
                break
        else:
            of_series.append([frame])
    return [group for of_series in groups.values() for group in of_series]


def _belongs(frame: Frame, other: Frame) -> bool:
    if frame.shape != other.shape:
        return False
    ours = np.array((*frame.row, *frame.column))
    if np.abs(ours - (*other.row, *other.column)).max() > 0.01:
        return False
    return bool(np.allclose(frame.spacing, other.spacing, rtol=1e-3))
