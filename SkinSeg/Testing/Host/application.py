"""Stand-ins for ``slicer.app`` and what hangs on it, and starting the host."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import api, ui_loader, widgets  # noqa: F401 - the last two register their stand-ins
from .pythonqt import STAND_INS, stand_in, unwrap, wrap, wrapper_class

MODULE_PATH = Path(__file__).resolve().parents[2] / "SkinSeg.py"


@stand_in("qt.QSettings")
class Settings:
    """Follows QSettings as Slicer's Python sees it: every value comes back as a string."""

    _values: dict[str, str]

    def __init__(self) -> None:
        self._values = Settings.shared

    shared: dict[str, str] = {}  # noqa: RUF012 - one store for all, as the real one

    def value(self, key: str) -> str | None:
        return self._values.get(key)

    def setValue(self, key: str, value: Any) -> None:
        self._values[key] = str(value)

    def contains(self, key: str) -> bool:
        return key in self._values

    def remove(self, key: str) -> None:
        self._values.pop(key, None)


@stand_in("qt.QFileDialog")
class FileDialog:
    """Follows QFileDialog of PythonQt, whose functions return the path alone.

    No dialog opens: a test puts the answer into ``answers`` beforehand.
    """

    answers: list[str] = []  # noqa: RUF012

    @staticmethod
    def getExistingDirectory(parent: Any, caption: str) -> str:
        if not FileDialog.answers:
            raise AssertionError(f"A file dialog would have opened: {caption}")
        return FileDialog.answers.pop(0)


@stand_in("qt.QDesktopServices")
class DesktopServices:
    """Follows QDesktopServices; what would be opened is kept in ``opened``."""

    opened: list[Any] = []  # noqa: RUF012

    @staticmethod
    def openUrl(url: Any) -> bool:
        DesktopServices.opened.append(url.toString())
        return True


class _Events:
    """Signals of objects that are no widgets, connected by signature."""

    _key = ""

    def __init__(self) -> None:
        self._slots: dict[str, list[Any]] = {}

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("connect", "disconnect", "emit_now"):
            api.check(object.__getattribute__(self, "_key"), name)
        return object.__getattribute__(self, name)

    def connect(self, signature: str, slot: Any) -> None:
        if signature not in api.CLASSES[self._key]["signals"]:
            raise ValueError(f"{self._key} has no signal {signature} in real Slicer")
        self._slots.setdefault(signature, []).append(slot)

    def disconnect(self, signature: str, slot: Any) -> None:
        self._slots[signature].remove(slot)

    def emit_now(self, signature: str, *args: Any) -> None:
        """For the host alone: call what is connected."""
        for slot in list(self._slots.get(signature, ())):
            slot(*args)


class ModuleManager(_Events):
    """Follows qSlicerModuleManager."""

    _key = "slicer.app.moduleManager()"


class Application(_Events):
    """Follows qSlicerApplication, in testing mode: nothing asks the user."""

    _key = "slicer.app"

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._manager = ModuleManager()
        self.defaultScenePath = folder
        self.temporaryPath = folder
        self.applicationName = "Slicer"

    def moduleManager(self) -> ModuleManager:
        return self._manager

    def layoutManager(self) -> None:
        """There are no views."""

    def testingEnabled(self) -> bool:
        return True

    def processEvents(self) -> None:
        QtWidgets.QApplication.processEvents()

    def setOverrideCursor(self, cursor: Any) -> None:
        QtWidgets.QApplication.setOverrideCursor(unwrap(cursor))

    def restoreOverrideCursor(self) -> None:
        QtWidgets.QApplication.restoreOverrideCursor()

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def topLevelWidgets(self) -> list[Any]:
        return []


class SampleDataLogic:
    """Follows SampleDataLogic of Slicer's module SampleData: keeps what is registered."""

    @staticmethod
    def registerCustomSampleDataCategory(category: str, title: str) -> None:
        _sources().setdefault(category, [])

    @staticmethod
    def registerCustomSampleDataSource(
        category: str = "Custom",
        sampleName: str | None = None,
        uris: str | list[str] | None = None,
        fileNames: Any = None,
        nodeNames: Any = None,
        customDownloader: Any = None,
        thumbnailFileName: str | None = None,
        loadFileTypes: Any = None,
        loadFiles: Any = None,
        checksums: Any = None,
    ) -> None:
        if not isinstance(uris, (str, list)):
            raise TypeError("object of type 'NoneType' has no len()")  # as the real one would
        source = SimpleNamespace(
            sampleName=sampleName,
            customDownloader=customDownloader,
            thumbnailFileName=thumbnailFileName,
        )
        _sources().setdefault(category, []).append(source)


def _sources() -> dict[str, list[Any]]:
    import slicer

    if not hasattr(slicer.modules, "sampleDataSources"):
        slicer.modules.sampleDataSources = {}
    return slicer.modules.sampleDataSources


class Host:
    """The module and its panel, running. ``panel`` is the SkinSegWidget of SkinSeg.py."""

    def __init__(self, module: Any, code: ModuleType) -> None:
        self.module, self.code, self.panel = module, code, None

    def open_panel(self) -> Any:
        """What a user does by choosing the module: the panel is made, and entered."""
        import slicer

        parent = wrapper_class("slicer.qSlicerScriptedLoadableModuleWidget")()
        parent.setMRMLScene(slicer.mrmlScene)
        self.panel = self.code.SkinSegWidget(parent)
        self.panel.setup()
        unwrap(parent).setProperty("isEntered", True)
        self.panel.enter()
        parent.show()
        return self.panel

    def close_panel(self) -> None:
        """What Slicer does before it unloads the module."""
        import slicer

        if self.panel is not None:
            slicer.app.moduleManager().emit_now("moduleAboutToBeUnloaded(QString)", "SkinSeg")
            slicer.app.moduleManager()._slots.clear()
            parent = unwrap(self.panel.parent)
            for child in parent.findChildren(widgets.NodeComboBox):
                child.setMRMLScene(None)
            parent.close()
            # A segment editor's logic observes the scene: it goes with its widget.
            shiboken6.delete(parent)
            self.panel = None


def start() -> Host:
    """Start Qt, MRML and the stand-ins, and load the real SkinSeg.py."""
    if QtWidgets.QApplication.instance() is None:
        start.application = QtWidgets.QApplication(["Slicer"])
    from SkinSegLib.mrml import ensure_host

    slicer = ensure_host()
    if not hasattr(slicer, "app"):
        slicer.app = Application(tempfile.gettempdir())
        _install_modules(slicer)
    code = importlib.import_module("SkinSeg")
    if Path(code.__file__) != MODULE_PATH:
        raise ImportError(f"SkinSeg was imported from {code.__file__}")
    from .scripted import ModuleParent

    parent = ModuleParent(MODULE_PATH)
    slicer.modules.skinseg = parent
    return Host(code.SkinSeg(parent), code)


def _install_modules(slicer: Any) -> None:
    """Put ``qt``, ``ctk`` and what slicer-core lacks where SkinSeg.py imports them from."""
    for name in ("qt", "ctk"):
        sys.modules[name] = _Namespace(name)
    for key in api.CLASSES:
        if key.startswith("slicer.qMRML") or key.startswith("slicer.qSlicer"):
            setattr(slicer, key.partition(".")[2], wrapper_class(key))
    i18n = ModuleType("slicer.i18n")
    i18n.tr = lambda text, disambiguation=None, n=-1: text
    i18n.translate = lambda context, text, disambiguation=None, n=-1: text
    samples = ModuleType("SampleData")
    samples.SampleDataLogic = SampleDataLogic
    sys.modules |= {
        "slicer.i18n": i18n,
        "SampleData": samples,
        "slicer.ScriptedLoadableModule": importlib.import_module("Host.scripted"),
        "slicer.parameterNodeWrapper": importlib.import_module("Host.parameters"),
    }


class _Namespace(ModuleType):
    """``qt`` and ``ctk``: their classes, if the list has them."""

    def __getattr__(self, name: str) -> Any:
        if name == "Qt":
            return QtCore.Qt
        if name.startswith("__"):
            raise AttributeError(name)
        return wrapper_class(f"{self.__name__}.{name}")


__all__ = ["STAND_INS", "Host", "start", "wrap"]
