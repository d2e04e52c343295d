"""Packages that Slicer does not bring: asked for once, never in place of Slicer's own."""

from __future__ import annotations

import importlib
import logging
import pathlib
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..core import MissingPackageError, SkinSegError
from .parameters import SETTINGS

#: Import name, what pip calls it, about how large with what it needs (MB), and what it is for.
NETWORK = (("torch", "torch>=2.10", 900), ("monai", "monai>=1.4", 5))
PARTS = (("cc3d", "connected-components-3d>=4.0", 6),)
SURFACE = (
    ("fast_simplification", "fast-simplification>=0.1.9", 2),
    ("manifold3d", "manifold3d>=3.2", 2),
    ("igl", "libigl>=2.6", 15),
    ("lib3mf", "lib3mf>=2.3.2", 10),
)
LEARNING = (("matplotlib", "matplotlib>=3.8", 30), ("filelock", "filelock>=3.12", 1))
ALL = (*NETWORK, *PARTS, *SURFACE, *LEARNING)
#: Never touched, whatever a package asks for: Slicer brings and needs exactly its own.
SLICERS_OWN = ("numpy", "SimpleITK", "vtk", "pydicom")
_ASKED = f"{SETTINGS}/PackagesAsked"


class Packages:
    """What is missing, and installing it."""

    def missing(self) -> list[str]:
        """Names of packages that are not installed, as the user knows them."""
        return [pip.partition(">")[0] for name, pip, _size in ALL if not _has(name)]

    def consequence(self) -> str:
        """What does not work, or works otherwise, without those that are missing."""
        parts = []
        if not all(_has(name) for name, _pip, _size in NETWORK):
            parts.append(_("the threshold engine segments, which takes in what touches the head"))
        if not all(_has(name) for name, _pip, _size in PARTS):
            parts.append(_("large scans take longer and more memory"))
        if not _has("fast_simplification"):
            parts.append(_("surfaces keep all their triangles"))
        if not _has("manifold3d"):
            parts.append(_("no cutting of surfaces"))
        if not _has("lib3mf"):
            parts.append(_("no 3MF files"))
        if not all(_has(name) for name, _pip, _size in LEARNING):
            parts.append(_("no training of a model of your own"))
        return "; ".join(parts) + "." if parts else ""

    def ensure(self, asked: bool = False) -> str:
        """Ask once, and install what is missing; returns what to tell the user, or "".

        ``asked``: the user wants it now, so the question comes even if it was answered before.
        Nothing is asked or installed where Slicer is tested. Without consent, or where installing
        fails, everything else works, and what is returned says how.
        """
        wanted = [(pip, size) for name, pip, size in ALL if not _has(name)]
        if not wanted or slicer.app.testingEnabled():
            return ""
        if not asked and qt.QSettings().value(_ASKED) is not None:
            return ""
        size = sum(size for _pip, size in wanted)
        names = "\n".join(f"- {pip.partition('>')[0]} ({mb} MB)" for pip, mb in wanted)
        question = _(
            "SkinSeg works better with packages that Slicer does not have yet:\n\n{names}\n\n"
            "This downloads up to {size} MB once (more for a GPU). No scan leaves this computer. "
            "Install them now?"
        ).format(names=names, size=size)
        agreed = slicer.util.confirmYesNoDisplay(question)
        qt.QSettings().setValue(_ASKED, "yes")
        if not agreed:
            return str(_("Nothing was installed: {what}")).format(what=self.consequence())
        try:
            self._install([pip for pip, _size in wanted])
        except SkinSegError as error:
            return f"{error} " + str(_("Until then: {what}")).format(what=self.consequence())
        except Exception as error:
            # pip's own words are in Slicer's log and dialog already.
            logging.error("SkinSeg: installing packages failed (%s)", type(error).__name__)
            return str(
                _("Packages could not be installed. Is there a network? Until then: {what}")
            ).format(what=self.consequence())
        left = self.missing()
        return (
            str(_("Still missing: {names}.")).format(names=", ".join(left))
            if left
            else str(_("All packages are installed."))
        )

    def _install(self, requirements: list[str]) -> None:
        """The small ones first: they are of use also where PyTorch cannot be had."""
        network = [pip for _name, pip, _size in NETWORK]
        self._install_by_pip([pip for pip in requirements if pip not in network])
        if any(pip.startswith("torch") for pip in requirements):
            self._install_torch()
        self._install_by_pip([pip for pip in requirements if pip.startswith("monai")])

    def _install_by_pip(self, requirements: list[str]) -> None:
        if not requirements:
            return
        packaging = _packaging()
        with tempfile.TemporaryDirectory(prefix="skinseg-") as folder:
            constraints = pathlib.Path(folder) / "constraints.txt"
            constraints.write_text(slicers_own(), encoding="utf-8")
            if packaging is not None:
                packaging.pip_install(requirements, constraints=constraints, requester="SkinSeg")
            else:
                slicer.util.pip_install([*requirements, "--constraint", str(constraints)])
        importlib.invalidate_caches()

    def _install_torch(self) -> None:
        """Through the PyTorch extension, which knows the computer's GPU and driver."""
        try:
            import PyTorchUtils
        except ImportError:
            raise MissingPackageError(
                "PyTorch is installed by Slicer's extension PyTorch. Install that extension in the "
                "Extensions Manager, restart Slicer, and try again."
            ) from None
        logic = PyTorchUtils.PyTorchUtilsLogic()
        if not logic.torchInstalled() and logic.installTorch(askConfirmation=False) is None:
            raise MissingPackageError("PyTorch was not installed. See Slicer's log, and try again.")


def _has(name: str) -> bool:
    return find_spec(name) is not None


def _packaging() -> Any:
    """slicer.packaging, from Slicer 5.12 on."""
    try:
        import slicer.packaging
    except ImportError:
        return None
    return slicer.packaging


def slicers_own() -> str:
    """Constraints for pip that hold Slicer's own packages at the versions that are installed."""
    lines = []
    for name in SLICERS_OWN:
        try:
            lines.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue  # some of Slicer's own come without pip's records
    return "\n".join(lines) + "\n"
