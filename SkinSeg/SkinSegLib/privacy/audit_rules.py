"""The single rules of the audit; each gives what is the matter, in words without a value."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .dates import shifted
from .deface_files import VISUAL
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
from .objects import BURNED_IN, UNDECODED
from .pixels import clear_unused_bits, find_text, frames_of
from .profile import Action, DeidentifyOptions, Profile
from .pseudonyms import is_standard
from .safe_private import safe_tags
from .words import cleaned

_METHOD = re.compile(r"SkinSeg [0-9A-Za-z.+]{1,20}, DICOM PS3\.15 \d{4}[a-e]")
_SEAL = re.compile(r"Seal [0-9a-f]{32}")
_PSEUDONYM = re.compile(r"S[A-Z2-7]{20}")
_UID = re.compile(r"[0-9.]{1,64}")
#: Of the file meta information (PS3.10, 7.1) nothing else may be there.
_META = frozenset(
    {0x00020000, 0x00020001, 0x00020002, 0x00020003, 0x00020010, 0x00020012, 0x00020013}
)
_AGE, _PIXELS = 0x00101010, 0x7FE0
_CLEARED = "has other bits set than those of its pixels"
_BEHIND = "has bytes behind its last pixel"


@dataclass(frozen=True)
class Statement:
    """What a file says was done to it. ``also``: codes beyond those of the options, as
    ObjectDeidentifier takes them."""

    options: DeidentifyOptions
    also: tuple[str, ...]
    defaced: bool


def statement(dataset: Any) -> tuple[Statement, list[str]]:
    """Patient Identity Removed, the method and its codes (PS3.3, C.7.1.1; PS3.16, CID 7050)."""
    from pydicom.sr.codedict import codes as dictionary

    problems = []
    if str(dataset.get("PatientIdentityRemoved") or "") != "YES":
        problems.append("PatientIdentityRemoved: is not YES")
    method = _texts(dataset, "DeidentificationMethod")
    if (
        len(method) != 2
        or _METHOD.fullmatch(method[0]) is None
        or _SEAL.fullmatch(method[1]) is None
    ):
        problems.append("DeidentificationMethod: is not that of skinseg dicom deidentify")
    group = dictionary.cid7050
    known = {getattr(group, name).value: name for name in group.dir()}
    named = set()
    for item in dataset.get("DeidentificationMethodCodeSequence") or ():
        name = known.get(str(item.get("CodeValue", "")), "")
        code = getattr(group, name, None)
        texts = (item.get("CodingSchemeDesignator"), item.get("CodeMeaning"))
        if code is None or texts != (code.scheme_designator, code.meaning[:64]):
            problems.append("DeidentificationMethodCodeSequence: has a code not of CID7050")
        named.add(name)
    options = DeidentifyOptions(
        "RetainLongitudinalTemporalInformationModifiedDatesOption" in named,
        "RetainDeviceIdentityOption" in named,
        "RetainPatientCharacteristicsOption" in named,
        "CleanDescriptorsOption" in named,
        "blackout" if "CleanPixelDataOption" in named else "refuse",
        "RetainSafePrivateOption" in named,
    )
    also = (VISUAL,) if VISUAL in named else ()
    if named != {*options.codes(), *also}:
        problems.append("DeidentificationMethodCodeSequence: lacks the Basic Profile, or says more")
    dates = "MODIFIED" if options.keep_dates else "REMOVED"
    if str(dataset.get("LongitudinalTemporalInformationModified") or "") != dates:
        problems.append("LongitudinalTemporalInformationModified: does not fit the method codes")
    no_features = str(dataset.get("RecognizableVisualFeatures") or "") == "NO"
    return Statement(options, also, bool(also) and no_features), problems


def file_problems(dataset: Any, content: bytes) -> list[str]:
    """Preamble, file meta information, and that the attributes account for every byte."""
    import pydicom

    problems = []
    if any(content[:128]) or content[128:132] != b"DICM":
        problems.append("its preamble is not empty")
    meta = dataset.file_meta
    extra = {int(tag) for tag in list(meta.keys())} - _META
    problems += [f"{shown_name(tag)}: should not be in the file meta information" for tag in extra]
    if str(meta.get("MediaStorageSOPInstanceUID", "")) != str(dataset.SOPInstanceUID):
        problems.append("MediaStorageSOPInstanceUID: is not the object's")
    if re.fullmatch(r"SKINSEG_[0-9A-Za-z.+]*", str(meta.get("ImplementationVersionName"))) is None:
        problems.append("ImplementationVersionName: is not that of SkinSeg")
    if meta.TransferSyntaxUID.is_compressed:
        problems.append("its pixels are compressed, which leaves room for comments")
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"):
        if not dataset.get(name):
            problems.append(f"{name}: is missing")
    again = io.BytesIO()
    pydicom.dcmread(io.BytesIO(content)).save_as(again)
    if again.getvalue() != content:
        problems.append("has bytes that no attribute accounts for")
    return problems


def walk(dataset: Any, profile: Profile, pseudonym: str) -> list[str]:
    """Every attribute at every depth against the profile; ``pseudonym``: the Patient ID."""
    return [f"{shown_name(tag)}: {text}" for tag, text in _walk(dataset, profile, pseudonym)]


def _walk(dataset: Any, profile: Profile, pseudonym: str) -> Iterator[tuple[int, str]]:
    safe = safe_tags(dataset, ()) if profile.options.keep_safe_private else set()
    for tag in list(dataset.keys()):
        number, vr = int(tag), vr_of(dataset, tag)
        if number in safe:
            continue
        action = profile.action(number, vr)
        if action is Action.REMOVE:
            yield number, "should have been removed"
        elif not fits(number, vr):
            yield number, "is of another kind than the standard says"
        elif action is Action.PSEUDONYM:
            value = str(dataset[tag].value or "")
            if _PSEUDONYM.fullmatch(value) is None or value != pseudonym:
                yield number, "is no pseudonym"
        elif vr == "SQ" and action in (Action.KEEP, Action.DESCEND):
            for item in dataset[tag].value:
                yield from _walk(item, profile, pseudonym)
        elif action is Action.DESCEND:
            yield number, "should have been removed"
        elif not dataset[tag].is_empty:
            text = _wrong(dataset, tag, vr, action)
            if text:
                yield number, text


def _wrong(dataset: Any, tag: Any, vr: str, action: Action) -> str:
    """What is the matter with a value that is there; empty for nothing."""
    number, element = int(tag), dataset[tag]
    if action is Action.UID and vr == "UI":
        return "" if all(map(_new_uid, texts_of(dataset, tag))) else "was not replaced"
    if action is Action.DUMMY:
        return "" if _is_dummy(element, vr) else "was not replaced by a dummy"
    if action is Action.SHIFT:
        today = f"{datetime.now(UTC):%Y%m%d}"
        right = all(
            text == shifted(text, vr, 0) and text[:8] < today[: len(text[:8])]
            for text in texts_of(dataset, tag)
            if text
        )
        return "" if right else "is no date in the past"
    if action is Action.CLEAN:
        clean = all(text == cleaned(text) for text in texts_of(dataset, tag))
        return "" if clean else "has words that are not known to be harmless"
    if action is Action.KEEP:
        return _kept(dataset, tag, vr, number)
    return "should be empty"


def _kept(dataset: Any, tag: Any, vr: str, number: int) -> str:
    if number == _AGE:
        found = re.fullmatch(r"0*(\d{1,3})([DWMY]?)", str(dataset[tag].value).strip())
        old = found is not None and found[2] in ("Y", "") and int(found[1]) > 90
        return "" if found and not old else "is no age up to 90"
    if number >> 16 == _PIXELS:
        return ""
    if vr == "UI":
        right = all(_UID.fullmatch(text) for text in texts_of(dataset, tag))
        return "" if right else "is no UID"
    grammar = CHARACTER_SETS if number == CHARACTER_SET else GRAMMAR.get(vr)
    if grammar is not None and not all(grammar.fullmatch(one) for one in texts_of(dataset, tag)):
        return "is no value of its kind"
    return ""


def _new_uid(text: str) -> bool:
    """Whether it is one of :meth:`Pseudonyms.uid`: the standard's own, or a UUID of version 8."""
    if is_standard(text):
        return True
    found = re.fullmatch(r"2\.25\.(\d{1,39})", text)
    if found is None or int(found[1]) >= 1 << 128:
        return False
    content = int(found[1]).to_bytes(16, "big")
    return content[6] >> 4 == 8 and content[8] >> 6 == 2


def _is_dummy(element: Any, vr: str) -> bool:
    if vr == "SQ":
        items = list(element.value)
        return len(items) <= 1 and all(
            not int(inner.tag) >> 16 & 1 and (inner.is_empty or _is_dummy(inner, str(inner.VR)))
            for item in items
            for inner in item
        )
    value = element.value
    if vr == "UI":
        values = [value] if isinstance(value, str) else value
        return all(_new_uid(str(one)) for one in values)
    if vr in ("DS", "IS", "FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"):
        return bool(not hasattr(value, "__iter__") and float(value) == 0)
    if vr in DUMMIES:
        return bool(str(value) == DUMMIES[vr])
    return bool(value == 0 or value == b"\0\0")


def pixel_problems(dataset: Any, *, text_seen: bool) -> list[str]:
    """Text in the pixels, and what hides beside them; ``dataset`` is changed."""
    problems = []
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        return ["has colour pictures, in which text is not looked for"]
    size = int(dataset.BitsAllocated) // 8
    for name in ("Rows", "Columns", "NumberOfFrames"):
        size *= int(dataset.get(name) or 1)
    behind = dataset.PixelData[size:]
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and (len(behind) > 1 or any(behind)):
        problems.append(_BEHIND)
    try:
        if clear_unused_bits(dataset):
            problems.append(_CLEARED)
        frames = frames_of(dataset)
    except Exception:  # decoders raise whatever they like
        return [*problems, UNDECODED]
    if text_seen:
        return problems
    stated = str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"
    if stated or any(find_text(frame) for frame in frames):
        problems.append(BURNED_IN)
    return problems


def _texts(dataset: Any, name: str) -> list[str]:
    value = dataset.get(name) or ()
    return [value] if isinstance(value, str) else [str(one) for one in value]
