"""What is asked of one attribute, whoever changes it or looks at it."""

from __future__ import annotations

import re
from typing import Any

from ..core import PrivacyError

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
#: What a value of its kind looks like (PS3.5, 6.2); files are lax about codes, so these are too.
GRAMMAR = {
    "DS": re.compile(r"[0-9eE+. -]*"),
    "IS": re.compile(r"[0-9+. -]*"),
    "AS": re.compile(r"(\d{1,3}[DWMY]?)?"),
    "TM": re.compile(r"[0-9.:]*"),
    "CS": re.compile(r"[A-Za-z0-9 _./+-]{0,16}"),
}
CHARACTER_SET = 0x00080005
CHARACTER_SETS = re.compile(r"ISO_IR \d{1,3}|ISO 2022 IR \d{1,3}|GB18030|GBK|")


def vr_of(dataset: Any, tag: Any) -> str:
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


def fits(tag: int, vr: str) -> bool:
    """Whether the file says of an attribute what the standard does: a sequence may hide as bytes, a
    name as a number."""
    from pydicom.datadict import dictionary_has_tag, dictionary_VR

    return not dictionary_has_tag(tag) or vr in str(dictionary_VR(tag)).split(" or ")


def texts_of(dataset: Any, tag: Any) -> list[str]:
    """The values of an attribute as they stand in the file, not converted to numbers."""
    raw = dataset.get_item(tag)
    value = raw.value
    if isinstance(value, bytes) and str(raw.VR) in GRAMMAR:
        return [part.strip("\0 ") for part in value.decode("latin-1").split("\\")]
    value = dataset[tag].value
    several = hasattr(value, "__iter__") and not isinstance(value, str | bytes)
    return [str(one).strip("\0 ") for one in (value if several else [value]) if one is not None]


def shown_name(tag: int) -> str:
    """For the report: the standard's keyword, or only the group of what is private or unknown."""
    from pydicom.datadict import keyword_for_tag

    group = tag >> 16
    if group % 2:
        return f"private ({group:04X},xxxx)"
    return keyword_for_tag(tag) or f"({group:04X},{tag & 0xFFFF:04X})"
