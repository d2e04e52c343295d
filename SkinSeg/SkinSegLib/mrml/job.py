"""The whole job on a volume node, in two steps: compute (no scene), then put into the scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import segmentation, surface
from ..core import CTVolume, Progress, SkinMask, SkinMesh
from .segments import add_segmentation
from .volumes import placed_scan

#: Where in the whole job each part begins and how much of it it is, by the time they take.
_SEGMENT = (0.0, 0.7)
_HEAD = (0.7, 0.1)
_LAYER = (0.8, 0.2)


@dataclass(frozen=True)
class JobOptions:
    """What the user can choose for the job as a whole.

    ``layer_mm``: thickness of Skin in mm. ``layer_mesh``: also make the exact shell of that
    thickness, which takes far longer than the head itself; without it, Slicer makes the closed
    surface of Skin from its labelmap. Raises SurfaceError for a thickness that makes no sense.
    """

    segment: segmentation.SegmentOptions = field(default_factory=segmentation.SegmentOptions)
    layer_mm: float = 2.0
    layer_mesh: bool = False

    def __post_init__(self) -> None:
        surface.SurfaceOptions(layer_mm=self.layer_mm)


@dataclass(frozen=True)
class JobResult:
    """The solid head and its outer layer, as masks on the scan's grid and as meshes (RAS mm).

    ``layer`` is None unless it was asked for. ``seconds``: time per stage.
    """

    mask: SkinMask
    head: SkinMesh
    layer_voxels: NDArray[np.uint8]
    layer: SkinMesh | None
    seconds: Mapping[str, float]


def compute(scan: CTVolume, options: JobOptions, progress: Progress) -> JobResult:
    """Segment a scan and make its surfaces; touches no scene.

    Raises SegmentationError, SurfaceError or Cancelled.
    """
    mask = segmentation.segment(scan, options.segment, progress.part(*_SEGMENT))
    head = surface.build(mask, scan, progress=progress.part(*_HEAD))
    layer = None
    with progress.part(*_LAYER).stage("Layer", 1.0) as stage:
        if options.layer_mesh:
            shell = surface.SurfaceOptions(layer_mm=options.layer_mm)
            layer = surface.build(mask, scan, shell)
            stage.update(0.7)
        voxels = surface.layer_voxels(mask, head, options.layer_mm)
    return JobResult(mask, head, voxels, layer, dict(progress.seconds))


def segment_volume(
    volume_node: Any, options: JobOptions | None = None, progress: Progress | None = None
) -> tuple[Any, JobResult]:
    """From a vtkMRMLScalarVolumeNode to a new vtkMRMLSegmentationNode and what was computed.

    The scene is only touched at the end, in one go: a run that fails or is cancelled, or whose
    volume goes away, leaves the scene as it was.

    Raises SceneError, ScanReadError, SegmentationError, SurfaceError or Cancelled.
    """
    progress = progress or Progress()
    placed = placed_scan(volume_node)
    result = compute(placed.scan, options or JobOptions(), progress)
    progress.check()
    node = add_segmentation(
        placed, result.mask.voxels, result.head, result.layer_voxels, result.layer
    )
    return node, result
