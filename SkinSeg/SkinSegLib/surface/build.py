"""Mask and scan in, closed mesh out."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np

from ..core import CTVolume, Progress, SkinMask, SkinMesh, SurfaceError, transform_points
from ..core.geometry import Matrix
from .contour import contour, is_closed
from .field import Ends, Field, build_field
from .layer import shell_field, without_pockets
from .options import SurfaceOptions
from .polydata import on_all_cores
from .resample import resampled
from .simplify import simplified
from .smooth import default_bound_mm, smoothed


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
    built from the same mask already and now the layer is wanted. The surface is smoothed and
    simplified within the bounds of ``options``; what that did stands in the mesh's ``processing``.
    Stages: Surface, and Layer if one is wanted.

    Raises GeometryError if the grids differ, SurfaceError if there is nothing to mesh or the
    result is not closed (LayerTooThinError if the voxels are too coarse for the layer),
    MissingPackageError if a number of triangles needs a package that is not there, Cancelled if
    the user says so.
    """
    options = options or SurfaceOptions()
    progress = progress or Progress()
    with on_all_cores():
        return _build(mask, volume, options, progress, solid)


def _build(
    mask: SkinMask,
    volume: CTVolume,
    options: SurfaceOptions,
    progress: Progress,
    solid: SkinMesh | None,
) -> SkinMesh:
    matrix = mask.ijk_to_ras
    with progress.stage("Surface", 1.0 if options.layer_mm is None else 0.2):
        field = build_field(mask, volume, progress)
        if options.detail_mm is not None:
            field, matrix = resampled(field, matrix, options.detail_mm)
        if solid is None or options.layer_mm is None:
            rough = _smooth(contour(field, matrix, check=False), field, matrix, volume, options)
            ends = field.ends
            if options.layer_mm is None:
                del field  # as large as the scan, and simplifying takes most memory
            progress.check()
            solid = _simplify(rough, ends, matrix, options, progress)
            del rough
    mesh = solid
    if options.layer_mm is not None:
        with progress.stage("Layer", 0.8):
            field, matrix = shell_field(field, matrix, solid, options.layer_mm, progress)
            mesh = without_pockets(contour(field, matrix, largest_part=False, check=False))
            mesh = _smooth(mesh, field, matrix, volume, options)
            progress.check()
            mesh = _simplify(mesh, field.ends, matrix, options, progress)
    mesh = _with_field_cut(mesh, volume)
    if not mesh.closed:
        raise SurfaceError(
            "The surface is not closed, which is a fault in SkinSeg. Nothing was written; please "
            "report it with the scan's size and spacing."
        )
    return mesh


def _smooth(
    mesh: SkinMesh, field: Field, ijk_to_ras: Matrix, volume: CTVolume, options: SurfaceOptions
) -> SkinMesh:
    """The contour of ``field``, smoothed as ``options`` say."""
    bound = options.smooth_mm
    if bound is None:
        bound = default_bound_mm(volume.spacing)
    return smoothed(mesh, field, ijk_to_ras, bound)


def _simplify(
    mesh: SkinMesh, ends: Ends, ijk_to_ras: Matrix, options: SurfaceOptions, progress: Progress
) -> SkinMesh:
    """A smoothed contour, simplified as ``options`` say; ``ends``: those of its field."""
    mesh = simplified(
        mesh,
        ends,
        ijk_to_ras,
        triangles=options.triangles,
        deviation_mm=options.deviation_mm,
        progress=progress,
    )
    # Checked last, as most are simplified, which checks the fewer triangles that are left.
    return mesh if mesh.closed else replace(mesh, closed=is_closed(mesh.triangles))


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
