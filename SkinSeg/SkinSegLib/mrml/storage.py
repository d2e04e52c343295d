"""Saving and loading a segmentation or the whole scene by Slicer's own storage nodes."""

from __future__ import annotations

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ..core import OutputError, SceneError, replacing, require_writable
from .host import ensure_host
from .keepers import remove_orphans
from .surfaces import restore_surface


def save_segmentation(segmentation: Any, path: Path | str) -> Path:
    """Write the labelmaps of a segmentation node to a ``.seg.nrrd`` file.

    The file takes its name once it is whole, and the node then refers to it. Names, colours,
    codes and the reference geometry are in the file; closed surfaces are not (Slicer's format has
    no place for them): save the scene to keep them.

    Raises OutputError if it cannot be written.
    """
    target = Path(path).absolute()  # MRML would start a relative one at the scene's folder
    if not target.name.lower().endswith(".seg.nrrd"):
        raise OutputError(f"{target.name} must end in .seg.nrrd, or Slicer will not know it.")
    require_writable(target)
    if segmentation.GetStorageNode() is None:
        segmentation.AddDefaultStorageNode()
    storage = segmentation.GetStorageNode()
    before = storage.GetFileName()
    try:
        with replacing(target) as temporary:
            storage.SetFileName(str(temporary))
            if not storage.WriteData(segmentation):
                raise OutputError(_said(storage, f"Slicer could not write {target.name}."))
        storage.SetFileName(str(target))
    except BaseException:
        storage.SetFileName(before or "")
        raise
    return target


def load_segmentation(path: Path | str) -> Any:
    """Add a segmentation file to the scene as a vtkMRMLSegmentationNode.

    Raises SceneError if it cannot be read; then no node is left behind.
    """
    slicer = ensure_host()
    source = Path(path)
    _require_whole(source)
    name = slicer.mrmlScene.GetUniqueNameByString(source.name.partition(".")[0] or "Segmentation")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.AddDefaultStorageNode()
    storage = node.GetStorageNode()
    storage.SetFileName(str(source.absolute()))
    if not storage.ReadData(node) or node.GetSegmentation().GetNumberOfSegments() == 0:
        message = _said(storage, f"{source} holds no segmentation that Slicer can read.")
        slicer.mrmlScene.RemoveNode(storage)
        slicer.mrmlScene.RemoveNode(node)
        raise SceneError(message)
    restore_surface(node)
    return node


def save_scene(path: Path | str) -> Path:
    """Write the whole scene to an ``.mrb`` file, which takes its name once it is whole.

    Surfaces of segments that are gone stay out. Raises OutputError if it cannot be written.
    """
    slicer = ensure_host()
    target = Path(path).absolute()  # MRML would start a relative one at the scene's folder
    if target.suffix.lower() != ".mrb":
        raise OutputError(f"{target.name} must end in .mrb.")
    require_writable(target)
    remove_orphans()
    messages = slicer.vtkMRMLMessageCollection()
    with (
        replacing(target) as temporary,
        tempfile.TemporaryDirectory(prefix=".skinseg-", dir=target.parent) as folder,
    ):
        # The bundle holds a folder named like the file: write it under its final name.
        bundle = Path(folder) / target.name
        done = slicer.mrmlScene.WriteToMRB(str(bundle), None, messages)
        if not done or not bundle.is_file():
            raise OutputError(f"Slicer could not save the scene. {_all(messages)}".strip())
        bundle.replace(temporary)
    return target


def load_scene(path: Path | str) -> tuple[Any, ...]:
    """Replace the scene by an ``.mrb`` file; returns its segmentation nodes, our surfaces back.

    Raises SceneError if it cannot be read.
    """
    slicer = ensure_host()
    source = Path(path)
    messages = slicer.vtkMRMLMessageCollection()
    if not source.is_file():
        raise SceneError(f"There is no file {source}. Check the path.")
    if not zipfile.is_zipfile(source):
        raise SceneError(f"{source} is no whole .mrb file. Check the path, or copy it again.")
    folder = Path.cwd()
    try:
        done = slicer.mrmlScene.ReadFromMRB(str(source.absolute()), True, messages)
    finally:
        os.chdir(folder)  # where unpacking fails, Slicer leaves the process in another folder
    if not done:
        raise SceneError(f"Slicer could not read {source} as a scene. {_all(messages)}".strip())
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    for node in nodes:
        restore_surface(node)
    return tuple(nodes)


def _require_whole(source: Path) -> None:
    """Slicer's reader ends the whole process on a truncated file: find out beforehand."""
    import SimpleITK as sitk

    try:
        sitk.ReadImage(str(source))
    except RuntimeError as error:
        raise SceneError(
            f"{source} holds no segmentation that can be read: it is missing, damaged or of "
            "another kind. Check the path, or copy the file again."
        ) from error


def _said(storage: Any, message: str) -> str:
    return f"{message} {_all(storage.GetUserMessages())} Check the path and the free space.".strip()


def _all(messages: Any) -> str:
    return str(messages.GetAllMessagesAsString()).strip() if messages is not None else ""
