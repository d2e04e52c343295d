"""``skinseg models``: list, add, remove and choose what the network engine uses."""

from __future__ import annotations

import argparse
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
    what.add_argument("--use", metavar="NAME", help="use this model where none is named")
    what.add_argument("--back", action="store_true", help="use the model that was used before")
    parser.add_argument("--name", help="with --add: its name; default: the folder's")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Do what was asked; without anything asked, list."""
    from .report import table
    from .segmentation.live import live_model, make_live, roll_back
    from .segmentation.models import add_model, list_models, remove_model

    if chosen.add is not None:
        added = add_model(chosen.add, chosen.name)
        print(f"Added the model {added.folder.name} {added.version}.")
        return
    if chosen.remove is not None:
        remove_model(chosen.remove)
        print(f"Removed the model {chosen.remove}.")
        return
    if chosen.use is not None:
        before = make_live(chosen.use)
        print(f"The model {chosen.use} is used from now on; before, {before} was.")
        return
    if chosen.back:
        print(f"The model {roll_back()} is used again.")
        return
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
