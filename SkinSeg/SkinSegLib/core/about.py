"""What this software says of itself: its versions, and what it is not."""

from __future__ import annotations

import platform
from importlib import metadata

from .. import __version__

NOTICE = "Not a medical device: for research only, never the sole basis of a decision on a patient."

#: Packages whose versions decide the result.
_PACKAGES = ("numpy", "scipy", "SimpleITK", "vtk", "pydicom", "slicer-core", "torch", "monai")


def versions() -> dict[str, str]:
    """Versions of SkinSeg, Python and the packages that decide the result."""
    found = {"skinseg": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
