"""What a scanner adds: tilt, round field, uncalibrated greys, noise, streaks; files; accuracy."""

from __future__ import annotations

import numpy as np
import pytest
from phantom_makers import PLAIN, part, ras_of_voxels, whole
from SkinSegLib.core import SkinMesh, SurfaceError, transform_points
from SkinSegLib.training.accuracy import mesh_error, surface_error
from SkinSegLib.training.effects import PADDING_HU, GreyScale
from SkinSegLib.training.phantom import PhantomSpec, make_phantom

CHEEK = (-45.0, 70.0, -25.0)


def test_gantry_tilt_shears_the_grid_and_keeps_the_anatomy():
    straight = make_phantom(part(CHEEK, (50, 50, 50), psf_sigma_mm=0.9))
    tilted = make_phantom(part(CHEEK, (50, 50, 50), psf_sigma_mm=0.9, gantry_tilt_deg=18.0))
    columns = tilted.volume.ijk_to_ras[:3, :3]
    unit = columns / np.linalg.norm(columns, axis=0)
    assert np.degrees(np.arccos(abs(unit[:, 1] @ unit[:, 2]))) == pytest.approx(72.0)
    assert np.allclose(columns[:, 2], straight.volume.ijk_to_ras[:3, 2])
    assert tilted.volume.spacing == pytest.approx(straight.volume.spacing)
    value = tilted.solid(ras_of_voxels(tilted.volume).reshape(-1, 3))
    clear = np.abs(value) > 1e-3
    assert np.array_equal((tilted.truth.ravel() == 1)[clear], (value <= 0)[clear])
    edge = np.abs(value) < 0.3
    assert np.median(tilted.volume.voxels.ravel()[edge]) == pytest.approx(-480, abs=60)


def test_round_field_of_view_is_padding_and_no_truth():
    spec = part((0, 20, -20), (180, 180, 30), (2.0,) * 3, fov_radius_mm=60.0, psf_sigma_mm=1.0)
    phantom = make_phantom(spec)
    points = ras_of_voxels(phantom.volume)
    outside = np.hypot(points[..., 0], points[..., 1] - 20) > 60.5
    assert phantom.volume.padding == (float(PADDING_HU),)
    assert (phantom.volume.voxels[outside] == PADDING_HU).all()
    assert (phantom.truth[outside] == 0).all()
    inside = np.hypot(points[..., 0], points[..., 1] - 20) < 59.5
    assert (phantom.volume.voxels[inside] > PADDING_HU).all()
    mask = phantom.volume.padding_mask()
    assert mask is not None
    assert mask.mean() > 0.5
    distance = phantom.cut_distance([[0.0, 70.0, -20.0], [0.0, 90.0, -20.0]])
    assert distance == pytest.approx([10.0, -10.0], abs=1e-6)


def test_cut_distance_reaches_the_voxel_faces():
    phantom = make_phantom(part(CHEEK, (20, 30, 40), psf_sigma_mm=0.9))
    centre = np.array(CHEEK)
    assert phantom.cut_distance(centre[None])[0] == pytest.approx(10.0)
    assert phantom.cut_distance(centre[None] + [0, 0, 19.0])[0] == pytest.approx(1.0)
    assert phantom.cut_distance(centre[None] + [0, 17.0, 0])[0] == pytest.approx(-2.0)


def test_cone_beam_greys_are_shifted_scaled_and_cupped():
    plain = part((0, 0, 40), (200, 230, 6), (2.0,) * 3, psf_sigma_mm=1.0)
    greys = GreyScale(scale=0.8, offset=320.0, cupping=120.0)
    calibrated = make_phantom(plain).volume.voxels.astype(float)
    spec = part((0, 0, 40), (200, 230, 6), (2.0,) * 3, psf_sigma_mm=1.0, greys=greys)
    phantom = make_phantom(spec)
    _, j, i = np.indices(calibrated.shape)
    radius = 2 * np.hypot(j - (calibrated.shape[1] - 1) / 2, i - (calibrated.shape[2] - 1) / 2)
    expected = 0.8 * calibrated + 320 - 120 * (1 - (radius / radius.max()) ** 2)
    assert np.abs(phantom.volume.voxels - expected).max() <= 1.5
    assert np.array_equal(phantom.truth, make_phantom(plain).truth)
    assert PhantomSpec.cone_beam().fov_radius_mm is not None
    assert not PhantomSpec.cone_beam().greys.calibrated


def test_noise_has_the_asked_deviation_and_no_mean():
    quiet = make_phantom(part((0, 0, 70), (40, 40, 20), psf_sigma_mm=0.9)).volume.voxels
    noisy = make_phantom(part((0, 0, 70), (40, 40, 20), psf_sigma_mm=0.9, noise_hu=12.0))
    noise = noisy.volume.voxels.astype(float) - quiet
    assert noise.std() == pytest.approx(12.0, rel=0.05)
    assert abs(noise.mean()) < 0.5


def test_streaks_leave_the_fillings_and_stay_in_their_slices():
    box = {"center": (0, 60, -42), "size_mm": (120, 120, 60), "spacing": (2.0,) * 3}
    options = {"psf_sigma_mm": 1.0, "fillings": 2}
    without = make_phantom(part(**box, **options))
    streaked = make_phantom(part(**box, **options, streak_hu=300.0))
    assert without.volume.voxels.max() > 2500
    change = np.abs(streaked.volume.voxels.astype(float) - without.volume.voxels)
    per_slice = change.mean(axis=(1, 2))
    assert per_slice.max() > 20
    assert per_slice.min() < 0.02 * per_slice.max()
    outside = (streaked.truth == 0) & (change > 20)
    assert outside.sum() > 100, "streaks reach beyond the skin"
    assert np.array_equal(streaked.truth, without.truth)


def contour(phantom):
    """The half height of a phantom's grey values as a mesh, by flying edges alone."""
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    grey = phantom.volume.voxels.astype(np.float32)
    points = ras_of_voxels(phantom.volume)
    deep = phantom.solid(points.reshape(-1, 3)).reshape(grey.shape) < -3
    grey[deep] = 40  # no inner surfaces
    image = vtkImageData()
    image.SetDimensions(*grey.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(grey.ravel(), deep=True))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, -480.0)
    edges.Update()
    mesh = edges.GetOutput()
    at = transform_points(phantom.volume.ijk_to_ras, vtk_to_numpy(mesh.GetPoints().GetData()))
    triangles = vtk_to_numpy(mesh.GetPolys().GetConnectivityArray()).reshape(-1, 3)
    return SkinMesh(
        at.astype(np.float32), triangles.astype(np.int32), np.zeros(len(triangles), bool), False
    )


@pytest.fixture(scope="module")
def measured():
    phantom = make_phantom(part((-60.0, 5.0, 5.0), (70, 80, 90), spacing=(0.8,) * 3))
    return phantom, contour(phantom)


def test_a_plain_contour_is_within_a_tenth_of_a_mm_and_the_blur_explains_the_rims(measured):
    phantom, mesh = measured
    chosen = np.random.default_rng(0).choice(len(mesh.points), 6000, replace=False)
    result = surface_error(mesh.points[chosen], phantom)
    assert result.figures.count > 4000
    assert result.figures.mean < 0.03
    assert result.figures.p99 < 0.2
    assert result.unblurred.p99 < result.figures.p99
    assert abs(result.unblurred.signed_mean) < 0.005
    assert result.bias_max > 0.05
    assert result.near_cut.any()
    assert not result.near_object.any()
    assert result.counted.sum() == result.figures.count
    assert result.figures.mean <= result.figures.p95 <= result.figures.p99 <= result.figures.p999


def test_a_shifted_mesh_is_measured_as_shifted(measured):
    phantom, mesh = measured
    chosen = np.random.default_rng(1).choice(len(mesh.points), 2000, replace=False)
    out = np.array([-0.4, 0, 0])
    result = surface_error(mesh.points[chosen] + out, phantom)
    assert 0.15 < result.figures.mean < 0.4
    assert 0.35 < result.figures.p99 < 0.6


def test_a_missing_ear_is_found_from_the_skin_side_only(measured):
    phantom, mesh = measured
    keep = (mesh.points[mesh.triangles][:, :, 0] > -80).all(axis=1)
    used, triangles = np.unique(mesh.triangles[keep], return_inverse=True)
    cut = SkinMesh(
        mesh.points[used], triangles.reshape(-1, 3).astype(np.int32), mesh.is_cut[keep], False
    )
    result = mesh_error(cut, phantom, spacing_mm=3.0)
    assert result.figures.mean < 0.05
    assert result.missed is not None
    assert result.missed.max > 5


def test_nothing_left_to_measure_is_said(measured):
    phantom, mesh = measured
    with pytest.raises(SurfaceError, match="margin"):
        surface_error(mesh.points[:50], phantom, margin_mm=500.0)


def test_specs_are_checked_and_resampled():
    from SkinSegLib.core import GeometryError, SkinSegError

    with pytest.raises(SkinSegError, match="three sizes"):
        PhantomSpec(shape=(0, 5, 5))
    with pytest.raises(SkinSegError, match="seed"):
        PhantomSpec(seed=-1)
    with pytest.raises(GeometryError):
        make_phantom(PhantomSpec(shape=(2, 2, 2), spacing_mm=(1.0, 0.0, 1.0)))
    fine = PhantomSpec.clean().resampled((0.5, 0.5, 1.0))
    assert fine.shape == (250, 560, 432)
    assert PLAIN["hair"] is False


def test_the_whole_head_has_a_plausible_volume_and_extent():
    phantom = make_phantom(whole(spacing=4.0, sigma=2.0))
    volume = phantom.truth.sum() * phantom.volume.voxel_volume_ml
    assert 3500 < volume < 5500
    where = ras_of_voxels(phantom.volume)[phantom.truth == 1]
    assert where[:, 1].max() > 110
    assert where[:, 2].max() > 120
    assert phantom.truth[0].any(), "the neck is cut by the end of the scan"
    assert not phantom.truth[-1].any()
