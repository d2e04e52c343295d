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


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that is given while writing; one stays if a program is killed."""
    return _NAME.match(path.name) is not None


def is_abandoned(path: Path) -> bool:
    """Whether the process of this computer that a temporary name tells of is gone.

    False for what was set aside: it may be the only copy of the user's own file.
    """
    match = _NAME.match(path.name)
    computer, process = match.groups() if match is not None else (None, None)
    return process is not None and computer == _here() and not is_running(int(process, 16))


def temporary_beside(path: Path, name: str) -> Path:
    """A new temporary name in the folder of ``path``, for a file that goes with this process; it
    ends as ``name`` does."""
    return _named(path, _here() + f"{os.getpid():08x}", name)


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
