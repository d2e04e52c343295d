"""``skinseg dicom deface`` and ``restore``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add_deface(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    parents: Sequence[argparse.ArgumentParser],
) -> None:
    """Add ``deface``."""


def add_restore(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], debug: argparse.ArgumentParser
) -> None:
    """Add ``restore``."""
