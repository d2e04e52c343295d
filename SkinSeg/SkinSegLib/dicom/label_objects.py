"""Labels in DICOM as other programs write them: Segmentations, and outlines of structure sets.

The frames of a Segmentation are placed one by one, where highdicom's ``get_volume`` wants a regular
grid at right angles: those of a tilted gantry or of uneven slices have none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, ScanReadError, header_texts_unsaid

#: SOP classes: Segmentation, Label Map Segmentation (PS3.4, B.5), RT Structure Set.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
#: Contours that enclose something (PS3.3, C.8.8.6.3).
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """The frames of one segment: ``pixels`` (n, rows, columns) uint8 0 and 1, ``positions`` (n, 3)
    of their first voxels in LPS mm, ``row`` and ``column``: directions (LPS) along which column
    and row index grow, ``spacing``: mm between columns and between rows, ``thickness_mm``."""

    pixels: NDArray[np.uint8]
    positions: Points
    row: Points
    column: Points
    spacing: tuple[float, float]
    thickness_mm: float


@dataclass(frozen=True)
class LabelObject:
    """A Segmentation or structure set: its header (a pydicom dataset), and for each segment or
    region its number, name, and whether it is the outer contour (EXTERNAL) of a plan."""

    path: Path
    header: Any
    parts: tuple[tuple[int, str, bool], ...]


def read_object(path: Path) -> LabelObject:
    """A Segmentation or RT Structure Set file, without its pixels.

    Raises ScanReadError for a damaged file and for other objects, MissingPackageError without
    pydicom.
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingPackageError(
            "DICOM needs the package pydicom. Install it with: pip install pydicom"
        ) from error
    with header_texts_unsaid():
        try:
            header = pydicom.dcmread(path)
            kind = str(header.get("SOPClassUID", ""))
            if kind in SEGMENTATIONS:
                parts = [
                    (int(item.SegmentNumber), str(item.SegmentLabel), False)
                    for item in header.SegmentSequence
                ]
            elif kind == STRUCTURE_SET:
                external = {
                    int(item.ReferencedROINumber)
                    for item in header.get("RTROIObservationsSequence") or ()
                    if str(item.get("RTROIInterpretedType") or "").upper() == "EXTERNAL"
                }
                parts = [
                    (int(item.ROINumber), str(item.get("ROIName") or ""), number in external)
                    for item in header.StructureSetROISequence
                    for number in [int(item.ROINumber)]
                ]
            else:
                raise ScanReadError(
                    f"{path} is neither a DICOM Segmentation nor a structure set. Choose another."
                )
        except OSError:
            raise
        except ScanReadError:
            raise
        except Exception as error:  # pydicom documents no closed list of what damage may raise
            raise damaged(path) from error
    if not parts:
        raise ScanReadError(f"{path} holds no segment. Choose another file.")
    return LabelObject(path, header, tuple(parts))


def damaged(path: Path) -> ScanReadError:
    """The error for an object that cannot be understood."""
    return ScanReadError(f"{path} is a damaged DICOM file. Copy or export it again.")


def frames_of(of: LabelObject, number: int) -> Frames:
    """The frames of one segment of a Segmentation (BINARY, FRACTIONAL or LABELMAP).

    Fractions count from one half. Raises ScanReadError where frames lack a place, lie in several
    orientations, or cannot be unpacked.
    """
    with header_texts_unsaid():
        try:
            return _frames(of.header, number, of.path)
        except (ScanReadError, MemoryError):
            raise
        except Exception as error:  # as above
            raise damaged(of.path) from error


def _frames(header: Any, number: int, path: Path) -> Frames:
    pixels = header.pixel_array
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    kind = str(header.SegmentationType)
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    chosen, positions, planes, measures = [], [], [], []
    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            found = own.get(name) or (shared.get(name) if shared is not None else None)
            return found[0] if found else None

        if kind != "LABELMAP":
            which = group("SegmentIdentificationSequence")
            if int(which.ReferencedSegmentNumber) != number:
                continue
        chosen.append(index)
        positions.append([float(v) for v in group("PlanePositionSequence").ImagePositionPatient])
        planes.append([float(v) for v in group("PlaneOrientationSequence").ImageOrientationPatient])
        measures.append(group("PixelMeasuresSequence"))
    if not chosen:
        raise ScanReadError(f"{path}: the segment is empty. Choose another one.")
    if np.abs(np.subtract(planes, planes[0])).max() > 1e-4:
        raise ScanReadError(
            f"{path} has frames in several orientations. Export the segmentation on the grid of "
            "its scan."
        )
    part = pixels[chosen]
    if kind == "LABELMAP":
        part = part == number
    elif kind == "FRACTIONAL":
        part = part >= float(header.MaximumFractionalValue) / 2
    between_rows, between_columns = (float(v) for v in measures[0].PixelSpacing)
    thickness = measures[0].get("SpacingBetweenSlices") or measures[0].get("SliceThickness") or 1.0
    return Frames(
        np.ascontiguousarray(part != 0).view(np.uint8),
        np.array(positions),
        np.array(planes[0][:3]),
        np.array(planes[0][3:]),
        (between_columns, between_rows),
        float(thickness),
    )


def loops_of(of: LabelObject, number: int) -> list[Points]:
    """The closed outlines (n, 3; LPS mm) of one region of a structure set.

    Raises ScanReadError for a region without any, and for damaged ones.
    """
    loops: list[Points] = []
    with header_texts_unsaid():
        try:
            for item in of.header.get("ROIContourSequence") or ():
                if int(item.ReferencedROINumber) != number:
                    continue
                for contour in item.get("ContourSequence") or ():
                    kind = str(contour.ContourGeometricType).strip().upper()
                    points = np.array([float(v) for v in contour.ContourData]).reshape(-1, 3)
                    if kind in _CLOSED and len(points) > 2:
                        loops.append(points)
        except MemoryError:
            raise
        except Exception as error:  # as above
            raise damaged(of.path) from error
    if not loops:
        raise ScanReadError(f"{of.path}: the region has no closed outline. Choose another one.")
    if not all(np.isfinite(loop).all() for loop in loops):
        raise damaged(of.path)
    return loops


def frame_of_reference(header: Any) -> str:
    """The frame of reference that a pydicom dataset of an image, Segmentation or structure set
    lies in; "" if it states none."""
    with header_texts_unsaid():
        own = str(header.get("FrameOfReferenceUID") or "")
        if own:
            return own
        for name in ("StructureSetROISequence", "ReferencedFrameOfReferenceSequence"):
            items: Sequence[Any] = header.get(name) or ()
            for item in items:
                found = item.get("ReferencedFrameOfReferenceUID") or item.get("FrameOfReferenceUID")
                if found:
                    return str(found)
    return ""
