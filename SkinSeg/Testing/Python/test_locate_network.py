"""Patient and objects by the network's word, on small grids told voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from locate_makers import EXACT, HEAD, SHAPE, TWINS, TWO, Bools, Box, Floats, filled, floats, strap
from numpy.typing import NDArray
from SkinSegLib.core import SegmentationError
from SkinSegLib.segmentation.locate import (
    Location,
    _share,
    _side,
    _with_thin_parts,
    locate_by,
)

# How much of a cell is patient.


def smoothed(values: NDArray[np.float64], sigma) -> NDArray[np.float64]:
    """By a Gaussian of ``sigma`` blocks along each axis to three times that, mirrored at edges."""
    for axis, width in enumerate(sigma):
        if width == 0:
            continue
        n = int(3 * width + 0.5)
        kernel = np.exp(-0.5 * (np.arange(-n, n + 1) / width) ** 2)
        kernel /= kernel.sum()
        padded = np.pad(values, [(n, n) if a == axis else (0, 0) for a in range(3)], "symmetric")
        values = np.apply_along_axis(np.convolve, axis, padded, kernel, "valid")
    return values


@pytest.mark.parametrize("cell_mm", [3.0, 4.0, 0.1])
@pytest.mark.parametrize("spacing", [TWO, (1.0, 2.0, 2.5)])
def test_the_share_of_the_tissue_in_a_cell(cell_mm: float, spacing) -> None:
    chance = np.random.default_rng(4)
    fraction = (chance.random((8, 9, 10)) ** 3).astype(np.float32)
    probability = chance.random((8, 9, 10)).astype(np.float32) / 2
    sigma = [max(0, cell_mm**2 / 12 + cell_mm**2 / 6 - s**2 / 12) ** 0.5 / s for s in spacing]
    seen = smoothed(fraction.astype(float), sigma)
    assert (seen < 0.3).any()
    assert (seen > 0.3).any()
    expected = np.clip(probability / np.maximum(seen, 0.3), 0, 1)
    assert (expected == 1).any()
    share = _share(probability, fraction, spacing, cell_mm)
    assert share.dtype == np.float32
    np.testing.assert_allclose(share, expected, rtol=1e-4)


def test_the_side_is_the_networks_word_over_the_tissue_around() -> None:
    chance = np.random.default_rng(6)
    spacing = (1.0, 2.0, 2.5)
    share, fraction = chance.random((2, 8, 9, 10)).astype(np.float32)
    kind = chance.integers(0, 3, share.shape)
    patient, objects = kind == 1, kind == 2
    word = share.astype(float)
    word[patient] = np.maximum(word[patient], 0.6)
    word[objects] = np.minimum(word[objects], 0.4)
    sigma = [1.5 / size for size in spacing]
    weight = smoothed(fraction.astype(float), sigma)
    expected = smoothed(word * fraction, sigma) / weight
    side = _side(share, fraction, patient, objects, spacing)
    assert side.dtype == np.float32
    np.testing.assert_allclose(side, expected, rtol=1e-4)


def test_the_side_is_half_on_the_border_and_air_does_not_count() -> None:
    tissue = filled((12, 12, 12), ((0, 12), (0, 6), (0, 12)))
    patient = tissue & filled((12, 12, 12), ((0, 12), (0, 12), (0, 6)))
    side = _side(floats(patient), floats(tissue), patient, tissue & ~patient, TWO)
    border = side[:, :6, 5:7].mean(axis=2)
    np.testing.assert_allclose(border, 0.5, atol=1e-5)
    np.testing.assert_allclose(side[:, :6, :3], 1, atol=1e-5)
    np.testing.assert_allclose(side[:, 5], side[:, 0], atol=1e-5)
    assert (side[:, 10:] == 0).all()


def test_where_hardly_any_tissue_is_the_side_falls_to_nothing() -> None:
    ones, thin = np.ones((5, 5, 5), np.float32), np.full((5, 5, 5), 5e-5, np.float32)
    none = filled((5, 5, 5))
    np.testing.assert_allclose(_side(ones, thin, none, none, TWO), 0.5, rtol=1e-4)
    np.testing.assert_allclose(_side(ones, 4 * thin, none, none, TWO), 1, rtol=1e-4)


# What the network left out.

#: The patient below, and room above along k.
GROUND: Box = ((0, 4), (0, 12), (0, 12))
ROOM = (60, 12, 12)


def joined(
    part: Bools,
    probability: float | Floats = 0.3,
    spacing=(1.0, 1.0, 1.0),
    least: float = 0.0,
    soft: Bools | None = None,
) -> Bools:
    """Which blocks of ``part`` are joined to the ground."""
    ground = filled(ROOM, GROUND)
    if not isinstance(probability, np.ndarray):
        probability = floats(part, probability)
    word = np.maximum(floats(ground), probability)
    found = _with_thin_parts(ground | part, ground, word, spacing, least, soft)
    assert found.dtype == bool
    assert not found[~ground & ~part].any()
    assert found[ground].all()
    return found & part


def column(height: int, *, lifted: int = 0, at: int = 5) -> Bools:
    return filled(ROOM, ((4 + lifted, 4 + height), (at, at + 1), (at, at + 1)))


@pytest.mark.parametrize(("said", "kept"), [(0.17, True), (0.169, False), (0.0, False)])
def test_a_thin_part_needs_some_of_the_networks_word(said: float, kept: bool) -> None:
    part = filled(ROOM, ((4, 8), (3, 9), (5, 7)))
    np.testing.assert_array_equal(joined(part, said), part & kept)


def test_of_a_part_the_average_counts() -> None:
    low, high = filled(ROOM, ((4, 7), (3, 9), (5, 7))), filled(ROOM, ((7, 8), (3, 9), (5, 7)))
    for said, kept in ((0.7, True), (0.6, False)):
        found = joined(low | high, floats(high, said))
        np.testing.assert_array_equal(found, (low | high) & kept)


@pytest.mark.parametrize(("said", "columns", "kept"), [
    (0.1, 6, True), (0.1, 3, True), (0.1, 2, False), (0.099, 6, False), (0.17, 0, True),
    (0.169, 0, False),
])  # fmt: skip
def test_half_as_dense_as_soft_tissue_needs_less(said: float, columns: int, kept: bool) -> None:
    part = filled(ROOM, ((4, 8), (3, 9), (5, 7)))
    # That the ground is soft says nothing of the part.
    soft = filled(ROOM, GROUND, ((4, 8), (3, 3 + columns), (5, 7)))
    np.testing.assert_array_equal(joined(part, said, soft=soft), part & kept)


@pytest.mark.parametrize(("height", "kept"), [(35, True), (36, False)])
def test_a_part_that_leads_away_is_not_joined(height: int, kept: bool) -> None:
    """A broad base and one column; the centre of the ground's last block is where mm begin."""
    part = filled(ROOM, ((4, 5), (1, 11), (1, 11))) | column(height)
    np.testing.assert_array_equal(joined(part), part & kept)


@pytest.mark.parametrize(("blocks", "kept"), [(50, True), (51, False)])
def test_what_is_too_high_for_its_base_is_not_joined(blocks: int, kept: bool) -> None:
    """Three faces are 2 mm^2, so 50 blocks are 25 mm high."""
    part = filled(ROOM, ((4, 5), (2, 3), (2, 5)), ((5, 6), (2, 6), (1, 12)))
    part[6, 2, 2 : blocks - 45] = True
    assert int(part.sum()) == blocks
    np.testing.assert_array_equal(joined(part), part & kept)


@pytest.mark.parametrize(("blocks", "kept"), [(10, True), (9, False)])
def test_what_lies_too_flat_is_not_joined(blocks: int, kept: bool) -> None:
    part = filled(ROOM, ((4, 5), (2, 3), (2, 5)), ((5, 6), (2, 3), (2, blocks - 1)))
    assert int(part.sum()) == blocks
    np.testing.assert_array_equal(joined(part, least=5.0), part & kept)
    np.testing.assert_array_equal(joined(part), part)


def test_without_a_least_height_a_film_is_joined() -> None:
    ground, film = filled(ROOM, GROUND), filled(ROOM, ((4, 5), (2, 9), (2, 9)))
    word = np.maximum(floats(ground), floats(film, 0.3))
    spacing = (0.5, 2.0, 2.0)
    found = _with_thin_parts(ground | film, ground, word, spacing)
    np.testing.assert_array_equal(found, ground | film)


@pytest.mark.parametrize(
    ("spacing", "blocks"), [((1.0, 5.0, 3.0), 16), ((2.0, 0.5, 3.0), 8), ((3.0, 1.0, 1.0), 5)]
)
def test_heights_are_in_mm(spacing, blocks: int) -> None:
    """A column's height is overstated by half, as its base is taken to be oblique."""
    for height, kept in ((blocks, True), (blocks + 1, False)):
        part = column(height)
        np.testing.assert_array_equal(joined(part, spacing=spacing), part & kept)


def test_what_touches_in_a_point_or_not_at_all_is_not_joined() -> None:
    assert not joined(column(6, lifted=1)).any()
    # The one block on the ground touches the rest by an edge only: no face, no base.
    point = filled(ROOM, ((5, 8), (5, 8), (5, 8))) | column(1, at=4)
    np.testing.assert_array_equal(joined(point), column(1, at=4))
    blob = column(2) | filled(ROOM, ((6, 12), (2, 9), (2, 9)))
    assert not joined(blob).any()


def test_each_part_is_judged_by_itself() -> None:
    parts = [
        filled(ROOM, ((4, 7), (0, 3), (0, 3))),
        column(40),
        filled(ROOM, ((4, 7), (8, 12), (8, 12))),
        filled(ROOM, ((4, 5), (0, 3), (8, 12))),
        filled(ROOM, ((9, 10), (0, 3), (0, 3))),
    ]
    word = sum(floats(p, s) for p, s in zip(parts, (0.1, 0.9, 0.3, 0.3, 0.9), strict=True))
    together = np.logical_or.reduce(parts)
    np.testing.assert_array_equal(joined(together, word), parts[2] | parts[3])
    np.testing.assert_array_equal(
        joined(together, word, soft=together), parts[0] | parts[2] | parts[3]
    )
    np.testing.assert_array_equal(joined(together, word, least=3.0), parts[2])


def test_a_patient_with_nothing_beside_it_stays() -> None:
    assert not joined(filled(ROOM)).any()


# The network's word.


def located_by(
    probability: Floats,
    tissue: Bools,
    bare: Bools | None = None,
    doubted: Bools | None = None,
    soft: Bools | None = None,
) -> Location:
    found = locate_by(probability, floats(tissue), TWO, EXACT, bare, doubted, soft)
    assert not (found.patient & found.objects).any()
    np.testing.assert_array_equal(found.patient | found.objects, tissue)
    return found


def test_one_block_of_tissue_is_the_patient() -> None:
    block = filled(SHAPE, ((8, 9), (8, 9), (8, 9)))
    np.testing.assert_array_equal(located_by(floats(block), block).patient, block)


@pytest.mark.parametrize(("said", "kept"), [(0.5, True), (0.499, False)])
def test_of_tissue_the_network_must_give_half(said: float, kept: bool) -> None:
    head, slab = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (14, 44)))
    found = located_by(np.maximum(floats(head), floats(slab, said)), head | slab)
    np.testing.assert_array_equal(found.patient, head | (slab & kept))


def test_a_thin_block_needs_half_of_its_tissue_only() -> None:
    head, rind = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (14, 34)))
    for said, kept in ((0.31, True), (0.29, False)):
        word = np.maximum(floats(head), floats(rind, said))
        fraction = np.maximum(floats(head), floats(rind, 0.6))
        found = locate_by(word, fraction, TWO, EXACT)
        np.testing.assert_array_equal(found.patient, head | (rind & kept))
        np.testing.assert_array_equal(found.objects, rind & (not kept))


def test_half_a_block_is_tissue_for_the_network_too() -> None:
    head, rind = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (3, 14), (14, 15)))
    for share, kept in ((0.5, True), (0.49, False)):
        fraction = np.maximum(floats(head), floats(rind, share))
        found = locate_by(floats(head | rind), fraction, TWO, EXACT)
        np.testing.assert_array_equal(found.patient, head | (rind & kept))
        assert not found.objects.any()


@pytest.mark.parametrize("swapped", [False, True])
def test_the_largest_part_wins(swapped: bool) -> None:
    small, large = (filled(SHAPE, box) for box in TWINS)
    if swapped:
        small, large = small[:, :, ::-1], large[:, :, ::-1]
    found = located_by(floats(small | large), small | large)
    np.testing.assert_array_equal(found.patient, large)
    np.testing.assert_array_equal(found.objects, small)


@pytest.mark.parametrize(("said", "kept"), [(0.8, True), (0.79, False), (0.3, False)])
def test_what_is_doubted_needs_a_surer_network(said: float, kept: bool) -> None:
    """And is not joined again, though it is near and short like an ear."""
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((6, 12), (8, 10), (14, 19)))
    word = np.maximum(floats(head), floats(ear, said))
    found = located_by(word, head | ear, doubted=ear)
    np.testing.assert_array_equal(found.patient, head | (ear & kept))
    assert located_by(word, head | ear).patient[ear].all()


def test_an_ear_is_joined_beside_what_is_doubted() -> None:
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((6, 12), (8, 10), (14, 19)))
    plate = filled(SHAPE, ((6, 12), (10, 11), (14, 30)))
    word = np.maximum(floats(head), floats(ear | plate, 0.4))
    found = located_by(word, head | ear | plate, doubted=plate)
    np.testing.assert_array_equal(found.patient, head | ear)
    # Of a sure part that is doubted, what stands on it is joined.
    knob = filled(SHAPE, ((6, 12), (8, 10), (16, 19)))
    sure = ear & ~knob
    word = np.maximum(floats(head | sure), floats(knob, 0.4))
    found = located_by(word, head | ear, doubted=sure)
    np.testing.assert_array_equal(found.patient, head | ear)


def test_an_ear_that_the_network_half_missed_is_joined_and_a_strap_is_not() -> None:
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((3, 14), (11, 13), (14, 20)))
    arm = strap(28)
    found = located_by(np.maximum(floats(head), floats(ear | arm, 0.3)), head | ear | arm)
    np.testing.assert_array_equal(found.patient, head | ear)
    np.testing.assert_array_equal(found.objects, arm)


def test_a_soft_ear_is_joined_from_less() -> None:
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((3, 14), (11, 13), (14, 20)))
    word = np.maximum(floats(head), floats(ear, 0.12))
    assert not located_by(word, head | ear).patient[ear].any()
    assert located_by(word, head | ear, soft=head | ear).patient[ear].all()


@pytest.mark.parametrize(
    ("said", "blocks", "kept"), [(0.2, 6, True), (0.19, 6, False), (0.2, 1, False)]
)
def test_an_ear_on_a_holder_is_joined_without_it(said: float, blocks: int, kept: bool) -> None:
    """The holder leads away. What is as flat as a layer along the contact is not joined."""
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((3, 14), (11, 13), (14, 14 + blocks)))
    holder = filled(SHAPE, ((3, 14), (13, 15), (14, 44)))
    word = np.maximum(floats(head), floats(ear, said))
    found = located_by(word, head | ear | holder)
    np.testing.assert_array_equal(found.patient, head | (ear & kept))


@pytest.mark.parametrize(("base", "above", "kept"), [(3, 2, True), (20, 13, False), (20, 14, True)])
def test_an_ear_on_a_holder_stands_out_by_5_mm(base: int, above: int, kept: bool) -> None:
    """Blocks of 2 mm, and half more as their base is taken to be oblique: 5, 4.95, 5.1 mm."""
    head, ear = filled(SHAPE, HEAD), filled(SHAPE)
    for i, blocks in ((14, base), (15, above)):
        for n in range(blocks):
            ear[3 + n % 10, 12 - n // 10, i] = True
    holder = filled(SHAPE, ((3, 14), (13, 15), (14, 44)))
    found = located_by(np.maximum(floats(head), floats(ear, 0.3)), head | ear | holder)
    np.testing.assert_array_equal(found.patient, head | (ear & kept))


def test_the_bare_is_never_patient() -> None:
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (14, 16), (4, 40)))
    found = located_by(floats(head | plate), head | plate, bare=plate)
    np.testing.assert_array_equal(found.patient, head)
    np.testing.assert_array_equal(found.objects, plate)
    assert located_by(floats(head | plate), head | plate).patient[plate].all()


def test_contacts_are_where_objects_lie_beside_the_patient() -> None:
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (14, 18), (4, 40)))
    found = located_by(floats(head), head | plate)
    np.testing.assert_array_equal(found.contacts, filled(SHAPE, ((3, 15), (14, 15), (4, 15))))
    # With blocks that are not cubes, by the longest edge: 6 mm.
    spacing = (4.0, 2.0, 1.0)
    found = locate_by(floats(head), floats(head | plate), spacing, EXACT)
    j, i = np.indices(SHAPE)[1:]
    apart = (2.0 * (j - 13)) ** 2 + np.maximum(i - 13, 0) ** 2
    np.testing.assert_array_equal(found.contacts, plate & (apart <= 36))


def test_doubt_is_solid_tissue_of_which_the_network_is_not_sure() -> None:
    tissue = filled(SHAPE, HEAD)
    word, fraction = floats(tissue), floats(tissue)
    for i, said in enumerate((0.0, 0.29, 0.31, 0.5, 0.69, 0.71, 1.0), 5):
        word[5:12, 8, i] = said
    fraction[8, 8] *= np.float32(0.9)
    word[8, 8] *= np.float32(0.9)
    fraction[9, 8] *= np.float32(0.85)
    word[9, 8] *= np.float32(0.85)
    found = locate_by(word, fraction, TWO, EXACT)
    expected = filled(SHAPE, ((5, 12), (8, 9), (7, 10)))
    expected[9] = False
    np.testing.assert_array_equal(found.doubt, expected)


def test_of_the_bare_there_is_no_doubt() -> None:
    """It is decided, however unsure the network is of it."""
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (14, 18), (4, 40)))
    word = floats(head) + floats(plate, 0.5)
    found = located_by(word, head | plate)
    assert np.any(found.doubt & plate)
    found = located_by(word, head | plate, bare=plate)
    assert not np.any(found.doubt)


def test_at_the_bounds_of_doubt_the_network_is_sure() -> None:
    tissue = filled(SHAPE, HEAD)
    word = floats(tissue)
    word[5, 5, 5], word[6, 6, 6] = np.float32(0.3), np.float32(0.7)
    assert not np.any(locate_by(word, floats(tissue), TWO, EXACT).doubt)


def test_the_side_and_what_is_likely_are_handed_on() -> None:
    head, plate = filled(SHAPE, HEAD), filled(SHAPE, ((3, 15), (14, 18), (4, 40)))
    word = np.maximum(floats(head, 0.9), floats(plate, 0.05))
    fraction = floats(head | plate)
    found = locate_by(word, fraction, TWO)
    np.testing.assert_array_equal(found.patient, head)
    expected = _side(_share(word, fraction, TWO, 3.0), fraction, head, plate, TWO)
    np.testing.assert_array_equal(found.side, expected)
    np.testing.assert_array_equal(found.likely, word)


def test_where_the_decision_went_against_the_network_the_side_follows_it() -> None:
    head, ear = filled(SHAPE, HEAD), filled(SHAPE, ((3, 14), (5, 7), (14, 20)))
    plate = filled(SHAPE, ((3, 15), (14, 18), (4, 44)))
    word = np.maximum(floats(head, 0.9), floats(ear, 0.3)) + floats(plate, 0.45)
    found = located_by(word, head | ear | plate)
    np.testing.assert_array_equal(found.patient, head | ear)
    assert found.side is not None
    np.testing.assert_allclose(found.side[3:14, 5:7, 18:20], 0.6, atol=0.01)
    np.testing.assert_allclose(found.side[3:15, 15:18, 20:44], 0.4, atol=0.01)


def test_the_network_finds_no_patient() -> None:
    head = filled(SHAPE, HEAD)
    with pytest.raises(SegmentationError, match=r"^The network found no patient in the scan\. "):
        located_by(floats(head, 0.49), head)
    with pytest.raises(SegmentationError, match=r"use the engine threshold\.$"):
        located_by(floats(head, 0.79), head, doubted=head)


def test_the_network_is_given_no_tissue() -> None:
    head, nothing = filled(SHAPE, HEAD), filled(SHAPE)
    with pytest.raises(SegmentationError, match=r"^Nothing in the scan is denser than the skin"):
        located_by(floats(head), nothing)
    with pytest.raises(SegmentationError, match="denser than the skin level"):
        located_by(floats(head), head, bare=head)
