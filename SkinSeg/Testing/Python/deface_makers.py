"""Small grids, faces and cuts for the tests of defacing, whose answer can be told by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from SkinSegLib.core import SkinMask
from SkinSegLib.privacy.deface import FaceCut
from SkinSegLib.privacy.face import AxisGrid, Face

#: Between air and tissue, and where bone begins by it.
LEVEL, HALF, BONE = -480.0, 520.0, 300.0
#: RAS mm of the first voxel (x, y, z): another one along each axis, and on the lattice.
LOW = (-30.0, -12.0, 6.0)
STEP = 1.5


def grid_of(
    head: NDArray[Any],
    grey: NDArray[Any] | None = None,
    low: tuple[float, float, float] = LOW,
    **changes: NDArray[np.bool_],
) -> AxisGrid:
    """A grid in which the head is tissue of 40 HU in air, and all is measured."""
    solid = head.astype(bool)
    values = np.where(solid, 40.0, -1000.0) if grey is None else grey
    return AxisGrid(
        np.array(low),
        values.astype(np.float32),
        solid,
        changes.get("beyond", solid),
        changes.get("measured", np.ones_like(solid)),
    )


def mask_of(voxels: NDArray[Any], matrix: NDArray[np.float64] | None = None) -> SkinMask:
    return SkinMask(
        voxels.astype(np.uint8), np.eye(4) if matrix is None else matrix, "truth", LEVEL, HALF
    )


def face_at(tip: tuple[float, float, float], **changes: float) -> Face:
    """A face that reaches 20 mm up and down and 15 mm to the sides of its tip, 40 mm deep."""
    x, y, z = tip
    values: dict[str, Any] = {"top": z + 20, "bottom": z - 20, "side": 15.0, "back": y - 40}
    return Face((x, y, z), scale=1.0, cut_off=False, **values | changes)


def cut_of(sheet: NDArray[Any], **changes: Any) -> FaceCut:
    """A cut from LOW on whose face is all of the sheet, but for ``changes``."""
    x, y, z = LOW
    face = Face((x, y, z), z + STEP * (len(sheet) - 1), z, 1000.0, y - 900, 1.0, False)
    values = {
        "low": np.array(LOW),
        "sheet": np.asarray(sheet, float),
        "within": np.ones(np.shape(sheet), bool),
        "fill_hu": -1000.0,
        "bone_hu": BONE,
        "smooth": None,
        "face": face,
    }
    return FaceCut(**values | changes)
