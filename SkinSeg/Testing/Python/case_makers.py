"""Small made scans with labels, no two alike, for tests of data sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from SkinSegLib.core import CTVolume
from SkinSegLib.training.dataset import CaseFolder, CaseRecord
from SkinSegLib.training.dataset.intake import prepare


def made_case(seed: int, spacing_mm: float = 4.0) -> tuple[CTVolume, NDArray[np.uint8]]:
    """An egg of the size of a head: its nose is in front, its only ear on the right, and the
    pattern of its bones is its own."""
    rng = np.random.default_rng([seed, 3])
    n = round(240 / spacing_mm)
    axis = (np.arange(n) - (n - 1) / 2) * spacing_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radii = rng.uniform(0.95, 1.05, 3) * (98, 88, 72)
    inside = (z / radii[0]) ** 2 + (y / radii[1]) ** 2 + (x / radii[2]) ** 2 < 1
    inside |= (z / 18) ** 2 + ((y - radii[1]) / 22) ** 2 + (x / 15) ** 2 < 1
    inside |= (z / 26) ** 2 + (y / 16) ** 2 + ((x - radii[2]) / 10) ** 2 < 1
    pattern = ndimage.gaussian_filter(rng.standard_normal(inside.shape), 8 / spacing_mm)
    bones = np.where(pattern > 1.0 * pattern.std(), 700, 40)
    grey = np.where(inside, bones, -1000) + rng.normal(0, 10, inside.shape)
    # i to the right, j to the front, k up.
    matrix = np.diag([spacing_mm] * 3 + [1.0])
    matrix[:3, 3] = axis[0]
    return CTVolume(np.rint(grey).astype(np.int16), matrix), inside.astype(np.uint8)


def add_case(
    cases: CaseFolder, seed: int, split: str = "train", patient: str = "", **more: object
) -> CaseRecord:
    """Add the made case of a seed; ``more``: fields of its record."""
    volume, mask = made_case(seed)
    taken = prepare(
        volume, None if split == "unlabelled" else mask, patient or f"MADE{seed:04}", split
    )
    return cases.add(replace(taken.record, **more), taken.volume, taken.mask)
