"""``skinseg train``: arguments in, a model out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


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
    parser.add_argument("--name", default="my-model", help="the model's name; default: my-model")
    parser.add_argument("--design", default="residual-2.5mm", help="default: residual-2.5mm")
    parser.add_argument("--steps", type=int, default=9000, help="default: 9000")
    parser.add_argument("--minutes", type=float, help="stop after that much time")
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
    from .segmentation.models import require_packages
    from .terminal import watched

    require_packages()
    from .segmentation.network import choose_device
    from .training.labels.scans import data_folder
    from .training.session import train_model
    from .training.train import TrainOptions

    data = chosen.data or data_folder()
    options = TrainOptions(
        output=chosen.output,
        design=chosen.design,
        steps=chosen.steps,
        minutes=chosen.minutes,
        device=choose_device(chosen.device),
        seed=chosen.seed,
        workers=chosen.workers,
        resume=chosen.resume,
        batch=chosen.batch,
    )
    with watched(sys.stderr) as progress:
        trained = train_model(data, options, chosen.name, __version__, progress)
        progress.finish()
    print(f"Model {trained.bundle.name} {trained.bundle.version} in {trained.bundle.folder}")
    print(f"Learning curves: {trained.curves}\nLog: {trained.log}")
