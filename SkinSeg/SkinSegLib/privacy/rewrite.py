"""The Basic Profile applied to one data set, in place."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from .dates import shifted
from .elements import (
    CHARACTER_SET,
    CHARACTER_SETS,
    DUMMIES,
    GRAMMAR,
    fits,
    shown_name,
    texts_of,
    vr_of,
)
from .patients import Identity, Patients
from .profile import EDITION, Action, DeidentifyOptions, Profile
from .pseudonyms import Pseudonyms
from .safe_private import safe_tags
from .words import cleaned

#: In which what identifies the patient is looked for, as text or as bytes.
_TEXT = frozenset({"LO", "SH", "LT", "ST", "UT", "UC", "CS", "AE", "AS", "DS", "IS", "TM"})
_BYTES = frozenset({"UN", "OB", "OW"})
_ENCODINGS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be")
_PIXELS = 0x7FE0
#: Ages in years from which on they are one age (45 CFR 164.514(b)(2)(i)(C)).
_OLDEST = 90
#: Whose values are looked for in the text that the profile keeps.
_IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientNames",
    "AccessionNumber",
    "OtherPatientIDs",
    "PatientBirthName",
    "PatientMotherBirthName",
)
#: Shorter ones would be found in many an innocent word; in Chinese, Japanese and Korean two say a
#: name.
_SHORTEST, _SHORTEST_CJK = 4, 2


@dataclass(frozen=True)
class Subject:
    """Whose data set it is: ``pseudonym``, ``shift_days`` of dates, and ``tokens``: what identifies
    the patient, in lower case, to be found where it should not be; ``identity``: who it is."""

    pseudonym: str
    shift_days: int
    tokens: frozenset[str] = field(repr=False)
    identity: Identity


def subject_of(dataset: Any, pseudonyms: Pseudonyms, patients: Patients | None = None) -> Subject:
    """``patients``: of the studies, for a file that does not say all (see :mod:`.patients`)."""
    identity = (patients or Patients()).identity(dataset)
    named = (identity.identifier, identity.issuer)
    words = set(re.split(r"[\W_]+", plain(identity.identifier)))
    for item in [dataset, *(dataset.get("OtherPatientIDsSequence") or ())]:
        for name in _IDENTIFYING:
            if name in item:
                words |= set(re.split(r"[\W_]+", plain(str(item[name].value))))
    return Subject(
        pseudonyms.patient(*named),
        pseudonyms.shift_days(*named),
        frozenset(word for word in words if len(word) >= _shortest(word)),
        identity,
    )


def plain(text: str) -> str:
    """Text without accents and cases, so that one way to write a name finds another."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()


def _shortest(word: str) -> int:
    return _SHORTEST_CJK if any(ord(c) >= 0x1100 for c in word) else _SHORTEST


@dataclass
class Rewriter:
    """Applies ``profile``; ``tally`` counts (attribute's keyword or group, action)."""

    profile: Profile
    pseudonyms: Pseudonyms
    tally: Counter[tuple[str, Action]] = field(default_factory=Counter)

    def apply(self, dataset: Any, subject: Subject) -> None:
        """De-identify a data set and all its items; what is kept is not touched."""
        keeps = self.profile.options.keep_safe_private
        safe = safe_tags(dataset, subject.tokens) if keeps else set()
        for tag in [tag for tag in dataset.keys() if int(tag) not in safe]:  # noqa: SIM118
            vr = vr_of(dataset, tag)
            action = self.profile.action(int(tag), vr)
            kept = action in (Action.KEEP, Action.SHIFT, Action.DESCEND)
            if kept and not fits(int(tag), vr):
                action = Action.REMOVE  # in disguise it would not be looked into
            elif action is Action.KEEP and vr == "SQ":
                action = Action.DESCEND
                for item in dataset[tag].value:
                    self.apply(item, subject)
            elif action is Action.KEEP:
                action = self._kept(dataset, tag, vr, subject)
            elif action is Action.DESCEND and vr == "SQ":
                for item in dataset[tag].value:
                    self.apply(item, subject)
            elif action is Action.DESCEND:  # a sequence by the standard, something else by the file
                action = Action.REMOVE
            action = self._change(dataset, tag, vr, action, subject)
            if action not in (Action.KEEP, Action.DESCEND):
                self.tally[shown_name(int(tag)), action] += 1

    def _kept(self, dataset: Any, tag: Any, vr: str, subject: Subject) -> Action:
        """Text that the profile keeps is still replaced if it repeats who the patient is."""
        if vr == "AS":
            return Action.CLEAN
        if int(tag) >> 16 == _PIXELS:
            return Action.KEEP
        if vr in _BYTES:
            content = dataset[tag].value
            content = content if isinstance(content, bytes) else str(content).encode()
            return Action.DUMMY if _holds(content, subject.tokens) else Action.KEEP
        if vr not in _TEXT:
            return Action.KEEP
        values = texts_of(dataset, tag)
        grammar = CHARACTER_SETS if int(tag) == CHARACTER_SET else GRAMMAR.get(vr)
        if grammar is not None and not all(grammar.fullmatch(value) for value in values):
            return Action.REMOVE
        text = plain("\\".join(values))
        if not any(token in text for token in subject.tokens):
            return Action.KEEP
        return Action.DUMMY if vr not in GRAMMAR else Action.REMOVE

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
        if action is Action.CLEAN and vr == "AS":
            return self._ages(element)
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

    def _ages(self, element: Any) -> Action:
        """90 and over is one age; what is no age is emptied."""
        several = not isinstance(element.value, str)
        before = [str(value) for value in element.value] if several else [element.value]
        after = [_age(value) for value in before]
        if after == before:
            return Action.KEEP
        if not any(after):
            element.value = None
            return Action.EMPTY
        element.value = after if several else after[0]
        return Action.CLEAN

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
            element.value = 0 if vr == "AT" else b"\0\0"
        return Action.DUMMY

    def _blank(self, item: Any) -> None:
        for tag in list(item.keys()):
            if int(tag) >> 16 & 1 or int(tag) & 0xFFFF == 0:
                del item[tag]
            elif not item[tag].is_empty:
                self._dummy(item, tag, vr_of(item, tag))


def mark(dataset: Any, options: DeidentifyOptions, seal: str, codes: tuple[str, ...]) -> None:
    """Record in the file what was done to it (PS3.15, E.1.1 steps 6 and 7; PS3.3, C.7.1.1 and
    C.12.1.1). ``codes``: keywords of CID 7050, added to those that the file has from before, since
    it lists every step. ``seal``: text that the file is known by later."""
    from pydicom.dataset import Dataset
    from pydicom.sr.codedict import codes as dictionary

    from .. import __version__

    group = dictionary.cid7050
    known = {code.value: code for code in (getattr(group, name) for name in group.dir())}
    ours = [getattr(group, keyword).value for keyword in codes]
    before = [
        str(item.get("CodeValue"))
        for item in dataset.get("DeidentificationMethodCodeSequence") or ()
        if item.get("CodingSchemeDesignator") == "DCM"
    ]

    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = [f"SkinSeg {__version__}, DICOM PS3.15 {EDITION}", seal]
    items = []
    # Meanings from the dictionary: those in the file may say anything.
    for code in (known[value] for value in dict.fromkeys([*before, *ours]) if value in known):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = code.value, code.scheme_designator
        item.CodeMeaning = code.meaning[:64]
        items.append(item)
    dataset.DeidentificationMethodCodeSequence = items
    dataset.LongitudinalTemporalInformationModified = (
        "MODIFIED" if options.keep_dates else "REMOVED"
    )


def _age(value: str) -> str:
    """An age of at most 90 years (PS3.5, 6.2: AS); "" for what is none."""
    found = re.fullmatch(r"\s*0*(\d{1,3})\s*([DWMY]?)\s*", value)
    if found is None:
        return ""
    old = found[2] in ("Y", "") and int(found[1]) >= _OLDEST
    return f"{_OLDEST:03d}Y" if old else value


def _each(value: Any, change: Any) -> Any:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return change(str(value))
    return [change(str(one)) for one in value]


def _holds(content: bytes, tokens: frozenset[str]) -> bool:
    """Whether bytes hold what identifies a patient, in one of the usual encodings."""
    found = [content.decode(name, errors="ignore") for name in _ENCODINGS]
    # UTF-16 may begin at either byte.
    found += [content[1:].decode(name, errors="ignore") for name in _ENCODINGS[2:]]
    return any(token in plain(text) for text in found for token in tokens)
