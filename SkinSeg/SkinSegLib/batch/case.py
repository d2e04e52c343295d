"""One case in a worker: read, segment, write, and say what became of it, whatever happens."""

from __future__ import annotations

import shutil
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core import (
    NOTICE,
    Cancelled,
    CTVolume,
    FindingKind,
    ModelError,
    OutputError,
    Progress,
    SkinSegError,
    WorkerError,
    failure_text,
    severest_first,
    versions,
)
from ..job import Load, Outputs, run_job, scan_at
from ..report import finding_as_dict, geometry_of
from ..scan import facts, read_files
from ..segmentation import SegmentOptions, segment
from ..segmentation.labelmap import check_grid, write_labelmap
from .ledger import goes_on
from .plan import CaseTask
from .private import without_names
from .record import CaseResult, Status, digest, found, put
from .scans import DICOM

MASK, SURFACE, REPORT = "mask.nrrd", "skin.stl", "report.json"
#: A case whose process was lost is tried once more.
_ATTEMPTS = 2
#: One case at a time, also in a worker of several threads: PyTorch's and ITK's settings are global.
_BUSY = threading.Lock()

LOST = (
    "The process that worked on this case ended twice (killed, or out of memory). Give each worker "
    "more memory (--memory, or fewer --workers) and use --retry-failed."
)


def run_case(task: CaseTask) -> CaseResult:
    """Do one case in this process; what it becomes is in the output folder before it returns.

    What goes wrong with the scan is in the result, without names, and not raised: Dask would log
    it. Raises WorkerError or ModelError where this process has not what every case needs.
    """
    with _BUSY:
        return _run(task)


def record_failure(task: CaseTask, error: str, work: Path, **more: Any) -> CaseResult:
    """Put the record of a failure in the case's place, and return it."""
    result = task.result(Status.FAILED, error=error, versions=versions(), **more)
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(exist_ok=True)
        _settle(result, work, task)
    except (OSError, OutputError):
        note = f"{error} (This could not be written into the output folder.)"
        return task.result(Status.FAILED, error=note, versions=versions(), **more)
    return result


def _run(task: CaseTask) -> CaseResult:
    if not goes_on(task.run):
        return task.result(Status.WAITING)
    settled = found(task.output / task.case) if _mark(task).exists() else None
    if settled is not None:
        return settled
    attempt, work = _begun(task)
    if attempt > _ATTEMPTS:
        return record_failure(task, LOST, work, attempt=_ATTEMPTS)
    _check_worker(task)
    _warm_up(task.settings.segment)
    started = time.perf_counter()
    try:
        report = _computed(task, work, Progress(is_cancelled=lambda: not goes_on(task.run)))
        seconds = round(time.perf_counter() - started, 3)
        files = {path.name: digest(path) for path in sorted(work.iterdir())}
        result = task.result(
            Status.DONE,
            seconds=seconds,
            attempt=attempt,
            report=report,
            files=files,
            versions=versions(),
        )
        _settle(result, work, task)
        return result
    except Exception as error:
        if isinstance(error, Cancelled) or not goes_on(task.run):
            return task.result(Status.WAITING)
        return record_failure(
            task,
            _said(error, task),
            work,
            where=failure_text(error),
            attempt=attempt,
            seconds=round(time.perf_counter() - started, 3),
        )


def _mark(task: CaseTask) -> Path:
    """Of a case that this run has settled. Its worker may be lost with the next case before the
    answer was fetched; Dask then asks for it again, and must get the same one."""
    return task.run / f"{task.case}-settled"


def _settle(result: CaseResult, work: Path, task: CaseTask) -> None:
    """Put what became of a case in its place. Raises OutputError."""
    put(result, work, task.output / task.case)
    _mark(task).touch()


def _begun(task: CaseTask) -> tuple[int, Path]:
    """The number of this attempt and a new folder for it: those of lost ones are still there."""
    attempt = 1
    while True:
        work = task.run / f"{task.case}-{attempt}"
        try:
            work.mkdir()
        except FileExistsError:
            attempt += 1
            continue
        return attempt, work


@lru_cache(maxsize=4)
def _warm_up(options: SegmentOptions) -> None:
    """Once per worker: one thread for every library, and the network in memory."""
    import SimpleITK as sitk
    from vtkmodules.vtkCommonCore import vtkLogger, vtkSMPTools

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    vtkSMPTools.Initialize(1)
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)  # it names files
    if options.engine == "network":
        from ..segmentation.devices import prepare

        problem = prepare(options)
        if problem:
            raise ModelError(problem)


def _computed(task: CaseTask, work: Path, progress: Progress) -> dict[str, Any]:
    """Write the case's files into ``work``; returns its figures, as Report.as_dict names them."""
    options = task.settings.segment
    load = _load(task)
    if task.settings.stl:
        outputs = Outputs(mesh=work / SURFACE, mask=work / MASK, report=work / REPORT)
        report, _ = run_job(load, outputs, progress, options)
        return report.as_dict()
    volume = load(progress.part(0.0, 0.1))
    check_grid(work / MASK, volume.ijk_to_ras, volume.voxels.shape)
    mask = segment(volume, options, progress.part(0.1, 0.8))
    with progress.part(0.9, 0.1).stage("Write", 1.0):
        write_labelmap(mask.voxels, mask.ijk_to_ras, work / MASK)
    known = facts(volume)
    notes = (finding for finding in known.findings if finding.kind is FindingKind.READ_NOTE)
    findings = severest_first(dict.fromkeys((*mask.findings, *notes)))
    # A determinant, since a tilted gantry shears the grid; mm3.
    voxel = abs(float(np.linalg.det(volume.ijk_to_ras[:3, :3])))
    return {
        "engine": mask.engine,
        "model": dict(mask.model) or None,
        "level_hu": round(mask.level_hu, 2),
        "volume_ml": round(int(np.count_nonzero(mask.voxels)) * voxel / 1000, 3),
        "findings": [finding_as_dict(finding) for finding in findings],
        "seconds": {stage: round(value, 3) for stage, value in progress.seconds.items()},
        "geometry": geometry_of(volume, known),
        "notice": NOTICE,
    }


def _check_worker(task: CaseTask) -> None:
    """Workers of a cluster may have other software than the computer that sent the task."""
    wanted = task.settings.wanted()["skinseg"]
    if wanted != __version__:
        raise WorkerError(
            f"A worker runs SkinSeg {__version__} and the batch {wanted}. Install the same version "
            "on every computer of the cluster."
        )
    if task.settings.segment.engine == "network":
        from ..segmentation.models import find_model

        if find_model(task.settings.segment.model).identity != dict(task.settings.model):
            raise ModelError(
                "A worker has another model of this name. Give a model's folder that every "
                "computer of the cluster sees."
            )


def _load(task: CaseTask) -> Load:
    if task.kind != DICOM:
        return scan_at(task.files[0])

    def load(progress: Progress) -> CTVolume:
        with progress.stage("Read", 1.0):
            return read_files(task.files, progress)

    return load


def _said(error: Exception, task: CaseTask) -> str:
    if isinstance(error, SkinSegError):
        text = " ".join([str(error), *getattr(error, "__notes__", ())])
        return without_names(text.replace(str(task.output), "the output"), task.files, task.root)
    if isinstance(error, MemoryError):
        return "There is not enough memory. Give each worker more (--memory, or fewer --workers)."
    # What a library says may quote the scan's header, so only its kind is shown.
    return f"SkinSeg failed unexpectedly ({type(error).__name__})."
