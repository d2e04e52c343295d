"""From a scan to mask and meshes: the one computation behind the command and Slicer's module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from . import segmentation, surface
from .core import CTVolume, LayerTooThinError, Progress, SkinMask, SkinMesh, at_most

#: Thickness of the skin layer in mm unless the user chooses another (DESIGN section 1).
DEFAULT_LAYER_MM = 2.0

#: About how long each part takes, measured at 512 x 512 x 250; only their ratio counts.
_SEGMENT, _HEAD, _LAYER_MESH, _LAYER_VOXELS = 5.0, 3.5, 7.0, 4.0


@dataclass(frozen=True)
class JobOptions:
    """What can be chosen for the job as a whole.

    ``shape``: how both surfaces are made, but for the layer.
    ``layer_mm``: thickness of the skin layer in mm. ``layer_voxels``, ``layer_mesh``: whether to
    make the layer as a labelmap, and as a closed shell; ``layer_mesh_required``: whether the job
    fails where the scan's voxels are too coarse for the shell, or goes on without. Raises
    SurfaceError for a thickness that makes no sense.
    """

    segment: segmentation.SegmentOptions = field(default_factory=segmentation.SegmentOptions)
    shape: surface.SurfaceOptions = field(default_factory=surface.SurfaceOptions)
    layer_mm: float = DEFAULT_LAYER_MM
    layer_voxels: bool = True
    layer_mesh: bool = True
    layer_mesh_required: bool = True

    def __post_init__(self) -> None:
        self.shell()

    def shell(self) -> surface.SurfaceOptions:
        """The surface options for the layer."""
        return replace(self.shape, layer_mm=self.layer_mm)


@dataclass(frozen=True)
class JobResult:
    """The solid head and its outer layer, as masks on the scan's grid and as meshes (RAS mm).

    ``layer_voxels``: uint8 labelmap (k, j, i); it and ``layer``, the shell, are None unless they
    were asked for. ``seconds``: time per stage.
    """

    mask: SkinMask
    head: SkinMesh
    layer_voxels: NDArray[np.uint8] | None
    layer: SkinMesh | None
    seconds: Mapping[str, float]


def compute(
    scan: CTVolume,
    options: JobOptions | None = None,
    progress: Progress | None = None,
    *,
    mask: SkinMask | None = None,
    head: SkinMesh | None = None,
) -> JobResult:
    """Segment a scan and make its surfaces; touches neither files nor a scene.

    ``mask``: one that is there already, on the scan's grid; then nothing is segmented. ``head``:
    its surface, if that is there too.

    Raises SegmentationError, SurfaceError or Cancelled, which each part raises also within itself.
    """
    options = options or JobOptions()
    progress = progress or Progress()
    with at_most(options.segment.workers):
        return _compute(scan, options, progress, mask, head)


def _compute(
    scan: CTVolume,
    options: JobOptions,
    progress: Progress,
    mask: SkinMask | None,
    head: SkinMesh | None,
) -> JobResult:
    weights = (
        _SEGMENT * (mask is None),
        _HEAD * (head is None),
        _LAYER_MESH * options.layer_mesh,
        _LAYER_VOXELS * options.layer_voxels,
    )
    parts = _parts(progress, weights)
    part = next(parts)
    if mask is None:
        mask = segmentation.segment(scan, options.segment, part)
    part = next(parts)
    if head is None:
        head = surface.build(mask, scan, replace(options.shape, layer_mm=None), part)
    layer, voxels = None, None
    part = next(parts)
    if options.layer_mesh:
        try:
            layer = surface.build(mask, scan, options.shell(), part, solid=head)
        except LayerTooThinError:
            if options.layer_mesh_required:
                raise
    part = next(parts)
    if options.layer_voxels:
        with part.stage("Layer", 1.0):
            voxels = surface.layer_voxels(mask, head, options.layer_mm, part)
    return JobResult(mask, head, voxels, layer, dict(progress.seconds))


def _parts(progress: Progress, weights: tuple[float, ...]) -> Iterator[Progress]:
    """A part of ``progress`` for each weight, one after the other, by its share in their sum."""
    start, total = 0.0, sum(weights)
    for weight in weights:
        yield progress.part(start / total, weight / total)
        start += weight
