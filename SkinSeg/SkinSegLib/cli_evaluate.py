"""``skinseg evaluate``: arguments in, tables out."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .training.evaluation import DataSet, Engine, Row

_SLICER_RECIPE, _SLICER_FILLED = "slicer-recipe", "slicer-recipe-filled"
ENGINES = ("network", "threshold", _SLICER_RECIPE, _SLICER_FILLED)
FOLDER = Path("skinseg-evaluation")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "evaluate",
        help="how good engines are, on scans with a reference",
        description="Run engines over data sets and write evaluation.csv, evaluation.md and "
        "evaluation.png. The scans are those of $SKINSEG_DATA, unless a folder is given.",
    )
    parser.add_argument(
        "--set",
        action="append",
        required=True,
        dest="sets",
        metavar="SET",
        help="test, validation or train: single scans with a reference by recipe; outlines: "
        "radiotherapy scans with a third party's outline; scenes: made scenes of heads never "
        "trained on; a data set of skinseg data: its cases for testing; or a folder of pairs "
        "NAME.nrrd, NAME_label.nrrd (or .nii.gz). Repeatable",
    )
    parser.add_argument(
        "--engine",
        action="append",
        required=True,
        dest="engines",
        choices=ENGINES,
        help="may be repeated, to compare; slicer-recipe is threshold, largest island and median "
        "by Slicer's own filters (needs slicer-core), -filled the same with enclosed air filled",
    )
    parser.add_argument(
        "--model",
        action="append",
        dest="models",
        metavar="MODEL",
        help="the network's model: a name, or a folder; may be repeated, to compare models",
    )
    parser.add_argument("--device", default="auto", help="for the network; default: auto")
    parser.add_argument(
        "--count", type=_count, default=200, metavar="N", help="made scenes; default: 200"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help=f"folder for the results, made if missing; default: {FOLDER}",
    )
    parser.add_argument(
        "--card",
        type=Path,
        metavar="FOLDER",
        help="a model whose card gets the tables, between its two evaluation marks",
    )
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Evaluate, write, and say what was left out."""
    from .core import require_writable
    from .job import made_folder
    from .segmentation.bundle import CARD
    from .terminal import watched
    from .training.evaluation import (
        check_card,
        evaluate,
        write_card,
        write_csv,
        write_markdown,
        write_picture,
    )

    sets = [_set(name, chosen.count) for name in dict.fromkeys(chosen.sets)]
    engines = _engines(chosen)
    with made_folder(chosen.output) as folder:
        writers = {
            folder / "evaluation.csv": write_csv,
            folder / "evaluation.md": write_markdown,
            folder / "evaluation.png": write_picture,
        }
        if chosen.card is not None:
            check_card(chosen.card / CARD)
            writers[chosen.card / CARD] = write_card
        for path in writers:
            require_writable(path)
        with watched(sys.stderr) as progress:
            result = evaluate(sets, engines, progress, _say)
            progress.finish()
        for path, write in writers.items():
            write(result, path)
            print(f"Wrote {path}")
    for warning in result.warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def _say(row: Row) -> None:
    figures = row.figures
    against = "" if row.reference == "first" else f", {row.reference} reference"
    print(
        f"{row.case}, {row.engine}{against}: skin {figures.skin.mean:.2f} mm, "
        f"{figures.surface_dice_1mm:.3f} within 1 mm, taken in {figures.taken_ml:.1f} mL, "
        f"lost {figures.lost_ml:.1f} mL {row.problem}".rstrip(),
        flush=True,
    )


def _set(name: str, count: int) -> DataSet:
    from .core import SkinSegError
    from .training.dataset import CaseFolder
    from .training.evaluation import (
        SPLITS,
        case_folder,
        outlines,
        pairs_in,
        scenes,
        single_scans,
    )

    if CaseFolder.is_one(Path(name)):
        tests = case_folder(CaseFolder.open(Path(name)), "test")
        if not tests.entries:
            raise SkinSegError(f"{name} has no case for testing. See skinseg data split.")
        return tests
    if name in SPLITS:
        return single_scans(name)
    if name == "outlines":
        return outlines()
    return scenes(count) if name == "scenes" else pairs_in(Path(name))


def _engines(chosen: argparse.Namespace) -> list[Engine]:
    from .segmentation import SegmentOptions
    from .segmentation.models import find_model, require_packages
    from .segmentation.options import SHIPPED_MODEL
    from .training.evaluation import Engine, by_segment, network_engine

    engines: list[Engine] = []
    for name in dict.fromkeys(chosen.engines):
        if name in (_SLICER_RECIPE, _SLICER_FILLED):
            from .mrml import ensure_host
            from .mrml.usual_recipe import usual_recipe

            ensure_host()  # or every row would say that it is missing
            filled = name == _SLICER_FILLED
            engines.append(Engine(name, partial(usual_recipe, filled=filled)))
        elif name == "network":
            require_packages()
            models = list(dict.fromkeys(chosen.models or [SHIPPED_MODEL]))
            for model in models:
                find_model(model)
                shown = name if len(models) == 1 else f"{name} {Path(model).name}"
                engines.append(network_engine(shown, model, chosen.device))
        else:
            engines.append(Engine(name, partial(by_segment, options=SegmentOptions(engine=name))))
    return engines


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of scenes")
    return int(text)
