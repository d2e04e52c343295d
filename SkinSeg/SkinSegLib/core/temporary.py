"""Names that files have while they are written."""

from __future__ import annotations

import os
import platform
import re
import secrets
import zlib
from pathlib import Path

from .processes import is_running

PREFIX = ".skinseg-"
#: Computer, process and a number of its own; for what was set aside, a number alone.
_NAME = re.compile(re.escape(PREFIX) + r"(?:([0-9a-f]{8})([0-9a-f]{8}))?[0-9a-f]{12}-")
#: Of a file's name in bytes, which is what most disks take.
_LONGEST_NAME = 255
#: Names that this process made: one with its number that is not here is of an earlier process, as
#: in containers, where each may have the same.
_made: set[str] = set()


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that is given while writing; one stays if a program is killed."""
    return _NAME.match(path.name) is not None


def is_set_aside(path: Path) -> bool:
    """Whether a file has the name of one that was set aside."""
    return is_temporary(path) and owner_of(path) is None


def owner_of(path: Path) -> tuple[str, int] | None:
    """Computer and number of the process that a temporary name tells of; None if of none."""
    match = _NAME.match(path.name)
    computer, process = match.groups() if match is not None else (None, None)
    return None if computer is None or process is None else (computer, int(process, 16))


def is_abandoned(path: Path) -> bool:
    """Whether the process of this computer that a temporary name tells of is gone.

    False for what was set aside: it may be the only copy of the user's own file.
    """
    owner = owner_of(path)
    if owner is None or owner[0] != _here():
        return False
    return path.name not in _made if owner[1] == os.getpid() else not is_running(owner[1])


def temporary_beside(path: Path, name: str) -> Path:
    """A new temporary name in the folder of ``path``, for a file that goes with this process; it
    ends as ``name`` does."""
    found = _named(path, _here() + f"{os.getpid():08x}", name)
    _made.add(found.name)
    return found


def set_aside_name(path: Path) -> Path:
    """A new temporary name for the file ``path``, which stays if this process is killed."""
    return _named(path, "", path.name)


def without_temporary(text: str) -> str:
    """A message, with files' own names."""
    return _NAME.sub("", text)


def _named(path: Path, owner: str, name: str) -> Path:
    start = f"{PREFIX}{owner}{secrets.token_hex(6)}-"
    room = _LONGEST_NAME - len(start)
    # The end of a long name, which says its format.
    tail = os.fsencode(name)[-room:].decode(errors="ignore")
    return path.parent / f"{start}{tail}"


def _here() -> str:
    """This computer: a folder may be shared with others, whose processes nobody here knows."""
    return f"{zlib.crc32(platform.node().encode()):08x}"
