"""Jobs on a data set: from the scene into it, and from it into the scene."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume
from ..surface import SurfaceOptions
from ..worker import Exchange
from ..worker.exchange import put
from ..worker.messages import scan_from
from .dicom_source import dicom_files
from .jobs import ScanJob, SegmentSurfaceJob
from .origin import origin_of
from .segments import HEAD
from .volumes import add_volume

#: Attribute of a volume that was loaded from a data set: the name of its case.
CASE = "SkinSeg.Case"
#: Room for a scan of which only its file is known: 1024 slices of 512 x 512.
_LARGEST_BYTES = 1 << 29


class MaskBefore:
    """The mask of a run as the engine made it, packed, for the volume that is corrected of it."""

    def __init__(self, segmentation: Any, voxels: NDArray[np.uint8]) -> None:
        self.segmentation = segmentation
        self._shape, self._bits = voxels.shape, np.packbits(voxels, axis=None)

    def voxels(self) -> NDArray[np.uint8]:
        """(k, j, i) uint8, on the grid of the scan."""
        count = int(np.prod(self._shape))
        return np.unpackbits(self._bits, count=count).reshape(self._shape)


@dataclass(frozen=True)
class CaseChoice:
    """What was chosen for a case: see :func:`SkinSegLib.worker.tasks_training.add_case`."""

    dataset: Path
    split: str = "train"
    labelled_by: str = ""
    patient: str = ""
    deface: bool = False
    allow_alike: bool = False

    def arguments(self, volume: Any) -> dict[str, Any]:
        """Of the task; ``volume``: the node of the scan."""
        return {
            "dataset": str(self.dataset),
            "split": self.split,
            "labelled_by": self.labelled_by,
            "patient": self.patient,
            "deface": self.deface,
            "allow_alike": self.allow_alike,
            "dicom_files": [str(path) for path in dicom_files(volume)],
            "engine": "",
            "model": {},
            "before": False,
        }


class AddCaseJob(SegmentSurfaceJob):
    """Adds a scan with its head, as it was corrected, to a data set.

    ``before``: the mask of the run that the head is from, if it is still known.
    """

    task = "add_case"

    def __init__(self, segmentation: Any, choice: CaseChoice, before: MaskBefore | None) -> None:
        super().__init__(segmentation, HEAD.segment_id, SurfaceOptions())
        self._choice, self._origin = choice, origin_of(segmentation)
        self._before = before if before and before.segmentation is segmentation else None

    def prepare(self) -> Iterator[float]:
        """Hand over the scan, the head, and the mask before it was corrected."""
        yield from super().prepare()
        if self._before is not None:
            put(self.folder, "before", self._before.voxels())
            yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        return {
            **super().arguments(),
            **self._choice.arguments(self._volume),
            "engine": self._origin["engine"],
            "model": self._origin["model"],
            "before": self._before is not None,
        }


class AddScanJob(ScanJob):
    """Adds a scan to a data set, where it waits for its label."""

    task = "add_case"

    def __init__(self, volume: Any, choice: CaseChoice) -> None:
        super().__init__(volume)
        self._choice = choice

    def arguments(self) -> Mapping[str, Any]:
        return {
            **super().arguments(),
            **self._choice.arguments(self._volume),
            "split": "unlabelled",
        }


class CaseScanJob:
    """Loads the scan of a case of a data set into the scene, as a new volume node."""

    task = "case_scan"

    def __init__(self, dataset: Path, name: str) -> None:
        self._dataset, self._name = dataset, name
        self._place: Exchange | None = None

    def prepare(self) -> Iterator[float]:
        """Make room for it."""
        self._place = Exchange(_LARGEST_BYTES)
        yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        assert self._place is not None
        return {
            "dataset": str(self._dataset),
            "name": self._name,
            "folder": str(self._place.folder),
        }

    def finish(self, result: Mapping[str, Any]) -> Any:
        """The vtkMRMLScalarVolumeNode, called as the case is."""
        scan: CTVolume = scan_from(result["scan"])
        node = add_volume(scan, self._name)
        node.SetAttribute(CASE, self._name)
        return node

    def close(self) -> None:
        """Remove the array if it is still a file."""
        if self._place is not None:
            self._place.close()


class LearnJob:
    """A task of :mod:`SkinSegLib.worker.tasks_training` without arrays."""

    def __init__(self, task: str, dataset: Path, **arguments: Any) -> None:
        self.task = task
        self._arguments = {"dataset": str(dataset), **arguments}

    def prepare(self) -> Iterator[float]:
        """There is nothing to hand over."""
        return iter(())

    def arguments(self) -> Mapping[str, Any]:
        return self._arguments

    def finish(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the task returned."""
        return result

    def close(self) -> None:
        """There is nothing to let go of."""
