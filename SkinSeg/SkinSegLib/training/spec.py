"""What a phantom is made from: everything that decides its bytes, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from SkinSegLib.core import SkinSegError, checked_matrix, spacing_of
from SkinSegLib.core.geometry import Matrix

from .effects import GreyScale
from .grid import PointSpread
from .objects import ObjectSpec

Rows = tuple[tuple[float, float, float, float], ...]


@dataclass(frozen=True)
class PhantomSpec:
    """A made scan of a made head. The same spec always gives the same voxels.

    ``seed``: shape of the head (0 is the average one), hair, noise. ``shape``: voxels (k, j, i).
    ``spacing_mm``: along i, j, k. ``center_ras``: middle of the grid, RAS mm; the head's origin
    lies between its ear canals. ``ijk_to_ras``: rows of a 4x4 matrix that replaces spacing and
    centre: any spacing, direction, handedness or shear. Without it i runs to the patient's left,
    j to posterior, k to superior, as scanners have it.

    ``psf_sigma_mm``: sigma of the Gaussian point spread (FWHM = 2.355 sigma); ``slice_mm``: width
    of the box that averages along the slice axis as well (0: none). ``noise_hu``: standard
    deviation. ``hair``: hair on the scalp. ``objects``: see :class:`ObjectSpec`.
    ``fillings``: metal fillings in the teeth; ``streak_hu``: streaks at 10 mm from each.
    ``gantry_tilt_deg``: turns the slices about the left-right axis while the table still moves
    along z, which shears the grid. ``fov_radius_mm``: voxels outside this circle about the slice's
    middle are padding. ``greys``: grey values of an uncalibrated scanner.
    """

    seed: int = 0
    shape: tuple[int, int, int] = (250, 280, 216)
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    center_ras: tuple[float, float, float] = (0.0, -10.0, 16.0)
    ijk_to_ras: Rows | None = None
    psf_sigma_mm: float = 0.5
    slice_mm: float = 0.0
    noise_hu: float = 8.0
    hair: bool = True
    objects: tuple[ObjectSpec, ...] = field(default=())
    fillings: int = 0
    streak_hu: float = 0.0
    gantry_tilt_deg: float = 0.0
    fov_radius_mm: float | None = None
    greys: GreyScale = field(default_factory=GreyScale)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise SkinSegError(f"A phantom needs three sizes of at least 1, not {self.shape}.")
        if self.seed < 0:
            raise SkinSegError("The seed of a phantom must be 0 or more.")

    @classmethod
    def clean(cls, seed: int = 0) -> PhantomSpec:
        """The head alone, with hair and noise, 1 mm voxels."""
        return cls(seed=seed)

    @classmethod
    def table_and_holder(cls, gap_mm: float = 10.0, seed: int = 0) -> PhantomSpec:
        """Head, head holder at ``gap_mm`` and a table below the holder: what the demo shows."""
        return cls(
            seed=seed,
            objects=(ObjectSpec("table", gap_mm + 14), ObjectSpec("holder", gap_mm)),
        )

    @classmethod
    def touching(cls, *kinds: str, seed: int = 0) -> PhantomSpec:
        """Head with things in contact; without names: pillow, strap and tube, and a table."""
        chosen = kinds or ("pillow", "strap", "tube")
        things = tuple(ObjectSpec(kind, 0.0) for kind in chosen)
        if "table" not in chosen:
            things = (ObjectSpec("table", 46.0), *things)
        return cls(seed=seed, objects=things)

    @classmethod
    def cone_beam(cls, seed: int = 0) -> PhantomSpec:
        """Cone-beam CT: shifted and scaled greys, cupping, noise, a round field of view."""
        return cls(
            seed=seed,
            noise_hu=30.0,
            greys=GreyScale(scale=0.8, offset=320.0, cupping=120.0),
            fov_radius_mm=125.0,
        )

    @property
    def matrix(self) -> Matrix:
        """The 4x4 index-to-RAS matrix. Raises GeometryError if it is not usable."""
        if self.ijk_to_ras is not None:
            matrix = np.array(checked_matrix(self.ijk_to_ras))
        else:
            matrix = np.diag([*(np.array(self.spacing_mm, np.float64) * (-1, -1, 1)), 1.0])
            middle = (np.array(self.shape[::-1], np.float64) - 1) / 2
            matrix[:3, 3] = np.array(self.center_ras) - matrix[:3, :3] @ middle
        if self.gantry_tilt_deg:
            middle = (np.array(self.shape[::-1], np.float64) - 1) / 2
            center = matrix[:3, :3] @ middle + matrix[:3, 3]
            angle = np.radians(self.gantry_tilt_deg)
            c, s = np.cos(angle), np.sin(angle)
            turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
            matrix[:3, :2] = turn @ matrix[:3, :2]
            matrix[:3, 3] = center - matrix[:3, :3] @ middle
        return checked_matrix(matrix)

    @property
    def spread(self) -> PointSpread:
        """The point spread, in mm."""
        return PointSpread(self.psf_sigma_mm, self.slice_mm)

    def resampled(self, spacing_mm: tuple[float, float, float]) -> PhantomSpec:
        """The same scene and extent with other voxels (mm along i, j, k)."""
        old = spacing_of(self.matrix)
        if self.ijk_to_ras is not None:
            raise SkinSegError("Give the new matrix yourself where ijk_to_ras is set.")
        size = [
            max(1, round(n * a / b))
            for n, a, b in zip(self.shape[::-1], old, spacing_mm, strict=True)
        ]
        return replace(self, shape=(size[2], size[1], size[0]), spacing_mm=spacing_mm)
