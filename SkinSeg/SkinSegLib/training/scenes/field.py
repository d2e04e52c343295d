"""The space in which a made scene is painted: coordinates, distance to the patient, soft paint."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import distance_to
from SkinSegLib.segmentation.coarse import Floats
from SkinSegLib.segmentation.network_grid import interpolating


@dataclass
class SceneField:
    """A cube of cells of ``size_mm`` with a patient in it, and what was painted around it.

    ``filled``: share of each cell that is patient. ``odd``: how much of what is seldom or never in
    a scanner is painted, 0..1. ``things``: grey of what is not patient, 0 for air (network units:
    1 is soft tissue). Arrays are (superior, anterior, right).
    """

    filled: Floats
    size_mm: float
    odd: float = 1.0

    def __post_init__(self) -> None:
        self.things: Floats = np.zeros_like(self.filled)

    @cached_property
    def places(self) -> Floats:
        """Position of every cell in mm from the cube's middle, (3, S, A, R)."""
        axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) for n in self.filled.shape]
        return np.stack(np.meshgrid(*axes, indexing="ij")) * np.float32(self.size_mm)

    @cached_property
    def distance(self) -> Floats:
        """Distance in mm to the patient's surface, negative inside; within about half a cell."""
        solid = self.filled >= 0.5
        spacing = (self.size_mm,) * 3
        half = np.float32(self.size_mm / 2)
        outside, inside = distance_to(solid, spacing), distance_to(~solid, spacing)
        distance: Floats = np.where(solid, half - inside, outside - half).astype(np.float32)
        # Where the surface passes a cell, the share that is filled says where, to a fraction.
        edge = (self.filled > 0.02) & (self.filled < 0.98) & (np.abs(distance) < self.size_mm)
        distance[edge] = (0.5 - self.filled[edge]) * self.size_mm
        return distance

    def box(
        self, low: NDArray[np.float32], high: NDArray[np.float32], margin_mm: float
    ) -> tuple[slice, slice, slice]:
        """The cells within ``margin_mm`` of a box given by two corners (mm from the middle)."""
        a, b, c = (
            slice(
                max(0, math.floor((x - margin_mm) / self.size_mm + (n - 1) / 2)),
                max(0, math.ceil((y + margin_mm) / self.size_mm + (n - 1) / 2) + 1),
            )
            for x, y, n in zip(low, high, self.filled.shape, strict=True)
        )
        return a, b, c

    def cover(self, signed_mm: Floats) -> Floats:
        """Share of each cell, 0..1, that a shape with this signed distance fills."""
        share: Floats = np.clip(0.5 - signed_mm / np.float32(self.size_mm), 0, 1)
        return share

    def shell(self, signed_mm: Floats, thickness_mm: float) -> Floats:
        """Share of each cell within ``thickness_mm`` outward of a surface; thinner than a cell too.

        The difference of two soft steps, which keeps the amount of matter whatever its thickness.
        """
        return self.cover(signed_mm - np.float32(thickness_mm)) - self.cover(signed_mm)

    def paint(self, share: Floats, grey: float | Floats) -> None:
        """Put matter of ``grey`` where ``share`` says; it replaces what was there."""
        self.things += share * (grey - self.things)

    def smooth_noise(self, rng: np.random.Generator, wave_mm: float) -> Floats:
        """A smooth random field of about that wavelength, mean 0, standard deviation about 1."""
        field = rng.standard_normal(
            [max(4, round(n * self.size_mm / wave_mm) + 3) for n in self.filled.shape]
        ).astype(np.float32)
        for axis, cells in enumerate(self.filled.shape):
            nodes = field.shape[axis]
            matrix = interpolating(np.linspace(0.5, nodes - 1.5, cells), nodes)
            field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(field) * np.float32(1.5)

    def support(self, direction: NDArray[np.float32]) -> float:
        """How far in mm the patient reaches along a unit vector, from the cube's middle."""
        along = np.tensordot(direction, self.places, axes=1)
        return float(np.percentile(along[self.filled >= 0.5], 99.9))
