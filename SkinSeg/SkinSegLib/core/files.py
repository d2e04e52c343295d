"""Writing without ever leaving a half-written file behind."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def replacing(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; when the block ends well, rename it to target.

    The temporary file keeps the target's whole suffix (``.seg.nrrd``), since writers choose the
    format by it. Whatever the block raises, Ctrl-C included, the temporary file is removed and an
    existing target stays as it was.

    Raises OutputError if the folder is missing or not writable, or the disk is full.
    """
    path = Path(target)
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(
            f"The folder {folder} does not exist. Create it, or choose another output folder."
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file in it.")
    temporary = folder / f".skinseg-{secrets.token_hex(6)}-{path.name}"
    try:
        yield temporary
        if not temporary.is_file():
            raise OutputError(f"{path.name} was not written. Check the folder's permissions.")
        os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(
            f"Cannot write {path}: {reason}. Free some space or choose another output folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def require_writable(target: Path | str) -> None:
    """Fail now, before minutes of computing, if ``target`` could not be written at the end.

    Raises OutputError as :func:`replacing` does.
    """
    path = Path(target)
    if path.parent.is_dir() and not path.is_dir():
        probe = path.parent / f".skinseg-{secrets.token_hex(6)}-probe"
        try:
            probe.touch(exist_ok=False)
        except OSError as error:
            raise OutputError(
                f"The folder {path.parent} cannot be written to ({error.strerror}). "
                "Choose another output folder, or change its permissions."
            ) from error
        probe.unlink()
        return
    with replacing(path):
        pass
