"""What may go into a log: where something failed, and nothing that names a patient."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def failure_text(error: BaseException) -> str:
    """The traceback of an error and its causes: types, and file, line and function of the code.

    Messages and folders are left out: messages are for the user, and name the files that the user
    chose, whose names may be those of patients.
    """
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        frames = traceback.extract_tb(cause.__traceback__)
        lines = [f"  {'/'.join(Path(f.filename).parts[-2:])}:{f.lineno} {f.name}" for f in frames]
        kind = f"{type(cause).__module__}.{type(cause).__qualname__}"
        parts.append("\n".join([kind, *lines]))
        cause = cause.__cause__ or cause.__context__
    return "\ncaused by ".join(parts)


@contextmanager
def header_texts_unsaid() -> Iterator[None]:
    """pydicom and highdicom warn and log nothing within the block.

    What they say of a value that breaks the standard quotes the value, which may name the patient;
    a warning goes to the screen and, in Slicer, to its log.
    """
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom", "pylibjpeg")]
    before = [logger.disabled for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for logger, disabled in zip(loggers, before, strict=True):
                logger.disabled = disabled
