"""Several files take their names, and a process that is killed in the midst of it is finished for.

Before the first file takes its name, a journal in each of their folders says which are to be
renamed. One that is found with its process gone is carried out to its end. It is obeyed only if it
is the user's own, and only on files that are still as it says: nothing that somebody wrote
meanwhile is replaced.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .temporary import is_temporary, temporary_beside

_END = "names.journal"
_LARGEST_BYTES = 64 << 20
#: Size in bytes and time of the last change in ns; numbers of files do not last on network disks.
_State = tuple[int, int]


@dataclass(frozen=True)
class Renaming:
    """A file is to take the name ``target``, whose own file gets the name ``former`` meanwhile;
    None where there is none to put back. ``mode``: permissions; None to leave them."""

    temporary: Path
    target: Path
    former: Path | None
    mode: int | None


@contextmanager
def journal_of(names: Sequence[Renaming]) -> Iterator[None]:
    """Have ``names`` carried out even if this process is killed within the block.

    Nothing is written for a single one, which the system gives its name at once or not at all. The
    journal goes as the block ends, and also, before anything is undone, when it raises. Raises
    OSError.
    """
    journals: list[Path] = []
    try:
        if len(names) > 1:
            content = json.dumps([_entry(name) for name in names])
            for folder in dict.fromkeys(name.target.absolute().parent for name in names):
                journals.append(temporary_beside(folder / _END, _END))
                _write(journals[-1], content)
        yield
    finally:
        for path in journals:
            with suppress(OSError):  # what is told is how the block ended
                path.unlink(missing_ok=True)


def is_journal(path: Path) -> bool:
    """Whether a file is named as a journal is."""
    return is_temporary(path) and path.name.endswith(f"-{_END}")


def carry_out(journal: Path) -> None:
    """Give the files of a journal whose process is gone their names, but replace nothing that
    somebody wrote since. The journal itself stays."""
    try:
        for entry in _read(journal):
            name = entry.name
            if _state(name.temporary) == entry.new and _state(name.target) in (entry.old, None):
                take_name(name)
            if name.former is not None and _state(name.target) == entry.new:
                name.former.unlink(missing_ok=True)
    except (OSError, ValueError, KeyError, TypeError):
        # Another process was faster, the disk lets nothing be done, or it is no journal: each file
        # is whole all the same, and what waits is removed as any half result.
        return


def take_name(name: Renaming) -> None:
    """Replace ``target``. Raises OSError."""
    if name.mode is not None:
        with suppress(OSError):  # FAT and some network disks know no permissions
            name.temporary.chmod(name.mode)
    os.replace(name.temporary, name.target)


@dataclass(frozen=True)
class _Entry:
    """A renaming, and what the new file and the one that it replaces are like."""

    name: Renaming
    new: _State
    old: _State | None


def _entry(name: Renaming) -> dict[str, Any]:
    return {
        "temporary": str(name.temporary.absolute()),
        "target": str(name.target.absolute()),
        "former": None if name.former is None else str(name.former.absolute()),
        "mode": name.mode,
        "new": _state(name.temporary),
        "old": _state(name.target),
    }


def _write(path: Path, content: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(content)


def _read(path: Path) -> list[_Entry]:
    """Raises OSError, ValueError, KeyError or TypeError for what is not a journal of this user."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with open(handle, encoding="utf-8") as file:
        there = os.fstat(handle)
        others = hasattr(os, "getuid") and there.st_uid != os.getuid()
        if not stat.S_ISREG(there.st_mode) or others or there.st_size > _LARGEST_BYTES:
            raise ValueError("This is not a journal of this user.")
        return [_parsed(entry) for entry in json.load(file)]


def _parsed(entry: dict[str, Any]) -> _Entry:
    former = None if entry["former"] is None else Path(entry["former"])
    mode = None if entry["mode"] is None else int(entry["mode"]) & 0o777
    name = Renaming(Path(entry["temporary"]), Path(entry["target"]), former, mode)
    (size, changed), old = entry["new"], entry["old"]
    apart = any(path.parent != name.target.parent for path in (name.temporary, former) if path)
    named = all(is_temporary(path) for path in (name.temporary, former) if path)
    if apart or not named or not name.target.is_absolute() or is_temporary(name.target):
        raise ValueError("These are not the names of a file that is written.")
    before = None if old is None else (int(old[0]), int(old[1]))
    return _Entry(name, (int(size), int(changed)), before)


def _state(path: Path) -> _State | None:
    """None if there is no file."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return None
    return there.st_size, there.st_mtime_ns
