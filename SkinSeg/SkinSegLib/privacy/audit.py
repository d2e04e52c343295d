"""Whether files are de-identified as :mod:`.deidentify` does it, before they leave the house.

The audit does not believe what a file says of itself: it walks through every attribute with the
same table (PS3.15 Table E.1-1) and the options that the file's method codes name, and looks at the
pixels again. What nobody can see in a file (whether a date was shifted, whether a kept word is a
name) is proved by the seal over all its bytes, where the key is given.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import MissingPackageError, Progress, header_texts_unsaid
from ..scan.archive import looks_like_dicom
from ..scan.dicom_codes import require_inflatable
from ..scan.dicom_files import files_below
from .audit_rules import file_problems, pixel_problems, statement, walk
from .objects import ObjectDeidentifier, Refused
from .profile import BURNED_IN, DeidentifyOptions, Profile
from .pseudonyms import Pseudonyms, random_pseudonyms

#: Problems that are not of one attribute.
NO_IMAGE = "is no CT, MR or PET image, or damaged"
FACE = "may show a face (no method code 113102, or Recognizable Visual Features is not NO)"
UNSEALED = "has no seal of this key: something was changed since, or it was made with another key"
TWO_PATIENTS = "its study holds files of more than one patient"
TWO_CONTENTS = "another file has the same SOP Instance UID and other content"


@dataclass(frozen=True)
class AuditOptions:
    """``with_face``: files that are not defaced pass too; someone has decided so. ``text_seen``:
    text that seems to be burned into the pixels passes; someone has looked. ``pseudonyms``: of the
    key the files were made with; every one must then bear its seal."""

    with_face: bool = False
    text_seen: bool = False
    pseudonyms: Pseudonyms | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Passed:
    """A file that passed: where it is, the SHA-256 of its bytes as hexadecimal digits, its UIDs
    and the pseudonym in it."""

    path: Path = field(repr=False)
    sha256: str
    study: str
    series: str
    instance: str
    patient: str = field(repr=False)


@dataclass
class AuditReport:
    """``passed``: the files that may leave, each object once. ``problems``: number of files by what
    is the matter; ``failed``: files with any. ``others``: files that are no DICOM; ``repeated``:
    files left out, since another holds the same object. Holds no value of any attribute."""

    passed: list[Passed] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    others: int = 0
    repeated: int = 0

    @property
    def good(self) -> bool:
        """Whether there is something to send and nothing is the matter with any of it."""
        return bool(self.passed) and not self.failed

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "good": self.good,
            "passed": len(self.passed),
            "failed": self.failed,
            "not_dicom": self.others,
            "repeated": self.repeated,
            "patients": len({one.patient for one in self.passed}),
            "studies": len({one.study for one in self.passed}),
            "series": len({one.series for one in self.passed}),
            "problems": dict(sorted(self.problems.items())),
        }


def audit(
    folder: Path, options: AuditOptions | None = None, progress: Progress | None = None
) -> AuditReport:
    """Audit every file in a folder and its subfolders; hidden files are not looked at.

    Raises MissingPackageError without the table of the standard, Cancelled, OSError.
    """
    auditor = Auditor(options or AuditOptions())
    report, progress = AuditReport(), progress or Progress()
    seen: dict[str, tuple[str, Passed]] = {}
    owners: dict[str, set[str]] = {}
    paths = files_below(folder)
    for number, path in enumerate(paths):
        progress.update(number / len(paths))
        content = path.read_bytes()
        if not looks_like_dicom(content[:132]):
            report.others += 1
            continue
        problems, found = auditor.look_at(content, path)
        if found is not None:
            owners.setdefault(found.study, set()).add(found.patient)
            same = seen.get(found.instance)
            if same is not None and same[0] == found.sha256:
                report.repeated += 1
                continue
            if same is not None:
                problems = [*problems, TWO_CONTENTS]
            seen.setdefault(found.instance, (found.sha256, found))
        _count(report, problems)
        if not problems and found is not None:
            report.passed.append(found)
    mixed = {study for study, patients in owners.items() if len(patients) > 1}
    for one in [one for one in report.passed if one.study in mixed]:
        report.passed.remove(one)
        _count(report, [TWO_PATIENTS])
    return report


def _count(report: AuditReport, problems: Iterable[str]) -> None:
    found = set(problems)
    report.failed += bool(found)
    report.problems.update(found)


@dataclass(frozen=True)
class Auditor:
    """Looks at one file after the other."""

    options: AuditOptions

    def look_at(self, content: bytes, path: Path) -> tuple[list[str], Passed | None]:
        """What is the matter with a file's bytes, and what it is; the second only where it can be
        told. ``path`` is only passed on."""
        try:
            with header_texts_unsaid():
                require_inflatable(path)
                return self._look_at(content, path)
        except Refused as reason:
            return [str(reason)], None
        except (OSError, MissingPackageError):
            raise
        except Exception:  # a file may be damaged in any way
            return [NO_IMAGE], None

    def _look_at(self, content: bytes, path: Path) -> tuple[list[str], Passed | None]:
        reader = ObjectDeidentifier(DeidentifyOptions(), random_pseudonyms())
        dataset = reader.read(content)  # raises Refused for all that is no image
        stated, problems = statement(dataset)
        problems += file_problems(dataset, content)
        problems += walk(dataset, Profile(stated.options), str(dataset.get("PatientID") or ""))
        if not (stated.defaced or self.options.with_face):
            problems.append(FACE)
        if not self._sealed(content, stated.options, stated.also):
            problems.append(UNSEALED)
        problems += pixel_problems(dataset, text_seen=self.options.text_seen)
        return problems, Passed(
            path,
            hashlib.sha256(content).hexdigest(),
            str(dataset.get("StudyInstanceUID", "")),
            str(dataset.get("SeriesInstanceUID", "")),
            str(dataset.get("SOPInstanceUID", "")),
            str(dataset.get("PatientID", "")),
        )

    def _sealed(self, content: bytes, options: DeidentifyOptions, also: tuple[str, ...]) -> bool:
        names = self.options.pseudonyms
        if names is None:
            return True
        # The file does not say which of these was chosen, but the seal depends on it.
        return any(
            ObjectDeidentifier(
                DeidentifyOptions(
                    options.keep_dates,
                    options.keep_device,
                    options.keep_patient,
                    options.clean_descriptors,
                    burned_in,
                ),
                names,
                also,
            ).is_own_work(content)
            for burned_in in BURNED_IN
        )
