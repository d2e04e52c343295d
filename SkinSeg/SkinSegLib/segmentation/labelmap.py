"""A mask as a labelmap file, written by SimpleITK and read back to be sure."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..core import LPS_RAS, OutputError, cannot_write, replacing, spacing_of

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


def check_grid(path: Path | str, ijk_to_ras: ArrayLike, shape: tuple[int, ...]) -> None:
    """Raises OutputError if the format that ``path`` names cannot hold the grid, found by trying.

    ``ijk_to_ras``: 4x4, mm; ``shape``: (k, j, i). NIfTI as ITK writes it cannot hold the sheared
    grid of a tilted gantry.
    """
    target = Path(path)
    check_format(target)
    import SimpleITK as sitk

    # Each axis has two voxels, so that a reader sees its direction.
    image = on_grid(np.zeros((2, 2, 2), np.uint8), ijk_to_ras)
    with _folder_beside(target) as folder:
        shown = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)  # the message says it better
        try:
            sitk.WriteImage(image, str(folder / target.name))
            back = sitk.ReadImage(str(folder / target.name))
        except RuntimeError:
            (folder / "probe").write_bytes(bytes(1 << 16))  # or the disk is to blame
            raise _cannot_hold(target) from None
        finally:
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    if not _same_place(back, image, shape):
        raise _cannot_hold(target)


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """A folder for a while; an error of the system in it is an OutputError."""
    try:
        with tempfile.TemporaryDirectory(
            prefix=".skinseg-", dir=target.parent, ignore_cleanup_errors=True
        ) as folder:
            yield Path(folder)
    except OSError as error:
        raise cannot_write(target, error) from error


def write_labelmap(voxels: NDArray[np.uint8], ijk_to_ras: ArrayLike, path: Path | str) -> Path:
    """Write labels as NRRD, NIfTI or MetaImage, by the file name's ending, compressed.

    ``voxels``: (k, j, i) uint8. ``ijk_to_ras``: 4x4, mm. The file is read back before it replaces
    an existing one.

    Raises OutputError for an unknown ending, an unwritable place, or a file that reads back wrong;
    :func:`check_grid` tells beforehand whether the format is to blame.
    """
    target = Path(path)
    check_format(target)
    import SimpleITK as sitk

    image = on_grid(voxels, ijk_to_ras)
    with replacing(target) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
            back = sitk.ReadImage(str(temporary))
        except RuntimeError as error:
            raise OutputError(
                f"Cannot write {target}. Free some space, or choose another output folder."
            ) from error
        if not _same_place(back, image, voxels.shape):
            raise _cannot_hold(target)
        if not np.array_equal(sitk.GetArrayViewFromImage(back), voxels):
            raise OutputError(
                f"{target.name} did not read back as it was written and was discarded. "
                "Check the disk, or choose another folder."
            )
    return target


def on_grid(voxels: NDArray[Any], ijk_to_ras: ArrayLike) -> Any:
    """Voxels (k, j, i) as an image of SimpleITK; ``ijk_to_ras``: 4x4, mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels)
    to_lps = LPS_RAS @ np.asarray(ijk_to_ras, dtype=np.float64)
    spacing = spacing_of(to_lps)
    image.SetSpacing(spacing)
    image.SetDirection((to_lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    return image


def _cannot_hold(target: Path) -> OutputError:
    return OutputError(
        f"{target.name}: this format cannot hold the scan's grid, whose slices are sheared (gantry "
        "tilt) or lie unusually. Choose a name that ends in .nrrd or .seg.nrrd."
    )


def _same_place(back: Any, image: Any, shape: tuple[int, ...]) -> bool:
    """Whether the corners of a grid of ``shape`` (k, j, i) lie where they did."""
    if back.GetSize() != image.GetSize():
        return False
    far = [size - 1 for size in shape[::-1]]
    corners = [
        [c if on else 0 for c, on in zip(far, axis, strict=True)] for axis in np.ndindex(2, 2, 2)
    ]
    apart = [
        np.subtract(
            back.TransformIndexToPhysicalPoint(corner), image.TransformIndexToPhysicalPoint(corner)
        )
        for corner in corners
    ]
    return bool(np.abs(apart).max() <= _TOLERANCE_MM)
