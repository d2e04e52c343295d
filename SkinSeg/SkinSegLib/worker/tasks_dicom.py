"""A result back into the study of the DICOM files that its scan was loaded from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..core import (
    CTVolume,
    MissingPackageError,
    OutputError,
    Progress,
    ScanReadError,
    replacing_together,
    transform_points,
)
from ..dicom import Segment, on_slices, require_highdicom, require_referable, write_objects
from ..pipeline import JobOptions, compute
from ..scan import Source
from ..scan.dicom_folder import read_source
from ..scan.dicom_series import find
from ..surface import write
from .messages import scan_from
from .tasks_mesh import edited_mask, segment_of

#: Of a volume against its files: voxels that are compared, how well they must agree, and the least
#: cosine between the axes of their slices: a head is so symmetric that a mirrored one agrees well.
_SAMPLES, _ALIKE, _SAME_AXES = 4000, 0.9, 0.9
_READ, _COMPUTE, _WRITE = (0.0, 0.3), (0.3, 0.5), (0.8, 0.2)


def export_dicom(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Write a ``segment``, its layer of ``layer_mm`` and its surface as DICOM into ``target``.

    ``dicom_files``: those that ``scan`` was loaded from. Returns the names ``written``, and why the
    Segmentation is not among them ("" where it is). Raises OutputError where the scan does not lie
    where its files say: what is drawn on it has no place in their study then.
    """
    reason = ""
    try:
        require_highdicom()
    except MissingPackageError as error:
        reason = str(error)
    source = _source([Path(name) for name in arguments["dicom_files"]], progress.part(*_READ))
    require_referable(source.headers)
    scan = scan_from(arguments["scan"])
    _require_same_place(scan, source.volume)
    mask = edited_mask(*segment_of(arguments), source.volume, None)
    options = JobOptions(layer_mm=arguments["layer_mm"], layer_voxels=not reason, layer_mesh=False)
    result = compute(source.volume, options, progress.part(*_COMPUTE), mask=mask)
    with tempfile.TemporaryDirectory(prefix="skinseg-") as place:
        stl = write(result.head, Path(place) / "head.stl").read_bytes()
    segments = []
    if result.layer_voxels is not None:
        segments = [
            Segment("Head", on_slices(result.mask.voxels, source.places)),
            Segment("Skin", on_slices(result.layer_voxels, source.places)),
        ]
    with replacing_together() as files:
        part = progress.part(*_WRITE)
        written = write_objects(
            Path(arguments["target"]), stl, segments, source.headers, __version__, files, part
        )
        progress.finish()
    return {"written": list(written), "left_out": reason}


def _source(paths: list[Path], progress: Progress) -> Source:
    with progress.stage("Read", 1.0) as stage:
        found = find(paths, stage)
        if not found.series:
            raise ScanReadError(
                "The files that the volume was loaded from are no CT series. Import the scan into "
                "Slicer's DICOM module again, and load it from there."
            )
        return read_source(found.series[0], found, stage)


def _require_same_place(scan: CTVolume, source: CTVolume) -> None:
    """Raise OutputError unless the scan holds what its files do, at the same places (RAS mm)."""
    rng = np.random.default_rng(0)
    size = np.array(scan.voxels.shape[::-1])
    ijk = rng.integers(0, size, (_SAMPLES, 3))
    ras = transform_points(scan.ijk_to_ras, ijk.astype(np.float64))
    there = np.rint(transform_points(np.linalg.inv(source.ijk_to_ras), ras)).astype(int)
    inside = (there >= 0).all(axis=1) & (there < source.voxels.shape[::-1]).all(axis=1)
    mine = scan.voxels[tuple(ijk[inside, ::-1].T)].astype(np.float64)
    theirs = source.voxels[tuple(there[inside, ::-1].T)].astype(np.float64)
    axes = [
        m[:3, :2] / np.linalg.norm(m[:3, :2], axis=0) for m in (scan.ijk_to_ras, source.ijk_to_ras)
    ]
    enough = inside.mean() > 0.9 and mine.std() > 0 and theirs.std() > 0
    enough &= (axes[0] * axes[1]).sum(axis=0).min() > _SAME_AXES
    if not enough or np.corrcoef(mine, theirs)[0, 1] < _ALIKE:
        raise OutputError(
            "The volume does not lie where its DICOM files say, or holds something else: it was "
            "moved or changed since it was loaded. Load the scan again and segment that."
        )
