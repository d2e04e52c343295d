"""NRRD, NIfTI and MetaImage, through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..core import LPS_RAS, CTVolume, Progress, ScanReadError
from .detached import require_own_data
from .grey import settle
from .headers import check_nifti, check_nrrd, not_finite, truncated, zero_spacing

#: Suffixes read here, with SimpleITK's reader for each: by name, since a text file named .nrrd
#: must not be tried as something else.
SUFFIXES = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}


def image_suffix(path: Path) -> str | None:
    """The suffix in SUFFIXES that a file's name ends with, or None."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def read_image(path: Path, progress: Progress | None = None) -> CTVolume:
    """One 3D greyscale volume from a NRRD, NIfTI or MetaImage file.

    Raises ScanReadError for a file that is damaged, truncated, has more or fewer than three
    dimensions, colours, a segmentation, or voxels outside of its folder; GeometryError for unusable
    axes.
    """
    import SimpleITK as sitk

    suffix = image_suffix(path)
    if suffix is None:
        raise ScanReadError(f"{path} is not a file that can be read as a volume.")
    if path.name.lower().endswith((".seg.nrrd", ".seg.nhdr")):
        raise ScanReadError(f"{path} is a segmentation, not a scan. Give the scan it belongs to.")
    if path.stat().st_size == 0:
        raise ScanReadError(f"{path} is empty. Copy or download it again.")
    require_own_data(path)
    notes: tuple[str, ...] = ()
    to_lps = None
    if SUFFIXES[suffix] == "NrrdImageIO":
        to_lps, notes = check_nrrd(path)
    nifti = None
    if SUFFIXES[suffix] == "NiftiImageIO":
        nifti, notes = check_nifti(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(SUFFIXES[suffix])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        _require_greyscale_3d(path, reader)
        if progress is not None:
            progress.update(0.1)
        image = reader.Execute()
    except RuntimeError as error:
        raise translated(path, str(error)) from error
    if progress is not None:
        progress.update(0.7)
    matrix = LPS_RAS @ (index_to_lps(image) if to_lps is None else to_lps)
    array = _voxels(image)
    if nifti is not None and array.dtype.kind == "f":
        # ITK turns NaN and infinity into 0, which would be water: put them back.
        array.reshape(-1)[not_finite(path, nifti)] = np.nan
    voxels, padding, remarks = settle(array)
    if progress is not None:
        progress.update(1.0)
    return CTVolume(voxels, matrix, padding=padding, notes=notes + remarks)


def _require_greyscale_3d(path: Path, reader: Any) -> None:
    components = reader.GetNumberOfComponents()
    size = reader.GetSize()
    if components != 1:
        raise ScanReadError(
            f"{path} has {components} values per voxel: a colour image, a time series or a vector "
            "field. Choose a greyscale CT volume."
        )
    if len(size) == 2:
        raise ScanReadError(f"{path} is a flat picture without slices. Choose a 3D CT volume.")
    if len(size) > 3 and any(count > 1 for count in size[3:]):
        raise ScanReadError(
            f"{path} has {len(size)} dimensions ({' x '.join(map(str, size))}): a time series, "
            "not one scan. Export a single 3D volume from it."
        )


def _voxels(image: Any) -> Any:
    import SimpleITK as sitk

    array = sitk.GetArrayFromImage(image)
    return array.reshape(array.shape[-3:])


def index_to_lps(image: Any) -> Any:
    """4x4 from (i, j, k) to LPS mm; of a 4D image with one volume, its first three axes."""
    count = image.GetDimension()
    direction = np.array(image.GetDirection()).reshape(count, count)[:3, :3]
    matrix = np.eye(4)
    matrix[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    matrix[:3, 3] = image.GetOrigin()[:3]
    return matrix


def translated(path: Path, text: str) -> ScanReadError:
    """What SimpleITK's message means for the user. Its own text stays out: it names build paths."""
    lower = text.lower()
    if "spacing" in lower and ("refusing" in lower or "invalid" in lower or "zero" in lower):
        return zero_spacing(path)
    if "things, not" in text or "but received" in text or "data not read completely" in lower:
        return truncated(path)
    if "orthonormal" in lower:
        return ScanReadError(
            f"{path} has a sheared or inconsistent orientation that cannot be read from NIfTI "
            "(gantry tilt?). Use the DICOM files, or export the scan as NRRD."
        )
    if path.name.lower().endswith((".mha", ".mhd")) and "no such file" in lower:
        # MetaImage gives this reason both for a missing data file and for one that is too short.
        return truncated(path) if _meta_data_file(path).is_file() else _headless(path)
    if "couldn't open" in lower:
        return _headless(path)
    if "determinant is 0" in lower or "bad direction" in lower:
        return ScanReadError(
            f"{path} has two axes that point the same way. Export the scan again from its source."
        )
    return ScanReadError(
        f"{path} cannot be read as a volume: it is damaged, truncated, or not what its name says. "
        "Copy or download it again, or export it anew."
    )


def _meta_data_file(path: Path) -> Path:
    with open(path, "rb") as file:
        for line in file.read(65536).splitlines():
            name, _, value = line.decode("latin-1").partition("=")
            if name.strip() == "ElementDataFile" and value.strip() != "LOCAL":
                return path.parent / value.strip()
    return path


def _headless(path: Path) -> ScanReadError:
    return ScanReadError(
        f"{path} is only a header, and the file with its voxels is missing. "
        "Put the data file beside it."
    )
