"""See the panel without Slicer: on screen, or as pictures of each of its states.

    cd SkinSeg/Testing && PYTHONPATH=.. python -m Host                 # on screen
    cd SkinSeg/Testing && PYTHONPATH=.. python -m Host FOLDER          # a picture of every state
    ... FOLDER --state exported --theme dark --scale 2                 # one of them, at 200 %

The scan is the made head of ``skinseg demo`` on a coarse grid, with a table and a head holder.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

THEMES = ("light", "dark")
_LIMIT_S = 600.0


class Stage:
    """The panel, brought from one state to the next as a user would."""

    def __init__(self) -> None:
        from .application import start

        self.host = start()
        self.panel = self.host.open_panel()
        self._folder = tempfile.TemporaryDirectory(prefix="skinseg-host-")
        self.ui.folderButton.directory = self._folder.name

    @property
    def ui(self) -> Any:
        return self.panel.ui

    def close(self) -> None:
        self.host.close_panel()
        self._folder.cleanup()

    def wait(self, until: Callable[[], Any]) -> None:
        """Let Qt work until a condition holds."""
        end = time.monotonic() + _LIMIT_S
        while not until():
            if time.monotonic() > end:
                raise TimeoutError("the panel never came to it")
            self.host.code.slicer.app.processEvents()

    def show_empty(self) -> None:
        """As it opens in an empty scene."""

    def show_ready(self) -> None:
        from dataclasses import replace

        from SkinSegLib import mrml
        from SkinSegLib.training.phantom import PhantomSpec, make_phantom

        spec = PhantomSpec.table_and_holder()
        coarse = tuple(n // 2 for n in spec.shape)
        mrml.add_volume(
            make_phantom(replace(spec, shape=coarse, spacing_mm=(2.0, 2.0, 2.0))).volume, "Head CT"
        )
        self.wait(lambda: "values" in self.ui.factsLabel.text)
        self.wait(lambda: self.panel.panel.running == "")

    def show_running(self) -> None:
        self.show_ready()
        self.ui.segmentButton.click()
        self.wait(lambda: self.ui.progressBar.value > 30)

    def show_findings(self) -> None:
        self.show_ready()
        self.ui.segmentButton.click()
        self.wait(lambda: not self.panel.panel.is_busy)
        self.ui.nextButton.click()
        self.ui.checkedBox.click()
        self.ui.nextButton.click()

    def show_editing(self) -> None:
        self.show_findings()
        self.ui.editCollapsibleButton.collapsed = False
        self.ui.exportCollapsibleButton.collapsed = True

    def show_exported(self) -> None:
        self.show_findings()
        self.ui.exportButton.click()
        self.wait(lambda: not self.panel.panel.is_busy)

    def show_error(self) -> None:
        self.show_ready()
        self.panel._parameterNode.inputVolume.GetImageData().GetPointData().GetScalars().Fill(-1000)
        self.ui.segmentButton.click()
        self.wait(lambda: not self.panel.panel.is_busy)

    def show_learning(self) -> None:
        """After a training of seconds, which teaches nothing, and its comparison."""
        from dataclasses import replace
        from pathlib import Path

        from SkinSegLib.training.dataset import CaseFolder
        from SkinSegLib.training.dataset.intake import prepare
        from SkinSegLib.training.phantom import PhantomSpec, make_phantom

        from .application import FileDialog

        os.environ["SKINSEG_MODELS"] = str(Path(self._folder.name) / "models")
        self.panel.panel.restart_worker()
        spec = PhantomSpec(seed=7)
        coarse = tuple(n // 2 for n in spec.shape)
        test = make_phantom(replace(spec, shape=coarse, spacing_mm=(2.0, 2.0, 2.0)))
        folder = Path(self._folder.name) / "Corrected heads"
        cases = CaseFolder.create(folder)
        taken = prepare(test.volume, test.truth, "MADE7", "test")
        cases.add(taken.record, taken.volume, taken.mask)
        self.show_findings()
        for name in ("scan", "review", "export"):
            getattr(self.ui, f"{name}CollapsibleButton").collapsed = True
        self.ui.learnCollapsibleButton.collapsed = False
        FileDialog.answers += [str(folder)]
        self.ui.caseFolderButton.click()
        learning, training = self.panel.panel.sections[7], self.panel.panel.sections[9]
        self.wait(lambda: learning.state is not None)
        self.ui.labellerEdit.text = "M. Curie"
        self.ui.addCaseButton.click()
        self.wait(lambda: "Added as" in self.ui.learnLabel.text and not learning.running)
        training.options = {"steps": 3, "workers": 0, "made": 0, "validation_scenes": 1}
        training.made = training.nice = 0
        self.ui.trainButton.click()
        self.wait(lambda: "is trained" in self.ui.learnLabel.text and not learning.running)

    def show_advanced(self) -> None:
        self.show_findings()
        self.ui.advancedCollapsibleButton.collapsed = False


STATES = tuple(name.removeprefix("show_") for name in vars(Stage) if name.startswith("show_"))


def set_theme(theme: str) -> None:
    """Light or dark, in the same style everywhere."""
    from PySide6 import QtGui, QtWidgets

    application = QtWidgets.QApplication.instance()
    application.setStyle("Fusion")
    palette = QtGui.QPalette(
        QtGui.QColor(53, 53, 53) if theme == "dark" else QtGui.QColor(240, 240, 240)
    )
    if theme == "dark":
        role = QtGui.QPalette.ColorRole
        palette.setColor(role.Link, QtGui.QColor(120, 180, 255))
        palette.setColor(role.Highlight, QtGui.QColor(60, 120, 200))
    application.setPalette(palette)


def take(state: str, theme: str, path: Path, width: int) -> None:
    """Bring the panel to a state and write its picture, as tall as it wants to be."""
    from SkinSegLib import mrml

    from .application import Settings
    from .pythonqt import unwrap

    mrml.ensure_host().mrmlScene.Clear()
    Settings.shared.clear()
    stage = Stage()
    try:
        set_theme(theme)
        getattr(stage, f"show_{state}")()
        widget = unwrap(stage.panel.parent)
        layout = widget.layout()
        for _ in range(2):  # labels that wrap want their width first
            layout.activate()
            widget.resize(width, layout.totalHeightForWidth(width))
            stage.host.code.slicer.app.processEvents()
        if not widget.grab().save(str(path)):
            raise OSError("the picture could not be written")
    finally:
        stage.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m Host", description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="where pictures go; none: on screen")
    parser.add_argument("--state", choices=STATES, help="only this one")
    parser.add_argument("--theme", choices=THEMES, help="only this one")
    parser.add_argument("--scale", type=float, default=1.0, help="2 for a screen at 200 %%")
    parser.add_argument("--width", type=int, default=420, help="of the panel, in pixels at scale 1")
    options = parser.parse_args()
    if options.folder is None:
        stage = Stage()
        from PySide6 import QtWidgets

        QtWidgets.QApplication.instance().exec()
        stage.close()
        return 0
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ["QT_SCALE_FACTOR"] = str(options.scale)
    options.folder.mkdir(parents=True, exist_ok=True)
    for state in [options.state] if options.state else STATES:
        for theme in [options.theme] if options.theme else THEMES:
            path = options.folder / f"panel-{state}-{theme}.png"
            take(state, theme, path, options.width)
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
