"""Mask (+ scan) in, closed triangle mesh out; its files, their records, checks and pictures."""

from .bone import DEFAULT_BONE_HU, bone_level
from .build import build
from .check import MeshCheck, check
from .files import FORMATS, check_format, read_mesh, read_points, write
from .finish import MIRRORS, FinishOptions, finished
from .hole import with_drain_hole
from .layer import layer_voxels
from .measures import MeshMeasures, measures
from .names import safe_file_name
from .options import SurfaceOptions
from .polydata import to_polydata
from .preview import VertexColors, render_views
from .provenance import Provenance, sidecar_path, write_provenance
from .solid import (
    MIRRORED,
    CutPlane,
    cut_below,
    mirrored,
    require_mirrored_name,
    scaled,
    with_cavities_dropped,
)
from .thickness import (
    DEFAULT_LIMIT_MM,
    DEFAULT_RANGE_MM,
    Thickness,
    ThicknessSummary,
    checked_range,
    skull_thickness,
)
from .thickness_files import (
    THICKNESS_FORMATS,
    check_thickness_format,
    render_thickness,
    write_thickness,
)

__all__ = [
    "DEFAULT_BONE_HU",
    "DEFAULT_LIMIT_MM",
    "DEFAULT_RANGE_MM",
    "FORMATS",
    "MIRRORED",
    "MIRRORS",
    "THICKNESS_FORMATS",
    "CutPlane",
    "FinishOptions",
    "MeshCheck",
    "MeshMeasures",
    "Provenance",
    "SurfaceOptions",
    "Thickness",
    "ThicknessSummary",
    "VertexColors",
    "bone_level",
    "build",
    "check",
    "check_format",
    "check_thickness_format",
    "checked_range",
    "cut_below",
    "finished",
    "layer_voxels",
    "measures",
    "mirrored",
    "read_mesh",
    "read_points",
    "render_thickness",
    "render_views",
    "require_mirrored_name",
    "safe_file_name",
    "scaled",
    "sidecar_path",
    "skull_thickness",
    "to_polydata",
    "with_cavities_dropped",
    "with_drain_hole",
    "write",
    "write_provenance",
    "write_thickness",
]
