"""The whole job on a volume node: compute without the scene, then put the result into it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from ..core import Progress
from ..pipeline import JobOptions, JobResult, compute
from .origin import remember_origin
from .rebuild import remember_level
from .review import remember_findings
from .segments import HEAD, add_segmentation
from .volumes import Placement, placed_scan

__all__ = ["JobOptions", "JobResult", "add_result", "compute", "scene_options", "segment_volume"]


def segment_volume(
    volume_node: Any, options: JobOptions | None = None, progress: Progress | None = None
) -> tuple[Any, JobResult]:
    """From a vtkMRMLScalarVolumeNode to a new vtkMRMLSegmentationNode and what was computed.

    ``options`` as :func:`scene_options` makes them. The scene is only touched at the end, in one
    go: a run that fails or is cancelled, or whose volume goes away, leaves the scene as it was.

    Raises SceneError, ScanReadError, SegmentationError, SurfaceError or Cancelled.
    """
    progress = progress or Progress()
    placed = placed_scan(volume_node)
    result = compute(placed.scan, scene_options(options), progress)
    progress.check()
    return add_result(placed, result), result


def scene_options(options: JobOptions | None = None) -> JobOptions:
    """The options of a job whose result goes into a scene.

    The segment Skin needs the layer's voxels, so these are made whatever ``options`` say; where
    slices are too thick for its shell, Slicer makes its surface from the voxels. One core is left
    to Slicer's window.
    """
    options = options or JobOptions()
    found = options.segment
    if found.workers is None:
        found = replace(found, workers=max(1, (os.cpu_count() or 2) - 1))
    return replace(options, segment=found, layer_voxels=True, layer_mesh_required=False)


def add_result(placement: Placement, result: JobResult, into: Any = None) -> Any:
    """A finished job as a vtkMRMLSegmentationNode; see :func:`.segments.add_segmentation`.

    Without the layer in ``result``, the segment Skin is missing; see :class:`.layers.LayerJob`.
    Raises SceneError if the volume was removed or changed meanwhile; then nothing is added.
    """
    node = add_segmentation(
        placement, result.mask.voxels, result.head, result.layer_voxels, result.layer, into
    )
    remember_level(node, HEAD.segment_id, result.mask)
    remember_findings(node, result.mask.findings)
    remember_origin(node, result)
    return node
