"""Grids in space: the 4x4 matrix from voxel indices (i, j, k) to RAS millimetres."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import GeometryError

Matrix = NDArray[np.float64]

#: RAS <-> LPS (its own inverse): Slicer computes in RAS; DICOM, SimpleITK and mesh files are LPS.
LPS_RAS: Matrix = np.diag([-1.0, -1.0, 1.0, 1.0])


def checked_matrix(matrix: ArrayLike) -> Matrix:
    """A read-only float64 copy of a 4x4 index-to-space matrix.

    Raises GeometryError unless it is finite, affine and invertible (spacing 0 is not).
    """
    result = np.array(matrix, dtype=np.float64)
    if result.shape != (4, 4) or not np.isfinite(result).all():
        raise GeometryError(
            "The scan's geometry is not a finite 4x4 matrix. Export the scan again from its source."
        )
    if not np.allclose(result[3], [0, 0, 0, 1]):
        raise GeometryError("The scan's geometry is not affine. Resample the scan to a plain grid.")
    lengths = np.linalg.norm(result[:3, :3], axis=0)
    sine = abs(np.linalg.det(result[:3, :3] / np.maximum(lengths, 1e-300)))
    if lengths.min() <= 0 or sine < 1e-6:
        raise GeometryError(
            "The scan has a voxel spacing of zero, or two of its axes point the same way. "
            "Correct the spacing in the source, or export the scan again."
        )
    result.setflags(write=False)
    return result


def spacing_of(matrix: ArrayLike) -> tuple[float, float, float]:
    """Voxel size in mm along i, j and k."""
    si, sj, sk = np.linalg.norm(np.asarray(matrix, dtype=np.float64)[:3, :3], axis=0)
    return float(si), float(sj), float(sk)


def transform_points(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Apply a 4x4 matrix to points of shape (n, 3)."""
    affine = np.asarray(matrix, dtype=np.float64)
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]
