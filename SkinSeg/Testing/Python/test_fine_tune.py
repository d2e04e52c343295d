"""Fine-tuning: from corrected cases to a model that is used only if it is no worse."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import tuning_makers
from case_makers import add_case, made_case
from command import LIBRARY
from evaluation_makers import LEVEL
from model_makers import write_model
from SkinSegLib.core import Cancelled, ModelError, OutputError, Progress, SkinSegError
from SkinSegLib.segmentation import SegmentOptions, live, models, segment
from SkinSegLib.segmentation.models import add_model, find_model, remove_model
from SkinSegLib.segmentation.options import LIVE_MODEL, SHIPPED_MODEL
from SkinSegLib.training import compare as comparing
from SkinSegLib.training import finetune, train
from SkinSegLib.training.compare import NEW, OLD, compare, comparison_text, worse_than
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.designs import DESIGNS
from SkinSegLib.training.evaluation import Evaluation, Row, measure
from SkinSegLib.training.evaluation.measures import Reference
from SkinSegLib.training.finetune import FineTuneOptions, can_resume, fine_tune, mixed_scene
from SkinSegLib.training.ranking import doubt, rank
from tuning_makers import WITH_TINY, ball_source, tune

HERE = os.path.dirname(__file__)


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    for module in (finetune, train):
        monkeypatch.setattr(module, "DESIGNS", WITH_TINY)
    monkeypatch.setattr(finetune, "made_source", ball_source)
    monkeypatch.setenv(models.FOLDER_VARIABLE, str(tmp_path / "own"))


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> CaseFolder:
    """Two cases for training, two for testing, two that wait."""
    found = CaseFolder.create(tmp_path_factory.mktemp("data") / "set")
    for seed, split in enumerate(
        ("train", "train", "test", "test", "unlabelled", "unlabelled"), start=1
    ):
        add_case(found, seed, split)
    return found


@pytest.fixture
def start(tmp_path):
    return write_model(tmp_path / "first", tmp_path)


def weights_of(bundle) -> dict[str, np.ndarray]:
    return {k: v.numpy() for k, v in bundle.load_network().state_dict().items()}


@pytest.mark.slow
def test_a_model_comes_out_with_curves_and_a_card(cases, start, tmp_path):
    trained = tune(tmp_path / "run", cases.folder, start.folder, 4)
    assert trained.cases == ("head_0001", "head_0002")
    assert trained.curves.read_bytes().startswith(b"\x89PNG")
    card = (trained.bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "head_0001, head_0002" in card
    assert start.sha256[:16] in card
    rows = list(csv.DictReader(trained.log.open(encoding="utf-8")))
    assert int(rows[-1]["step"]) == 4
    old, new = weights_of(start), weights_of(trained.bundle)
    assert any(not np.array_equal(old[name], new[name]) for name in old)
    assert not can_resume(tmp_path / "run")
    with pytest.raises(OutputError, match="already"):
        tune(tmp_path / "run", cases.folder, start.folder, 4)


@pytest.mark.slow
def test_training_begins_with_the_old_weights(cases, start, tmp_path):
    options = FineTuneOptions(
        tmp_path / "run", steps=1, minutes=None, workers=0, learning_rate=1e-12
    )
    trained = fine_tune(cases, start, options)
    old, new = weights_of(start), weights_of(trained.bundle)
    for name, values in old.items():
        np.testing.assert_allclose(new[name], values, atol=1e-5)


@pytest.mark.slow
def test_test_cases_are_never_read(cases, start, tmp_path, monkeypatch):
    read = []
    genuine = CaseFolder.read

    def watched(self, record):
        read.append(record.name)
        return genuine(self, record)

    monkeypatch.setattr(CaseFolder, "read", watched)
    tune(tmp_path / "run", cases.folder, start.folder, 1)
    assert read == ["head_0001", "head_0002"]


@pytest.mark.slow
def test_cancelled_and_resumed_it_ends_as_if_nothing_had_been(cases, start, tmp_path):
    whole = tune(tmp_path / "a", cases.folder, start.folder, 12)

    class Stop(Progress):
        steps = 0

        def update(self, fraction: float) -> None:
            super().update(fraction)
            self.steps += self._name == "Train"
            if self.steps > 4:  # the first is that of the stage
                raise Cancelled("enough")

    options = FineTuneOptions(tmp_path / "b", "mine", steps=12, minutes=None, workers=0)
    stop = Stop()
    stop.part = lambda *a: stop  # type: ignore[method-assign,assignment]
    with pytest.raises(Cancelled):
        fine_tune(cases, start, options, stop)
    assert can_resume(tmp_path / "b")
    kept = torch.load(tmp_path / "b" / "checkpoint.pt", weights_only=True)
    logged = list(csv.DictReader((tmp_path / "b" / "log.csv").open(encoding="utf-8")))
    # Not only that of the last validation.
    assert (kept["state"]["step"], int(logged[-1]["step"])) == (3, 2)
    resumed = fine_tune(cases, start, replace(options, resume=True))
    for name, values in weights_of(whole.bundle).items():
        np.testing.assert_array_equal(weights_of(resumed.bundle)[name], values)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_twenty_random_moments_it_resumes(cases, start, tmp_path):
    path = os.pathsep.join([str(LIBRARY), HERE])
    done = subprocess.run(
        [sys.executable, tuning_makers.__file__, tmp_path / "run", cases.folder, start.folder,
         "60", "20"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )  # fmt: skip
    assert "killed" in done.stdout, done.stderr
    trained = tmp_path / "run"
    if not (trained / "model").exists():  # on a slow machine no start got to the end
        tune(trained, cases.folder, start.folder, 60, resume=can_resume(trained))
    whole = tune(tmp_path / "whole", cases.folder, start.folder, 60)
    resumed = find_model(str(trained / "model"))
    for name, values in weights_of(whole.bundle).items():
        np.testing.assert_allclose(weights_of(resumed)[name], values, atol=1e-4)
    steps = [int(r["step"]) for r in csv.DictReader((trained / "log.csv").open(encoding="utf-8"))]
    assert steps[-1] == 60


def test_half_of_the_scenes_show_own_cases(start):
    sources = [replace(ball_source(1, 4.0), name=name) for name in ("case/head_0001", "phantom-1")]
    asked = []
    genuine = finetune.make_scene
    try:
        finetune.make_scene = lambda heads, *a, **k: asked.append(heads[0].name)
        for seed in range(200):
            mixed_scene(sources, seed, (24, 24, 24), 8.0, share=0.5)
    finally:
        finetune.make_scene = genuine
    assert 70 < sum(name.startswith("case/") for name in asked) < 130


def test_what_cannot_be_trained_is_told(start, tmp_path, monkeypatch):
    empty = CaseFolder.create(tmp_path / "empty")
    with pytest.raises(SkinSegError, match="no cases for training"):
        tune(tmp_path / "run", empty.folder, start.folder, 2)
    monkeypatch.setattr(finetune, "DESIGNS", DESIGNS)
    with pytest.raises(SkinSegError, match="design"):
        tune(tmp_path / "other", empty.folder, start.folder, 2)


def row_of(engine: str, shift: float, case: str = "head_0001", problem: str = "") -> Row:
    """An engine whose mask has a radius too large by ``shift`` voxels of 1 mm."""
    axis = np.arange(60) - 29.5
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    far = np.sqrt(z**2 + y**2 + x**2)
    voxels = np.where(far < 20, 40, -1000).astype(np.int16)
    volume, _ = made_case(1)
    reference = Reference(
        replace(volume, voxels=voxels, ijk_to_ras=np.eye(4)), (far < 20).astype(np.uint8), LEVEL
    )
    figures = measure((far < 20 + shift).astype(np.uint8), reference)
    return Row("set", case, engine, "first", figures, 1.0, 1.0, problem)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row_of(OLD, 0.0), row_of(NEW, 0.0)], []),
        ([row_of(OLD, 3.0), row_of(NEW, 0.0)], []),
        ([row_of(OLD, 0.0), row_of(NEW, 3.0)], ["within 1 mm", "mL more wrong"]),
        ([row_of(OLD, 0.0), row_of(NEW, 0.0, problem="no memory")], ["no mask"]),
        ([row_of(OLD, 0.0, problem="died"), row_of(NEW, 0.0, problem="died")], ["no mask on any"]),
        ([row_of(OLD, 0.0, problem="died"), row_of(NEW, 0.0)], []),
        (
            # Better on average, but one patient pays for it.
            [
                *(row_of(OLD, 2.5, f"head_{n}") for n in range(4)),
                *(row_of(NEW, 0.0, f"head_{n}") for n in range(4)),
                row_of(OLD, 0.0, "head_9"),
                row_of(NEW, 2.5, "head_9"),
            ],
            ["head_9"],
        ),
    ],
    ids=[
        "same",
        "better",
        "worse",
        "no mask",
        "no masks at all",
        "only the new one works",
        "worse on one",
    ],
)
def test_what_counts_as_worse(rows, words):
    reasons = worse_than(Evaluation(tuple(rows), ()))
    assert bool(reasons) == bool(words)
    for word in words:
        assert any(word in reason for reason in reasons)


@pytest.mark.slow
def test_models_are_compared_on_the_test_cases(cases, start, tmp_path):
    def spoil(weights):
        weights["model.2.0.conv.bias" if "model.2.0.conv.bias" in weights else list(weights)[-1]][
            ...
        ] = 50.0

    bad = write_model(tmp_path / "bad", tmp_path, spoil)
    found = compare(cases, start, bad, "cpu", made=0)
    assert {row.case for row in found.evaluation.rows} == {"head_0003", "head_0004"}
    assert (found.old["name"], found.new["name"]) == ("first", "bad")
    assert "head_0003: " in comparison_text(found)
    only_train = CaseFolder.create(tmp_path / "train")
    add_case(only_train, 1)
    with pytest.raises(SkinSegError, match="case for testing"):
        compare(only_train, start, bad, made=0)


@pytest.mark.slow
def test_half_a_test_lets_nothing_through(cases, start, monkeypatch):
    found = Evaluation((row_of(OLD, 0.0, "head_0003"), row_of(NEW, 0.0, "head_0003")), ("Lost.",))
    monkeypatch.setattr(comparing, "evaluate", lambda *a: found)
    with pytest.raises(SkinSegError, match=r"Not all test cases.*Lost\."):
        compare(cases, start, start, "cpu", made=0)


def test_a_model_goes_live_is_used_and_rolled_back(start, tmp_path):
    add_model(start.folder, "first")
    second = write_model(tmp_path / "second", tmp_path, version="0.2")
    add_model(second.folder, "second")
    assert live.live_model() == SHIPPED_MODEL
    assert live.make_live("first") == SHIPPED_MODEL
    assert live.make_live("second") == "first"
    assert find_model(LIVE_MODEL).version == "0.2"
    volume, _ = made_case(1)
    mask = segment(volume, SegmentOptions(device="cpu"))
    assert mask.model["name"] == "second"
    assert live.roll_back() == "first"
    assert find_model(LIVE_MODEL).name == "first"
    live.make_live("second")
    remove_model("second")  # the one in use: that before takes over
    assert live.live_model() == "first"
    assert live.roll_back() == SHIPPED_MODEL
    with pytest.raises(ModelError, match="No other model"):
        live.roll_back()
    with pytest.raises(ModelError):
        live.make_live("third")
    with pytest.raises(ModelError, match="cannot be a model's name"):
        add_model(start.folder, LIVE_MODEL)


def test_a_damaged_note_of_the_live_model_says_what_to_do(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "live.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=r"Delete it"):
        find_model(LIVE_MODEL)


def test_the_scan_of_which_the_model_is_least_sure_comes_first(cases, start, monkeypatch):
    from SkinSegLib.training import ranking

    first = {record.name: record for record in cases.records()}["head_0006"]
    sure = cases.read(first)[0].voxels

    def unsure(volume, level, bundle, device):
        from SkinSegLib.segmentation.network_grid import NetworkGrid

        grid = NetworkGrid.over(volume, 4.0)
        likely = (grid.grey(volume, level) > 0.5).astype(np.float32)
        flipped = np.array_equal(np.flip(volume.voxels, 2), sure)
        if np.array_equal(volume.voxels, sure) or flipped:
            likely[:, :, : likely.shape[2] // 2] *= 0.5
        return grid, likely, ()

    monkeypatch.setattr(ranking, "patient_probability", unsure)
    ranked = rank(cases, start)
    assert [r.record.name for r in ranked] == ["head_0006", "head_0005"]
    assert ranked[0].doubt_ml > 200
    assert ranked[1].doubt_ml == 0


def test_a_model_of_two_minds_about_a_mirrored_scan_is_in_doubt(start, monkeypatch):
    from SkinSegLib.segmentation.network_grid import NetworkGrid
    from SkinSegLib.training import ranking

    def one_sided(volume, level, bundle, device):
        grid = NetworkGrid.over(volume, 4.0)
        likely = (grid.grey(volume, level) > 0.5).astype(np.float32)
        likely[:, :, :20] = 0  # whatever is there
        return grid, likely, ()

    monkeypatch.setattr(ranking, "patient_probability", one_sided)
    assert doubt(made_case(1)[0], start) > 100
