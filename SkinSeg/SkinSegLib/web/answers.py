"""Whether a mask that a server made may be taken for the head in a scan."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, GeometryError, SegmentationError, SkinMask
from ..core.geometry import Matrix
from ..scan.masks import onto_scan, read_mask
from ..segmentation.findings import cut_faces
from ..segmentation.level import find_level

#: Farthest that a corner of the two grids may be apart, in voxels: files round.
_APART = 0.02
#: Litres of a newborn's head, and of a head with shoulders.
_LEAST_ML, _MOST_ML = 300.0, 20000.0
#: A head is mostly tissue; sinuses, mouth and throat are a few parts in a hundred.
_TISSUE = 0.7
#: Of what is dense in the scan, a head has most: table and holder are thin.
_DENSE = 0.5
#: A mask fits its scan better than its mirror images do, or it is one of those.
_BETTER = 0.01
#: Step in mm that is fine enough for these.
_STEP_MM = 3.0


def checked_answer(
    path: Path, volume: CTVolume, label: int | None = None, engine: str = "server"
) -> SkinMask:
    """The solid head in a mask file, if it can be that of ``volume``. ``label``: its value.

    Raises ScanReadError for what is no mask or an empty one, GeometryError where it is not on the
    scan's grid, SegmentationError where it does not show what the scan shows.
    """
    voxels = on_same_grid(*read_mask(path, label=label), volume)
    level = find_level(volume)
    _require_plausible(voxels, volume, level.skin)
    half = (level.tissue - level.air) / 2
    cuts = cut_faces(voxels, volume.spacing)
    model = {"name": engine}
    return SkinMask(voxels, volume.ijk_to_ras, engine, level.skin, half, cuts, model=model)


def on_same_grid(
    mask: NDArray[np.uint8], ijk_to_ras: Matrix, volume: CTVolume
) -> NDArray[np.uint8]:
    """The mask (k, j, i) as the scan has its voxels: a server may give them in another order of the
    axes. Raises GeometryError unless every voxel lies where one of the scan lies."""
    step = np.linalg.inv(volume.ijk_to_ras) @ ijk_to_ras
    whole = np.rint(step)
    size = np.array(volume.voxels.shape[::-1])
    far = np.array([*(np.array(mask.shape[::-1]) - 1), 0.0])
    off = np.abs((step - whole)[:3] @ np.array([*far[:3], 1.0]))
    turned = whole[:3, :3]
    orderly = np.array_equal(np.abs(turned).sum(0), [1, 1, 1]) and np.array_equal(
        np.abs(turned).sum(1), [1, 1, 1]
    )
    same = orderly and off.max() <= _APART
    if same:
        ends = np.sort([whole[:3, 3], whole[:3, 3] + turned @ far[:3]], axis=0)
        same = np.array_equal(ends[0], [0, 0, 0]) and np.array_equal(ends[1], size - 1)
    if same:
        return onto_scan(mask, volume.ijk_to_ras @ whole, volume)
    flipped = sorted(mask.shape) == sorted(volume.voxels.shape)
    raise GeometryError(
        "The server's answer does not lie where the scan lies"
        + (": it is moved, turned or mirrored. " if flipped else ": it has another grid. ")
        + "It was not taken. Ask who runs the server to give masks on the grid of the scan."
    )


def _require_plausible(mask: NDArray[np.uint8], volume: CTVolume, level_hu: float) -> None:
    litres = np.count_nonzero(mask) * volume.voxel_volume_ml
    if not _LEAST_ML <= litres <= _MOST_ML:
        raise _refused(f"it has {litres:.0f} mL")
    steps = tuple(
        slice(None, None, max(1, min(n // 8, round(_STEP_MM / size))))
        for n, size in zip(mask.shape, volume.spacing[::-1], strict=True)
    )
    inside, dense = mask[steps] > 0, volume.voxels[steps] > level_hu
    both = np.count_nonzero(inside & dense)
    if both < _TISSUE * np.count_nonzero(inside):
        raise _refused("more of it is air than of a head")
    if both < _DENSE * np.count_nonzero(dense):
        raise _refused("it leaves out most of what the scan shows")
    ours = _agreement(inside, dense)
    for axes in product((False, True), repeat=3):
        turned = tuple(axis for axis, chosen in enumerate(axes) if chosen)
        if turned and _agreement(np.flip(inside, turned), dense) > ours + _BETTER:
            raise _refused("its mirror image or turned about fits the scan better")


def _agreement(inside: NDArray[np.bool_], dense: NDArray[np.bool_]) -> float:
    """Dice's coefficient."""
    total = int(np.count_nonzero(inside)) + int(np.count_nonzero(dense))
    return 2 * int(np.count_nonzero(inside & dense)) / max(1, total)


def _refused(why: str) -> SegmentationError:
    return SegmentationError(
        f"The server's answer is not the head in this scan: {why}. It was not taken. "
        "Try another model of the server, or segment on this computer."
    )
