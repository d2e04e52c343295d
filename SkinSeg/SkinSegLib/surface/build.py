"""Mask and scan in, closed mesh out."""

from __future__ import annotations

from ..core import CTVolume, Progress, SkinMask, SkinMesh, SurfaceError
from .contour import contour
from .field import build_field
from .layer import shell
from .options import SurfaceOptions


def build(
    mask: SkinMask,
    volume: CTVolume,
    options: SurfaceOptions | None = None,
    progress: Progress | None = None,
) -> SkinMesh:
    """The closed surface of the solid head, or of the skin layer, in RAS mm.

    ``mask`` lies on the grid of ``volume``. Stage: Surface.

    Raises GeometryError if the grids differ, SurfaceError if there is nothing to mesh or the
    result is not closed, Cancelled if the user says so.
    """
    options = options or SurfaceOptions()
    progress = progress or Progress()
    with progress.stage("Surface", 1.0):
        field = build_field(mask, volume, progress)
        mesh = contour(field, mask.ijk_to_ras)
        if options.layer_mm is not None:
            mesh = shell(field, mask, mesh, options.layer_mm)
    if not mesh.closed:
        raise SurfaceError(
            "The surface is not closed, which is a fault in SkinSeg. Nothing was written; please "
            "report it with the scan's size and spacing."
        )
    return mesh
