"""Mask (+ scan) in, closed triangle mesh out; its files, their records, checks and pictures."""

from .build import build
from .check import MeshCheck, area_cm2, bounds_mm, check
from .files import FORMATS, check_format, read_mesh, read_points, write
from .layer import layer_voxels
from .names import safe_file_name
from .options import SurfaceOptions
from .polydata import to_polydata
from .preview import render_views
from .provenance import Provenance, sidecar_path, write_provenance

__all__ = [
    "FORMATS",
    "MeshCheck",
    "Provenance",
    "SurfaceOptions",
    "area_cm2",
    "bounds_mm",
    "build",
    "check",
    "check_format",
    "layer_voxels",
    "read_mesh",
    "read_points",
    "render_views",
    "safe_file_name",
    "sidecar_path",
    "to_polydata",
    "write",
    "write_provenance",
]
