"""What desktop Slicer starts by itself, for machines where only the ``slicer-core`` wheel is.

Inside the real application :func:`ensure_host` does nothing.
"""

from __future__ import annotations

import atexit
import importlib
import logging
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..core import MissingPackageError

_log = logging.getLogger("SkinSeg.vtk")


class HeadlessModule:
    """Stands for a loaded module, as ``slicer.modules.<name>``: it only has a logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name = name
        self._logic = logic

    def logic(self) -> Any:
        """The module's logic, connected to the scene."""
        return self._logic


def ensure_host() -> Any:
    """Return the ``slicer`` package with ``mrmlScene`` and ``modules`` ready for use.

    Without the desktop application it makes them: one scene, the application logic and the
    logics of colors, volumes, terminologies, segmentations, subject hierarchy and models. The
    segmentations logic matters most: it registers the rules that convert between labelmap and
    closed surface. May be called as often as you like.

    Raises MissingPackageError if neither Slicer nor slicer-core is there, or only a part of it.
    """
    try:
        import slicer
    except ImportError as error:
        raise MissingPackageError(
            "MRML scenes need 3D Slicer, or the slicer-core package: pip install skinseg[headless]."
        ) from error
    if getattr(slicer, "mrmlScene", None) is None:
        _start(slicer)
    return slicer


#: What is made below; PythonSlicer without its application has the scene, but not all of them.
_CLASSES = (
    *("vtkMRMLScene", "vtkCacheManager", "vtkDataIOManager", "vtkSlicerApplicationLogic"),
    *("vtkSlicerColorLogic", "vtkSlicerSubjectHierarchyModuleLogic", "vtkSlicerVolumesLogic"),
    *("vtkSlicerTerminologiesModuleLogic", "vtkSlicerModelsLogic"),
    "vtkSlicerSegmentationsModuleLogic",
)


def _start(slicer: Any) -> None:
    missing = [name for name in _CLASSES if not hasattr(slicer, name)]
    if missing:
        raise MissingPackageError(
            f"This Python has Slicer's packages without {missing[0]}, so it cannot make a scene. "
            "Run inside Slicer (Slicer --no-main-window --python-script), or in a Python with "
            "the slicer-core package: pip install skinseg[headless]."
        )
    importlib.import_module("slicer.util")  # as the application does at start

    _forward_vtk_messages()
    scene = slicer.vtkMRMLScene()
    cache = slicer.vtkCacheManager()
    folder = Path(tempfile.mkdtemp(prefix="skinseg-scene-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    cache.SetRemoteCacheDirectory(str(folder))
    cache.SetMRMLScene(scene)
    data_io = slicer.vtkDataIOManager()
    data_io.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(data_io)
    scene.SetRootDirectory(str(folder))

    application = slicer.vtkSlicerApplicationLogic()
    application.SetTemporaryPath(str(folder))
    application.SetHomeDirectory(str(folder))
    application.SetShareDirectory("share")  # relative to home; slicer-core ships no color files
    (folder / "share" / "ColorFiles").mkdir(parents=True)
    application.SetMRMLScene(scene)

    # The order is the application's: terminologies before segmentations, which look them up.
    logics = {
        "colors": slicer.vtkSlicerColorLogic(),
        "subjecthierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
        "terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
        "volumes": slicer.vtkSlicerVolumesLogic(),
        "models": slicer.vtkSlicerModelsLogic(),
        "segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
    }
    names = {"subjecthierarchy": "SubjectHierarchy"}
    modules = SimpleNamespace()
    for key, logic in logics.items():
        logic.SetMRMLApplicationLogic(application)
        # Given a scene, this one would look for terminology files, which slicer-core has not.
        if key != "terminologies":
            logic.SetMRMLScene(scene)
        application.SetModuleLogic(names.get(key, key.capitalize()), logic)
        setattr(modules, key, HeadlessModule(names.get(key, key.capitalize()), logic))
    logics["colors"].AddDefaultColorNodes()

    slicer.mrmlScene = scene
    slicer.modules = modules
    # The scene holds the logics only weakly; the package lives as long as the process.
    slicer._skinseg_host = (application, data_io, cache, logics)


def _forward_vtk_messages() -> None:
    """Send what VTK and MRML report to Python's logging, where it is seen and can be tested."""
    from vtkmodules.util.misc import calldata_type
    from vtkmodules.vtkCommonCore import VTK_STRING, vtkLogger, vtkOutputWindow

    window: Any = vtkOutputWindow.GetInstance()

    def forward(level: int) -> Any:
        def observer(_caller: Any, _event: str, text: str) -> None:
            _log.log(level, "%s", text.strip())

        return calldata_type(VTK_STRING)(observer)

    window.AddObserver("ErrorEvent", forward(logging.ERROR))
    window.AddObserver("WarningEvent", forward(logging.WARNING))
    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)  # or all would be said twice
