"""A surface as Encapsulated STL (PS3.3, A.85.1), by pydicom alone."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core import OutputError, header_texts_unsaid
from .segmentation import series_number
from .slices import MAY_BE_EMPTY, completed, require_referable

_SOP_CLASS = "1.2.840.10008.5.1.4.1.1.104.3"
_MAKER = "SkinSeg"
#: Of the modules Patient, General Study and Patient Study (PS3.3, C.7.1.1, C.7.2.1, C.7.2.2), what
#: is taken along where it is known.
_IF_THERE = (
    *("SpecificCharacterSet", "IssuerOfPatientID", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    *("StudyDescription", "PatientAge", "PatientSize", "PatientWeight", "TimezoneOffsetFromUTC"),
)


def write_encapsulated_stl(stl: bytes, headers: Sequence[Any], path: Path, version: str) -> None:
    """Wrap an STL file into a DICOM object in the study of its source images, and read it back.

    ``stl``: a binary STL in mm, in the coordinates of the patient (LPS), as the standard wants it
    within a frame of reference (PS3.3, C.35.1). ``headers``: pydicom datasets of the images it was
    made from. ``path``: where to write, a temporary name (see
    :class:`~SkinSegLib.core.Replacements`). ``version``: of SkinSeg.

    Raises OutputError if the images lack what an object must refer to, or the file does not read
    back as it was written.
    """
    require_referable(headers)
    if len(stl) < 84:
        raise OutputError("The surface is empty, so there is nothing to put into DICOM.")
    with header_texts_unsaid():
        made = _made(stl, headers, version)
        _save(made, path)
        _verify(made, stl, path)


def _made(stl: bytes, headers: Sequence[Any], version: str) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.sequence import Sequence as DicomSequence
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    [first] = completed(headers[:1])
    now = datetime.datetime.now()
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = UID(_SOP_CLASS)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    # SOP Common (C.12.1)
    made.SOPClassUID, made.SOPInstanceUID = UID(_SOP_CLASS), meta.MediaStorageSOPInstanceUID
    _copy_patient_and_study(first, made)
    # Encapsulated Document Series (C.24.1), Frame of Reference (C.7.4.1)
    made.Modality, made.SeriesInstanceUID = "M3D", generate_uid()
    made.SeriesNumber = series_number(first.get("SeriesNumber"), 2)
    made.SeriesDescription = "SkinSeg surface"
    made.SeriesDate = made.ContentDate = now.strftime("%Y%m%d")
    made.SeriesTime = made.ContentTime = now.strftime("%H%M%S")
    made.FrameOfReferenceUID = first.FrameOfReferenceUID
    made.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    # Enhanced General Equipment (C.7.5.2)
    made.Manufacturer = made.ManufacturerModelName = _MAKER
    made.DeviceSerialNumber, made.SoftwareVersions = "1", version
    # Encapsulated Document (C.24.2)
    made.InstanceNumber = 1
    made.AcquisitionDateTime = ""
    made.BurnedInAnnotation = "NO"
    made.RecognizableVisualFeatures = "YES"  # it is a face
    made.DocumentTitle = "Surface of the head"
    made.ConceptNameCodeSequence = DicomSequence([])
    made.SourceInstanceSequence = DicomSequence(_references(headers))
    made.MIMETypeOfEncapsulatedDocument = "model/stl"
    made.EncapsulatedDocumentLength = len(stl)
    made.EncapsulatedDocument = stl + b"\0" * (len(stl) % 2)
    # Manufacturing 3D Model (C.35.1)
    made.MeasurementUnitsCodeSequence = DicomSequence([_code("mm", "UCUM", "mm")])
    made.ModelModification = made.ModelMirroring = "NO"
    # Common Instance Reference (C.12.2)
    series = _item(
        SeriesInstanceUID=first.SeriesInstanceUID,
        ReferencedInstanceSequence=DicomSequence(_references(headers)),
    )
    made.ReferencedSeriesSequence = DicomSequence([series])
    return made


def _copy_patient_and_study(source: Any, made: Any) -> None:
    made.StudyInstanceUID = source.StudyInstanceUID
    for name in (*MAY_BE_EMPTY, *_IF_THERE):
        if name in source:
            made[name] = source[name]


def _references(headers: Sequence[Any]) -> list[Any]:
    return [
        _item(
            ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
        )
        for header in headers
    ]


def _code(value: str, scheme: str, meaning: str) -> Any:
    return _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _item(**elements: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in elements.items():
        setattr(item, name, value)
    return item


def _save(made: Any, path: Path) -> None:
    import pydicom

    if int(pydicom.__version__.split(".")[0]) >= 3:
        made.save_as(path, enforce_file_format=True)
        return
    made.is_little_endian, made.is_implicit_VR = True, False  # pydicom 2.4
    made.save_as(path, write_like_original=False)


def _verify(made: Any, stl: bytes, path: Path) -> None:
    import pydicom

    back = pydicom.dcmread(path)
    same = all(
        back.get(name) == made.get(name)
        for name in ("SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID", "Modality")
    )
    length = int(back.EncapsulatedDocumentLength)
    if not same or bytes(back.EncapsulatedDocument)[:length] != stl:
        raise OutputError(
            f"{path.name} did not read back as it was written. Check the disk and repeat."
        )
