"""What passes between stages: a scan, a mask, a mesh, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import GeometryError, ScanReadError
from .geometry import Matrix, checked_matrix, spacing_of

#: The six faces of a grid, in the order used for ``cut_faces``: low and high end of i, j and k.
FACES = ("i-", "i+", "j-", "j+", "k-", "k+")


class FindingKind(StrEnum):
    """Kinds of findings; the value is what reports and the panel's list show."""

    TOUCHES_OBJECT = "touches an object"
    CUT_BY_FIELD_OF_VIEW = "cut by the field of view"
    NOT_CALIBRATED = "grey values are not calibrated HU"
    METAL_STREAKS = "metal streaks"
    LOW_CONFIDENCE = "low confidence"
    THICK_SLICES = "thick slices"
    NOT_A_HEAD = "may not be a head"
    READ_NOTE = "note from reading the scan"
    COMPUTING_NOTE = "note from computing"


#: Kinds of findings, the severest first.
SEVERITY = (
    FindingKind.NOT_A_HEAD,
    FindingKind.NOT_CALIBRATED,
    FindingKind.THICK_SLICES,
    FindingKind.LOW_CONFIDENCE,
    FindingKind.METAL_STREAKS,
    FindingKind.TOUCHES_OBJECT,
    FindingKind.CUT_BY_FIELD_OF_VIEW,
    FindingKind.READ_NOTE,
    FindingKind.COMPUTING_NOTE,
)


@dataclass(frozen=True)
class Finding:
    """Something the user should look at.

    ``position_ras`` is a point in RAS mm to jump to, or None for the scan as a whole;
    ``volume_ml`` the volume concerned in mL where that means something.
    """

    kind: FindingKind
    message: str
    position_ras: tuple[float, float, float] | None = None
    volume_ml: float | None = None


@dataclass(frozen=True)
class CTVolume:
    """A CT or CBCT scan on a regular grid.

    ``voxels``: (k, j, i), C-contiguous, int16 or float32, HU (or uncalibrated grey values);
    finite. ``ijk_to_ras``: 4x4, mm, any orientation and handedness. ``padding``: values that mean
    "no measurement" (outside the reconstruction circle), never tissue and never air.
    ``modality``: DICOM's, "CT" unless the file says otherwise. ``notes``: what reading had to put
    right, without patient data. ``slice_gap_mm``: the largest distance between measured slices
    where reading interpolated uneven ones to this grid; None where the grid is as measured.

    Raises ScanReadError or GeometryError on construction if it is not one usable 3D volume.
    """

    voxels: NDArray[Any]
    ijk_to_ras: Matrix
    padding: tuple[float, ...] = ()
    modality: str = "CT"
    notes: tuple[str, ...] = ()
    slice_gap_mm: float | None = None

    def __post_init__(self) -> None:
        voxels = np.ascontiguousarray(self.voxels)
        if voxels.ndim != 3 or 0 in voxels.shape:
            raise ScanReadError(
                f"Expected one 3D volume, got an array of shape {voxels.shape}. "
                "Choose a single CT series, not a colour image or a time series."
            )
        if voxels.dtype not in (np.dtype(np.int16), np.dtype(np.float32)):
            raise ScanReadError(
                f"Voxels of type {voxels.dtype} were handed over; int16 or float32 is expected. "
                "Use SkinSegLib.core.as_hounsfield() to convert."
            )
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "ijk_to_ras", checked_matrix(self.ijk_to_ras))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j, k."""
        return spacing_of(self.ijk_to_ras)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in mL."""
        return float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0

    def padding_mask(self) -> NDArray[np.bool_] | None:
        """Where there is no measurement, as (k, j, i) booleans; None where there is no padding."""
        if not self.padding:
            return None
        mask = np.isin(self.voxels, np.asarray(self.padding, dtype=self.voxels.dtype))
        return mask if mask.any() else None


@dataclass(frozen=True)
class SkinMask:
    """The solid head on the grid of the scan it was made from.

    ``voxels``: (k, j, i), uint8, 1 = patient. ``level_hu``: the grey value at which the skin was
    taken to lie, in the scan's own units; ``half_contrast_hu``: from there to soft tissue, and
    to air. ``cut_faces``: those of FACES at which the end of the scan cuts the patient.
    ``seconds``: time per stage. ``model``: the network's "name", "version" and "sha256" of its
    weights; empty where no network ran.
    """

    voxels: NDArray[np.uint8]
    ijk_to_ras: Matrix
    engine: str
    level_hu: float
    half_contrast_hu: float = 520.0
    cut_faces: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    model: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.dtype != np.uint8:
            raise GeometryError("A mask must be a 3D array of uint8. Convert it first.")
        object.__setattr__(self, "voxels", np.ascontiguousarray(self.voxels))
        object.__setattr__(self, "ijk_to_ras", checked_matrix(self.ijk_to_ras))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along i, j, k."""
        return spacing_of(self.ijk_to_ras)

    @property
    def volume_ml(self) -> float:
        """Volume of the solid head in mL, counted in whole voxels."""
        voxel = float(abs(np.linalg.det(self.ijk_to_ras[:3, :3]))) / 1000.0
        return int(np.count_nonzero(self.voxels)) * voxel


@dataclass(frozen=True)
class SkinMesh:
    """A closed triangle mesh in RAS mm, oriented outward.

    ``points``: (n, 3) float32, RAS mm. ``triangles``: (m, 3) int32 indices into points,
    counter-clockwise seen from outside. ``is_cut``: (m,) bool, triangles that lie on the flat
    end of the scan and are no skin. ``closed``: every edge is shared by exactly two triangles
    that run along it in opposite directions. ``processing``: figures of what was done to it since
    it was contoured (bounds and deviations in mm, numbers of triangles).
    """

    points: NDArray[np.float32]
    triangles: NDArray[np.int32]
    is_cut: NDArray[np.bool_]
    closed: bool
    processing: Mapping[str, float] = field(default_factory=dict)

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in mL (divergence theorem); positive when oriented outward."""
        points = (self.points - self.points.mean(axis=0)).astype(np.float64)
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (
            points[self.triangles[:, corner]].T for corner in range(3)
        )
        # By components: np.cross takes several times as long.
        six = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
        return float(six.sum() / 6000.0)


def severest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by how severe their kind is; those of one kind stay in their order."""
    return tuple(sorted(findings, key=lambda finding: SEVERITY.index(finding.kind)))


def as_hounsfield(voxels: NDArray[Any]) -> NDArray[Any]:
    """Integers that fit become int16, everything else float32; shape (k, j, i) is kept."""
    array = np.asarray(voxels)
    if array.dtype.kind in "iub":
        limits = np.iinfo(np.int16)
        if array.dtype == np.int16 or (
            array.size and limits.min <= array.min() and array.max() <= limits.max
        ):
            return np.ascontiguousarray(array, dtype=np.int16)
    return np.ascontiguousarray(array, dtype=np.float32)
