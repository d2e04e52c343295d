"""Outlines as RT Structure Set (PS3.3, A.19 and C.8.8.5 to C.8.8.8), by pydicom alone.

rt-utils, the usual package, puts outlines on voxel centres, so that what it writes is half a voxel
too small all around, and knows no tilted or uneven slices; it needs OpenCV. A test reads with it.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, header_texts_unsaid
from .label_objects import STRUCTURE_SET, loops_of, read_object
from .segmentation import series_number
from .slices import MAY_BE_EMPTY, completed, require_referable

_MAKER = "SkinSeg"
#: Digits after the point, mm: with them a number fits the 16 characters of a DS (PS3.5, 6.2).
_DIGITS = 6
_COLOR = [177, 122, 101]
_IF_THERE = (
    *("SpecificCharacterSet", "IssuerOfPatientID", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence", "StudyDescription"),
)


@dataclass(frozen=True)
class SliceOutlines:
    """The closed outlines (n, 3; LPS mm) in one slice: ``header`` is the number of its header,
    ``frame`` that of its frame, from 1, in a multi-frame image."""

    header: int
    frame: int | None
    loops: tuple[NDArray[np.float64], ...]


def write_structure_set(
    outlines: Sequence[SliceOutlines],
    headers: Sequence[Any],
    path: Path,
    version: str,
    name: str = "Head",
) -> None:
    """Write outlines as one region, in the study of their source images, and read them back.

    ``headers``: pydicom datasets of the source images without pixels. ``path``: where to write, a
    temporary name. Holes are outlines within outlines, as most programs have them. The region is
    the outer contour (EXTERNAL).

    Raises OutputError if the images lack what an object must refer to, there is no outline, or the
    file does not read back as written.
    """
    require_referable(headers)
    if not any(one.loops for one in outlines):
        raise OutputError("The label is empty on the scan's slices. Choose another label or scan.")
    with header_texts_unsaid():
        made = _made(outlines, headers, version, name)
        made.save_as(path, enforce_file_format=True) if _pydicom_3() else _save_2(made, path)
        back = loops_of(read_object(path), 1)
    wanted = [loop for one in outlines for loop in one.loops]
    same = len(back) == len(wanted) and all(
        a.shape == b.shape and np.abs(a - b).max() < 1e-5 for a, b in zip(back, wanted, strict=True)
    )
    if not same:
        raise OutputError(
            f"{path.name} did not read back as it was written. Check the disk and repeat."
        )


def _pydicom_3() -> bool:
    import pydicom

    return int(pydicom.__version__.split(".")[0]) >= 3


def _save_2(made: Any, path: Path) -> None:
    made.is_little_endian, made.is_implicit_VR = True, True  # pydicom 2.4
    made.save_as(path, write_like_original=False)


def _made(
    outlines: Sequence[SliceOutlines], headers: Sequence[Any], version: str, name: str
) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence as Items
    from pydicom.uid import UID, ImplicitVRLittleEndian, generate_uid

    [first] = completed(headers[:1])
    now = datetime.datetime.now()
    meta = FileMetaDataset()
    # With explicit VR an outline of over 64 kB could not be held (PS3.5, 7.1.2).
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(STRUCTURE_SET)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = UID(STRUCTURE_SET), meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID = first.StudyInstanceUID
    for element in (*MAY_BE_EMPTY, *_IF_THERE):
        if element in first:
            made[element] = first[element]
    made.Modality, made.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    made.SeriesNumber = series_number(first.get("SeriesNumber"), 3)
    made.SeriesDescription, made.OperatorsName = "SkinSeg outlines", ""
    made.Manufacturer = made.ManufacturerModelName = _MAKER
    made.DeviceSerialNumber, made.SoftwareVersions = "1", version
    made.InstanceNumber = 1
    made.FrameOfReferenceUID = first.FrameOfReferenceUID
    made.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    made.StructureSetLabel = "SKIN"
    made.StructureSetDate, made.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    series = _item(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ContourImageSequence=Items([_reference(header) for header in headers]),
    )
    study = _item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",  # Detached Study Management, by C.8.8.5
        ReferencedSOPInstanceUID=first.StudyInstanceUID,
        RTReferencedSeriesSequence=Items([series]),
    )
    frame = _item(
        FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=Items([study])
    )
    made.ReferencedFrameOfReferenceSequence = Items([frame])
    region = _item(
        ROINumber=1,
        ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
        ROIName=name,
        ROIGenerationAlgorithm="SEMIAUTOMATIC",
    )
    made.StructureSetROISequence = Items([region])
    contours = [
        _contour(loop, headers[one.header], one.frame) for one in outlines for loop in one.loops
    ]
    drawn = _item(ROIDisplayColor=_COLOR, ContourSequence=Items(contours), ReferencedROINumber=1)
    made.ROIContourSequence = Items([drawn])
    observed = _item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="EXTERNAL")
    observed.ROIInterpreter = ""
    made.RTROIObservationsSequence = Items([observed])
    made.ApprovalStatus = "UNAPPROVED"
    return made


def _contour(loop: NDArray[np.float64], header: Any, frame: int | None) -> Any:
    from pydicom.sequence import Sequence as Items

    return _item(
        ContourImageSequence=Items([_reference(header, frame)]),
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=len(loop),
        ContourData=[f"{value:.{_DIGITS}f}" for value in loop.ravel()],
    )


def _reference(header: Any, frame: int | None = None) -> Any:
    item = _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _item(**elements: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item
