"""Labels as folders of PNG pictures, one for each slice of the scan (index k).

A picture shows the array as it is: column i, row j. Pictures do not say where in space they lie;
those that are written here have a file beside them that does, and it is compared when they are
read again.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, GeometryError, OutputError, ScanReadError

#: The file that says which scan pictures belong to, and the format's version.
GRID_FILE, _GRID_VERSION = "skinseg-grid.json", 1
#: Farthest that grids may be apart, mm.
_TOLERANCE_MM = 0.01
INSIDE = 255
#: Grey values shown from black to white.
WINDOW = (-1000.0, 400.0)


def slice_name(k: int) -> str:
    """The name, without ending, of the pictures of slice k."""
    return f"slice_{k:04d}"


def natural(path: Path) -> list[Any]:
    """A key that sorts slice_9 before slice_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name.lower())]


def read_pictures(path: Path, volume: CTVolume, label: int | None) -> NDArray[np.uint8]:
    """The label in a folder of PNG files; colour pictures count where any colour is not 0.

    Raises ScanReadError for damaged pictures, GeometryError for those of another scan.
    """
    require_same_grid(path, volume)
    files = sorted((f for f in path.iterdir() if f.suffix.lower() == ".png"), key=natural)
    require_count(path, len(files), volume)
    mask = np.empty(volume.voxels.shape, np.uint8)
    for k, file in enumerate(files):
        picture = read_png(file)
        if picture.ndim == 3:
            if label is not None:
                raise ScanReadError(f"{file} is in colour and has no values. Leave out --label.")
            picture = picture[..., : 3 if picture.shape[-1] > 2 else 1].max(axis=-1)
        require_size(file, picture.shape, volume)
        mask[k] = picture != 0 if label is None else picture == label
    if not mask.any():
        raise ScanReadError(f"{path}: the label is empty. Choose another folder or --label.")
    return mask


def require_count(path: Path, count: int, volume: CTVolume) -> None:
    """Raise GeometryError unless there is one picture for each slice."""
    if count != len(volume.voxels):
        raise GeometryError(
            f"{path} holds {count} pictures and the scan {len(volume.voxels)} slices. Give one "
            "for each slice, and the scan they were made from."
        )


def require_size(path: Path, shape: tuple[int, ...], volume: CTVolume) -> None:
    """Raise GeometryError unless a picture (rows, columns) is as large as a slice."""
    if tuple(shape) != volume.voxels.shape[1:]:
        rows, columns = volume.voxels.shape[1:]
        raise GeometryError(
            f"{path} has {shape[1]} x {shape[0]} pixels and a slice of the scan {columns} x {rows}."
            " Give the scan the pictures were made from."
        )


def read_png(path: Path) -> NDArray[Any]:
    """A PNG as (rows, columns), or with a last axis of colours. ScanReadError if it is damaged."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("PNGImageIO")
    reader.SetFileName(str(path))
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise ScanReadError(f"{path} is a damaged picture. Copy or export it again.") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
    flat: NDArray[Any] = image[0] if image.shape[0] == 1 and image.ndim > 2 else image
    return flat


def write_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write (rows, columns) uint8 as a grey PNG. Raises OutputError."""
    import SimpleITK as sitk

    try:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(picture)), str(path))
    except RuntimeError as error:
        raise OutputError(
            f"Cannot write {path}. Free some space, or choose another output folder."
        ) from error


def write_pictures(folder: Path, volume: CTVolume, mask: NDArray[np.uint8]) -> None:
    """A label as PNG files, 0 and 255, in an empty folder."""
    for k, part in enumerate(mask):
        write_png(np.where(part > 0, INSIDE, 0).astype(np.uint8), folder / f"{slice_name(k)}.png")
    write_grid(folder, volume)


def grey_picture(part: NDArray[Any]) -> NDArray[np.uint8]:
    """A slice of a scan as a grey picture."""
    low, high = WINDOW
    scaled = (part.astype(np.float32) - low) * (255 / (high - low))
    grey: NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey


def write_grid(folder: Path, volume: CTVolume) -> None:
    """Say beside pictures which grid they are on: nothing of the patient."""
    text = json.dumps(
        {
            "version": _GRID_VERSION,
            "what": "pictures of slices k: columns are i, rows are j; ijk_to_ras in mm",
            "shape_kji": list(volume.voxels.shape),
            "ijk_to_ras": np.asarray(volume.ijk_to_ras).tolist(),
        },
        indent=1,
    )
    (folder / GRID_FILE).write_text(text + "\n", encoding="utf-8")


def require_same_grid(folder: Path, volume: CTVolume) -> None:
    """Raise GeometryError if pictures say that they are of another grid than the scan's."""
    file = folder / GRID_FILE
    if not file.is_file():
        return
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        shape, matrix = tuple(found["shape_kji"]), np.array(found["ijk_to_ras"], float)
        far = np.array([*shape[::-1], 1.0])
        ends = [m @ e for m in (matrix, volume.ijk_to_ras) for e in (np.eye(4)[3], far)]
        apart = max(np.abs(ends[0] - ends[2]).max(), np.abs(ends[1] - ends[3]).max())
        turned = np.abs(matrix - volume.ijk_to_ras)[:3, :3].max() > 1e-3
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ScanReadError(f"{file} is damaged. Export the pictures again.") from error
    if shape != volume.voxels.shape or turned or apart > _TOLERANCE_MM:
        raise GeometryError(
            f"{folder} holds pictures of another scan, or of this one on another grid. Give the "
            "scan they were made from."
        )
