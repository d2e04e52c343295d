"""``skinseg federated``: several sites train one model and share nothing but its weights."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .segmentation.bundle import Bundle
    from .training.federated.plan import FederatedPlan

FOLDER = Path("skinseg-federated")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its two commands."""
    parser = commands.add_parser(
        "federated",
        help="train a model together with other sites",
        description="Train one model on the data sets of several sites, which share nothing but "
        "the model's weights. By NVIDIA FLARE; see Docs/federated.md.",
    )
    parts = parser.add_subparsers(metavar="COMMAND", required=True)
    simulate = parts.add_parser(
        "simulate",
        parents=[_plan_arguments()],
        help="try it on this computer, each data set as a site",
        description="Train by federated rounds in FLARE's simulator, each data set as a site, and "
        "compare the model with each site's own and with the one of all data in one place, on the "
        "test cases of the data sets. Ctrl-C stops it; the same command goes on.",
    )
    simulate.add_argument(
        "data", type=Path, nargs="+", metavar="FOLDER", help="data sets: site-1, site-2, ..."
    )
    simulate.add_argument(
        "-o",
        "--output",
        type=Path,
        default=FOLDER,
        metavar="FOLDER",
        help=f"folder for models and comparison; default: {FOLDER}",
    )
    simulate.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    simulate.add_argument(
        "--scenes", type=int, default=0, metavar="N", help="compare on N made scenes too"
    )
    simulate.set_defaults(
        run=_simulate, cancelled="Cancelled. The same command goes on from the last round."
    )
    export = parts.add_parser(
        "export-job",
        parents=[_plan_arguments()],
        help="write the job that hospitals run in their own FLARE",
        description="Write a job for NVIDIA FLARE: settings and the weights to begin with, no code "
        "and no data. Every site says in its own settings where its data set is.",
    )
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where the job's folder is put; default: here",
    )
    export.set_defaults(run=_export)


def _plan_arguments() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--name", default="federated", help="the model's and the job's name; default: federated"
    )
    common.add_argument("--model", help="the model to begin with; default: the one in use")
    common.add_argument("--rounds", type=int, default=15, help="default: 15")
    common.add_argument(
        "--steps", type=int, default=20, help="of each site in a round; default: 20"
    )
    common.add_argument(
        "--min-sites",
        type=int,
        default=2,
        metavar="N",
        help="go on while so many sites send a result; default: 2",
    )
    common.add_argument(
        "--wait",
        type=float,
        default=60.0,
        metavar="MINUTES",
        help="for the other sites, once so many have sent theirs; default: 60",
    )
    common.add_argument(
        "--share", type=float, default=0.6, help="of scenes with own cases, 0 to 1; default: 0.6"
    )
    common.add_argument("--seed", type=int, default=0)
    common.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    return common


def _simulate(chosen: argparse.Namespace) -> None:
    from . import __version__
    from .terminal import watched

    start, plan = _begin(chosen)
    from .segmentation.network import choose_device
    from .training.evaluation import scenes
    from .training.federated.simulate import simulate

    data = {f"site-{n}": folder for n, folder in enumerate(chosen.data, 1)}
    more = (scenes(chosen.scenes),) if chosen.scenes > 0 else ()
    with watched(sys.stderr) as progress:
        done = simulate(
            data,
            start,
            plan,
            chosen.output,
            chosen.name,
            __version__,
            choose_device(chosen.device),
            more,
            progress,
        )
        progress.finish()
    print(done.table.read_text(encoding="utf-8"), end="")
    print(f"Federated model {done.federated.name} in {done.federated.folder}")
    print(f"Pooled model in {done.pooled.folder}")
    for site, bundle in done.alone.items():
        print(f"Model of {site} alone in {bundle.folder}")


def _export(chosen: argparse.Namespace) -> None:
    from . import __version__

    start, plan = _begin(chosen)
    from .training.federated.job import PACKAGE, export_job

    job = export_job(chosen.output, chosen.name, __version__, start, plan)
    print(f"Job {chosen.name} in {job}")
    print(f'Every site allows "{PACKAGE}" in class_allow_list; see Docs/federated.md.')


def _begin(chosen: argparse.Namespace) -> tuple[Bundle, FederatedPlan]:
    from .segmentation.models import find_model, require_packages
    from .segmentation.options import LIVE_MODEL

    require_packages()
    from .training.federated.job import require_flare
    from .training.federated.plan import FederatedPlan
    from .training.finetune import design_of

    require_flare()
    start = find_model(chosen.model or LIVE_MODEL)
    plan = FederatedPlan(
        design_of(start),
        chosen.rounds,
        chosen.steps,
        chosen.min_sites,
        chosen.wait,
        chosen.share,
        seed=chosen.seed,
    )
    return start, plan
