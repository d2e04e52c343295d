"""Mask (+ scan) in, closed triangle mesh out, and its files and pictures."""

from .build import build
from .files import FORMATS, check_format, read_points, write
from .layer import layer_voxels
from .options import SurfaceOptions
from .polydata import to_polydata
from .preview import render_views

__all__ = [
    "FORMATS",
    "SurfaceOptions",
    "build",
    "check_format",
    "layer_voxels",
    "read_points",
    "render_views",
    "to_polydata",
    "write",
]
