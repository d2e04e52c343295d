"""Patient and objects by thresholds, on small grids whose answer can be told voxel by voxel."""

from __future__ import annotations

import heapq
from itertools import product

import numpy as np
import pytest
from locate_makers import HEAD, SHAPE, TWINS, TWO, Bools, Box, Floats, filled, floats, strap
from SkinSegLib.core import SegmentationError
from SkinSegLib.segmentation.locate import (
    Location,
    _head_core,
    _reach,
    locate,
    touching_area,
)

# The area of contact.


@pytest.mark.parametrize(("axis", "face"), [(0, 15.0), (1, 7.5), (2, 4.5)])
@pytest.mark.parametrize("behind", [True, False])
def test_the_area_of_a_flat_contact(axis: int, face: float, behind: bool) -> None:
    spacing = (1.5, 3.0, 5.0)
    other, part = np.zeros((2, 4, 5, 6), bool)
    for grid, place in ((other, 1), (part, 2)):
        np.moveaxis(grid, axis, 0)[place] = True
    part &= filled(part.shape, ((1, 4), (1, 4), (1, 4)))
    blocks = int(part.sum())
    labels = 2 * part.astype(np.int32)
    labels[3, 4, 5] = 1
    if behind:
        other, labels = other[::-1, ::-1, ::-1], labels[::-1, ::-1, ::-1]
    expected = [0, blocks * face / 1.5, 0]
    np.testing.assert_allclose(touching_area(labels, other, spacing, 3), expected)


def test_all_six_faces_of_a_block_in_the_middle_of_the_other() -> None:
    labels = np.zeros((3, 3, 3), np.int32)
    labels[1, 1, 1] = 1
    area = touching_area(labels, labels == 0, (1.0, 2.0, 4.0), 1)
    np.testing.assert_allclose(area, [2 * (8 + 4 + 2) / 1.5])


def test_an_edge_or_a_corner_is_no_area() -> None:
    other = filled((4, 4, 4), ((0, 2), (0, 2), (0, 2)))
    labels = np.zeros((4, 4, 4), np.int32)
    labels[2, 2, 0], labels[2, 2, 2], labels[3, 0, 0] = 1, 2, 3
    assert touching_area(labels, other, TWO, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("normal", "share"), [((1, 1, 0), 2**0.5 / 1.5), ((0, 1, 1), 2**0.5 / 1.5), ((1, 1, 1), 1.155)]
)
def test_an_oblique_contact_comes_near_its_true_area(normal, share: float) -> None:
    n = 30
    depth = np.tensordot(normal, np.indices((n, n, n)), 1)
    labels = (depth >= n).astype(np.int32)
    # The plane within the cube: a rectangle, or a triangle with edges of sqrt(2) n.
    true = 2**0.5 * n**2 if sum(normal) == 2 else 3**0.5 / 2 * n**2
    area = touching_area(labels, depth < n, (1.0, 1.0, 1.0), 1)
    np.testing.assert_allclose(area, [share * true], rtol=0.07)


# The length of ways.


def shortest_ways(thin: Bools, core: Bools, spacing: tuple[float, float, float]) -> Floats:
    """Block by block over all 26 neighbours."""
    way = np.full(thin.shape, np.inf)
    todo = [(0.0, place) for place in np.ndindex(thin.shape) if core[place]]
    while todo:
        length, place = heapq.heappop(todo)
        for offset in product((-1, 0, 1), repeat=3):
            next_place = tuple(int(p + o) for p, o in zip(place, offset, strict=True))
            if not all(0 <= p < n for p, n in zip(next_place, thin.shape, strict=True)):
                continue
            further = length + float(np.linalg.norm(np.multiply(offset, spacing)))
            if thin[next_place] and further < way[next_place] - 1e-9:
                way[next_place] = further
                heapq.heappush(todo, (further, next_place))
    return way.astype(np.float32)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 2.5, 4.0), (3.0, 1.0, 0.7)])
@pytest.mark.parametrize("seed", [1, 2])
def test_ways_through_a_maze(spacing, seed: int) -> None:
    kind = np.random.default_rng(seed).choice(3, (6, 7, 8), p=[0.75, 0.22, 0.03])
    thin, core = kind == 1, kind == 2
    found = _reach(thin, core, spacing, 1000.0)
    expected = shortest_ways(thin, core, spacing)
    assert np.isfinite(expected).sum() > 20
    assert np.isinf(expected[thin]).any()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "length"),
    [((1, 0, 0), 1.0), ((0, 1, 0), 2.0), ((0, 0, -1), 4.0), ((1, -1, 0), 5**0.5),
     ((-1, 1, 1), 21**0.5)],
)  # fmt: skip
def test_a_straight_way_in_mm(step, length: float) -> None:
    core, thin = np.zeros((2, 9, 9, 9), bool)
    places = [tuple(4 + n * s for s in step) for n in range(5)]
    core[places[0]] = True
    for place in places[1:]:
        thin[place] = True
    way = _reach(thin, core, (1.0, 2.0, 4.0), 100.0)
    assert [way[p] for p in places[1:]] == pytest.approx([length * n for n in (1, 2, 3, 4)])
    assert np.isinf(way[~thin]).all()


def test_beyond_the_limit_there_is_no_way() -> None:
    core, thin = np.zeros((2, 1, 1, 12), bool)
    core[0, 0, 0], thin[0, 0, 1:] = True, True
    way = _reach(thin, core, TWO, 10.0)[0, 0]
    assert way[1:6].tolist() == [2, 4, 6, 8, 10]
    assert np.isinf(way[6:]).all()


def test_without_thin_parts_there_is_no_way() -> None:
    core = filled((3, 4, 5), ((1, 2), (1, 2), (1, 2)))
    way = _reach(np.zeros_like(core), core, TWO, 5.0)
    assert way.dtype == np.float32
    assert way.shape == core.shape
    assert np.isinf(way).all()


# The head's core.


def opened_box(shape: tuple[int, int, int], box: Box, spacing, radius: float) -> Bools:
    """A box without what lies farther than ``radius`` from its blocks that are deeper than that."""
    off = np.zeros(shape)
    for axis, ((first, end), size) in enumerate(zip(box, spacing, strict=True)):
        # The nearest air is the first block outside.
        rim = int(radius // size)
        at = np.arange(shape[axis])
        out = np.maximum(0, np.maximum(first + rim - at, at - (end - 1 - rim))) * size
        off += np.expand_dims(out**2, [a for a in range(3) if a != axis])
    return filled(shape, box) & (off <= radius**2)


@pytest.mark.parametrize(
    ("spacing", "radius"), [(TWO, 5.0), (TWO, 4.0), ((3.0, 2.0, 1.0), 4.0), ((1.0, 1.5, 2.0), 3.0)]
)
def test_the_core_is_the_opened_box(spacing, radius: float) -> None:
    core = _head_core(filled(SHAPE, HEAD), floats(filled(SHAPE)), spacing, radius)
    np.testing.assert_array_equal(core, opened_box(SHAPE, HEAD, spacing, radius))
    assert not core[3, 3, 4]


def test_a_scan_that_ends_in_the_head_does_not_make_it_thin() -> None:
    shape = (2, 20, 20)
    whole = filled(shape, ((0, 2), (0, 20), (0, 20)))
    half = filled(shape, ((0, 2), (0, 20), (0, 9)))
    none = floats(filled(shape))
    assert _head_core(whole, none, TWO, 5.0).all()
    np.testing.assert_array_equal(_head_core(half, none, TWO, 5.0), half)
    arm = filled(shape, ((0, 1), (10, 11), (9, 19)))
    np.testing.assert_array_equal(_head_core(half | arm, none, TWO, 5.0), half)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("bones", "by_bone"), [(0, False), (624, False), (625, True)])
def test_most_bone_or_without_bone_the_largest(bones: int, by_bone: bool, swapped: bool) -> None:
    """625 blocks of 8 mm^3 are the 5000 mm^3 from which bone counts."""
    small, large = (filled(SHAPE, box) for box in TWINS)
    tissue = small | large | filled(SHAPE, ((8, 9), (8, 9), (14, 20)))
    bone = floats(filled(SHAPE))
    inner = opened_box(SHAPE, TWINS[0], TWO, 2.0) & filled(SHAPE, ((4, 14), (4, 13), (5, 13)))
    bone[tuple(np.argwhere(inner)[:bones].T)] = 1
    if swapped:
        tissue, bone, small = tissue[:, :, ::-1], bone[:, :, ::-1], small[:, :, ::-1]
    core = _head_core(tissue, bone, TWO, 2.0)
    assert core[small].any() == by_bone
    assert core[large[:, :, ::-1] if swapped else large].any() != by_bone


@pytest.mark.parametrize(("blocks", "radius"), [(5, 5.0), (3, 2.5), (1, 0.0)])
def test_where_all_is_thin_a_smaller_opening_is_tried(blocks: int, radius: float) -> None:
    plate: Box = ((3, 15), (3, 14), (4, 4 + blocks))
    crumb = filled(SHAPE, ((6, 7), (6, 7), (30, 31)))
    core = _head_core(filled(SHAPE, plate) | crumb, floats(filled(SHAPE)), TWO, 5.0)
    np.testing.assert_array_equal(core, opened_box(SHAPE, plate, TWO, radius))


def test_a_plate_of_one_small_block_is_a_core_too() -> None:
    plate = filled(SHAPE, ((3, 15), (3, 14), (4, 5)))
    core = _head_core(plate, floats(filled(SHAPE)), (1.0, 1.0, 0.5), 5.0)
    np.testing.assert_array_equal(core, plate)


def test_without_tissue_there_is_no_core() -> None:
    with pytest.raises(SegmentationError, match="denser than the skin level"):
        _head_core(filled(SHAPE), floats(filled(SHAPE)), TWO, 5.0)


# The classical engine.


def located(tissue: Bools, bare: Bools | None = None, reach_mm: float = 20.0) -> Location:
    found = locate(floats(tissue), floats(filled(SHAPE)), TWO, 5.0, reach_mm, bare)
    assert not (found.patient & found.objects).any()
    np.testing.assert_array_equal(found.patient | found.objects, tissue)
    assert (found.side, found.doubt, found.likely) == (None, None, None)
    return found


def test_an_ear_is_kept_with_the_head() -> None:
    tissue = filled(SHAPE, HEAD, ((6, 12), (8, 9), (14, 20)))
    found = located(tissue)
    np.testing.assert_array_equal(found.patient, tissue)
    assert not found.contacts.any()


@pytest.mark.parametrize(("length", "kept"), [(12, True), (13, False), (25, False)])
def test_a_thin_part_that_leads_beyond_the_reach_is_an_object(length: int, kept: bool) -> None:
    """The two blocks within 4 mm of the opened head stay: reach counts from there."""
    head, arm = filled(SHAPE, HEAD), strap(length)
    found = located(head | arm)
    assert found.patient[head].all()
    cut = arm & ~strap(2)
    np.testing.assert_array_equal(found.objects, cut & (not kept))
    np.testing.assert_array_equal(found.contacts, strap(4) & cut & (not kept))


def test_a_plate_that_hangs_before_the_head_on_one_pin_is_an_object() -> None:
    """4 mm from the head's last block to the plate's, with air between: the pin alone is near."""
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (15, 16)))
    found = located(head | strap(1) | plate, reach_mm=8.0)
    np.testing.assert_array_equal(found.patient, head | strap(2))
    lying_on = filled(SHAPE, ((3, 15), (3, 14), (14, 15)))
    found = located(head | lying_on, reach_mm=8.0)
    assert found.patient[lying_on].all()


def test_one_thin_part_is_kept_and_another_is_not() -> None:
    ear = filled(SHAPE, ((5, 12), (11, 12), (14, 18)))
    found = located(filled(SHAPE, HEAD) | ear | strap(20))
    np.testing.assert_array_equal(found.objects, strap(20) & ~strap(2))
    ear = filled(SHAPE, ((11, 14), (5, 12), (14, 18)))
    found = located(filled(SHAPE, HEAD) | ear | strap(20))
    np.testing.assert_array_equal(found.objects, strap(20) & ~strap(2))


def test_what_does_not_touch_the_head_is_an_object() -> None:
    head = filled(SHAPE, HEAD)
    beside = filled(SHAPE, ((8, 10), (8, 10), (15, 17)), ((15, 16), (14, 15), (9, 10)))
    found = located(head | beside)
    np.testing.assert_array_equal(found.objects, beside)
    assert not found.contacts.any()


def test_a_solid_object_behind_a_strap_is_cut_off() -> None:
    head = filled(SHAPE, HEAD)
    block = filled(SHAPE, ((5, 12), (5, 12), (30, 37)))
    found = located(head | strap(16) | block)
    np.testing.assert_array_equal(found.patient, head | strap(2))


def test_the_part_with_bone_is_the_head_though_the_other_is_larger() -> None:
    small, large = (filled(SHAPE, box) for box in TWINS)
    arm = filled(SHAPE, ((8, 9), (8, 9), (14, 20)))
    tissue = floats(small | large | arm)
    found = locate(tissue, floats(small), TWO, 2.0, 5.0)
    np.testing.assert_array_equal(found.patient & ~arm, small)
    found = locate(tissue, floats(filled(SHAPE)), TWO, 2.0, 5.0)
    np.testing.assert_array_equal(found.patient & ~arm, large)


def test_half_a_block_of_tissue_is_tissue() -> None:
    head, rind = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (14, 15)))
    for share, kept in ((0.5, True), (0.49, False)):
        fraction = np.maximum(floats(head), floats(rind, share))
        found = locate(fraction, floats(filled(SHAPE)), TWO, 5.0, 20.0)
        np.testing.assert_array_equal(found.patient, head | (rind & kept))
        assert not found.objects.any()


def test_what_lies_bare_is_no_patient_and_its_contact_is_marked() -> None:
    head = filled(SHAPE, HEAD)
    plate = filled(SHAPE, ((3, 15), (3, 18), (14, 17)))
    found = located(head | plate, plate)
    np.testing.assert_array_equal(found.patient, head)
    # Within 3 mm: beside the head, or beyond its edge by one block.
    expected = filled(SHAPE, ((3, 15), (3, 15), (14, 15)))
    np.testing.assert_array_equal(found.contacts, expected)


def test_the_contact_of_the_bare_reaches_as_far_as_one_and_a_half_blocks() -> None:
    """3 mm with blocks of 2, which are three blocks of 1 mm along i."""
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (14, 20)))
    tissue = floats(head | plate)
    found = locate(tissue, floats(filled(SHAPE)), (2.0, 2.0, 1.0), 4.0, 20.0, plate)
    np.testing.assert_array_equal(found.patient, head)
    np.testing.assert_array_equal(found.contacts, filled(SHAPE, ((3, 15), (3, 14), (14, 17))))


def test_one_block_of_tissue_is_the_patient() -> None:
    block = filled(SHAPE, ((8, 9), (8, 9), (8, 9)))
    np.testing.assert_array_equal(located(block).patient, block)


def test_the_bare_beside_a_strap_that_was_cut() -> None:
    head, arm = filled(SHAPE, HEAD), strap(20)
    plate = filled(SHAPE, ((3, 15), (14, 15), (4, 14)))
    found = located(head | arm | plate, plate)
    np.testing.assert_array_equal(found.contacts, plate | (strap(4) & ~strap(2)))


def test_bare_air_is_neither_patient_nor_object() -> None:
    head = filled(SHAPE, HEAD)
    found = located(head, filled(SHAPE, ((0, 18), (14, 18), (0, 44))))
    np.testing.assert_array_equal(found.patient, head)
    assert not found.contacts.any()


def test_blocks_that_are_not_cubes() -> None:
    """The strap ends 24 mm from where 4 mm of it stay, whichever way it points."""
    for axis, size in enumerate((1.0, 2.0, 4.0)):
        spacing = (1.0, 2.0, 4.0)
        half = [round(14 / s) for s in spacing]
        shape = [2 * n + 4 for n in half]
        shape[axis] += round(34 / size)
        head = np.zeros(shape, bool)
        head[tuple(slice(2, 2 + 2 * n) for n in half)] = True
        arm = np.zeros(shape, bool)
        end = 2 + 2 * half[axis]
        line = [2 + n for n in half]
        arm[tuple(slice(n, n + 1) if a != axis else slice(end, end + round(28 / size))
                  for a, n in enumerate(line))] = True  # fmt: skip
        for reach_mm, kept in ((24.0, True), (23.9, False)):
            tissue = floats(head | arm)
            found = locate(tissue, np.zeros_like(tissue), spacing, 4.5, reach_mm)
            assert found.patient[head].all()
            assert int(found.patient[arm].sum()) == (round((28 if kept else 4) / size))
            # Cut at 4 mm, marked as far as two of the longest edges.
            assert int(found.contacts.sum()) == (0 if kept else round(8 / size))


def test_the_classical_engine_without_tissue() -> None:
    nothing = floats(filled(SHAPE))
    with pytest.raises(SegmentationError, match=r"^Nothing in the scan is denser than the skin"):
        locate(nothing, nothing, TWO, 5.0, 20.0)
    with pytest.raises(SegmentationError, match="lower the level"):
        locate(floats(filled(SHAPE, HEAD)), nothing, TWO, 5.0, 20.0, filled(SHAPE, HEAD))
