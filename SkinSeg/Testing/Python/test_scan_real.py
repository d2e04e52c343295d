"""The real scans: each is read, with the geometry that an independent reader or record gives."""

from __future__ import annotations

import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from SkinSegLib.scan import facts, list_series, read


def corners(matrix: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    nk, nj, ni = shape
    ends = [(i, j, k, 1) for i in (0, ni - 1) for j in (0, nj - 1) for k in (0, nk - 1)]
    return (np.array(ends) @ matrix.T)[:, :3]


def itk_series(files: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and index-to-RAS of SimpleITK's series reader, for files in the order given."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(files)
    image = reader.Execute()
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image), np.diag([-1.0, -1, 1, 1]) @ matrix


@pytest.mark.slow
def test_siemens_jpeg_2000(skinseg_data: Path) -> None:
    folder = skinseg_data / "dicom" / "weasis_headneck"
    volume = read(folder)
    assert volume.notes == ()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    # Every 7th slice is enough to see a wrong order, value or flip, and is quick.
    picked, ours = list(names)[::7], volume.voxels[::7]
    voxels, matrix = itk_series(picked)
    np.testing.assert_array_equal(voxels, ours)
    step = volume.ijk_to_ras @ np.diag([1, 1, 7, 1])
    np.testing.assert_allclose(corners(matrix, ours.shape), corners(step, ours.shape), atol=1e-3)
    result = facts(volume)
    assert result.orientation == "LPS"
    assert result.size == (512, 512, 295)
    # The descending aorta, the brightest soft thing beside the spine in the chest, is on the left.
    chest = volume.voxels[25, 330:390, 150:360].astype(float)
    vessel = (chest > 120) & (chest < 250)
    columns = np.flatnonzero(vessel.sum(axis=0) > 15) + 150
    middle = volume.ijk_to_ras @ [256, 360, 25, 1]
    aorta = volume.ijk_to_ras @ [float(np.median(columns)), 360, 25, 1]
    assert aorta[0] < middle[0]


def test_changing_slice_distance(skinseg_data: Path, tmp_path: Path) -> None:
    path = skinseg_data / "dicom" / "keinos_head.zip"
    volume = read(path)
    assert [info.slices for info in list_series(path)] == [28]
    assert volume.spacing == pytest.approx((0.43, 0.43, 2.0))
    assert volume.padding == (-2048.0,)
    assert any("4.00 to 6.00 mm" in note for note in volume.notes)
    with zipfile.ZipFile(path) as archive:
        archive.extractall(tmp_path)
    for name in sorted(tmp_path.rglob("*.dcm")):
        slice_ = sitk.ReadImage(str(name))
        lps = np.array(slice_.GetOrigin())
        index = np.linalg.inv(volume.ijk_to_ras) @ [-lps[0], -lps[1], lps[2], 1]
        np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-3)
        k = round(index[2])
        # Every measured slice is still there, untouched.
        np.testing.assert_array_equal(volume.voxels[k], sitk.GetArrayViewFromImage(slice_)[0])


def test_gantry_tilt_and_uneven_gaps(skinseg_data: Path) -> None:
    folder = skinseg_data / "dicom" / "ge_tilt"
    volume = read(folder)
    result = facts(volume)
    assert result.tilt_degrees == pytest.approx(18.5, abs=0.1)
    assert volume.padding == (-1500.0,)
    assert volume.slice_gap_mm == pytest.approx(7.0, abs=0.01)
    inverse = np.linalg.inv(volume.ijk_to_ras)
    for name in sorted(folder.iterdir()):
        slice_ = sitk.ReadImage(str(name))
        voxels = sitk.GetArrayViewFromImage(slice_)[0]
        for j, i in ((0, 0), (0, 511), (511, 0), (511, 511)):
            x, y, z = slice_.TransformIndexToPhysicalPoint((i, j, 0))
            index = inverse @ [-x, -y, z, 1]
            # All corners of a measured slice fall on one plane of the grid.
            np.testing.assert_allclose(index[:2], [i, j], atol=2e-3)
            if (j, i) == (0, 0):
                place = index[2]
            assert index[2] == pytest.approx(place, abs=2e-3)
        low = min(int(place + 1e-3), len(volume.voxels) - 1)
        high = min(low + 1, len(volume.voxels) - 1)
        share = place - low
        between = (1 - share) * volume.voxels[low] + share * volume.voxels[high]
        inside = voxels > -900
        # Interpolation smooths between slices up to 7 mm apart; a shift or flip gives hundreds.
        assert np.median(np.abs(between - voxels)[inside]) < 25


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["unc_cthead", "vhm_head_8bit", "dicom2stl_ct_head", "chd_phantom", "dicom2stl_ct_example"],
)
def test_volumes(name: str, skinseg_data: Path) -> None:
    path = skinseg_data / "volumes" / f"{name}.nrrd"
    volume = read(path)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(volume.voxels, sitk.GetArrayViewFromImage(image))
    ends = corners(volume.ijk_to_ras, volume.voxels.shape)
    far = np.array(image.TransformIndexToPhysicalPoint([n - 1 for n in image.GetSize()]))
    np.testing.assert_allclose(ends[-1], far * [-1, -1, 1], atol=1e-6)
    result = facts(volume)
    assert result.orientation == "LPS"
    assert np.linalg.det(volume.ijk_to_ras[:3, :3]) > 0
    assert result.padding_fraction == 0
    assert result.air_hu == pytest.approx(-1010, abs=30)


@pytest.mark.slow
def test_all_radiotherapy_scans(skinseg_data: Path) -> None:
    paths = sorted((skinseg_data / "openkbp").glob("pt_*[0-9].nrrd"))
    assert len(paths) == 120
    for path in paths:
        volume = read(path)
        assert volume.voxels.dtype == np.int16, path.name
        assert volume.padding == (), path.name
        assert facts(volume).orientation == "LPS", path.name


def test_cranium_faces_anterior_and_is_not_mirrored(cranium_path: Path) -> None:
    volume = read(cranium_path)
    assert volume.voxels.shape == (108, 256, 256)
    assert volume.spacing == pytest.approx((0.9570312, 0.9570312, 1.5))
    result = facts(volume)
    assert result.orientation == "LAS"
    assert result.air_hu == pytest.approx(-1001, abs=10)
    # Nose: the foremost tissue within 20 mm of the middle, at the height of the lower slices. The
    # head holder lies at the other end.
    tissue = volume.voxels[:40, :, 108:148] > -300
    k, j, i = np.argwhere(tissue)[np.argwhere(tissue)[:, 1].argmax()]
    nose = volume.ijk_to_ras @ [i + 108, j, k, 1]
    bone = np.argwhere(volume.voxels[60] > 500).mean(axis=0)
    middle = volume.ijk_to_ras @ [bone[1], bone[0], 60, 1]
    assert nose[1] - middle[1] > 90
    assert nose[2] < middle[2]


def test_cranium_agrees_with_the_surface_stored_in_it(cranium_path: Path) -> None:
    """InVesalius writes these surfaces to STL in LPS as they are: right-handed, not mirrored."""
    from scipy.ndimage import map_coordinates
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    volume = read(cranium_path)
    with tarfile.open(cranium_path) as archive:
        item = next(item for item in archive if item.name.endswith("surface_0.vtp"))
        stream = archive.extractfile(item)
        assert stream is not None
        reader = vtkXMLPolyDataReader()
        reader.ReadFromInputStringOn()
        reader.SetInputString(io.BytesIO(stream.read()).getvalue().decode("latin-1"))
        reader.Update()
    lps = vtk_to_numpy(reader.GetOutput().GetPoints().GetData()).astype(float)[::10]
    assert len(lps) > 20000
    inverse = np.linalg.inv(volume.ijk_to_ras)

    def sampled(points_lps: np.ndarray) -> np.ndarray:
        ras = points_lps * [-1, -1, 1]
        i, j, k = inverse[:3, :3] @ ras.T + inverse[:3, 3:]
        return map_coordinates(volume.voxels.astype(np.float32), [k, j, i], order=1, cval=-9999)

    threshold = 226  # the one the surface was made with
    assert np.median(sampled(lps)) == pytest.approx(threshold, abs=10)
    assert np.median(np.abs(sampled(lps) - threshold)) < 25
    for axis in range(3):
        mirrored = lps.copy()
        mirrored[:, axis] = lps[:, axis].min() + lps[:, axis].max() - lps[:, axis]
        assert np.median(np.abs(sampled(mirrored) - threshold)) > 150


@pytest.mark.skipif(sys.platform == "win32", reason="counts file handles through /proc")
def test_reading_leaves_no_file_open(skinseg_data: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))
    read(skinseg_data / "dicom" / "ge_tilt")
    assert len(os.listdir("/proc/self/fd")) <= before
