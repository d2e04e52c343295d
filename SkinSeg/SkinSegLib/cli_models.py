"""``skinseg models``: list, add, remove and choose what the network engine uses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "models",
        help="list, add or remove the network's models",
        description="Models that --model takes by name: shipped ones, and your own.",
    )
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--add", type=Path, metavar="FOLDER", help="copy a model to your own")
    what.add_argument("--remove", metavar="NAME", help="delete one of your own models")
    what.add_argument(
        "--use",
        metavar="NAME",
        help="use this model where none is named, if on --cases it is no worse than the one in use",
    )
    what.add_argument("--back", action="store_true", help="use the model that was used before")
    parser.add_argument("--name", help="with --add: its name; default: the folder's")
    parser.add_argument(
        "--cases",
        type=Path,
        metavar="DATASET",
        help="with --use: the data set whose cases for testing decide",
    )
    parser.add_argument(
        "--untested",
        action="store_true",
        help="with --use: without a test, on your own responsibility",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FOLDER", help="with --cases: for the tables"
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int | None:
    """Do what was asked; without anything asked, list."""
    from .report import table
    from .segmentation.live import live_model, make_live, roll_back
    from .segmentation.models import add_model, list_models, remove_model

    if chosen.add is not None:
        added = add_model(chosen.add, chosen.name)
        print(f"Added the model {added.folder.name} {added.version}.")
        return None
    if chosen.remove is not None:
        remove_model(chosen.remove)
        print(f"Removed the model {chosen.remove}.")
        return None
    if chosen.use is not None:
        if not chosen.untested and not _passed(chosen):
            return 1
        before = make_live(chosen.use)
        print(f"The model {chosen.use} is used from now on; before, {before} was.")
        return None
    if chosen.back:
        print(f"The model {roll_back()} is used again.")
        return None
    used = live_model()
    rows = [
        (
            entry.name,
            entry.problem
            or f"{entry.version}, {'shipped' if entry.shipped else 'yours'}"
            + (", in use" if entry.name == used else ""),
        )
        for entry in list_models()
    ]
    print(table(rows) if rows else "No model is installed.\n", end="")
    return None


def _passed(chosen: argparse.Namespace) -> bool:
    """Whether the model may go live, with the table shown; it asks nothing of a shipped one."""
    from .core import ModelError
    from .job import made_folder
    from .segmentation.models import find_model
    from .segmentation.options import LIVE_MODEL, SHIPPED_MODEL
    from .terminal import watched
    from .training.compare import compare, comparison_text, write_comparison
    from .training.dataset import CaseFolder

    if chosen.use == SHIPPED_MODEL:
        return True
    if chosen.cases is None:
        raise ModelError(
            f"Nobody has tested {chosen.use} here. Give a data set with cases for testing "
            "(--cases), or take it untested (--untested)."
        )
    old, new = find_model(LIVE_MODEL), find_model(chosen.use)
    with watched(sys.stderr) as progress:
        found = compare(CaseFolder.open(chosen.cases), old, new, progress=progress)
        progress.finish()
    print(comparison_text(found), end="")
    if chosen.output is not None:
        with made_folder(chosen.output) as folder:
            for path in write_comparison(found, folder).values():
                print(f"Wrote {path}")
    for reason in found.worse:
        print(f"Worse: {reason}")
    if found.worse:
        print(f"{old.name} stays in use.")
    return not found.worse
