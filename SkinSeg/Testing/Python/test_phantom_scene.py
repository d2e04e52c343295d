"""What is around and inside the head: clearances, contacts, tissues, openings and their caps."""

from __future__ import annotations

import numpy as np
import pytest
from marks import slow
from phantom_makers import part, ras_of_voxels
from SkinSegLib.core import SkinSegError
from SkinSegLib.training.anatomy import sizes_for
from SkinSegLib.training.head import build_head
from SkinSegLib.training.interior import opening_air
from SkinSegLib.training.objects import KINDS, PRESS_MM, ObjectSpec, place_objects
from SkinSegLib.training.phantom import PhantomSpec, make_phantom
from SkinSegLib.training.projection import (
    as_field,
    nearest,
    normals,
    surface_samples,
)


@pytest.fixture(scope="module")
def head():
    return build_head(sizes_for(0))


@pytest.fixture(scope="module")
def on_skin(head):
    return surface_samples(as_field(head.skin), (-105, -115, -110), (105, 130, 140), 4.0)


def points_of(thing, step):
    """Places inside a thing, within the space around the head, RAS mm."""
    low = np.maximum(thing.outline.low, (-110, -140, -110))
    high = np.minimum(thing.outline.high, (110, 150, 140))
    axes = [np.arange(a, b, step) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[as_field(thing.outline)(grid) <= 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, *slow([3])])
def test_clearance_is_what_was_asked(kind, seed):
    """No place inside the thing is nearer to the skin than the gap, and some are about as near."""
    head = build_head(sizes_for(seed))
    (thing,) = place_objects(head, (ObjectSpec(kind, 6.0),))
    inside = points_of(thing, 1.5 if kind in ("mask", "strap", "tube", "electrodes") else 3.0)
    field = as_field(head.skin)
    close = inside[np.argsort(field(inside))[:60]]
    foot, _ = nearest(field, close)
    gap = np.linalg.norm(close - foot, axis=1)
    assert field(inside).min() > 0
    assert gap.min() > 5.8
    assert gap.min() < 8.5  # places are up to 3 mm apart
    skin = surface_samples(field, (-105, -115, -110), (105, 130, 140), 4.0)
    assert as_field(thing.outline)(skin).min() == pytest.approx(6.0, abs=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_touching_really_touches(head, on_skin, kind):
    (thing,) = place_objects(head, (ObjectSpec(kind, 0.0),))
    depth = as_field(thing.outline)(on_skin)
    assert -PRESS_MM.get(kind, 1.0) - 0.3 < depth.min() < -0.3
    assert 1 <= np.count_nonzero(depth < 0) < 0.2 * len(on_skin)


def test_a_touching_thing_leaves_no_gap_in_the_scan_and_is_not_in_the_truth():
    spec = part((0.0, -100.0, 45.0), (50, 40, 50), objects=(ObjectSpec("table", 0.0),))
    touching, alone = make_phantom(spec), make_phantom(part((0.0, -100.0, 45.0), (50, 40, 50)))
    assert np.array_equal(touching.truth, alone.truth)
    solid = touching.volume.voxels > -480
    assert solid.sum() > (alone.volume.voxels > -480).sum() + 1000
    middle = solid[25, :, 25]
    assert np.count_nonzero(middle[1:] != middle[:-1]) == 1, "the shell follows the skin"
    points = touching.surface_points(2.0)
    assert (touching.contact_distance(points) < 0).any()
    assert np.isinf(alone.contact_distance(points)).all()


def test_what_things_are_made_of():
    """Grey values met inside each thing, away from the head."""
    expected = {
        "table": (-950, 60),
        "holder": (-950, 80),
        "foam": (-925, -925),
        "pillow": (-945, -800),
        "strap": (20, 20),
        "mask": (75, 75),
        "tube": (-1000, 110),
        "electrodes": (350, 2800),
    }
    head = build_head(sizes_for(0))
    for kind, values in expected.items():
        (thing,) = place_objects(head, (ObjectSpec(kind, 3.0),))
        met = {layer.hu for layer in thing.layers}
        assert {min(met), max(met)} == set(values)


def test_the_mask_is_a_perforated_sheet_two_mm_thick(head):
    (mask,) = place_objects(head, (ObjectSpec("mask", 3.0),))
    # Straight through the forehead's middle part, along rows with and without holes.
    y = np.arange(95, 115, 0.02)
    thick = []
    for x in np.arange(-12, 12, 0.5):
        line = np.stack([np.full_like(y, x), y, np.full_like(y, 60.0)], axis=1)
        thick.append(np.count_nonzero(as_field(mask.outline)(line) < 0) * 0.02)
    assert max(thick) == pytest.approx(2.0, abs=0.35)
    assert min(thick) == 0.0
    assert 0.3 < np.mean(np.array(thick) == 0) < 0.8


def test_unknown_things_and_gaps_are_refused():
    with pytest.raises(SkinSegError, match="Choose one of table"):
        ObjectSpec("sofa")
    with pytest.raises(SkinSegError, match="below 0"):
        ObjectSpec("table", -1.0)


def test_presets():
    kinds = {thing.kind: thing.gap_mm for thing in PhantomSpec.table_and_holder(8.0).objects}
    assert kinds["holder"] == 8.0
    assert kinds["table"] > 8.0 + 9.0, "the table lies below the holder"
    assert PhantomSpec.clean().objects == ()
    assert all(t.gap_mm == 0 for t in PhantomSpec.touching("mask").objects if t.kind == "mask")
    assert {t.kind for t in PhantomSpec.touching().objects} >= {"pillow", "table"}


@pytest.mark.parametrize("seed", [0, 2])
def test_caps_close_five_openings_and_are_at_most_5_mm_deep(seed):
    """Depth below the plane through the rim of the opening, in mm."""
    head = build_head(sizes_for(seed))
    field = as_field(head.skin)
    assert len(head.openings) == 5
    for name, opening in head.openings.items():
        points = surface_samples(field, opening.low - 3, opening.high + 3, 0.6)
        value = as_field(opening)(points)
        cap, rim = points[value < 0], points[np.abs(value - 0.4) < 0.4]
        assert len(cap) > 5, name
        middle = rim.mean(axis=0)
        _, _, axes = np.linalg.svd(rim - middle)
        out = axes[2] * np.sign(axes[2] @ normals(field, cap).mean(axis=0))
        depth = -(cap - middle) @ out
        if name != "lips":  # its rim is a bent line, which no plane fits
            assert depth.max() < 5, name
        area = len(cap) * 0.36
        assert area < 130, name


def test_the_closing_line_of_the_lips_is_at_most_5_mm_deep(head):
    field = as_field(head.skin)
    way = np.arange(60, 125, 0.02)

    def front(z):
        line = np.stack([np.zeros_like(way), way, np.full_like(way, z)], axis=1)
        return way[np.nonzero(field(line) < 0)[0][-1]]

    heights = np.arange(-54, -38, 0.2)
    profile = np.array([front(z) for z in heights])
    upper = profile[heights > -44.5].max()
    lower = profile[heights < -47.5].max()
    slit = profile[(heights > -47.5) & (heights < -44.5)].min()
    assert 1.5 < min(upper, lower) - slit <= 5.5


def test_air_behind_the_caps_is_air_in_the_scan_and_head_in_the_truth():
    phantom = make_phantom(part((0.0, 90.0, -15.0), (50, 70, 60)))
    points = ras_of_voxels(phantom.volume).reshape(-1, 3)
    air = as_field(opening_air(phantom.head))(points) < -1.5
    enclosed = air & (phantom.solid(points) < -3)
    assert enclosed.sum() > 50
    assert np.median(phantom.volume.voxels.ravel()[enclosed]) < -700
    assert (phantom.truth.ravel()[enclosed] == 1).all()
    on_skin = phantom.surface_points(1.0)
    assert phantom.is_cap(on_skin).any()
    assert phantom.is_cap(on_skin).mean() < 0.1


@pytest.mark.slow
def test_near_the_skin_there_is_skin_on_one_side_and_air_on_the_other():
    """Away from openings: 40 HU down to 2 mm, so that -480 HU is the right level."""
    phantom = make_phantom(part((45.0, 40.0, 20.0), (90, 80, 60)))
    points = ras_of_voxels(phantom.volume).reshape(-1, 3)
    near = np.nonzero(np.abs(phantom.solid(points)) < 4)[0][::7]
    near = near[(phantom.cap_distance(points[near]) > 5)]
    distance = phantom.signed_distance(points[near])
    hu = phantom.volume.voxels.ravel()[near]
    inside = (distance < -1.7) & (distance > -2.4)
    outside = (distance > 1.7) & (distance < 3)
    assert inside.sum() > 300
    assert np.percentile(np.abs(hu[inside] - 40), 98) < 15
    assert np.percentile(np.abs(hu[outside] + 1000), 98) < 15


def test_tissues_are_where_they_belong():
    spec = part((0.0, 10.0, 30.0), (20, 200, 150), spacing=(2.0,) * 3)
    phantom = make_phantom(spec)
    points = ras_of_voxels(phantom.volume)

    def value(x, y, z):
        at = np.linalg.norm(points - np.array([x, y, z]), axis=-1)
        return int(phantom.volume.voxels[np.unravel_index(at.argmin(), at.shape)])

    assert value(0, 0, 60) == pytest.approx(35, abs=10)  # brain
    assert value(0, 24, -30) < -900  # pharynx
    assert value(0, -32, -44) > 80  # spine
    column = phantom.volume.voxels[:, 50, 5]
    assert column.max() > 700  # skull
    bald = make_phantom(part((0.0, -90.0, 90.0), (40, 40, 40)))
    hairy = make_phantom(part((0.0, -90.0, 90.0), (40, 40, 40), hair=True))
    strands = hairy.volume.voxels.astype(int) - bald.volume.voxels
    assert 50 < strands.max() < 450
    assert np.count_nonzero(strands > 20) > 300
    assert hairy.volume.voxels[bald.truth == 0].mean() < -930
    assert np.array_equal(hairy.truth, bald.truth)
