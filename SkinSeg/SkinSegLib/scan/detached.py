"""Headers that name other files as their voxels: only ones beside them or below are read.

A scan may come from anybody. NRRD ("data file") and MetaImage ("ElementDataFile") may name any file
of this computer, whose bytes would then be taken for a scan, and shown or sent on as one.
"""

from __future__ import annotations

import glob
import re
from pathlib import Path

from ..core import ScanReadError

_NRRD, _META = (
    re.compile(r"data ?file: ?(.*)", re.IGNORECASE),
    re.compile(r"ElementDataFile\s*=(.*)"),
)
#: No header with a list of files is longer.
_MOST = 1 << 20
#: "%03d" and the like; the numbers that follow say from where to where, and by which step.
_NUMBER = re.compile(r"%[0-9]*[diu]")


def require_own_data(path: Path) -> None:
    """Raise ScanReadError if a NRRD or MetaImage header names a file outside of its own folder."""
    folder = path.parent.resolve()
    for name in _named(path):
        parts = re.split(r"[/\\]", name)
        away = parts[0] == "" or ":" in parts[0] or ".." in parts
        pattern = _NUMBER.sub("*", glob.escape(name))
        if pattern != glob.escape(name):
            pattern = re.sub(r"( -?\d+){2,4}$", "", pattern)
        if away or any(
            not found.resolve().is_relative_to(folder) for found in path.parent.glob(pattern)
        ):
            raise ScanReadError(
                f"{path} takes its voxels from a file outside of its folder. If you trust it, put "
                "that file beside it and its plain name into the header."
            )


def _named(path: Path) -> list[str]:
    """What a header says of where its voxels are; empty where they follow it."""
    with open(path, "rb") as file:
        lines = file.read(_MOST).partition(b"\n\n")[0].decode("latin-1").splitlines()
    wanted = _NRRD if lines and lines[0].startswith("NRRD") else _META
    for number, line in enumerate(lines):
        found = wanted.match(line.strip())
        if found is None:
            continue
        name = found[1].strip()
        if name.upper().startswith("LIST"):
            return [stripped for rest in lines[number + 1 :] if (stripped := rest.strip())]
        return [] if not name or name.upper() == "LOCAL" else [name]
    return []
