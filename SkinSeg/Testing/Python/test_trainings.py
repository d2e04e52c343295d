"""The trainings of a data set: names, stages, who may use what, and kills in between."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from command import LIBRARY
from model_makers import write_model
from SkinSegLib.core import CTVolume, MissingPackageError, SkinSegError
from SkinSegLib.segmentation.live import live_model, make_live, models_before
from SkinSegLib.training import trainings as code
from SkinSegLib.training.compare import NEW, OLD, Comparison
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.dataset.intake import prepare
from SkinSegLib.training.evaluation import Distances, Evaluation, Figures, Row
from SkinSegLib.training.evaluation.tables import CARD_MARKS
from SkinSegLib.training.trainings import (
    begin,
    compared,
    discard,
    go_on,
    keep_present,
    training_of,
    trainings,
    use,
)

CARD = f"# A model\n\n{CARD_MARKS[0]}\nNone yet.\n{CARD_MARKS[1]}\n"


def ball(n: int) -> tuple[CTVolume, np.ndarray]:
    """A ball with a hole of its own, on 24 slices."""
    z, y, x = np.indices((24, 24, 24)) * 5.0 - 57.5
    mask = x**2 + y**2 + z**2 < 50**2
    hole = (x - 20 * (n - 1)) ** 2 + (y - 15 * n + 20) ** 2 + z**2 < 14**2
    voxels = np.where(mask & ~hole, 40, -1000).astype(np.int16)
    return CTVolume(voxels, np.diag([5.0, 5.0, 5.0, 1.0])), mask.astype(np.uint8)


@pytest.fixture
def cases(tmp_path, monkeypatch):
    """A data set with a case for training and one for testing."""
    monkeypatch.setenv("SKINSEG_MODELS", str(tmp_path / "models"))
    made = CaseFolder.create(tmp_path / "Ward 7, heads")
    for n, split in enumerate(("train", "test")):
        add(made, n, split)
    return made


def add(cases: CaseFolder, n: int, split: str) -> None:
    taken = prepare(*ball(n), f"PATIENT{n}", split)
    cases.add(taken.record, taken.volume, taken.mask, allow_alike=True)


@pytest.fixture
def engine(monkeypatch, tmp_path):
    """In place of the training and the comparison, which take minutes."""
    seen = SimpleNamespace(trained=[], compared=0, worse=(), fails=False)

    def fine_tune(cases, start, options, progress):
        seen.trained.append((start.name, options))
        (options.output / "checkpoint.pt").write_bytes(b"a head")
        if seen.fails:
            raise SkinSegError("stopped")
        write_model(options.output / "model", tmp_path)
        (options.output / "model" / "docs" / "README.md").write_text(CARD)

    def compare(cases, old, new, device, made, progress):
        seen.compared += 1
        near = Distances(0.3, 0.9, 1.2)
        rows = [
            Row("own", "head_0002", name, "first",
                Figures(0.9, share, 1.0, near, near, near, near, 1.5, 2.5, 0.5), 1.0, 1.0)
            for name, share in ((OLD, 0.8), (NEW, 0.9))
        ]  # fmt: skip
        return Comparison(Evaluation(tuple(rows), ()), seen.worse, old.identity, new.identity)

    monkeypatch.setattr(code, "fine_tune", fine_tune)
    monkeypatch.setattr(code, "compare", compare)
    return seen


def test_a_training_is_called_as_its_data_set_and_numbered(cases, engine):
    first = begin(cases, {"steps": 5})
    assert first.name == "Ward-7-heads-v1"
    assert first.stage == "stopped"
    assert first.start == "skin-ct-head"
    go_on(cases, first, "cpu")
    use(cases, first)
    # Of a model that is installed, the number is taken too, also from another data set.
    second = begin(cases, {})
    assert (second.name, second.start) == ("Ward-7-heads-v2", first.name)
    (start, options), *_ = engine.trained
    assert (start, options.steps, options.name, options.version) == (
        "skin-ct-head",
        5,
        first.name,
        "1",
    )
    assert [training.name for training in trainings(cases)] == [first.name, second.name]


def test_stages_from_begin_to_use(cases, engine):
    training = begin(cases, {})
    engine.fails = True
    with pytest.raises(SkinSegError, match="stopped"):
        go_on(cases, training, "cpu")
    assert training.stage == "stopped"
    engine.fails = False
    found = go_on(cases, training, "cpu")
    assert [options.resume for _start, options in engine.trained] == [False, True]
    assert training.stage == "compared"
    assert found == compared(training)
    (row,) = found["rows"]
    assert (row["old"]["within"], row["new"]["within"]) == (0.8, 0.9)
    go_on(cases, training, "cpu")  # there is nothing left to do
    assert (len(engine.trained), engine.compared) == (2, 1)
    assert use(cases, training) == training.name
    assert live_model() == training.name
    assert models_before() == ["skin-ct-head"]
    assert training_of(cases, training.name).stage == "decided"
    assert not (training.folder / "checkpoint.pt").exists()
    card = (training.folder / "model" / "docs" / "README.md").read_text()
    assert "new model" in card
    assert "None yet" not in card


def test_worse_is_never_used(cases, engine):
    engine.worse = ("head_0002: 0.100 less of the skin within 1 mm",)
    training = begin(cases, {})
    go_on(cases, training, "cpu")
    with pytest.raises(SkinSegError, match=r"worse than the one in use.*0\.100 less"):
        use(cases, training)
    assert live_model() == "skin-ct-head"
    keep_present(training)
    assert training_of(cases, training.name).decided == "kept"


@pytest.mark.parametrize("what", ["model", "test case"])
def test_a_comparison_with_what_has_changed_is_none(cases, engine, tmp_path, what):
    training = begin(cases, {})
    go_on(cases, training, "cpu")
    if what == "model":
        write_model(tmp_path / "models" / "other", tmp_path, version="9")
        make_live("other")
    else:
        add(cases, 2, "test")
    with pytest.raises(SkinSegError, match="changed since the comparison"):
        use(cases, training)
    assert training.stage == "trained"
    go_on(cases, training, "cpu")
    assert (len(engine.trained), engine.compared) == (1, 2)
    use(cases, training)
    assert live_model() == training.name


def test_a_kill_between_installing_and_using(cases, engine, monkeypatch):
    training = begin(cases, {})
    go_on(cases, training, "cpu")

    def killed(name):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(code, "make_live", killed)
        with pytest.raises(KeyboardInterrupt):
            use(cases, training)
    assert live_model() == "skin-ct-head"
    assert training.stage == "compared"
    assert use(cases, training) == training.name


def test_what_is_lacking_is_said_before_anything_is_computed(cases, engine, monkeypatch):
    (test,) = [record for record in cases.records() if record.split == "test"]
    cases.remove(test.name)
    with pytest.raises(SkinSegError, match="no case for testing"):
        begin(cases, {})
    add(cases, 3, "test")
    training = begin(cases, {})
    monkeypatch.setattr(code, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        go_on(cases, training, "cpu")
    assert engine.trained == []


def test_nobody_works_on_what_another_process_works_on(cases, engine):
    training = begin(cases, {})
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from filelock import FileLock;"
            "lock = FileLock(sys.argv[1]); lock.acquire();"
            "print(1, flush=True); sys.stdin.read()",
            str(training.folder / ".lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(LIBRARY)},
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        assert training.stage == "running"
    finally:
        holder.kill()
        holder.communicate()
    assert training.stage == "stopped"
    discard(training)
    assert trainings(cases) == []
