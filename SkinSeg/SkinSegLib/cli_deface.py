"""``skinseg dicom deface`` and ``restore``: a scan without the face, and the way back."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import ending, number, segment_options

if TYPE_CHECKING:
    from .core import CTVolume, Progress, SkinMask
    from .privacy.deface import Defaced


def add_deface(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    parents: Sequence[argparse.ArgumentParser],
) -> None:
    """Add ``deface``; ``parents`` have the arguments on the scan and the engine."""
    from .cli_privacy import add_profile

    parser = commands.add_parser(
        "deface",
        parents=list(parents),
        help="take the face out of the voxels",
        description="Cut away or blur what lies before a smooth sheet behind the face, from brows "
        "to chin, as far as the first bone: skull, teeth and brain stay. The skull still tells "
        "something of the face, and ears stay.",
    )
    parser.add_argument(
        "input", type=Path, metavar="SCAN", help="DICOM folder, zip or file, NRRD, NIfTI, .mha"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUTPUT",
        help="of DICOM a new folder, else a file with the same ending",
    )
    parser.add_argument(
        "--depth",
        type=number,
        default=0.0,
        metavar="MM",
        help="behind the skin; default: 10, blur: 15",
    )
    parser.add_argument(
        "--mode", choices=("remove", "blur"), default="remove", help="default: remove"
    )
    parser.add_argument(
        "--reversible",
        type=Path,
        metavar="FILE",
        help="keep what is removed in this file, encrypted by $SKINSEG_PASSPHRASE or a passphrase "
        "that is asked for",
    )
    parser.add_argument("--json", type=ending(".json"), metavar="FILE", help="figures to write")
    parser.add_argument(
        "--preview", type=ending(".png"), metavar="FILE", help="picture of what is left"
    )
    parser.add_argument(
        "--deidentify", action="store_true", help="the header too, as skinseg dicom deidentify does"
    )
    add_profile(parser)
    parser.set_defaults(run=_deface)


def add_restore(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], debug: argparse.ArgumentParser
) -> None:
    """Add ``restore``."""
    parser = commands.add_parser(
        "restore",
        parents=[debug],
        help="put a removed face back",
        description="The voxels become what they were, bit for bit; the header stays.",
    )
    parser.add_argument("input", type=Path, metavar="SCAN", help="as written by deface")
    parser.add_argument("side", type=Path, metavar="FILE", help="as written by --reversible")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUTPUT")
    parser.set_defaults(run=_restore)


def _deface(chosen: argparse.Namespace) -> None:
    from .core import replacing, require_writable
    from .privacy.deface import DefaceOptions
    from .privacy.deface_files import DefaceJob, deface_scan
    from .privacy.vault import read_passphrase
    from .report import table
    from .segmentation import segment
    from .terminal import watched

    for path in (chosen.json, chosen.preview, chosen.reversible):
        if path is not None:
            require_writable(path)
    options = segment_options(chosen)

    def mask_of(volume: CTVolume, progress: Progress) -> SkinMask:
        return segment(volume, options, progress)

    job = DefaceJob(
        chosen.input,
        chosen.output,
        DefaceOptions(chosen.mode, chosen.depth),
        chosen.series,
        _objects(chosen),
        chosen.reversible,
        "" if chosen.reversible is None else read_passphrase(new=True),
    )
    with watched(sys.stderr) as progress:
        done, count = deface_scan(job, mask_of, progress)
        chosen.written = True  # before Ctrl-C means anything again
    if chosen.json is not None:
        with replacing(chosen.json) as temporary:
            temporary.write_text(json.dumps(_figures(done), indent=2) + "\n", encoding="utf-8")
    print(table(_rows(done, count)), end="")
    if chosen.preview is not None:
        _preview(done, chosen.preview)


def _objects(chosen: argparse.Namespace) -> Any:
    from .cli_privacy import profile_options, pseudonyms
    from .core import PrivacyError
    from .privacy.deface_files import VISUAL
    from .privacy.objects import ObjectDeidentifier
    from .privacy.pseudonyms import random_pseudonyms

    names, options = pseudonyms(chosen), profile_options(chosen)
    if chosen.deidentify:
        return ObjectDeidentifier(options, names or random_pseudonyms(), (VISUAL,))
    if names is not None or options != type(options)():
        raise PrivacyError("The options on how to de-identify need --deidentify.")
    return None


def _figures(done: Defaced) -> dict[str, Any]:
    return {"proof": asdict(done.proof), "face": {**asdict(done.cut.face), "unit": "RAS mm"}}


def _rows(done: Defaced, count: int) -> list[tuple[str, str]]:
    proof, face = done.proof, done.cut.face
    rows = [
        ("Written", f"{count} files"),
        ("Face", f"S {face.bottom:.0f} to {face.top:.0f} mm, nose at A {face.tip[1]:.0f} mm"),
        ("Removed", f"{proof.removed_ml:.0f} mL; no voxel outside the region changed"),
        (
            "Distance",
            f"of the face from what is left: {proof.before_mm:.1f} mm; after aligning "
            f"{proof.mean_mm:.1f} mm on average, 95 % below {proof.p95_mm:.1f}, "
            f"{proof.within_2mm:.0%} of the face nearer than 2 mm",
        ),
    ]
    if face.cut_off:
        rows.append(("Note", "the scan ends within the face; what it holds of it was removed"))
    return rows


def _preview(done: Defaced, path: Path) -> None:
    from .core import MissingPackageError
    from .privacy.deface_files import render_defaced

    try:
        render_defaced(done, path)
    except MissingPackageError as error:
        print(f"Warning: {error}", file=sys.stderr)


def _restore(chosen: argparse.Namespace) -> None:
    from .privacy.restore import restore
    from .privacy.vault import read_passphrase
    from .terminal import watched

    passphrase = read_passphrase()
    with watched(sys.stderr) as progress:
        count = restore(chosen.input, chosen.side, passphrase, chosen.output, progress)
        chosen.written = True
    print(f"Restored {count} files. They show the face again.")
