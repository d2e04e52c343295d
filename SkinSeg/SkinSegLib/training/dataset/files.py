"""Scans and labels of a data set as NIfTI files, which other tools read."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import LPS_RAS, CTVolume, OutputError, spacing_of
from SkinSegLib.core.geometry import Matrix
from SkinSegLib.scan.masks import onto_scan

#: Farthest that a corner of a grid may be off as NIfTI holds it, in mm.
_TOLERANCE_MM = 1e-2
#: A grid whose axes are farther from right angles than this (a cosine) is sheared.
_SHEARED = 1e-4


def digest(voxels: NDArray[Any], ijk_to_ras: Matrix) -> str:
    """SHA-256 of voxels (k, j, i) and of the size of a voxel to 0.001 mm.

    Not of where the patient lay: a scan that was moved is the same scan. Differs between int16
    and float32 voxels of the same values; a scan is read to the same type each time.
    """
    found = hashlib.sha256(f"{voxels.shape} {voxels.dtype.str} ".encode())
    found.update(str([round(s, 3) for s in spacing_of(ijk_to_ras)]).encode())
    found.update(np.ascontiguousarray(voxels).data)
    return found.hexdigest()


def is_sheared(ijk_to_ras: Matrix) -> bool:
    """Whether the axes are not at right angles (gantry tilt), which NIfTI as ITK has it cannot
    hold."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > _SHEARED)


def straightened(
    volume: CTVolume, mask: NDArray[np.uint8] | None
) -> tuple[CTVolume, NDArray[np.uint8] | None]:
    """A sheared scan and its mask (k, j, i) on a grid at right angles: i and j stay, k becomes
    their normal with the distance between slices. Linear interpolation; what the scan did not
    cover gets its lowest value. Others come back as they are.
    """
    if not is_sheared(volume.ijk_to_ras):
        return volume, mask
    import SimpleITK as sitk

    grid, size = _upright(volume)
    target = _image(np.zeros((1, 1, 1), np.uint8), grid)
    moved = sitk.Resample(
        _image(volume.voxels, volume.ijk_to_ras),
        size,
        sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear,
        target.GetOrigin(),
        target.GetSpacing(),
        target.GetDirection(),
        float(volume.voxels.min()),
    )
    straight = CTVolume(
        sitk.GetArrayFromImage(moved), grid, volume.padding, volume.modality, volume.notes
    )
    return straight, None if mask is None else onto_scan(mask, volume.ijk_to_ras, straight)


def _upright(volume: CTVolume) -> tuple[Matrix, list[int]]:
    """The grid at right angles that holds all of a sheared one, and its size along i, j, k."""
    matrix = volume.ijk_to_ras
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    normal = np.cross(axes[:, 0], axes[:, 1])
    normal *= np.sign(normal @ axes[:, 2])
    upright = np.column_stack([axes[:, 0], axes[:, 1], normal])
    i, j, k = volume.spacing
    steps = np.array([i, j, k * float(normal @ axes[:, 2])])
    last = np.array(volume.voxels.shape[::-1]) - 1
    corners = np.array(list(np.ndindex(2, 2, 2))) * last
    ras = corners @ matrix[:3, :3].T + matrix[:3, 3]
    along = (ras - matrix[:3, 3]) @ upright / steps
    low, high = np.floor(along.min(axis=0) + 1e-6), np.ceil(along.max(axis=0) - 1e-6)
    grid = np.eye(4)
    grid[:3, :3] = upright * steps
    grid[:3, 3] = matrix[:3, 3] + upright @ (low * steps)
    return grid, [int(n) for n in high - low + 1]


def write_nifti(voxels: NDArray[Any], ijk_to_ras: Matrix, path: Path) -> None:
    """Write voxels (k, j, i) on their grid, nothing else, and read them back to be sure.

    Raises OutputError if they cannot be written, or do not come back as they were.
    """
    import SimpleITK as sitk

    image = _image(voxels, ijk_to_ras)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressionLevel(3)  # a third of the time of the usual 6, and 3 % larger
    try:
        writer.Execute(image)
        back = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise OutputError(
            f"{path.name} cannot be written. Free some space, or choose another folder."
        ) from error
    far = [n - 1 for n in image.GetSize()]
    off = np.subtract(
        back.TransformIndexToPhysicalPoint(far), image.TransformIndexToPhysicalPoint(far)
    )
    same = np.abs(off).max() <= _TOLERANCE_MM and back.GetSize() == image.GetSize()
    if not (same and np.array_equal(sitk.GetArrayViewFromImage(back), voxels)):
        raise OutputError(
            f"{path.name} did not read back as it was written and was discarded. "
            "Check the disk, or choose another folder."
        )


def _image(voxels: NDArray[Any], ijk_to_ras: Matrix) -> Any:
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    to_lps = LPS_RAS @ np.asarray(ijk_to_ras, np.float64)
    spacing = spacing_of(to_lps)
    image.SetSpacing(spacing)
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image
