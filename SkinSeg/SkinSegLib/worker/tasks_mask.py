"""Tasks on the voxels of a segment, for the one-click edits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core import Progress
from ..segmentation.mending import fill_holes, keep_largest, smooth_near
from .exchange import get, put


def mend(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do ``how`` ("keep", "fill" or "smooth") to the mask ``name``; writes "mended".

    For "smooth": ``centre_ras`` and ``radius_mm``, ``ijk_to_ras`` of the mask (16 values). Returns
    how many voxels were ``added`` and ``removed``.
    """
    folder = Path(arguments["folder"])
    mask = get(folder, arguments["name"])
    with progress.stage("Mend", 1.0):
        if arguments["how"] == "keep":
            mended = keep_largest(mask)
        elif arguments["how"] == "fill":
            mended = fill_holes(mask)
        else:
            matrix = np.array(arguments["ijk_to_ras"], dtype=np.float64).reshape(4, 4)
            centre = arguments["centre_ras"]
            mended = smooth_near(mask, matrix, tuple(centre), arguments["radius_mm"])
        put(folder, "mended", mended)
    added = int(np.count_nonzero(mended > mask))
    return {"added": added, "removed": int(np.count_nonzero(mended < mask))}
