"""A mask as DICOM Segmentation (PS3.3, A.51 and C.8.20), by highdicom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, OutputError, header_texts_unsaid
from .slices import completed, require_referable

#: Name, category, type and region of the segments (PS3.16, CID 7150, 7151; SNOMED CT).
_CODES = {
    "Head": (("123037004", "Anatomical Structure"), ("69536005", "Head"), None),
    "Skin": (("85756007", "Tissue"), ("39937001", "Skin"), ("69536005", "Head")),
}
#: Colour of the skin in Slicer's terminology, and a darker one for the head.
_COLORS = {"Head": (177, 122, 101), "Skin": (200, 150, 130)}
_MAKER = "SkinSeg"


@dataclass(frozen=True)
class Segment:
    """``name``: Head or Skin, which decides the codes. ``pixels``: (n, rows, columns), uint8 0 and
    1, one slice for each header (or for each frame of the one multi-frame header)."""

    name: str
    pixels: NDArray[np.uint8]


def require_highdicom() -> None:
    """Raise MissingPackageError, with what to do, where DICOM Segmentations cannot be written."""
    try:
        import pydicom
    except ImportError as error:
        raise MissingPackageError(
            "DICOM needs the package pydicom. Install it with: pip install pydicom"
        ) from error
    if int(pydicom.__version__.split(".")[0]) < 3:
        raise MissingPackageError(
            "A DICOM Segmentation needs pydicom 3 or newer, and here is pydicom "
            f"{pydicom.__version__} (Slicer 5.10 comes with 2.4). Use Slicer 5.12 or newer, or the "
            "command skinseg outside Slicer; the encapsulated STL can be written here."
        )
    try:
        import highdicom
    except ImportError as error:
        raise MissingPackageError(
            'A DICOM Segmentation needs the package highdicom. Install it with: pip install "'
            'highdicom>=0.26"'
        ) from error
    if tuple(int(part) for part in highdicom.__version__.split(".")[:2]) < (0, 26):
        raise MissingPackageError(
            f"A DICOM Segmentation needs highdicom 0.26 or newer, and here is "
            f'{highdicom.__version__}. Update it with: pip install -U "highdicom>=0.26"'
        )


def write_segmentation(
    segments: Sequence[Segment], headers: Sequence[Any], path: Path, version: str
) -> None:
    """Write a binary Segmentation in the study of its source images, and read it back.

    ``headers``: pydicom datasets of the source images without pixels: single-frame ones in the
    order of the slices, or one multi-frame image. ``path``: where to write, a temporary name (see
    :class:`~SkinSegLib.core.Replacements`). ``version``: of SkinSeg, for the equipment and
    algorithm that are named. Patient and study are those of the images. Each slice refers to its
    source image and lies where that lies, tilted and uneven ones too; empty slices are left out.

    Raises MissingPackageError without highdicom, OutputError if the images lack what an object
    must refer to, are not what highdicom accepts, or the file does not read back as written.
    """
    require_highdicom()
    require_referable(headers)
    if not any(segment.pixels.any() for segment in segments):
        raise OutputError("The mask is empty on the scan's slices. Choose another mask or scan.")
    with header_texts_unsaid():
        try:
            made = _made(segments, completed(headers), version)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # highdicom refuses by these what is no valid CT image.
            what = getattr(error, "name", None) or type(error).__name__
            raise OutputError(
                "The scan's DICOM headers lack what a Segmentation must copy from them, or have it "
                f"in a wrong form ({what}). Export the scan again from its source, or write the "
                "mask as .seg.nrrd."
            ) from error
        made.save_as(path)
        _verify(segments, headers, path)


def _made(segments: Sequence[Segment], headers: Sequence[Any], version: str) -> Any:
    from highdicom.seg import Segmentation, SegmentationTypeValues
    from highdicom.uid import UID

    number = headers[0].get("SeriesNumber")
    descriptions = [_description(n, part, version) for n, part in enumerate(segments, start=1)]
    return Segmentation(
        source_images=list(headers),
        pixel_array=np.stack([segment.pixels for segment in segments], axis=-1),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=UID(),
        series_number=series_number(number, 1),
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_MAKER,
        software_versions=version,
        device_serial_number="1",
        content_label="SKIN",
        content_description="Skin of the head",
        series_description="SkinSeg segmentation",
    )


def series_number(source: Any, which: int) -> int:
    """A number for a new series that sorts behind its source: 6 gives 601 and 602."""
    number = int(source) if source is not None and str(source).strip() else 0
    return 100 * number + which if 0 <= number < 10_000_000 else which


def _description(number: int, segment: Segment, version: str) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    category, kind, region = _CODES[segment.name]
    return SegmentDescription(
        segment_number=number,
        segment_label=segment.name,
        segmented_property_category=_code(category),
        segmented_property_type=_code(kind),
        # The mask may have been corrected by hand.
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=_MAKER, family=codes.DCM.ArtificialIntelligence, version=version
        ),
        anatomic_regions=None if region is None else [_code(region)],
        display_color=CIELabColor.from_rgb(*_COLORS[segment.name]),
    )


def _code(code: tuple[str, str]) -> Any:
    from pydicom.sr.coding import Code

    return Code(code[0], "SCT", code[1])


def _verify(segments: Sequence[Segment], headers: Sequence[Any], path: Path) -> None:
    """The file as a reader sees it: same study, same codes, every voxel where it was."""
    from highdicom.seg import segread

    wrong = OutputError(
        f"{path.name} did not read back as it was written. Check the disk and repeat."
    )
    back = segread(path)
    first = headers[0]
    if back.StudyInstanceUID != first.StudyInstanceUID or (
        back.FrameOfReferenceUID != first.FrameOfReferenceUID
    ):
        raise wrong
    if [back.get_segment_description(n + 1).segment_label for n in range(len(segments))] != [
        segment.name for segment in segments
    ]:
        raise wrong
    for number, segment in enumerate(segments, start=1):
        if len(headers) == 1 and int(first.get("NumberOfFrames", 0) or 0) > 0:
            pixels = back.get_pixels_by_source_frame(
                first.SOPInstanceUID,
                list(range(1, len(segment.pixels) + 1)),
                segment_numbers=[number],
                assert_missing_frames_are_empty=True,
            )
        else:
            pixels = back.get_pixels_by_source_instance(
                [header.SOPInstanceUID for header in headers],
                segment_numbers=[number],
                assert_missing_frames_are_empty=True,
            )
        if not np.array_equal(pixels[..., 0], segment.pixels):
            raise wrong
