"""Surfaces that are drawn over the slices: the outline of a level, a file that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core import SceneError, SkinMesh
from ..surface.polydata import to_polydata
from .host import ensure_host

#: What Slicer itself reads as a model; the others are only written.
READABLE = (".stl", ".ply", ".obj", ".vtp")
LEVEL_NAME = "Skin level outline"
FILE_NAME = "Exported skin"
_LEVEL_COLOR, _FILE_COLOR = (0.2, 0.8, 1.0), (1.0, 0.85, 0.1)


def show_level(mesh: SkinMesh) -> Any:
    """Draw the outline of a level over the slices; the one before it goes. World RAS mm."""
    node = _drawn(LEVEL_NAME, _LEVEL_COLOR)
    node.SetAndObserveMesh(to_polydata(mesh))
    return node


def hide_level() -> None:
    """Take the outline of the level away."""
    _remove(LEVEL_NAME)


def show_file(path: Path) -> Any:
    """Read a surface file by Slicer's own reader and draw it over the slices.

    This is how any other program would see it, so that left can be seen to be left. The one before
    it goes. Raises SceneError if Slicer does not read it, or cannot read such files.
    """
    slicer = ensure_host()
    if path.suffix.lower() not in READABLE:
        raise SceneError(
            f"Slicer does not read {path.suffix} files back, so it is not drawn over the slices."
        )
    node = _drawn(FILE_NAME, _FILE_COLOR)
    storage = slicer.vtkMRMLModelStorageNode()
    storage.SetFileName(str(path))
    if not storage.ReadData(node) or node.GetPolyData() is None:
        _remove(FILE_NAME)
        raise SceneError("Slicer cannot read the file that was just written. Export it again.")
    return node


def hide_file() -> None:
    """Take the outline of the written file away."""
    _remove(FILE_NAME)


def _drawn(name: str, color: tuple[float, float, float]) -> Any:
    """A hidden model node that is seen in slices alone; it is not saved with the scene."""
    slicer = ensure_host()
    _remove(name)
    node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLModelNode")
    node.UnRegister(None)
    node.SetName(name)
    node.SetHideFromEditors(True)
    node.SetSaveWithScene(False)
    slicer.mrmlScene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetSaveWithScene(False)
    display.SetColor(*color)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)
    return node


def _remove(name: str) -> None:
    slicer = ensure_host()
    for node in slicer.util.getNodesByClass("vtkMRMLModelNode"):
        if node.GetName() == name and node.GetHideFromEditors():
            for part in (node.GetDisplayNode(), node):
                if part is not None:
                    slicer.mrmlScene.RemoveNode(part)
