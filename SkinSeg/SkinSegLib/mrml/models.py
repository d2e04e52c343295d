"""A segment's surface as a model node, for those who ask for one."""

from __future__ import annotations

from typing import Any

from .host import ensure_host
from .labelmaps import segment_of
from .rebuild import rebuild_surface
from .segments import HEAD, place_beside
from .surfaces import node_surface

MODEL_NAME = "Skin model"


def add_model(segmentation: Any, segment_id: str = HEAD.segment_id) -> Any:
    """Add the closed surface of a segment to the scene as a visible vtkMRMLModelNode.

    The model lies under the segmentation's parent transform and beside it in the subject
    hierarchy; it does not follow later edits. Raises SceneError if the segment is missing or
    empty; then the scene is as it was.
    """
    slicer = ensure_host()
    rebuild_surface(segmentation, segment_id)
    polydata = node_surface(segmentation, segment_id)
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", scene.GetUniqueNameByString(MODEL_NAME))
    node.SetAndObserveMesh(polydata)
    node.SetAndObserveTransformNodeID(segmentation.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetColor(*segment_of(segmentation, segment_id).GetColor())
    place_beside(node, segmentation)
    return node
