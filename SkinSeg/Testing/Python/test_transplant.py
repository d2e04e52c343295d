"""Another head in the surroundings of a scan: what touched still touches; labels are exact."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.training.finetune import mixed_scene
from SkinSegLib.training.scenes import HeadSource
from SkinSegLib.training.transplant import surroundings, transplanted

SPACING = (4.0, 4.0, 4.0)
GEL = 0.8


def ball(radius: float, shape=(60, 60, 60), centre=(30.0, 30.0, 30.0), ear: bool = False):
    """A ball (cells), if asked with an ear at its right, as the share of each cell."""
    z, y, x = np.indices(shape).astype(np.float32)
    far = np.sqrt(sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)))
    filled = np.clip(radius + 0.5 - far, 0, 1)
    if ear:
        side = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2] - radius) ** 2)
        filled = np.maximum(filled, np.clip(3.5 - side, 0, 1))
    return filled.astype(np.float32)


@pytest.fixture
def case() -> HeadSource:
    """A ball of 15 cells that lies in gel, which is all that is behind its middle."""
    filled = ball(15)
    gel = np.zeros_like(filled)
    gel[5:55, 8:24] = GEL
    return HeadSource("case/head_0001", filled, filled, filled + (1 - filled) * gel, SPACING)


@pytest.fixture
def head() -> HeadSource:
    """A smaller head, brighter, with its ear on the right; nothing around it."""
    filled = ball(11, (40, 40, 40), (20.0, 20.0, 20.0), ear=True)
    return HeadSource("phantom-1", filled * np.float32(1.1), filled, None, SPACING)


def test_the_place_of_the_head_is_filled_from_its_rim(case):
    place = surroundings(case)
    assert place.around is not None
    assert place.around[30, 15, 30] == pytest.approx(GEL)  # gel before, behind the ball
    assert place.around[30, 19, 30] == pytest.approx(GEL)  # the ball's back lay in it
    assert place.around[30, 42, 30] == 0  # its front lay in air
    assert place.around.max() < 0.9  # nothing of the head is left
    with pytest.raises(ValueError, match="surroundings"):
        surroundings(HeadSource("phantom-1", case.grey, case.filled, None, SPACING))


def test_a_head_lies_where_the_other_lay_and_touches_what_it_touched(case, head):
    class Exactly(np.random.Generator):
        """Puts it crown to crown and back to back, not some mm beside."""

        def uniform(self, *_):
            return np.zeros(3)

    made = transplanted(surroundings(case), head, Exactly(np.random.PCG64(0)))
    assert made.around is not None
    assert made.filled.sum() == pytest.approx(head.filled.sum(), rel=1e-5)
    solid, before = made.filled > 0.5, case.filled > 0.5
    k, j, i = (np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    crown, back = (np.flatnonzero(before.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    assert (k[-1], j[0]) == (crown[-1], back[0])
    # The ear is still on the right, which is the end of the last axis.
    middle = np.flatnonzero(solid[:, :, :].any(axis=(0, 1)))[[0, -1]].mean()
    ball_middle = np.argwhere(solid)[:, 2].mean()
    assert ball_middle < middle
    # What the head fills is the head; behind it there is gel right up to it.
    np.testing.assert_allclose(made.around[solid & (made.filled == 1)], 1.1, rtol=1e-5)
    column = made.around[round(float(k.mean())), :, round(float(i.mean()))]
    assert column[back[0] - 3 : back[0] + 1].min() > 0.7


def test_a_head_that_was_cut_is_cut_by_the_field(case, head):
    cut = HeadSource(head.name, head.grey[22:], head.filled[22:], None, SPACING)
    made = transplanted(surroundings(case), cut, np.random.default_rng(1))
    assert made.filled[0].max() > 0.5
    assert made.filled.shape[0] < case.filled.shape[0]
    assert made.filled.shape == made.grey.shape == made.around.shape  # type: ignore[union-attr]


def test_scenes_show_other_heads_in_ones_own_surroundings(case, head):
    sources = [case, head, surroundings(case)]
    shown = [mixed_scene(sources, seed, (24, 24, 24), 8.0, share=1.0) for seed in range(30)]
    heads = [scene.source for scene in shown if scene.things == ("own",)]
    assert heads.count("phantom-1") >= 5
    assert heads.count("case/head_0001") >= 3
    for scene in shown:
        again = mixed_scene(sources, shown.index(scene), (24, 24, 24), 8.0, share=1.0)
        np.testing.assert_array_equal(again.grey, scene.grey)
        break
    made = [mixed_scene(sources, seed, (24, 24, 24), 8.0, share=0.0) for seed in range(8)]
    assert all(scene.source == "phantom-1" and scene.things != ("own",) for scene in made)
