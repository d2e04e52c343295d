"""A mask as a labelmap file, written by SimpleITK and read back to be sure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import LPS_RAS, OutputError, replacing, spacing_of

FORMATS = (".nrrd", ".nii.gz", ".nii", ".mha")
#: Farthest that a corner of the grid may be off when read back, in mm: NIfTI stores float32.
_TOLERANCE_MM = 1e-2


def check_format(path: Path | str) -> None:
    """Raises OutputError unless the file name's ending is one of FORMATS."""
    name = Path(path).name
    if not name.lower().endswith(FORMATS):
        raise OutputError(
            f"{name}: this kind of labelmap is not known. "
            f"Choose a name that ends in {', '.join(FORMATS)}."
        )


def write_labelmap(voxels: NDArray[np.uint8], ijk_to_ras: ArrayLike, path: Path | str) -> Path:
    """Write labels as NRRD, NIfTI or MetaImage, by the file name's ending, compressed.

    ``voxels``: (k, j, i) uint8. ``ijk_to_ras``: 4x4, mm. The file is read back before it replaces
    an existing one.

    Raises OutputError for an unknown ending, an unwritable place, or a file that reads back wrong
    (NIfTI as ITK writes it cannot hold the sheared grid of a tilted gantry).
    """
    target = Path(path)
    check_format(target)
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    to_lps = LPS_RAS @ np.asarray(ijk_to_ras, dtype=np.float64)
    spacing = spacing_of(to_lps)
    image.SetSpacing(spacing)
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    with replacing(target) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            back = sitk.ReadImage(str(temporary))
        except RuntimeError as error:
            raise OutputError(
                f"Cannot write {target}. Free some space, or choose another output folder."
            ) from error
        if not _same(back, image, voxels):
            raise OutputError(
                f"{target.name} does not read back as it was written: this format may not hold "
                "the scan's grid. Choose a name that ends in .nrrd."
            )
    return target


def _same(back: Any, image: Any, voxels: NDArray[np.uint8]) -> bool:
    import SimpleITK as sitk

    if back.GetSize() != image.GetSize():
        return False
    far = [size - 1 for size in image.GetSize()]
    corners = [
        [c if on else 0 for c, on in zip(far, axis, strict=True)] for axis in np.ndindex(2, 2, 2)
    ]
    apart = [
        np.subtract(
            back.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner)
        )
        for corner in corners
    ]
    near = np.abs(apart).max() <= _TOLERANCE_MM
    return bool(near and np.array_equal(sitk.GetArrayViewFromImage(back), voxels))
