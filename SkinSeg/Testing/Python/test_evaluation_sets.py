"""What is evaluated on: folders, recipes, outlines, made scenes; and Slicer's own recipe."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from command import skinseg
from evaluation_makers import (
    LEVEL,
    ball_mask,
    by_level,
    engines_of,
    scan_of,
)
from SkinSegLib.core import (
    CTVolume,
    Progress,
    SkinSegError,
)
from SkinSegLib.segmentation.labelmap import write_labelmap
from SkinSegLib.training.evaluation import (
    SPLITS,
    cases,
    evaluate,
    scenes,
    single_scans,
)
from SkinSegLib.training.labels import Recipe, make_label, mask_hash, save_recipe


@pytest.fixture
def pairs(tmp_path):
    """A folder with two pairs, a scan without a label, and a label on another grid."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    import SimpleITK as sitk

    head = ball_mask(60, (50, 50, 50), (3.0, 3.0, 3.0))
    volume = scan_of(head, (3.0, 3.0, 3.0))
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


@pytest.mark.slow
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

    volume = scan_of(ball_mask(20, (60, 60, 60)))
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
    assert case.reference.mask.sum() == ball_mask(20, (60, 60, 60)).sum()
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
    result = evaluate([single_scans("test")], engines_of(level=by_level))
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


@pytest.mark.slow
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
    head, far = ball_mask(20, (60, 60, 70)), np.zeros((60, 60, 70), bool)
    far[20:40, 20:40, 62:68] = True
    hole = ball_mask(8, (60, 60, 70))
    whisker = np.zeros_like(head)
    whisker[30, 30, 10:20] = True
    tissue = (head | far | whisker) & ~hole
    volume = scan_of(tissue)
    noisy = CTVolume(
        (volume.voxels + rng.normal(0, 5, tissue.shape)).astype(np.int16), volume.ijk_to_ras
    )
    mask = usual_recipe(noisy)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert not mask[far].any()
    assert not mask[whisker & ~head].any()  # thinner than the median's kernel
    assert not mask[ball_mask(6, (60, 60, 70))].any()  # enclosed air stays out
    expected = head & ~hole
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.98
    np.testing.assert_array_equal(usual_recipe(noisy), mask)
    filled = usual_recipe(noisy, filled=True)
    assert filled[ball_mask(8, (60, 60, 70))].all()
    np.testing.assert_array_equal(filled[~hole], mask[~hole])
