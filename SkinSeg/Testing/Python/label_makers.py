"""Phantom heads on several grids, for the tests of labels."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from phantom_makers import PLAIN
from scan_makers import Grid, rotation, write_dicom
from scipy.spatial import cKDTree
from series_makers import REFERABLE
from SkinSegLib.core import CTVolume
from SkinSegLib.scan import Source, read_source
from SkinSegLib.training.phantom import Phantom, PhantomSpec, make_phantom

SPACING = (4.0, 4.0, 5.0)
TILTED = np.column_stack([[1.0, 0, 0], rotation(15, (1, 0, 0))[:, 1], [0, 0, 1.0]])
#: Directions (LPS) of i, j, k.
AXES = {
    "axial": np.eye(3),
    "ras": np.diag([-1.0, -1.0, 1.0]),
    "oblique": rotation(37, (1, 2, 3)),
    "left-handed": np.diag([1.0, -1.0, 1.0]),
    "left-handed oblique": rotation(-52, (3, 1, -1)) @ np.diag([1.0, 1.0, -1.0]),
    "tilted": TILTED,
}


@cache
def head() -> Phantom:
    """A head off the middle of its scan, on 4 x 4 x 5 mm voxels."""
    return make_phantom(
        PhantomSpec(
            shape=(43, 70, 60),
            spacing_mm=SPACING,
            center_ras=(4.0, -10.0, 12.0),
            psf_sigma_mm=2.4,
            **PLAIN,
        )
    )


def grid(name: str) -> Grid:
    return Grid(axes=AXES[name], spacing=SPACING, origin=(-31.0, 17.0, 503.0))


def matrix_of(of: Grid) -> np.ndarray:
    """4x4 to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1.0, -1, 1]) @ (of.axes * np.array(of.spacing))
    matrix[:3, 3] = of.ras((0, 0, 0))
    return matrix


def on_grid(name: str) -> tuple[CTVolume, np.ndarray]:
    """The phantom's voxels on another grid, and its exact mask."""
    phantom = head()
    return CTVolume(phantom.volume.voxels, matrix_of(grid(name))), phantom.truth


def dicom_scan(folder: Path, name: str, **changes: Any) -> tuple[Source, np.ndarray]:
    """The phantom as a DICOM series, and its exact mask on the grid that the reader makes of it."""
    places = changes.pop("places", None)
    phantom = head()
    voxels, truth = phantom.volume.voxels, phantom.truth
    if places is not None:
        voxels, truth = voxels[: len(places)], truth[: len(places)]
    write_dicom(folder, grid(name), voxels, places, **{**REFERABLE, **changes})
    source = read_source(folder)
    # The reader may order slices the other way round.
    flipped = (source.volume.ijk_to_ras[:3, 2] @ matrix_of(grid(name))[:3, 2]) < 0
    return source, truth[::-1] if flipped else truth


def ras_of(mask: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """RAS mm of a mask's voxels."""
    return np.argwhere(mask)[:, ::-1] @ matrix[:3, :3].T + matrix[:3, 3]


def same_place(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two sets of points of :func:`ras_of` are one, to 0.05 mm."""
    return len(a) == len(b) and bool(cKDTree(a).query(b)[0].max() < 0.05)
