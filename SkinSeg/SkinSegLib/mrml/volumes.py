"""Scans between Slicer's volume nodes and :class:`~SkinSegLib.core.CTVolume`."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, SceneError, SkinMesh, transform_points
from ..scan.grey import settle
from .host import ensure_host

#: Marks voxels of a resampled scan that lie outside what was scanned.
OUTSIDE = -32768.0
#: How much larger than the scan its resampled copy may become.
_LARGEST_GROWTH = 8.0
#: Points along each axis of a scan by which a change of the transforms above it is noticed.
_LATTICE = 17
_RESAMPLED = "The volume lies below a non-linear transform and was resampled to a regular grid."


@dataclass(frozen=True)
class NodeState:
    """What a volume node held at one moment; ``==`` tells whether it still holds the same.

    ``extent``: the image's, in voxels. ``ijk_to_ras``: of the node, 16 values. ``world``: where
    a lattice of points in the image lies below every transform above the node (RAS, mm).
    ``checksum``: CRC-32 of the voxels; modification times change too easily to tell.
    """

    extent: tuple[int, ...]
    ijk_to_ras: tuple[float, ...]
    world: bytes
    checksum: int


@dataclass(frozen=True)
class Placement:
    """Where the grid of a scan lies in the world, and the way back to the node it came from.

    ``node``: the vtkMRMLScalarVolumeNode. ``ijk_to_ras``: of the scan's grid, 4x4, world RAS mm.
    ``resampled``: False where the scan has the node's own grid; True below a non-linear transform,
    where it was resampled. ``state``: of the node when it was read.

    The ways back go by the node's transforms of now: :meth:`check` first that they are the same.
    """

    node: Any
    ijk_to_ras: NDArray[np.float64]
    resampled: bool
    state: NodeState

    def check(self) -> None:
        """Raise SceneError if the node was removed, or has other voxels or lies elsewhere now."""
        if self.node.GetScene() is None:
            raise SceneError("The volume was removed from the scene. Load it again and repeat.")
        image = self.node.GetImageData()
        gone = image is None or image.GetPointData().GetScalars() is None
        if gone or node_state(self.node) != self.state:
            raise SceneError("The volume was changed while it was segmented. Segment it again.")

    def onto_node_grid(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask on the scan's grid, (k, j, i) uint8 0/1, on the grid of the node."""
        if not self.resampled:
            return mask
        to_world, _ = _world_transforms(self.node)
        shape = _image(self.node).GetDimensions()[::-1]
        back = _reslice(
            mask * np.uint8(255),
            _chain(_node_matrix(self.node), to_world, np.linalg.inv(self.ijk_to_ras)),
            shape,
            0.0,
        )
        return (back >= 128).astype(np.uint8)

    def into_node_space(self, mesh: SkinMesh) -> SkinMesh:
        """A mesh in world RAS mm, in the coordinates below the node's parent transform.

        Only the points move. The triangles stay counter-clockwise as seen from outside *in the
        world*, which is how everything that shows or exports the node will see them, also where
        the parent transform mirrors.
        """
        if self.node.GetParentTransformNode() is None:
            return mesh
        if not self.resampled:
            points = transform_points(np.linalg.inv(_parent_matrix(self.node)), mesh.points)
        else:
            points = _transformed(_world_transforms(self.node)[1], mesh.points)
        return replace(mesh, points=points.astype(np.float32))


@dataclass(frozen=True)
class PlacedScan(Placement):
    """A scan as it lies in the world, with every transform above its node applied."""

    scan: CTVolume


def node_state(node: Any, checksum: int | None = None) -> NodeState:
    """The state of a volume node with voxels; ``checksum``: of these, where it is known."""
    voxels = _voxels(node.GetImageData())
    ends = np.array(voxels.shape[::-1], dtype=np.float64) - 1
    lattice = np.stack(np.meshgrid(*[np.linspace(0, 1, _LATTICE)] * 3), axis=-1).reshape(-1, 3)
    own = transform_points(_node_matrix(node), lattice * ends)
    return NodeState(
        tuple(node.GetImageData().GetExtent()),
        tuple(_node_matrix(node).ravel().tolist()),
        _transformed(_world_transforms(node)[0], own).tobytes(),
        checksum_of(voxels) if checksum is None else checksum,
    )


def checksum_of(voxels: NDArray[Any], before: int = 0) -> int:
    """CRC-32 of voxels, going on from that of those before them."""
    return zlib.crc32(voxels.reshape(-1).view(np.uint8).data, before)


def placed_scan(node: Any) -> PlacedScan:
    """The scan in a volume node, in world coordinates.

    Below linear transforms the voxels are not copied if they are int16 or float32: the scan looks
    at the node's memory. Below a non-linear transform (Slicer lays one above series with uneven
    slices or a tilted gantry) the scan is resampled to a regular grid in the world, oriented and
    spaced like the node's, by trilinear interpolation.

    Raises SceneError if the node is no scalar volume with voxels, ScanReadError or GeometryError
    if they are not those of one usable scan.
    """
    voxels, padding, notes = settle(node_voxels(node))
    state = node_state(node)
    if is_regular(node):
        scan = CTVolume(voxels, world_matrix(node), padding, notes=notes)
        return PlacedScan(node, scan.ijk_to_ras, False, state, scan)
    matrix, voxels = _resampled(node, voxels)
    scan = CTVolume(voxels, matrix, (*padding, OUTSIDE), notes=(*notes, _RESAMPLED))
    return PlacedScan(node, scan.ijk_to_ras, True, state, scan)


def node_voxels(node: Any) -> NDArray[Any]:
    """The memory of a volume node, (k, j, i). Raises SceneError if it is no scan with voxels."""
    return _voxels(_image(node))


def is_regular(node: Any) -> bool:
    """Whether a node's own grid is a regular one in the world too: no non-linear transform."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def world_matrix(node: Any) -> NDArray[np.float64]:
    """From array indices to world RAS mm, 4x4, for a node that :func:`is_regular`."""
    return _parent_matrix(node) @ _node_matrix(node)


def add_volume(scan: CTVolume, name: str) -> Any:
    """Add ``scan`` to the scene as a new vtkMRMLScalarVolumeNode (voxels are copied once).

    ``name`` must not carry a patient's name or ID.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData

    slicer = ensure_host()
    image = vtkImageData()
    image.SetDimensions(*scan.voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(scan.voxels.reshape(-1), deep=True))
    node = slicer.mrmlScene.AddNewNodeByClass(
        "vtkMRMLScalarVolumeNode", slicer.mrmlScene.GetUniqueNameByString(name)
    )
    node.SetIJKToRASMatrix(vtk_matrix(scan.ijk_to_ras))
    node.SetAndObserveImageData(image)
    node.CreateDefaultDisplayNodes()
    return node


def vtk_matrix(matrix: Any) -> Any:
    """A 4x4 array as vtkMatrix4x4."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    result = vtkMatrix4x4()
    result.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel().tolist())
    return result


def array_of(matrix: Any) -> NDArray[np.float64]:
    """A vtkMatrix4x4 as 4x4 array."""
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def _image(node: Any) -> Any:
    if node is None:
        raise SceneError("No volume is selected. Load a head CT and select it.")
    label = f"The node {node.GetID()}"
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise SceneError(f"{label} is no scan. Select a volume with the grey values of a head CT.")
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise SceneError(f"{label} has no voxels. Load the scan again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise SceneError(f"{label} is a colour or vector image. Select a volume of grey values.")
    return image


def _voxels(image: Any) -> NDArray[Any]:
    """The image's own memory as (k, j, i)."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    array: NDArray[Any] = vtk_to_numpy(image.GetPointData().GetScalars())
    return array.reshape(image.GetDimensions()[::-1])


def _node_matrix(node: Any) -> NDArray[np.float64]:
    """From array indices to the node's own coordinates; the image's extent may not start at 0."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    shift = np.eye(4)
    shift[:3, 3] = node.GetImageData().GetExtent()[::2]
    return array_of(matrix) @ shift


def _parent_matrix(node: Any) -> NDArray[np.float64]:
    """From the node's own coordinates to the world, for linear transforms."""
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.GetMatrixTransformToWorld(matrix):
        raise SceneError(f"The transform above {node.GetID()} is not linear. Harden it first.")
    return array_of(matrix)


def _world_transforms(node: Any) -> tuple[Any, Any]:
    """From the node's own coordinates to the world and back, as vtkGeneralTransform."""
    from vtkmodules.vtkCommonTransforms import vtkGeneralTransform

    to_world, from_world = vtkGeneralTransform(), vtkGeneralTransform()
    parent = node.GetParentTransformNode()
    if parent is not None:
        parent.GetTransformToWorld(to_world)
        parent.GetTransformFromWorld(from_world)
    return to_world, from_world


def _chain(*steps: Any) -> Any:
    """One vtkGeneralTransform that applies matrices and transforms in the order given."""
    from vtkmodules.vtkCommonTransforms import vtkGeneralTransform

    result = vtkGeneralTransform()
    result.PostMultiply()
    for step in steps:
        result.Concatenate(vtk_matrix(step) if isinstance(step, np.ndarray) else step)
    return result


def _transformed(transform: Any, points: NDArray[Any]) -> NDArray[np.float64]:
    """Points of shape (n, 3) under a vtkAbstractTransform."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonCore import VTK_DOUBLE, vtkPoints

    before, after = vtkPoints(), vtkPoints()
    data = np.ascontiguousarray(points, dtype=np.float64)
    before.SetData(numpy_to_vtk(data, deep=True, array_type=VTK_DOUBLE))
    after.SetDataTypeToDouble()
    transform.TransformPoints(before, after)
    result: NDArray[np.float64] = vtk_to_numpy(after.GetData()).copy()
    return result


def _resampled(node: Any, voxels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """A regular grid in the world (4x4, mm) and the voxels of a warped scan on it."""
    to_world, from_world = _world_transforms(node)
    own = _node_matrix(node)
    frame = own.copy()
    frame[:3, 3] = 0  # axes and spacing of the node, in the world
    hull = _transformed(_chain(own, to_world, np.linalg.inv(frame)), _boundary(voxels.shape))
    low, high = np.floor(hull.min(axis=0)), np.ceil(hull.max(axis=0))
    shape = tuple(int(n) + 1 for n in (high - low)[::-1])
    if not np.isfinite(hull).all() or np.prod(shape, dtype=float) > _LARGEST_GROWTH * voxels.size:
        raise SceneError(
            f"The transform above {node.GetID()} stretches the volume too far. "
            "Check the transform, or harden it on a copy of the volume."
        )
    grid = frame.copy()
    grid[:3, 3] = frame[:3, :3] @ low
    chain = _chain(grid, from_world, np.linalg.inv(own))
    return grid, _reslice(voxels, chain, shape, OUTSIDE)


def _boundary(shape: tuple[int, ...], steps: int = 33) -> NDArray[np.float64]:
    """Points on the six faces of a grid of the given (k, j, i) shape, as (i, j, k)."""
    ends = np.array(shape[::-1], dtype=np.float64) - 1
    u, v = (a.ravel() for a in np.meshgrid(*[np.linspace(0, 1, steps)] * 2))
    faces = []
    for axis in range(3):
        for end in (0.0, 1.0):
            face = np.empty((u.size, 3))
            face[:, axis], face[:, axis - 1], face[:, axis - 2] = end, u, v
            faces.append(face * ends)
    return np.concatenate(faces)


def _reslice(
    voxels: NDArray[Any], chain: Any, shape: tuple[int, ...], outside: float
) -> NDArray[Any]:
    """Sample ``voxels`` linearly where ``chain`` takes the indices of an array of ``shape``."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkImagingCore import vtkImageReslice

    source = vtkImageData()
    source.SetDimensions(*voxels.shape[::-1])
    source.GetPointData().SetScalars(numpy_to_vtk(voxels.reshape(-1)))
    reslice = vtkImageReslice()
    reslice.SetInputData(source)
    reslice.SetResliceTransform(chain)
    reslice.SetOutputOrigin(0, 0, 0)
    reslice.SetOutputSpacing(1, 1, 1)
    reslice.SetOutputExtent(0, shape[2] - 1, 0, shape[1] - 1, 0, shape[0] - 1)
    reslice.SetInterpolationModeToLinear()
    reslice.SetBackgroundLevel(outside)
    reslice.Update()
    return _voxels(reslice.GetOutput()).copy()
