"""The voxels of one segment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SceneError
from .volumes import array_of


def segment_of(segmentation: Any, segment_id: str) -> Any:
    """The vtkSegment; raises SceneError if there is no such segment."""
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    if segment is None:
        raise SceneError(f"There is no segment {segment_id}. Segment the scan first.")
    return segment


def segment_labelmap(segmentation: Any, segment_id: str) -> tuple[NDArray[np.uint8], Any]:
    """One segment's voxels, cropped to what it fills.

    Returns a (k, j, i) uint8 mask and the 4x4 matrix from its indices to the coordinates of the
    segmentation node (mm, without the node's parent transform). An empty segment gives an array
    of size 0. Raises SceneError if there is no such segment.
    """
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    segment = segment_of(segmentation, segment_id)
    image = segmentation.GetBinaryLabelmapInternalRepresentation(segment_id)
    matrix = vtkMatrix4x4()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    if scalars is None or scalars.GetNumberOfTuples() == 0:
        return np.zeros((0, 0, 0), dtype=np.uint8), np.eye(4)
    image.GetImageToWorldMatrix(matrix)
    mask = vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1]) == segment.GetLabelValue()
    box = []
    for axis in range(3):
        filled = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        box.append(slice(filled[0], filled[-1] + 1) if filled.size else slice(0, 0))
    to_node = array_of(matrix)
    corner = np.array([s.start for s in box[::-1]]) + image.GetExtent()[::2]
    to_node[:3, 3] += to_node[:3, :3] @ corner
    return np.ascontiguousarray(mask[tuple(box)], dtype=np.uint8), to_node
