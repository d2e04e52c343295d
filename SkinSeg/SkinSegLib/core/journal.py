"""Several files take their names, and a process that is killed in the midst of it is finished for.

Before the first file takes its name, a journal in each of their folders says which are to be
renamed. One that is found with its process gone is carried out to its end, as far as the files are
still as it says: what somebody wrote, removed or moved since stays so. Of two folders whose
journals were not both written when the process was killed, none is.

A journal is not trusted. It is obeyed only if it is a plain file of the user's own (where the disk
knows owners), and can only give a plain file with the temporary name of the very process that wrote
the journal the name of another in the same folder.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .temporary import is_set_aside, is_temporary, owner_of, temporary_beside

_END = "names.journal"
_LARGEST_BYTES = 64 << 20
#: Size in bytes and time of the last change in ns; numbers of files do not last on network disks.
_State = tuple[int, int]
#: FAT knows times to two seconds, and other disks to one.
_SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class Renaming:
    """A file is to take the name ``target``, whose own file gets the name ``former`` meanwhile;
    None where there is none to put back. ``mode``: permissions; None to leave them."""

    temporary: Path
    target: Path
    former: Path | None
    mode: int | None


@contextmanager
def journal_of(names: Sequence[Renaming], remove: Callable[[Path], None]) -> Iterator[None]:
    """Have ``names`` carried out even if this process is killed within the block.

    Nothing is written for a single one, which the system gives its name at once or not at all. The
    journal goes, by ``remove``, as the block ends, also before anything is undone when it raises.
    Raises OSError.
    """
    journals: list[Path] = []
    try:
        if len(names) > 1:
            for folder in dict.fromkeys(name.target.absolute().parent for name in names):
                journals.append(temporary_beside(folder / _END, _END))
                _write(journals[-1], json.dumps([_entry(name, folder) for name in names]))
        yield
    finally:
        for path in journals:
            remove(path)


def is_journal(path: Path) -> bool:
    """Whether a file is named as a journal is."""
    return is_temporary(path) and path.name.endswith(f"-{_END}")


def carry_out(journal: Path) -> set[Path]:
    """Give the files of a journal whose process is gone their names.

    Returns what has to stay for the next time, the journal itself with it, since the system refused
    it this time (another program has a file open); the journal may go if nothing has to.
    """
    try:
        entries = _read(journal)
        begun, waiting = [[is_so(entry) for entry in entries] for is_so in (_is_begun, _is_waiting)]
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return set()  # no journal of ours: nothing is done of what it says
    if not any(begun) and not all(waiting):
        return set()
    refused = set()
    for entry in entries:
        try:
            _finish(entry)
        except OSError:
            refused |= {journal, entry.name.temporary}
    return refused


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


def _finish(entry: _Entry) -> None:
    name = entry.name
    with suppress(FileNotFoundError):  # another process is faster
        if _is_waiting(entry) and _may_be_replaced(entry):
            take_name(name)
        elif os.path.lexists(name.temporary) and _has_no_name(entry):
            os.replace(str(name.former), name.target)  # only half of the new one is there
    if name.former is not None and _is(name.target, entry.new):
        name.former.unlink(missing_ok=True)


def _is_waiting(entry: _Entry) -> bool:
    path = entry.name.temporary
    return _is(path, entry.new) and stat.S_ISREG(path.lstat().st_mode)


def _is_begun(entry: _Entry) -> bool:
    former = entry.name.former
    return _is(entry.name.target, entry.new) or (former is not None and os.path.lexists(former))


def _may_be_replaced(entry: _Entry) -> bool:
    if os.path.lexists(entry.name.target):
        return entry.old is not None and _is(entry.name.target, entry.old)
    return entry.old is None or _has_no_name(entry)


def _has_no_name(entry: _Entry) -> bool:
    """Whether the old file has but its second name, as on a disk without hard links; where that is
    a link, somebody has moved the file since, which has two names still."""
    name = entry.name
    if os.path.lexists(name.target) or name.former is None or entry.old is None:
        return False
    return _is(name.former, entry.old) and name.former.lstat().st_nlink <= 1


def _entry(name: Renaming, folder: Path) -> dict[str, Any]:
    return {
        "folder": _relative(name.target.absolute().parent, folder),
        "temporary": name.temporary.name,
        "target": name.target.name,
        "former": None if name.former is None else name.former.name,
        "mode": name.mode,
        "new": _state(name.temporary),
        "old": _state(name.target),
    }


def _relative(path: Path, folder: Path) -> str:
    """So that the folders may be moved together."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:  # another drive of Windows
        return str(path)


def _write(path: Path, content: str) -> None:
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(content)


def _read(path: Path) -> list[_Entry]:
    """Raises for what is no journal of this user whatever its content leads to: OSError,
    ValueError, KeyError, TypeError, ArithmeticError, RecursionError."""
    # A pipe of that name would wait for somebody to write.
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(path, os.O_RDONLY | flags)
    try:
        there = os.fstat(handle)
        others = hasattr(os, "getuid") and there.st_uid != os.getuid()
        if not stat.S_ISREG(there.st_mode) or others or there.st_size > _LARGEST_BYTES:
            raise ValueError("This is not a journal of this user.")
        with open(handle, encoding="utf-8", closefd=False) as file:
            entries = json.load(file)
    finally:
        os.close(handle)
    return [_parsed(entry, path) for entry in entries]


def _parsed(entry: dict[str, Any], journal: Path) -> _Entry:
    folder = journal.absolute().parent / str(entry["folder"])
    names = {key: entry[key] for key in ("temporary", "target", "former")}
    given = [name for name in names.values() if name is not None]
    if any(Path(name).name != name or name in ("", "..") for name in given):
        raise ValueError("A journal has names of files, and no paths.")
    temporary, target = folder / names["temporary"], folder / names["target"]
    former = None if names["former"] is None else folder / names["former"]
    if (
        owner_of(temporary) != owner_of(journal)
        or is_temporary(target)
        or (former is not None and not is_set_aside(former))
    ):
        raise ValueError("These are not the names of a file that is written.")
    mode = None if entry["mode"] is None else int(entry["mode"]) & 0o777
    old = None if entry["old"] is None else _numbers(entry["old"])
    return _Entry(Renaming(temporary, target, former, mode), _numbers(entry["new"]), old)


def _numbers(state: Sequence[Any]) -> _State:
    size, changed = state
    return int(size), int(changed)


def _state(path: Path) -> _State | None:
    """None if there is no file."""
    try:
        there = path.lstat()
    except FileNotFoundError:
        return None
    return there.st_size, there.st_mtime_ns


def _is(path: Path, state: _State) -> bool:
    """Whether there is a file, or a link, that was not changed; times as the disk keeps them."""
    found = _state(path)
    if found is None or found[0] != state[0]:
        return False
    rounded = found[1] % _SECOND_NS == 0
    return abs(found[1] - state[1]) < (2 * _SECOND_NS if rounded else 1)
