"""What a worker can do. Each task gets its arguments, as they came by JSON, and a Progress.

What is returned goes back as JSON. Arrays lie in the exchange folder of the task, whose path comes
as ``folder``; the owner removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core import Progress, SegmentationError, WorkerError
from ..pipeline import JobOptions, compute
from ..segmentation import SegmentOptions
from ..surface import SurfaceOptions
from .messages import put_result, scan_from
from .tasks_dicom import export_dicom
from .tasks_mask import mend
from .tasks_mesh import export, layer, outline, remesh
from .tasks_privacy import deface, deidentify
from .tasks_server import ask as ask_server
from .tasks_training import add_case, back, begin_training, case_scan, cases, decide, learn, rank

#: A head is 140 to 170 mm wide with its ears.
_SMALL_FIELD_MM = 150.0

TaskFunction = Callable[[Mapping[str, Any], Progress], dict[str, Any]]


def warm(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Import what the first run needs, and load the model of ``options``; says what there is.

    Returns ``engine`` that "auto" stands for, ``reason`` why it is not the network, ``devices``
    (name to show, and to hand to SegmentOptions) and ``models`` (names).
    """
    from ..segmentation.devices import devices, prepare
    from ..segmentation.models import list_models

    _import_what_every_job_needs()
    progress.check()
    options = SegmentOptions(**arguments.get("options", {}))
    reason = prepare(options)
    return {
        "engine": "threshold" if reason else "network",
        "reason": reason,
        "devices": [["CPU", "cpu"]] if reason else devices(),
        "models": [entry.name for entry in list_models() if not entry.problem],
    }


def segment(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The whole job on ``scan`` (a ScanMessage) by ``options`` (of JobOptions)."""
    scan = scan_from(arguments["scan"])
    result = compute(scan, job_options(arguments["options"]), progress)
    return put_result(result, Path(arguments["folder"]))


def ask(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """As :func:`segment`, by a server; see :func:`.tasks_server.ask`."""
    return ask_server(arguments, progress, job_options(arguments["options"]))


def facts(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What there is to know about ``scan`` before anything is computed.

    ``dicom_files``: those it was loaded from, as far as they are known; their series is checked.
    Returns ``hu_range``, ``level`` (grey value of the skin) or None with ``problem`` saying why
    none is found, and ``warnings`` (sentences).
    """
    from ..scan import facts as measured
    from ..segmentation.level import find_level

    scan = scan_from(arguments["scan"])
    found = measured(scan)
    warnings = [finding.message for finding in found.findings]
    warnings += _said_of_series([Path(name) for name in arguments.get("dicom_files", ())], progress)
    if found.tilt_degrees > 0.5:
        warnings.append(
            f"The slices are sheared by {found.tilt_degrees:.1f} degrees (gantry tilt). "
            "This is taken into account."
        )
    across = sorted(found.extent_mm)[1]
    if across < _SMALL_FIELD_MM:
        warnings.append(
            f"The field of view is only {across:.0f} mm wide: parts of the head are missing."
        )
    level, problem = None, ""
    try:
        level = find_level(scan).skin
    except SegmentationError as error:
        problem = str(error)
    return {"hu_range": found.hu_range, "level": level, "problem": problem, "warnings": warnings}


def _said_of_series(files: list[Path], progress: Progress) -> list[str]:
    """What is the matter with the series of DICOM files that a scan was loaded from."""
    from ..scan import Outcome, check_files

    if not files:
        return []
    survey = check_files(files, progress)
    issues = [issue for info in survey.series for issue in info.issues]
    return [
        f"Series: {issue.kind.value}: {issue.message}"
        for issue in issues
        if issue.outcome != Outcome.FINE
    ]


def _import_what_every_job_needs() -> None:
    import SimpleITK  # noqa: F401
    from scipy import ndimage  # noqa: F401
    from vtkmodules import vtkFiltersCore, vtkFiltersGeneral  # noqa: F401


def job_options(options: Mapping[str, Any]) -> JobOptions:
    """JobOptions from their dictionary (dataclasses.asdict)."""
    parts = dict(options)
    try:
        return JobOptions(
            SegmentOptions(**parts.pop("segment")), SurfaceOptions(**parts.pop("shape")), **parts
        )
    except (TypeError, KeyError) as error:
        raise WorkerError("The worker was asked for something it does not know.") from error


TASKS: dict[str, TaskFunction] = {
    "warm": warm,
    "facts": facts,
    "segment": segment,
    "ask": ask,
    "remesh": remesh,
    "layer": layer,
    "outline": outline,
    "export": export,
    "export_dicom": export_dicom,
    "mend": mend,
    "deface": deface,
    "deidentify": deidentify,
    "cases": cases,
    "add_case": add_case,
    "case_scan": case_scan,
    "begin_training": begin_training,
    "learn": learn,
    "decide": decide,
    "back": back,
    "rank": rank,
}
