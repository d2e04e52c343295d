"""The ``skinseg`` command: arguments in, exit code out. Everything heavy is imported when needed.

Exit codes: 0 done, 1 failed, cancelled, or checked and not good, 2 bad usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import (
    __version__,
    cli_batch,
    cli_check,
    cli_data,
    cli_dicom,
    cli_dicom_export,
    cli_evaluate,
    cli_federated,
    cli_label,
    cli_mesh,
    cli_models,
    cli_privacy,
    cli_thickness,
    cli_train,
    cli_web,
)
from .cli_arguments import (
    MESH_ENDINGS,
    add_file,
    check_finish,
    ending,
    engine_arguments,
    finish_options,
    segment_options,
    surface_arguments,
    surface_options,
    warn_of_face,
)

if TYPE_CHECKING:
    from .job import Load, Outputs

DONE, FAILED, BAD_USAGE = 0, 1, 2

DEMO_FOLDER = Path("skinseg-demo")

_ABOUT = (
    "The patient's skin from a head CT, as a closed surface. Not a medical device: "
    "for research only."
)
_INPUT = "DICOM folder or zip, NRRD, NIfTI, MetaImage, or InVesalius project (.inv3)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; ``arguments`` are those of the command line unless given.

    Returns the exit code; bad usage ends by SystemExit(2), as argparse does.
    """
    # NumPy's matrices are small here: threads that wait for each other take up to thirty times as
    # long where other programs compute. PyTorch has threads of its own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    parser = build_parser()
    chosen = parser.parse_args(arguments)
    _check_input(parser, chosen)
    _set_up_log(chosen.debug)
    try:
        code = chosen.run(chosen)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and getattr(chosen, "written", False):
            print("Interrupted when all was done; every file is written.", file=sys.stderr)
            return DONE
        if chosen.debug:
            traceback.print_exc()
        cancelled = getattr(chosen, "cancelled", "Cancelled; nothing was written.")
        print(_message(error, cancelled), file=sys.stderr)
        return FAILED
    return DONE if code is None else int(code)


def _message(error: BaseException, cancelled: str) -> str:
    from .core import Cancelled, SkinSegError, lacks_memory

    if isinstance(error, Cancelled | KeyboardInterrupt):
        return cancelled
    if isinstance(error, SkinSegError):
        return " ".join([f"Error: {error}", *getattr(error, "__notes__", ())])
    if lacks_memory(error):
        return "Error: there is not enough memory. Close other programs, or use a smaller scan."
    # What a library says may quote the scan's header, so only its kind is shown.
    kind = type(error).__name__
    return f"Error: SkinSeg failed unexpectedly ({kind}). Add --debug to see where."


def _set_up_log(debug: bool) -> None:
    """Show what VTK and the others log only with --debug: our own messages say what matters."""
    import logging

    handler = logging.StreamHandler() if debug else logging.NullHandler()
    logger = logging.getLogger("SkinSeg")
    logger.handlers[:] = [handler]
    logger.propagate = False


def build_parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--series", help="DICOM: series number, #n for the n-th one, or its UID")
    common.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    engine = engine_arguments()
    surface = surface_arguments()

    parser = argparse.ArgumentParser(prog="skinseg", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"skinseg {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    segment = commands.add_parser(
        "segment",
        parents=[common, engine, surface],
        help="from a scan to a surface",
        description=_ABOUT,
    )
    segment.add_argument("input", type=Path, metavar="INPUT", help=_INPUT)
    segment.add_argument(
        "-o",
        "--output",
        type=ending(*MESH_ENDINGS),
        required=True,
        metavar="FILE",
        help="surface to write: .stl, .ply, .obj, .vtp or .3mf (needs lib3mf), in mm, LPS; or "
        ".glb or .gltf, in m, upright",
    )
    add_file(segment)
    segment.add_argument(
        "--mask",
        type=ending(".nrrd", ".nii.gz", ".nii", ".mha"),
        metavar="FILE",
        help="mask to write: .seg.nrrd (segments Head and Skin; needs slicer-core), or a labelmap "
        ".nrrd, .nii.gz, .mha (1 head; with --layer 2 its outer layer)",
    )
    segment.add_argument(
        "--json", type=ending(".json"), metavar="FILE", help="report to write as JSON"
    )
    segment.add_argument(
        "--preview",
        type=ending(".png"),
        metavar="FILE",
        help="picture to write: front, left, back and below",
    )
    segment.set_defaults(run=_segment)

    info = commands.add_parser(
        "info", parents=[common], help="what a scan is", description="What a scan is."
    )
    info.add_argument("input", type=Path, metavar="INPUT", help=_INPUT)
    info.set_defaults(run=_info)

    demo = commands.add_parser(
        "demo",
        parents=[common, engine, surface],
        help="the whole job, on a made head if no scan is given",
        description="Write skin.stl, skin.png and report.json for a made head, or for INPUT.",
    )
    demo.add_argument("input", type=Path, nargs="?", metavar="INPUT", help=_INPUT)
    demo.add_argument(
        "-o",
        "--output",
        type=Path,
        default=DEMO_FOLDER,
        metavar="FOLDER",
        help=f"folder for the results, made if missing; default: {DEMO_FOLDER}",
    )
    demo.set_defaults(run=_demo)
    cli_batch.add_parser(commands, engine)
    cli_check.add_parser(commands)
    cli_data.add_parser(commands)
    dicom = cli_dicom.add_parser(commands)
    cli_dicom_export.add_parser(dicom)
    cli_privacy.add_parsers(dicom, common, engine)
    cli_evaluate.add_parser(commands)
    cli_federated.add_parser(commands)
    cli_label.add_parser(commands)
    cli_mesh.add_parser(commands, common)
    cli_models.add_parser(commands)
    cli_thickness.add_parser(commands, [common, engine])
    cli_train.add_parser(commands)
    cli_web.add_parser(commands)
    return parser


def _check_input(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    """What argparse cannot tell by itself: two arguments that do not go together."""
    if chosen.run not in (_segment, _demo, cli_mesh.run):
        return
    named = () if chosen.run is _demo else (chosen.output, chosen.preview)
    check_finish(parser, chosen, named)
    if chosen.run is cli_mesh.run:
        return
    if chosen.input is None:
        if chosen.series is not None:
            parser.error("--series needs an INPUT to choose it from")
    elif chosen.run is _segment:
        # But for the record and the report, two outputs cannot be one file: their endings differ.
        asked = [chosen.output, chosen.mask, chosen.json, chosen.preview]
        if chosen.provenance:
            asked.append(Path(f"{chosen.output}.json"))
        outputs = [path.resolve() for path in asked if path]
        if chosen.input.resolve() in outputs:
            parser.error("an output is the scan itself; choose another name for it")
        if len(set(outputs)) < len(outputs):
            parser.error("two outputs have the same name; choose another one for --json")


def _segment(chosen: argparse.Namespace) -> None:
    from .job import READ_SHARE, scan_at

    _run(scan_at(chosen.input, chosen.series), _outputs(chosen), chosen, READ_SHARE)


def _outputs(chosen: argparse.Namespace) -> Outputs:
    from .job import Outputs

    return Outputs(
        chosen.output,
        chosen.mask,
        chosen.json,
        chosen.preview,
        ascii=chosen.ascii,
        space=chosen.space,
        provenance=chosen.provenance,
    )


def _demo(chosen: argparse.Namespace) -> None:
    from .job import PHANTOM_SHARE, READ_SHARE, Outputs, made_folder, phantom, scan_at

    load: Load = phantom
    share = PHANTOM_SHARE
    if chosen.input is not None:
        load, share = scan_at(chosen.input, chosen.series), READ_SHARE
    name = "skin"
    if chosen.mirror is not None:
        from .surface import MIRRORED

        name = f"skin-{MIRRORED}"
    with made_folder(chosen.output) as folder:
        outputs = Outputs(
            mesh=folder / f"{name}.stl",
            report=folder / "report.json",
            preview=folder / f"{name}.png",
        )
        _run(load, outputs, chosen, share)


def _run(load: Load, outputs: Outputs, chosen: argparse.Namespace, load_share: float) -> None:
    from .job import run_job
    from .terminal import watched

    options = segment_options(chosen)
    finish = finish_options(chosen)
    with watched(sys.stderr) as progress:
        report, written = run_job(
            load,
            outputs,
            progress,
            options,
            layer_mm=chosen.layer,
            finish=finish,
            load_share=load_share,
            surface=surface_options(chosen),
        )
        chosen.written = True  # before Ctrl-C means anything again
    report.show(written)
    warn_of_face(chosen)


def _info(chosen: argparse.Namespace) -> None:
    from .job import scan_at
    from .report import scan_text
    from .terminal import watched

    with watched(sys.stderr) as progress:
        volume = scan_at(chosen.input, chosen.series)(progress)
    print(scan_text(volume), end="")


if __name__ == "__main__":
    sys.exit(main())
