"""Proof that the face is gone, and defacing as a whole, on small grids with known answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deface_makers import LEVEL, LOW, STEP, cut_of, grid_of, mask_of
from SkinSegLib.core import CTVolume, PrivacyError, SkinMesh
from SkinSegLib.privacy import deface
from SkinSegLib.privacy.deface import (
    DefaceOptions,
    FaceCut,
    Proof,
    _cloud,
    _sheet_mesh,
    _skin,
    on_axes_like,
    prove,
)
from SkinSegLib.privacy.face import AxisGrid
from SkinSegLib.surface import deviation

# What is left on the grid.


def random_grid(seed: int = 1) -> AxisGrid:
    rng = np.random.default_rng(seed)
    head = np.arange(16)[None, :, None] < rng.integers(3, 14, (9, 1, 12))
    return grid_of(head, rng.choice([-900.0, LEVEL, LEVEL + 1, 500.0], head.shape))


@pytest.mark.parametrize("blur", [False, True], ids=["remove", "blur"])
def test_what_is_left_on_the_grid_of_the_cut(blur: bool) -> None:
    """Blurred tissue is still head, wherever it lies; grey values behind the sheet stay."""
    rng = np.random.default_rng(5)
    grid = random_grid()
    smooth = rng.choice([LEVEL, LEVEL + 1], grid.grey.shape).astype(np.float32)
    cut = cut_of(rng.uniform(-8, 9, (9, 12)), fill_hu=-990.0, smooth=smooth if blur else None)
    before = grid.grey.copy(), grid.head.copy()
    left = on_axes_like(grid, cut, LEVEL)
    changed = 0
    for k, j, i in np.ndindex(*grid.head.shape):
        y, sheet = LOW[1] + STEP * j, cut.sheet[k, i]
        old = float(grid.grey[k, j, i])
        gone = y > sheet and not (old >= 300 and y < sheet + 5)
        new = (float(smooth[k, j, i]) if blur else -990.0) if gone else old
        assert left.grey[k, j, i] == new
        assert left.head[k, j, i] == (new > LEVEL if gone else grid.head[k, j, i])
        changed += gone
    assert changed > 300
    np.testing.assert_array_equal(left.low, grid.low)
    for now, then in zip((grid.grey, grid.head), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_of_slices_before_which_no_face_lies_nothing_goes() -> None:
    grid = random_grid()
    cut = cut_of(np.full((9, 12), -100.0))
    cut = replace(cut, face=replace(cut.face, bottom=LOW[2] + 8, top=LOW[2] + 8))
    changed = (on_axes_like(grid, cut, LEVEL).grey != grid.grey).any(axis=(1, 2))
    # From 5 mm below to 5 mm above: 3, 4.5, 6, ... 12 mm.
    assert changed.tolist() == [False, False, *[True] * 7]


# The skin.


def test_the_skin_is_where_grey_values_cross_the_level() -> None:
    """To a part of a voxel, straight between the last voxel of the head and the next."""
    rng = np.random.default_rng(3)
    head = np.arange(8)[None, :, None] < rng.integers(0, 7, (30, 1, 20))
    grid = grid_of(head, rng.choice([-1000.0, -481.0, -480.5, -479.5, -100.0, 300.0], head.shape))
    found = _skin(grid, LEVEL)
    for k, i in np.ndindex(30, 20):
        there = np.flatnonzero(head[k, :, i])
        if not len(there):
            assert found[k, i] == -np.inf
            continue
        inner, outer = (float(grid.grey[k, there[-1] + n, i]) for n in (0, 1))
        # Where hardly anything changes it is as if it fell by 1 HU.
        fall = inner - outer if abs(inner - outer) > 1 else 1.0
        part = min(max((inner - LEVEL) / fall, 0), 1)
        assert found[k, i] == pytest.approx(LOW[1] + STEP * (there[-1] + part))


def test_skin_at_the_end_of_the_grid() -> None:
    """There is no voxel before the last one; the two last ones are taken."""
    grid = grid_of(np.ones((1, 3, 1)), np.array([0.0, 0.0, -640.0]).reshape(1, 3, 1))
    assert _skin(grid, LEVEL).tolist() == [[LOW[1] + STEP * 2.75]]


def test_points_and_triangles_of_a_front() -> None:
    rng = np.random.default_rng(6)
    front, chosen = rng.uniform(-9, 9, (7, 8)), rng.random((7, 8)) < 0.85
    grid = grid_of(np.zeros((7, 4, 8)))
    points = [(LOW[0] + STEP * i, front[k, i], LOW[2] + STEP * k) for k, i in np.argwhere(chosen)]
    np.testing.assert_allclose(_cloud(grid, front, chosen), points)
    mesh = _sheet_mesh(grid, front, chosen)
    np.testing.assert_allclose(mesh.points, points, rtol=1e-6)
    assert (mesh.points.dtype, mesh.triangles.dtype) == (np.float32, np.int32)
    assert mesh.closed is False
    assert mesh.is_cut.tolist() == [False] * len(mesh.triangles)
    number = {tuple(place): n for n, place in enumerate(np.argwhere(chosen).tolist())}
    expected = set()
    for k, i in np.ndindex(6, 7):
        corners = [(k, i), (k, i + 1), (k + 1, i + 1), (k + 1, i)]
        if all(chosen[corner] for corner in corners):
            a, b, c, d = (number[corner] for corner in corners)
            expected |= {(a, b, c), (a, c, d)}
    assert len(mesh.triangles) == len(expected) > 20
    assert {tuple(triangle) for triangle in mesh.triangles.tolist()} == expected


# The distance.


def bumpy(shift: tuple[int, int, int] = (0, 0, 0)) -> AxisGrid:
    """A head whose front has bumps of its own at every place, moved by voxels along z, y, x."""
    k, i = np.meshgrid(np.arange(60.0), np.arange(64.0), indexing="ij")
    k, i = k - shift[0], i - shift[2]
    length = 24 + 5 * np.sin(k / 7 + 1) * np.cos(i / 6) + i / 9 + 3 * np.sin(k * i / 250)
    depth = np.arange(48.0)[None, :, None] - shift[1]
    grey = np.clip((length[:, None] - depth) * 500 + LEVEL, -1000, 40)
    grey[:, :, :3] = -1000  # no head beside
    return grid_of(grey > LEVEL, grey)


def test_a_face_that_is_only_moved_is_found_again() -> None:
    """Such a face is there still: what counts is what aligning cannot take away."""
    within = np.zeros((60, 64), bool)
    within[20:40, 18:46] = True
    cut = cut_of(np.zeros((60, 64)), within=within)
    old = bumpy()
    here = prove(old, old, cut, mask_of(old.head), 12.34)
    assert (here.before_mm, here.mean_mm, here.p95_mm) == (0.0, 0.0, 0.0)
    assert (here.within_2mm, here.removed_ml) == (1.0, 12.3)
    moved = prove(old, bumpy((1, -3, 2)), cut, mask_of(old.head), 0.0)
    assert moved.before_mm > 2.0
    assert moved.mean_mm < 0.15
    assert moved.p95_mm < 0.4


def test_a_smaller_face_is_not_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is turned and moved, and never scaled, to fit."""
    within = np.zeros((60, 64), bool)
    within[20:40, 18:46] = True
    cut, old = cut_of(np.zeros((60, 64)), within=within), bumpy()
    small = replace(old, low=np.array(LOW) * 0.8)
    monkeypatch.setattr(AxisGrid, "along", along_scaled(AxisGrid.along, small, 0.8))
    assert prove(old, small, cut, mask_of(old.head), 0.0).mean_mm > 0.5


def along_scaled(along: Any, which: AxisGrid, scale: float) -> Any:
    """Of one grid, steps that are smaller than of others."""

    def scaled(self: AxisGrid, axis: int) -> np.ndarray:
        first = float(self.low[2 - axis])
        return first + scale * (along(self, axis) - first) if self is which else along(self, axis)

    return scaled


def test_the_figures_of_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of given distances; of the face's columns that are there, to those 20 mm around."""
    before, after = bumpy(), bumpy((0, -4, 0))
    within = np.zeros((60, 64), bool)
    within[18:50, 1:30] = within[20, 44] = True
    cut = cut_of(np.zeros((60, 64)), within=within)
    far = np.concatenate([np.linspace(0.0013, 4.4, 101), [0.12345, 1.999, 2.0, 30.0]])
    seen: list[tuple[np.ndarray, SkinMesh]] = []

    def given(points: np.ndarray, mesh: SkinMesh) -> np.ndarray:
        seen.append((points, mesh))
        return far + 1.005 if len(seen) == 1 else far

    monkeypatch.setattr(deviation, "distances", given)
    found = prove(before, after, cut, mask_of(before.head), 123.456)
    mean, median, most = float(far.mean()), float(np.median(far)), float(np.percentile(far, 95))
    near = sum(value < 2 for value in far) / len(far)
    assert found == Proof(
        *(round(mean + 1.005, 2), round(mean, 2), round(median, 2), round(most, 2)),
        *(round(near, 3), 123.5),
    )
    (start, mesh), (end, same) = seen
    assert same is mesh
    skin = _skin(before, LEVEL)
    np.testing.assert_allclose(start, _cloud(before, skin, within & np.isfinite(skin)))
    # Aligned, as the new front lies 6 mm behind.
    np.testing.assert_allclose(end - start, np.tile([0, -6, 0], (len(start), 1)), atol=0.6)
    k, i = np.indices(within.shape)
    wide = np.zeros(within.shape, bool)
    for a, b in np.argwhere(within):
        wide |= abs(k - a) + abs(i - b) <= 13  # diamonds of 19.5 mm
    new = _skin(after, LEVEL)
    np.testing.assert_allclose(
        mesh.points, _cloud(after, new, wide & np.isfinite(new)), rtol=1e-5, atol=1e-5
    )


# All of it.


def made(
    monkeypatch: pytest.MonkeyPatch, volume: CTVolume, inside: np.ndarray, mean: float, **cut: Any
) -> tuple[deface.Defaced, dict[str, Any]]:
    """Defaced by a sheet that is given, with a proof that is given too, and what was asked for."""
    grid, asked = random_grid(), dict[str, Any]()
    sheet, left = cut_of(np.zeros((9, 12)), **cut), random_grid(2)

    def axes(*given: Any) -> AxisGrid:
        asked["axes"] = given
        return grid

    def cut_for(*given: Any) -> FaceCut:
        asked["cut"] = given
        return sheet

    def like(*given: Any) -> AxisGrid:
        asked["like"] = given
        return left

    def proof(*given: Any) -> Proof:
        asked["proof"] = given
        return Proof(9.0, mean, 1.0, 1.0, 0.5, 0.0)

    for name, fake in (
        ("on_axes", axes), ("face_cut", cut_for), ("on_axes_like", like), ("prove", proof),
    ):  # fmt: skip
        monkeypatch.setattr(deface, name, fake)
    mask = mask_of(inside, np.array(volume.ijk_to_ras))
    done = deface.deface(volume, mask)
    assert asked["axes"] == (volume, mask)
    assert asked["cut"] == (grid, mask, DefaceOptions())
    assert asked["like"] == (grid, sheet, LEVEL)
    assert asked["proof"][:4] == (grid, left, sheet, mask)
    return done, asked


def scan(kind: Any = np.int16) -> tuple[CTVolume, np.ndarray]:
    """A scan of which each second slice or so lies before the columns of the cut."""
    rng = np.random.default_rng(9)
    matrix = np.diag([1.5, 1.5, 4.0, 1.0])
    matrix[:3, 3] = LOW[0], LOW[1], LOW[2] - 14
    voxels = rng.choice([-1000, int(LEVEL), int(LEVEL) + 1, 200, 900], (8, 16, 12)).astype(kind)
    return CTVolume(voxels, matrix), rng.random(voxels.shape) < 0.6


@pytest.mark.parametrize("kind", [np.int16, np.float32])
@pytest.mark.parametrize("blur", [False, True], ids=["remove", "blur"])
def test_a_scan_without_its_face(monkeypatch: pytest.MonkeyPatch, kind: Any, blur: bool) -> None:
    volume, inside = scan(kind)
    smooth = np.random.default_rng(1).uniform(-600, -300, (9, 16, 12)).astype(np.float32)
    changes = {"fill_hu": -990.5, "smooth": smooth if blur else None}
    done, asked = made(monkeypatch, volume, inside, 2.0, **changes)
    cut = done.cut
    removed = 0
    for k, j, i in np.ndindex(*volume.voxels.shape):
        x, y, z = (volume.ijk_to_ras @ (i, j, k, 1))[:3]
        old = float(volume.voxels[k, j, i])
        gone = LOW[2] <= z <= LOW[2] + 12 and y > 0 and not (old >= 300 and y < 5)
        assert done.region[k, j, i] == gone
        new = old
        if gone:
            row = (z - LOW[2]) / STEP
            low, part = int(row), row - int(row)
            new = -990.5
            if blur:
                new = (1 - part) * smooth[low, j, i] + part * smooth[min(low + 1, 8), j, i]
            new = round(new) if kind == np.int16 else new
            removed += inside[k, j, i]
        assert done.volume.voxels[k, j, i] == pytest.approx(new, abs=1e-3)
        head = done.volume.voxels[k, j, i] > LEVEL if gone else inside[k, j, i]
        assert done.mask.voxels[k, j, i] == head
        assert x == LOW[0] + STEP * i
    assert removed > 100
    assert asked["proof"][4] == pytest.approx(removed * 9 / 1000)
    assert done.volume.voxels.dtype == kind
    assert (done.region.dtype, done.mask.voxels.dtype) == (bool, np.uint8)
    assert (done.mask.engine, done.proof.mean_mm) == ("truth", 2.0)
    assert cut.fill_hu == -990.5
    np.testing.assert_array_equal(done.volume.ijk_to_ras, volume.ijk_to_ras)
    # The caller's own scan is left alone.
    np.testing.assert_array_equal(volume.voxels, scan(kind)[0].voxels)


def test_a_face_that_is_still_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, inside = scan()
    with pytest.raises(PrivacyError, match=r"^The face would still be there: what is left lies "
                       r"2\.0 mm from it\. Choose a larger depth\.$"):  # fmt: skip
        made(monkeypatch, volume, inside, 1.99)


def test_the_options_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    volume, inside = scan()
    options, seen = DefaceOptions("blur", 7.0), []

    def stop(*given: Any) -> FaceCut:
        seen.append(given[2])
        raise PrivacyError("seen")

    monkeypatch.setattr(deface, "on_axes", lambda *_: random_grid())
    monkeypatch.setattr(deface, "face_cut", stop)
    with pytest.raises(PrivacyError, match="seen"):
        deface.deface(volume, mask_of(inside, np.array(volume.ijk_to_ras)), options)
    assert seen == [options]
