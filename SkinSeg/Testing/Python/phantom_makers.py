"""Small phantoms for tests: parts of the head on few voxels, and a ball with a known answer."""

from __future__ import annotations

import numpy as np
from SkinSegLib.training.phantom import PhantomSpec

#: Noiseless, bald, nothing but the head: for tests that measure.
PLAIN = {"noise_hu": 0.0, "hair": False}


def part(center, size_mm, spacing=(1.0, 1.0, 1.0), **options) -> PhantomSpec:
    """A scan of ``size_mm`` (along x, y, z) around a place on the head, RAS mm."""
    shape = tuple(max(1, round(s / h)) for s, h in zip(size_mm, spacing, strict=True))
    return PhantomSpec(
        shape=shape[::-1], spacing_mm=spacing, center_ras=center, **{**PLAIN, **options}
    )


def whole(spacing=3.0, sigma=1.4, **options) -> PhantomSpec:
    """The whole head on coarse voxels with a wide point spread, which renders fast."""
    shape = tuple(round(n / spacing) for n in (250, 280, 216))
    options = {**PLAIN, **options}
    return PhantomSpec(shape=shape, spacing_mm=(spacing,) * 3, psf_sigma_mm=sigma, **options)


def ras_of_voxels(volume) -> np.ndarray:
    """RAS mm (k, j, i, 3) of every voxel centre."""
    index = np.stack(np.indices(volume.voxels.shape)[::-1], axis=-1)
    return index @ volume.ijk_to_ras[:3, :3].T + volume.ijk_to_ras[:3, 3]
