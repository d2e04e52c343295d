"""Writing without ever leaving a half-written file, or half of several files, behind."""

from __future__ import annotations

import errno
import os
import platform
import re
import secrets
import signal
import stat
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from .errors import OutputError
from .processes import is_running

_PREFIX = ".skinseg-"
#: To be read and written by the owner alone: a scan is a picture of a face.
_OWNER = 0o600
#: Computer, process and a number of its own; for what was set aside, a number alone.
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"(?:([0-9a-f]{8})([0-9a-f]{8}))?[0-9a-f]{12}-")
#: Of a file's name in bytes, which is what most disks take.
_LONGEST_NAME = 255
#: Temporary files of this process that could not be removed, as on a disk that became read-only.
_left: set[Path] = set()


class Replacements:
    """Files written under temporary names, to take their own names together."""

    def __init__(self) -> None:
        # Temporary name, own name, permissions for a new file: None to stay for the owner alone.
        self._ready: list[tuple[Path, Path, int | None]] = []

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
        temporary = _beside(path, path.name, _here() + f"{os.getpid():08x}")
        try:
            try:
                usual = _begin(temporary)
                yield temporary
            except OSError as error:
                raise cannot_write(path, error) from error
            except OutputError as error:  # a writer knows the file by its temporary name
                raise OutputError(_TEMPORARY.sub("", str(error))) from error
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

        Ctrl-C and SIGTERM wait until it is over. Raises OutputError.
        """
        replaced: list[tuple[Path, Path | None]] = []
        with _signals_held():
            try:
                for temporary, target, mode in self._ready:
                    try:
                        if mode is not None:
                            _permit(temporary, _mode_of(target, mode))
                        replaced.append((target, _set_aside(target)))
                        os.replace(temporary, target)
                    except OSError as error:
                        raise cannot_write(target, error) from error
            except BaseException as error:
                _put_back(replaced, error)
                raise
            for _, former in replaced:
                if former is not None:
                    with suppress(OSError):  # all is written; a leftover is no failure
                        former.unlink()
        self._ready.clear()

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

    Half files that a killed process left there under temporary names are removed: they show a
    patient. Raises OutputError as :func:`replacing` does.
    """
    path = Path(target)
    _require_place(path)
    _remove_leftovers(path.parent)
    probe = _beside(path, "probe")
    try:
        probe.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(
            f"The folder {path.parent} cannot be written to ({error.strerror}). {_advice(error)}"
        ) from error
    probe.unlink()


def is_temporary(path: Path) -> bool:
    """Whether a file has a name that is given while writing; one stays if a program is killed."""
    return _TEMPORARY.match(path.name) is not None


def _require_place(path: Path) -> None:
    if not path.parent.is_dir():
        raise OutputError(
            f"The folder {path.parent} does not exist. Create it, or choose another output folder."
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file in it.")


def _beside(path: Path, name: str, owner: str = "") -> Path:
    """``owner``: of a file that goes with its process; 16 digits, else none."""
    start = f"{_PREFIX}{owner}{secrets.token_hex(6)}-"
    room = _LONGEST_NAME - len(start)
    # The end of a long name, which says its format.
    tail = os.fsencode(name)[-room:].decode(errors="ignore")
    return path.parent / f"{start}{tail}"


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


def _here() -> str:
    """This computer: a folder may be shared with others, whose processes nobody here knows."""
    return f"{zlib.crc32(platform.node().encode()):08x}"


def _remove(temporary: Path) -> None:
    """Remove a temporary file; where that fails, what is to be told is why it was not needed."""
    _left.add(temporary)
    with suppress(OSError):
        temporary.unlink(missing_ok=True)
        _left.discard(temporary)


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that are gone, and those that this one had to leave. What
    was set aside stays: it may be the only copy of the user's own file."""
    for path in [path for path in _left if path.parent == folder]:
        _remove(path)
    try:
        found = [path for path in folder.iterdir() if path.name.startswith(_PREFIX)]
    except OSError:
        return  # a folder that may be written to and not be listed
    for path in found:
        match = _TEMPORARY.match(path.name)
        computer, process = match.groups() if match is not None else (None, None)
        if process is not None and computer == _here() and not is_running(int(process, 16)):
            _remove(path)


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


def _set_aside(target: Path) -> Path | None:
    """A second name for an existing file, None if there is none; the file keeps its own name
    where the disk knows hard links."""
    if not os.path.lexists(target):
        return None
    former = _beside(target, target.name)
    try:
        os.link(target, former)
    except (OSError, NotImplementedError):
        os.replace(target, former)
    return former


def _put_back(replaced: list[tuple[Path, Path | None]], error: BaseException) -> None:
    """Undo a commit; what cannot be undone is told in a note of ``error``."""
    for target, former in reversed(replaced):
        try:
            if former is None:
                target.unlink(missing_ok=True)
            elif os.path.lexists(target) and os.path.samefile(former, target):
                former.unlink()  # it was not replaced yet
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
