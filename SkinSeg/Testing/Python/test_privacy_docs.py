"""What Docs/privacy.md says of HIPAA's kinds of identifiers is what the profile does."""

from __future__ import annotations

import re

import pytest
from command import REPOSITORY
from pydicom.datadict import dictionary_VR, tag_for_keyword
from SkinSegLib.privacy import Action, DeidentifyOptions, Profile

#: By the letter of 45 CFR 164.514(b)(2)(i): attributes that would hold such an identifier.
WHERE = {
    "A": ("PatientName", "OtherPatientNames", "PatientMotherBirthName", "ReferringPhysicianName"),
    "B": ("PatientAddress", "InstitutionAddress", "RegionOfResidence", "CountryOfResidence"),
    "C": ("PatientBirthDate", "StudyDate", "AdmittingDate", "AcquisitionDateTime", "PatientAge"),
    "D": ("PatientTelephoneNumbers", "ReferringPhysicianTelephoneNumbers"),
    "F": ("PatientTelecomInformation",),
    "G": ("OtherPatientIDs", "OtherPatientIDsSequence"),
    "H": ("PatientID", "AdmissionID", "MedicalRecordLocator"),
    "I": ("InsurancePlanIdentification",),
    "J": ("AccessionNumber", "StudyID", "FillerOrderNumberImagingServiceRequest"),
    "K": ("CertificateOfSigner",),
    "L": ("PatientComments", "AdditionalPatientHistory"),
    "M": ("DeviceSerialNumber", "DeviceUID", "DetectorID"),
    "N": ("PixelDataProviderURL", "RetrieveURL"),
    "O": ("StationName", "NetworkID", "StationAETitle"),
    "Q": ("IconImageSequence",),
    "R": ("SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
}
_GONE = {Action.REMOVE, Action.EMPTY, Action.DUMMY, Action.UID, Action.PSEUDONYM}


@pytest.mark.parametrize("letter", WHERE)
def test_identifiers_are_not_kept(letter: str) -> None:
    for keyword in WHERE[letter]:
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        assert Profile().action(tag, dictionary_VR(tag)) in _GONE, keyword


def test_the_page_names_every_kind_and_every_code() -> None:
    text = (REPOSITORY / "Docs" / "privacy.md").read_text(encoding="utf-8")
    rows = [row[1] for row in re.finditer(r"^\| ([A-R](?:, [A-R])?) \|", text, re.MULTILINE)]
    assert ", ".join(rows).split(", ") == list("ABCDEFGHIJKLMNOPQR")
    from pydicom.sr.codedict import codes

    every = DeidentifyOptions(True, True, True, True, "blackout", True).codes()
    for keyword in every:
        assert getattr(codes.cid7050, keyword).value in text
