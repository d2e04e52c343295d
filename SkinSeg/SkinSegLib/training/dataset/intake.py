"""From a scan and a label to a case: checked, without names, if asked without a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib import __version__
from SkinSegLib.core import (
    CTVolume,
    FindingKind,
    GeometryError,
    LabelError,
    PrivacyError,
    Progress,
    SkinMask,
    SkinSegError,
)
from SkinSegLib.scan.facts import facts
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.network_grid import NetworkGrid

from ..exchange.check import check_label
from .files import digest, straightened
from .record import OLDEST_DECADE, CaseRecord, Scanner, tame
from .sketch import sketch

if TYPE_CHECKING:
    from SkinSegLib.privacy import Pseudonyms
    from SkinSegLib.privacy.deface import DefaceOptions

#: Said in every record; nothing of the file's own comes along.
_MADE_BY = "skinseg"
#: Tissue that is no patient, within so many cells of so many mm beside it, in mL: a contact.
_CONTACT_CELL_MM, _CONTACT_CELLS, _CONTACT_ML = 2.0, 2, 1.0
#: Less than this in mL is no head, not even half of a child's.
_LEAST_ML = 200.0
#: Elements of a DICOM header that a case comes from: whose it is, and what is kept of it.
HEADER = (
    *("SpecificCharacterSet", "StudyInstanceUID", "PatientID", "IssuerOfPatientID"),
    *("IssuerOfPatientIDQualifiersSequence", "PatientSex", "PatientAge", "Manufacturer"),
    *("ManufacturerModelName", "ConvolutionKernel", "KVP", "SliceThickness", "ContrastBolusAgent"),
)
#: The key of a user's pseudonyms.
_KEY = "pseudonyms.key"


@dataclass(frozen=True)
class Authorship:
    """Who labelled, and what was corrected; see :class:`.record.CaseRecord`.

    ``before``: (k, j, i) uint8, the mask as the engine made it, None if not known. ``findings``:
    what the engine found, None to look anew.
    """

    labelled_by: str = ""
    authors: tuple[str, ...] = ()
    site: str = ""
    engine: str = ""
    model: dict[str, str] = field(default_factory=dict)
    before: NDArray[np.uint8] | None = None
    findings: tuple[FindingKind, ...] | None = None


@dataclass(frozen=True)
class Intake:
    """A case that can be added: the record without its name, voxels, and what to tell the user."""

    record: CaseRecord
    volume: CTVolume
    mask: NDArray[np.uint8] | None


def own_key() -> tuple[bytes, Path, bool]:
    """The key of this user's pseudonyms, its file, and whether it was made just now.

    It lies beside the user's own models, for its owner alone to read. Raises PrivacyError if it is
    damaged, OutputError if it cannot be made.
    """
    from SkinSegLib.privacy import load_key, make_key
    from SkinSegLib.segmentation.models import made_user_folder, user_folder

    path = user_folder() / _KEY
    if path.exists():
        return load_key(path), path, False
    made_user_folder()
    return make_key(path), path, True


def patient_pseudonym(
    pseudonyms: Pseudonyms, volume: CTVolume, header: Any = None, identifier: str = ""
) -> str:
    """The pseudonym of the scan's patient.

    ``identifier``: the patient's number, if the user gives one; else that of the DICOM ``header``,
    which says who gave it out in either case. Without either each scan is a patient of its own.
    """
    known = identifier.strip()
    if str(getattr(header, "PatientID", None) or "").strip():
        from SkinSegLib.privacy.patients import Patients

        found = Patients().identity(header)
        return pseudonyms.patient(known or found.identifier, found.issuer)
    return pseudonyms.patient(known or "scan " + digest(volume.voxels, volume.ijk_to_ras))


def prepare(
    volume: CTVolume,
    mask: NDArray[np.uint8] | None,
    patient: str,
    split: str = "train",
    who: Authorship | None = None,
    header: Any = None,
    deface: DefaceOptions | None = None,
    progress: Progress | None = None,
    check: bool = True,
) -> Intake:
    """Make a case of a scan and its solid head (k, j, i), or of a scan alone.

    ``patient``: of :func:`patient_pseudonym`. ``header``: a pydicom dataset of the scan, of which
    scanner, sex and age in tens of years are kept. ``deface``: take the face out of scan and
    label. ``check``: whether the label must follow the scan's skin (:func:`.check_label`). Progress
    stage: Case.

    Raises SkinSegError for a label that is not on the scan's grid or is not its solid head, and
    PrivacyError for a scan that names its patient in the picture, or whose face cannot be told.
    """
    who = who or Authorship()
    progress = progress or Progress()
    if mask is None and split != "unlabelled":
        raise SkinSegError("A case for training or testing needs a label. Give one.")
    if mask is not None:
        if mask.shape != volume.voxels.shape:
            raise GeometryError("The label is not on the grid of the scan. Give its own scan.")
        mask = (mask > 0).astype(np.uint8)
    with progress.stage("Case", 1.0):
        _require_no_text(volume)
        progress.update(0.2)
        notes = list(volume.notes)
        edited = None
        if mask is not None and who.before is not None:
            edited = round(float(np.count_nonzero(mask != who.before)) * volume.voxel_volume_ml, 2)
        kinds = set(who.findings or (finding.kind for finding in facts(volume).findings))
        if mask is not None:
            notes += _checked(volume, mask, check)
            kinds |= _seen(volume, mask)
        if deface is not None:
            volume, mask = _without_face(volume, mask, deface)
        progress.update(0.5)
        straight, mask = straightened(volume, mask)
        if straight is not volume:
            notes.append(
                "The slices were tilted; the case was resampled to a grid at right angles."
            )
        voxel = straight.voxel_volume_ml
        record = CaseRecord(
            name="head_000000",
            split="unlabelled" if mask is None else split,
            patient=patient,
            added=datetime.now(UTC).date().isoformat(),
            labelled_by=who.labelled_by,
            authors=who.authors,
            site=who.site,
            engine=who.engine,
            model=who.model,
            software=f"{_MADE_BY} {__version__}",
            edited_ml=edited,
            defaced=deface is not None,
            **_of_header(header),
            shape=straight.voxels.shape,
            spacing=tuple(round(s, 4) for s in straight.spacing),  # type: ignore[arg-type]
            head_ml=0.0 if mask is None else round(float(np.count_nonzero(mask)) * voxel, 1),
            artefacts=tuple(sorted({str(kind) for kind in kinds if kind in _ARTEFACTS})),
            notes=tuple(notes),
            image_sha256=digest(straight.voxels, straight.ijk_to_ras),
            label_sha256="" if mask is None else digest(mask, straight.ijk_to_ras),
            sketch=sketch(straight),
        )
    return Intake(record, straight, mask)


#: Of a scan; the others are about a run of the program.
_ARTEFACTS = {
    FindingKind.TOUCHES_OBJECT,
    FindingKind.CUT_BY_FIELD_OF_VIEW,
    FindingKind.NOT_CALIBRATED,
    FindingKind.METAL_STREAKS,
    FindingKind.THICK_SLICES,
}


def _seen(volume: CTVolume, mask: NDArray[np.uint8]) -> set[FindingKind]:
    """What a label (k, j, i) and its scan say: whether anything touches the patient, and whether
    the scan's end cuts more than the neck."""
    from scipy import ndimage

    level = find_level(volume)
    grid = NetworkGrid.over(volume, _CONTACT_CELL_MM)
    filled = grid.label(mask)
    near = ndimage.binary_dilation(filled >= 0.5, iterations=_CONTACT_CELLS)
    beside = near & (filled < 0.02) & (grid.grey(volume, level) > 0.7)
    found = set()
    if np.count_nonzero(beside) * float(np.prod(grid.spacing)) / 1000 > _CONTACT_ML:
        found.add(FindingKind.TOUCHES_OBJECT)
    ends = [filled[-1], filled[:, 0], filled[:, -1], filled[:, :, 0], filled[:, :, -1]]
    if any((end >= 0.5).any() for end in ends):
        found.add(FindingKind.CUT_BY_FIELD_OF_VIEW)
    return found


def _checked(volume: CTVolume, mask: NDArray[np.uint8], check: bool) -> tuple[str, ...]:
    """What to look at in a label; raises LabelError for one that is no solid head of the scan."""
    if not mask.any():
        raise LabelError("The label is empty. Choose another segment, or label the scan first.")
    if np.count_nonzero(mask) * volume.voxel_volume_ml < _LEAST_ML:
        raise LabelError(
            f"The label has less than {_LEAST_ML:.0f} mL. Label the solid head, not its surface."
        )
    return check_label(volume, mask).notes if check else ()


def _require_no_text(volume: CTVolume) -> None:
    """Raise PrivacyError where names may stand in the picture itself."""
    from SkinSegLib.privacy.pixels import find_text

    for k, frame in enumerate(volume.voxels):
        if find_text(frame):
            raise PrivacyError(
                f"There seems to be text in the picture of slice {k + 1}. Look at it; skinseg "
                "dicom deidentify blacks text out, and what it writes can be added."
            )


def _without_face(
    volume: CTVolume, mask: NDArray[np.uint8] | None, options: DefaceOptions
) -> tuple[CTVolume, NDArray[np.uint8] | None]:
    from SkinSegLib.privacy.deface import deface
    from SkinSegLib.segmentation import segment

    level = find_level(volume)
    if mask is None:
        return replace(deface(volume, segment(volume), options).volume, notes=volume.notes), None
    half = (level.tissue - level.air) / 2
    head = SkinMask(mask, volume.ijk_to_ras, "label", level.skin, half)
    done = deface(volume, head, options)
    return done.volume, done.mask.voxels


def _of_header(header: Any) -> dict[str, Any]:
    """What a DICOM header says that may stay."""
    if header is None:
        return {}
    scanner = Scanner(
        tame(header.get("Manufacturer")),
        tame(header.get("ManufacturerModelName")),
        tame(_first(header.get("ConvolutionKernel"))),
        _number(header.get("KVP")),
        _number(header.get("SliceThickness")),
    )
    sex = str(header.get("PatientSex") or "").strip().upper()
    agent = header.get("ContrastBolusAgent")
    return {
        "scanner": scanner,
        "sex": sex if sex in ("F", "M", "O") else "",
        "age_decade": _decade(str(header.get("PatientAge") or "")),
        "contrast": None if agent is None else bool(str(agent).strip()),
    }


def _decade(age: str) -> int | None:
    """Tens of years of a DICOM age string such as 034Y or 018M (PS3.5, 6.2)."""
    number, unit = age.strip()[:-1], age.strip()[-1:]
    if not number.isdigit() or unit not in "YMWD" or not unit:
        return None
    years = int(number) if unit == "Y" else 0 if unit in "WD" else int(number) // 12
    return min(years // 10 * 10, OLDEST_DECADE)


def _first(value: Any) -> Any:
    return (
        value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    )


def _number(value: Any) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return round(found, 3) if np.isfinite(found) and 0 < found < 1e6 else None
