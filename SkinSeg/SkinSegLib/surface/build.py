"""Mask and scan in, closed mesh out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from ..core import CTVolume, Progress, SkinMask, SkinMesh, SurfaceError, transform_points
from .contour import contour
from .field import build_field
from .layer import shell
from .options import SurfaceOptions


def build(
    mask: SkinMask,
    volume: CTVolume,
    options: SurfaceOptions | None = None,
    progress: Progress | None = None,
    *,
    solid: SkinMesh | None = None,
) -> SkinMesh:
    """The closed surface of the solid head, or of the skin layer, in RAS mm.

    ``mask`` lies on the grid of ``volume``. ``solid``: the solid head's mesh, where it has been
    built from the same mask already and now the layer is wanted. Stages: Surface, and Layer if
    one is wanted.

    Raises GeometryError if the grids differ, SurfaceError if there is nothing to mesh or the
    result is not closed (LayerTooThinError if the voxels are too coarse for the layer), Cancelled
    if the user says so.
    """
    options = options or SurfaceOptions()
    progress = progress or Progress()
    with progress.stage("Surface", 1.0 if options.layer_mm is None else 0.2):
        field = build_field(mask, volume, progress)
        mesh = solid if solid is not None else contour(field, mask.ijk_to_ras)
    if options.layer_mm is not None:
        with progress.stage("Layer", 0.8):
            mesh = shell(field, mask, mesh, options.layer_mm, progress)
    mesh = _with_field_cut(mesh, volume)
    if not mesh.closed:
        raise SurfaceError(
            "The surface is not closed, which is a fault in SkinSeg. Nothing was written; please "
            "report it with the scan's size and spacing."
        )
    return mesh


def _with_field_cut(mesh: SkinMesh, volume: CTVolume) -> SkinMesh:
    """Mark triangles next to padding as cut too: there the round field of view ends the scan."""
    padding = volume.padding_mask()
    if padding is None:
        return mesh
    corners = mesh.points[mesh.triangles].astype(np.float64)
    index = transform_points(np.linalg.inv(volume.ijk_to_ras), corners.mean(axis=1))
    # A triangle between a voxel of tissue and one of padding: either may be the nearest.
    is_cut = mesh.is_cut.copy()
    for offset in product((-0.5, 0.5), repeat=3):
        kji = np.rint(index + offset).astype(int)[:, ::-1]
        is_cut |= padding[tuple(np.clip(kji, 0, np.subtract(padding.shape, 1)).T)]
    return replace(mesh, is_cut=is_cut)
