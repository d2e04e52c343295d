"""A label as a file or folder that other programs read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from SkinSegLib import __version__
from SkinSegLib.core import (
    LPS_RAS,
    CTVolume,
    GeometryError,
    OutputError,
    replacing,
    require_writable,
    transform_points,
)
from SkinSegLib.segmentation.labelmap import FORMATS, check_grid, write_labelmap

from .kinds import Kind

if TYPE_CHECKING:
    from SkinSegLib.scan import Source

#: Of the file written for a name; folders need their kind.
_BY_ENDING = {".seg.nrrd": Kind.SEGMENTS, ".inv3": Kind.INVESALIUS, ".dcm": Kind.DICOM_SEG}
_NEED_SOURCE = (Kind.DICOM_SEG, Kind.RTSTRUCT)
_FOLDERS = (Kind.LABELME, Kind.PNG)


def kind_for(path: Path, kind: Kind | None = None) -> Kind:
    """The kind that is written to a path: ``kind``, or what its ending says.

    Raises OutputError where neither does, or they disagree.
    """
    name = path.name.lower()
    said = next((k for ending, k in _BY_ENDING.items() if name.endswith(ending)), None)
    if said is None and name.endswith(FORMATS):
        said = Kind.LABELMAP
    if kind is None:
        if said is None:
            raise OutputError(
                f"{path.name}: say by its ending or by --as what to write. Endings are .seg.nrrd, "
                f"{', '.join(FORMATS)}, .dcm and .inv3; --as takes {', '.join(Kind)}."
            )
        return said
    fitting = {kind} | ({Kind.DICOM_SEG} if kind in _NEED_SOURCE else set())
    if (kind in _FOLDERS) != (said is None) or (said is not None and said not in fitting):
        raise OutputError(f"{path.name} is no name for {kind}. Choose another name, or --as.")
    return kind


def write_label(
    path: str | os.PathLike[str],
    volume: CTVolume,
    mask: NDArray[np.uint8],
    kind: Kind | None = None,
    source: Source | None = None,
    name: str = "Head",
) -> Path:
    """Write the solid head (k, j, i; not 0 is head) as one of :class:`.kinds.Kind`.

    ``kind``: told by the path's ending unless given. ``source``: for DICOM, the scan with the
    headers of its slices (:func:`SkinSegLib.scan.read_source`), whose patient and study the object
    takes over. A DICOM Segmentation is always named Head, and comes out on the slices as they were
    measured. Folders must not exist, or be empty.

    Raises OutputError, GeometryError for a mask that is not on the scan's grid, and
    MissingPackageError.
    """
    target = Path(path)
    chosen = kind_for(target, kind)
    if mask.shape != volume.voxels.shape:
        raise GeometryError("The label is not on the grid of the scan. Give its own scan.")
    solid = (mask != 0).view(np.uint8)
    if not solid.any():
        raise OutputError("The label is empty, so there is nothing to write.")
    if chosen in _NEED_SOURCE and source is None:
        raise OutputError("A label in DICOM needs its scan in DICOM. Give that, or a .seg.nrrd.")
    if chosen == Kind.SEGMENTS:
        write_segments(target, volume, {name: solid})
    elif chosen == Kind.LABELMAP:
        require_writable(target)
        check_grid(target, volume.ijk_to_ras, volume.voxels.shape)
        write_labelmap(solid, volume.ijk_to_ras, target)
    elif chosen == Kind.INVESALIUS:
        from SkinSegLib.scan.invesalius_masks import write_project

        write_project(target, volume, solid, name)
    elif chosen in _FOLDERS:
        _write_folder(target, volume, solid, chosen, name)
    else:
        assert source is not None
        with replacing(target) as temporary:
            if chosen == Kind.DICOM_SEG:
                _write_seg(temporary, solid, source)
            else:
                _write_rtstruct(temporary, solid, source, name)
    return target


def _write_seg(path: Path, mask: NDArray[np.uint8], source: Source) -> None:
    from SkinSegLib.dicom import Segment, on_slices, write_segmentation

    segment = Segment("Head", on_slices(mask, source.places))
    write_segmentation([segment], source.headers, path, __version__)


def _write_rtstruct(path: Path, mask: NDArray[np.uint8], source: Source, name: str) -> None:
    from SkinSegLib.dicom import on_slices
    from SkinSegLib.dicom.structure_set import SliceOutlines, write_structure_set

    from .polygons import loops_in

    to_lps = LPS_RAS @ source.volume.ijk_to_ras
    many = len(source.headers) == 1 and len(source.places) > 1
    slices = []
    for number, loops in enumerate(loops_in(on_slices(mask, source.places))):
        place = source.places[number]
        points = tuple(
            transform_points(to_lps, np.column_stack([loop, np.full(len(loop), place)]))
            for loop in loops
        )
        header, frame = (0, number + 1) if many else (number, None)
        slices.append(SliceOutlines(header, frame, points))
    write_structure_set(slices, source.headers, path, __version__, name)


def _write_folder(
    target: Path, volume: CTVolume, mask: NDArray[np.uint8], kind: Kind, name: str
) -> None:
    """All pictures, or none: written beside the folder, which takes its name at the end."""
    from .labelme import write_labelme
    from .pictures import write_pictures

    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise OutputError(f"{target} is there already. Choose a folder that is new or empty.")
    if not target.parent.is_dir():
        raise OutputError(f"The folder {target.parent} does not exist. Create it first.")
    try:
        with tempfile.TemporaryDirectory(prefix=".skinseg-", dir=target.parent) as private:
            # In a private folder, one with the permissions that new folders have for this user.
            place = Path(private) / "label"
            place.mkdir()
            if kind == Kind.LABELME:
                write_labelme(place, volume, mask, name)
            else:
                write_pictures(place, volume, mask)
            place.replace(target)
    except OSError as error:
        raise OutputError(
            f"Cannot write {target} ({error.strerror or error}). Choose another output folder."
        ) from error


def write_segments(
    path: str | os.PathLike[str], volume: CTVolume, masks: Mapping[str, NDArray[np.uint8]]
) -> Path:
    """Write masks on the scan's grid, which may overlap, as segments of a ``.seg.nrrd`` file.

    Needs no Slicer: one layer for each segment, as Slicer has it for segments that overlap. Raises
    OutputError for other endings, names that occur twice, or what does not read back.
    """
    import SimpleITK as sitk

    from SkinSegLib.scan.masks import read_mask

    target = Path(path)
    if not target.name.lower().endswith(".seg.nrrd"):
        raise OutputError(f"{target.name} must end in .seg.nrrd, or Slicer will not know it.")
    layers = [np.ascontiguousarray(mask != 0).view(np.uint8) for mask in masks.values()]
    to_lps = LPS_RAS @ volume.ijk_to_ras
    array = layers[0] if len(layers) == 1 else np.stack(layers, axis=-1)
    image = sitk.GetImageFromArray(array, isVector=len(layers) > 1)
    image.SetSpacing(volume.spacing)
    image.SetDirection((to_lps[:3, :3] / volume.spacing).ravel().tolist())
    image.SetOrigin(to_lps[:3, 3].tolist())
    image.SetMetaData("Segmentation_MasterRepresentation", "Binary labelmap")
    image.SetMetaData("Segmentation_ContainedRepresentationNames", "Binary labelmap|")
    extent = " ".join(f"0 {n - 1}" for n in volume.voxels.shape[::-1])
    for number, name in enumerate(masks):
        shade = 0.45 + 0.5 * ((0.618 * number) % 1)
        facts = {
            "ID": f"Segment_{number + 1}" if name != "Head" else "Head",
            "Name": name,
            "NameAutoGenerated": "0",
            "Color": f"{shade:.3f} {0.48 if number == 0 else 1 - shade:.3f} 0.4",
            "ColorAutoGenerated": "0",
            "Extent": extent,
            "Layer": str(number),
            "LabelValue": "1",
            "Tags": "Segmentation.Status:completed|",
        }
        for key, value in facts.items():
            image.SetMetaData(f"Segment{number}_{key}", value)
    with replacing(target) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError as error:
            raise OutputError(
                f"Cannot write {target}. Free some space, or choose another output folder."
            ) from error
        for name, layer in zip(masks, layers, strict=True):
            if layer.any() and not np.array_equal(read_mask(temporary, name)[0], layer):
                raise OutputError(
                    f"{target.name} did not read back as it was written. Check the disk."
                )
    return target
