"""Both objects of a result, written together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core import Progress, Replacements
from .encapsulated_stl import write_encapsulated_stl
from .segmentation import Segment, write_segmentation

#: Names of the files; those of patients never are names.
SEGMENTATION_NAME, SURFACE_NAME = "segmentation.dcm", "surface.dcm"


def write_objects(
    folder: Path,
    stl: bytes,
    segments: Sequence[Segment],
    headers: Sequence[Any],
    version: str,
    files: Replacements,
    progress: Progress,
) -> tuple[str, ...]:
    """Write a surface, and ``segments`` if there are any, into ``folder``; returns the names.

    The files take their names with the others of ``files``. For the rest and for errors see
    :func:`write_encapsulated_stl` and :func:`write_segmentation`.
    """
    with progress.stage("Write", 1.0) as stage:
        with files.add(folder / SURFACE_NAME) as temporary:
            write_encapsulated_stl(stl, headers, temporary, version)
        stage.update(0.3)
        if not segments:
            return (SURFACE_NAME,)
        with files.add(folder / SEGMENTATION_NAME) as temporary:
            write_segmentation(segments, headers, temporary, version)
    return SURFACE_NAME, SEGMENTATION_NAME
