"""What the measures of a mask against its reference say where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation_makers import (
    AIR,
    LEVEL,
    TISSUE,
    ball_mask,
    grid_mm,
    reference_of,
    scan_of,
)
from SkinSegLib.core import (
    CTVolume,
    SkinSegError,
)
from SkinSegLib.training.evaluation import (
    Reference,
    measure,
)


def test_the_same_mask_is_perfect():
    ball = ball_mask(25)
    figures = measure(ball, reference_of(ball))
    assert figures.dice == figures.surface_dice_1mm == figures.surface_dice_2mm == 1
    assert figures.skin.mean == figures.skin.p99 == figures.free.mean == 0
    assert figures.taken_ml == figures.lost_ml == figures.partial_ml == 0
    assert math.isnan(figures.contact.mean)
    assert math.isnan(figures.cut.mean)


@pytest.mark.parametrize("radius", [22, 24.5])
def test_distance_between_balls_one_in_the_other(radius):
    figures = measure(ball_mask(radius), reference_of(ball_mask(26)))
    assert figures.skin.mean == pytest.approx(26 - radius, abs=0.1)
    assert figures.skin.p99 == pytest.approx(26 - radius, abs=1.3)
    share = 0.5 if radius < 24 else 1.0
    assert (figures.surface_dice_2mm > 0.95) == (share == 1)
    inside = 4 / 3 * np.pi * np.array([25.0**3, radius**3]) / 1000
    assert figures.lost_ml == pytest.approx(inside[0] - inside[1], rel=0.1)
    assert figures.taken_ml == 0


def test_a_shifted_box_is_off_by_the_shift_on_two_faces_only():
    box = np.zeros((50, 60, 70), bool)
    box[10:40, 10:50, 10:60] = True
    spacing = (2.0, 1.0, 0.5)
    figures = measure(np.roll(box, 2, axis=1), reference_of(box, spacing))
    # 60 x 40 x 25 mm: the two faces across j, of 60 x 25 mm, are 2 mm off; the rest is on itself.
    faces = 2 * (60 * 25 + 60 * 40 + 40 * 25)
    assert figures.skin.mean == pytest.approx(2 * 2 * 60 * 25 / faces, rel=0.05)
    assert figures.skin.p99 == pytest.approx(2.0, abs=1e-6)
    assert figures.surface_dice_1mm == pytest.approx(1 - 2 * 60 * 25 / faces, rel=0.05)
    assert figures.surface_dice_2mm == 1
    assert figures.dice == pytest.approx(1 - 2 / 40)
    # Of the 2 mm on each side the half is deeper than 1 mm; of what is lost, all is that near to
    # the surface where it reaches the other faces: a slice at each end, two columns on each side.
    assert figures.taken_ml == pytest.approx(60 * 25 / 1000)
    assert figures.lost_ml == pytest.approx(28 * 46 / 1000)
    both = figures.taken_ml + figures.lost_ml + figures.partial_ml
    assert both == pytest.approx(2 * 2 * 60 * 25 / 1000)


def test_half_a_thick_slice_is_partial_volume():
    box = np.zeros((20, 40, 40), bool)
    box[5:15, 10:30, 10:30] = True
    more = box.copy()
    more[15, 10:30, 10:30] = True
    figures = measure(more, reference_of(box, (3.0, 1.0, 1.0)))
    assert figures.taken_ml == 0
    assert figures.partial_ml == pytest.approx(20 * 20 * 3 / 1000)


def test_a_lump_taken_in_and_an_ear_lost():
    head, table, ear = (np.zeros((60, 80, 80), bool) for _ in range(3))
    head[10:50, 20:50, 20:60] = True
    table[10:50, 60:70, 10:70] = True
    ear[25:35, 30:36, 60:70] = True
    figures = measure(head | table, reference_of(head | ear, other=table))
    assert figures.taken_ml == pytest.approx(table.sum() / 1000)
    # Of the ear's 10 mm, the roots of its faces are nearer than 1 mm to the reference's surface.
    inner = 8 * 4 * 9 / 1000
    assert figures.lost_ml == pytest.approx(inner, rel=0.05)
    assert figures.lost_ml + figures.partial_ml == pytest.approx(ear.sum() / 1000)
    assert figures.skin.p99 > 10


def test_far_distances_are_known_to_a_millimetre_in_the_mean():
    head, far = (np.zeros((60, 80, 120), bool) for _ in range(2))
    head[20:40, 30:50, 10:30] = True
    far[20:40, 30:50, 79:80] = True
    figures = measure(head | far, reference_of(head))
    # The plate, 49 mm off (nearest face 50, thickness 1), has about a quarter of both surfaces.
    plate = 2 * (2 * 20 * 20 + 4 * 20 * 1) / 2
    total = 2 * 6 * 20 * 20 + plate
    assert figures.skin.mean == pytest.approx(49.5 * plate / total, abs=1.0)
    assert figures.skin.p99 == pytest.approx(50, abs=2)


def test_contact_zone_is_where_something_touches():
    head, pillow = np.zeros((60, 60, 60), bool), np.zeros((60, 60, 60), bool)
    head[10:50, 10:50, 10:50] = True
    pillow[5:55, 50:58, 5:55] = True
    reference = reference_of(head, other=pillow)
    thicker = head.copy()
    thicker[10:50, 50:53, 10:50] = True
    figures = measure(thicker, reference)
    assert figures.contact.mean > 1.2
    assert figures.contact.p99 == pytest.approx(3, abs=0.1)
    assert figures.free.mean < 0.1
    assert figures.free.mean < figures.skin.mean < figures.contact.mean
    other_side = head.copy()
    other_side[10:50, 7:10, 10:50] = True
    figures = measure(other_side, reference)
    assert figures.contact.mean == 0
    assert figures.free.p99 == pytest.approx(3, abs=0.1)


def test_specks_and_padding_touch_nothing():
    head = np.zeros((50, 50, 50), bool)
    head[10:40, 10:40, 10:40] = True
    speck, wall = np.zeros_like(head), np.zeros_like(head)
    speck[20:24, 42:46, 20:24] = True
    wall[:, 43:, :] = True
    assert not reference_of(head, other=speck).in_contact.any()
    assert reference_of(head, other=wall).in_contact.any()
    volume = scan_of(head | wall)
    volume.voxels[wall] = 3000
    padded = CTVolume(volume.voxels, volume.ijk_to_ras, padding=(3000.0,))
    assert not Reference(padded, head, LEVEL).in_contact.any()


def test_cuts_are_left_out():
    neck = np.zeros((60, 60, 60), bool)
    neck[:45, 15:45, 15:45] = True
    shorter = neck.copy()
    shorter[:2] = False
    figures = measure(shorter, reference_of(neck))
    assert figures.cut.p99 == pytest.approx(2, abs=0.1)
    assert figures.skin.mean == 0
    assert figures.skin.p99 == 0
    assert figures.lost_ml > 0  # a volume is a volume, wherever
    # Where the patient does not reach the face, the same loss counts.
    inside = np.roll(neck, 8, axis=0)
    inside[:8] = False
    shorter = inside.copy()
    shorter[8:10] = False
    figures = measure(shorter, reference_of(inside))
    assert math.isnan(figures.cut.mean)
    assert figures.skin.mean > 0.1


def test_a_round_field_of_view_cuts_too():
    z, y, x = grid_mm((30, 80, 80), (1.0, 1.0, 1.0))
    body, field = np.abs(y) < 20, np.hypot(x, y) < 35
    voxels = np.where(body, TISSUE, AIR).astype(np.int16)
    voxels[~field] = -2048
    mask = body & field & (np.abs(z) < 10)
    volume = CTVolume(voxels, np.eye(4), padding=(-2048.0,))
    shrunk = mask & (np.hypot(x, y) < 33.5)
    figures = measure(shrunk, Reference(volume, mask, LEVEL))
    assert figures.cut.mean > 0.5
    assert figures.skin.p95 < 0.1
    unmarked = measure(shrunk, Reference(CTVolume(voxels, np.eye(4)), mask, LEVEL))
    assert unmarked.skin.p95 > 1


def test_an_empty_mask_is_infinitely_far():
    ball = ball_mask(25)
    figures = measure(np.zeros_like(ball), reference_of(ball))
    assert figures.dice == figures.surface_dice_1mm == 0
    assert figures.skin.mean == math.inf
    assert figures.lost_ml == pytest.approx(4 / 3 * np.pi * 24**3 / 1000, rel=0.02)
    nothing = measure(np.zeros_like(ball), reference_of(np.zeros_like(ball)))
    assert math.isnan(nothing.dice)
    everything = measure(ball, reference_of(np.zeros_like(ball)))
    assert everything.dice == 0
    assert everything.taken_ml == pytest.approx(ball.sum() / 1000)


def test_masks_of_another_grid_are_refused():
    ball = ball_mask(25)
    with pytest.raises(SkinSegError, match="same scan"):
        measure(ball[1:], reference_of(ball))
    with pytest.raises(SkinSegError, match="grid"):
        Reference(scan_of(ball), ball[1:], LEVEL)


def test_thick_slices_are_compared_by_their_outlines():
    box = np.zeros((12, 60, 60), bool)
    box[3:9, 10:50, 10:50] = True
    spacing = (5.0, 0.5, 0.5)
    # A slice more at the top changes no outline of another slice, ...
    reference = reference_of(box, spacing, in_slices=True)
    wider = box.copy()
    wider[3:9, 10:50, 50:53] = True
    figures = measure(wider, reference)
    assert figures.skin.mean == pytest.approx(2 * 1.5 * 20 / (2 * 80 + 2 * 1.5), rel=0.06)
    assert figures.skin.p99 == pytest.approx(1.5, abs=1e-6)
    assert figures.taken_ml == pytest.approx(20 * 0.5 * 30 / 1000)
    # ... and is itself a slice too far off by its thickness, not by less.
    higher = box.copy()
    higher[9] = box[8]
    figures = measure(higher, reference)
    assert 5 <= figures.skin.p99 < 5.3
    assert figures.taken_ml == pytest.approx(20 * 20 * 5 / 1000)
    assert figures.skin.p95 >= 5 > measure(wider, reference).skin.p99


def test_a_tilted_gantry_does_not_change_the_outlines():
    box = np.zeros((12, 60, 60), bool)
    box[3:9, 10:50, 10:50] = True
    wider = box.copy()
    wider[3:9, 10:50, 50:53] = True
    sheared = np.diag([0.5, 0.5, 5.0, 1.0])
    sheared[1, 2] = 2.0
    volume = CTVolume(scan_of(box).voxels, sheared)
    figures = measure(wider, Reference(volume, box, LEVEL, in_slices=True))
    straight = measure(wider, reference_of(box, (5.0, 0.5, 0.5), in_slices=True))
    assert figures.skin == straight.skin
    assert figures.taken_ml == pytest.approx(straight.taken_ml)


def test_only_the_slices_of_an_outline_count():
    column = np.zeros((40, 40, 40), bool)
    column[:, 10:30, 10:30] = True
    outline = column.copy()
    outline[:10] = outline[30:] = False
    assert measure(column, reference_of(outline, other=column)).taken_ml > 4
    cropped = measure(column, reference_of(outline, other=column, slices=(10, 30)))
    assert cropped.dice == 1
    assert cropped.taken_ml == 0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 0.4, 0.6)])
def test_a_moved_ball_has_the_known_distances_and_monai_agrees(spacing):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    shape = tuple(round(64 / s) for s in spacing)
    moved = np.array([1.2, 0.7, -1.0])
    reference, mask = ball_mask(24, shape, spacing), ball_mask(24, shape, spacing, moved)
    ours = measure(mask, reference_of(reference, spacing))
    # The distance is that of the move along the normal, whose cosine is evenly spread.
    length = float(np.linalg.norm(moved))
    assert ours.skin.mean == pytest.approx(length / 2, abs=0.09)
    assert ours.skin.p95 == pytest.approx(0.95 * length, abs=0.2)
    assert ours.surface_dice_1mm == pytest.approx(1 / length, abs=0.1)
    assert ours.surface_dice_2mm == pytest.approx(1, abs=0.01)
    both = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (mask, reference)]
    options = {"include_background": True, "spacing": spacing}
    for limit, found in ((1.0, ours.surface_dice_1mm), (2.0, ours.surface_dice_2mm)):
        dice = metrics.compute_surface_dice(*both, [limit], use_subvoxels=True, **options)
        assert found == pytest.approx(float(dice), abs=0.12)
    mean = metrics.compute_average_surface_distance(*both, symmetric=True, **options)
    assert ours.skin.mean == pytest.approx(float(mean), abs=0.1)


# Engines, at the top of this module since they are sent to other processes.
