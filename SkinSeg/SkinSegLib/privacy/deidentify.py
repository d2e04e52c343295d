"""De-identifying a folder, a zip or a file, so that it can be stopped and gone on with."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import (
    Cancelled,
    OutputError,
    PrivacyError,
    Progress,
    SkinSegError,
    failure_text,
    header_texts_unsaid,
    replacing,
)
from ..scan.archive import looks_like_dicom, unpacked
from ..scan.dicom_codes import require_inflatable
from ..scan.dicom_files import files_below
from ..scan.images import image_suffix
from .objects import DAMAGED, ObjectDeidentifier, Refused
from .profile import EDITION, Action, DeidentifyOptions
from .pseudonyms import Pseudonyms, random_pseudonyms
from .rewrite import Subject
from .table import LinkTable
from .volumes import DATA_SUFFIXES, clean_sidecar, clean_volume

_log = logging.getLogger("SkinSeg.privacy")


@dataclass
class Outcome:
    """What was done, without a value, a name or a path of the input.

    ``written``, ``already``: files written, and found as they should be; ``repeated``: left out,
    since another file of the run holds the same object; ``unlinked``: found as they should be, of
    patients that the table does not have; ``linked_again``: de-identified before by another key or
    program, so that the table leads to the identifiers they came with; ``refused``: reason, number;
    ``actions``: (attribute, action) and number; ``pseudonyms``: new ones of the patients met.
    """

    options: DeidentifyOptions
    written: int = 0
    already: int = 0
    repeated: int = 0
    blacked_out: int = 0
    unlinked: int = 0
    linked_again: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    pseudonyms: set[str] = field(default_factory=set)
    dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "profile": f"DICOM PS3.15 {EDITION}, Basic Application Level Confidentiality Profile",
            "codes": list(self.options.codes()),
            "dry_run": self.dry_run,
            "written": self.written,
            "already_done": self.already,
            "repeated": self.repeated,
            "blacked_out": self.blacked_out,
            "unlinked": self.unlinked,
            "linked_again": self.linked_again,
            "refused": dict(sorted(self.refused.items())),
            "patients": sorted(self.pseudonyms),
            "actions": [
                {"attribute": name, "action": action, "count": count}
                for (name, action), count in sorted(self.actions.items())
            ],
        }


def deidentify(
    source: Path,
    target: Path,
    options: DeidentifyOptions | None = None,
    pseudonyms: Pseudonyms | None = None,
    progress: Progress | None = None,
    *,
    table: LinkTable | None = None,
    dry_run: bool = False,
) -> Outcome:
    """De-identify every image in a folder, a zip or a file into the folder ``target``.

    DICOM objects become ``<series UID>/<instance UID>.dcm`` by their new UIDs, volumes
    ``volume-<number>`` with their ending; nothing else is copied. ``pseudonyms``: with the key that
    makes new identifiers; None for one that is thrown away. ``table``: gets the way back.
    ``dry_run``: do all but writing. ``progress``: asked before each file; files done stay, and
    another run with the same key and options takes them as they are.

    Raises PrivacyError where source and target overlap or the target leads elsewhere, OutputError,
    ScanReadError for a zip that cannot be unpacked, Cancelled.
    """
    chosen = options or DeidentifyOptions()
    _require_apart(source, target)
    run = _Run(
        target, ObjectDeidentifier(chosen, pseudonyms or random_pseudonyms()), table, dry_run
    )
    progress = progress or Progress()
    with progress.stage("De-identify", 1.0), _opened(source) as paths:
        for path in paths:
            progress.check()
            run.objects.patients.learn(path)
        for number, path in enumerate(paths):
            progress.update(number / len(paths))
            run.one(path)
    return run.outcome()


@contextmanager
def _opened(source: Path) -> Iterator[list[Path]]:
    if source.is_dir():
        yield files_below(source)
        return
    if not source.is_file():
        raise PrivacyError(f"There is no file or folder {source}. Check its name.")
    with open(source, "rb") as file:
        packed = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    if packed:
        with unpacked(source) as folder:
            yield files_below(folder)
    else:
        yield [source]


@dataclass
class _Run:
    target: Path
    objects: ObjectDeidentifier
    table: LinkTable | None
    dry_run: bool
    result: Outcome = field(init=False)
    _seen: set[Path] = field(default_factory=set)
    _own_work: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.result = Outcome(self.objects.options, dry_run=self.dry_run)

    def outcome(self) -> Outcome:
        for (name, action), count in self.objects.tally.items():
            self.result.actions[name, str(action)] += count
        self.result.blacked_out = self.objects.blacked_out
        if self.table is not None:
            known = self.table.patients
            self.result.unlinked = sum(
                count for name, count in self._own_work.items() if name not in known
            )
        return self.result

    def one(self, path: Path) -> None:
        """One file; what cannot be de-identified is counted, with the reason."""
        try:
            with header_texts_unsaid():
                self._one(path)
        except OSError as error:
            self.result.refused[f"cannot be read ({error.strerror})"] += 1
        except Refused as reason:
            self.result.refused[str(reason)] += 1
        except (SkinSegError, Cancelled):
            raise
        except Exception as error:  # no file may stop the others
            _log.error("A file cannot be de-identified: %s", failure_text(error))
            self.result.refused[DAMAGED] += 1

    def _one(self, path: Path) -> None:
        suffix = image_suffix(path)
        if suffix is not None:
            self._volume(path, suffix)
            return
        content = path.read_bytes()
        if looks_like_dicom(content[:132]):
            require_inflatable(path)
            self._dicom(content)
        elif not _comes_with_a_volume(path):
            raise Refused("not an image file that is known")

    def _dicom(self, content: bytes) -> None:
        objects = self.objects
        dataset = objects.read(content)
        if objects.is_own_work(content):
            self.result.pseudonyms.add(str(dataset.PatientID))
            self._own_work[str(dataset.PatientID)] += 1
            place = _place(dataset.get("SeriesInstanceUID", ""), dataset.SOPInstanceUID)
            self._put(place, content)
            return
        new = objects.pseudonyms.uid
        place = _place(new(dataset.get("SeriesInstanceUID", "")), new(dataset.SOPInstanceUID))
        subject = objects.subject(dataset)
        self.result.pseudonyms.add(subject.pseudonym)
        if self.table is not None:
            self._link(self.table, dataset, subject)
        if self._taken(place):
            return
        there = self.target / place
        if not there.is_symlink() and there.is_file() and objects.is_own_work(there.read_bytes()):
            self.result.already += 1
            return
        objects.check_pixels(dataset)
        self._put(place, objects.clean(dataset, subject), checked=True)

    def _link(self, table: LinkTable, dataset: Any, subject: Subject) -> None:
        study = str(dataset.get("StudyInstanceUID", ""))
        facts = {
            "patient_id": subject.identity.identifier,
            "patient_name": str(dataset.get("PatientName", "")),
            "date_shift_days": str(subject.shift_days),
        }
        if subject.identity.issuer:
            facts["issuer_of_patient_id"] = subject.identity.issuer
        table.add(subject.pseudonym, facts, (self.objects.pseudonyms.uid(study), study))
        removed = str(dataset.get("PatientIdentityRemoved") or "").strip().upper() == "YES"
        self.result.linked_again += removed

    def _volume(self, path: Path, suffix: str) -> None:
        try:
            content, ending = clean_volume(path, suffix)
        except PrivacyError as error:
            raise Refused(str(error)) from error
        number = self.objects.pseudonyms.digest("volume", content).hex()[:16]
        beside = path.with_name(path.name[: -len(suffix)] + ".json")
        kept = None
        if beside.is_file():
            try:
                kept = clean_sidecar(beside.read_bytes(), self.objects.options.keep_device)
            except PrivacyError as error:
                raise Refused(str(error)) from error
        self._put(Path(f"volume-{number}{ending}"), content)
        self.objects.tally[f"{ending} header", Action.REWRITE] += 1
        if kept is not None:
            self._put(Path(f"volume-{number}.json"), kept)

    def _taken(self, place: Path) -> bool:
        if place in self._seen:
            self.result.repeated += 1
            return True
        self._seen.add(place)
        return False

    def _put(self, place: Path, content: bytes, checked: bool = False) -> None:
        """Write below the target, by way of a temporary file that is read back."""
        if not checked and self._taken(place):
            return
        path = self.target / place
        if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
            self.result.already += 1
            return
        if self.dry_run:
            self.result.written += 1
            return
        _make_folder(path.parent, self.target)
        with replacing(path) as temporary:
            temporary.write_bytes(content)
            if temporary.read_bytes() != content:
                raise OutputError("A file did not read back as written. Check the disk.")
        self.result.written += 1


def image_beside(path: Path) -> Path | None:
    """The volume that a JSON file belongs to, if there is one."""
    for suffix in (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha"):
        found = path.with_name(path.name[: -len(".json")] + suffix)
        if found.is_file():
            return found
    return None


def _comes_with_a_volume(path: Path) -> bool:
    """Whether a file is the JSON or the voxels of a volume beside it, which speaks for both."""
    if path.suffix.lower() == ".json":
        return image_beside(path) is not None
    if path.suffix.lower() not in DATA_SUFFIXES:
        return False
    # NAME.raw, or NAME.raw.gz
    names = path, path.with_suffix("")
    return any(name.with_suffix(s).is_file() for name in names for s in (".nhdr", ".mhd"))


def _place(series: Any, instance: Any) -> Path:
    """Folder and file; UIDs are checked, since a made-up one could be a path."""
    parts = [str(series) or "no-series", str(instance)]
    if not all(part == "no-series" or set(part) <= set("0123456789.") for part in parts):
        raise Refused(DAMAGED)
    if any(not part.strip(".") or len(part) > 64 for part in parts):
        raise Refused(DAMAGED)
    return Path(parts[0]) / f"{parts[1]}.dcm"


def _make_folder(folder: Path, root: Path) -> None:
    """Raises PrivacyError if the folder, by a link, is not in ``root``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"A folder in {root} cannot be made ({error.strerror}). Choose another output folder."
        ) from error
    if not folder.resolve().is_relative_to(root.resolve()):
        raise PrivacyError(
            f"{root} holds a link that leads elsewhere. Choose an empty output folder."
        )


def _require_apart(source: Path, target: Path) -> None:
    old, new = source.resolve(), target.resolve()
    if os.path.lexists(target) and not target.is_dir():
        raise PrivacyError(f"{target} is not a folder. Name a folder for the output.")
    if old == new or new.is_relative_to(old) or old.is_relative_to(new):
        raise PrivacyError(
            "The output folder and the input lie within each other. Choose an output folder apart."
        )
