"""Between SkinSeg and Slicer's scene: the only part that imports ``slicer``.

``ensure_host()`` makes a scene where no desktop Slicer runs. ``segment_volume(node)`` does the
whole job from a volume node to a segmentation node; ``export_surface`` and the functions that
save and load write files by Slicer's own code.
"""

from .dicom_source import dicom_files, dicom_survey
from .export import export_name, export_surface
from .handover import HandedScan, HandOver, room_for
from .host import ensure_host
from .job import (
    JobOptions,
    JobResult,
    add_result,
    compute,
    scene_options,
    segment_volume,
)
from .labelmaps import segment_labelmap
from .models import add_model
from .rebuild import rebuild_surface, remember_level
from .review import remember_findings
from .segments import HEAD, SKIN, SegmentsBackup, add_segmentation, set_labelmap
from .storage import load_scene, load_segmentation, save_scene, save_segmentation
from .surfaces import restore_surface, set_surfaces, world_surface
from .volumes import PlacedScan, Placement, add_volume, placed_scan
from .watch import restore_all, watch_scene

__all__ = [
    "HEAD",
    "SKIN",
    "HandOver",
    "HandedScan",
    "JobOptions",
    "JobResult",
    "PlacedScan",
    "Placement",
    "SegmentsBackup",
    "add_model",
    "add_result",
    "add_segmentation",
    "add_volume",
    "compute",
    "dicom_files",
    "dicom_survey",
    "ensure_host",
    "export_name",
    "export_surface",
    "load_scene",
    "load_segmentation",
    "placed_scan",
    "rebuild_surface",
    "remember_findings",
    "remember_level",
    "restore_all",
    "restore_surface",
    "room_for",
    "save_scene",
    "save_segmentation",
    "scene_options",
    "segment_labelmap",
    "segment_volume",
    "set_labelmap",
    "set_surfaces",
    "watch_scene",
    "world_surface",
]
