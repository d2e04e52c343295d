"""``skinseg federated``: the models that are compared, going on after a stop, and the job."""

from __future__ import annotations

import json
import math
from importlib.util import find_spec

import numpy as np
import pytest
from command import write_scan
from federated_makers import TINY, ball, tiny_model
from SkinSegLib.core import Cancelled, CTVolume, OutputError, Progress, SkinSegError
from SkinSegLib.scan import read
from SkinSegLib.training import finetune, train
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.dataset.intake import prepare
from SkinSegLib.training.evaluation import Distances, Evaluation, Figures, Row
from SkinSegLib.training.federated import compare, simulate
from SkinSegLib.training.federated import site as site_module
from SkinSegLib.training.federated.plan import FederatedPlan
from SkinSegLib.training.federated.result import RESULT, TABLE, write_model
from SkinSegLib.training.federated.weights import read_weights, weights_of, write_weights

pytestmark = pytest.mark.skipif(
    find_spec("nvflare") is None,
    reason="NVIDIA FLARE is not installed: pip install 'skinseg[federated]'",
)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two data sets, the first with one training case and a test case, the second with two."""
    folder = tmp_path_factory.mktemp("data")
    volume = read(write_scan(folder / "scan.nrrd"))
    for site, splits in (("a", ("train", "test")), ("b", ("train", "train"))):
        cases = CaseFolder.create(folder / site)
        for n, split in enumerate(splits):
            moved = np.roll(volume.voxels, n, axis=0)
            taken = prepare(
                CTVolume(moved, volume.ijk_to_ras), (moved > -480).astype(np.uint8),
                f"PATIENT{site.upper()}{n}", split,
            )  # fmt: skip
            cases.add(taken.record, taken.volume, taken.mask, allow_alike=True)
    return {"site-1": folder / "a", "site-2": folder / "b"}


@pytest.fixture
def tiny(monkeypatch):
    for module in (train, finetune, site_module):
        monkeypatch.setattr(module, "DESIGNS", {"tiny": TINY})


@pytest.fixture
def light(monkeypatch, tiny):
    """Made heads that cost nothing, no processes; FLARE gives back what it was given."""
    monkeypatch.setattr(finetune, "HEAD_MM", 8.0)
    monkeypatch.setattr(simulate, "MADE_HEADS", 1)
    monkeypatch.setattr(simulate, "made_source", lambda seed, size: ball(f"phantom-{seed}"))
    jobs, compared = [], []

    def run_job(job, sites, plan, output, progress):
        server = json.loads((job / "app" / "config" / "config_fed_server.json").read_text())
        jobs.append((server["workflows"][0]["args"], sites))
        write_weights(read_weights(job / "app" / "config" / "start.npz"), output / RESULT)
        rows = [f"{n + 1},{site},1," for n in range(plan.rounds) for site in sites]
        (output / TABLE).write_text("\n".join(["round,site,cases,left out", *rows]) + "\n")
        write_model(output, jobs[-1][0]["model"], plan)

    def evaluate(sets, engines, progress):
        compared.append(([(s.name, len(s.entries)) for s in sets], [e.name for e in engines]))
        return Evaluation(tuple(_row(e.name, "site-1", 0.9) for e in engines), ())

    monkeypatch.setattr(simulate, "run_job", run_job)
    monkeypatch.setattr(compare, "evaluate", evaluate)
    return jobs, compared


def _row(engine, data_set, dice, problem=""):
    nothing = Distances(math.nan, math.nan, math.nan)
    figures = Figures(1.0, dice, 1.0, *([nothing] * 4), 2.0, 1.0, 0.0)
    return Row(data_set, "head_0001", engine, "first", figures, 1.0, 1.0, problem)


def plan_of(**changes):
    return FederatedPlan(**{"design": "tiny", "rounds": 2, "local_steps": 1, "batch": 1, **changes})


@pytest.mark.slow
def test_all_models_begin_alike_and_are_compared_on_the_test_cases(tmp_path, start, data, light):
    jobs, compared = light
    seen: list[float] = []
    progress = Progress(lambda _, done: seen.append(done))
    done = simulate.simulate(
        data, start, plan_of(), tmp_path / "out", device="cpu", progress=progress
    )
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(0.8)  # comparing is the last part, and stood in for here
    ((arguments, sites),) = jobs
    assert arguments.get("first", 0) == 0
    assert sorted(sites) == ["site-1", "site-2"]
    assert compared == [([("site-1", 1)], ["before", "site-1", "site-2", "pooled", "federated"])]
    begun = weights_of(start.load_network())
    for bundle in (done.pooled, *done.alone.values()):
        weights = weights_of(bundle.load_network())
        assert any(np.abs(weights[name] - begun[name]).max() > 1e-5 for name in begun)
    kept = {
        name: [head.name for head in site_module.load_sources(tmp_path / f"out/heads/{name}.npz")]
        for name in data
    }
    assert kept["site-1"] == [
        "case/head_0001",
        "around/case/head_0001",
        "phantom-0",
    ]  # its other case is for testing
    assert kept["site-2"] == [
        "case/head_0001",
        "case/head_0002",
        "around/case/head_0001",
        "around/case/head_0002",
        "phantom-0",
    ]
    card = (done.pooled.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "on 3 cases (pooled), 2 steps" in card
    assert "| federated | 0.9000 | 0.9000 | 2.0 | 1.0 |" in done.table.read_text(encoding="utf-8")


def test_a_stopped_simulation_goes_on_after_its_last_round(tmp_path, start, data, light):
    jobs, _ = light
    output = tmp_path / "out"
    whole, seen = simulate.run_job, []

    def killed(job, sites, plan, output, progress):
        seen.append(job)
        marked = {name: value * 0 + 7 for name, value in weights_of(start.load_network()).items()}
        write_weights(marked, output / RESULT)
        (output / TABLE).write_text("round,site,cases,left out\n1,site-1,1,\n1,site-2,2,\n")
        raise Cancelled

    simulate.run_job = killed  # undone by the fixture
    with pytest.raises(Cancelled):
        simulate.simulate(data, start, plan_of(), output, device="cpu")
    simulate.run_job = whole
    done = simulate.simulate(data, start, plan_of(), output, device="cpu")
    ((arguments, _),) = jobs
    assert arguments["first"] == 1
    weights = weights_of(done.federated.load_network())
    assert all((value == 7).all() for value in weights.values())
    # Nothing is trained twice, and a model that was not written yet is made of the rounds.
    (output / "model").rename(tmp_path / "gone")
    again = simulate.simulate(data, start, plan_of(), output, device="cpu")
    assert len(jobs) == 1
    assert again.federated.sha256 == done.federated.sha256


def test_another_plan_is_not_mixed_in(tmp_path, start, tiny):
    simulate._begin(tmp_path / "out", start, plan_of(), ["a"])
    simulate._begin(tmp_path / "out", start, plan_of(), ["a"])
    with pytest.raises(OutputError, match="another"):
        simulate._begin(tmp_path / "out", start, plan_of(rounds=3), ["a"])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        simulate._begin(tmp_path / "full", start, plan_of(), ["a"])


def test_there_must_be_cases_to_train_and_to_compare_on(tmp_path, start, data, light):
    with pytest.raises(SkinSegError, match="test case"):
        simulate.simulate({"b": data["site-2"]}, start, plan_of(), tmp_path / "out")
    CaseFolder.create(tmp_path / "empty")
    with pytest.raises(SkinSegError, match="training"):
        simulate.simulate(
            {**data, "site-3": tmp_path / "empty"}, start, plan_of(), tmp_path / "out"
        )


def test_the_table_says_means_problems_and_what_was_left_out():
    rows = (
        _row("pooled", "a", 0.8), _row("pooled", "b", 0.9),
        _row("federated", "a", 0.7), _row("federated", "b", math.nan, "It failed."),
    )  # fmt: skip
    text = compare.table(Evaluation(rows, ("x was left out",)))
    assert "| pooled | 0.8500 | 0.8000 | 0.9000 |" in text
    # A failure counts as nothing found, not as no case.
    assert "| federated | 0.3500 | 0.7000 | 0.0000 |" in text
    assert "It failed." in text
    assert "x was left out" in text
