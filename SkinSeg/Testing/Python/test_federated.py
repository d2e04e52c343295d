"""Rounds of several sites, in FLARE's simulator and one by one; what leaves a site and what not."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec

import numpy as np
import pytest
from federated_makers import FOR_PROCESSES, TINY, ball, tiny_model
from SkinSegLib.core import Cancelled, ModelError, OutputError, Progress, SkinSegError
from SkinSegLib.segmentation.bundle import load_bundle
from SkinSegLib.segmentation.network import threads
from SkinSegLib.training import finetune, train
from SkinSegLib.training.federated import site as site_module
from SkinSegLib.training.federated.plan import FederatedPlan
from SkinSegLib.training.federated.site import Site, case_count, find_site, train_alone, train_round
from SkinSegLib.training.federated.weights import (
    checked,
    checked_cases,
    read_weights,
    weights_of,
    write_weights,
)
from SkinSegLib.training.scenes import load_sources, save_sources

#: Not in any message, log of the server, or job: it stands for what names a patient.
SECRET = "case/Eva_Muster"


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        for module in (train, finetune, site_module):
            patch.setattr(module, "DESIGNS", {"tiny": TINY})
        yield


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


def plan_of(**changes) -> FederatedPlan:
    return FederatedPlan(**{"design": "tiny", "rounds": 1, "local_steps": 3, **changes})


def heads_of(count: int):
    return [ball(f"{SECRET}_{n}", 40 + 4 * n) for n in range(count)]


# What is received


def test_what_is_sent_comes_back_as_it_was(tmp_path, start):
    weights = weights_of(start.load_network())
    write_weights(weights, tmp_path / "w.npz")
    back = checked(read_weights(tmp_path / "w.npz"), weights)
    assert list(back) == list(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(back[name], value)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda w, n: w.pop(n),
        lambda w, n: w.update({"more": w[n]}),
        lambda w, n: w.update({n: w[n][..., :1]}),
        lambda w, n: w.update({n: w[n].astype(np.float64)}),
        lambda w, n: w.update({n: w[n] * np.float32(np.nan)}),
        lambda w, n: w.update({n: np.full_like(w[n], np.inf)}),
        lambda w, n: w.update({n: np.full_like(w[n], 1e6)}),
        lambda w, n: w.update({n: w[n].tolist()}),
    ],
    ids=["missing", "more", "shape", "type", "nan", "infinite", "huge", "list"],
)
def test_weights_that_are_not_the_jobs_are_refused(start, spoil):
    expected = weights_of(start.load_network())
    found = dict(expected)
    # The largest: a slice of it has another shape.
    spoil(found, max(found, key=lambda name: found[name].size))
    with pytest.raises(ModelError):
        checked(found, expected)
    with pytest.raises(ModelError):
        train_round(plan_of(), Site("a", device="cpu"), heads_of(1), found, 0, None)


@pytest.mark.parametrize("cases", [0, -1, 1.5, True, None, "7", 1e9, float("nan"), float("inf")])
def test_a_site_cannot_count_for_more_than_its_cases(cases):
    with pytest.raises(ModelError):
        checked_cases(cases)


def test_a_file_with_code_is_not_read(tmp_path):
    class Bad:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    np.savez(tmp_path / "bad.npz", np.array([Bad()], dtype=object))
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 nothing of the kind")
    for name in ("bad.npz", "noise.npz", "none.npz"):
        with pytest.raises(ModelError):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


# A site


def test_a_site_says_itself_where_its_data_are(tmp_path, monkeypatch):
    (tmp_path / "skinseg.json").write_text(json.dumps({"north": {"data": "x", "workers": 2}}))
    site = find_site("north", tmp_path)
    assert (str(site.data), site.workers, site.heads) == ("x", 2, None)
    with pytest.raises(SkinSegError, match="south"):
        find_site("south", tmp_path)
    with pytest.raises(SkinSegError, match=r"skinseg\.json"):
        find_site("north", tmp_path / "none")
    other = tmp_path / "elsewhere.json"
    monkeypatch.setenv(site_module.VARIABLE, str(other))
    for text in (
        "{",
        "[]",
        '{"north": "x"}',
        '{"north": {}}',
        '{"north": {"data": "x", "more": 1}}',
    ):
        other.write_text(text)
        with pytest.raises(SkinSegError, match="north"):
            find_site("north", tmp_path)


@pytest.mark.slow
def test_rounds_in_a_row_are_one_training(tmp_path, start):
    """One site alone, in three rounds: steps, rates and optimiser of one run of the training."""
    heads = heads_of(2)
    site, plan = Site("a", device="cpu", threads=1), plan_of(rounds=3)
    begun = weights_of(start.load_network())
    found = train_alone(plan, site, heads, begun, tmp_path)

    network = start.load_network()
    options = plan.training(tmp_path, plan.seed_of("a"))
    optimiser = train.make_optimiser(network, options)
    with threads(1):  # the order of sums is part of what must be the same
        train.run_steps(network, optimiser, heads, options, range(9), finetune.mixed_scene)
    for name, value in weights_of(network).items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
        assert not np.allclose(begun[name], value, atol=1e-6)


def test_training_alone_goes_on_where_it_stopped(tmp_path, start):
    heads, site, plan = heads_of(1), Site("a", device="cpu", threads=1), plan_of(rounds=3)
    begun = weights_of(start.load_network())
    whole = train_alone(plan, site, heads, begun, tmp_path / "whole")
    stopped = Progress(is_cancelled=lambda: (tmp_path / "part" / "round-2.npz").exists())
    with pytest.raises(Cancelled):
        train_alone(plan, site, heads, begun, tmp_path / "part", stopped)
    # What it begins with no longer matters.
    zeros = {name: value * 0 for name, value in begun.items()}
    rest = train_alone(plan, site, heads, zeros, tmp_path / "part")
    for name, value in whole.items():
        np.testing.assert_array_equal(rest[name], value)


def test_sites_see_other_scenes_and_own_cases_count():
    plan = plan_of()
    assert len({plan.seed_of(f"site-{n}") for n in range(20)}) == 20
    assert plan.seed_of("site-1") == plan.seed_of("site-1")
    assert case_count([*heads_of(3), ball("phantom-0")]) == 3
    assert case_count([ball("phantom-0")]) == 1


@pytest.mark.parametrize(
    "changes",
    [{"rounds": 0}, {"local_steps": 0}, {"min_sites": 0}, {"share": 1.5}, {"wait_minutes": 0},
     {"design": "cleverest"}],
)  # fmt: skip
def test_plans_that_make_no_sense_are_refused(changes):
    with pytest.raises(SkinSegError):
        plan_of(**changes)


# In FLARE

flare = pytest.mark.skipif(
    find_spec("nvflare") is None,
    reason="NVIDIA FLARE is not installed: pip install 'skinseg[federated]'",
)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory, start):
    """Two sites of one and three cases, and one whose data are missing; one round."""
    from SkinSegLib.training.federated.job import export_job
    from SkinSegLib.training.federated.simulator import run_job

    folder = tmp_path_factory.mktemp("with a space")
    (folder / "sitecustomize.py").write_text(FOR_PROCESSES)
    plan = plan_of(wait_minutes=1, learning_rate=0.05)
    job = export_job(folder, "together", "7", start, plan)
    sites = {"gone": {"data": str(folder / "nowhere")}}
    for name, count in (("north", 1), ("south", 3)):
        save_sources(heads_of(count), folder / f"{name}.npz")
        sites[name] = {"heads": str(folder / f"{name}.npz"), "device": "cpu", "threads": 1}
    (folder / "out").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        seen: list[float] = []
        run_job(job, sites, plan, folder / "out", Progress(lambda _, done: seen.append(done)))
    assert seen[-1] == 1.0
    return folder, job, plan


@pytest.mark.slow
@flare
def test_the_result_is_the_mean_by_the_root_of_cases_and_a_lost_site_stops_nobody(simulated, start):
    folder, _, plan = simulated
    begun = weights_of(start.load_network())
    parts = []
    for name in ("north", "south"):
        heads = load_sources(folder / f"{name}.npz")
        site = Site(name, device="cpu", threads=1)
        parts.append(train_round(plan, site, heads, begun, 0, folder))
    network = weights_of(load_bundle(folder / "out" / "model").load_network())
    for name, value in network.items():
        mean = (parts[0][name] + 3**0.5 * parts[1][name]) / (1 + 3**0.5)
        np.testing.assert_allclose(value, mean, atol=1e-6)
    # Else the shares in the mean would not matter.
    assert max(np.abs(parts[0][name] - parts[1][name]).max() for name in network) > 1e-3
    rows = (folder / "out" / "rounds.csv").read_text().splitlines()
    assert rows[0] == "round,site,cases,left out"
    assert sorted(rows[1:]) == ["1,north,1,", "1,south,3,"]
    card = (folder / "out" / "model" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "2 sites with 4 cases together" in card


@pytest.mark.slow
@flare
def test_nothing_of_a_patient_is_in_the_job_or_at_the_server(simulated):
    folder, job, _ = simulated
    files = [path for path in job.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".npz"}  # no code either
    files += [folder / "out" / name for name in ("weights.npz", "rounds.csv", "flare.log")]
    files += [path for path in (folder / "out" / "model").rglob("*") if path.is_file()]
    for path in files:
        content = path.read_bytes()
        for word in (SECRET, "Eva", "nowhere", "north.npz", str(folder)):
            # The simulator's log is of all sites together, and a site may know its own folders.
            if path.name != "flare.log" or word in (SECRET, "Eva"):
                assert word.encode() not in content, f"{word} in {path.name}"


@pytest.mark.slow
@flare
def test_a_message_holds_weights_and_a_number_and_nothing_else(tmp_path, start):
    from nvflare.apis.fl_constant import ReservedKey, ReturnCode
    from nvflare.apis.fl_context import FLContext
    from nvflare.apis.signal import Signal
    from nvflare.app_common.abstract.fl_model import FLModel
    from nvflare.app_common.decomposers import numpy_decomposers
    from nvflare.app_common.utils.fl_model_utils import FLModelUtils
    from nvflare.fuel.utils import fobs
    from SkinSegLib.training.federated.client import SiteTrainer

    class Engine:
        def get_workspace(self):
            return self

        def get_run_dir(self, job):
            return str(tmp_path)

        get_site_config_dir = get_workspace_dir = lambda self: str(tmp_path)

    save_sources(heads_of(2), tmp_path / "heads.npz")
    settings = {"north": {"heads": str(tmp_path / "heads.npz"), "device": "cpu"}}
    (tmp_path / "skinseg.json").write_text(json.dumps(settings))
    context = FLContext()
    context.set_prop(ReservedKey.ENGINE, Engine(), private=True)
    context.set_prop(ReservedKey.IDENTITY_NAME, "north")
    begun = weights_of(start.load_network())
    trainer = SiteTrainer(plan_of().plain())

    def answer(weights, task="train"):
        message = FLModelUtils.to_shareable(FLModel(params=weights, current_round=0))
        return trainer.execute(task, message, context, Signal())

    reply = answer(begun)
    sent = FLModelUtils.from_shareable(reply)
    assert set(checked(sent.params, begun)) == set(begun)
    assert {key: value for key, value in sent.meta.items() if value is not None} == {
        "NUM_STEPS_CURRENT_ROUND": 2
    }
    numpy_decomposers.register()
    bare = fobs.dumps({key: value for key, value in reply.items() if key != "DXO"})
    for word in (SECRET, "Eva", str(tmp_path)):
        assert word.encode() not in bare
    # What goes wrong is not told to the server.
    bad = answer({name: value * np.float32(np.nan) for name, value in begun.items()})
    assert bad.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert set(bad) <= {"__headers__"}
    assert answer(begun, "submit_model").get_return_code() == ReturnCode.TASK_UNKNOWN


@flare
def test_the_server_leaves_out_what_is_not_the_jobs_weights(start):
    from nvflare.app_common.abstract.fl_model import FLModel
    from SkinSegLib.training.federated.result import model_values
    from SkinSegLib.training.federated.server import Rounds

    begun = weights_of(start.load_network())
    rounds = Rounds(plan_of().plain(), model_values("a", "1", start))
    rounds.current_round, warned = 4, []
    rounds.warning = warned.append

    def result(site, weights, cases=3):
        meta = {"client_name": site, "NUM_STEPS_CURRENT_ROUND": cases}
        return FLModel(params=weights, meta=meta)

    spoilt = {name: value * np.float32(np.inf) for name, value in begun.items()}
    results = [
        result("a", begun), result("b", spoilt), result("c", {"x": np.zeros(2, np.float32)}),
        result("d", begun, 1e12), result("e", begun, None),
    ]  # fmt: skip
    good, lines = rounds._accepted(results, begun)
    assert [model.meta["client_name"] for model in good] == ["a"]
    assert [line[:3] for line in lines] == [[5, "a", 3], *([5, site, 0] for site in "bcde")]
    assert len(warned) == 4


@flare
def test_a_job_is_not_written_over_another(tmp_path, start):
    from SkinSegLib.training.federated.job import export_job

    (tmp_path / "taken").mkdir()
    with pytest.raises(OutputError, match="taken"):
        export_job(tmp_path, "taken", "1", start, plan_of())
    with pytest.raises(SkinSegError, match="name"):
        export_job(tmp_path, "../a b", "1", start, plan_of())


@flare
def test_a_simulation_without_enough_sites_or_with_bad_names_does_not_begin(tmp_path):
    from SkinSegLib.training.federated.simulator import run_job

    for sites in ({"a": {}}, {"a": {}, "b,c": {}}, {"a": {}, "server": {}}):
        with pytest.raises(SkinSegError, match="site"):
            run_job(tmp_path, sites, plan_of(), tmp_path)
