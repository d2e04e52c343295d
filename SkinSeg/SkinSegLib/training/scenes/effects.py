"""What scanners do to a picture: noise, kernels, thick slices, streaks, cupping, shifts, ends.

Pictures are in network units (0 air, 1 soft tissue), (superior, anterior, right).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.segmentation.coarse import Floats
from SkinSegLib.segmentation.network_grid import GREY_RANGE


def scanned(
    grey: Floats, alone: Floats, size_mm: float, rng: np.random.Generator, odd: float = 1.0
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """The picture as some scanner would give it, with random faults; ``alone``, a picture of the
    patient without things, as blurred as that, without any fault; and where the scanner measured.

    All of the same shape as ``grey``. ``odd``: how much of what no scanner does, 0..1: bent grey
    scales, and more noise than any protocol has.
    """
    from monai.transforms import RandBiasField, RandHistogramShift

    seed = int(rng.integers(2**31))
    if rng.random() < 0.25:
        slice_mm = rng.uniform(4, 10)
        grey, alone = (_thick_slices(part, size_mm, slice_mm) for part in (grey, alone))
    grey, alone = (_smooth(part, seed) for part in (grey, alone))
    if rng.random() < 0.25:
        grey = grey + _streaks(grey, rng)
    if rng.random() < 0.2:
        bias = RandBiasField(degree=3, coeff_range=(0.0, 0.12), prob=1.0)
        bias.set_random_state(seed)
        grey = np.asarray(bias(grey[None]))[0]
    if rng.random() < 0.3 * odd:
        shift = RandHistogramShift(num_control_points=(6, 10), prob=1.0)
        shift.set_random_state(seed)
        # Within the range of the picture; air stays air at its own end.
        grey = np.asarray(shift(grey[None]))[0]
    grey = grey * np.float32(rng.normal(1, 0.06)) + np.float32(rng.normal(0, 0.015))
    if rng.random() < 0.2:
        grey = _cupped(grey, rng)
    grey = _noisy(grey, rng, 0.12 + 0.23 * odd)
    measured = np.ones(grey.shape, bool)
    if rng.random() < 0.15:
        measured[:] = _round_field(grey.shape, rng)
    seen = np.where(measured, np.clip(grey, *GREY_RANGE), 0).astype(np.float32)
    return seen, alone, measured


def _smooth(grey: Floats, seed: int) -> Floats:
    """As a soft kernel shows it, or not; the same for the same seed."""
    from monai.transforms import RandGaussianSmooth

    smooth = RandGaussianSmooth((0.2, 0.7), (0.2, 0.7), (0.2, 0.7), prob=0.4)
    smooth.set_random_state(seed)
    result: Floats = np.asarray(smooth(grey[None]))[0]
    return result


def _noisy(grey: Floats, rng: np.random.Generator, most: float = 0.35) -> Floats:
    """With the noise of a scan of low or usual dose, as cells show it; ``most``: its highest sigma.

    The network's grid clips each voxel at air before it averages, so that noise of ``sigma`` in
    the voxels lifts air by 0.4 sigma (the mean of a clipped normal distribution); what is left of
    the noise itself depends on how many voxels, and how alike, there are in a cell.
    """
    from scipy.special import ndtr

    sigma = rng.uniform(0.005, 0.04) if rng.random() < 0.6 else rng.uniform(0.04, most)
    sigmas = np.full(grey.shape, sigma, np.float32)
    if rng.random() < 0.5:
        sigmas *= np.clip(grey, 0.3, 1)  # less dose is lost in air
    ratio = grey / sigmas
    lifted = grey * ndtr(ratio) + sigmas * np.exp(-(ratio**2) / 2) / np.float32(np.sqrt(2 * np.pi))
    noise = rng.standard_normal(grey.shape).astype(np.float32)
    result: Floats = lifted + noise * sigmas * np.float32(rng.uniform(0.1, 0.6))
    return result


def _cupped(grey: Floats, rng: np.random.Generator) -> Floats:
    """Darker, or brighter, toward the middle of each slice, as in cone-beam scans."""
    j, i = (np.linspace(-1, 1, n, dtype=np.float32) for n in grey.shape[1:])
    radius = np.hypot(j[:, None], i[None, :])
    depth = np.float32(rng.uniform(-0.1, 0.3))
    cupped: Floats = grey * (1 - depth * np.clip(1 - radius**2, 0, 1))
    return cupped


def _thick_slices(grey: Floats, size_mm: float, slice_mm: float) -> Floats:
    """Averaged over slices along the body and interpolated back."""
    wanted = round(grey.shape[0] * size_mm / slice_mm)
    count = min(max(2, wanted), grey.shape[0])
    edges = np.linspace(0, grey.shape[0], count + 1).astype(int)[:-1]
    lengths = np.diff(np.append(edges, grey.shape[0])).astype(np.float32)
    thick = np.add.reduceat(grey, edges, axis=0) / lengths[:, None, None]
    position = np.interp(np.arange(grey.shape[0]), edges + (lengths - 1) / 2, np.arange(count))
    low = np.minimum(position.astype(int), count - 2)
    weight = (position - low).astype(np.float32)[:, None, None]
    result: Floats = thick[low] * (1 - weight) + thick[low + 1] * weight
    return result


def _streaks(grey: Floats, rng: np.random.Generator) -> Floats:
    """Rays in the slice from one or two places of metal, fading with distance."""
    result = np.zeros_like(grey)
    dense = np.argwhere(grey > 1.2)
    if not len(dense):
        return result
    k, j, i = (np.arange(n, dtype=np.float32) for n in grey.shape)
    for _ in range(int(rng.integers(1, 3))):
        ck, cj, ci = dense[rng.integers(len(dense))]
        angle = np.arctan2(j[:, None] - cj, i[None, :] - ci)
        radius = np.hypot(j[:, None] - cj, i[None, :] - ci)
        rays = np.zeros_like(angle)
        for _ in range(6):
            rays += np.cos(rng.integers(3, 30) * angle + rng.uniform(0, 6.28))
        fade = np.float32(rng.uniform(0.05, 0.35)) / (1 + radius / 12)
        along = np.exp(-(((k - ck) / rng.uniform(1, 5)) ** 2))
        result += (along[:, None, None] * (rays * fade)[None]).astype(np.float32)
    return result


def _round_field(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.bool_]:
    """The circle of reconstruction in a slice (anterior, right); beyond it is padding."""
    j, i = (np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape[1:])
    radius = rng.uniform(0.4, 0.6) * min(shape[1:])
    inside: NDArray[np.bool_] = np.hypot(j[:, None], i[None, :]) <= radius
    return inside
