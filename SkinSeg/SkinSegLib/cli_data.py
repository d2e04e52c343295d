"""``skinseg data``: a hospital's own labelled scans."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_arguments import number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .core import CTVolume, Progress
    from .training.dataset import CaseRecord
    from .training.dataset.intake import Intake

PATIENT_VARIABLE = "SKINSEG_PATIENT"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its own commands."""
    parser = commands.add_parser(
        "data",
        help="labelled scans to train and test models on",
        description="A data set is a folder as the Medical Segmentation Decathlon has them, with "
        "a record for each case of where it is from, and nothing of whom it shows.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("folder", type=Path, metavar="DATASET", help="folder of the data set")
    common.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    _add_add(actions, common)
    listed = actions.add_parser("list", parents=[common], help="the cases, one a line")
    listed.set_defaults(run=_list)
    remove = actions.add_parser("remove", parents=[common], help="delete a case for good")
    remove.add_argument("case", metavar="CASE", help="such as head_0001")
    remove.set_defaults(run=_remove)
    split = actions.add_parser(
        "split", parents=[common], help="use a case, and all of its patient, for something else"
    )
    split.add_argument("case", metavar="CASE")
    split.add_argument("use", choices=("train", "test"))
    split.set_defaults(run=_split)
    audit = actions.add_parser(
        "audit",
        parents=[common],
        help="how diverse the set is, what is missing, duplicates and leaks",
        description="Writes one page with plots. Exits with 1 where the same scan or patient is "
        "in training and in testing, or a case is not what was added.",
    )
    audit.add_argument("-o", "--output", type=Path, default=Path("audit.html"), metavar="HTML")
    audit.add_argument("--quick", action="store_true", help="do not read the scans' files again")
    audit.set_defaults(run=_audit)
    following = actions.add_parser(
        "next",
        parents=[common],
        help="which unlabelled scan to label next",
        description="Order the scans without a label by what the model is least sure of.",
    )
    following.add_argument("--model", default="live", help="default: the one in use")
    following.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    following.set_defaults(run=_next)
    converted = actions.add_parser(
        "nnunet", parents=[common], help="copy it to the raw layout of nnU-Net"
    )
    converted.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="$nnUNet_raw"
    )
    converted.add_argument("--id", type=int, default=501, help="of the data set; default: 501")
    converted.set_defaults(run=_nnunet)


def _add_add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], common: argparse.ArgumentParser
) -> None:
    parser = actions.add_parser(
        "add",
        parents=[common],
        help="add a scan, with its label or without",
        description="The scan is copied without its header's names, dates and numbers. It still "
        "shows a face unless --deface is given.",
    )
    parser.add_argument("scan", type=Path, metavar="SCAN", help="whatever skinseg segment reads")
    parser.add_argument("--series", help="DICOM: series number, #n for the n-th one, or its UID")
    parser.add_argument(
        "--label",
        type=Path,
        metavar="FILE",
        help="the solid head, of any kind that skinseg label import reads; without it, the scan "
        "waits for one",
    )
    parser.add_argument("--segment", metavar="NAME", help="of a label with several; default: Head")
    parser.add_argument(
        "--no-check", action="store_true", help="take a label that does not follow the scan's skin"
    )
    parser.add_argument(
        "--before", type=Path, metavar="FILE", help="the mask before it was corrected by hand"
    )
    parser.add_argument(
        "--for", choices=("train", "test"), default="train", dest="use", help="default: train"
    )
    parser.add_argument("--labelled-by", default="", metavar="WHO", help="a name of your choice")
    parser.add_argument(
        "--site", default="", metavar="WHERE", help="the hospital, or a word for it"
    )
    parser.add_argument(
        "--ask-patient",
        action="store_true",
        help=f"ask for the patient's number, or take it from ${PATIENT_VARIABLE}; a pseudonym is "
        "kept of it. Default: the one in the DICOM header; else each scan is a patient of its own",
    )
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="of the pseudonyms, as skinseg dicom deidentify --key; default: one of this user",
    )
    parser.add_argument("--deface", choices=("remove", "blur"), help="take the face out")
    parser.add_argument(
        "--depth", type=number, default=0.0, metavar="MM", help="of --deface, behind the skin"
    )
    parser.add_argument(
        "--allow-alike", action="store_true", help="the scan only looks like one that is here"
    )
    parser.set_defaults(run=_add)


def _add(chosen: argparse.Namespace) -> None:
    from .core import SkinSegError
    from .terminal import watched
    from .training.dataset import CaseFolder

    if chosen.label is None and (chosen.before is not None or chosen.use == "test"):
        raise SkinSegError("Without --label a scan can only wait for one. Leave out the rest.")
    cases = CaseFolder.create(chosen.folder)
    with watched(sys.stderr) as progress:
        taken = _taken(chosen, progress)
        progress.finish()
    record = cases.add(taken.record, taken.volume, taken.mask, chosen.allow_alike)
    chosen.written = True
    print(f"Added {record.name}: {_about(record)}")
    for note in record.notes:
        print(f"  {note}")
    if not record.defaced:
        print("  The scan shows a face. Treat the folder like the scan itself, or use --deface.")


def _taken(chosen: argparse.Namespace, progress: Progress) -> Intake:
    from .privacy.deface import DefaceOptions
    from .training.dataset.intake import Authorship, patient_pseudonym, prepare
    from .training.exchange import read_label

    with progress.stage("Read", 1.0):
        volume, header = _scan(chosen.scan, chosen.series, progress)

    def on_scan(path: Path | None) -> NDArray[np.uint8] | None:
        if path is None:
            return None
        return read_label(path, volume, chosen.segment, header=header)

    patient = patient_pseudonym(_pseudonyms(chosen.key), volume, header, _number(chosen))
    who = Authorship(chosen.labelled_by, site=chosen.site, before=on_scan(chosen.before))
    deface = None if chosen.deface is None else DefaceOptions(chosen.deface, chosen.depth)
    mask = on_scan(chosen.label)
    split = "unlabelled" if mask is None else chosen.use
    return prepare(volume, mask, patient, split, who, header, deface, progress, not chosen.no_check)


def _scan(path: Path, series: str | None, progress: Progress) -> tuple[CTVolume, Any]:
    """The scan, and a header of it where it is DICOM."""
    from .core import ScanReadError
    from .scan import read
    from .scan.images import image_suffix
    from .scan.reader import read_source

    if image_suffix(path) is not None or path.suffix.lower() == ".inv3":
        if series is not None:
            raise ScanReadError("--series is for DICOM only. Leave it out.")
        return read(path, progress=progress), None
    source = read_source(path, series, progress)
    return source.volume, source.headers[0]


def _pseudonyms(key: Path | None) -> Any:
    from .privacy import Pseudonyms, load_key
    from .training.dataset.intake import own_key

    if key is not None:
        return Pseudonyms(load_key(key))
    found, path, made = own_key()
    if made:
        print(f"Made the key of your pseudonyms: {path}. Keep it secret, and keep a copy.")
    return Pseudonyms(found)


def _number(chosen: argparse.Namespace) -> str:
    """The patient's number; never from the command line, which others see and shells remember."""
    if not chosen.ask_patient:
        return ""
    from .core import PrivacyError

    given = os.environ.get(PATIENT_VARIABLE, "")
    if not given and sys.stdin.isatty():
        import getpass

        given = getpass.getpass("The patient's number: ")
    if not given.strip():
        raise PrivacyError(
            f"The patient's number is needed. Put it into the variable {PATIENT_VARIABLE}, or run "
            "this in a terminal, which will ask for it."
        )
    return given


def _list(chosen: argparse.Namespace) -> None:
    from .report import table
    from .training.dataset import CaseFolder

    records = CaseFolder.open(chosen.folder).records()
    print(table([(r.name, _about(r)) for r in records]) if records else "No case yet.\n", end="")


def _about(record: CaseRecord) -> str:
    use = {"train": "for training", "test": "for testing", "unlabelled": "waits for a label"}
    parts = [use[record.split], f"patient {record.patient[:8]}"]
    parts.append(" x ".join(str(n) for n in record.shape[::-1]))
    parts.append(" x ".join(f"{s:.3g}" for s in record.spacing) + " mm")
    parts += [record.scanner.maker] * bool(record.scanner.maker)
    if record.labelled:
        parts.append(f"head {record.head_ml:.0f} mL")
    if record.labelled_by:
        parts.append(f"by {record.labelled_by}")
    if record.edited_ml is not None:
        parts.append(f"{record.edited_ml:.1f} mL corrected")
    if record.defaced:
        parts.append("without a face")
    return ", ".join(parts)


def _remove(chosen: argparse.Namespace) -> None:
    from .training.dataset import CaseFolder

    CaseFolder.open(chosen.folder).remove(chosen.case)
    print(f"Removed {chosen.case}.")


def _split(chosen: argparse.Namespace) -> None:
    from .training.dataset import CaseFolder

    cases = CaseFolder.open(chosen.folder)
    cases.set_split(chosen.case, chosen.use)
    patient = cases.record(chosen.case).patient
    moved = [r.name for r in cases.records() if r.patient == patient and r.labelled]
    print(f"{', '.join(moved)}: for {'training' if chosen.use == 'train' else 'testing'} now.")


def _audit(chosen: argparse.Namespace) -> int:
    from .core import require_writable
    from .terminal import watched
    from .training.audit import audit, write_page
    from .training.dataset import CaseFolder

    require_writable(chosen.output)
    with watched(sys.stderr) as progress:
        found = audit(CaseFolder.open(chosen.folder), not chosen.quick, progress)
        progress.finish()
    write_page(found, chosen.output)
    _say_all("", found.faults)
    _say_all("Missing: ", found.missing)
    print(f"Wrote {chosen.output}")
    return 1 if found.faults else 0


def _say_all(what: str, lines: Sequence[str]) -> None:
    for line in lines:
        print(f"{what}{line}")


def _next(chosen: argparse.Namespace) -> None:
    from .report import table
    from .segmentation.models import find_model, require_packages
    from .terminal import watched
    from .training.dataset import CaseFolder
    from .training.ranking import rank

    require_packages()
    cases = CaseFolder.open(chosen.folder)
    with watched(sys.stderr) as progress:
        ranked = rank(cases, find_model(chosen.model), chosen.device, progress)
        progress.finish()
    rows = [(r.record.name, r.problem or f"{r.doubt_ml:.1f} mL in doubt") for r in ranked]
    print(table(rows), end="")
    print(f"Label next: {cases.folder / ranked[0].record.image}")


def _nnunet(chosen: argparse.Namespace) -> None:
    from .training.dataset import CaseFolder
    from .training.dataset.nnunet import to_nnunet

    written = to_nnunet(CaseFolder.open(chosen.folder), chosen.output, chosen.id)
    index = json.loads((written / "dataset.json").read_text(encoding="utf-8"))
    print(f"Wrote {written} with {index['numTraining']} cases for training")
