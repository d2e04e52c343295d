"""A data set on disk: a Medical Segmentation Decathlon folder that several people add to at once.

Each case is a scan, a label and a record. The record is written last, so a case without one was
never added; dataset.json is made of the records, and made again whenever they change. Voxels are
written under temporary names without the lock, and take their names under it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import (
    AlikeError,
    CTVolume,
    MissingPackageError,
    OutputError,
    SkinSegError,
    is_temporary,
    replacing,
    replacing_together,
)

from .files import digest, write_nifti
from .record import FOLDERS, CaseRecord, Scanner, record_from
from .sketch import likeness

INDEX, RECORDS, REMOVED = "dataset.json", "records", "removed"
#: Sketches that are more alike than this are of one scan. In 68 scans no two of different people
#: came beyond 0.914; scans that were cropped, blurred, defaced or had noise added stayed above
#: 0.939, and coarse ones of which every other pixel was left out above 0.930.
SAME_SCAN = 0.93
_LOCK, _WAIT_S = ".lock", 120.0
#: What was left behind by a program that was killed, and is older than this, is removed.
_STALE_S = 24 * 3600.0
_ABOUT = "Head CTs with the solid head of SkinSeg's label protocol. Not for use on patients."


@dataclass(frozen=True)
class CaseFolder:
    """A data set in ``folder``; see :meth:`create` and :meth:`open`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> CaseFolder:
        """A data set in a folder that is new or empty, or the one that is there.

        Raises OutputError for a folder with something else in it, or that cannot be made.
        """
        if cls.is_one(folder):
            return cls(folder)._own()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise OutputError(
                f"{folder} is not empty and holds no data set. Give a new folder's name."
            )
        try:
            for ending in FOLDERS.values():
                (folder / f"images{ending}").mkdir(parents=True, exist_ok=True)
                if ending != FOLDERS["unlabelled"]:
                    (folder / f"labels{ending}").mkdir(exist_ok=True)
            (folder / REMOVED).mkdir(exist_ok=True)
            (folder / RECORDS).mkdir(exist_ok=True)  # last: this makes it a data set
        except OSError as error:
            raise OutputError(
                f"The data set {folder} cannot be made ({error.strerror}). Choose another folder."
            ) from error
        made = cls(folder)
        with made.locked():
            made._write_index()
        return made

    @staticmethod
    def is_one(folder: Path) -> bool:
        """Whether a folder holds a data set."""
        return (folder / RECORDS).is_dir()

    @classmethod
    def open(cls, folder: Path) -> CaseFolder:
        """The data set in a folder. Raises SkinSegError if there is none."""
        if not cls.is_one(folder):
            raise SkinSegError(
                f"{folder} holds no data set. Begin one with skinseg data add, or give its folder."
            )
        return cls(folder)._own()

    def _own(self) -> CaseFolder:
        """Itself. Raises SkinSegError where a part is a link: what is written and tidied away would
        be elsewhere."""
        for place in sorted(self.folder.glob("*")):
            if place.is_symlink():
                raise SkinSegError(
                    f"{place.name} in the data set is a link. Put the folder or file itself there, "
                    "or remove it."
                )
        return self

    def records(self) -> list[CaseRecord]:
        """All cases, by name. Raises SkinSegError where a record is damaged, naming the case."""
        found = []
        for path in sorted((self.folder / RECORDS).glob("head_*.json")):
            self._require_plain(path)
            try:
                record = record_from(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # somebody removed it meanwhile
            except SkinSegError as error:
                raise SkinSegError(f"{path.name}: {error}") from error
            except (OSError, UnicodeDecodeError) as error:
                raise SkinSegError(
                    f"The record {path.name} cannot be read. Restore it from a backup."
                ) from error
            if record.name != path.stem:
                raise SkinSegError(f"{path.name} is the record of {record.name}. Rename it.")
            for name in (record.image, record.label if record.labelled else record.image):
                self._require_plain(self.folder / name)
            found.append(record)
        return found

    def record(self, name: str) -> CaseRecord:
        """The case of a name. Raises SkinSegError if there is none."""
        for record in self.records():
            if record.name == name:
                return record
        raise SkinSegError(f"There is no case {name} in the data set. See skinseg data list.")

    def read(self, record: CaseRecord) -> tuple[CTVolume, NDArray[np.uint8] | None]:
        """Scan and label (k, j, i) of a case, None without a label.

        Raises SkinSegError where the files are missing, damaged, or not those that were added.
        """
        from SkinSegLib.scan import read
        from SkinSegLib.scan.masks import read_mask

        volume = read(self.folder / record.image)
        self._same(record, record.image_sha256, digest(volume.voxels, volume.ijk_to_ras))
        if not record.labelled:
            return volume, None
        mask, matrix = read_mask(self.folder / record.label)
        self._same(record, record.label_sha256, digest(mask, matrix))
        return volume, mask

    @staticmethod
    def _require_plain(path: Path) -> None:
        """A data set from elsewhere could name any file by a link, to have it read or replaced."""
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise SkinSegError(
                f"{path.name} in the data set is a link, or no file at all. Put the file itself "
                "there, or remove it."
            )

    @staticmethod
    def _same(record: CaseRecord, added: str, found: str) -> None:
        if added != found:
            raise SkinSegError(
                f"The files of {record.name} are not those that were added. Restore them from a "
                "backup, or remove the case and add it again."
            )

    def add(
        self,
        record: CaseRecord,
        volume: CTVolume,
        mask: NDArray[np.uint8] | None,
        allow_alike: bool = False,
    ) -> CaseRecord:
        """Add a case and return its record with the name it got.

        ``record``: of :mod:`.intake`; its name is ignored. A scan that waited here without a label
        is replaced by the labelled one, which keeps what was known of it. ``allow_alike``: the
        scan only looks like one that is here. Raises AlikeError where it does and that was not
        said; SkinSegError where the scan is here already, or its patient is on the other side of
        training and test; OutputError where it cannot be written. Then nothing is changed.
        """
        self._accepted(record, self.records(), allow_alike)  # before minutes of writing
        with replacing_together() as files:
            # Until the name is known, under one that no case has.
            draft = replace(record, name="head_000000")
            with files.add(self.folder / draft.image) as image:
                write_nifti(volume.voxels, volume.ijk_to_ras, image)
            if mask is not None:
                with files.add(self.folder / draft.label) as label:
                    write_nifti(mask, volume.ijk_to_ras, label)
            with self.locked():
                self._tidy()
                there = self.records()
                known, waiting = self._accepted(record, there, allow_alike)
                named = replace(known, name=self._next_name())
                files.rename(self.folder / draft.image, self.folder / named.image)
                if mask is not None:
                    files.rename(self.folder / draft.label, self.folder / named.label)
                with files.add(self._record_file(named)) as last:
                    last.write_text(named.to_json(), encoding="utf-8")
                files.commit()
                for other in waiting:
                    self._remove(other)
                self._write_index()
        return named

    def remove(self, name: str) -> None:
        """Delete a case's scan and label; its record is kept among the removed ones.

        Raises SkinSegError if there is no such case, OutputError if it cannot be deleted.
        """
        with self.locked():
            self._remove(self.record(name))
            self._write_index()

    def set_split(self, name: str, split: str) -> None:
        """Use a labelled case for "train" or "test" from now on, with all others of its patient.

        Raises SkinSegError for a case without a label.
        """
        with self.locked():
            chosen = self.record(name)
            if not chosen.labelled or split not in ("train", "test"):
                raise SkinSegError("Only labelled cases can be for training or for testing.")
            for record in self.records():
                if record.patient == chosen.patient and record.labelled and record.split != split:
                    self._move(record, replace(record, split=split))
            self._write_index()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else changes the data set within this block.

        Raises OutputError if somebody does for two minutes, MissingPackageError.
        """
        try:
            from filelock import FileLock, Timeout
        except ImportError as error:
            raise MissingPackageError(
                "Data sets need the package filelock. Install it with pip install filelock."
            ) from error
        lock = FileLock(self.folder / _LOCK, timeout=_WAIT_S)
        try:
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"Somebody else has been changing the data set {self.folder} for two minutes. "
                "Try again later."
            ) from error
        except OSError as error:
            raise OutputError(
                f"The data set {self.folder} cannot be locked ({error.strerror}). Check that you "
                "may write there, and that its disk knows locks."
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _accepted(
        self, record: CaseRecord, there: list[CaseRecord], allow_alike: bool
    ) -> tuple[CaseRecord, list[CaseRecord]]:
        """The record with what was known before, and the unlabelled cases that it replaces.

        Raises SkinSegError where it may not be added.
        """
        waiting = []
        for other in there:
            same = other.image_sha256 == record.image_sha256
            alike = not allow_alike and likeness(other.sketch, record.sketch) >= SAME_SCAN
            if same and record.labelled and not other.labelled:
                waiting.append(other)
                record = _completed(record, other)
            elif same or alike:
                raise (SkinSegError if same else AlikeError)(_twice(other, record, same))
        for other in there:
            if other.patient == record.patient and {other.split, record.split} == {"train", "test"}:
                raise SkinSegError(
                    f"A scan of this patient, {other.name}, is for {_USE[other.split]}. The same "
                    f"person must not be in both; add this scan for {_USE[other.split]} too."
                )
        return record, waiting

    def _record_file(self, record: CaseRecord) -> Path:
        return self.folder / RECORDS / f"{record.name}.json"

    def _remove(self, record: CaseRecord) -> None:
        try:
            # The record first: without one there is no case, whatever else is left.
            os.replace(self._record_file(record), self.folder / REMOVED / f"{record.name}.json")
            (self.folder / record.image).unlink(missing_ok=True)
            if record.labelled:
                (self.folder / record.label).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(
                f"{record.name} cannot be removed ({error.strerror}). Close other programs that "
                "use it, and check that you may write there."
            ) from error

    def _move(self, old: CaseRecord, new: CaseRecord) -> None:
        """To the other folder: linked first, so that at no time a record has no files."""
        try:
            for source, target in ((old.image, new.image), (old.label, new.label)):
                (self.folder / target).unlink(missing_ok=True)
                os.link(self.folder / source, self.folder / target)
            with replacing(self._record_file(new)) as temporary:
                temporary.write_text(new.to_json(), encoding="utf-8")
            for source in (old.image, old.label):
                (self.folder / source).unlink()
        except OSError as error:
            raise OutputError(
                f"{old.name} cannot be moved ({error.strerror}). Check that you may write there, "
                "or remove it and add it again."
            ) from error

    def _next_name(self) -> str:
        """A number that no case had, not even a removed one."""
        names = [path.stem for place in (RECORDS, REMOVED)
                 for path in (self.folder / place).glob("head_*.json")]  # fmt: skip
        last = max((int(n) for name in names if (n := name.partition("_")[2]).isdigit()), default=0)
        return f"head_{last + 1:04}"

    def _tidy(self) -> None:
        """Remove what killed programs have left: temporary files, cases without record."""
        known = {
            name
            for record in self.records()
            for name in (record.image, record.label if record.labelled else record.image)
        }
        for path in [*self.folder.glob("images*/*"), *self.folder.glob("labels*/*")]:
            if is_temporary(path):
                stale = time.time() - path.stat().st_mtime > _STALE_S
            else:
                name = path.relative_to(self.folder).as_posix()
                stale = (
                    re.fullmatch(r"\w+/head_\d+\.nii\.gz", name) is not None and name not in known
                )
            if stale:
                path.unlink(missing_ok=True)

    def _write_index(self) -> None:
        """dataset.json as the Medical Segmentation Decathlon has it, of the records.

        The Decathlon's own test scans have no labels; here labelsTs holds them, as nnU-Net does.
        """
        records = self.records()
        train, test, waiting = ([r for r in records if r.split == split] for split in FOLDERS)
        index = {
            "name": "SkinSeg",
            "description": _ABOUT,
            "reference": "",
            "licence": "See who added the cases.",
            "release": datetime.now(UTC).date().isoformat(),
            "tensorImageSize": "3D",
            "modality": {"0": "CT"},
            "labels": {"0": "background", "1": "head"},
            "numTraining": len(train),
            "numTest": len(test),
            "training": [{"image": f"./{r.image}", "label": f"./{r.label}"} for r in train],
            "test": [f"./{r.image}" for r in test],
            "unlabelled": [f"./{r.image}" for r in waiting],
        }
        with replacing(self.folder / INDEX) as temporary:
            temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


_USE = {"train": "training", "test": "testing"}


def _completed(record: CaseRecord, before: CaseRecord) -> CaseRecord:
    """A record with what was known of the same scan while it waited for its label.

    The file that was labelled is the data set's own, whose header says nothing.
    """
    if record.scanner != Scanner():
        return record
    return replace(
        record,
        patient=before.patient,
        scanner=before.scanner,
        sex=before.sex,
        age_decade=before.age_decade,
        contrast=before.contrast,
        defaced=record.defaced or before.defaced,
        site=record.site or before.site,
        notes=(*before.notes, *record.notes),
        artefacts=tuple(sorted({*before.artefacts, *record.artefacts})),
    )


def _twice(there: CaseRecord, record: CaseRecord, same: bool) -> str:
    what = "is in the data set already" if same else "looks like one in the data set"
    hint = (
        "To replace its label, remove that case first."
        if same
        else "If it is another scan, say so (--allow-alike); to replace it, remove that case first."
    )
    if {there.split, record.split} == {"train", "test"}:
        hint += f" That one is for {_USE[there.split]}: the same scan must not be in both."
    return f"This scan {what}, as {there.name}. {hint}"
