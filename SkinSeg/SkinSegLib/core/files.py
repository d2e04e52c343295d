"""Writing without ever leaving a half-written file, or half of several files, behind."""

from __future__ import annotations

import errno
import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from .errors import OutputError
from .journal import Renaming, carry_out, is_journal, journal_of, take_name
from .temporary import (
    PREFIX,
    is_abandoned,
    set_aside_name,
    temporary_beside,
    without_temporary,
)

#: To be read and written by the owner alone: a scan is a picture of a face.
_OWNER = 0o600
#: Temporary files of this process that could not be removed, as on a disk that became read-only.
_left: set[Path] = set()


class Replacements:
    """Files written under temporary names, to take their own names together."""

    def __init__(self) -> None:
        # Temporary name, own name, permissions for a new file: None to stay for the owner alone.
        self._ready: list[tuple[Path, Path, int | None]] = []
        self._tidied: set[Path] = set()

    @contextmanager
    def add(self, target: Path | str, private: bool = False) -> Iterator[Path]:
        """Yield an empty temporary file beside ``target``, which it is to replace when the block
        ends well.

        Its name keeps the target's whole suffix (``.seg.nrrd``), since writers choose the format by
        it. It is for its owner alone; once it takes its name it gets the permissions of the file
        that it replaces or, where there was none, the usual ones. ``private``: it stays for its
        owner alone. Raises OutputError if the folder is missing or not writable, the disk is full
        or nothing was written; then, as with any other error, the temporary file is removed.
        """
        path = Path(target)
        _require_place(path)
        if path.parent not in self._tidied:
            _remove_leftovers(path.parent)
            self._tidied.add(path.parent)
        temporary = temporary_beside(path, path.name)
        try:
            try:
                usual = _begin(temporary)
                yield temporary
            except OSError as error:
                raise cannot_write(path, error) from error
            except OutputError as error:  # a writer knows the file by its temporary name
                raise OutputError(without_temporary(str(error))) from error
            if not temporary.is_file() or not temporary.stat().st_size:
                raise OutputError(f"{path.name} was not written. Check the folder's permissions.")
            _permit(temporary, _OWNER)  # a writer may have made it anew
            self._ready.append((temporary, path, None if private else usual))
        except BaseException:
            _remove(temporary)
            raise

    def rename(self, target: Path, new: Path) -> None:
        """Let the file that was to replace ``target`` replace ``new``, in the same folder."""
        self._ready = [
            (temporary, new if path == target else path, mode)
            for temporary, path, mode in self._ready
        ]

    def commit(self) -> None:
        """Give every file its name, or none: what was replaced is put back if one fails.

        Ctrl-C and SIGTERM wait until it is over; what a killed process left of it is finished by
        the next one that writes into the folder. Raises OutputError.
        """
        names = [self._renaming(*ready) for ready in self._ready]
        if not names:
            return
        replaced: list[Renaming] = []
        with _signals_held():
            try:
                with _told_of(names[0].target), journal_of(names, _remove):
                    for name in names:
                        with _told_of(name.target):
                            _set_aside(name)
                            take_name(name)
                        replaced.append(name)
                    for name in names:
                        if name.former is not None:
                            with suppress(OSError):  # all is written; a leftover is no failure
                                name.former.unlink()
            except BaseException as error:
                for name in reversed(names[: len(replaced) + 1]):
                    _put_back(name, name in replaced, error)
                raise
        self._ready.clear()

    def _renaming(self, temporary: Path, target: Path, mode: int | None) -> Renaming:
        # The last needs no way back: it takes its name at once or not at all.
        last = self._ready[-1][0] == temporary
        former = set_aside_name(target) if os.path.lexists(target) and not last else None
        return Renaming(temporary, target, former, None if mode is None else _mode_of(target, mode))

    def discard(self) -> None:
        """Remove what has not taken its name."""
        for temporary, *_ in self._ready:
            _remove(temporary)


@contextmanager
def replacing_together() -> Iterator[Replacements]:
    """Yield Replacements; when the block ends well every file takes its name, or none does.

    Whatever the block raises, Ctrl-C included, the temporary files are removed and existing
    targets stay as they were. Raises OutputError.
    """
    files = Replacements()
    try:
        yield files
        files.commit()
    finally:
        files.discard()


@contextmanager
def replacing(target: Path | str, private: bool = False) -> Iterator[Path]:
    """:func:`replacing_together` for a single file: yield its temporary name.

    ``private``: what is written is for its owner alone, as keys are. Raises OutputError if the
    folder is missing or not writable, or the disk is full.
    """
    with replacing_together() as files, files.add(target, private) as temporary:
        yield temporary


def require_writable(target: Path | str) -> None:
    """Fail now, before minutes of computing, if ``target`` could not be written at the end.

    What a killed process left there under temporary names is removed, since it shows a patient; if
    its files were just taking their names, that is finished. Raises OutputError as
    :func:`replacing` does.
    """
    path = Path(target)
    _require_place(path)
    _remove_leftovers(path.parent)
    probe = temporary_beside(path, "probe")
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be written to ({error.strerror}). {_advice(error)}"
        ) from error
    probe.unlink()


def _require_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"The folder {path.parent} does not exist. Create it, or choose another output folder."
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file in it.")


def _begin(temporary: Path) -> int:
    """Make the file, empty and for its owner alone; returns the permissions that the system and the
    user's umask would have given it."""
    handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        usual = stat.S_IMODE(os.fstat(handle).st_mode)
    finally:
        os.close(handle)
    _permit(temporary, _OWNER)
    return usual


def _permit(path: Path, mode: int) -> None:
    with suppress(OSError):  # FAT and some network disks know no permissions
        path.chmod(mode)


def _mode_of(target: Path, usual: int) -> int:
    """The permissions of the plain file that is to be replaced; else the usual ones."""
    try:
        there = target.lstat().st_mode
    except OSError:
        return usual
    return stat.S_IMODE(there) if stat.S_ISREG(there) else usual


def _remove(temporary: Path) -> None:
    """Remove a temporary file; where that fails, what is to be told is why it was not needed."""
    _left.add(temporary)
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
        _left.discard(temporary)


def _remove_leftovers(folder: Path) -> None:
    """Finish what processes that are gone had begun to rename, and remove their other temporary
    files, and those that this one had to leave. What was set aside stays: it may be the only copy
    of the user's own file."""
    for path in [path for path in _left if path.parent == folder]:
        _remove(path)
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(PREFIX)]
    except OSError:
        return  # a folder that may be written to and not be listed
    gone = [path for path in found if is_abandoned(path)]
    kept: set[Path] = set()
    for path in filter(is_journal, gone):
        kept |= carry_out(path)
    for path in gone:
        if path not in kept:
            _remove(path)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """An error of the system, told as one of writing ``path``."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> OutputError:
    """What to tell the user of an error of the system while ``path`` was written."""
    return OutputError(f"Cannot write {path}: {error.strerror or error}. {_advice(error)}")


#: errno of a full disk or quota, and of a place or file that is not ours to write.
_FULL = {"ENOSPC", "EDQUOT", "EFBIG"}
_REFUSED = {"EACCES", "EPERM", "EROFS", "ETXTBSY", "EBUSY"}


def _advice(error: OSError) -> str:
    name = errno.errorcode.get(error.errno or 0, "")
    if name in _FULL:
        return "Free some space, or choose another output folder."
    if name in _REFUSED:
        return (
            "Check the permissions, close any program that has the file open, "
            "or choose another output folder."
        )
    return "Choose another name or output folder."


def _set_aside(name: Renaming) -> None:
    """Give an existing file its second name; it keeps its own where the disk knows hard links."""
    if name.former is None:
        return
    try:
        os.link(name.target, name.former)
    except (OSError, NotImplementedError):
        os.replace(name.target, name.former)


def _put_back(name: Renaming, replaced: bool, error: BaseException) -> None:
    """Undo a renaming; ``replaced``: it was done to its end. What cannot be undone is told in a
    note of ``error``."""
    target, former = name.target, name.former
    try:
        if former is None:
            if replaced:
                target.unlink(missing_ok=True)
        elif not os.path.lexists(former):
            if replaced:
                raise FileNotFoundError(former)
        elif not replaced and os.path.lexists(target) and os.path.samefile(former, target):
            former.unlink()
        else:
            os.replace(former, target)
    except OSError:
        what = f"{target} was left behind." if former is None else f"Your {target} is {former}."
        error.add_note(f"Undoing failed: {what}")


@contextmanager
def _signals_held() -> Iterator[None]:
    """SIGINT and SIGTERM come only after the block; elsewhere than in the main thread they
    do not come anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append(number)

    # None: a handler that is not Python's, which could not be put back.
    before = {
        number: handler
        for number in (signal.SIGINT, signal.SIGTERM)
        if (handler := signal.getsignal(number)) is not None
    }
    for number in before:
        signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for held in came:
            signal.raise_signal(held)
