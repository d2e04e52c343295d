"""Volumes without a face, and folders without names, by the worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..surface import SurfaceOptions
from ..worker.exchange import get
from .host import ensure_host
from .jobs import SegmentSurfaceJob
from .segments import HEAD, place_beside
from .volumes import node_voxels

#: Never the name of the volume it was made of: that may be the patient's.
DEFACED_NAME = "CT without face"


class DefaceJob(SegmentSurfaceJob):
    """A copy of the scan of a segmentation without the face of its head, as a new volume node."""

    task = "deface"

    def __init__(self, segmentation: Any) -> None:
        super().__init__(segmentation, HEAD.segment_id, SurfaceOptions())

    def finish(self, result: Mapping[str, Any]) -> tuple[Any, Mapping[str, float]]:
        """The new vtkMRMLScalarVolumeNode, and the proof (see privacy.deface.Proof).

        Raises SceneError if the volume was removed or changed meanwhile; then nothing is added.
        """
        placement = self.handed.placement
        placement.check()
        region = get(self.folder, "region").astype(bool)
        voxels = node_voxels(placement.node).copy()
        values = get(self.folder, "values")
        limits = np.iinfo(voxels.dtype) if voxels.dtype.kind in "iu" else None
        voxels[region] = values if limits is None else np.clip(values, limits.min, limits.max)
        return _copy_of(placement.node, voxels), result["proof"]


class DeidentifyJob:
    """De-identifies files in a folder or zip into another folder."""

    task = "deidentify"

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self._target = source, target

    def prepare(self) -> Iterator[float]:
        """There is nothing to hand over."""
        return iter(())

    def arguments(self) -> Mapping[str, Any]:
        return {"source": str(self._source), "target": str(self._target)}

    def finish(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """How many files were written, done before, and refused, by reason."""
        return result

    def close(self) -> None:
        """There is nothing to let go of."""


def _copy_of(volume: Any, voxels: Any) -> Any:
    """A new volume node with the grid and the transform of another, and none of its attributes."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    scene = ensure_host().mrmlScene
    image = vtkImageData()
    image.SetExtent(volume.GetImageData().GetExtent())
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.reshape(-1), deep=True))
    node = scene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", scene.GetUniqueNameByString(DEFACED_NAME)
    )
    node.CopyOrientation(volume)
    node.SetAndObserveImageData(image)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    place_beside(node, volume)
    return node
