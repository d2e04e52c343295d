"""Soft tissue over bone: a made head with a known thickness, what is no bone, files, colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from shapes import ball, box
from SkinSegLib.core import Cancelled, CTVolume, OutputError, Progress, SkinMesh, SurfaceError
from SkinSegLib.surface import (
    Thickness,
    bone_level,
    checked_range,
    read_points,
    skull_thickness,
    write_thickness,
)
from SkinSegLib.surface.bone import bone_surface
from SkinSegLib.surface.colors import NONE_RGB, colored, viridis

SKIN, SKULL, BRAIN = 60.0, 55.0, 49.0
BONE_HU = 1000.0
#: Half-way between tissue and the made head's bone: where its edge is, whatever the blur.
HALF_HU = 520.0
BLUR = 0.6


def edge(inward: np.ndarray) -> np.ndarray:
    """1 well inside, 0 well outside, blurred by a Gaussian."""
    from scipy.special import erf

    return 0.5 * (1 + erf(inward / BLUR / np.sqrt(2)))


def scan(
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    turn: float = 0.0,
    noise: float = 0.0,
    more=lambda x, y, z: 0.0,
) -> CTVolume:
    """A ball of tissue with a shell of bone 5 mm under its skin, about the origin; ``more`` is
    added to its grey values. ``spacing`` along k, j, i; ``turn``: degrees about S."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in ((int(140 / s) + 1, s) for s in spacing)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    matrix = np.diag([*spacing[::-1], 1.0])
    matrix[:3, 3] = [axis[0] for axis in axes[::-1]]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    turned = np.eye(4)
    turned[:2, :2] = (c, -s), (s, c)
    r = np.sqrt(x * x + y * y + z * z)
    values = -1000 + 1040 * edge(SKIN - r) + 960 * (edge(SKULL - r) - edge(BRAIN - r))
    values = values + more(x, y, z) + np.random.default_rng(0).normal(0, noise, r.shape)
    return CTVolume(np.rint(values).astype(np.int16), turned @ matrix)


@pytest.fixture(scope="module")
def skin() -> SkinMesh:
    return ball(SKIN)


@pytest.fixture(scope="module")
def plain() -> CTVolume:
    return scan()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spacing", "turn", "noise", "mean", "worst"),
    [
        ((1.0, 1.0, 1.0), 0.0, 0.0, 0.01, 0.08),
        ((1.0, 1.0, 1.0), 33.0, 0.0, 0.01, 0.08),
        ((1.0, 1.0, 1.0), 0.0, 30.0, 0.03, 0.25),
        ((1.5, 0.7, 0.7), 0.0, 0.0, 0.02, 0.2),
    ],
)
def test_the_known_thickness_well_below_a_voxel(skin, spacing, turn, noise, mean, worst):
    found = skull_thickness(skin, scan(spacing, turn, noise), bone_hu=HALF_HU)
    off = found.thickness_mm - (SKIN - SKULL)
    assert np.isfinite(off).all()
    assert abs(off.mean()) < mean
    assert np.abs(off).max() < worst
    assert found.summary.median_mm == pytest.approx(5.0, abs=mean + 0.01)
    assert found.summary.without_bone == 0


def test_the_default_level_puts_dense_bone_nearer(skin, plain):
    """300 HU is below half the height of the made bone: by less than half a voxel."""
    found = skull_thickness(skin, plain)
    assert found.bone_hu == 300
    assert 4.4 < found.summary.median_mm < 4.8


def test_a_skull_off_centre_is_thinner_on_its_side(plain):
    """The skin moved to the right: 8 mm there, 2 mm on the left."""
    found = skull_thickness(ball(SKIN, (3.0, 0.0, 0.0)), plain, bone_hu=HALF_HU)
    right, left = (found.mesh.points[:, 0].argmax(), found.mesh.points[:, 0].argmin())
    assert found.thickness_mm[right] == pytest.approx(8.0, abs=0.1)
    assert found.thickness_mm[left] == pytest.approx(2.0, abs=0.1)
    assert found.summary.p5_mm < 3 < 4.5 < found.summary.median_mm < 5.5 < 7 < found.summary.p95_mm


def test_distances_are_those_of_vtk(skin):
    """Its search over all triangles; also on voxels that make them three times as long as wide."""
    from SkinSegLib.surface import to_polydata
    from vtkmodules.vtkFiltersCore import vtkImplicitPolyDataDistance

    volume = scan((3.0, 1.0, 1.0))
    rough = replace(skin, points=skin.points * np.float32([1.0, 1.02, 1.1]))
    found = skull_thickness(rough, volume, bone_hu=HALF_HU)
    bone = bone_surface(rough, volume, HALF_HU, Progress())
    corners = np.arange(3 * len(bone), dtype=np.int32).reshape(-1, 3)
    exact = vtkImplicitPolyDataDistance()
    exact.SetInput(
        to_polydata(
            SkinMesh(
                bone.reshape(-1, 3).astype(np.float32), corners, np.zeros(len(bone), bool), False
            )
        )
    )
    some = range(0, len(rough.points), 5)
    expected = [abs(exact.EvaluateFunction(rough.points[n].astype(float))) for n in some]
    assert found.thickness_mm[list(some)] == pytest.approx(expected, abs=0.01)


def near(x, y, z, centre, radius):
    r = np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2)
    return edge(radius - r)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("a clip under the skin", lambda x, y, z: 3000 * near(x, y, z, (58.5, 0, 0), 0.8)),
        ("a holder outside", lambda x, y, z: 3000 * (edge(x - 64) - edge(x - 68))),
        ("noise", lambda x, y, z: 800 * (np.random.default_rng(1).random(x.shape) > 0.9995)),
    ],
)
def test_what_is_as_dense_but_no_bone_changes_nothing(skin, plain, name, more):
    there = scan(more=more)
    expected = skull_thickness(skin, plain, bone_hu=HALF_HU).thickness_mm
    found = skull_thickness(skin, there, bone_hu=HALF_HU).thickness_mm
    assert (there.voxels != plain.voxels).any(), name
    # A speck that touches the skull is a bump of a voxel on it, no piece of its own.
    assert np.quantile(np.abs(found - expected), 0.97) < 1e-3, name
    assert np.abs(found - expected).max() < 2.5, name


def test_padding_is_no_bone(skin, plain):
    """Outside the round field some scanners write a value above any bone."""
    index = np.indices(plain.voxels.shape)[2]
    voxels = np.where(index > 125, np.int16(5000), plain.voxels)  # from 2 mm under the skin on
    padded = CTVolume(voxels, plain.ijk_to_ras, padding=(5000.0,))
    found = skull_thickness(skin, padded, bone_hu=HALF_HU)
    whole = skull_thickness(skin, plain, bone_hu=HALF_HU)
    assert found.thickness_mm == pytest.approx(whole.thickness_mm, abs=0.01)


def test_a_jaw_is_bone_too():
    """A second piece of 14 mL, far from the skull, below it."""
    jaw = scan(more=lambda x, y, z: 1000 * near(x, y, z, (0, 0, -35), 15.0))
    skull_less = replace(jaw, voxels=np.minimum(jaw.voxels, 40))
    with pytest.raises(SurfaceError, match="no bone within the skin"):
        skull_thickness(ball(SKIN), skull_less)
    inner = ball(52.0, (0, 0, 0))  # only the jaw and the skull's inner half are within it
    found = skull_thickness(inner, jaw, bone_hu=HALF_HU)
    assert np.isfinite(found.thickness_mm).all()


def test_where_no_bone_is_near_there_is_no_number(plain):
    """A neck 100 mm long below the head."""
    long = replace(ball(SKIN), points=ball(SKIN).points * np.float32([1, 1, 1]))
    found = skull_thickness(long, plain, bone_hu=HALF_HU, limit_mm=4.0)
    assert np.isnan(found.thickness_mm).all()
    assert found.summary.without_bone == 1
    assert np.isnan(found.summary.median_mm)
    assert (found.colors() == NONE_RGB).all()
    shifted = ball(SKIN, (0, 0, 12))
    found = skull_thickness(shifted, plain, bone_hu=HALF_HU, limit_mm=10.0)
    top = shifted.points[:, 2] > 50
    assert np.isnan(found.thickness_mm[top]).any()
    assert 0.05 < found.summary.without_bone < 0.6


def test_cuts_are_no_skin(plain):
    """The lower half of the skin is marked as cut: its own vertices get no number."""
    skin = ball(SKIN)
    low = skin.points[skin.triangles].mean(axis=1)[:, 2] < 0
    found = skull_thickness(replace(skin, is_cut=low), plain, bone_hu=HALF_HU)
    assert np.isnan(found.thickness_mm[skin.points[:, 2] < -5]).all()
    assert np.isfinite(found.thickness_mm[skin.points[:, 2] > 0]).all()
    assert found.summary.without_bone == 0


def test_figures_are_weighted_by_area():
    """Two faces of one size, one in two triangles and one in many."""
    grid = 20
    y, z = np.meshgrid(np.linspace(0, 10, grid), np.linspace(0, 10, grid), indexing="ij")
    fine = np.column_stack([np.full(y.size, 20.0), y.ravel(), z.ravel()])
    index = np.arange(grid * grid).reshape(grid, grid)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate(
        [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    )
    coarse = np.array([[0, 0, 0], [0, 10, 0], [0, 10, 10], [0, 0, 10]], float)
    mesh = SkinMesh(
        np.concatenate([coarse, fine]).astype(np.float32),
        np.concatenate([[[0, 2, 1], [0, 3, 2]], faces + 4]).astype(np.int32),
        np.zeros(2 + len(faces), bool),
        closed=False,
    )
    values = np.where(np.arange(len(mesh.points)) < 4, 2.0, 8.0).astype(np.float32)
    summary = Thickness(mesh, values, 300.0).summary
    assert summary.mean_mm == pytest.approx(5.0)
    assert (summary.p5_mm, summary.p95_mm) == pytest.approx((2, 8))
    half = Thickness(mesh, np.where(values == 2, np.nan, values).astype(np.float32), 300.0).summary
    assert half.without_bone == pytest.approx(0.5)
    assert half.median_mm == 8


# --- the level


def test_the_level_is_300_hu_where_that_means_something():
    assert bone_level(-1000, 40, calibrated=True) == 300
    assert bone_level(-1000, 40, calibrated=True, bone_hu=250) == 250
    with pytest.raises(SurfaceError, match=r"--bone-hu.*try 1250"):
        bone_level(0, 1000, calibrated=False)
    assert bone_level(0, 1000, calibrated=False, bone_hu=1300) == 1300
    for wrong in (30, -500, np.nan):
        with pytest.raises(SurfaceError, match="not above the scan's soft tissue"):
            bone_level(-1000, 40, calibrated=True, bone_hu=wrong)


def test_mesh_and_scan_that_do_not_belong_together(plain, skin):
    far = replace(skin, points=skin.points + np.float32(500))
    with pytest.raises(SurfaceError, match="does not lie within the scan"):
        skull_thickness(far, plain)
    with pytest.raises(SurfaceError, match="no bone within the skin"):
        skull_thickness(skin, plain, bone_hu=2500)
    with pytest.raises(SurfaceError, match="limit"):
        skull_thickness(skin, plain, limit_mm=0)


def test_cancelling(plain, skin):
    with pytest.raises(Cancelled):
        skull_thickness(skin, plain, progress=Progress(is_cancelled=lambda: True))


# --- colours and files


def test_the_colours_are_viridis():
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    table = np.rint(np.array(matplotlib.colormaps["viridis"].colors) * 255)
    assert (viridis() == table).all()


def test_the_range_of_colours():
    rgb = colored([np.nan, -5, 0, 10, 20, 99], 0, 20)
    assert (rgb[0] == NONE_RGB).all()
    assert (rgb[[1, 2]] == viridis()[0]).all()
    assert (rgb[3] == viridis()[128]).all()
    assert (rgb[[4, 5]] == viridis()[255]).all()
    assert checked_range((2, 12)) == (2, 12)
    for wrong in ((5, 5), (9, 1), (0, np.inf)):
        with pytest.raises(SurfaceError, match="range"):
            checked_range(wrong)


@pytest.fixture
def made() -> Thickness:
    mesh = box((1, 2, 3), (11, 32, 53))
    values = np.array([0, 5, 10, 15, 20, 25, np.nan, 2.5], np.float32)
    return Thickness(mesh, values, 300.0)


@pytest.mark.parametrize("suffix", [".ply", ".vtp"])
def test_files_hold_colours_and_say_what_they_mean(made, tmp_path, suffix):
    path = write_thickness(made, tmp_path / f"map{suffix}", (0.0, 10.0))
    points, count, tag = read_points(path)
    assert (count, tag) == (12, "LPS")
    assert points == pytest.approx(made.mesh.points * (-1, -1, 1))
    legend = made.legend((0.0, 10.0))
    assert "yellow 10 or more, grey no bone within 30 mm" in legend
    if suffix == ".ply":  # the other is compressed
        assert legend.encode() in path.read_bytes().partition(b"end_header")[0]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_library_sees_the_colours(made, tmp_path):
    body = trimesh.load(write_thickness(made, tmp_path / "map.ply"), process=False)
    assert (body.visual.vertex_colors[:, :3] == made.colors()).all()
    assert body.is_watertight
    meshio = pytest.importorskip("meshio", reason="meshio is not installed")
    assert len(meshio.read(tmp_path / "map.ply").points) == 8


def test_vtp_holds_the_numbers_too(made, tmp_path):
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(write_thickness(made, tmp_path / "map.vtp")))
    reader.Update()
    data = reader.GetOutput()
    found = vtk_to_numpy(data.GetPointData().GetArray("thickness_mm"))
    assert np.array_equal(found, made.thickness_mm, equal_nan=True)
    assert data.GetFieldData().GetAbstractArray("Legend").GetValue(0) == made.legend()
    assert vtk_to_numpy(data.GetFieldData().GetArray("ColorRange_mm")).tolist() == [0, 20]


def test_files_that_cannot_be(made, tmp_path, monkeypatch):
    from SkinSegLib.surface import thickness_files

    with pytest.raises(OutputError, match=r"ends in \.ply or \.vtp"):
        write_thickness(made, tmp_path / "map.stl")
    with pytest.raises(OutputError, match="does not exist"):
        write_thickness(made, tmp_path / "none" / "map.ply")
    wrong = replace(made, thickness_mm=made.thickness_mm[::-1].copy())
    real = thickness_files._add_arrays
    monkeypatch.setattr(
        thickness_files, "_add_arrays", lambda data, _, *more: real(data, wrong, *more)
    )
    for name in ("map.ply", "map.vtp"):
        with pytest.raises(OutputError, match="did not read back"):
            write_thickness(made, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_picture_has_colours_and_a_scale(tmp_path):
    from PIL import Image
    from SkinSegLib.core import MissingPackageError
    from SkinSegLib.surface import render_thickness

    skin = ball(SKIN, subdivisions=4)
    values = np.where(skin.points[:, 0] > 0, 20.0, 0.0).astype(np.float32)  # thick on the right
    try:
        path = render_thickness(Thickness(skin, values, 300.0), tmp_path / "map.png")
    except MissingPackageError as error:
        pytest.skip(str(error))
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    height, width, _ = picture.shape
    side = height - round(height * 0.09)
    assert width == 4 * side + round(height * 0.36)
    yellow = (picture[..., 0] > 120) & (picture[..., 2] < 100)
    front = yellow[:, :side]
    assert front[:, : side // 2].mean() > 20 * front[:, side // 2 :].mean()  # the patient's right
    # The whole table stands in the scale, the highest on top.
    strip = picture[:, 4 * side :]
    lowest, highest = viridis()[3].astype(int), viridis()[252].astype(int)
    rows = [
        np.flatnonzero((np.abs(strip - color).sum(axis=2) < 12).any(axis=1)).mean()
        for color in (lowest, highest)
    ]
    assert rows[1] < rows[0] - height * 0.4
