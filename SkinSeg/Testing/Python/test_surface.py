"""The surface: closed whatever the mask, exact where the answer is known, flat at the cuts."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from SkinSegLib.core import (
    Cancelled,
    CTVolume,
    GeometryError,
    Progress,
    SkinMask,
    SkinMesh,
    SurfaceError,
    transform_points,
)
from SkinSegLib.surface import SurfaceOptions, build, layer_voxels

OBLIQUE = np.array(
    [[-0.8, 0.1, 0.3, 5.0], [0.15, 0.9, -0.2, -40.0], [0.1, 0.2, 1.4, 12.0], [0, 0, 0, 1]]
)
#: One axis turned round: a left-handed grid.
LEFT_HANDED = OBLIQUE @ np.diag([-1.0, 1.0, 1.0, 1.0])
GRIDS = {
    "1 mm": np.diag([1.0, 1.0, 1.0, 1.0]),
    "slices": np.diag([-0.7, -0.7, 2.5, 1.0]),
    "oblique": OBLIQUE,
    "left-handed": LEFT_HANDED,
}


#: The contour alone, neither smoothed nor simplified.
CONTOUR = SurfaceOptions(smooth_mm=0, deviation_mm=0)


def masked(inside: np.ndarray, volume: CTVolume) -> SkinMask:
    return SkinMask(inside.astype(np.uint8), volume.ijk_to_ras, "test", -480.0)


def ball(
    matrix: np.ndarray, radius: float = 15.0, blur: float = 0.8, shape=(32, 52, 52), off=(0, 0, 0)
) -> tuple[CTVolume, SkinMask, np.ndarray]:
    """A blurred ball of tissue in air, its mask, and its centre in RAS mm.

    Along a radius the profile is that of a blurred plane; over a ball of this size the bend adds
    less than 0.02 mm.
    """
    index = np.stack(np.indices(shape)[::-1], axis=-1).reshape(-1, 3)
    centre = transform_points(matrix, [(np.array(shape[::-1]) - 1) / 2 + off])[0]
    distance = np.linalg.norm(transform_points(matrix, index) - centre, axis=1) - radius
    from scipy.special import erf

    hu = -480 - 520 * erf(distance / (np.sqrt(2) * blur))
    volume = CTVolume(hu.reshape(shape).astype(np.float32), matrix)
    return volume, masked(volume.voxels >= -480, volume), centre


def solid_of(mesh: SkinMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.points, mesh.triangles, process=False)


@pytest.mark.parametrize("name", GRIDS)
def test_ball_on_any_grid(name):
    volume, mask, centre = ball(GRIDS[name], radius=11.0)
    mesh = build(mask, volume)
    radii = np.linalg.norm(mesh.points - centre, axis=1)
    coarse = max(volume.spacing) > 2
    # Drawn tight between slices of 2.5 mm, so small a ball shrinks a little.
    assert abs(radii.mean() - 11.0) < (0.12 if coarse else 0.03)
    assert np.abs(radii - 11.0).max() < (0.5 if coarse else 0.15)
    body = solid_of(mesh)
    assert mesh.closed
    assert body.is_watertight
    assert body.is_winding_consistent
    assert body.volume / 1000 == pytest.approx(mesh.volume_ml, rel=1e-4)
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * 1.331, rel=0.03)
    assert not mesh.is_cut.any()


@pytest.mark.parametrize("name", GRIDS)
def test_cut_ball_is_flat_and_square_at_the_rim(name):
    """A ball cut by the low end of k and of j: two planes that meet at an edge."""
    matrix = GRIDS[name]
    volume, mask, _ = ball(matrix, radius=14.0, off=(0, -23, -14))
    mesh = build(mask, volume)
    assert mesh.closed
    assert solid_of(mesh).is_watertight
    index = transform_points(np.linalg.inv(matrix), mesh.points)
    assert index.min(axis=0)[1:] == pytest.approx([-0.5, -0.5], abs=1e-4)
    on_cut = index[mesh.triangles[mesh.is_cut]]
    flat = (np.abs(on_cut[:, :, 1:] + 0.5) < 1e-4).all(axis=1).any(axis=1)
    assert flat.all()
    assert {tuple(row) for row in (np.abs(on_cut[:, :, 1:] + 0.5) < 1e-4).all(axis=1)} >= {
        (True, False),
        (False, True),
    }
    # The skin goes on straight to the cut: between the last voxel centre and the end of the scan
    # no vertex turns inward.
    skin = index[np.unique(mesh.triangles[~mesh.is_cut])]
    assert np.count_nonzero(np.abs(skin[:, 2] + 0.5) < 1e-4) > 20


def test_surface_separates_exactly_the_masks_voxels():
    """Signs follow the mask even where HU disagree: contact, caps, painted air."""
    volume, mask, _ = ball(GRIDS["1 mm"])
    inside = mask.voxels.copy()
    inside[10:20, 20:30, 40:] = 0  # tissue taken away
    inside[12:18, 36:48, 22:28] = 1  # air painted
    mesh = build(masked(inside, volume), volume, CONTOUR)
    assert mesh.closed
    centres = np.argwhere(np.ones_like(inside))
    rng = np.random.default_rng(0)
    some = centres[rng.choice(len(centres), 4000, replace=False)]
    contained = _contains(mesh, some[:, ::-1].astype(float))
    assert np.array_equal(contained, inside[tuple(some.T)] > 0)


def _contains(mesh: SkinMesh, points: np.ndarray) -> np.ndarray:
    from SkinSegLib.surface import to_polydata
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkDoubleArray
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    distance, result = vtkImplicitPolyDataDistance(), vtkDoubleArray()
    distance.SetInput(to_polydata(mesh))
    distance.FunctionValue(numpy_to_vtk(points), result)
    return np.array([result.GetValue(n) < 0 for n in range(len(points))])


def test_no_staircase_where_hu_show_no_edge():
    """Tissue cut off by an oblique plane in the mask: the surface follows the plane."""
    shape = (40, 40, 40)
    k, j, i = np.indices(shape)
    voxels = np.full(shape, 40, np.int16)
    voxels[:, :, :3] = -1000
    normal = np.array([0.2, 0.5, 1.0])
    normal /= np.linalg.norm(normal)
    distance = normal[0] * k + normal[1] * j + normal[2] * i - 28
    inside = (distance < 0) & (i >= 3) & (k > 4) & (k < 35) & (j > 4) & (j < 35)
    volume = CTVolume(voxels, np.eye(4))
    mesh = build(masked(inside, volume), volume, CONTOUR)
    off = mesh.points @ normal[::-1] - 28
    middle = (
        (np.abs(mesh.points[:, 1:] - 20) < 8).all(axis=1) & (mesh.points[:, 0] > 10)
    )  # fmt: skip
    assert np.count_nonzero(middle) > 100
    stairs = np.abs(off[middle])
    assert stairs.mean() < 0.3  # voxel centres alone would give up to 0.5 and steps throughout
    assert stairs.max() < 0.65


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.integers(0, 10_000),
    share=st.floats(0.02, 0.98),
    shape=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_any_mask_gives_a_closed_mesh_or_a_refusal(seed, share, shape):
    rng = np.random.default_rng(seed)
    volume = CTVolume(rng.normal(-480, 500, shape).astype(np.float32), OBLIQUE)
    inside = rng.random(shape) < share
    try:
        mesh = build(masked(inside, volume), volume)
    except SurfaceError:
        assert not inside.any()
        return
    assert mesh.closed
    assert mesh.volume_ml > 0


def test_empty_mask_and_another_grid_are_refused():
    volume, mask, _ = ball(GRIDS["1 mm"])
    with pytest.raises(SurfaceError, match="empty"):
        build(masked(np.zeros_like(mask.voxels), volume), volume)
    with pytest.raises(GeometryError, match="same grid"):
        build(mask, CTVolume(volume.voxels, OBLIQUE))


def test_cancel():
    volume, mask, _ = ball(GRIDS["1 mm"])
    with pytest.raises(Cancelled):
        build(mask, volume, progress=Progress(is_cancelled=lambda: True))


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("layer_mm", [2.0, 4.0])
def test_layer_is_a_shell_of_that_thickness(name, layer_mm):
    volume, mask, centre = ball(GRIDS[name], radius=11.0)
    mesh = build(mask, volume, SurfaceOptions(layer_mm))
    assert mesh.closed
    assert len(solid_of(mesh).split(only_watertight=True)) == 2
    radii = np.linalg.norm(mesh.points - centre, axis=1)
    inner = radii < 11 - layer_mm / 2
    assert inner.any()
    assert (~inner).any()
    # Distances are interpolated linearly over half a layer or a voxel: off by step^2 / 8 times
    # the sum of both curvatures, which on a head are ten times smaller than on this ball.
    bend = max(*volume.spacing, layer_mm / 2) ** 2 / (4 * (11 - layer_mm))
    tight = 0.1 if name == "slices" else 0.0  # drawn tight between slices
    assert np.abs(radii[inner].mean() - (11 - layer_mm)) < 0.06 + bend + tight
    expected = 4 / 3 * np.pi * (11**3 - (11 - layer_mm) ** 3) / 1000
    assert mesh.volume_ml == pytest.approx(expected, rel=0.06)
    voxels = layer_voxels(mask, build(mask, volume), layer_mm)
    if layer_mm > 1.5 * max(volume.spacing):  # else the grid cannot hold it
        assert np.count_nonzero(voxels) * volume.voxel_volume_ml == pytest.approx(expected, rel=0.1)
    assert not (voxels & (mask.voxels == 0)).any()


def test_layer_is_open_where_the_scan_cuts():
    volume, mask, _ = ball(GRIDS["1 mm"], radius=14.0, off=(0, 0, -14))
    mesh = build(mask, volume, SurfaceOptions(2.0))
    assert mesh.closed
    ring = mesh.points[mesh.triangles[mesh.is_cut]]
    area = np.linalg.norm(np.cross(ring[:, 1] - ring[:, 0], ring[:, 2] - ring[:, 0]), axis=1).sum()
    # Near the plane through its middle a ball of radius r is cut in a ring 2 mm wide.
    assert area / 2 == pytest.approx(np.pi * (14**2 - 12**2), rel=0.1)
    assert ring[:, :, 2] == pytest.approx(-0.5)


def test_a_layer_has_no_pockets_that_trap_resin():
    """A ball with a lobe that is thicker than two walls only in its middle: a hollow of its own."""
    volume, _, centre = ball(GRIDS["1 mm"], radius=14.0, off=(0, 0, -14))
    index = np.stack(np.indices(volume.voxels.shape)[::-1], axis=-1).reshape(-1, 3)
    far = np.linalg.norm(index - (centre + [16.5, 0, 6]), axis=1).reshape(volume.voxels.shape)
    voxels = np.maximum(volume.voxels, np.clip(-480 - 520 * (far - 4.5), -1000, 40))
    volume = CTVolume(voxels.astype(np.float32), volume.ijk_to_ras)
    mask = masked(volume.voxels >= -480, volume)
    mesh = build(mask, volume, SurfaceOptions(2.5))
    assert mesh.closed
    assert len(solid_of(mesh).split(only_watertight=True)) == 1
    assert _contains(mesh, (centre + [16.5, 0, 6])[None]).all()


def test_layer_too_thin_for_the_voxels_is_refused(monkeypatch):
    monkeypatch.setattr("SkinSegLib.surface.layer.MOST_VOXELS", 10**6)
    volume = CTVolume(np.full((20, 20, 20), -1000, np.int16), np.diag([4.0, 4.0, 4.0, 1.0]))
    volume.voxels[2:18, 2:18, 2:18] = 40
    mask = masked(volume.voxels > 0, volume)
    with pytest.raises(SurfaceError, match=r"Choose a layer of \d\.\d mm or more"):
        build(mask, volume, SurfaceOptions(0.2))
    assert build(mask, volume, SurfaceOptions(3.0)).closed


def test_layer_from_a_solid_that_is_there_already():
    volume, mask, _ = ball(GRIDS["oblique"], radius=11.0)
    solid = build(mask, volume)
    again = build(mask, volume, SurfaceOptions(2.0), solid=solid)
    assert np.array_equal(again.points, build(mask, volume, SurfaceOptions(2.0)).points)


def test_cancel_within_the_layer():
    volume, mask, _ = ball(GRIDS["1 mm"])
    mesh = build(mask, volume)
    seen: list[str] = []
    progress = Progress(lambda stage, _: seen.append(stage), lambda: seen.count("Layer") > 1)
    with pytest.raises(Cancelled):
        build(mask, volume, SurfaceOptions(2.0), progress)
    with pytest.raises(Cancelled):
        layer_voxels(mask, mesh, 2.0, Progress(is_cancelled=lambda: True))


def test_round_field_of_view_is_marked_as_cut():
    volume, mask, centre = ball(GRIDS["1 mm"])
    index = np.stack(np.indices(volume.voxels.shape)[::-1], axis=-1)
    beyond = index[..., 0] > centre[0] + 8
    voxels = volume.voxels.copy()
    voxels[beyond] = -3000
    cut = CTVolume(voxels, volume.ijk_to_ras, padding=(-3000.0,))
    mesh = build(masked((mask.voxels > 0) & ~beyond, cut), cut)
    assert mesh.closed
    corners = mesh.points[mesh.triangles]
    at_padding = (np.abs(corners[:, :, 0] - (centre[0] + 8.5)) < 0.6).all(axis=1)
    assert mesh.is_cut[at_padding].all()
    assert not mesh.is_cut[corners[:, :, 0].max(axis=1) < centre[0] + 6].any()


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), 1e6])
def test_layers_that_make_no_sense(wrong):
    with pytest.raises(SurfaceError, match="thick"):
        SurfaceOptions(wrong)
