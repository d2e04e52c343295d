"""A segment's surface as a model node, for those who ask for one."""

from __future__ import annotations

from typing import Any

from .host import ensure_host
from .meshes import shaded_polydata
from .segments import HEAD, place_beside
from .surfaces import world_surface

MODEL_NAME = "Skin model"


def add_model(segmentation: Any, segment_id: str = HEAD.segment_id) -> Any:
    """Add the closed surface of a segment to the scene as a visible vtkMRMLModelNode.

    The model stands in world coordinates (mm), beside the segmentation in the subject hierarchy,
    and does not follow later edits or transforms. Raises SceneError if the segment is missing or
    empty.
    """
    slicer = ensure_host()
    mesh = world_surface(segmentation, segment_id)
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", scene.GetUniqueNameByString(MODEL_NAME))
    node.SetAndObserveMesh(shaded_polydata(mesh))
    node.CreateDefaultDisplayNodes()
    segment = segmentation.GetSegmentation().GetSegment(segment_id)
    node.GetDisplayNode().SetColor(*segment.GetColor())
    place_beside(node, segmentation)
    return node
