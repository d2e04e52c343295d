"""A picture of where labels of one scan differ."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, GeometryError, bounding_box

from ..pictures import slice_sheet
from .fuse import disputed, require_comparable

_SLICES, _MARGIN = 12, 8


def draw_differences(
    volume: CTVolume, labels: Mapping[str, NDArray[Any]], path: str | os.PathLike[str]
) -> None:
    """Draw slices (k) of a scan with each author's outline, and what they differ in, to a PNG.

    Of the slices with differences, cut into 12 runs, the one of each run that has most. The picture
    shows the patient's face. Raises GeometryError or LabelError for labels that cannot be compared,
    OutputError for an unwritable place.
    """
    require_comparable(labels)
    differs = disputed(labels)
    if differs.shape != volume.voxels.shape:
        raise GeometryError("The labels are not on the grid of the scan. Give their own scan.")
    box = bounding_box(np.logical_or.reduce([mask != 0 for mask in labels.values()]), _MARGIN)
    assert box is not None
    slice_sheet(
        volume,
        labels,
        Path(path),
        slices=chosen_slices(differs),
        box=[(axis.start, axis.stop - 1) for axis in box],
        shade=differs,
        legend=True,
    )


def chosen_slices(differs: NDArray[np.bool_]) -> list[int] | None:
    """The slices to show; None if nothing differs."""
    count = np.count_nonzero(differs, axis=(1, 2))
    where = np.flatnonzero(count)
    if not len(where):
        return None
    runs = [run for run in np.array_split(where, _SLICES) if len(run)]
    return [int(run[np.argmax(count[run])]) for run in runs]
