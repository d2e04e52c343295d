"""Recipes of reference masks: shapes, steps, files, and that the reviewed masks come out again."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from marks import slow
from SkinSegLib.core import CTVolume, SkinSegError
from SkinSegLib.training.labels import (
    Recipe,
    label_of,
    load_recipe,
    make_label,
    mask_hash,
    recipes,
    save_recipe,
)
from SkinSegLib.training.labels.recipe import read_recipe
from SkinSegLib.training.labels.scans import scan_of
from SkinSegLib.training.labels.shapes import region

#: Labels that take half a minute to make. The two that take minutes, vhm_head_8bit and
#: weasis_headneck, are compared with their hashes whenever they are trained on or evaluated with.
SLOW = ("chd_phantom", "keinos_head", "ge_tilt", "dicom2stl_ct_head")
SIZE, SPACING = (20, 30, 40), (2.0, 1.0, 0.5)


def test_a_box_includes_its_ends_and_null_is_the_grids_own():
    inside = region({"box": [[2, 4], [None, 9], [30, None]]}, SIZE, SPACING)
    assert inside.sum() == 3 * 10 * 10
    assert inside[2, 0, 30]
    assert inside[4, 9, 39]
    assert not inside[5, 0, 39]


def test_a_ball_is_round_in_mm():
    inside = region({"ball": [10, 15, 20], "radius_mm": 6.0}, SIZE, SPACING)
    assert inside.sum() * 1.0 == pytest.approx(4 / 3 * np.pi * 216, rel=0.05)
    assert inside[13, 15, 20]
    assert not inside[14, 15, 20]
    assert inside[10, 15, 32]
    assert not inside[10, 15, 33]


def test_a_stroke_is_the_union_of_its_capsules():
    line = {"stroke": [[20, 10, 20], [20, 50, 20]], "radius_mm": 3.0}
    inside = region(line, (40, 60, 40), (0.5, 0.5, 0.5))
    exact_mm3 = np.pi * 9 * 20 + 4 / 3 * np.pi * 27
    assert inside.sum() * 0.125 == pytest.approx(exact_mm3, rel=0.03)
    assert inside[20, 4, 20]
    assert not inside[20, 3, 20]


def test_a_side_is_cut_at_right_angles_in_mm():
    inside = region({"side": [10, 15, 20], "normal": [1.0, 1.0, 0.0]}, SIZE, SPACING)
    assert inside[11, 14, 0]  # 2 mm forth, 1 mm back
    assert not inside[11, 13, 0]
    assert not inside[10, 15, 20]


def test_outlines_are_interpolated_between_their_slices():
    drawn = {"axis": 0, "at": {"4": [[5, 5], [5, 15], [15, 15], [15, 5]],
                               "8": [[5, 5], [5, 25], [15, 25], [15, 5]]}}  # fmt: skip
    inside = region({"outline": drawn}, SIZE, SPACING)
    area = inside.sum(axis=(1, 2))
    assert area[3] == area[9] == 0
    assert area[4] == pytest.approx(100, rel=0.12)
    assert area[6] == pytest.approx(150, rel=0.12)
    assert area[8] == pytest.approx(200, rel=0.12)


def test_a_shape_that_is_none_is_refused():
    with pytest.raises(SkinSegError, match="box"):
        region({"do": "remove"}, SIZE, SPACING)


@pytest.fixture
def scan() -> CTVolume:
    """A hollow block with a way in, a thin plate at a distance, and padding."""
    voxels = np.full((30, 40, 40), -1000, np.int16)
    voxels[5:25, 10:30, 10:30] = 40
    voxels[10:20, 15:25, 15:25] = -1000
    voxels[14:16, 20:22, 0:20] = -1000  # a canal, 2 voxels wide
    voxels[:, 36, :] = 40
    voxels[0, 0, :] = -3024
    return CTVolume(voxels, np.diag([1.0, 1.0, 1.0, 1.0]), padding=(-3024.0,))


def label(scan, *steps):
    return make_label(scan, Recipe("x", "x", -480.0, steps))


def test_it_begins_with_all_tissue(scan):
    mask = label(scan)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask > 0, scan.voxels >= -480)


def test_keep_takes_the_part_of_a_seed(scan):
    mask = label(scan, {"do": "keep", "seed": [6, 12, 12]})
    assert not mask[:, 36].any()
    assert mask[6, 12, 12]
    with pytest.raises(SkinSegError, match="seed"):
        label(scan, {"do": "keep", "seed": [0, 0, 0]})


def test_open_takes_thin_things_only_and_only_there(scan):
    where = {"box": [[0, 29], [33, 39], [0, 19]]}
    mask = label(scan, {"do": "open", "radius_mm": 2.0, **where})
    assert not mask[:, 36, :20].any()
    assert mask[:, 36, 20:].all()
    assert mask[5, 10, 10], "corners of what is thick lie outside the region"
    kept = label(scan, {"do": "open", "radius_mm": 2.0, "least_ml": 1.0, **where})
    assert kept[:, 36].all(), "0.6 mL is less than what was to be taken"


def test_seal_and_fill_close_a_cavity(scan):
    plate = {"do": "remove", "box": [[None, None], [33, 39], [None, None]]}
    open_one = label(scan, plate, {"do": "fill"})
    assert not open_one[15, 20, 18]
    seal = {"do": "seal", "radius_mm": 2.0, "box": [[10, 20], [15, 25], [5, 20]]}
    closed = label(scan, plate, seal, {"do": "fill"})
    assert closed[5:25, 10:30, 12:30].all()  # the ball dips into the canal's mouth by its bulge
    assert closed.sum() <= 20 * 20 * 20


def test_add_and_remove_respect_matter(scan):
    box = {"box": [[0, 29], [34, 39], [0, 9]]}
    gone = label(scan, {"do": "remove", "box": [[0, 29], [30, 39], [0, 39]]})
    assert not gone[:, 30:].any()
    back = label(scan, {"do": "remove", "box": [[0, 29], [30, 39], [0, 39]]}, {"do": "add", **box})
    assert back[:, 36, :10].all()
    assert back[:, 30:].sum() == 30 * 10
    solid = label(scan, {"do": "add", "matter": "all", **box})
    assert solid[:, 34:, :10].all()


def test_smooth_moves_only_the_border_within_tissue(scan):
    block = CTVolume(np.full((20, 20, 20), 40, np.int16), np.eye(4))
    rough = np.zeros((20, 20, 20), bool)
    rough[:, :10] = True
    steps = [{"do": "remove", "box": [[None, None], [10, None], [None, None]]},
             {"do": "add", "box": [[9, 9], [10, 12], [9, 9]]}]  # fmt: skip
    spiky = make_label(block, Recipe("x", "x", -480.0, tuple(steps)))
    assert spiky[9, 12, 9]
    steps.append({"do": "smooth", "sigma_mm": 2.0, "box": [[None, None]] * 3})
    smooth = make_label(block, Recipe("x", "x", -480.0, tuple(steps)))
    np.testing.assert_array_equal(smooth > 0, rough)


def test_an_unknown_step_is_refused(scan):
    with pytest.raises(SkinSegError, match="not known"):
        label(scan, {"do": "guess", "box": [[0, 1]] * 3})


def test_recipes_survive_a_file(tmp_path):
    recipe = Recipe(
        "x", "volumes/x.nrrd", -480.0, ({"do": "fill"}, {"do": "keep", "seed": [1, 2, 3]}),
        ({"at": [1, 2, 3], "what": "hair"},), True, "by hand", "abc", 12.5,
    )  # fmt: skip
    save_recipe(recipe, tmp_path / "x.json")
    assert read_recipe(tmp_path / "x.json") == recipe
    (tmp_path / "y.json").write_text("[]")
    with pytest.raises(SkinSegError, match=r"y\.json"):
        read_recipe(tmp_path / "y.json")


def test_a_hash_is_of_shape_and_bits():
    mask = np.zeros((4, 4, 4), np.uint8)
    other = mask.copy()
    other[1, 2, 3] = 1
    assert mask_hash(mask) == mask_hash(mask.copy())
    assert len({mask_hash(m) for m in (mask, other, mask.reshape(2, 8, 4))}) == 3


def test_every_single_scan_has_a_reviewed_recipe():
    names = set(recipes())
    assert names == {
        "unc_cthead", "vhm_head_8bit", "dicom2stl_ct_head", "chd_phantom", "dicom2stl_ct_example",
        "weasis_headneck", "keinos_head", "ge_tilt", "cranium",
    }  # fmt: skip
    assert set(recipes(second=True)) == {"weasis_headneck", "keinos_head", "ge_tilt", "cranium"}
    for second in (False, True):
        for name in recipes(second):
            recipe = load_recipe(name, second)
            assert recipe.name == name
            assert len(recipe.sha256) == 64
            assert recipe.volume_ml > 500
            assert recipe.about
            assert "/work" not in json.dumps(vars(recipe), default=list)


def test_a_scan_without_a_recipe_has_no_label(scan):
    assert label_of("pt_1", scan) is None


@pytest.mark.parametrize(
    "name",
    [
        *("unc_cthead", "dicom2stl_ct_example"),
        *slow(SLOW),
    ],
)
def test_a_reviewed_label_comes_out_again(skinseg_data, name, monkeypatch):
    monkeypatch.setenv("SKINSEG_DATA", str(skinseg_data))
    recipe = load_recipe(name)
    if not (skinseg_data / recipe.scan).exists():
        pytest.skip(f"no {recipe.scan} in the data")
    volume = scan_of(recipe.scan)
    mask = label_of(name, volume)
    assert int(mask.sum()) * volume.voxel_volume_ml == pytest.approx(recipe.volume_ml, abs=0.1)
    changed = replace(volume, voxels=volume.voxels + np.int16(300))
    with pytest.raises(SkinSegError, match="reviewed"):
        label_of(name, changed)
