"""Where the scans of the recipes are."""

from __future__ import annotations

import os
from pathlib import Path

from SkinSegLib.core import CTVolume
from SkinSegLib.scan import read

_CRANIUM = "/usr/share/doc/invesalius-examples/examples/Cranium.inv3"


def data_folder() -> Path:
    """The folder of real scans: $SKINSEG_DATA, or where a checkout has it."""
    return Path(os.environ.get("SKINSEG_DATA") or "../shared/data")


def scan_of(path: str) -> CTVolume:
    """The scan of a recipe, below $SKINSEG_DATA; "cranium" from Debian's invesalius-examples.

    Raises ScanReadError where it is missing.
    """
    if path == "cranium":
        return read(Path(os.environ.get("SKINSEG_CRANIUM") or _CRANIUM))
    return read(data_folder() / path)
