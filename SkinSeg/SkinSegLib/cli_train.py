"""``skinseg train``: arguments in, a model out."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .training.finetune import FineTuned

DESIGN, STEPS, RATE = "residual-2.5mm", 9000, 2e-3


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "train",
        help="train a model of your own",
        description="Train a network on made scenes around real and made heads. Writes log.csv, "
        "curves.png, a checkpoint to resume from, and the model as a folder for --model.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument(
        "--data", type=Path, metavar="FOLDER", help="the training scans; default: $SKINSEG_DATA"
    )
    parser.add_argument(
        "--cases",
        type=Path,
        metavar="DATASET",
        help="train a model further on your own corrected scans, made by skinseg data; the new "
        "model is compared with it on the cases for testing",
    )
    parser.add_argument(
        "--from",
        dest="start",
        metavar="MODEL",
        help="the model that is trained further; default: none, with --cases the one in use",
    )
    parser.add_argument("--name", default="my-model", help="the model's name; default: my-model")
    parser.add_argument("--design", help="default: residual-2.5mm; with --cases, the model's own")
    parser.add_argument(
        "--odd",
        type=float,
        metavar="SHARE",
        help="share of the scenes that are harder than scanners make them; default: 1",
    )
    parser.add_argument("--rate", type=float, help="the highest learning rate; default: 2e-3")
    parser.add_argument("--steps", type=int, help="default: 9000; with --cases, 1500")
    parser.add_argument(
        "--minutes", type=float, help="stop after that much time; with --cases, 12 if not given"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, help="scenes a step; default: the design's")
    parser.add_argument("--workers", type=int, default=1, help="processes that make scenes")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    parser.set_defaults(run=run, cancelled="Cancelled. Go on from the checkpoint with --resume.")


def run(chosen: argparse.Namespace) -> None:
    """Train, and say where everything is."""
    from . import __version__
    from .segmentation.models import find_model, require_packages
    from .terminal import watched

    require_packages()
    if chosen.cases is not None:
        _train_further(chosen)
        return
    from .segmentation.network import choose_device
    from .training.labels.scans import data_folder
    from .training.session import train_model
    from .training.train import TrainOptions

    data = chosen.data or data_folder()
    start = None if chosen.start is None else find_model(chosen.start)
    odd = 1.0 if chosen.odd is None else chosen.odd
    options = TrainOptions(
        output=chosen.output,
        design=chosen.design or DESIGN,
        steps=chosen.steps or STEPS,
        minutes=chosen.minutes,
        device=choose_device(chosen.device),
        seed=chosen.seed,
        workers=chosen.workers,
        resume=chosen.resume,
        batch=chosen.batch,
        learning_rate=RATE if chosen.rate is None else chosen.rate,
    )
    with watched(sys.stderr) as progress:
        trained = train_model(
            data, options, chosen.name, __version__, progress, start=start, odd=odd
        )
        progress.finish()
    print(f"Model {trained.bundle.name} {trained.bundle.version} in {trained.bundle.folder}")
    print(f"Learning curves: {trained.curves}\nLog: {trained.log}")


def _train_further(chosen: argparse.Namespace) -> None:
    """Fine-tune, compare where there are test cases, and say how the model goes live."""
    from .core import SkinSegError
    from .segmentation.models import find_model
    from .segmentation.network import choose_device
    from .segmentation.options import LIVE_MODEL
    from .terminal import watched
    from .training.dataset import CaseFolder
    from .training.finetune import FineTuneOptions, fine_tune

    own = {"--design": chosen.design, "--batch": chosen.batch}
    own |= {"--odd": chosen.odd, "--rate": chosen.rate}
    if given := [name for name, value in own.items() if value is not None]:
        raise SkinSegError(f"With --cases {given[0]} is fixed. Leave it out.")
    cases = CaseFolder.open(chosen.cases)
    start = find_model(chosen.start or LIVE_MODEL)
    options = FineTuneOptions(
        chosen.output,
        chosen.name,
        device=choose_device(chosen.device),
        seed=chosen.seed,
        workers=chosen.workers,
        resume=chosen.resume,
        data=chosen.data,
    )
    options = replace(
        options,
        steps=chosen.steps or options.steps,
        minutes=options.minutes if chosen.minutes is None else chosen.minutes,
    )
    with watched(sys.stderr) as progress:
        trained = fine_tune(cases, start, options, progress)
        progress.finish()
    print(f"Model {trained.bundle.name} in {trained.bundle.folder}, trained further from "
          f"{start.name} on {len(trained.cases)} cases")  # fmt: skip
    print(f"Learning curves: {trained.curves}\nLog: {trained.log}")
    _say_how_it_goes_live(trained, chosen.cases)


def _say_how_it_goes_live(trained: FineTuned, cases: Path) -> None:
    print(
        f"To use it: skinseg models --add {trained.bundle.folder} --name {trained.bundle.name}, "
        f"then skinseg models --use {trained.bundle.name} --cases {cases}, which compares it first "
        "with the model in use."
    )
