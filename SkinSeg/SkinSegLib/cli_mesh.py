"""``skinseg mesh``: the surface of a mask that was made elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli_arguments import (
    MESH_ENDINGS,
    add_file,
    ending,
    finish_options,
    number,
    surface_arguments,
    surface_options,
    warn_of_face,
)

_ABOUT = (
    "The closed surface of a mask that was made elsewhere: a Slicer segmentation (.seg.nrrd) or a "
    "labelmap. The mask says on which side of the skin a voxel lies, the scan where exactly."
)


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    """Add the command and its arguments; ``common``: what every command on a scan has."""
    parser = commands.add_parser(
        "mesh",
        parents=[common, surface_arguments()],
        help="from a mask and its scan to a surface",
        description=_ABOUT,
    )
    parser.add_argument("mask", type=Path, metavar="MASK", help=".seg.nrrd, NRRD, NIfTI, MetaImage")
    parser.add_argument(
        "--scan", type=Path, required=True, metavar="SCAN", help="the scan it was made on"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=ending(*MESH_ENDINGS),
        required=True,
        metavar="FILE",
        help=f"surface to write: {', '.join(MESH_ENDINGS)}, in mm, LPS (glTF: m, upright)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--segment", metavar="NAME", help="segment of a .seg.nrrd; default: Head")
    which.add_argument(
        "--label", type=int, metavar="N", help="value of a labelmap; default: all that is not 0"
    )
    parser.add_argument(
        "--level", type=number, metavar="HU", help="grey value of the skin; default: found"
    )
    add_file(parser)
    parser.add_argument("--json", type=ending(".json"), metavar="FILE", help="report to write")
    parser.add_argument("--preview", type=ending(".png"), metavar="FILE", help="picture to write")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Read mask and scan, make the surface, write it and say what it is."""
    from .job import READ_SHARE, Outputs, mask_at, run_job, scan_at
    from .terminal import watched

    outputs = Outputs(
        chosen.output,
        None,
        chosen.json,
        chosen.preview,
        ascii=chosen.ascii,
        space=chosen.space,
        provenance=chosen.provenance,
    )
    with watched(sys.stderr) as progress:
        report, written = run_job(
            scan_at(chosen.scan, chosen.series),
            outputs,
            progress,
            layer_mm=chosen.layer,
            finish=finish_options(chosen),
            load_share=READ_SHARE,
            surface=surface_options(chosen),
            given=mask_at(chosen.mask, chosen.segment, chosen.label, chosen.level),
        )
        chosen.written = True  # before Ctrl-C means anything again
    report.show(written)
    warn_of_face(chosen)
