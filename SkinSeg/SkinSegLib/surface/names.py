"""A file's name from a segment's name, which may hold anything that can be typed."""

from __future__ import annotations

import re
import unicodedata

#: What no file name on Windows may hold; "/" and the null character not elsewhere either.
_RESERVED = re.compile(r'[<>:"/\\|?*]')
#: Unicode categories of what cannot be seen, or not be written: control characters, halves of
#: surrogate pairs, line and paragraph separators.
_UNSEEN = {"Cc", "Cs", "Zl", "Zp"}
#: Marks that turn the direction of writing, by which ``lts.exe`` could look like ``exe.stl``.
_TURNING = set("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: Names of devices, whatever follows after a dot.
_DEVICES = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:\.|$)", re.I)
#: File systems take 255 bytes. While a file is being written its name has 22 more, and its record
#: (see provenance) ".json".
_LONGEST = 255 - 22 - 5
_NAMELESS = "surface"


def safe_file_name(segment_name: str, suffix: str) -> str:
    """A name that Windows, macOS and Linux take, as like ``segment_name`` as can be.

    ``suffix`` begins with its dot and is kept. Letters of all scripts stay (in NFC, so that a name
    is the same on every system); what cannot stand in a name becomes ``_``, names of devices (CON,
    NUL, COM1) get one in front; dots and spaces at either end go. A name of which nothing is left
    becomes "surface". Two names may come out the same.

    Source: Microsoft, "Naming Files, Paths, and Namespaces".
    """
    seen = "".join(
        "_" if unicodedata.category(letter) in _UNSEEN or letter in _TURNING else letter
        for letter in unicodedata.normalize("NFC", segment_name)
    )
    name = _trimmed(_RESERVED.sub("_", seen))
    if _DEVICES.match(name):
        name = f"_{name}"
    room = _LONGEST - len(suffix.encode("utf-8"))
    name = _trimmed(name.encode("utf-8")[:room].decode("utf-8", "ignore"))
    return (name or _NAMELESS) + suffix


def _trimmed(name: str) -> str:
    """Without dots and spaces, of any kind, at the ends."""
    before = None
    while name != before:
        before, name = name, name.strip().strip(".")
    return name
