"""What became of a case, and the file beside its results that says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..core import NOTICE, OutputError

RECORD = "case.json"


class Status(StrEnum):
    """What became of a case; the value is what tables and JSON show."""

    DONE = "done"
    FAILED = "failed"
    WAITING = "not done"


@dataclass(frozen=True)
class CaseResult:
    """What became of a case. Holds no patient data.

    ``settings``: see BatchSettings.wanted; ``source``: see Ledger.stamp; by both a later run tells
    whether the case is to be done again. ``seconds``: of the whole case, loading the network not
    counted. ``error``: what went wrong and what to do; ``where``: types and lines of code.
    ``report``: figures as in Report.as_dict. ``files``: SHA-256 of the results, by name.
    ``attempt``: 2 if the process that worked on it first was lost.
    """

    case: str
    status: Status
    settings: Mapping[str, Any]
    source: str
    kind: str = ""
    about: str = ""
    seconds: float = 0.0
    error: str = ""
    where: str = ""
    attempt: int = 1
    report: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def volume_ml(self) -> float | None:
        """Of the solid head; None if it failed."""
        return self.report.get("volume_ml")

    @property
    def findings(self) -> tuple[str, ...]:
        """Kinds of findings, the severest first, each once."""
        return tuple(dict.fromkeys(item["kind"] for item in self.report.get("findings", ())))


def put(result: CaseResult, work: Path, target: Path) -> None:
    """Let a finished folder ``work``, with its record, take the place of ``target``.

    Both are on one disk. Whoever looks finds the former folder, the new one or, between two
    renames, none: then the case is done again. Raises OutputError.
    """
    text = json.dumps({**asdict(result), "notice": NOTICE}, indent=1) + "\n"
    former = work.with_name(f"{work.name}-former")
    try:
        (work / RECORD).write_text(text, encoding="utf-8")
        if target.exists():
            target.rename(former)
        work.rename(target)
        shutil.rmtree(former, ignore_errors=True)  # else it goes with the run's folder
    except OSError as error:
        raise OutputError(
            f"The results of {result.case} cannot be put in place ({error.strerror}). "
            "Free some space, and check the permissions of the output folder."
        ) from error


def found(folder: Path) -> CaseResult | None:
    """The record in a case's folder; None if there is none, or it is damaged."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        content.pop("notice", None)
        result = CaseResult(**{**content, "status": Status(content["status"])})
        return result if result.case == folder.name and _plain(result, folder) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None  # then it is not done


def _plain(result: CaseResult, folder: Path) -> bool:
    """Whether the files that a record names are plain ones of its folder: it may be a stranger's,
    and name any file of this computer, or one without an end."""
    return not folder.is_symlink() and all(
        Path(name).name == name and (folder / name).is_file() and not (folder / name).is_symlink()
        for name in result.files
    )


def intact(result: CaseResult, folder: Path) -> bool:
    """Whether the results are those that were written."""
    try:
        return all(digest(folder / name) == known for name, known in result.files.items())
    except OSError:
        return False


def digest(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
