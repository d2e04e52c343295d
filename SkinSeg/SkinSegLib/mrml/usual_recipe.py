"""What a Slicer user does without SkinSeg: threshold, keep the largest island, smooth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, SegmentationError
from ..segmentation.level import find_level
from .host import ensure_host

#: Defaults of Slicer's Segment Editor: islands below this many voxels go before any is chosen;
#: diameter of the median filter in mm.
_SMALLEST_ISLAND, _KERNEL_MM = 1000, 3.0


def usual_recipe(volume: CTVolume, filled: bool = False) -> NDArray[np.uint8]:
    """A mask (k, j, i; 1 is inside) by the Segment Editor's effects, at the level of the scan.

    Threshold from the level up, Islands: keep largest, Smoothing: median, with the filters and
    the parameters of SegmentEditorThresholdEffect, SegmentEditorIslandsEffect and
    SegmentEditorSmoothingEffect in Slicer. Air that the patient encloses stays out of the mask, as
    it does there, unless ``filled``: then the largest island of all that is outside is, and only
    that, outside.

    Raises SegmentationError if the level is not to be found or nothing is left, MissingPackageError
    without Slicer or slicer-core.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkImagingGeneral import vtkImageMedian3D

    slicer = ensure_host()
    image = vtkImageData()
    image.SetDimensions(*volume.voxels.shape[::-1])
    image.SetSpacing(*volume.spacing)
    image.GetPointData().SetScalars(numpy_to_vtk(volume.voxels.reshape(-1)))
    tissue = _between(image, find_level(volume).skin, float(volume.voxels.max()))
    median = vtkImageMedian3D()
    median.SetInputData(_largest_island(slicer, tissue))
    # To the nearest odd number, as the effect does: an even one would shift the image.
    median.SetKernelSize(*(round((_KERNEL_MM / s + 1) / 2) * 2 - 1 for s in volume.spacing))
    median.Update()
    result = median.GetOutput()
    if filled:
        result = _between(_largest_island(slicer, _between(result, 0, 0)), 0, 0)
    scalars = result.GetPointData().GetScalars()
    mask: NDArray[np.uint8] = vtk_to_numpy(scalars).reshape(volume.voxels.shape).copy()
    return mask


def _between(image: Any, low: float, high: float) -> Any:
    """1 where an image is in a range, ends included, 0 elsewhere."""
    from vtkmodules.vtkImagingCore import vtkImageThreshold

    threshold = vtkImageThreshold()
    threshold.SetInputData(image)
    threshold.ThresholdBetween(low, high)
    threshold.SetInValue(1)
    threshold.SetOutValue(0)
    threshold.SetOutputScalarTypeToUnsignedChar()
    threshold.Update()
    return threshold.GetOutput()


def _largest_island(slicer: Any, image: Any) -> Any:
    """1 in the largest part of an image of 0 and 1 that hangs together by faces."""
    from vtkmodules.vtkImagingCore import vtkImageCast

    cast = vtkImageCast()
    cast.SetInputData(image)
    cast.SetOutputScalarTypeToUnsignedInt()
    islands = slicer.vtkITKIslandMath()
    islands.SetInputConnection(cast.GetOutputPort())
    islands.SetFullyConnected(False)
    islands.SetMinimumSize(_SMALLEST_ISLAND)
    islands.Update()
    if not islands.GetNumberOfIslands():
        raise SegmentationError("No island is large enough. Choose the scan that shows a patient.")
    return _between(islands.GetOutput(), 1, 1)  # they are numbered by size
