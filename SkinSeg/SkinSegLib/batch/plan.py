"""What is left to do of an archive, and how it is to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..core import Progress
from ..segmentation import SegmentOptions
from ..segmentation.engine import engine_for
from ..segmentation.live import live_model
from ..segmentation.models import find_model, require_packages
from ..segmentation.options import LIVE_MODEL
from .ledger import Ledger
from .record import CaseResult, Status, found, intact
from .scans import Archive

#: Options that say where and how fast something is computed, not what.
_NOT_WHAT = ("device", "workers", "model")


@dataclass(frozen=True)
class BatchSettings:
    """How every case is segmented; made by :meth:`settled`.

    ``model``: the network's name, version and SHA-256, empty for the engine threshold. ``stl``:
    write surfaces too.
    """

    segment: SegmentOptions
    stl: bool = False
    model: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def settled(cls, options: SegmentOptions, stl: bool = False) -> BatchSettings:
        """Options with nothing left open, so that every case and worker has the same ones.

        "auto" becomes the engine that is there, the live model that model; each worker takes one
        thread. Raises ModelError, MissingPackageError.
        """
        engine = engine_for(options)
        settled = replace(options, engine=engine, workers=1)
        if engine != "network":
            return cls(settled, stl)
        require_packages()
        name = live_model() if options.model == LIVE_MODEL else options.model
        identity = find_model(name).identity
        if Path(name).is_dir():
            name = str(Path(name).absolute())
        return cls(replace(settled, model=name), stl, identity)

    def wanted(self) -> dict[str, Any]:
        """What decides the results, ready for JSON: if it changes, a case is done again."""
        chosen = {k: v for k, v in asdict(self.segment).items() if k not in _NOT_WHAT}
        content = {**chosen, "stl": self.stl, "model": dict(self.model), "skinseg": __version__}
        return dict(json.loads(json.dumps(content)))


@dataclass(frozen=True)
class CaseTask:
    """One case for a worker. Dask may show and log it, so paths are not in its ``repr``.

    ``files``, ``root``: of the scan and of its archive. ``run``: the folder that is there as long
    as the run goes on; ``output``: where the case's folder goes. See CaseResult for the rest.
    """

    case: str
    kind: str
    about: str
    settings: BatchSettings = field(repr=False)
    source: str = field(repr=False)
    files: tuple[Path, ...] = field(repr=False)
    root: Path = field(repr=False)
    output: Path = field(repr=False)
    run: Path = field(default=Path(), repr=False)

    def result(self, status: Status, **more: Any) -> CaseResult:
        """What became of it."""
        about = {"kind": self.kind, "about": self.about}
        return CaseResult(
            self.case, status, self.settings.wanted(), self.source, **{**about, **more}
        )


@dataclass(frozen=True)
class Plan:
    """``tasks``: what is to be done; ``before``: results that stay as they are. ``names``: the
    case of each scan of the archive, in its order."""

    tasks: tuple[CaseTask, ...]
    before: tuple[CaseResult, ...]
    names: tuple[str, ...]


def make_plan(
    archive: Archive,
    output: Path,
    ledger: Ledger,
    settings: BatchSettings,
    retry_failed: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Sort the scans of an archive into what is to be done and what was done before.

    A case stays as it is if it was done, or failed, with the same settings and from the same files,
    and its results are intact; with ``retry_failed`` only if it was done. Writes nothing.
    Raises Cancelled.
    """
    tasks, before, names = [], [], []
    output = output.absolute()
    for number, scan in enumerate(archive.scans):
        if progress is not None:
            progress.update(number / len(archive.scans))
        name = ledger.name(scan)
        names.append(name)
        stamp = ledger.stamp(scan, archive.root)
        task = CaseTask(
            *(name, scan.kind, scan.about, settings, stamp),
            *(scan.files, archive.root, output),
        )
        known = result_before(task)
        if known is None or (retry_failed and known.status is Status.FAILED):
            tasks.append(task)
        else:
            before.append(known)
    return Plan(tuple(tasks), tuple(before), tuple(names))


def result_before(task: CaseTask) -> CaseResult | None:
    """What became of a task in an earlier run, with its results intact; None if it is to be done,
    as for another scan, other settings, or for the first time."""
    folder = task.output / task.case
    known = found(folder)
    if known is None or (known.settings, known.source) != (task.settings.wanted(), task.source):
        return None
    return known if intact(known, folder) else None
