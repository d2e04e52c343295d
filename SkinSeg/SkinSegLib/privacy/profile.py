"""What to do with each attribute: DICOM PS3.15 Table E.1-1, and the options chosen.

The column of the Basic Profile comes from the package dicom-anonymizer, which generates it from the
standard; those of the options from ``Resources/Privacy/profile-options.json``, which was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from ..core import MissingPackageError, resource_path

#: Edition of the table of the Basic Profile.
EDITION = "2026c"

BURNED_IN = ("refuse", "blackout", "accept")

#: Categories of the package, and the one action of theirs that is taken. Where the standard leaves
#: the choice to the type of the attribute in the object at hand, the one is taken that keeps every
#: object valid: a value (D) before an empty one (Z) before none (X).
_CATEGORIES = {
    "X_TAGS": "X",
    "Z_TAGS": "Z",
    "X_Z_TAGS": "Z",
    "D_TAGS": "D",
    "Z_D_TAGS": "D",
    "X_D_TAGS": "D",
    "X_Z_D_TAGS": "D",
    "U_TAGS": "U",
    "X_Z_U_STAR_TAGS": "U*",
}
#: Of those that may be absent or empty (X/Z): a sequence with one item or more, if it is there
#: (Referenced Study Sequence, PS3.3, C.7.2.1).
_NOT_EMPTY = frozenset({0x00081110})
#: Kinds of values that the table would keep where it does not name the attribute, and that name a
#: person, a day or a server whatever the attribute is.
_NEVER_KEPT = frozenset({"PN", "DA", "DT", "UR"})


#: Attributes that the table does not name, and that name a person, a day, a place, an order or a
#: server all the same: birth and death by another calendar, order numbers, free text of
#: presentations and reports, the network's address of a clock; issuers and facilities; encrypted
#: originals; sounds and curves beside the image.
_REMOVED_TOO = frozenset(
    {
        *(0x00100033, 0x00100034, 0x00100035, 0x00181803, 0x0040A160, 0x00400400, 0x00400440),
        *(0x00401006, 0x00401007, 0x00402006, 0x00402007, 0x00420010, 0x00402001),
        *(0x00080051, 0x00100024, 0x00100026, 0x00100027, 0x00321031, 0x00400026, 0x00400027),
        *(0x00400031, 0x00400032, 0x00400033, 0x00400035, 0x00400036, 0x00400039, 0x0040003A),
        *(0x04000500, 0x04000510, 0x04000520, 0x54000100, 0x54001010),
    }
)
#: Dates of the scanner that say nothing of the day of a scan: of manufacture and installation.
#: Those of its calibration do, which is done every morning.
_DEVICE_DATES = frozenset({0x00181204, 0x00181205})
#: Keywords of UIDs that name a kind of thing, not a thing; these stay.
_KINDS_OF_UID = ("SOPClass", "TransferSyntax", "CodingScheme", "ContextUID", "MappingResource")


class Action(StrEnum):
    """What is done to an attribute; the value is what reports show."""

    REMOVE = "removed"
    EMPTY = "emptied"
    DUMMY = "replaced by a dummy"
    UID = "UID replaced"
    PSEUDONYM = "replaced by the pseudonym"
    SHIFT = "date shifted"
    CLEAN = "cleaned"
    KEEP = "kept"
    DESCEND = "kept, its items de-identified"
    REWRITE = "rewritten with what describes the grid"


@dataclass(frozen=True)
class DeidentifyOptions:
    """Options of the profile (PS3.15, E.3); without any, the Basic Profile alone.

    ``keep_dates``: dates shifted by a number of days that is the same for all of a patient's files
    (Retain Longitudinal Temporal Information, Modified Dates). ``keep_device``: identity of the
    scanner. ``keep_patient``: sex, age (90 and over as 90), size, weight and the like.
    ``clean_descriptors``: descriptions keep those words that say nothing but what was scanned how.
    ``burned_in``: what to do where text seems to be burned into the pixels: one of BURNED_IN
    ("accept": someone has looked at them). ``keep_safe_private``: private attributes that the
    standard knows to be safe (see :mod:`.safe_private`).
    """

    keep_dates: bool = False
    keep_device: bool = False
    keep_patient: bool = False
    clean_descriptors: bool = False
    burned_in: str = "refuse"
    keep_safe_private: bool = False

    def text(self) -> str:
        """The same for the same options, to tell files made with others apart."""
        chosen = (self.keep_dates, self.keep_device, self.keep_patient, self.clean_descriptors)
        private = "private" if self.keep_safe_private else ""
        return "".join("01"[value] for value in chosen) + self.burned_in + private

    def codes(self) -> tuple[str, ...]:
        """Keywords of CID 7050 that say what was done, the profile first."""
        return (
            "BasicApplicationConfidentialityProfile",
            *(("CleanPixelDataOption",) if self.burned_in == "blackout" else ()),
            *(("CleanDescriptorsOption",) if self.clean_descriptors else ()),
            *(
                ("RetainLongitudinalTemporalInformationModifiedDatesOption",)
                if self.keep_dates
                else ()
            ),
            *(("RetainPatientCharacteristicsOption",) if self.keep_patient else ()),
            *(("RetainDeviceIdentityOption",) if self.keep_device else ()),
            *(("RetainSafePrivateOption",) if self.keep_safe_private else ()),
        )


@dataclass(frozen=True)
class Profile:
    """The table together with options."""

    options: DeidentifyOptions = field(default_factory=DeidentifyOptions)

    @cached_property
    def basic(self) -> Mapping[int, str]:
        """Action code (X, Z, D, U, U*) of the Basic Profile by tag; see :func:`basic_table`."""
        return basic_table()

    @cached_property
    def _optional(self) -> Mapping[str, frozenset[int]]:
        path = resource_path("Privacy", "profile-options.json")
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("source")
        return {name: frozenset(int(tag, 16) for tag in tags) for name, tags in content.items()}

    def action(self, tag: int, vr: str) -> Action:
        """What becomes of an attribute: ``tag`` as a 32-bit number, ``vr`` as in the file.

        Private attributes, and those of even groups that the standard does not know, are removed:
        nobody can say what they hold (PS3.15, E.1.1).
        """
        group, element = tag >> 16, tag & 0xFFFF
        if group % 2 or group < 8 or element == 0 or 0x5000 <= group <= 0x501E:
            return Action.REMOVE
        if 0x6000 <= group <= 0x601E:  # the plane without its data would be no valid overlay
            return Action.REMOVE
        if tag in (0x00100010, 0x00100020):
            return Action.PSEUDONYM
        chosen = self._by_option(tag, vr)
        if chosen is not None:
            return chosen
        code = self.basic.get(tag)
        if code is None:
            return self._unlisted(tag, vr)
        if code == "U*":
            return Action.DESCEND
        return {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID}[code]

    def _by_option(self, tag: int, vr: str) -> Action | None:
        options, listed = self.options, self._optional
        if options.keep_dates and tag in listed["modified_dates"]:
            if vr in ("DA", "DT"):
                return Action.SHIFT
            if vr in ("TM", "SH"):  # by whole days, so times and the time zone stay
                return Action.KEEP
        dated = vr in ("DA", "DT") and tag not in _DEVICE_DATES
        if options.keep_device and tag in listed["device_identity"] and not dated:
            return Action.DESCEND if vr == "SQ" else Action.KEEP
        if options.keep_patient and tag in listed["patient_characteristics"]:
            return Action.KEEP
        words = options.clean_descriptors and tag in listed["clean_descriptors"]
        words |= options.keep_patient and tag in listed["patient_characteristics_cleaned"]
        if words and vr in ("LO", "SH", "LT", "ST", "UT", "UC"):
            return Action.CLEAN
        return None

    def _unlisted(self, tag: int, vr: str) -> Action:
        from pydicom.datadict import dictionary_has_tag, keyword_for_tag

        if vr in _NEVER_KEPT or tag in _REMOVED_TOO or not dictionary_has_tag(tag):
            return Action.REMOVE
        if vr == "UI" and not any(kind in keyword_for_tag(tag) for kind in _KINDS_OF_UID):
            return Action.UID
        return Action.DESCEND if vr == "SQ" else Action.KEEP


def basic_table() -> dict[int, str]:
    """Action code of the Basic Profile for each tag that Table E.1-1 names one by one.

    Its rows for whole groups (private, curves, overlays) are in :meth:`Profile.action`. Raises
    MissingPackageError without the package that holds the table.
    """
    try:
        from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
    except ImportError as error:
        raise missing_package() from error
    found = {
        (row[0] << 16) | row[1]: code
        for name, code in _CATEGORIES.items()
        for row in getattr(table, name)
        if len(row) == 2
    }
    return {**found, **dict.fromkeys(_NOT_EMPTY & found.keys(), "X")}


def missing_package() -> MissingPackageError:
    """The error where the extra ``privacy`` is not installed."""
    return MissingPackageError(
        "De-identification needs packages that are not installed. "
        "Install them with: pip install 'skinseg[privacy]'"
    )
