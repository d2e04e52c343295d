"""The sheet behind the face and what is cut by it, column by column and voxel by voxel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from deface_makers import BONE, LEVEL, LOW, STEP, cut_of, face_at, grid_of, mask_of
from scan_makers import rotation
from scipy import ndimage
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import deface
from SkinSegLib.privacy.deface import DefaceOptions, FaceCut, _points, face_cut, slice_matrix
from SkinSegLib.privacy.face import AxisGrid, Face

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = rotation(28, (1, -2, 1)) @ np.diag([1.1, 0.9, 2.0])
OBLIQUE[:3, 3] = (-29.3, -13.1, 11.7)

# What can be chosen.


def test_how_deep_it_is_cut_if_nothing_is_said() -> None:
    assert DefaceOptions() == DefaceOptions("remove", 10.0)
    assert DefaceOptions("blur") == DefaceOptions("blur", 15.0)


@pytest.mark.parametrize("depth", [3, 3.0, 17.5, 25.0])
@pytest.mark.parametrize("mode", ["remove", "blur"])
def test_depths_that_can_be_chosen(mode: str, depth: float) -> None:
    assert DefaceOptions(mode, depth).depth_mm == depth


@pytest.mark.parametrize("depth", [2.99, 25.01, -10.0, np.nan, np.inf])
def test_depths_that_cannot(depth: float) -> None:
    with pytest.raises(PrivacyError, match=r"^The depth must be from 3 to 25 mm\.$"):
        DefaceOptions(depth_mm=depth)


def test_a_mode_that_there_is_not() -> None:
    with pytest.raises(PrivacyError, match=r"^There is no mode hide\. .*: remove, blur\.$"):
        DefaceOptions("hide")


# Places.


def test_a_slice_as_a_grid_of_its_own() -> None:
    given = OBLIQUE.copy()
    for k in (0, 1, 5):
        matrix = slice_matrix(given, k)
        for i, j in ((0, 0), (3, 1), (2, 7)):
            np.testing.assert_allclose(matrix @ (i, j, 0, 1), given @ (i, j, k, 1))
    np.testing.assert_array_equal(given, OBLIQUE)


def test_where_the_pixels_of_a_slice_are() -> None:
    x, y, z = _points(OBLIQUE, (4, 5))
    for j, i in np.ndindex(4, 5):
        np.testing.assert_allclose((x[j, i], y[j, i], z[j, i]), (OBLIQUE @ (i, j, 0, 1))[:3])


# What is replaced.


def between(array: np.ndarray, place: Any) -> float:
    """Of an array of any dimension at a place within it, by how near its voxels are."""
    first = np.minimum(np.floor(place), np.array(array.shape) - 2).astype(int)
    value = 0.0
    for corner in np.ndindex(*(2,) * array.ndim):
        index = first + corner
        value += float(np.prod(1 - np.abs(place - index))) * float(array[tuple(index)])
    return value


def replaced(cut: FaceCut, point: np.ndarray, grey: float) -> bool:
    """Whether a voxel at a point in RAS mm is to be replaced."""
    x, y, z = point
    k, i = (z - LOW[2]) / STEP, (x - LOW[0]) / STEP
    rows, columns = cut.sheet.shape
    if not (0 <= k <= rows - 1 and 0 <= i <= columns - 1):
        return False
    sheet = between(cut.sheet, (k, i))
    at_sheet = y < sheet + 5
    return bool(cut.within[round(k), round(i)] and y > sheet and not (grey >= BONE and at_sheet))


def slices_through(cut: FaceCut) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Oblique slices of random grey values, as matrix and pixels, that reach beyond the cut."""
    rng = np.random.default_rng(7)
    for k in range(-2, 10):
        yield slice_matrix(OBLIQUE, k), rng.choice([-900.0, 0.0, BONE - 1, BONE], (30, 34))


def wavy(seed: int = 3) -> FaceCut:
    rng = np.random.default_rng(seed)
    return cut_of(rng.uniform(-9, 12, (14, 18)), within=rng.random((14, 18)) < 0.7)


def test_voxels_before_the_sheet_are_replaced() -> None:
    """All but bone within 5 mm of it, in slices that lie anyhow."""
    cut, counts = wavy(), np.zeros(2, int)
    for matrix, grey in slices_through(cut):
        found = cut.region(matrix, grey)
        assert found.dtype == bool
        for j, i in np.ndindex(*grey.shape):
            point = (matrix @ (i, j, 0, 1))[:3]
            assert found[j, i] == replaced(cut, point, grey[j, i])
        counts += [found.sum(), (found & (grey >= BONE)).sum()]
    assert counts.min() > 50


def straight(y: float, z: float) -> np.ndarray:
    """The matrix of one pixel in the middle of the columns."""
    matrix = np.eye(4)
    matrix[:3, 3] = LOW[0] + 3, y, z
    return matrix


@pytest.mark.parametrize(("y", "z", "grey", "expected"), [
    (2.0, 9.0, 0.0, False), (2.01, 9.0, 0.0, True),
    (6.99, 9.0, BONE, False), (7.0, 9.0, BONE, True), (6.99, 9.0, BONE - 1, True),
    (5.0, 8.0 - 5, 0.0, True), (5.0, 8.0 - 5.01, 0.0, False),
    (5.0, 20.0 + 5, 0.0, True), (5.0, 20.0 + 5.01, 0.0, False),
])  # fmt: skip
def test_the_limits_of_what_is_replaced(y: float, z: float, grey: float, expected: bool) -> None:
    cut = cut_of(np.full((40, 5), 2.0), low=np.array([LOW[0], LOW[1], -9.0]))
    cut = replace(cut, face=replace(cut.face, bottom=8.0, top=20.0))
    assert cut.region(straight(y, z), np.array([[grey]])).tolist() == [[expected]]


@pytest.mark.parametrize(("y", "expected"), [(-60.0, True), (-60.1, False)])
def test_far_behind_the_face_nothing_is_replaced(y: float, expected: bool) -> None:
    cut = cut_of(np.full((5, 5), -200.0))
    cut = replace(cut, face=replace(cut.face, back=40.0))
    assert cut.region(straight(y, 9.0), np.zeros((1, 1))).tolist() == [[expected]]


def test_what_is_removed_becomes_air() -> None:
    region = np.array([[True, False, True], [False, True, False]])
    assert (
        cut_of(np.zeros((2, 2)), fill_hu=-995.0).replacement(OBLIQUE, region).tolist()
        == [-995.0] * 3
    )


def test_what_is_blurred_becomes_the_blurred_grey_value_there() -> None:
    """Of a grid of random values, and air beyond it."""
    rng = np.random.default_rng(2)
    smooth = rng.uniform(-800, 800, (9, 12, 15)).astype(np.float32)
    cut = replace(wavy(), smooth=smooth)
    inside = 0
    for matrix, grey in slices_through(cut):
        region = rng.random(grey.shape) < 0.5
        new = cut.replacement(matrix, region)
        assert new.dtype == np.float64
        expected = []
        for j, i in np.argwhere(region):
            place = ((matrix @ (i, j, 0, 1))[:3] - LOW)[::-1] / STEP
            within = bool(np.all((place >= 0) & (place <= np.array(smooth.shape) - 1)))
            expected.append(between(smooth, place) if within else -1000.0)
            inside += within
        np.testing.assert_allclose(new, expected, atol=1e-3)
    assert inside > 300


# The sheet.


def blurred(array: np.ndarray, sigma: float) -> np.ndarray:
    """By a Gaussian out to four sigma along each axis, mirrored at the ends."""
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    result = array.astype(float)
    for axis in range(array.ndim):
        pad = [(reach, reach) if a == axis else (0, 0) for a in range(array.ndim)]
        wide = np.moveaxis(np.pad(result, pad, mode="symmetric"), axis, 0)
        parts = [w * wide[n : n + array.shape[axis]] for n, w in enumerate(weights / weights.sum())]
        result = np.moveaxis(sum(parts), 0, axis)
    return result


def fronts(grid: AxisGrid, there: np.ndarray) -> np.ndarray:
    result = np.full((there.shape[0], there.shape[2]), -np.inf)
    for k, j, i in np.argwhere(there):
        result[k, i] = max(result[k, i], grid.low[1] + STEP * j)
    return result


def stops(grid: AxisGrid, face: Face) -> np.ndarray:
    """Bone of 0.1 mL or more; in the forehead also air that is two steps deep in the head."""
    parts, count = ndimage.label(grid.head & (grid.grey >= BONE))
    found = np.zeros(grid.head.shape, bool)
    for number in range(1, count + 1):
        if (parts == number).sum() * STEP**3 >= 100:
            found |= parts == number
    heights = grid.low[2] + STEP * np.arange(len(found))
    first = int(np.argmax(heights > face.tip[2] + 42 * face.scale))
    around = [o for o in np.ndindex(5, 5, 5) if np.abs(np.subtract(o, 2)).sum() <= 2]
    head = np.pad(grid.head[first:], 2)
    for k, j, i in np.argwhere(grid.head[first:] & (grid.grey[first:] < LEVEL)):
        if all(head[k + a, j + b, i + c] for a, b, c in around):
            found[first + k, j, i] = True
    return found


def sheet_of(grid: AxisGrid, face: Face, depth: float) -> tuple[np.ndarray, np.ndarray]:
    """The sheet and the columns that are cut, as they are said to be."""
    front, bone = fronts(grid, grid.head), fronts(grid, stops(grid, face))
    within, lowest = np.zeros(front.shape, bool), np.full(front.shape, face.back)
    for k, i in np.ndindex(*front.shape):
        x, z = LOW[0] + STEP * i, LOW[2] + STEP * k
        aside = abs(x - face.tip[0]) <= face.side
        within[k, i] = face.bottom <= z <= face.top and aside and front[k, i] > face.back
    places = np.argwhere(within)
    for k, i in np.ndindex(*front.shape):
        near = places[((places - (k, i)) ** 2).sum(axis=1) <= 11**2]
        if len(near):
            lowest[k, i] = front[near[:, 0], near[:, 1]].min()
    sheet = blurred(lowest, 8 / STEP) - depth
    for k, i in np.ndindex(*front.shape):
        beside = bone[max(k - 1, 0) : k + 2, max(i - 1, 0) : i + 2].max()
        value = min(max(sheet[k, i], front[k, i] - 2.5 * depth), front[k, i] - depth)
        sheet[k, i] = max(value, beside + 1.5)
    return np.where(np.isfinite(sheet), sheet, face.back), within


#: Boxes of grey values, and how many voxels deep the head is before them.
GREY: list[tuple[Any, float, int]] = [
    (np.s_[4:7, 20:22, 10:15], BONE, 23),  # 30 voxels
    (np.s_[4:7, 24:26, 20:25], BONE, 27),
    (np.s_[4, 24, 20], BONE - 1, 27),  # 29 are too few
    (np.s_[14:20, 22:24, 2:6], 900.0, 25),
    (np.s_[36:40, 17:19, 24:28], 900.0, 20),
    (np.s_[28:44, 14:17, 14:18], -900.0, 19),  # sinus
    (np.s_[34:37, 12:15, 3:6], LEVEL, 17),  # not below the level
    (np.s_[34:37, 14:16, 8:11], -900.0, 17),  # not deep
    (np.s_[10:12, 10:14, 10:12], -900.0, 17),  # below the forehead
]


def made_head(seed: int = 1) -> AxisGrid:
    """Columns of any length, some missing, with bone and air in them."""
    rng = np.random.default_rng(seed)
    length = np.rint(24 + 6 * blurred(rng.normal(0, 8, (46, 34)), 2.0)).clip(17, 34)
    length[rng.random(length.shape) < 0.03] = 0
    for (k, _, i), _, deep in GREY:
        length[k, i] = deep
    head = np.arange(40)[None, :, None] < length[:, None]
    grey = np.where(head, 40.0, -1000.0)
    for box, value, _ in GREY:
        grey[box] = value
    return grid_of(head, grey)


FACES = {
    "all of it": face_at((-6.0, 20.0, 10.0), top=90.0, bottom=0.0, side=60.0, back=-100.0),
    "a part": face_at((-6.0, 20.0, 12.0), top=66.0, bottom=12.0, side=16.5, back=13.5),
    "small": replace(face_at((-9.0, 20.0, 15.0), top=48.0, side=12.0, back=-9.0), scale=0.7),
}


def given_cut(
    monkeypatch: pytest.MonkeyPatch, grid: AxisGrid, face: Face, options: DefaceOptions
) -> FaceCut:
    def found(given: AxisGrid, level: float) -> Face:
        assert given is grid
        assert level == LEVEL
        return face

    monkeypatch.setattr(deface, "find_face", found)
    return face_cut(grid, mask_of(grid.head), options)


@pytest.mark.parametrize(
    ("name", "depth"), [("all of it", 6.0), ("a part", 3.0), ("small", 3.0), ("small", 10.0)]
)
def test_the_sheet_behind_a_face(monkeypatch: pytest.MonkeyPatch, name: str, depth: float) -> None:
    grid, face = made_head(), FACES[name]
    cut = given_cut(monkeypatch, grid, face, DefaceOptions(depth_mm=depth))
    sheet, within = sheet_of(grid, face, depth)
    np.testing.assert_array_equal(cut.within, within)
    np.testing.assert_allclose(cut.sheet, sheet, atol=1e-6)
    np.testing.assert_array_equal(cut.low, grid.low)
    assert (cut.face, cut.bone_hu, cut.fill_hu, cut.smooth) == (face, BONE, -1000.0, None)
    # Each rule had something to say.
    front, bone = fronts(grid, grid.head), fronts(grid, stops(grid, face))
    lower = within & (np.abs(sheet - (front - 2.5 * depth)) < 1e-9)
    upper = within & (np.abs(sheet - (front - depth)) < 1e-9)
    held = np.isfinite(bone) & (np.abs(sheet - bone - 1.5) < 1e-9)
    assert upper.any()
    assert lower.any() or depth > 3
    assert held.sum() > 60
    assert (front == face.back).any() or name != "a part"


@pytest.mark.parametrize(("air", "fill"), [
    ([], -1000.0), ([-990.4, -991.0, -20.0], -991.0), ([LEVEL], -1000.0), ([LEVEL - 1], -481.0),
    ([-990.4, -1003.0, -1001.0], -1001.0), ([-990.6], -991.0),
])  # fmt: skip
def test_what_is_filled_in_is_the_median_of_the_air_around(
    monkeypatch: pytest.MonkeyPatch, air: list[float], fill: float
) -> None:
    """Rounded; air within the head and what else is there do not count."""
    head = np.ones((14, 12, 10), bool)
    grey = np.full(head.shape, 40.0)
    grey[:4, :4, :4] = -700
    head[10, 10, : len(air)], grey[10, 10, : len(air)] = False, air
    cut = given_cut(monkeypatch, grid_of(head, grey), FACES["all of it"], DefaceOptions())
    assert cut.fill_hu == fill


def test_grey_values_to_blur_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a Gaussian whose sigma is the depth."""
    rng = np.random.default_rng(8)
    grid = grid_of(np.ones((12, 10, 11)), rng.uniform(-1000, 200, (12, 10, 11)))
    cut = given_cut(monkeypatch, grid, FACES["all of it"], DefaceOptions("blur", 4.0))
    assert cut.smooth is not None
    np.testing.assert_allclose(cut.smooth, blurred(grid.grey, 4.0 / STEP), atol=0.01)
