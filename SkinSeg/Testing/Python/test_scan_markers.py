"""Left is left: two markers through every reader, on every kind of grid."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_makers import (
    GRIDS,
    Grid,
    assert_markers,
    marked,
    rotation,
    write_dicom,
    write_enhanced,
    write_inv3,
    write_nifti,
    write_nrrd,
)
from SkinSegLib.scan import read

Writer = Callable[[Path, Grid, np.ndarray], Path]


def by_simpleitk(suffix: str) -> Writer:
    def write(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
        image = sitk.GetImageFromArray(voxels)
        image.SetSpacing(grid.spacing)
        image.SetOrigin(grid.origin)
        image.SetDirection(grid.axes.ravel())
        path = folder / f"scan{suffix}"
        sitk.WriteImage(image, str(path), suffix in (".nrrd", ".mha"))
        return path

    return write


def nifti(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
    write_nifti(folder / "scan.nii", grid, voxels)
    return folder / "scan.nii"


def nrrd(space: str) -> Writer:
    def write(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
        write_nrrd(folder / "scan.nrrd", grid, voxels, space)
        return folder / "scan.nrrd"

    return write


def dicom(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
    write_dicom(folder / "a" / "b", grid, voxels)
    return folder


def dicom_zip(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
    with zipfile.ZipFile(folder / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in write_dicom(folder / "files", grid, voxels):
            archive.write(path, f"x/y/{path.name}")
    return folder / "scan.zip"


def dicom_file(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
    return write_dicom(folder, grid, voxels)[2]


def enhanced(folder: Path, grid: Grid, voxels: np.ndarray) -> Path:
    write_enhanced(folder / "enhanced.dcm", grid, voxels)
    return folder / "enhanced.dcm"


IMAGES: dict[str, Writer] = {
    **{s: by_simpleitk(s) for s in (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd")},
    "NIfTI by hand": nifti,
    "NRRD in RAS": nrrd("RAS"),
    "NRRD in LAS": nrrd("LAS"),
    "NRRD in LPS": nrrd("left-posterior-superior"),
}
DICOM: dict[str, Writer] = {
    "folder": dicom,
    "zip": dicom_zip,
    "one file": dicom_file,
    "enhanced": enhanced,
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("writer", (IMAGES | DICOM).values(), ids=IMAGES | DICOM)
def test_markers_on_every_grid(writer: Writer, grid: Grid, tmp_path: Path) -> None:
    volume = read(writer(tmp_path, grid, marked(grid)))
    assert volume.voxels.dtype == np.int16
    assert volume.modality == "CT"
    assert_markers(volume, grid)
    if writer in IMAGES.values():
        np.testing.assert_array_equal(volume.voxels, marked(grid))
        handed = np.sign(np.linalg.det(grid.axes))
        assert np.sign(np.linalg.det(volume.ijk_to_ras[:3, :3])) == handed
    np.testing.assert_allclose(volume.spacing, grid.spacing, rtol=1e-5)


@pytest.mark.parametrize("writer", (IMAGES | DICOM).values(), ids=IMAGES | DICOM)
def test_one_slice(writer: Writer, tmp_path: Path) -> None:
    grid = replace(GRIDS["oblique"], shape=(2 if writer is dicom_file else 1, 9, 11))
    if writer is dicom_file:
        path = write_dicom(tmp_path, replace(grid, shape=(1, 9, 11)), marked(grid)[:1])[0]
        volume = read(path)
    else:
        volume = read(writer(tmp_path, grid, marked(grid)))
    assert volume.voxels.shape == (1, 9, 11)
    np.testing.assert_allclose(volume.ijk_to_ras[:3, 3], grid.ras((0, 0, 0)), atol=1e-3)
    np.testing.assert_allclose(volume.spacing[:2], grid.spacing[:2], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16, np.int32, np.uint8])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii"])
def test_voxel_types(suffix: str, dtype: type, tmp_path: Path) -> None:
    """int16 where nothing is lost, else float32, with the values as they were."""
    grid = GRIDS["left-handed oblique"]
    voxels = marked(grid)
    if np.dtype(dtype).kind == "f":
        voxels = voxels + np.asarray(0.25, dtype)
    elif dtype == np.uint8:
        voxels = (voxels + 1000) // 10
    elif dtype == np.uint16:
        voxels = voxels.astype(np.int32) + 40000
    voxels = voxels.astype(dtype)
    volume = read(by_simpleitk(suffix)(tmp_path, grid, voxels))
    lossless = np.dtype(dtype).kind in "iu" and voxels.max() < 32768
    assert volume.voxels.dtype == (np.int16 if lossless else np.float32)
    np.testing.assert_array_equal(volume.voxels, voxels)


def test_nifti_slope_and_intercept(tmp_path: Path) -> None:
    grid = GRIDS["oblique"]
    stored = marked(grid) + 1024
    write_nifti(tmp_path / "whole.nii", grid, stored, scale=(1.0, -1024.0))
    volume = read(tmp_path / "whole.nii")
    assert volume.voxels.dtype == np.int16
    assert_markers(volume, grid)
    write_nifti(tmp_path / "half.nii", grid, marked(grid), scale=(0.5, 0.25))
    fractional = read(tmp_path / "half.nii")
    assert fractional.voxels.dtype == np.float32
    np.testing.assert_allclose(fractional.voxels, marked(grid) * 0.5 + 0.25)


def test_sheared_nrrd_keeps_its_shear(tmp_path: Path) -> None:
    axes = np.eye(3)
    axes[:, 2] = [0, np.sin(0.3), np.cos(0.3)]
    grid = Grid(axes=axes)
    write_nrrd(tmp_path / "tilt.nrrd", grid, marked(grid), "RAS")
    assert_markers(read(tmp_path / "tilt.nrrd"), grid)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angle=st.floats(-180, 180),
    axis=st.tuples(*[st.floats(0.1, 1)] * 3),
    flips=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    spacing=st.tuples(*[st.floats(0.1, 8)] * 3),
    origin=st.tuples(*[st.floats(-900, 900)] * 3),
    suffix=st.sampled_from([".nrrd", ".mha", ".nii"]),
)
def test_any_grid_survives(angle, axis, flips, spacing, origin, suffix, tmp_path: Path) -> None:
    grid = Grid(rotation(angle, axis) @ np.diag(flips), spacing, origin)
    volume = read(by_simpleitk(suffix)(tmp_path, grid, marked(grid)))
    assert_markers(volume, grid, atol=5e-3)  # NIfTI keeps its matrix in single precision


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angle=st.floats(-180, 180),
    axis=st.tuples(*[st.floats(0.1, 1)] * 3),
    spacing=st.tuples(*[st.sampled_from([0.4, 0.977, 1.0, 3.0])] * 3),
    mirrored=st.booleans(),
)
def test_any_dicom_grid_survives(angle, axis, spacing, mirrored, tmp_path: Path) -> None:
    """Whatever the direction in which the files run, slices are put where they are."""
    axes = rotation(angle, axis) @ np.diag([1.0, 1.0, -1.0 if mirrored else 1.0])
    grid = Grid(axes, spacing)
    write_dicom(tmp_path / "scan", grid, marked(grid))
    volume = read(tmp_path / "scan")
    assert_markers(volume, grid)
    assert np.linalg.det(volume.ijk_to_ras[:3, :3]) > 0


# InVesalius: what it stores for a DICOM series is worked out here from its own steps (turn the
# rows upside down, order along the cross product, put the axes in place), not from our reader.


def test_invesalius_axial(tmp_path: Path) -> None:
    grid = Grid(origin=(0.0, -0.9 * 8, 0.0))  # the last DICOM row comes to lie at the origin
    write_inv3(tmp_path / "p.inv3", marked(grid)[:, ::-1], grid.spacing)
    volume = read(tmp_path / "p.inv3")
    assert_markers(volume, grid)
    assert volume.notes
    assert volume.modality == "CT"


def test_invesalius_uncompressed(tmp_path: Path) -> None:
    grid = Grid(origin=(0.0, -0.9 * 8, 0.0))
    write_inv3(tmp_path / "p.inv3", marked(grid)[:, ::-1], grid.spacing, compress=False)
    assert_markers(read(tmp_path / "p.inv3"), grid)


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "assumed"])
@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_invesalius_other_planes(plane: str, stated: bool, tmp_path: Path) -> None:
    """Coronal and sagittal series come out with the markers where DICOM has them."""
    columns = {
        "coronal": [(1, 0, 0), (0, 0, -1), (0, 1, 0)],
        "sagittal": [(0, 1, 0), (0, 0, -1), (-1, 0, 0)],
    }[plane]
    grid = Grid(axes=np.array(columns, dtype=float).T, origin=(0.0, 0.0, 0.0))
    slices = marked(grid)  # [n, row, column], n along the normal
    n, rows, columns_count = slices.shape
    si, sj, sk = grid.spacing
    if plane == "coronal":
        matrix, spacing = np.empty((rows, n, columns_count), np.int16), (si, sk, sj)
        for index in range(n):
            matrix[:, n - 1 - index, :] = slices[index][::-1]
    else:
        matrix, spacing = np.empty((rows, columns_count, n), np.int16), (sk, si, sj)
        for index in range(n):
            matrix[:, :, index] = slices[index][::-1]
    extra = {"orientation": {"coronal": 2, "sagittal": 3}[plane]}
    if stated:
        extra["patient_orientation"] = [float(v) for v in [*grid.axes[:, 0], *grid.axes[:, 1]]]
    write_inv3(tmp_path / "p.inv3", matrix, spacing, **extra)
    volume = read(tmp_path / "p.inv3")
    # A project has no origin: only the vector between the markers can be right.
    bright, dim = (np.argwhere(volume.voxels == value)[0][::-1] for value in (1500, 700))
    seen = volume.ijk_to_ras[:3, :3] @ (dim - bright)
    np.testing.assert_allclose(seen, grid.ras((8, 3, 4)) - grid.ras((2, 5, 1)), atol=1e-6)


def test_invesalius_from_nifti(tmp_path: Path) -> None:
    """``img2memmap`` turns a RAS array (x, y, z) into (z, y, x) with y reversed."""
    ras_axes = rotation(12, (1, 1, 4))
    grid = Grid(axes=np.diag([-1.0, -1.0, 1.0]) @ ras_axes)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = ras_axes, np.array(grid.origin) * [-1, -1, 1]
    stored = np.fliplr(marked(grid))
    affine = np.linalg.inv(rigid).tolist()
    write_inv3(
        tmp_path / "p.inv3", stored, grid.spacing, orientation=2, modality="MRI", affine=affine
    )
    volume = read(tmp_path / "p.inv3")
    assert_markers(volume, grid)
    assert volume.modality == "CT"
