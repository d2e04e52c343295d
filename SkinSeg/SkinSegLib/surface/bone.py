"""The surface of the bones under a skin, from the scan itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import Box, CTVolume, Progress, SkinMesh, SurfaceError, transform_points
from .contour import flying_edges

#: Between soft tissue (to about 100 HU, enhanced vessels to about 300) and compact bone (1000 HU
#: and more), nearer to tissue: thin bone is blurred to a few hundred HU, and engineers who set the
#: level of skulls by hand choose values nearer to soft tissue for that reason (van Eijnatten et
#: al. 2017, Int. J. Comput. Assist. Radiol. Surg. 12:607; levels in use are reviewed by van
#: Eijnatten et al. 2018, Med. Eng. Phys. 51:6).
DEFAULT_BONE_HU = 300.0
#: The same place on a scale that is given by air (-1000 HU) and soft tissue (40 HU).
_BONE_FRACTION = (DEFAULT_BONE_HU + 1000.0) / 1040.0
#: A separate piece of bone counts from this size on, in mL and as a share of the largest: skull,
#: jaw and vertebrae do; fillings, clips, calcifications, noise and most streaks do not.
_LEAST_ML, _LEAST_SHARE = 1.0, 0.01
#: A voxel that is as dense as bone but is none is taken to be this far below the level.
_BELOW_HU = 300.0


def bone_level(
    air: float, tissue: float, *, calibrated: bool, bone_hu: float | None = None
) -> float:
    """The grey value at which bone begins: the one given, else 300 HU on a calibrated scan.

    ``air``, ``tissue``: the scan's grey values of air and of soft tissue. Raises SurfaceError if
    the scan is not calibrated and no value is given (the message names one to try), or if a given
    value is not above soft tissue.
    """
    if bone_hu is not None:
        if not (math.isfinite(bone_hu) and bone_hu > tissue):
            raise SurfaceError(
                f"A bone level of {bone_hu:g} is not above the scan's soft tissue ({tissue:.0f}). "
                "Choose a higher one."
            )
        return bone_hu
    if calibrated:
        return DEFAULT_BONE_HU
    likely = air + _BONE_FRACTION * (tissue - air)
    raise SurfaceError(
        "The scan's grey values are no calibrated HU, so where bone begins is not known. Give the "
        f"level yourself (--bone-hu); by the scan's air and soft tissue try {likely:.0f}, and "
        "check it on the scan."
    )


def bone_surface(
    mesh: SkinMesh, volume: CTVolume, bone_hu: float, progress: Progress
) -> NDArray[np.float64]:
    """Triangles of the bones' surface within a skin: corners (m, 3, 3) in RAS mm.

    The iso-surface of the scan at ``bone_hu`` by flying edges, which interpolates between voxels.
    Left out: what is outside the skin (holders, implants of a couch) and pieces smaller than 1 mL
    or 1 % of the largest. Where the scan ends, the surface is open.

    Raises SurfaceError if the mesh does not lie in the scan, or there is no bone in it.
    """
    box, inside = _inside(mesh, volume)
    progress.update(0.3)
    values = volume.voxels[box]
    padding = volume.padding_mask()
    if padding is not None:  # where nothing was measured there is no bone, whatever stands there
        values = np.where(padding[box], bone_hu - _BELOW_HU, values)
    dense = values >= bone_hu
    kept = _large_pieces(dense & inside, volume.voxel_volume_ml)
    progress.update(0.6)
    if kept is None:
        raise SurfaceError(
            f"There is no bone within the skin at a level of {bone_hu:g}. Choose a lower level "
            "(--bone-hu), or another scan."
        )
    # Everything else stays as measured, or the edge of the bones would move.
    field = np.where(dense & ~kept, bone_hu - _BELOW_HU, values).astype(np.float32)
    points, triangles = flying_edges(field, bone_hu)
    if not len(triangles):
        raise SurfaceError("The bone has no surface within the scan. Choose another bone level.")
    progress.update(0.9)
    origin = [part.start for part in box[::-1]]
    ras = transform_points(volume.ijk_to_ras, points + np.array(origin, np.float64))
    return np.asarray(ras[triangles])


def _inside(mesh: SkinMesh, volume: CTVolume) -> tuple[Box, NDArray[np.bool_]]:
    """The box of the grid that holds the mesh, and its voxels whose centre is within the mesh."""
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkImagingStencil import vtkImageStencilToImage, vtkPolyDataToImageStencil

    from .polydata import to_polydata

    # In voxels, so that an oblique or sheared grid is as good as any.
    ijk = transform_points(np.linalg.inv(volume.ijk_to_ras), mesh.points)
    last = np.array(volume.voxels.shape[::-1]) - 1
    low = np.clip(np.floor(ijk.min(axis=0)) - 1, 0, last).astype(int)
    high = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, last).astype(int)
    shape = (high - low + 1)[::-1]
    in_voxels = SkinMesh(
        (ijk - low).astype(np.float32), mesh.triangles, mesh.is_cut, closed=mesh.closed
    )
    stencil = vtkPolyDataToImageStencil()
    stencil.SetInputData(to_polydata(in_voxels))
    k, j, i = (int(n) for n in shape)
    stencil.SetOutputWholeExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image = vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetInsideValue(1)
    image.SetOutsideValue(0)
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    scalars = vtk_to_numpy(image.GetOutput().GetPointData().GetScalars())
    inside = scalars.reshape(k, j, i).astype(bool)
    if not inside.any():
        raise SurfaceError(
            "The surface does not lie within the scan. Take the scan that it was made from, and a "
            "surface that was neither moved nor scaled."
        )
    box = [slice(int(a), int(b) + 1) for a, b in zip(low[::-1], high[::-1], strict=True)]
    return (box[0], box[1], box[2]), inside


def _large_pieces(mask: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_] | None:
    """The pieces that are large enough; None if there are none.

    Voxels that touch by a corner are one piece: two pieces never share a cell of eight voxels,
    and the surface of one does not feel the other.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(mask.view(np.uint8))
    labels: NDArray[Any] = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    sizes = np.bincount(labels.ravel()) * voxel_ml
    sizes[0] = 0.0
    large = (sizes >= _LEAST_ML) & (sizes >= _LEAST_SHARE * sizes.max())
    return large[labels] if large.any() else None
