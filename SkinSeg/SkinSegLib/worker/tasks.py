"""What a worker can do. Each task gets its arguments, as they came by JSON, and a Progress.

What is returned goes back as JSON. Arrays lie in the exchange folder of the task, whose path comes
as ``folder``; the owner removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..core import Progress, WorkerError
from ..pipeline import JobOptions, compute
from ..segmentation import SegmentOptions
from ..surface import SurfaceOptions
from .messages import get_mask, put_mesh, put_result, scan_from

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


def remesh(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The surface of ``mask`` on ``scan``, by ``shape`` (of SurfaceOptions)."""
    folder = Path(arguments["folder"])
    scan = scan_from(arguments["scan"])
    mask = get_mask(arguments["mask"], folder)
    shape = SurfaceOptions(**arguments.get("shape", {}))
    options = JobOptions(shape=shape, layer_mesh=False, layer_voxels=False)
    mesh = compute(scan, options, progress, mask=mask).head
    return {"mesh": put_mesh(mesh, folder, "head")}


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


TASKS: dict[str, TaskFunction] = {"warm": warm, "segment": segment, "remesh": remesh}
