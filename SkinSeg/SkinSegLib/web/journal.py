"""What a server has acknowledged, on disk, so that an upload that was killed can go on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import OutputError, ServerError
from .server import missing_package

_KIND = "skinseg upload 1"


def journal_in(folder: Path, url: str) -> Path:
    """The usual place: a hidden file in the folder that is sent, one for each server."""
    return folder / f".skinseg-sent-{_mark(url)}.jsonl"


class Journal:
    """One line for each object that the server said it holds: its SOP Instance UID and the SHA-256
    of its file. A line that was cut short by a crash is taken off; nothing else is ever changed.

    ``acknowledged``: SHA-256 by SOP Instance UID.
    """

    def __init__(self, path: Path, url: str) -> None:
        """Open or begin; use :func:`opened_journal`. Raises OutputError, ServerError where it is
        another server's or no journal."""
        self.path = path
        self.acknowledged: dict[str, str] = {}
        first = {"journal": _KIND, "server": _mark(url)}
        try:
            content = _content(path)
        except OSError as error:
            raise _cannot(path, error) from error
        # Until it is known to be a journal, nothing of it is changed: the folder that is sent may
        # be a stranger's, and --journal may name a wrong file.
        whole = content[: content.rfind(b"\n") + 1]
        lines = whole.decode("utf-8", errors="replace").splitlines()
        try:
            head, *entries = map(json.loads, lines or [json.dumps(first)])
            begun = bool(lines) or (json.dumps(first) + "\n").encode().startswith(content)
            if head != first or not begun:
                raise ServerError(
                    "The journal belongs to another server, or is none. Name another one by "
                    "--journal."
                )
            self.acknowledged = {str(entry["uid"]): str(entry["sha256"]) for entry in entries}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ServerError(
                "The journal of the upload is damaged. Move it away and run this again: what the "
                "server holds already is found by asking it."
            ) from error
        try:
            if len(whole) < len(content):
                os.truncate(path, len(whole))
        except OSError as error:
            raise _cannot(path, error) from error
        if not lines:
            self._write([first])

    def add(self, acknowledged: Iterable[tuple[str, str]]) -> None:
        """Put down SOP Instance UIDs and SHA-256; on the disk when this returns."""
        new = dict(acknowledged)
        if new:
            self._write([{"uid": uid, "sha256": digest} for uid, digest in new.items()])
            self.acknowledged.update(new)

    def _write(self, entries: list[dict[str, str]]) -> None:
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        try:
            with open(self.path, "ab") as file:
                file.write(text.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot(self.path, error) from error


@contextmanager
def opened_journal(path: Path, url: str) -> Iterator[Journal]:
    """The journal, for this process alone.

    Raises OutputError, MissingPackageError, ServerError where another upload uses it.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise missing_package() from error
    lock = FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise ServerError(
            "Another upload of this folder is running. Wait for it, or stop it first."
        ) from error
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        yield Journal(path, url)
    finally:
        lock.release()


def _content(path: Path) -> bytes:
    """Of a journal, empty if there is none. Raises ServerError for what is no plain file."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ServerError(
            "The journal is a link, or no file at all. Remove it, or name another one by --journal."
        )
    return path.read_bytes() if path.exists() else b""


def _mark(url: str) -> str:
    """Which server, without naming it."""
    return hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:12]


def _cannot(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"The journal of the upload cannot be written ({error.strerror}). "
        "Name another place for it by --journal."
    )
