"""The header of a DICOM file: what kind of object it is, and the CT slices in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import ScanReadError, header_texts_unsaid
from .archive import looks_like_dicom
from .dicom_codes import require_inflatable

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
#: Multi-frame kinds: Enhanced CT, Legacy Converted Enhanced CT, X-Ray 3D Angiographic and
#: Craniofacial (cone-beam).
MULTI_FRAME = (
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.13.1.1",
    "1.2.840.10008.5.1.4.1.1.13.1.2",
)
#: Media Storage Directory Storage (PS3.4, B.5), the SOP class of a DICOMDIR.
_DIRECTORY = "1.2.840.10008.1.3.10"
_CONE_BEAM = MULTI_FRAME[2:]
_DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
#: Words of Image Type by which makers mark sheets of numbers and copies of the screen.
DOSE_WORDS = {"DOSE", "DOSE_INFO", "DOSE INFO", "DOSE REPORT", "CSA REPORT", "PROT", "PROTOCOL"}
SCREEN_WORDS = {"SCREEN SAVE", "SCREENSAVE", "SCREEN_SAVE"}

#: What of a header is read; all else of it is passed over unseen, the patient's data included.
_ELEMENTS = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality"),
    "StudyInstanceUID",
    *("ImageType", "SamplesPerPixel", "Rows", "Columns", "NumberOfFrames", "BitsAllocated"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"),
    *("SpacingBetweenSlices", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("AcquisitionNumber", "TemporalPositionIdentifier", "NominalPercentageOfCardiacPhase"),
    *("TriggerTime", "ConvolutionKernel", "KVP", "BodyPartExamined", "ContrastBolusAgent"),
    *("PixelPaddingValue", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    "SpecificCharacterSet",
)
#: Words of Body Part Examined (PS3.16, L): what shows a head, what does not.
HEAD_PARTS = (
    *("HEAD", "SKULL", "BRAIN", "FACIAL", "FACE", "NECK", "ORBIT", "EYE", "SINUS", "PARANASAL"),
    *("JAW", "MAXILLA", "MANDIBLE", "EAR", "NOSE", "TEMPORALBONE", "IAC", "WHOLEBODY"),
)
_BODY_PARTS = (
    *HEAD_PARTS,
    *("CHEST", "THORAX", "LUNG", "HEART", "AORTA", "ABDOMEN", "PELVIS", "LIVER", "KIDNEY"),
    *("SPINE", "CSPINE", "TSPINE", "LSPINE", "SSPINE", "CERVICAL", "SHOULDER", "ARM", "ELBOW"),
    *("HAND", "WRIST", "HIP", "LEG", "KNEE", "ANKLE", "FOOT", "EXTREMITY", "BREAST"),
)
OTHER_PART = "OTHER"
#: Kernels with words for names, and letters that stand alone (GE, Philips).
SHARP_KERNELS = ("BONE", "BONEPLUS", "EDGE", "LUNG", "DETAIL", "ULTRA", "D", "E", "L", "YC", "YD")
SOFT_KERNELS = ("STANDARD", "STD", "STD+", "SOFT", "BRAIN", "A", "B", "C", "UA", "UB")
KERNELS = (*SHARP_KERNELS, *SOFT_KERNELS, "CHEST")
#: What tells slices at one place apart, in the order it is tried.
TELLS = ("kernel", "energy", "phase", "kind of picture", "stack", "acquisition")


@dataclass(frozen=True)
class Details:
    """What a slice's header says besides its geometry.

    ``tells``: one text for each of TELLS, to tell slices at one place apart. ``kernel``: for
    people, "" if it states none or one that might be no kernel. ``calibrated``: whether the header
    claims HU (PS3.3, C.11.1.1.2). ``syntax``: UID of the transfer syntax. ``bits``: per stored
    value.
    """

    tells: tuple[str, ...]
    kernel: str
    body_part: str
    contrast: bool
    padding: bool
    calibrated: bool
    syntax: str
    bits: int


@dataclass(frozen=True)
class Frame:
    """One slice: where it is (LPS mm) and where its pixels are.

    ``index``: number of the frame in a multi-frame file, None for a single-frame file.
    ``row`` and ``column``: direction along which the column index i and the row index j grow.
    ``spacing``: mm along i and j. ``series``, ``study``: their UIDs, "" where the file has none.
    """

    path: Path
    index: int | None
    series: str
    number: int | None
    instance: str
    image_type: tuple[str, ...]
    modality: str
    shape: tuple[int, int]
    position: tuple[float, float, float]
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    spacing: tuple[float, float]
    thickness: float
    slope: float
    intercept: float
    details: Details
    study: str = ""


@dataclass(frozen=True)
class Other:
    """An object that is no CT slice: its series, and what it is in words."""

    series: str
    number: int | None
    modality: str
    kind: str


class DamagedHeaderError(Exception):
    """The file starts as DICOM does and cannot be parsed. Counted by who asked; never shown."""


def read_dataset(path: Path, **options: Any) -> Any:
    """pydicom's dataset of a file, read within :func:`header_texts_unsaid`."""
    import pydicom

    with header_texts_unsaid():
        with open(path, "rb") as file:
            preamble = file.read(132)[128:] == b"DICM"
        if preamble:
            require_inflatable(path)
        return pydicom.dcmread(path, force=not preamble, **options)


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM files do."""
    with open(path, "rb") as file:
        return looks_like_dicom(file.read(132))


def is_directory_file(path: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR, whatever its name."""
    from pydicom.filereader import read_file_meta_info

    try:
        with header_texts_unsaid():
            meta = read_file_meta_info(path)
            return str(meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY
    except OSError:
        raise
    except Exception:  # a header may be damaged in any way; then it is no DICOMDIR
        return False


def read_header(path: Path) -> Any | None:
    """What :func:`described` needs of a file's header; None if the file is no DICOM, or a DICOMDIR.

    Raises ScanReadError for a file that may not be read, DamagedHeaderError for any damage.
    """
    try:
        if not path.is_file() or not is_dicom(path) or is_directory_file(path):
            return None
        return read_dataset(path, stop_before_pixels=True, specific_tags=list(_ELEMENTS))
    except PermissionError as error:
        raise ScanReadError(
            "A file in the scan's folder may not be read. Change its permissions."
        ) from error
    except Exception as error:  # pydicom documents no closed list of what damage may raise
        raise DamagedHeaderError from error


def described(path: Path, header: Any) -> tuple[list[Frame], list[Other]]:
    """The CT slices in a file, and what else is in it (one Other for each object or frame).

    Raises DamagedHeaderError where an element is missing or malformed.
    """
    try:
        with header_texts_unsaid():  # values are parsed only now, and may hold anything
            kind = _other_kind(header)
            if kind is not None:
                return [], [_other(header, kind)]
            if str(header.get("SOPClassUID", "")) in MULTI_FRAME:
                return _enhanced_frames(path, header)
            orientation = _vector(header.ImageOrientationPatient, 6)
            words = _words(header.get("ImageType"))
            return [_frame(path, None, header, header, orientation, header, words)], []
    except Exception as error:
        raise DamagedHeaderError from error


def _other(header: Any, kind: str) -> Other:
    return Other(
        str(header.get("SeriesInstanceUID", "")),
        _whole_number(header.get("SeriesNumber")),
        _coded(header.get("Modality")),
        kind,
    )


def _other_kind(header: Any) -> str | None:
    """What a file is if it is no CT slice; None if it may be one."""
    sop = str(header.get("SOPClassUID", ""))
    modality = _coded(header.get("Modality"))
    unknown = bool(header.get("Modality")) and not modality
    words = image_words(_words(header.get("ImageType")))
    if sop in MULTI_FRAME:
        return None
    if sop == _DOSE_REPORT or words & DOSE_WORDS:
        return "dose sheets"
    if (
        sop == _SECONDARY_CAPTURE
        or sop.startswith(f"{_SECONDARY_CAPTURE}.")
        or (words & SCREEN_WORDS)
    ):
        return "secondary captures"
    if unknown or sop not in (CT_IMAGE, "") or modality not in ("CT", ""):
        return modality if modality not in ("", "CT") else "other objects"
    if not sop and not modality:
        return "other objects"
    if int(header.get("SamplesPerPixel", 1)) != 1:
        return "colour pictures"
    if "LOCALIZER" in words:
        return "localizers"
    if "Rows" not in header or "ImagePositionPatient" not in header:
        return "pictures without a position"
    return None


def _enhanced_frames(path: Path, header: Any) -> tuple[list[Frame], list[Other]]:
    """The frames of a multi-frame file (DICOM PS3.3, C.7.6.16: functional groups)."""
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames, others = [], []
    for index, own in enumerate(header.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            for holder in (own, shared):
                if holder is not None and holder.get(name):
                    return holder[name][0]
            return {}

        kind = group("CTImageFrameTypeSequence") or group("XRay3DFrameTypeSequence")
        words = _words(kind.get("FrameType")) or _words(header.get("ImageType"))
        if "LOCALIZER" in words:
            others.append(_other(header, "localizers"))
            continue
        content = group("FrameContentSequence")
        orientation = _vector(group("PlaneOrientationSequence").ImageOrientationPatient, 6)
        reconstruction = group("CTReconstructionSequence")
        heart = group("CardiacSynchronizationSequence").get("NominalPercentageOfCardiacPhase")
        frame = _frame(
            path,
            index,
            header,
            group("PixelMeasuresSequence"),
            orientation,
            group("PixelValueTransformationSequence"),
            words,
            position=_vector(group("PlanePositionSequence").ImagePositionPatient, 3),
            kernel=reconstruction.get("ConvolutionKernel"),
            told={
                "energy": str(group("CTXRayDetailsSequence").get("KVP", "")),
                "phase": f"{content.get('TemporalPositionIndex', '')}/{heart}",
                "stack": str(content.get("StackID", "")),
                "acquisition": str(content.get("FrameAcquisitionNumber", "")),
            },
        )
        frames.append(frame)
    return frames, others


def _frame(
    path: Path,
    index: int | None,
    header: Any,
    measures: Any,
    orientation: tuple[float, ...],
    rescale: Any,
    words: tuple[str, ...],
    position: tuple[float, ...] | None = None,
    kernel: Any = None,
    told: dict[str, str] | None = None,
) -> Frame:
    x, y, z = position or _vector(header.ImagePositionPatient, 3)
    between_rows, between_columns = _vector(measures.PixelSpacing, 2)
    slope = rescale.get("RescaleSlope")
    intercept = rescale.get("RescaleIntercept")
    thickness = measures.get("SliceThickness") or header.get("SpacingBetweenSlices") or 0.0
    shape = (int(header.Rows), int(header.Columns))
    numbers = (float(thickness), 1.0 if slope is None else float(slope), float(intercept or 0))
    if min(shape) < 1 or not np.isfinite(numbers).all():
        raise ValueError("a size of zero, or a value that is no number")
    kernel = kernel or header.get("ConvolutionKernel")
    if told is None:
        phase = (
            header.get(name)
            for name in (
                "TemporalPositionIdentifier",
                "NominalPercentageOfCardiacPhase",
                "TriggerTime",
            )
        )
        told = {
            "energy": str(header.get("KVP", "")),
            "phase": "/".join(map(str, phase)),
            "acquisition": str(header.get("AcquisitionNumber", "")),
        }
    told = {"kernel": str(kernel), "kind of picture": "/".join(words), **told}
    meta = getattr(header, "file_meta", None)
    unit = str(rescale.get("RescaleType") or "HU").upper()
    return Frame(
        path=path,
        index=index,
        series=str(header.get("SeriesInstanceUID", "")),
        number=_whole_number(header.get("SeriesNumber")),
        instance=str(header.get("SOPInstanceUID", "")),
        image_type=words,
        modality=_coded(header.get("Modality")) or "CT",
        shape=shape,
        position=(x, y, z),
        row=(orientation[0], orientation[1], orientation[2]),
        column=(orientation[3], orientation[4], orientation[5]),
        spacing=(between_columns, between_rows),
        thickness=numbers[0],
        slope=numbers[1],
        intercept=numbers[2],
        details=Details(
            tells=tuple(told.get(name, "") for name in TELLS),
            kernel=_kernel(kernel),
            body_part=_body_part(header.get("BodyPartExamined")),
            contrast=bool(str(header.get("ContrastBolusAgent") or "").strip()),
            padding="PixelPaddingValue" in header,
            calibrated=(
                intercept is not None
                and unit == "HU"
                and str(header.get("SOPClassUID", "")) not in _CONE_BEAM
            ),
            syntax=str(getattr(meta, "TransferSyntaxUID", "")),
            bits=int(header.get("BitsAllocated", 16)),
        ),
        study=str(header.get("StudyInstanceUID") or ""),
    )


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value.upper(),) if isinstance(value, str) else tuple(str(v).upper() for v in value)


def image_words(values: tuple[str, ...]) -> set[str]:
    """The values of Image Type, and of those of several words the last: CT_SOM5 MPR, CSA MPR."""
    return {*values, *(value.split(" ")[-1] for value in values)}


def _vector(values: Any, count: int) -> tuple[float, ...]:
    result = tuple(float(value) for value in values)
    if len(result) != count or not np.isfinite(result).all():
        raise ValueError("a vector of the wrong length or with a value that is no number")
    return result


def _whole_number(value: Any) -> int | None:
    return None if value is None or str(value).strip() == "" else int(value)


def _coded(value: Any) -> str:
    """A Code String of one word (PS3.5, 6.2); "" where it is none, and may be any text."""
    text = str(value or "").strip()
    return text if re.fullmatch(r"[A-Z0-9_]{1,16}", text) else ""


def _body_part(value: Any) -> str:
    """Body Part Examined as it may be shown: OTHER for what is none of the known words."""
    text = re.sub(r"[\s_,/+&-]", "", str(value or "")).upper()
    return text if re.fullmatch(f"(?:{'|'.join(_BODY_PARTS)})*", text) else OTHER_PART


def _kernel(value: Any) -> str:
    """A kernel as it may be shown: one short word, such as H30s, Br40f\\3, FC21 or STD+."""
    words = [value] if isinstance(value, str) else list(value or ())
    text = str(words[0]).strip() if words else ""
    if text.upper() in KERNELS:
        return text
    return text if re.fullmatch(r"[A-Za-z]{1,3}[ _-]?[0-9]{0,3}[A-Za-z]{0,2}\+*", text) else ""
