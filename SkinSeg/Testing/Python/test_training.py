"""Made scenes and training on them: exact labels, the same by seed, resumable."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from SkinSegLib.core import Cancelled, Progress, ScanReadError, SegmentationError, SkinSegError
from SkinSegLib.segmentation.architectures import build, multiple_of
from SkinSegLib.training import designs, train
from SkinSegLib.training.scenes import (
    HeadSource,
    effects,
    gather_sources,
    load_sources,
    make_scene,
    maker,
    save_sources,
)
from SkinSegLib.training.scenes.field import SceneField
from SkinSegLib.training.scenes.rest import Rest
from SkinSegLib.training.scenes.things import PAINTERS


def _source(name="ball", around=False) -> HeadSource:
    """A ball of 90 mm in 4 mm cells."""
    axis = (np.arange(40) - 19.5) * 4
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    filled = np.clip(0.5 - (np.sqrt(x**2 + y**2 + z**2) - 45) / 4, 0, 1).astype(np.float32)
    other = (y < -46).astype(np.float32)
    return HeadSource(name, filled * 1.0, filled, filled + other if around else None, (4.0,) * 3)


def test_a_scene_is_the_same_every_time_and_differs_by_seed():
    sources = [_source(), _source("phantom-0"), _source("real", around=True)]
    first, again, other = (make_scene(sources, seed, cells=32, size_mm=6.0) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.grey, again.grey)
    np.testing.assert_array_equal(first.filled, again.filled)
    assert not np.array_equal(first.grey, other.grey)
    assert first.grey.shape == (32, 32, 32)
    assert first.grey.dtype == np.float32


def test_scenes_come_in_every_shape():
    scene = make_scene([_source()], 5, cells=(24, 32, 40), size_mm=6.0)
    assert scene.grey.shape == scene.filled.shape == scene.weight.shape == (24, 32, 40)


def test_a_hand_is_patient(monkeypatch):
    monkeypatch.setattr(maker, "_HAND", 1.0)
    more = 0
    for seed in range(12):
        scene = make_scene([_source()], seed, cells=32, size_mm=6.0)
        monkeypatch.setattr(maker, "_HAND", 0.0)
        without = make_scene([_source()], seed, cells=32, size_mm=6.0)
        monkeypatch.setattr(maker, "_HAND", 1.0)
        assert "hand" in scene.things
        assert "hand" not in without.things
        more += float((scene.filled - without.filled).clip(0).sum()) * 0.216 > 30
    assert more >= 8  # in the others it lies outside the scene, or in the dark of a round field


@pytest.mark.slow
def test_usual_scenes_hold_nothing_odd():
    seen = {}
    for odd in (0.0, 1.0):
        scenes = [make_scene([_source()], seed, 32, 6.0, odd) for seed in range(40)]
        seen[odd] = {thing for scene in scenes for thing in scene.things}
        heads = [scene.filled for scene in scenes if "hand" not in scene.things]
        cut = sum((filled[:, [0, -1]] >= 0.5).any() for filled in heads)
        assert cut <= 1 if odd == 0 else cut > 1
    assert {"block", "slab"} <= seen[1.0]
    assert not {"block", "slab"} & seen[0.0]


@pytest.mark.slow
def test_what_is_pressed_is_flat_where_it_is_pressed(monkeypatch):
    monkeypatch.setattr(maker, "_PRESSED", 1.0)
    monkeypatch.setattr(maker, "_HAND", 0.0)
    monkeypatch.setattr(maker, "paint_things", lambda field, rng: [])
    kinds = set()
    for seed in range(40):
        scene = make_scene([_source()], seed, cells=48, size_mm=4.0)
        (kind,) = scene.things
        kinds.add(kind)
    assert kinds == {"board", "slab", "pressed cushion"}


def test_a_rest_cuts_the_patient_where_it_lies_and_nowhere_else():
    pressed = 0
    for seed in range(20):
        field = SceneField(_source().filled, 4.0)
        rest = Rest.against(field, np.random.default_rng(seed))
        left = field.filled * rest.left_of(field)
        under = (rest.beyond > 2.1) & (rest.within < -2.1)
        assert (left[under] == 0).all()
        apart = (rest.beyond < -2.1) | (rest.within > 2.1)
        np.testing.assert_array_equal(left[apart], field.filled[apart])
        gone = (field.filled - left).sum() * 0.064
        pressed += gone > 0
        assert gone < 60  # mL, of 382
        after = SceneField(left, 4.0)
        rest.paint(after, np.random.default_rng(seed))
        # It touches, and does not reach into what is left.
        assert (after.things > 0).any()
        assert (after.things * (left > 0.99)).max() < 0.02
    assert pressed >= 16


def test_a_head_is_moved_as_scipy_would_move_it():
    from scipy import ndimage

    rng = np.random.default_rng(0)
    values = rng.random((7, 9, 11), np.float32)
    index = rng.uniform(-3, 13, (3, 5, 6, 7))
    (moved,) = maker._moved((values,), index)
    expected = ndimage.map_coordinates(values, index, np.float32, order=1, mode="nearest")
    np.testing.assert_allclose(moved, expected, atol=1e-5)


@pytest.mark.slow
def test_most_scenes_show_the_whole_width_of_the_head():
    whole = 0
    for seed in range(40):
        filled = make_scene([_source()], seed, cells=(24, 40, 40), size_mm=6.0).filled >= 0.5
        rim = filled[:, [0, -1]].any() or filled[:, :, [0, -1]].any()
        whole += filled.any() and not rim
    assert 24 <= whole < 40


def test_noise_lifts_air_as_clipped_voxels_do():
    """Against voxels that are clipped and averaged."""
    rng = np.random.default_rng(0)
    sigma, cells = 0.3, np.array([0.0, 0.1, 0.5, 1.0], np.float32)
    voxels = np.clip(cells[:, None] + rng.normal(0, sigma, (4, 200_000)), 0, 2).mean(axis=1)

    class Fixed:
        def __init__(self):
            self.uniforms = [sigma, 0.0]

        def random(self):
            return 0.7

        def uniform(self, low, high):
            return self.uniforms.pop(0)

        def standard_normal(self, shape):
            return np.zeros(shape)

    lifted = effects._noisy(cells, Fixed())
    np.testing.assert_allclose(lifted, voxels, atol=0.01)


def test_scenes_hold_a_patient_and_greys_in_range():
    volumes = []
    for seed in range(30):
        scene = make_scene([_source()], seed, cells=32, size_mm=6.0)
        assert scene.grey.min() >= 0
        assert scene.grey.max() <= 2
        assert scene.filled.min() >= 0
        assert scene.filled.max() <= 1
        assert scene.weight.min() >= 1
        volumes.append(scene.filled.sum() * 0.216)
    # A ball of 382 mL, from a small child's size to a large adult's.
    assert 70 < np.median(volumes) < 600
    assert np.ptp(volumes) > 100


@pytest.mark.parametrize("painter", [p for p, _ in PAINTERS], ids=lambda p: p.__name__)
def test_every_thing_is_painted_and_spares_the_label(painter):
    amounts = []
    for seed in range(6):
        field = SceneField(_source().filled, 4.0)
        before = field.filled.copy()
        painter(field, np.random.default_rng(seed))
        np.testing.assert_array_equal(field.filled, before)
        assert np.isfinite(field.things).all()
        assert field.things.min() >= -0.05
        assert field.things.max() < 3
        amounts.append(float((field.things * (1 - field.filled)).sum()) * 0.064)
    assert max(amounts) > 0.5, "none of six left a mL of matter outside the patient"


def test_distance_is_that_of_the_ball():
    field = SceneField(_source().filled, 4.0)
    radius = np.linalg.norm(field.places, axis=0)
    near = np.abs(radius - 45) < 20
    error = np.abs(field.distance - (radius - 45))[near]
    assert error.mean() < 0.8
    assert error.max() < 3.0


def test_a_shell_keeps_its_amount_of_matter_when_thinner_than_a_cell():
    field = SceneField(_source().filled, 4.0)
    radius = np.linalg.norm(field.places, axis=0).astype(np.float32)
    share = field.shell(radius - np.float32(55), 1.0)
    assert share.sum() * 64 == pytest.approx(4 * np.pi * 55.5**2, rel=0.02)


def test_sources_survive_a_file(tmp_path):
    sources = [_source(), _source("real", around=True)]
    save_sources(sources, tmp_path / "heads.npz")
    back = load_sources(tmp_path / "heads.npz")
    assert [s.name for s in back] == ["ball", "real"]
    np.testing.assert_allclose(back[1].around, sources[1].around, atol=1e-3)
    assert back[0].around is None
    assert back[0].spacing == (4.0, 4.0, 4.0)


def test_sources_need_the_data(tmp_path):
    with pytest.raises(ScanReadError, match="SKINSEG_DATA"):
        gather_sources(tmp_path, lambda name, volume: None)


@pytest.fixture
def tiny(monkeypatch):
    """A design that trains in a second."""
    design = designs.Design(
        "UNet",
        {"channels": (4, 8), "strides": (2,), "num_res_units": 1},
        8.0,
        ((16, 16, 16), (8, 16, 24)),
        2,
    )
    monkeypatch.setattr(train, "DESIGNS", {"tiny": design})
    return "tiny"


def _options(folder, design, **changes):
    values = {"steps": 12, "validate_every": 4, "workers": 0, "validation_scenes": 3}
    return train.TrainOptions(folder, design, **{**values, **changes})


def _log(folder):
    with (folder / "log.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_training_repeats_by_seed_and_resumes_where_it_stopped(tmp_path, tiny):
    import torch

    sources = [_source()]
    best = train.train(sources, sources, _options(tmp_path / "a", tiny))
    train.train(sources, sources, _options(tmp_path / "b", tiny))
    whole, again = _log(tmp_path / "a"), _log(tmp_path / "b")
    assert [row["step"] for row in whole] == ["4", "8", "12"]
    assert [row["loss"] for row in whole] == [row["loss"] for row in again]
    assert set(torch.load(best, weights_only=True)) == set(
        build("UNet", dict(train.DESIGNS[tiny].arguments)).state_dict()
    )
    recipe = json.loads((tmp_path / "a" / "recipe.json").read_text(encoding="utf-8"))
    assert recipe["sources"] == ["ball"]

    # Cancelled after step 8's checkpoint, and gone on from there: as if nothing had happened.
    def stop() -> bool:
        return (tmp_path / "c" / "log.csv").exists() and len(_log(tmp_path / "c")) == 2

    with pytest.raises(Cancelled):
        train.train(sources, sources, _options(tmp_path / "c", tiny), Progress(is_cancelled=stop))
    train.train(sources, sources, _options(tmp_path / "c", tiny, resume=True))
    resumed = _log(tmp_path / "c")
    assert [row["step"] for row in resumed] == ["4", "8", "12"]
    assert resumed[-1]["loss"] == whole[-1]["loss"]
    assert resumed[-1]["dice"] == whole[-1]["dice"]


@pytest.mark.slow
def test_training_learns(tmp_path, tiny):
    sources = [_source()]
    options = _options(tmp_path, tiny, steps=120, validate_every=30, learning_rate=1e-2)
    train.train(sources, sources, options)
    rows = _log(tmp_path)
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    assert max(float(row["dice"]) for row in rows) > 0.6


@pytest.mark.slow
def test_a_checkpoint_of_another_run_is_refused(tmp_path, tiny):
    train.train([_source()], [_source()], _options(tmp_path, tiny, steps=4))
    with pytest.raises(SkinSegError, match="seed"):
        train.train([_source()], [_source()], _options(tmp_path, tiny, seed=5, resume=True))
    with pytest.raises(SkinSegError, match="--resume"):
        train.train([_source()], [_source()], _options(tmp_path / "none", tiny, resume=True))


def test_options_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(SkinSegError, match="residual-3mm"):
        train.TrainOptions(tmp_path, "cleverest")
    with pytest.raises(SkinSegError, match="at least 1"):
        train.TrainOptions(tmp_path, steps=0)


@pytest.mark.parametrize("name", list(designs.DESIGNS))
def test_every_design_builds_and_keeps_its_shape(name):
    import torch

    design = designs.DESIGNS[name]
    network = build(design.network, design.arguments).eval()
    step = multiple_of(design.network, design.arguments)
    assert all(n % step == 0 for shape in design.shapes for n in shape)
    sizes = [np.prod(shape) * design.cell_mm**3 for shape in design.shapes]
    assert max(sizes) < 1.5 * min(sizes)
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 2 * step, step, step)).shape == (
            1,
            1,
            2 * step,
            step,
            step,
        )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Transformer", {}),
        ("UNet", {"channels": (8, 16), "strides": (2,)}),
        ("UNet", {"channels": (8, 16), "strides": (2,), "num_res_units": 1, "act": "x"}),
        ("UNet", {"channels": (8, 16), "strides": (2, 2), "num_res_units": 1}),
        ("UNet", {"channels": (8, "$import os"), "strides": (2,), "num_res_units": 1}),
        ("UNet", {"channels": (8, 1_000_000), "strides": (2,), "num_res_units": 1}),
        ("UNet", {"channels": 8, "strides": (2,), "num_res_units": 1}),
        ("UNet", {"channels": (8, 16), "strides": (2,), "num_res_units": True}),
        ("SegResNet", {"init_filters": 0, "blocks_down": (1, 1), "blocks_up": (1,)}),
        ("SegResNet", {"init_filters": 8, "blocks_down": (1, 1), "blocks_up": (1, 1)}),
    ],
)
def test_networks_that_are_not_on_the_list_are_refused(name, arguments):
    with pytest.raises(SegmentationError):
        build(name, arguments)
