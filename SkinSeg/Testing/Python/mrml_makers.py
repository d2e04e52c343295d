"""A made head with one ear, and the nodes and transforms that the MRML tests put it in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from SkinSegLib import mrml, surface
from SkinSegLib.core import CTVolume, SkinMask, SkinMesh, transform_points

#: Centre of the ear in the head's own frame (mm, x to the patient's right).
EAR = np.array([-46.0, 4.0, 2.0])
#: Where the other ear would be.
NO_EAR = EAR * [-1, 1, 1]


def rotation(degrees: float, axis: int) -> NDArray[np.float64]:
    """4x4 rotation about one axis."""
    a = np.radians(degrees)
    matrix = np.eye(4)
    u, v = [n for n in range(3) if n != axis]
    matrix[[u, u, v, v], [u, v, u, v]] = np.cos(a), -np.sin(a), np.sin(a), np.cos(a)
    return matrix


def inside(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points (n, 3) in the head's frame are in the head."""
    head = (points / [42.0, 52.0, 55.0]) ** 2
    ear = ((points - EAR) / [8.0, 10.0, 14.0]) ** 2
    return (head.sum(axis=1) < 1) | (ear.sum(axis=1) < 1)


#: Grids on which the head lies: from array indices to the frame that the head is given in.
GRIDS = {
    "plain": np.diag([2.0, 2.0, 2.5, 1.0]),
    "oblique": rotation(25, 0) @ rotation(-15, 2) @ np.diag([2.0, 2.2, 2.5, 1.0]),
    "left-handed": rotation(10, 1) @ np.diag([-2.0, 2.0, 2.5, 1.0]),
    "flipped": np.diag([-2.0, -2.2, -2.5, 1.0]),
    "sheared": np.array([[2, 0, 0, 0], [0, 2, 0.6, 0], [0, 0, 2.5, 0], [0, 0, 0, 1.0]]),
}


def grid(name: str, shape: tuple[int, int, int] = (58, 66, 62)) -> NDArray[np.float64]:
    """The matrix of a grid of ``shape`` (k, j, i) that is centred on the head."""
    matrix = GRIDS[name].copy()
    matrix[:3, 3] = -(matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2))
    return matrix


def small_scan() -> CTVolume:
    """The head on a grid that is quick to work on."""
    shape = (36, 40, 38)
    matrix = np.diag([3.2, 3.2, 3.8, 1.0])
    matrix[:3, 3] = -(matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2))
    return _sampled(matrix, shape, np.int16)


def turned_scan(n: int = 1) -> CTVolume:
    """The head lying otherwise on the same small grid; of each ``n`` another scan by its looks."""
    scan = small_scan()
    turned = rotation(20 + 15 * n, 1) @ rotation(10 + 25 * n, 0) @ scan.ijk_to_ras
    return _sampled(turned, scan.voxels.shape, np.int16)


def head_scan(name: str = "plain", dtype: type = np.int16) -> CTVolume:
    """The head sampled to a grid, tissue 40 and air -1000 HU, edges blurred over a voxel."""
    shape = (58, 66, 62)
    return _sampled(grid(name, shape), shape, dtype)


def _sampled(matrix: NDArray[np.float64], shape: tuple[int, int, int], dtype: type) -> CTVolume:
    k, j, i = np.indices(shape)
    centres = np.stack([i, j, k], axis=-1).reshape(-1, 3).astype(float)
    filled = np.zeros(len(centres))
    for step in np.indices((2, 2, 2)).reshape(3, -1).T / 2 - 0.25:
        filled += inside(transform_points(matrix, centres + step)) / 8
    voxels = np.rint(-1000 + 1040 * filled).astype(dtype).reshape(shape)
    return CTVolume(voxels, matrix)


def volume_node(scan: CTVolume, parent: Any = None) -> Any:
    """A new volume node with the scan, below a parent transform node if there is one."""
    node = mrml.add_volume(scan, "scan")
    if parent is not None:
        node.SetAndObserveTransformNodeID(parent.GetID())
    return node


def linear(matrix: NDArray[np.float64]) -> Any:
    """A new vtkMRMLLinearTransformNode."""
    from SkinSegLib.mrml.volumes import vtk_matrix

    slicer = mrml.ensure_host()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(vtk_matrix(matrix))
    return node


def bent(amplitude: float = 6.0) -> Any:
    """A new vtkMRMLTransformNode that pushes along x by up to ``amplitude`` mm, more upwards."""
    from vtkmodules.vtkCommonTransforms import vtkThinPlateSplineTransform

    slicer = mrml.ensure_host()
    source = np.array(list(np.ndindex(3, 3, 3))) * 70.0 - 70
    target = source.copy()
    target[:, 0] += amplitude * np.sin(source[:, 2] / 45.0)
    spline = vtkThinPlateSplineTransform()
    spline.SetBasisToR()
    spline.SetSourceLandmarks(_points(source))
    spline.SetTargetLandmarks(_points(target))
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    node.SetAndObserveTransformToParent(spline)
    return node


def _points(array: NDArray[np.float64]) -> Any:
    from vtkmodules.vtkCommonCore import vtkPoints

    points = vtkPoints()
    points.SetDataTypeToDouble()
    for row in array.tolist():
        points.InsertNextPoint(row)
    return points


def mask_of(scan: CTVolume) -> SkinMask:
    """The head's mask on the scan's grid, by the scan's own half-height."""
    voxels = (scan.voxels > -480).astype(np.uint8)
    return SkinMask(voxels, scan.ijk_to_ras, "test", -480.0)


def segmented(volume: Any) -> tuple[Any, SkinMesh, SkinMask]:
    """A segmentation node made from a volume node, its mesh in world RAS, and the mask."""
    placed = mrml.placed_scan(volume)
    mask, mesh, layer = _results(placed.scan)
    return mrml.add_segmentation(placed, mask.voxels, mesh, layer), mesh, mask


_RESULTS: dict[tuple[bytes, bytes], tuple[SkinMask, SkinMesh, NDArray[np.uint8]]] = {}


def _results(scan: CTVolume) -> tuple[SkinMask, SkinMesh, NDArray[np.uint8]]:
    """Mask, mesh and layer of a made scan; computed once for scans that are alike."""
    key = (scan.voxels.tobytes(), scan.ijk_to_ras.tobytes())
    if key not in _RESULTS:
        mask = mask_of(scan)
        mesh = surface.build(mask, scan)
        _RESULTS[key] = mask, mesh, surface.layer_voxels(mask, mesh, 4.0)
    return _RESULTS[key]


def erase(node: Any, low: Any, high: Any) -> None:
    """Erase a box, given in the head's frame (mm), as Slicer's eraser does: in the labelmap."""
    from SkinSegLib.mrml.volumes import array_of
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    image = node.GetBinaryLabelmapInternalRepresentation("Head")
    whole = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    matrix = vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    k, j, i = np.indices(whole.shape)
    index = np.stack([i, j, k], axis=-1).reshape(-1, 3) + image.GetExtent()[::2]
    place = transform_points(array_of(matrix), index)
    there = ((place > low) & (place < high)).all(axis=1)
    assert there.any()
    whole[there.reshape(whole.shape)] = 0
    image.GetPointData().GetScalars().Modified()
    image.Modified()
    node.GetSegmentation().GetSegment("Head").Modified()


def nearest(points: NDArray[Any], target: NDArray[np.float64]) -> float:
    """Distance in mm from a position to the nearest of some points."""
    return float(np.linalg.norm(np.asarray(points, dtype=float) - target, axis=1).min())
