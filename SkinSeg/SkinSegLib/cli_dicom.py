"""``skinseg dicom``: what is done to DICOM files besides segmenting them."""

from __future__ import annotations

import argparse

from . import cli_privacy


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
    engine: argparse.ArgumentParser,
) -> None:
    """Add the command and its own commands; ``common``, ``engine``: see ``cli.build_parser``."""
    parser = commands.add_parser("dicom", help="de-identify, deface", description=__doc__)
    cli_privacy.add_parsers(parser.add_subparsers(metavar="WHAT", required=True), common, engine)
