"""Labels of several people: fused, compared, drawn."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from SkinSegLib.core import CTVolume, GeometryError, LabelError
from SkinSegLib.training.exchange import (
    REGIONS,
    Agreement,
    Method,
    agreement,
    disputed,
    draw_differences,
    fuse,
    read_label,
    write_segments,
)
from SkinSegLib.training.exchange.differences import chosen_slices

#: i to the left, j to posterior, as scanners have it.
MATRIX = np.diag([-1.5, -1.5, 1.5, 1.0])
SHAPE = (48, 50, 52)


def ball(middle: tuple[float, float, float] = (25, 24, 23), radius: float = 15.0) -> np.ndarray:
    """A ball by its middle (i, j, k) and radius in voxels."""
    k, j, i = np.indices(SHAPE)
    apart = np.sqrt((i - middle[0]) ** 2 + (j - middle[1]) ** 2 + (k - middle[2]) ** 2)
    return (apart <= radius).astype(np.uint8)


@pytest.fixture(scope="module")
def volume() -> CTVolume:
    return CTVolume(np.where(ball() > 0, 40, -1000).astype(np.int16), MATRIX)


def test_the_majority_is_voxel_by_voxel() -> None:
    labels = {"A": ball(), "B": ball(radius=14), "C": ball((26, 24, 23))}
    fused = fuse(labels, Method.MAJORITY)
    np.testing.assert_array_equal(fused.mask, np.sum(list(labels.values()), axis=0) >= 2)
    assert list(fused.authors) == ["A", "B", "C"]
    for name, mask in labels.items():
        np.testing.assert_array_equal(fused.authors[name], mask)
    np.testing.assert_array_equal(fused.disputed, disputed(labels))
    assert fused.disputed.sum() == np.ptp(list(labels.values()), axis=0).sum()
    assert fused.sensitivity["B"] < 1
    assert fused.specificity["B"] == 1


def test_of_two_the_majority_is_what_both_marked() -> None:
    fused = fuse({"A": ball(), "B": ball((27, 24, 23))}, "majority")
    np.testing.assert_array_equal(fused.mask, ball() & ball((27, 24, 23)))


def test_staple_follows_those_who_agree() -> None:
    """Two careful authors and two careless ones: where the vote is a tie, STAPLE knows by whom."""
    rng = np.random.default_rng(3)
    truth = ball()
    edge = disputed({"a": ball(radius=13), "b": ball(radius=17)})
    labels = {
        name: truth ^ (edge & (rng.random(SHAPE) < share)).astype(np.uint8)
        for name, share in zip("ABCD", (0.02, 0.02, 0.3, 0.3), strict=True)
    }
    fused = fuse(labels)
    by_vote = np.count_nonzero(fuse(labels, "majority").mask != truth)
    assert np.count_nonzero(fused.mask != truth) < by_vote / 2
    for figures in (fused.sensitivity, fused.specificity):
        assert min(figures[name] for name in "AB") > max(figures[name] for name in "CD") + 0.01
    for name, mask in labels.items():
        np.testing.assert_array_equal(fused.authors[name], mask)


def test_labels_that_are_alike() -> None:
    fused = fuse({"A": ball(), "B": ball()})
    np.testing.assert_array_equal(fused.mask, ball())
    assert fused.sensitivity == {"A": 1.0, "B": 1.0}
    assert not fused.disputed.any()


@pytest.mark.parametrize(
    "call", [fuse, lambda labels: agreement(CTVolume(labels["A"].astype(np.int16), MATRIX), labels)]
)
def test_what_cannot_be_fused_or_compared(call: object) -> None:
    with pytest.raises(LabelError, match="two people or more"):
        call({"A": ball()})
    with pytest.raises(GeometryError, match="not on one grid"):
        call({"A": ball(), "B": ball()[1:]})
    with pytest.raises(LabelError, match="label of B is empty"):
        call({"A": ball(), "B": np.zeros(SHAPE, np.uint8)})


def test_nothing_in_common() -> None:
    with pytest.raises(LabelError, match="nothing in common"):
        fuse({"A": ball((10, 24, 23), 5), "B": ball((40, 24, 23), 5)}, "majority")


def rows(volume: CTVolume, other: np.ndarray) -> dict[str, Agreement]:
    found = agreement(volume, {"A": ball(), "B": other})
    assert [row.region for row in found] == ["whole", *(name for name, *_ in REGIONS)]
    return {row.region: row for row in found}


def test_agreement_of_equals(volume: CTVolume) -> None:
    for row in rows(volume, ball()).values():
        assert (row.dice, row.surface_dice_1mm, row.mean_mm, row.differ_ml) == (1, 1, 0, 0)


def test_agreement_of_a_larger_ball(volume: CTVolume) -> None:
    """2 voxels, 3 mm, all around."""
    found = rows(volume, ball(radius=17))
    a, b = ball().sum(), ball(radius=17).sum()
    assert found["whole"].dice == pytest.approx(2 * a / (a + b))
    assert found["whole"].differ_ml == pytest.approx((b - a) * 1.5**3 / 1000)
    for row in found.values():
        assert row.mean_mm == pytest.approx(
            3, abs=0.3
        )  # from a staircase some corner is always near
        assert row.surface_dice_2mm < 0.05


@pytest.mark.parametrize(
    ("shift", "moved"),
    [
        # i runs to the left: what is at high i is the left half.
        ((+12, 0, 0), "left half"),
        ((-12, 0, 0), "right half"),
        ((0, +12, 0), "back third"),
        ((0, -12, 0), "front third"),
        ((0, 0, +12), "upper third"),
        ((0, 0, -12), "lower third"),
    ],
)
def test_the_region_is_where_they_differ(
    volume: CTVolume, shift: tuple[int, int, int], moved: str
) -> None:
    """A bump on one side."""
    middle = tuple(m + s for m, s in zip((25, 24, 23), shift, strict=True))
    found = rows(volume, ball() | ball(middle, 6))
    assert found[moved].differ_ml == pytest.approx(found["whole"].differ_ml, rel=0.05)
    assert found[moved].mean_mm > found["whole"].mean_mm
    axis = next(axis for name, axis, *_ in REGIONS if name == moved)
    for name, other, *_ in REGIONS:
        if other == axis and name != moved and "middle" not in name:
            assert found[name].differ_ml == 0
            assert found[name].surface_dice_1mm == 1
    parts = [found[name].differ_ml for name, other, *_ in REGIONS if other == axis]
    assert sum(parts) == pytest.approx(found["whole"].differ_ml)


def test_where_the_scan_cuts_is_no_surface() -> None:
    """Both end at the scan's lower end, one voxel of air apart: no error of theirs is there."""
    long = np.zeros(SHAPE, np.uint8)
    long[:30, 15:35, 15:35] = 1
    volume = CTVolume(np.where(long > 0, 40, -1000).astype(np.int16), MATRIX)
    [whole, *_] = agreement(volume, {"A": long, "B": long | 0})
    assert whole.mean_mm == 0
    far = long.copy()
    far[0] = 0
    [whole, *_] = agreement(volume, {"A": long, "B": far})
    assert whole.surface_dice_1mm > 0.93


def test_all_pairs(volume: CTVolume) -> None:
    found = agreement(volume, {"A": ball(), "B": ball(), "C": ball()})
    pairs = {(row.first, row.second) for row in found}
    assert pairs == {("A", "B"), ("A", "C"), ("B", "C")}


def test_thick_slices_are_compared_in_slices() -> None:
    matrix = np.diag([-1.0, -1.0, 6.0, 1.0])
    volume = CTVolume(np.where(ball() > 0, 40, -1000).astype(np.int16), matrix)
    [whole, *_] = agreement(volume, {"A": ball(), "B": ball((27, 24, 23))})
    # The mean over a circle of |2 cos|, whatever 6 mm slices do at the poles.
    assert whole.mean_mm == pytest.approx(4 / math.pi, abs=0.2)


def test_the_fused_file_keeps_every_author(volume: CTVolume, tmp_path: Path) -> None:
    labels = {"A. Author": ball(), "B": ball(radius=14), "C": ball((26, 24, 23))}
    fused = fuse(labels)
    path = write_segments(
        tmp_path / "fused.seg.nrrd", volume, {"Head": fused.mask, **fused.authors}
    )
    np.testing.assert_array_equal(read_label(path, volume), fused.mask)
    for name, mask in labels.items():
        np.testing.assert_array_equal(read_label(path, volume, name), mask)


def test_the_picture_shows_where_they_differ(volume: CTVolume, tmp_path: Path) -> None:
    other = ball()
    other[30, 20:30, 20:30] = 0
    other[14:16, 22:27, 22:27] = 0
    assert chosen_slices(disputed({"A": ball(), "B": other})) == [14, 15, 30]
    draw_differences(volume, {"A": ball(), "B": other}, tmp_path / "x.png")
    draw_differences(volume, {"A": ball(), "B": ball()}, tmp_path / "same.png")
    tinted = []
    for name in ("x.png", "same.png"):
        picture = np.array(PIL.Image.open(tmp_path / name).convert("RGB")).astype(int)
        red, green, blue = np.moveaxis(picture, -1, 0)
        # Yellow over grey tissue.
        tinted.append(int(((red - blue > 60) & (np.abs(red - green) < 40)).sum()))
    assert tinted[0] > 1000
    assert tinted[1] < tinted[0] / 20
    with pytest.raises(GeometryError):
        smaller = CTVolume(volume.voxels[1:], volume.ijk_to_ras)
        draw_differences(smaller, {"A": ball(), "B": other}, tmp_path / "y.png")


def test_more_slices_than_fit() -> None:
    differs = np.zeros((100, 4, 4), bool)
    differs[10:90, 0, 0] = True
    differs[50, :, :] = True
    chosen = chosen_slices(differs)
    assert len(chosen) == 12
    assert 50 in chosen
    assert chosen == sorted(chosen)
