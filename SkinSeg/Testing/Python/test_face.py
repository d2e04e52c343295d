"""Where the face is, rule by rule on made heads, each limit from both sides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from deface_makers import LEVEL, LOW, STEP, grid_of
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import face
from SkinSegLib.privacy.face import AxisGrid, _tip_of_nose, find_face

Place = tuple[int, int, int]


def ras(k: int, j: int, i: int) -> tuple[float, float, float]:
    return (LOW[0] + STEP * i, LOW[1] + STEP * j, LOW[2] + STEP * k)


# The tip of the nose.

#: Two noses one above the other, as (first, end) along k, j and i, and their tips.
FIRST, SECOND = ((17, 26), (56, 62), (20, 25)), ((37, 45), (56, 62), (20, 25))
TIP, OTHER_TIP = (20, 62, 22), (40, 62, 22)
SHAPE = (72, 76, 66)
#: 297 voxels of air, just 1 mL, behind both.
AIR = ((28, 31), (30, 39), (18, 29))


class Scene:
    """A head, and how far what stands out of it is from where the ball can be."""

    def __init__(self) -> None:
        self.head = np.zeros(SHAPE, bool)
        self.head[2:70, 6:62, 5:40] = True
        self.grey = np.where(self.head, 40.0, -1000.0)
        self.measured = np.ones(SHAPE, bool)
        self.far = np.zeros(SHAPE, np.float32)
        for box, tip, most in ((FIRST, TIP, 24.0), (SECOND, OTHER_TIP, 22.0)):
            fill(self.far, box, 16.0)
            self.far[tip], self.head[tip] = most, True
        fill(self.grey, AIR, -900.0)

    def tip(self, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float, float]:
        monkeypatch.setattr(face, "_beyond_ball", self.from_core)
        return _tip_of_nose(grid_of(self.head, self.grey, measured=self.measured), LEVEL)

    def from_core(self, grid: AxisGrid) -> np.ndarray:
        np.testing.assert_array_equal(grid.head, self.head)
        return self.far


def fill(array: np.ndarray, box: Any, value: float) -> None:
    array[tuple(slice(*side) for side in box)] = value


def test_the_nose_that_stands_out_most(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    assert scene.tip(monkeypatch) == ras(*TIP)
    scene.far[OTHER_TIP] = 24.5
    assert scene.tip(monkeypatch) == ras(*OTHER_TIP)


def slice_of(scene: Scene, first: int, end: int, left: int, right: int) -> None:
    """The slice of the first tip is a rectangle of the head, and its tip."""
    scene.head[20] = False
    scene.head[20, 56:63, 22] = True
    scene.head[20, first:end, left:right] = True


def voxels_of_the_nose(scene: Scene, count: int) -> None:
    rest = [place for place in np.argwhere(scene.far > 0) if place[0] < 30]
    rest = [place for place in rest if tuple(place) != TIP]
    for k, j, i in rest[count - 1 :]:
        scene.far[k, j, i] = 15.5  # just what the ball reaches


def stands_out(scene: Scene, first: float, second: float) -> None:
    scene.far[TIP], scene.far[OTHER_TIP] = 14 + first, 14 + second


def aside(scene: Scene, *columns: int) -> None:
    """The slice has its tip at 22, and these columns."""
    slice_of(scene, 6, 7, columns[0], columns[0] + 1)
    for column in columns:
        scene.head[20, 6:62, column] = True


def behind(scene: Scene, j: int) -> None:
    """The slice of the tip, which lies at j, reaches from 52 to 57 and on from 58 to 62."""
    scene.far[17:26] = 0
    scene.far[17:26, j - 6 : j, 20:25], scene.far[20, j, 22] = 16, 24
    scene.head[20] = False
    scene.head[20, [52, 54, 55, 56, 57, 58, 59, 62], 20:25] = True


def foremost(scene: Scene, steps: int) -> None:
    scene.head[20, 62 + steps, 30] = True


def ends_below(scene: Scene, measured: bool) -> None:
    """Measured is one place and nothing else, or all but that."""
    scene.measured[:] = not measured
    scene.measured[14, 56, 22] = measured


#: Two noses that are just allowed, and what is one step too much.
RULES: dict[str, tuple[Callable[..., None], Any, Any]] = {
    "0.8 mL": (voxels_of_the_nose, (238,), (237,)),
    "7 mm": (stands_out, (7.0, 6.9), (6.9, 7.0)),
    "45 mm aside": (aside, (61, 62, 63), (57, 61, 62, 63)),
    "in the front part": (behind, (59,), (58,)),
    "wider than long": (slice_of, (6, 62, 5, 62), (6, 62, 5, 63)),
    "not the foremost": (foremost, (4,), (5,)),
    "the scan ends below": (ends_below, (True,), (False,)),
}


@pytest.mark.parametrize("name", RULES)
def test_a_nose_that_breaks_a_rule_leaves_it_to_the_next(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rule, accepted, refused = RULES[name]
    scene = Scene()
    rule(scene, *accepted)
    found = scene.tip(monkeypatch)
    assert (found[0], found[2]) == ras(*TIP)[::2]
    scene = Scene()
    rule(scene, *refused)
    assert scene.tip(monkeypatch) == ras(*OTHER_TIP)


def test_what_stands_out_by_less_than_7_mm_is_no_nose(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    stands_out(scene, 6.9, 6.8)
    with pytest.raises(PrivacyError):
        scene.tip(monkeypatch)


def test_below_the_first_slice_the_first_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    scene.far[:] = 0
    scene.head[:2, 6:62, 5:40] = True
    scene.far[0:8, 56:62, 20:25], scene.far[3, 62, 22], scene.head[3, 62, 22] = 16, 24, True
    scene.measured[1:] = False
    assert scene.tip(monkeypatch) == ras(3, 62, 22)
    scene.measured[:] = True
    scene.measured[0, 56, 22] = False
    with pytest.raises(PrivacyError):
        scene.tip(monkeypatch)


def one_more_voxel(place: Place) -> Scene:
    """One nose, and air that falls short by the one voxel that is added at a place."""
    scene = Scene()
    fill(scene.far, SECOND, 0.0)
    scene.far[OTHER_TIP] = 0
    scene.grey[28, 30, 18] = 40.0
    scene.head[place], scene.grey[place] = True, -900.0
    return scene


@pytest.mark.parametrize(
    ("inside", "outside"),
    [
        ((4, 40, 22), (3, 40, 22)),
        ((53, 40, 22), (54, 40, 22)),
        ((30, 13, 22), (30, 12, 22)),
        ((30, 61, 22), (30, 62, 22)),
        ((30, 40, 8), (30, 40, 7)),
        ((30, 40, 36), (30, 40, 37)),
    ],
    ids=["below", "above", "back", "front", "left", "right"],
)
def test_where_the_air_behind_a_nose_is_counted(
    monkeypatch: pytest.MonkeyPatch, inside: Place, outside: Place
) -> None:
    assert one_more_voxel(inside).tip(monkeypatch) == ras(*TIP)
    with pytest.raises(
        PrivacyError,
        match=r"^The front of the head cannot be told: there is no nose with air behind it at the "
        r"front of the scan\. Check .* orientation is right; a scan without nose is not defaced",
    ):
        one_more_voxel(outside).tip(monkeypatch)


def test_air_is_within_the_head_and_below_the_level(monkeypatch: pytest.MonkeyPatch) -> None:
    place = (30, 40, 22)
    scene = one_more_voxel(place)
    scene.head[place] = False
    with pytest.raises(PrivacyError):
        scene.tip(monkeypatch)
    scene = one_more_voxel(place)
    scene.grey[place] = LEVEL
    with pytest.raises(PrivacyError):
        scene.tip(monkeypatch)
    scene.grey[place] = LEVEL - 1
    assert scene.tip(monkeypatch) == ras(*TIP)


# How far the face reaches.


#: Slice 100 is at the height of the tip, and column 60 is x = 0.
TIP_AT = (0.0, 40.0, 30.0)


def tall_head(front: float = 30.0) -> np.ndarray:
    """A head 30 mm wide, which makes the scale the least there is: 0.6."""
    head = np.zeros((201, 110, 120), bool)
    head[:, 5 : voxel(front) + 1, 50:70] = True
    return head


def voxel(y: float) -> int:
    return round((y + 90) / 1.5)


def face_in(
    monkeypatch: pytest.MonkeyPatch, head: np.ndarray, tip: tuple[float, float, float] = TIP_AT
) -> face.Face:
    def given(grid: AxisGrid, level: float) -> tuple[float, float, float]:
        assert grid.head is not None
        assert level == LEVEL
        return tip

    monkeypatch.setattr(face, "_tip_of_nose", given)
    return find_face(grid_of(head, low=(-90.0, -90.0, -120.0)), LEVEL)


@pytest.mark.parametrize("k", [130, 140, 165])
@pytest.mark.parametrize(
    ("width", "scale"), [(59, 0.6), (61, 0.61), (100, 1), (114, 1.14), (117, 1.15)]
)
def test_scale_is_the_width_above_the_ears(
    monkeypatch: pytest.MonkeyPatch, k: int, width: int, scale: float
) -> None:
    """From 45 to 100 mm above the tip; over all rows of a slice, without gaps."""
    head = tall_head()
    head[129, 20, :119] = head[166, 20, :119] = True
    head[k], head[k, 20, : width - 9], head[k, 30, 111:] = False, True, True
    tip = (0.0, 40.0, 29.0)  # slice 130 is 46 mm above it, slice 166 just 100
    found = face_in(monkeypatch, head, tip)
    assert found.tip == tip
    assert found.scale == pytest.approx(scale)
    assert (found.top, found.bottom) == pytest.approx((29 + 62 * scale, 29 - 105 * scale))
    assert (found.side, found.back) == pytest.approx((64 * scale, 40 - 80 * scale))


@pytest.mark.parametrize(("slices", "scale"), [(147, 1.0), (148, 0.6)])
def test_with_little_above_the_ears_the_scale_is_an_average_heads(
    monkeypatch: pytest.MonkeyPatch, slices: int, scale: float
) -> None:
    """16 slices are 24 mm, 17 are 25.5."""
    assert face_in(monkeypatch, tall_head()[:slices]).scale == scale


# At the scale 0.6 all limits below lie on slices: lips 85 to 93, chin 59 to 83.
LOWEST = 30 - 63.0


def height(k: int) -> float:
    return -120 + 1.5 * k


@pytest.mark.parametrize(
    ("y", "slices", "bottom"),
    [
        (15.0, [70], LOWEST),
        (13.5, [70], height(70) - 5),
        (-90.0, [70], height(70) - 5),
        (13.5, [60, 65, 70, 71], height(71) - 5),
        (13.5, [83], height(83) - 5),
        (13.5, [84], LOWEST),
        (13.5, [59], height(59) - 5),
        (13.5, [58], LOWEST),
    ],
)
def test_the_face_ends_where_the_profile_falls_back(
    monkeypatch: pytest.MonkeyPatch, y: float, slices: list[int], bottom: float
) -> None:
    """By more than 15 mm, and 5 mm below that; a slice without head counts as fallen back."""
    head = tall_head()
    head[slices, voxel(y) + 1 :] = False
    assert face_in(monkeypatch, head).bottom == pytest.approx(bottom)


def test_the_front_of_the_lips_is_the_median_of_slices_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """30 mm, of three at 16.5, one at 30 and three at 60; those beside them are no lips."""
    head = tall_head(16.5)
    head[88, : voxel(30) + 1, 50:70] = True
    head[[84, 86, 87, 92, 94], : voxel(60) + 1, 50:70] = True
    head[85], head[91] = False, False
    assert face_in(monkeypatch, head).bottom == LOWEST
    head[83, voxel(15) :] = False
    assert face_in(monkeypatch, head).bottom == height(83) - 5


@pytest.mark.parametrize("k", [85, 93])
def test_the_first_and_the_last_slice_of_the_lips(monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    """With it, those that are farther forward are more than half."""
    head = tall_head(16.5)
    for forward in {85, 86, 87, 92, 93} - {178 - k}:
        head[forward, : voxel(33) + 1, 50:70] = True
    assert face_in(monkeypatch, head).bottom == LOWEST
    head[178 - k, : voxel(33) + 1, 50:70] = True
    assert face_in(monkeypatch, head).bottom == height(83) - 5


def test_without_lips_the_face_ends_as_an_average_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head = tall_head()
    head[85:94], head[70, 10:] = False, False
    assert face_in(monkeypatch, head).bottom == LOWEST


@pytest.mark.parametrize(("x", "i", "counts"), [
    (5.0, 58, True), (5.0, 57, False), (-5.0, 62, True), (-5.0, 63, False)
])  # fmt: skip
def test_the_profile_is_8_mm_to_either_side(
    monkeypatch: pytest.MonkeyPatch, x: float, i: int, counts: bool
) -> None:
    head = tall_head()
    head[85:94, : voxel(60), i] = True
    found = face_in(monkeypatch, head, (x, 40.0, 30.0))
    assert found.bottom == (height(83) - 5 if counts else LOWEST)


@pytest.mark.parametrize(
    ("first", "last", "cut"),
    [(0, 200, False), (58, 125, False), (59, 125, True), (58, 124, True), (59, 124, True)],
)
def test_a_face_that_the_scan_cuts(
    monkeypatch: pytest.MonkeyPatch, first: int, last: int, cut: bool
) -> None:
    """The part of the head before which the face lies must reach from its bottom to its top."""
    head = tall_head()
    head[:first, :, 55:66] = head[last + 1 :, :, 55:66] = False
    assert face_in(monkeypatch, head).cut_off is cut
