"""Classical localisation on the coarse grid: which tissue is patient, which is some object.

Table, holder and tubes are thin where they touch the patient, or do not touch at all: what an
opening leaves is solid, the solid part with most bone is the head, and a thin part stays with it
only if it is short, like an ear or a nose. Distances come from exact Euclidean distance maps
(Maurer et al. 2003, IEEE Trans. Pattern Anal. Mach. Intell. 25:265), so that sizes are mm on any
grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import SegmentationError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]

#: How far beyond the opened head a long thin part is kept: what the opening itself rounded off.
_RIM_MM = 4.0


@dataclass(frozen=True)
class Location:
    """Patient and objects on the coarse grid, (k, j, i) booleans.

    ``contacts``: where an object was cut from the patient.
    """

    patient: Bools
    objects: Bools
    contacts: Bools


def distance_to(region: Bools, spacing: Spacing) -> Floats:
    """Distance in mm from every voxel to the nearest voxel of ``region``; inf if it is empty."""
    import SimpleITK as sitk

    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    image = sitk.GetImageFromArray(region.view(np.uint8))
    image.SetSpacing(spacing[::-1])
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    result: Floats = sitk.GetArrayFromImage(distance)
    # The filter measures to the region's boundary voxels: zero there, negative within.
    return np.maximum(result, 0, out=result)


def opened(region: Bools, radius_mm: float, spacing: Spacing) -> Bools:
    """Morphological opening with a ball of ``radius_mm``; the scan's end does not erode."""
    padded = np.pad(region, 1, mode="edge")
    eroded = region & (distance_to(~padded, spacing)[1:-1, 1:-1, 1:-1] > radius_mm)
    if not eroded.any():
        return eroded
    return region & (distance_to(eroded, spacing) <= radius_mm)


def locate(
    fraction: Floats, bone: Floats, spacing: Spacing, opening_mm: float, reach_mm: float
) -> Location:
    """Tell the patient from objects.

    ``fraction``: tissue fraction of each coarse voxel, 0..1; ``bone``: the same for bone (zeros
    where grey values are not calibrated). ``spacing``: mm along k, j, i. ``opening_mm``,
    ``reach_mm``: see SegmentOptions.

    Raises SegmentationError if nothing solid is left.
    """
    from scipy import ndimage

    tissue = fraction >= 0.5
    core = _head_core(tissue, bone, spacing, opening_mm)
    connected, _ = ndimage.label(tissue)
    tissue_of_head = connected == connected[core][0]
    # The opening also rounds every edge; those crumbs belong to the core, and would otherwise
    # join an ear to a holder across the whole surface.
    core = tissue_of_head & (distance_to(core, spacing) <= _RIM_MM)
    thin, count = ndimage.label(tissue_of_head & ~core)
    reach = _reach(thin > 0, core, spacing, reach_mm)
    farthest = ndimage.maximum(reach, thin, np.arange(1, count + 1)) if count else []
    is_object = np.zeros(count + 1, bool)
    is_object[1:] = np.asarray(farthest) > reach_mm
    cut = is_object[thin]
    patient = tissue_of_head & ~cut
    return Location(patient, tissue & ~patient, cut & (reach <= 2 * max(spacing)))


def _head_core(tissue: Bools, bone: Floats, spacing: Spacing, opening_mm: float) -> Bools:
    """The opened solid part that holds most bone, or is largest where there is no bone."""
    from scipy import ndimage

    # What an erosion separates stays apart, even if the opening's dilation would join it again.
    padded = np.pad(tissue, 1, mode="edge")
    depth = distance_to(~padded, spacing)[1:-1, 1:-1, 1:-1]
    for radius in (opening_mm, opening_mm / 2, 0.0):
        labels, count = ndimage.label(depth > radius)
        if count:
            break
    else:
        raise SegmentationError(
            "Nothing in the scan is denser than the skin level. Choose the series that shows the "
            "patient, or lower the level."
        )
    index = np.arange(1, count + 1)
    size = ndimage.sum_labels(tissue, labels, index)
    bones = ndimage.sum_labels(bone, labels, index)
    score = bones if bones.max() * np.prod(spacing) >= 5000 else size
    eroded = labels == index[int(np.argmax(score))]
    return tissue & (distance_to(eroded, spacing) <= radius)


def _reach(thin: Bools, core: Bools, spacing: Spacing, limit_mm: float) -> Floats:
    """Length in mm of the way from the core through thin parts; inf beyond ``limit_mm``."""
    from scipy import ndimage

    # Faces and corners in turn: steps that come near to a ball on the coarse grid.
    faces = ndimage.generate_binary_structure(3, 1)
    cube = ndimage.generate_binary_structure(3, 3)
    step = float(np.mean(spacing))
    reach = np.full(thin.shape, np.inf, np.float32)
    grown, front = core.copy(), 0
    while front * step <= limit_mm + step:
        front += 1
        structure = cube if front % 3 == 0 else faces
        new = ndimage.binary_dilation(grown, structure, mask=grown | thin) & ~grown
        if not new.any():
            break
        reach[new] = front * step
        grown |= new
    return reach
