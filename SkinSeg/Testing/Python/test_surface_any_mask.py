"""Five hundred masks that no head looks like: each gives a closed manifold mesh, or a refusal."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from SkinSegLib.core import CTVolume, SurfaceError
from SkinSegLib.surface import build
from test_surface import GRIDS, masked

KINDS = ("noise", "checkerboard", "voxels", "edges", "sheets", "empty", "full", "blobs")
EACH = 63


def random_mask(kind: str, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(rng.integers(1, 14, 3))
    k, j, i = np.indices(shape)
    mask = np.zeros(shape, bool)
    if kind == "noise":
        mask = rng.random(shape) < rng.uniform(0.02, 0.98)
    elif kind == "checkerboard":
        mask = (k + j + i) % 2 == rng.integers(2)
    elif kind == "voxels":
        for _ in range(rng.integers(1, 5)):
            mask[tuple(rng.integers(0, n) for n in shape)] = True
    elif kind == "edges":  # boxes that meet in an edge or a corner only
        at = [int(rng.integers(0, n + 1)) for n in shape]
        low, high = [slice(None, a) for a in at], [slice(a, None) for a in at]
        mask[tuple(low)] = mask[tuple(high)] = True
        if rng.random() < 0.5:
            mask[low[0], high[1], high[2]] = True
    elif kind == "sheets":
        for axis in rng.integers(0, 3, rng.integers(1, 4)):
            index = [slice(None)] * 3
            index[axis] = int(rng.integers(0, shape[axis]))
            mask[tuple(index)] = True
    elif kind == "full":
        mask[:] = True
    elif kind == "blobs":
        from scipy import ndimage

        mask = ndimage.gaussian_filter(rng.normal(size=shape), 1.2) > rng.uniform(-0.2, 0.2)
    return mask


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_closed_or_refused(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    made = 0
    for n in range(EACH):
        mask = random_mask(kind, rng)
        grid = list(GRIDS.values())[n % len(GRIDS)]
        # HU that know nothing of the mask, or follow it, or show no edge at all.
        voxels = (
            rng.normal(-480, 500, mask.shape),
            np.where(mask, 40.0, -1000.0),
            np.full(mask.shape, 40.0),
        )[n % 3]
        volume = CTVolume(voxels.astype(np.float32), grid)
        if not mask.any():
            with pytest.raises(SurfaceError, match="empty"):
                build(masked(mask, volume), volume)
            continue
        mesh = build(masked(mask, volume), volume)
        body = trimesh.Trimesh(mesh.points, mesh.triangles, process=False)
        assert body.is_watertight
        assert body.is_winding_consistent
        assert mesh.volume_ml > 0
        assert len(np.unique(np.sort(mesh.triangles, axis=1), axis=0)) == len(mesh.triangles)
        made += 1
    assert made > 50 or kind == "empty"
