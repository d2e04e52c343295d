"""The Basic Profile applied to one data set, in place."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..core import PrivacyError
from .dates import shifted
from .profile import EDITION, Action, DeidentifyOptions, Profile
from .pseudonyms import Pseudonyms
from .words import cleaned

#: Of values that keep their place and lose their meaning.
DUMMIES: dict[str, Any] = {
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "PN", "CS", "AE"), "REMOVED"),
    "AS": "000Y",
    "DA": "19000101",
    "TM": "000000",
    "DT": "19000101000000",
    "UR": "urn:removed",
    "DS": "0",
    "IS": "0",
    **dict.fromkeys(("FD", "FL"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV"), 0),
}
_FREE_TEXT = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "UN", "OB"})
_PIXELS = 0x7FE0
_AGE = 0x00101010
#: Whose values are looked for in the text that the profile keeps.
_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "AccessionNumber",
    "OtherPatientIDs",
)
#: Shorter ones would be found in many an innocent word.
_SHORTEST = 4


@dataclass(frozen=True)
class Subject:
    """Whose data set it is: ``pseudonym``, ``shift_days`` of dates, and ``tokens``: what identifies
    the patient, in lower case, to be found where it should not be."""

    pseudonym: str
    shift_days: int
    tokens: frozenset[str] = field(repr=False)


def subject_of(dataset: Any, pseudonyms: Pseudonyms) -> Subject:
    """Known by Patient ID; without one by the study, so that strangers do not become one person."""
    identifier = str(dataset.get("PatientID") or "").strip("\0 ")
    if not identifier:
        identifier = f"study {dataset.get('StudyInstanceUID', '')}"
    words: set[str] = set()
    for name in _IDENTIFYING:
        if name in dataset:
            words |= set(re.split(r"[\^=\\,;\s]+", str(dataset[name].value).lower()))
    return Subject(
        pseudonyms.patient(identifier),
        pseudonyms.shift_days(identifier),
        frozenset(word for word in words if len(word) >= _SHORTEST and not word.isspace()),
    )


@dataclass
class Rewriter:
    """Applies ``profile``; ``tally`` counts (attribute's keyword or group, action)."""

    profile: Profile
    pseudonyms: Pseudonyms
    tally: Counter[tuple[str, Action]] = field(default_factory=Counter)

    def apply(self, dataset: Any, subject: Subject) -> None:
        """De-identify a data set and all its items; what is kept is not touched."""
        for tag in list(dataset.keys()):
            vr = _vr(dataset, tag)
            action = self.profile.action(int(tag), vr)
            if action is Action.KEEP and vr != "SQ" and _is_sequence(int(tag)):
                action = Action.REMOVE  # items disguised as bytes would not be looked into
            elif action is Action.KEEP:
                action = self._kept(dataset, tag, vr, subject)
            elif action is Action.DESCEND and vr == "SQ":
                for item in dataset[tag].value:
                    self.apply(item, subject)
            elif action is Action.DESCEND:  # a sequence by the standard, something else by the file
                action = Action.REMOVE
            action = self._change(dataset, tag, vr, action, subject)
            if action not in (Action.KEEP, Action.DESCEND):
                self.tally[_name(int(tag)), action] += 1

    def _kept(self, dataset: Any, tag: Any, vr: str, subject: Subject) -> Action:
        """Text that the profile keeps is still replaced if it repeats who the patient is."""
        if int(tag) == _AGE:
            return Action.CLEAN
        if vr not in _FREE_TEXT or int(tag) >> 16 == _PIXELS or not subject.tokens:
            return Action.KEEP
        text = str(dataset[tag].value).lower()
        return Action.DUMMY if any(token in text for token in subject.tokens) else Action.KEEP

    def _change(self, dataset: Any, tag: Any, vr: str, action: Action, subject: Subject) -> Action:
        """Do it; returns what was done in the end."""
        if action in (Action.KEEP, Action.DESCEND):
            return action
        if action is Action.REMOVE:
            del dataset[tag]
            return action
        element = dataset[tag]
        if action is Action.PSEUDONYM:
            element.value = subject.pseudonym
            return action
        if element.is_empty:
            return Action.KEEP
        if action is Action.UID and vr == "UI":
            element.value = _each(element.value, self.pseudonyms.uid)
            return action
        if action is Action.SHIFT:
            element.value = _each(
                element.value, lambda value: shifted(value, vr, subject.shift_days)
            )
            return action
        if action is Action.CLEAN and int(tag) == _AGE:
            return self._age(element)
        if action is Action.CLEAN:
            element.value = _each(element.value, lambda value: cleaned(value, subject.tokens))
            return action
        if action is Action.DUMMY:
            return self._dummy(dataset, tag, vr)
        if vr == "SQ":
            element.value = []
        else:
            element.value = b"" if isinstance(element.value, bytes) else None
        return Action.EMPTY

    def _age(self, element: Any) -> Action:
        """90 and over is one age, as HIPAA has it (45 CFR 164.514(b)(2)(i)(C))."""
        found = re.fullmatch(r"\s*0*(\d{1,3})\s*([DWMY]?)\s*", str(element.value))
        if found is None:
            element.value = None
            return Action.EMPTY
        if found[2] in ("Y", "") and int(found[1]) >= 90:
            element.value = "090Y"
            return Action.CLEAN
        return Action.KEEP

    def _dummy(self, dataset: Any, tag: Any, vr: str) -> Action:
        element = dataset[tag]
        if vr == "SQ":  # one item of the same make, with nothing in it
            item = element.value[0]
            self._blank(item)
            element.value = [item]
        elif vr == "UI":
            element.value = _each(element.value, self.pseudonyms.uid)
            return Action.UID
        elif vr in DUMMIES:
            element.value = DUMMIES[vr]
        else:
            element.value = b"\0\0"
        return Action.DUMMY

    def _blank(self, item: Any) -> None:
        for tag in list(item.keys()):
            if int(tag) >> 16 & 1 or int(tag) & 0xFFFF == 0:
                del item[tag]
            elif not item[tag].is_empty:
                self._dummy(item, tag, _vr(item, tag))


def mark(dataset: Any, options: DeidentifyOptions, seal: str, codes: tuple[str, ...]) -> None:
    """Record in the file what was done to it (PS3.15, E.1.1 steps 6 and 7; PS3.3, C.7.1.1 and
    C.12.1.1). ``codes``: keywords of CID 7050. ``seal``: text that the file is known by later."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes as dictionary

    from .. import __version__

    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [f"SkinSeg {__version__}, DICOM PS3.15 {EDITION}", seal]
    items = []
    for keyword in codes:
        code = getattr(dictionary.cid7050, keyword)
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
        item.CodeMeaning = code.meaning[:64]
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items
    dataset.LongitudinalTemporalInformationModified = (
        "MODIFIED" if options.keep_dates else "REMOVED"
    )


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return change(str(value))
    return [change(str(one)) for one in value]


def _vr(dataset: Any, tag: Any) -> str:
    """An element's kind without converting its value; that of the standard where the file has none
    (implicit VR, or UN), so that a sequence cannot hide as unknown bytes."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    vr = str(dataset.get_item(tag).VR or "UN")
    if vr == "UN" and dictionary_has_tag(tag):
        vr = str(dictionary_VR(tag))
        if vr == "SQ" and str(dataset[tag].VR) != "SQ":
            raise PrivacyError(
                "A sequence in the file cannot be read. Export the file again from its source."
            )
        if " or " in vr:
            vr = str(dataset[tag].VR)
    return vr


def _is_sequence(tag: int) -> bool:
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return bool(dictionary_has_tag(tag)) and dictionary_VR(tag) == "SQ"


def _name(tag: int) -> str:
    """For the report: the standard's keyword, or only the group of what is private or unknown."""
    from pydicom.datadict import keyword_for_tag

    group = tag >> 16
    if group % 2:
        return f"private ({group:04X},xxxx)"
    return keyword_for_tag(tag) or f"({group:04X},{tag & 0xFFFF:04X})"
