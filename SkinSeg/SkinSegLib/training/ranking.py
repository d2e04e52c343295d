"""Which unlabelled scan to label next: the one of which the model is least sure.

Two signs of doubt, both in mL of tissue: cells well inside tissue of which the network says neither
patient nor not (at the skin every cell is halfway, which means nothing), and cells on which it says
something else once the scan is mirrored (Gal et al. 2017 take several answers of one model in the
same way; a mirrored scan is the cheapest second answer).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from SkinSegLib.core import CTVolume, Progress, SkinSegError
from SkinSegLib.segmentation.bundle import Bundle
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.network import patient_probability

from .dataset import CaseFolder, CaseRecord

#: Between these the network says neither.
_UNSURE = (0.1, 0.9)
#: Grey value from which a cell counts as tissue, where air is 0 and soft tissue 1.
_TISSUE = 0.8


@dataclass(frozen=True)
class Ranked:
    """``doubt_ml``: see :func:`doubt`; NaN where the scan could not be asked, with the reason in
    ``problem``."""

    record: CaseRecord
    doubt_ml: float
    problem: str = ""


def rank(
    cases: CaseFolder,
    bundle: Bundle,
    device: str = "auto",
    progress: Progress | None = None,
    done: Callable[[Ranked], None] | None = None,
) -> list[Ranked]:
    """The unlabelled cases, the one to label first first; those that failed come last.

    ``done`` is told each as it is known. Progress stage: Doubt. Raises Cancelled, and SkinSegError
    where there is no unlabelled case.
    """
    progress = progress or Progress()
    waiting = [record for record in cases.records() if not record.labelled]
    if not waiting:
        raise SkinSegError(
            "No scan waits for a label. Add some with skinseg data add, without a label."
        )
    found = []
    with progress.stage("Doubt", 1.0):
        for record in waiting:
            try:
                volume, _ = cases.read(record)
                ranked = Ranked(record, doubt(volume, bundle, device))
            except SkinSegError as error:
                ranked = Ranked(record, float("nan"), str(error))
            found.append(ranked)
            if done is not None:
                done(ranked)
            progress.update(len(found) / len(waiting))
    return sorted(found, key=lambda one: (np.isnan(one.doubt_ml), -one.doubt_ml, one.record.name))


def doubt(volume: CTVolume, bundle: Bundle, device: str = "auto") -> float:
    """mL of tissue about which a model is unsure, or of two minds once the scan is mirrored.

    Raises SegmentationError for a scan without tissue, ModelError, Cancelled.
    """
    from scipy import ndimage

    level = find_level(volume)
    grid, likely, _ = patient_probability(volume, level, bundle, device)
    # The voxels turned about on the same grid: the patient mirrored.
    turned = replace(volume, voxels=np.ascontiguousarray(np.flip(volume.voxels, axis=grid.axes[2])))
    _, other, _ = patient_probability(turned, level, bundle, device)
    other = np.flip(other, axis=2)
    tissue = grid.grey(volume, level) >= _TISSUE
    inside = ndimage.binary_erosion(tissue)
    unsure = inside & (likely > _UNSURE[0]) & (likely < _UNSURE[1])
    torn = inside & ((likely >= 0.5) != (other >= 0.5))
    cell_ml = float(np.prod(grid.spacing)) / 1000
    return float(np.count_nonzero(unsure | torn)) * cell_ml
