"""A mask made elsewhere: a labelmap or a Slicer segmentation file, and putting it onto a scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core import LPS_RAS, CTVolume, GeometryError, ScanReadError, bounding_box
from ..core.geometry import Matrix
from .detached import require_own_data
from .headers import check_nrrd
from .images import SUFFIXES, image_suffix, index_to_lps, translated

#: The segment that is taken from a file with several if none is named: ours.
_OURS = "Head"
#: Slices of the scan that a mask is interpolated for at a time.
_SLAB = 16


def read_mask(
    path: Path, segment: str | None = None, label: int | None = None
) -> tuple[NDArray[np.uint8], Matrix]:
    """A mask (k, j, i; 0 and 1) and its 4x4 from ijk to RAS mm, from NRRD, NIfTI or MetaImage.

    ``segment``: name or ID of a segment of a ``.seg.nrrd`` file; needed where there are several
    and none is called Head. ``label``: value of a labelmap; without it, all that is not 0.

    Raises ScanReadError for a file that cannot be read, holds no mask, or lacks what was named.
    """
    import SimpleITK as sitk

    suffix = image_suffix(path)
    if suffix is None:
        raise ScanReadError(
            f"{path} is not a file that a mask can be read from. "
            f"Give one that ends in {', '.join(SUFFIXES)}."
        )
    if not path.is_file():
        raise ScanReadError(f"There is no file {path}. Check its name.")
    require_own_data(path)
    to_lps = check_nrrd(path)[0] if SUFFIXES[suffix] == "NrrdImageIO" else None
    reader = sitk.ImageFileReader()
    reader.SetImageIO(SUFFIXES[suffix])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        # SimpleITK takes no key that is not text, which a damaged header may have.
        named = (key for key in reader.GetMetaDataKeys() if key.isascii())
        facts = {key: reader.GetMetaData(key) for key in named if key.startswith("Segment")}
        image = reader.Execute()
    except RuntimeError as error:
        raise translated(path, str(error)) from error
    array = sitk.GetArrayViewFromImage(image)
    try:
        segments = _segments(facts)
    except ValueError as error:
        raise _damaged_segments(path) from error
    if segments:
        if label is not None:
            raise ScanReadError(f"{path} holds segments. Name one by --segment, not --label.")
        layer, label = _chosen(path, segments, segment)
        if not 0 <= layer < image.GetNumberOfComponentsPerPixel():
            raise _damaged_segments(path)
        if image.GetNumberOfComponentsPerPixel() > 1:
            array = array[..., layer]
    elif segment is not None:
        raise ScanReadError(f"{path} has no named segments. Use --label for a value in it.")
    if array.ndim != 3:
        raise ScanReadError(f"{path} is not one 3D mask. Choose a labelmap with one value a voxel.")
    mask = (array != 0 if label is None else array == label).astype(np.uint8)
    if not mask.any():
        raise ScanReadError(f"{path}: the mask is empty there. Choose another segment or label.")
    return mask, LPS_RAS @ (index_to_lps(image) if to_lps is None else to_lps)


def onto_scan(mask: NDArray[np.uint8], ijk_to_ras: Matrix, scan: CTVolume) -> NDArray[np.uint8]:
    """The mask on the scan's grid: interpolated linearly and cut at one half where grids differ.

    Raises GeometryError if less than nine tenths of it lie in the scan.
    """
    shape = scan.voxels.shape
    if mask.shape == shape and np.allclose(ijk_to_ras, scan.ijk_to_ras, atol=1e-3):
        return mask
    from scipy import ndimage

    box = bounding_box(mask, margin=0)
    assert box is not None
    # Beyond its own grid a mask is empty, and what reaches its edge must not be cut short.
    part = np.pad(mask[box].astype(np.float32), 1)
    # From an index (i, j, k) of the scan to one of the part; arrays count the other way round.
    step = np.linalg.inv(ijk_to_ras) @ scan.ijk_to_ras
    turned, first = step[2::-1, 2::-1], step[2::-1, 3] - [s.start - 1 for s in box]
    result = np.empty(shape, np.uint8)
    for start in range(0, shape[0], _SLAB):
        slab = result[start : start + _SLAB]
        offset = first + turned[:, 0] * start
        found = ndimage.affine_transform(part, turned, offset, output_shape=slab.shape, order=1)
        slab[:] = found >= 0.5
    there = np.count_nonzero(result) * scan.voxel_volume_ml
    wanted = np.count_nonzero(mask) * float(abs(np.linalg.det(ijk_to_ras[:3, :3]))) / 1000
    if there < 0.9 * wanted:
        raise GeometryError(
            f"Of the mask's {wanted:.0f} mL only {there:.0f} mL lie in the scan. "
            "Give the scan that the mask was made on."
        )
    return result


def _damaged_segments(path: Path) -> ScanReadError:
    return ScanReadError(
        f"{path}: its list of segments is damaged. Save the segmentation again in Slicer."
    )


def _segments(facts: dict[str, str]) -> list[tuple[str, str, int, int]]:
    """ID, name, layer and label value of each segment that a header tells of."""
    found: list[tuple[str, str, int, int]] = []
    while (prefix := f"Segment{len(found)}_") + "ID" in facts:
        name = facts.get(prefix + "Name", facts[prefix + "ID"])
        numbers = (facts.get(prefix + "Layer", "0"), facts.get(prefix + "LabelValue", "1"))
        layer, value = (int(text) for text in numbers)
        found.append((facts[prefix + "ID"], name, layer, value))
    return found


def _chosen(
    path: Path, segments: list[tuple[str, str, int, int]], wanted: str | None
) -> tuple[int, int]:
    """Layer and label value of the segment to take."""
    name = wanted or (segments[0][0] if len(segments) == 1 else _OURS)
    for one in segments:
        if name in one[:2]:
            return one[2], one[3]
    there = ", ".join(one[1] for one in segments)
    raise ScanReadError(f"{path}: choose a segment by --segment. There are: {there}.")
