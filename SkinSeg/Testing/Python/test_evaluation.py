"""Figures of masks with known errors; engines side by side; what the command writes."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from command import skinseg
from SkinSegLib.core import (
    Cancelled,
    CTVolume,
    ModelError,
    Progress,
    SegmentationError,
    SkinSegError,
)
from SkinSegLib.segmentation.labelmap import write_labelmap
from SkinSegLib.training.evaluation import (
    SPLITS,
    Case,
    DataSet,
    Engine,
    Entry,
    Reference,
    cases,
    child,
    evaluate,
    measure,
    scenes,
    single_scans,
    write_card,
    write_csv,
    write_markdown,
    write_picture,
)
from SkinSegLib.training.labels import Recipe, make_label, mask_hash, save_recipe

AIR, TISSUE, LEVEL = -1000, 40, -480.0


def _grid(shape, spacing):
    """Positions in mm (k, j, i) of the voxels, from the middle of the grid."""
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def _ball(radius, shape=(70, 70, 70), spacing=(1.0, 1.0, 1.0), centre=(0.0, 0.0, 0.0)):
    z, y, x = _grid(shape, spacing)
    return ((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2) <= radius**2


def _volume(tissue, spacing=(1.0, 1.0, 1.0), **options):
    """A scan of tissue and air; ``spacing`` along k, j, i."""
    voxels = np.where(tissue, TISSUE, AIR).astype(np.int16)
    return CTVolume(voxels, np.diag([*spacing[::-1], 1.0]), **options)


def _reference(mask, spacing=(1.0, 1.0, 1.0), other=None, **options):
    tissue = mask if other is None else mask | other
    return Reference(_volume(tissue, spacing), mask.astype(np.uint8), LEVEL, **options)


def test_the_same_mask_is_perfect():
    ball = _ball(25)
    figures = measure(ball, _reference(ball))
    assert figures.dice == figures.surface_dice_1mm == figures.surface_dice_2mm == 1
    assert figures.skin.mean == figures.skin.p99 == figures.free.mean == 0
    assert figures.taken_ml == figures.lost_ml == figures.partial_ml == 0
    assert math.isnan(figures.contact.mean)
    assert math.isnan(figures.cut.mean)


@pytest.mark.parametrize("radius", [22, 24.5])
def test_distance_between_balls_one_in_the_other(radius):
    figures = measure(_ball(radius), _reference(_ball(26)))
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
    figures = measure(np.roll(box, 2, axis=1), _reference(box, spacing))
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
    figures = measure(more, _reference(box, (3.0, 1.0, 1.0)))
    assert figures.taken_ml == 0
    assert figures.partial_ml == pytest.approx(20 * 20 * 3 / 1000)


def test_a_lump_taken_in_and_an_ear_lost():
    head, table, ear = (np.zeros((60, 80, 80), bool) for _ in range(3))
    head[10:50, 20:50, 20:60] = True
    table[10:50, 60:70, 10:70] = True
    ear[25:35, 30:36, 60:70] = True
    figures = measure(head | table, _reference(head | ear, other=table))
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
    figures = measure(head | far, _reference(head))
    # The plate, 49 mm off (nearest face 50, thickness 1), has about a quarter of both surfaces.
    plate = 2 * (2 * 20 * 20 + 4 * 20 * 1) / 2
    total = 2 * 6 * 20 * 20 + plate
    assert figures.skin.mean == pytest.approx(49.5 * plate / total, abs=1.0)
    assert figures.skin.p99 == pytest.approx(50, abs=2)


def test_contact_zone_is_where_something_touches():
    head, pillow = np.zeros((60, 60, 60), bool), np.zeros((60, 60, 60), bool)
    head[10:50, 10:50, 10:50] = True
    pillow[5:55, 50:58, 5:55] = True
    reference = _reference(head, other=pillow)
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
    assert not _reference(head, other=speck).in_contact.any()
    assert _reference(head, other=wall).in_contact.any()
    volume = _volume(head | wall)
    volume.voxels[wall] = 3000
    padded = CTVolume(volume.voxels, volume.ijk_to_ras, padding=(3000.0,))
    assert not Reference(padded, head, LEVEL).in_contact.any()


def test_cuts_are_left_out():
    neck = np.zeros((60, 60, 60), bool)
    neck[:45, 15:45, 15:45] = True
    shorter = neck.copy()
    shorter[:2] = False
    figures = measure(shorter, _reference(neck))
    assert figures.cut.p99 == pytest.approx(2, abs=0.1)
    assert figures.skin.mean == 0
    assert figures.skin.p99 == 0
    assert figures.lost_ml > 0  # a volume is a volume, wherever
    # Where the patient does not reach the face, the same loss counts.
    inside = np.roll(neck, 8, axis=0)
    inside[:8] = False
    shorter = inside.copy()
    shorter[8:10] = False
    figures = measure(shorter, _reference(inside))
    assert math.isnan(figures.cut.mean)
    assert figures.skin.mean > 0.1


def test_a_round_field_of_view_cuts_too():
    z, y, x = _grid((30, 80, 80), (1.0, 1.0, 1.0))
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
    ball = _ball(25)
    figures = measure(np.zeros_like(ball), _reference(ball))
    assert figures.dice == figures.surface_dice_1mm == 0
    assert figures.skin.mean == math.inf
    assert figures.lost_ml == pytest.approx(4 / 3 * np.pi * 24**3 / 1000, rel=0.02)
    nothing = measure(np.zeros_like(ball), _reference(np.zeros_like(ball)))
    assert math.isnan(nothing.dice)
    everything = measure(ball, _reference(np.zeros_like(ball)))
    assert everything.dice == 0
    assert everything.taken_ml == pytest.approx(ball.sum() / 1000)


def test_masks_of_another_grid_are_refused():
    ball = _ball(25)
    with pytest.raises(SkinSegError, match="same scan"):
        measure(ball[1:], _reference(ball))
    with pytest.raises(SkinSegError, match="grid"):
        Reference(_volume(ball), ball[1:], LEVEL)


def test_thick_slices_are_compared_by_their_outlines():
    box = np.zeros((12, 60, 60), bool)
    box[3:9, 10:50, 10:50] = True
    spacing = (5.0, 0.5, 0.5)
    # A slice more at the top changes no outline of another slice, ...
    reference = _reference(box, spacing, in_slices=True)
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
    volume = CTVolume(_volume(box).voxels, sheared)
    figures = measure(wider, Reference(volume, box, LEVEL, in_slices=True))
    straight = measure(wider, _reference(box, (5.0, 0.5, 0.5), in_slices=True))
    assert figures.skin == straight.skin
    assert figures.taken_ml == pytest.approx(straight.taken_ml)


def test_only_the_slices_of_an_outline_count():
    column = np.zeros((40, 40, 40), bool)
    column[:, 10:30, 10:30] = True
    outline = column.copy()
    outline[:10] = outline[30:] = False
    assert measure(column, _reference(outline, other=column)).taken_ml > 4
    cropped = measure(column, _reference(outline, other=column, slices=(10, 30)))
    assert cropped.dice == 1
    assert cropped.taken_ml == 0


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 0.4, 0.6)])
def test_a_moved_ball_has_the_known_distances_and_monai_agrees(spacing):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    shape = tuple(round(64 / s) for s in spacing)
    moved = np.array([1.2, 0.7, -1.0])
    reference, mask = _ball(24, shape, spacing), _ball(24, shape, spacing, moved)
    ours = measure(mask, _reference(reference, spacing))
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


def _by_level(volume: CTVolume) -> np.ndarray:
    return (volume.voxels >= LEVEL).astype(np.uint8)


def _nothing(volume: CTVolume) -> np.ndarray:
    if volume.voxels.shape[0] == 32:
        return _by_level(volume)  # the ball for starting up
    raise SegmentationError("No patient is to be found. Choose another scan.")


def _broken(volume: CTVolume) -> np.ndarray:
    raise ValueError("what a library says of the scan")


def _ending(volume: CTVolume) -> np.ndarray:
    if volume.voxels.shape[0] != 32:
        os._exit(9)
    return _by_level(volume)


def _greedy(volume: CTVolume, megabytes: int) -> np.ndarray:
    if volume.voxels.shape[0] != 32:
        np.ones(megabytes * 1_000_000, np.uint8)
    return _by_level(volume)


def _sleeping(volume: CTVolume) -> np.ndarray:
    import time

    time.sleep(100 if volume.voxels.shape[0] != 32 else 0)
    return _by_level(volume)


def _set_of_two() -> DataSet:
    head, table = _ball(20, (60, 60, 60)), np.zeros((60, 60, 60), bool)
    table[:, 52:56] = True
    first = _reference(head, other=table)
    other = _reference(_ball(21, (60, 60, 60)), other=table)

    def missing(progress: Progress) -> Case:
        raise SkinSegError("There is no such scan. Get it.")

    return DataSet(
        "made",
        (
            Entry("ball", lambda _: Case(first, other)),
            Entry("gone", missing),
            Entry("plain", lambda _: Case(_reference(head))),
        ),
    )


def _engines(**engines) -> list[Engine]:
    return [Engine(name, run) for name, run in engines.items()]


@pytest.fixture(scope="module")
def result():
    engines = _engines(level=_by_level, shy=_nothing, broken=_broken, ending=_ending)
    return evaluate([_set_of_two()], engines)


def test_engines_side_by_side(result):
    rows = {(row.case, row.engine, row.reference): row for row in result.rows}
    assert len(rows) == len(result.rows) == 4 * 3 + 1
    assert rows["plain", "level", "first"].figures.dice == 1
    level = rows["ball", "level", "first"]
    assert level.figures.taken_ml == pytest.approx(60 * 60 * 4 / 1000)
    assert level.seconds > 0
    assert rows["ball", "level", "second"].figures.lost_ml == pytest.approx(0.096)
    assert level.figures.lost_ml == 0
    assert rows["ball", "level", "second"].figures.skin != level.figures.skin
    apart = rows["ball", "second reference", "first"]
    assert apart.figures.skin.mean == pytest.approx(1, abs=0.2)
    assert math.isnan(apart.seconds)


def test_a_missing_case_is_left_out_with_a_warning(result):
    assert result.warnings == ("gone was left out: There is no such scan. Get it.",)
    assert "gone" not in {row.case for row in result.rows}
    everything = DataSet("made", _set_of_two().entries[1:2])
    with pytest.raises(SkinSegError, match=r"nothing to evaluate.*gone was left out"):
        evaluate([everything], _engines(level=_by_level))


def test_an_engine_that_fails_is_scored_as_empty_and_says_why(result):
    problems = {row.engine: row for row in result.rows if row.case == "plain"}
    assert problems["shy"].problem == "No patient is to be found. Choose another scan."
    assert "ValueError" in problems["broken"].problem
    assert "library" not in problems["broken"].problem
    assert "enough memory" in problems["ending"].problem
    for name in ("shy", "broken", "ending"):
        assert problems[name].figures.dice == 0
        assert problems[name].figures.skin.mean == math.inf
    assert problems["level"].problem == ""


def test_peak_memory_is_of_each_case_alone(monkeypatch):
    volume = _volume(_ball(20, (60, 60, 60)))
    with child.EngineProcess(partial(_greedy, megabytes=400)) as process:
        greedy = process.run(volume, Progress())
        small = process.run(child._ball(), Progress())
    assert greedy.mask is not None
    assert greedy.peak_mb - small.peak_mb > 350
    assert small.peak_mb < 400


def test_a_process_whose_peak_cannot_be_reset_is_used_once(monkeypatch):
    monkeypatch.setattr(child, "_RESET", child.Path("/nowhere/clear_refs"))
    assert child._reset_peak() is False
    assert child._peak_mb() > 10
    monkeypatch.setattr(child, "_STATUS", child.Path("/nowhere/status"))
    assert child._peak_mb() > 10


def test_cancelling_does_not_wait_for_the_engine():
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 6

    with pytest.raises(Cancelled):
        evaluate([_set_of_two()], _engines(slow=_sleeping), Progress(is_cancelled=cancelled))


def test_csv_has_every_row_and_figure(result, tmp_path):
    write_csv(result, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.rows)
    first = rows[0]
    assert (first["set"], first["case"], first["engine"]) == ("made", "ball", "level")
    assert float(first["taken_ml"]) == pytest.approx(14.4)
    assert float(first["skin_mean_mm"]) == pytest.approx(result.rows[0].figures.skin.mean, rel=1e-3)
    assert rows[-1]["contact_p95_mm"] == ""  # there is nothing to touch
    assert rows[-1]["skin_mean_mm"] == "inf"
    assert "memory" in rows[-1]["problem"]
    assert {"dice", "surface_dice_2mm", "cut_p99_mm", "lost_ml", "peak_mb"} <= set(first)


def test_markdown_has_a_table_with_medians_and_what_was_left_out(result, tmp_path):
    write_markdown(result, tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "## made" in text
    assert len({line.count("|") for line in lines}) == 1
    assert sum(line.startswith("| ball | ") for line in lines) == 4 * 2 + 1
    medians = [line for line in lines if line.startswith("| **median of 2** | level |")]
    dice = sorted(
        r.figures.dice for r in result.rows if (r.engine, r.reference) == ("level", "first")
    )
    assert medians[0].split("|")[3].strip() == f"{sum(dice) / 2:.4f}"
    assert "| ∞ / ∞ / ∞ |" in text
    assert "* gone was left out: There is no such scan." in text
    assert "* shy on plain: No patient is to be found." in text


def test_a_model_card_gets_the_tables_between_its_marks(result, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# Mine\n\n<!-- evaluation -->\nold\n<!-- end of evaluation -->\n\nLast.\n")
    for _ in range(2):  # again and again, and nothing piles up
        write_card(result, card)
    text = card.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n")
    assert text.endswith("\n\nLast.\n")
    assert "old" not in text
    assert text.count("### made") == 1
    assert "| ball | level |" in text
    many = replace(result, rows=tuple(replace(result.rows[0], case=str(n)) for n in range(30)))
    write_card(many, card)
    text = card.read_text(encoding="utf-8")
    assert "| 7 | level |" not in text
    assert "**median of 30**" in text
    card.write_text("# Without marks")
    with pytest.raises(ModelError, match="Add the lines"):
        write_card(result, card)
    assert card.read_text(encoding="utf-8") == "# Without marks"


def test_many_cases_have_a_line_for_the_worst(result, tmp_path):
    first = next(row for row in result.rows if row.case == "plain")
    rows = tuple(
        replace(
            first,
            case=str(n),
            figures=replace(first.figures, dice=n / 100, taken_ml=float(n)),
        )
        for n in range(101)
    )
    write_markdown(replace(result, rows=rows), tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text(encoding="utf-8")
    worst = next(line for line in text.splitlines() if line.startswith("| **worst 5 % from**"))
    cells = [cell.strip() for cell in worst.split("|")]
    assert cells[3] == "0.0500"
    assert "95.0" in cells
    write_picture(replace(result, rows=rows), tmp_path / "all.png")


def test_the_picture_shows_something(result, tmp_path):
    import matplotlib.image

    write_picture(result, tmp_path / "all.png")
    picture = matplotlib.image.imread(tmp_path / "all.png")
    assert picture.shape[1] == 1200
    assert (picture[..., :3].std(axis=2) > 0.1).mean() > 0.01  # bars are coloured


@pytest.fixture
def pairs(tmp_path):
    """A folder with two pairs, a scan without a label, and a label on another grid."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    import SimpleITK as sitk

    head = _ball(60, (50, 50, 50), (3.0, 3.0, 3.0))
    volume = _volume(head, (3.0, 3.0, 3.0))
    noise = np.random.default_rng(0).normal(0, 5, head.shape)
    for name, suffix in (("a", ".nrrd"), ("b", ".nii.gz"), ("alone", ".nrrd"), ("other", ".nrrd")):
        image = sitk.GetImageFromArray((volume.voxels + noise).astype(np.int16))
        image.SetSpacing((3.0, 3.0, 3.0))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(folder / f"{name}{suffix}"))
    for name, label in (("a", head), ("b", head), ("other", head[1:])):
        path = folder / f"{name}_label.nrrd"
        write_labelmap(label.astype(np.uint8), volume.ijk_to_ras, path)
    return folder


def test_the_command_on_a_folder(pairs, tmp_path):
    output = tmp_path / "out"
    done = skinseg(
        *("evaluate", "--set", pairs, "--engine", "threshold", "--engine", "slicer-recipe"),
        *("-o", output),
    )
    assert done.returncode == 0, done.stderr
    assert "Warning: other was left out: other_label.nrrd does not lie on the grid" in done.stderr
    with (output / "evaluation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["engine"]) for row in rows] == [
        *(("a", "threshold"), ("a", "slicer-recipe")),
        *(("b", "threshold"), ("b", "slicer-recipe")),
    ]
    for row in rows:
        assert float(row["dice"]) > 0.97
        assert float(row["peak_mb"]) > 30
    assert (output / "evaluation.md").read_text(encoding="utf-8").count("| a |") == 2
    assert (output / "evaluation.png").stat().st_size > 5000


def test_the_command_says_what_is_wrong(pairs, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, text in ((empty, "has no pairs"), (tmp_path / "none", "neither a folder")):
        done = skinseg("evaluate", "--set", name, "--engine", "threshold", cwd=tmp_path)
        assert done.returncode == 1
        assert text in done.stderr
    for more in (["--engine", "best"], ["--engine", "threshold", "--count", "0"], []):
        assert skinseg("evaluate", "--set", "test", *more).returncode == 2
    done = skinseg(
        *("evaluate", "--set", pairs, "--engine", "network", "--model", "none"), cwd=tmp_path
    )
    assert done.returncode == 1
    assert "no model none" in done.stderr
    assert not (tmp_path / "skinseg-evaluation").exists()


def test_every_scan_has_one_split():
    every = [name for names in SPLITS.values() for name in names]
    assert len(every) == len(set(every)) == 9


@pytest.fixture
def own_recipes(tmp_path, monkeypatch):
    """Recipes for two made scans below $SKINSEG_DATA; one of them is not finished."""
    data, labels = tmp_path / "data", tmp_path / "Labels"
    data.mkdir()
    labels.mkdir()
    monkeypatch.setenv("SKINSEG_DATA", str(data))
    monkeypatch.setattr(
        "SkinSegLib.training.labels.recipe.resource_path", lambda _, *name: labels.joinpath(*name)
    )
    monkeypatch.setitem(SPLITS, "test", ("done", "begun", "lost", "unknown"))
    import SimpleITK as sitk

    volume = _volume(_ball(20, (60, 60, 60)))
    for name in ("done", "begun"):
        sitk.WriteImage(sitk.GetImageFromArray(volume.voxels), str(data / f"{name}.nrrd"))
    for name in ("done", "begun", "lost"):
        recipe = Recipe(name, f"{name}.nrrd", LEVEL, ({"do": "fill"},))
        mask_hash_of = mask_hash(make_label(volume, recipe)) if name != "begun" else ""
        recipe = Recipe(name, f"{name}.nrrd", LEVEL, recipe.steps, sha256=mask_hash_of)
        save_recipe(recipe, labels / f"{name}.json")
        save_recipe(recipe, labels / f"{name}.second.json")
    return labels


def test_scans_by_recipe(own_recipes):
    entries = {entry.name: entry for entry in single_scans("test").entries}
    case = entries["done"].load(Progress())
    assert case.reference.mask.sum() == _ball(20, (60, 60, 60)).sum()
    assert case.second is not None
    for name, text in (
        ("begun", "not finished"),
        ("lost", "does not exist"),
        ("unknown", "recipe"),
    ):
        with pytest.raises(SkinSegError, match=text):
            entries[name].load(Progress())
    (own_recipes / "done.second.json").unlink()
    assert entries["done"].load(Progress()).second is None
    result = evaluate([single_scans("test")], _engines(level=_by_level))
    assert [row.case for row in result.rows] == ["done"]
    assert len(result.warnings) == 3


def test_radiotherapy_outlines_are_the_validation_ones(skinseg_data, monkeypatch):
    monkeypatch.setenv("SKINSEG_DATA", str(skinseg_data))
    entries = cases.outlines().entries
    assert len(entries) == 20
    case = entries[0].load(Progress())
    first, end = case.reference.slices
    assert 0 < first < end < len(case.reference.mask)
    assert case.reference.solid[0].any()


def test_made_scenes_are_scans_with_a_truth(monkeypatch, tmp_path):
    monkeypatch.setenv("SKINSEG_DATA", str(tmp_path))  # made heads only
    monkeypatch.setattr(cases, "SCENE_CELLS", 48)
    monkeypatch.setattr(cases, "SCENE_MM", 5.0)
    entries = scenes(2, made=1).entries
    case, again = entries[0].load(Progress()), entries[0].load(Progress())
    reference = case.reference
    np.testing.assert_array_equal(reference.mask, again.reference.mask)
    assert not np.array_equal(reference.mask, entries[1].load(Progress()).reference.mask)
    assert reference.volume.spacing == (5.0, 5.0, 5.0)
    inside = reference.volume.voxels[reference.mask > 0]
    assert inside.mean() > -200
    assert reference.level_hu == LEVEL
    # Superior is the first axis of a scene and k of a scan: the head's own axes are R, A, S.
    np.testing.assert_allclose(reference.volume.ijk_to_ras[:3, :3], np.eye(3) * 5)


def test_slicers_recipe_takes_the_largest_island_and_smooths():
    pytest.importorskip("slicer")
    from SkinSegLib.mrml.usual_recipe import usual_recipe

    rng = np.random.default_rng(0)
    head, far = _ball(20, (60, 60, 70)), np.zeros((60, 60, 70), bool)
    far[20:40, 20:40, 62:68] = True
    hole = _ball(8, (60, 60, 70))
    whisker = np.zeros_like(head)
    whisker[30, 30, 10:20] = True
    tissue = (head | far | whisker) & ~hole
    volume = _volume(tissue)
    noisy = CTVolume(
        (volume.voxels + rng.normal(0, 5, tissue.shape)).astype(np.int16), volume.ijk_to_ras
    )
    mask = usual_recipe(noisy)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert not mask[far].any()
    assert not mask[whisker & ~head].any()  # thinner than the median's kernel
    assert not mask[_ball(6, (60, 60, 70))].any()  # enclosed air stays out
    expected = head & ~hole
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.98
    np.testing.assert_array_equal(usual_recipe(noisy), mask)
    filled = usual_recipe(noisy, filled=True)
    assert filled[_ball(8, (60, 60, 70))].all()
    np.testing.assert_array_equal(filled[~hole], mask[~hole])
