"""Where something touches: small places near each other are one finding, at one that there is."""

from __future__ import annotations

import numpy as np
from SkinSegLib.core import CTVolume, FindingKind
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.findings import _contact_findings


def found(*blocks) -> list[np.ndarray]:
    """Places (mm from the first voxel) told of for contacts in some blocks of 2 mm."""
    volume = CTVolume(np.zeros((60, 60, 60), np.int16), np.eye(4))
    grid = CoarseGrid.over(volume, 2.0)
    contacts = np.zeros(grid.coarse_shape, bool)
    for block in blocks:
        contacts[block] = True
    findings = _contact_findings(volume, grid, contacts)
    assert all(f.kind is FindingKind.TOUCHES_OBJECT for f in findings)
    return [np.array(f.position_ras) for f in findings]


def test_a_tube_that_touches_at_one_place_after_the_other_is_told_of_once():
    """Each place of two blocks (0.016 mL) would be too small to tell of."""
    places = [np.s_[k : k + 2, 10, 10] for k in range(2, 26, 4)]
    (place,) = found(*places)
    assert np.allclose(place[:2], 20.5)
    assert 4 <= place[2] <= 52
    assert found(places[0]) == []
    assert found(places[0], places[-1]) == []  # too far from each other to be one


def test_places_far_from_each_other_are_told_of_one_by_one():
    places = found(np.s_[2:5, 2:5, 2:5], np.s_[20:24, 20:24, 20:24])
    assert len(places) == 2
    assert np.linalg.norm(places[0] - 43.5) < 3  # the larger one first
    assert np.linalg.norm(places[1] - 6.5) < 3


def test_large_places_are_told_of_one_by_one_however_near_and_crumbs_beside_them_not():
    places = found(np.s_[2:5, 2:5, 2:5], np.s_[2:5, 2:5, 7:9], np.s_[10, 2, 2], np.s_[3, 7, 3])
    assert len(places) == 2
    assert np.linalg.norm(places[0] - 6.5) < 3
    assert np.linalg.norm(places[1] - (15.5, 6.5, 6.5)) < 3


def test_what_goes_around_is_told_of_where_it_touches_and_not_within():
    ring = np.zeros((30, 30, 30), bool)
    j, i = np.ogrid[:30, :30]
    ring[15] = np.abs(np.hypot(j - 15, i - 15) - 10) < 0.8
    (place,) = found(ring)
    assert ring[tuple(((place[::-1] - 0.5) / 2).round().astype(int))]


def test_nothing_is_told_of_where_nothing_touches():
    assert found() == []
