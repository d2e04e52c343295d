"""Files shipped with the code: the same call in a source tree, in Slicer and in a wheel."""

from __future__ import annotations

from pathlib import Path

from .errors import MissingPackageError

_LIBRARY = Path(__file__).resolve().parent.parent


def resource_path(*parts: str) -> Path:
    """Path of a file or folder below ``Resources``.

    Slicer and the source tree have Resources beside SkinSegLib, an installed wheel inside it. For
    engines that ship a model, which must find it in all three.
    Raises MissingPackageError if the installation lacks it.
    """
    for root in (_LIBRARY.parent / "Resources", _LIBRARY / "Resources"):
        path = root.joinpath(*parts)
        if path.exists():
            return path
    raise MissingPackageError(f"The installation lacks {'/'.join(parts)}. Install SkinSeg again.")
