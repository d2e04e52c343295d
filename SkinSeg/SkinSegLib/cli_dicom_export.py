"""``skinseg dicom export``: a mask and its surface as DICOM, in the study of their scan."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import number, within
from .cli_dicom import without_path

if TYPE_CHECKING:
    from .core import Progress, Replacements
    from .pipeline import JobResult

#: Shares of the whole job: reading, computing, writing.
_READ, _COMPUTE, _WRITE = (0.0, 0.2), (0.2, 0.6), (0.8, 0.2)


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of ``skinseg dicom``."""
    parser = actions.add_parser(
        "export",
        help="a mask and its surface as DICOM",
        description="Write a mask as DICOM Segmentation (Head and Skin) and its surface as "
        "Encapsulated STL, in the study of the scan: patient and study are those of its files, so "
        "the results name the patient where the scan does.",
    )
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    parser.add_argument("mask", type=Path, metavar="MASK", help=".seg.nrrd, NRRD, NIfTI, MetaImage")
    parser.add_argument(
        "--scan",
        type=Path,
        required=True,
        metavar="DICOM",
        help="the scan it was made on: DICOM folder, zip, DICOMDIR or file",
    )
    parser.add_argument("--series", help="DICOM: series number, #n for the n-th one, or its UID")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder, made if missing, for segmentation.dcm and surface.dcm",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--segment", metavar="NAME", help="segment of a .seg.nrrd; default: Head")
    which.add_argument(
        "--label", type=int, metavar="N", help="value of a labelmap; default: all that is not 0"
    )
    parser.add_argument(
        "--layer",
        type=within(0.2, 50, " mm"),
        default=2.0,
        metavar="MM",
        help="thickness of the segment Skin; default: 2",
    )
    parser.add_argument(
        "--level", type=number, metavar="HU", help="grey value of the skin; default: found"
    )
    parser.add_argument(
        "--no-segmentation",
        action="store_true",
        help="leave out the Segmentation, which needs highdicom and pydicom 3",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Read scan and mask, make layer and surface, and write both objects or none."""
    from .core import replacing_together, require_writable
    from .dicom import SEGMENTATION_NAME, SURFACE_NAME, require_highdicom, require_referable
    from .job import made_folder, mask_at
    from .pipeline import JobOptions, compute
    from .scan import read_source
    from .terminal import watched

    with without_path(chosen.mask, chosen.scan, chosen.output), watched(sys.stderr) as progress:
        if not chosen.no_segmentation:
            require_highdicom()
        with made_folder(chosen.output) as folder:
            require_writable(folder / SURFACE_NAME)
            with progress.part(*_READ).stage("Read", 1.0) as stage:
                source = read_source(chosen.scan, chosen.series, stage)
            require_referable(source.headers)
            given = mask_at(chosen.mask, chosen.segment, chosen.label, chosen.level)
            options = JobOptions(
                layer_mm=chosen.layer,
                layer_voxels=not chosen.no_segmentation,
                layer_mesh=False,
            )
            part = progress.part(*_COMPUTE)
            result = compute(source.volume, options, part, mask=given(source.volume))
            with replacing_together() as files:
                _write(chosen, source, result, files, progress.part(*_WRITE))
                progress.finish()
            chosen.written = True
    print(f"Wrote {SURFACE_NAME}" + ("" if chosen.no_segmentation else f", {SEGMENTATION_NAME}"))


def _write(
    chosen: argparse.Namespace,
    source: Any,
    result: JobResult,
    files: Replacements,
    progress: Progress,
) -> None:
    from . import __version__, surface
    from .dicom import Segment, on_slices, write_objects

    with tempfile.TemporaryDirectory(prefix="skinseg-") as place:
        stl = surface.write(result.head, Path(place) / "head.stl").read_bytes()
    segments = []
    if result.layer_voxels is not None:
        segments = [
            Segment("Head", on_slices(result.mask.voxels, source.places)),
            Segment("Skin", on_slices(result.layer_voxels, source.places)),
        ]
    write_objects(chosen.output, stl, segments, source.headers, __version__, files, progress)
