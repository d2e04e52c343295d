"""Private attributes that the standard knows to be safe (PS3.15, E.3.10)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from ..core import resource_path

#: What a value of its kind looks like; the table says what a maker means by an attribute, not what
#: a file has there. The only SH is a pitch, as 0.984:1.
_LOOKS = {
    "DS": re.compile(r"[0-9eE+. -]{0,16}"),
    "CS": re.compile(r"[A-Z0-9_ ]{0,16}"),
    "SH": re.compile(r"[0-9.]{1,8}:[0-9.]{1,4}"),
}
_NUMBERS = frozenset({"US", "SS", "FL"})


@cache
def table() -> Mapping[tuple[str, int, int], str]:
    """The value representation by private creator, group and low byte of the element."""
    content = json.loads(resource_path("Privacy", "safe-private.json").read_text(encoding="utf-8"))
    content.pop("source")
    return {
        (creator, int(group, 16), int(element, 16)): vr
        for creator, groups in content.items()
        for group, elements in groups.items()
        for element, vr in elements.items()
    }


def safe_tags(dataset: Any, tokens: Collection[str]) -> set[int]:
    """The private attributes of a data set that may stay, with those that reserve their blocks.

    Whose value is no value of its kind, or holds one of ``tokens`` (what identifies the patient,
    in lower case), is not among them. Items of sequences are looked at apart.
    """
    found: set[int] = set()
    for tag in dataset.keys():  # noqa: SIM118 - pydicom iterates over elements, not tags
        group, element = int(tag) >> 16, int(tag) & 0xFFFF
        if group % 2 == 0 or element < 0x1000:
            continue
        reserves = (group << 16) | (element >> 8)
        creator = _creator(dataset, reserves)
        vr = table().get((creator, group, element & 0xFF))
        if vr is not None and _is_safe(dataset, tag, vr, tokens):
            found |= {int(tag), reserves}
    return found


def _creator(dataset: Any, tag: int) -> str:
    """The private creator that reserves a block (PS3.5, 7.8.1); "" for none."""
    return str(dataset[tag].value).strip() if tag in dataset else ""


def _is_safe(dataset: Any, tag: Any, vr: str, tokens: Collection[str]) -> bool:
    try:
        element = dataset[tag]
    except Exception:  # a value may be damaged in any way, and then it is not safe
        return False
    if str(element.VR) != vr:
        return False
    values = element.value if element.VM > 1 else [element.value]
    if vr in _NUMBERS:
        return all(isinstance(value, int | float) for value in values)
    texts = ["" if value is None else str(value) for value in values]
    if not all(_LOOKS[vr].fullmatch(text) for text in texts):
        return False
    return not any(token in text.casefold() for token in tokens for text in texts)
