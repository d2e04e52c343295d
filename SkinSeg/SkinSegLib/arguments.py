"""Types of arguments that more than one command takes. Imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

#: Those of SkinSegLib.surface.FORMATS, whose import would make ``--help`` slow; a test compares.
MESH_ENDINGS = (".stl", ".ply", ".obj", ".vtp", ".3mf", ".glb", ".gltf")


def ending(*endings: str) -> Callable[[str], Path]:
    """An argument type: a path that ends in one of ``endings``."""

    def path(text: str) -> Path:
        if not text.lower().endswith(endings):
            raise argparse.ArgumentTypeError(f"{text!r} must end in {', '.join(endings)}")
        return Path(text)

    return path
