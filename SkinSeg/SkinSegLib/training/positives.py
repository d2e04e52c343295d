"""Made scans that do show a head, whole and in part: where "may not be a head" must stay silent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, SkinSegError

from .effects import PADDING_HU, GreyScale, radius_map
from .objects import ObjectSpec
from .phantom import make_phantom
from .spec import PhantomSpec

#: Point spread for voxels of 1 mm; wider for larger ones, which makes rendering fast.
_SIGMA_PER_MM = 0.47
Change = Callable[[PhantomSpec, np.random.Generator], PhantomSpec]
Cut = Callable[[CTVolume, np.random.Generator], CTVolume]


def make_positive(kind: str, seed: int, spacing_mm: float = 3.0) -> CTVolume:
    """The scan of a kind (one of POSITIVES) and seed: the same voxels every time.

    ``spacing_mm``: voxel size. Hair, and table and holder at 0 to 15 mm, vary with the seed.

    Raises SkinSegError for an unknown kind.
    """
    if kind not in POSITIVES:
        raise SkinSegError(f"There is no {kind!r}. Choose one of {', '.join(POSITIVES)}.")
    change, cut = POSITIVES[kind]
    rng = np.random.default_rng([seed, list(POSITIVES).index(kind), 41])
    gap = float(rng.choice([0.0, rng.uniform(1, 15)]))
    things = (ObjectSpec("table", gap + 14), ObjectSpec("holder", gap))
    spec = replace(
        PhantomSpec.clean(seed),
        hair=bool(rng.random() < 0.5),
        objects=things[: int(rng.integers(0, 3))],
        noise_hu=float(rng.uniform(5, 40)),
    )
    spec = change(spec, rng).resampled((spacing_mm,) * 3)
    phantom = make_phantom(replace(spec, psf_sigma_mm=_SIGMA_PER_MM * spacing_mm))
    return cut(phantom.volume, rng)


def _same(spec: PhantomSpec, rng: np.random.Generator) -> PhantomSpec:
    return spec


def _uncut(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    return volume


def _with_shoulders(spec: PhantomSpec, rng: np.random.Generator) -> PhantomSpec:
    low = rng.uniform(-230, -150)
    middle = (0.0, -20.0, (low + 140) / 2)
    return replace(spec, shape=(round(140 - low), 290, 420), center_ras=middle)


def _cone_beam(spec: PhantomSpec, rng: np.random.Generator) -> PhantomSpec:
    scale = GreyScale(rng.uniform(0.6, 0.95), rng.uniform(100, 400), rng.uniform(0, 150))
    return replace(spec, greys=scale, noise_hu=40.0, fov_radius_mm=float(rng.uniform(105, 130)))


def _child(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    """A head of 58 % (newborn) to 85 % of the size, bones and all."""
    scale = rng.uniform(0.58, 0.85)
    return CTVolume(volume.voxels, volume.ijk_to_ras @ np.diag([scale, scale, scale, 1.0]))


def _slices(volume: CTVolume, low_mm: float, high_mm: float) -> CTVolume:
    """What lies between two heights, RAS mm."""
    k = (np.array([low_mm, high_mm]) - volume.ijk_to_ras[2, 3]) / volume.spacing[2]
    first, last = (int(np.clip(round(n), 0, len(volume.voxels))) for n in k)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * first
    return CTVolume(volume.voxels[first:last].copy(), matrix, volume.padding)


def _vertex(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    return _slices(volume, rng.uniform(20, 75), 1e3)


def _lower(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    return _slices(volume, -1e3, rng.uniform(-10, 40))


def _middle(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    low = rng.uniform(-50, 20)
    return _slices(volume, low, low + rng.uniform(60, 90))


def _small_field(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    """A round field that ends within the head, about the face or the middle."""
    low = rng.uniform(-75, 0)
    volume = _slices(volume, low, low + rng.uniform(90, 150))
    voxels = volume.voxels.copy()
    shift = int(rng.integers(0, 40) / volume.spacing[1])
    voxels = np.ascontiguousarray(voxels[:, : voxels.shape[1] - shift])
    outside = radius_map(voxels.shape, volume.ijk_to_ras) > rng.uniform(70, 95)
    voxels[:, outside] = PADDING_HU
    return CTVolume(voxels, volume.ijk_to_ras, (float(PADDING_HU),))


def _thick(volume: CTVolume, rng: np.random.Generator) -> CTVolume:
    """Slices of 5 or 10 mm, each the mean of the thinner ones."""
    step = max(2, round(float(rng.choice([5.0, 10.0])) / volume.spacing[2]))
    count = len(volume.voxels) // step
    whole: NDArray[np.int16] = volume.voxels[: count * step]
    mean = whole.reshape(count, step, *whole.shape[1:]).mean(axis=1)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2] * (step - 1) / 2
    matrix[:3, 2] *= step
    return CTVolume(np.rint(mean).astype(np.int16), matrix, volume.padding)


#: The kinds: what is changed before a head is rendered, and what is done to its scan.
POSITIVES: dict[str, tuple[Change, Cut]] = {
    "whole head": (_same, _uncut),
    "with shoulders": (_with_shoulders, _uncut),
    "child": (_same, _child),
    "vertex only": (_same, _vertex),
    "lower half": (_same, _lower),
    "middle part": (_same, _middle),
    "small field": (_same, _small_field),
    "cone beam": (_cone_beam, _uncut),
    "thick slices": (_same, _thick),
}
