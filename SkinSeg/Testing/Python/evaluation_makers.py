"""Made masks, scans, references and engines for the tests of evaluation."""

from __future__ import annotations

import numpy as np
from SkinSegLib.core import (
    CTVolume,
)
from SkinSegLib.training.evaluation import (
    Engine,
    Reference,
)

AIR, TISSUE, LEVEL = -1000, 40, -480.0


def grid_mm(shape, spacing):
    """Positions in mm (k, j, i) of the voxels, from the middle of the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def ball_mask(radius, shape=(70, 70, 70), spacing=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0)):
    z, y, x = grid_mm(shape, spacing)
    return ((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) <= radius**2


def scan_of(tissue, spacing=(1.0, 1.0, 1.0), **options):
    """A scan of tissue and air; ``spacing`` along k, j, i."""
    voxels = np.where(tissue, TISSUE, AIR).astype(np.int16)
    return CTVolume(voxels, np.diag([*spacing[::-1], 1.0]), **options)


def reference_of(mask, spacing=(1.0, 1.0, 1.0), other=None, **options):
    tissue = mask if other is None else mask | other
    return Reference(scan_of(tissue, spacing), mask.astype(np.uint8), LEVEL, **options)


def by_level(volume: CTVolume) -> np.ndarray:
    return (volume.voxels >= LEVEL).astype(np.uint8)


def engines_of(**engines) -> list[Engine]:
    return [Engine(name, run) for name, run in engines.items()]
