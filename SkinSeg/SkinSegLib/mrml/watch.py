"""Watching the scene: our surfaces come back when one is loaded, and go with their segmentation.

The application has one watch, whether or not the panel was ever opened. Slicer announces neither
the start of saving nor which segment a model belongs to, so the segmentations are watched too.
"""

from __future__ import annotations

from typing import Any

from .host import ensure_host
from .keepers import remove_orphans
from .surfaces import restore_surface

_SEGMENTATION = "vtkMRMLSegmentationNode"


def watch_scene() -> SceneWatch:
    """Watch the scene from now on, instead of any watch before; what it holds is put right now."""
    slicer = ensure_host()
    # Held by the package that holds the scene: a module that is loaded again finds it there.
    before = getattr(slicer, "_skinseg_watch", None)
    if before is not None:
        before.close()
    watch = slicer._skinseg_watch = SceneWatch(slicer.mrmlScene)
    restore_all()
    return watch


def restore_all() -> None:
    """Put our surfaces back into all segmentations whose labelmaps they still fit."""
    remove_orphans()
    for node in ensure_host().util.getNodesByClass(_SEGMENTATION):
        restore_surface(node)


class SceneWatch:
    """Observers of one scene and its segmentation nodes, until :meth:`close`."""

    def __init__(self, scene: Any) -> None:
        from vtkmodules.util.misc import calldata_type
        from vtkmodules.vtkCommonCore import VTK_OBJECT

        def added(_caller: Any, _event: str, node: Any) -> None:
            self._observe(node)

        def removed(_caller: Any, _event: str, node: Any) -> None:
            self._nodes.pop(node.GetID(), None)
            self._tidy()

        with_node = calldata_type(VTK_OBJECT)
        self._scene = scene
        self._nodes: dict[str, list[int]] = {}
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, with_node(added)),
            scene.AddObserver(scene.NodeRemovedEvent, with_node(removed)),
            scene.AddObserver(scene.EndImportEvent, lambda *_: restore_all()),
        ]
        for node in ensure_host().util.getNodesByClass(_SEGMENTATION):
            self._observe(node)

    def close(self) -> None:
        """Stop watching."""
        for node_id, tags in self._nodes.items():
            node = self._scene.GetNodeByID(node_id)
            for tag in tags if node is not None else ():
                node.RemoveObserver(tag)
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._nodes, self._tags = {}, []

    def _observe(self, node: Any) -> None:
        if not node.IsA(_SEGMENTATION):
            return
        kind = ensure_host().vtkSegmentation
        self._nodes[node.GetID()] = [
            node.AddObserver(event, self._tidy)
            for event in (kind.SegmentAdded, kind.SegmentRemoved)
        ]

    def _tidy(self, *_: Any) -> None:
        scene = self._scene
        if not (scene.IsClosing() or scene.IsImporting() or scene.IsRestoring()):
            remove_orphans()
