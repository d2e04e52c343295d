"""Cutting the face away, or blurring it, and proof that it is gone.

Everything in front of a smooth sheet behind the face goes, the air before it too: otherwise the
faint edge that blurred skin leaves in the air would still draw it. From the front the sheet stops
at the first bone, so that skull and teeth stay, and with them all that lies behind them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, PrivacyError, SkinMask, SkinMesh, components
from ..core.geometry import Matrix
from .face import STEP_MM, AxisGrid, Face, find_face, front_of, on_axes

MODES = ("remove", "blur")
#: The sheet lies this far before bone, in mm, and smaller pieces of bone in mL do not hold it up.
_BONE_GAP_MM, _BONE_ML = 1.5, 0.1
#: From this height in mm above the tip of the nose on it is forehead.
_FOREHEAD_MM = 42.0
#: So far before the sheet single voxels of bone are left.
_AT_SHEET_MM = 5.0
#: Bone begins this many half contrasts above the level of the skin: 300 HU on a calibrated scan.
_BONE = 1.5
#: No column loses more than this many times the depth.
_MOST = 2.5
#: Relief of the face within this, in mm, does not show in the sheet.
_ERASE_MM = 16.0
#: A face that is on average nearer than this, in mm, to what is left after aligning is not hidden.
#: The faces of four scans lie 2.4 to 4.0 mm from each other when aligned the same way.
HIDDEN_MM = 2.0
#: Depth in mm that is enough for that on every scan tried, for each of MODES.
_DEPTH_MM = {"remove": 10.0, "blur": 15.0}


@dataclass(frozen=True)
class DefaceOptions:
    """``mode``: one of MODES. ``depth_mm``: how far behind the skin of the face the sheet lies, at
    least; 3 to 25 mm, by default 10, or 15 to blur, where it is the sigma of the Gaussian too.
    Raises PrivacyError.
    """

    mode: str = "remove"
    depth_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise PrivacyError(f"There is no mode {self.mode}. Choose one of: {', '.join(MODES)}.")
        if self.depth_mm == 0.0:
            object.__setattr__(self, "depth_mm", _DEPTH_MM[self.mode])
        if not (math.isfinite(self.depth_mm) and 3 <= self.depth_mm <= 25):
            raise PrivacyError("The depth must be from 3 to 25 mm.")


@dataclass(frozen=True)
class FaceCut:
    """What to replace by what, wherever a voxel lies: one cut serves any grid and any slices.

    ``sheet``: y in RAS mm for (z, x) from ``low`` (x, y, z) on, in steps of STEP_MM.
    ``within``: the columns that are cut.
    ``fill_hu``, ``bone_hu``: what air is here, and where bone begins. ``smooth``: blurred grey
    values (z, y, x) on the same grid, None to remove.
    """

    low: NDArray[np.float64]
    sheet: NDArray[np.float64]
    within: NDArray[np.bool_]
    fill_hu: float
    bone_hu: float
    smooth: NDArray[np.float32] | None
    face: Face

    def region(self, ijk_to_ras: Matrix, hounsfield: NDArray[Any]) -> NDArray[np.bool_]:
        """Voxels of a slice to replace, (j, i) as ``hounsfield``, its grey values.

        ``ijk_to_ras``: 4x4, the slice being k = 0. A voxel of bone at the sheet, too small for the
        grid that the sheet was made on, stays.
        """
        x, y, z = _points(ijk_to_ras, hounsfield.shape)
        found = np.zeros(hounsfield.shape, bool)
        near = (z >= self.face.bottom - 5) & (z <= self.face.top + 5) & (y >= self.face.back - 100)
        if not near.any():
            return found
        from scipy import ndimage

        place = np.stack([(z[near] - self.low[2]) / STEP_MM, (x[near] - self.low[0]) / STEP_MM])
        inside = ndimage.map_coordinates(self.within.astype(np.uint8), place, order=0, cval=0)
        sheet = ndimage.map_coordinates(self.sheet, place, order=1, mode="nearest")
        bone = (hounsfield[near] >= self.bone_hu) & (y[near] < sheet + _AT_SHEET_MM)
        found[near] = (inside > 0) & (y[near] > sheet) & ~bone
        return found

    def replacement(self, ijk_to_ras: Matrix, region: NDArray[np.bool_]) -> NDArray[np.float64]:
        """New HU of the voxels in ``region``, in the order of ``array[region]``."""
        count = int(np.count_nonzero(region))
        if self.smooth is None:
            return np.full(count, self.fill_hu)
        from scipy import ndimage

        x, y, z = (axis[region] for axis in _points(ijk_to_ras, region.shape))
        low_x, low_y, low_z = self.low
        place = np.stack([z - low_z, y - low_y, x - low_x]) / STEP_MM
        return np.asarray(
            ndimage.map_coordinates(
                self.smooth, place, order=1, cval=self.fill_hu, output=np.float64
            )
        )


@dataclass(frozen=True)
class Proof:
    """How far the face was from what is left of it, in mm, over the face's skin.

    ``before_mm``: mean, as it lies. ``mean_mm``, ``median_mm``, ``p95_mm``: after the face was laid
    upon what is left as closely as turning and shifting can (iterative closest points).
    ``within_2mm``: the part of the face that is then nearer than 2 mm. ``removed_ml``: volume of
    what was replaced within the head.
    """

    before_mm: float
    mean_mm: float
    median_mm: float
    p95_mm: float
    within_2mm: float
    removed_ml: float


@dataclass(frozen=True)
class Defaced:
    """``volume``: the scan without face; ``region``: (k, j, i) bool, the voxels that were replaced,
    and all others are as they were; ``mask``: the head without them."""

    volume: CTVolume
    region: NDArray[np.bool_]
    mask: SkinMask
    cut: FaceCut
    proof: Proof


def deface(volume: CTVolume, mask: SkinMask, options: DefaceOptions | None = None) -> Defaced:
    """Take the face, from brows to chin, out of a scan. ``mask``: the solid head on its grid.

    Raises PrivacyError where the face cannot be told (see :mod:`.face`), or is still there after.
    """
    chosen = options or DefaceOptions()
    grid = on_axes(volume, mask)
    cut = face_cut(grid, mask, chosen)
    voxels, region = volume.voxels.copy(), np.zeros(volume.voxels.shape, bool)
    for k in range(len(voxels)):
        matrix = slice_matrix(volume.ijk_to_ras, k)
        region[k] = cut.region(matrix, voxels[k])
        if region[k].any():
            new = cut.replacement(matrix, region[k])
            voxels[k][region[k]] = np.rint(new) if voxels.dtype == np.int16 else new
    changed = replace(volume, voxels=voxels)
    left = mask.voxels.astype(bool)
    left = (left | region) & (voxels > mask.level_hu) | (left & ~region)
    part = replace(mask, voxels=left.astype(np.uint8))
    removed = float(np.count_nonzero(region & (mask.voxels > 0))) * volume.voxel_volume_ml
    proof = prove(grid, on_axes_like(grid, cut, mask.level_hu), cut, mask, removed)
    if proof.mean_mm < HIDDEN_MM:
        raise PrivacyError(
            f"The face would still be there: what is left lies {proof.mean_mm:.1f} mm from it. "
            "Choose a larger depth."
        )
    return Defaced(changed, region, part, cut, proof)


def face_cut(grid: AxisGrid, mask: SkinMask, options: DefaceOptions) -> FaceCut:
    """The sheet behind the face. Raises PrivacyError where the face cannot be told."""
    from scipy import ndimage

    face = find_face(grid, mask.level_hu)
    heights, depths, across = grid.along(0), grid.along(1), grid.along(2)
    front = front_of(grid.head, depths)
    within = np.outer(
        (heights >= face.bottom) & (heights <= face.top), np.abs(across - face.tip[0]) <= face.side
    )
    within &= front > face.back
    known = np.where(within, front, np.inf)
    size = 2 * round(_ERASE_MM / STEP_MM) + 1
    disc = np.hypot(*np.mgrid[-(size // 2) : size // 2 + 1, -(size // 2) : size // 2 + 1])
    # Lower than everything near, so that no nose and no lip is left in it; then smooth.
    lowest = ndimage.grey_erosion(known, footprint=disc <= size // 2)
    lowest = np.where(np.isfinite(lowest), lowest, face.back)
    sheet = ndimage.gaussian_filter(lowest, _ERASE_MM / 2 / STEP_MM) - options.depth_mm
    sheet = np.clip(sheet, front - _MOST * options.depth_mm, front - options.depth_mm)
    sheet = np.maximum(sheet, _bone_front(grid, mask, face) + _BONE_GAP_MM)
    air = grid.grey[~grid.head & (grid.grey < mask.level_hu)]
    fill = float(np.rint(np.median(air))) if len(air) else -1000.0
    smooth = None
    if options.mode == "blur":
        smooth = ndimage.gaussian_filter(grid.grey, options.depth_mm / STEP_MM)
    sheet = np.where(np.isfinite(sheet), sheet, face.back)
    return FaceCut(grid.low, sheet, within, fill, _bone_hu(mask), smooth, face)


def _bone_hu(mask: SkinMask) -> float:
    return mask.level_hu + _BONE * mask.half_contrast_hu


def _bone_front(grid: AxisGrid, mask: SkinMask, face: Face) -> NDArray[np.float64]:
    """y of what the sheet stops at, for each column: the first bone from the front; in the forehead
    also the frontal sinus, whose walls may be too thin to be seen, and the brain is behind it."""
    from scipy import ndimage

    labels, _ = components(grid.head & (grid.grey >= _bone_hu(mask)))
    sizes = np.bincount(labels.ravel()) * STEP_MM**3
    sizes[0] = 0
    stops = (sizes >= 1000 * _BONE_ML)[labels]
    forehead = grid.along(0) > face.tip[2] + _FOREHEAD_MM * face.scale
    deep = ndimage.binary_erosion(grid.head[forehead], iterations=2)  # not the skin's own edge
    stops[forehead] |= deep & (grid.grey[forehead] < mask.level_hu)
    # Also for the columns beside: between two columns the sheet is interpolated.
    return np.asarray(ndimage.maximum_filter(front_of(stops, grid.along(1)), 3), np.float64)


def on_axes_like(grid: AxisGrid, cut: FaceCut, level_hu: float) -> AxisGrid:
    """What is left of the head on the grid that the cut was made on."""
    grey, head = grid.grey.copy(), grid.head.copy()
    x_y_z = np.eye(4)
    # A slice of this grid: i runs along x, j along y.
    x_y_z[0, 0] = x_y_z[1, 1] = STEP_MM
    for k, z in enumerate(grid.along(0)):
        x_y_z[:3, 3] = grid.low[0], grid.low[1], z
        region = cut.region(x_y_z, grey[k])
        if region.any():
            grey[k][region] = cut.replacement(x_y_z, region)
            head[k][region] = grey[k][region] > level_hu
    return replace(grid, grey=grey, head=head)


def prove(
    before: AxisGrid, after: AxisGrid, cut: FaceCut, mask: SkinMask, removed_ml: float
) -> Proof:
    """Lay the old face upon the new front as closely as it goes, and measure what is between.

    The face is its skin seen from the front, to a part of a voxel, one point for each 1.5 mm; the
    new front reaches 20 mm farther on all sides.
    """
    from scipy import ndimage
    from vtkmodules.vtkCommonDataModel import vtkIterativeClosestPointTransform

    from ..surface.deviation import distances
    from ..surface.polydata import polygons, to_polydata

    face = _skin(before, mask.level_hu)
    old = _cloud(before, face, cut.within & np.isfinite(face))
    wide = ndimage.binary_dilation(cut.within, iterations=round(20 / STEP_MM))
    front = _skin(after, mask.level_hu)
    new = _sheet_mesh(after, front, wide & np.isfinite(front))
    start = distances(old, new)
    fit = vtkIterativeClosestPointTransform()
    fit.SetSource(polygons(old, 1, np.arange(len(old))))
    fit.SetTarget(to_polydata(new))
    fit.GetLandmarkTransform().SetModeToRigidBody()
    fit.SetMaximumNumberOfIterations(60)
    fit.SetMaximumNumberOfLandmarks(800)
    fit.Update()
    matrix = np.array([[fit.GetMatrix().GetElement(r, c) for c in range(4)] for r in range(4)])
    end = distances(old @ matrix[:3, :3].T + matrix[:3, 3], new)
    return Proof(
        round(float(start.mean()), 2),
        round(float(end.mean()), 2),
        round(float(np.median(end)), 2),
        round(float(np.percentile(end, 95)), 2),
        round(float((end < 2).mean()), 3),
        round(removed_ml, 1),
    )


def _skin(grid: AxisGrid, level: float) -> NDArray[np.float64]:
    """y in mm, for (z, x), where grey values first cross the level from the front; else -inf."""
    depths = grid.along(1)
    front = front_of(grid.head, depths)
    place = np.clip(np.rint((front - depths[0]) / STEP_MM), 0, len(depths) - 2)
    index = np.where(np.isfinite(front), place, 0).astype(int)
    k, i = np.indices(front.shape)
    inner, outer = grid.grey[k, index, i], grid.grey[k, index + 1, i]
    fall = np.where(np.abs(inner - outer) > 1, inner - outer, 1)
    return np.asarray(front + STEP_MM * np.clip((inner - level) / fall, 0, 1))


def _cloud(
    grid: AxisGrid, front: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    k, i = np.nonzero(chosen)
    return np.column_stack([grid.along(2)[i], front[k, i], grid.along(0)[k]])


def _sheet_mesh(grid: AxisGrid, front: NDArray[np.float64], chosen: NDArray[np.bool_]) -> SkinMesh:
    """The front as an open mesh: two triangles for each square of columns that are all there."""
    number = np.cumsum(chosen).reshape(chosen.shape) - 1
    whole = chosen[:-1, :-1] & chosen[1:, :-1] & chosen[:-1, 1:] & chosen[1:, 1:]
    k, i = np.nonzero(whole)
    a, b, c, d = number[k, i], number[k, i + 1], number[k + 1, i + 1], number[k + 1, i]
    triangles = np.concatenate([np.column_stack([a, b, c]), np.column_stack([a, c, d])])
    points = _cloud(grid, front, chosen).astype(np.float32)
    cut = np.zeros(len(triangles), bool)
    return SkinMesh(points, triangles.astype(np.int32), cut, closed=False)


def slice_matrix(ijk_to_ras: Matrix, k: int) -> NDArray[np.float64]:
    """The matrix of slice ``k`` as a grid of its own, in which it is slice 0."""
    moved = np.array(ijk_to_ras)
    moved[:3, 3] += k * moved[:3, 2]
    return moved


def _points(ijk_to_ras: Matrix, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], ...]:
    j, i = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    m = ijk_to_ras
    return tuple(m[row, 0] * i + m[row, 1] * j + m[row, 3] for row in range(3))
