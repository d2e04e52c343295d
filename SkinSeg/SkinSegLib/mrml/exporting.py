"""What the panel asks for when it exports, as a request to the worker."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core import OutputError, versions
from ..surface import FinishOptions, SurfaceOptions, check_format
from .jobs import ExportRequest
from .origin import record_of


def export_request(
    segmentation: Any,
    path: Path,
    *,
    layer_mm: float | None = None,
    detail_mm: float | None = None,
    smooth_mm: float | None = None,
    space: str = "LPS",
    scale: float | None = None,
    cut_below_s_mm: float | None = None,
) -> ExportRequest:
    """A request to write the head's surface, or its layer, with a record beside it.

    Raises OutputError for a folder that is not there or a format that is not known, SurfaceError
    for values that make no sense, MissingPackageError where a package is needed and missing.
    """
    check_format(path)
    if not path.parent.is_dir():
        raise OutputError("The folder to export to does not exist. Choose another one.")
    shape = SurfaceOptions(layer_mm=layer_mm, detail_mm=detail_mm, smooth_mm=smooth_mm)
    finish = FinishOptions(cut_below_s_mm=cut_below_s_mm, scale=scale)
    finish.check(path)
    options = {**asdict(shape), **finish.as_dict()}
    record = record_of(segmentation, versions(), options)
    return ExportRequest(path, shape=shape, finish=finish, space=space, record=record)
