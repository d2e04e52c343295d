"""Whose a file is, also where the file alone does not say it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import header_texts_unsaid
from ..scan.archive import looks_like_dicom
from ..scan.dicom_codes import require_inflatable
from .pseudonyms import settled

_STUDY_UID = 0x0020000D


@dataclass(frozen=True)
class Identity:
    """``identifier``: a Patient ID, or a text that names the study where there is none;
    ``issuer``: who gave it out, "" where nobody says."""

    identifier: str = field(repr=False)
    issuer: str = field(default="", repr=False)


@dataclass
class Patients:
    """The patients of studies, learned from headers before the files are de-identified.

    Scanners and workstations that add to a study leave out the issuer, and now and then the Patient
    ID. Without looking at the other files of the study, one patient would become two.
    """

    _known: dict[str, set[tuple[str, str]]] = field(default_factory=dict, repr=False)

    def learn(self, path: Path) -> None:
        """Read who the patient is in a DICOM file; what cannot be read is passed over here, since
        it is refused with a reason when its turn comes."""
        try:
            with header_texts_unsaid():
                header = _beginning(path)
                if header is None:
                    return
                study, stated = str(header.get("StudyInstanceUID") or ""), _stated(header)
        except Exception:  # a header may be damaged in any way
            return
        if study and stated[0]:
            self._known.setdefault(study, set()).add(stated)

    def identity(self, dataset: Any) -> Identity:
        """By Patient ID and its issuer; where the file lacks one, by the only one of its study.

        A study with the IDs of several patients lends none. A file that no study lends an ID is
        known by its study, so that strangers do not become one person.
        """
        study = str(dataset.get("StudyInstanceUID") or "")
        known = self._known.get(study, set())
        identifier, issuer = _stated(dataset)
        if not identifier:
            found = {one for one, _ in known}
            if len(found) != 1:
                names = ("SeriesInstanceUID", "SOPInstanceUID")
                rest = next((str(dataset[name].value) for name in names if name in dataset), "")
                return Identity(f"study {study or rest}")
            identifier = found.pop()
        if not issuer:
            issuers = {who for one, who in known if one == identifier and who}
            issuer = issuers.pop() if len(issuers) == 1 else ""
        return Identity(identifier, issuer)


def _stated(header: Any) -> tuple[str, str]:
    """Patient ID and issuer as the file has them (PS3.3, C.7.1.1)."""
    issuer = settled(str(header.get("IssuerOfPatientID") or ""))
    for item in header.get("IssuerOfPatientIDQualifiersSequence") or ():
        issuer = issuer or settled(str(item.get("UniversalEntityID") or ""))
    return settled(str(header.get("PatientID") or "")), issuer


def _beginning(path: Path) -> Any:
    """The header as far as the study's UID; None for what is no DICOM file."""
    from pydicom.filereader import read_partial

    with open(path, "rb") as file:
        head = file.read(132)
        if not looks_like_dicom(head):
            return None
        require_inflatable(path)
        file.seek(0)
        return read_partial(file, lambda tag, vr, length: tag > _STUDY_UID, force=True)
