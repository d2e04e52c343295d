"""``skinseg train``: from heads to a model that the network engine takes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from SkinSegLib.cli import main
from SkinSegLib.segmentation.models import find_model
from SkinSegLib.training import designs, loader, session, train
from SkinSegLib.training.scenes import HeadSource


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A design that trains in a second, on balls."""
    design = designs.Design(
        "UNet", {"channels": (4, 8), "strides": (2,), "num_res_units": 1}, 8.0, ((16, 16, 16),), 2
    )
    for module in (train, session):
        monkeypatch.setattr(module, "DESIGNS", {"residual-2.5mm": design})
    gathered = []

    def gather(data, label_of, size_mm, made, validation, progress):
        gathered.append((data, validation))
        axis = (np.arange(40) - 19.5) * 4
        z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
        filled = np.clip(0.5 - (np.sqrt(x**2 + y**2 + z**2) - 45) / 4, 0, 1).astype(np.float32)
        return [HeadSource("ball", filled, filled, None, (4.0,) * 3)]

    monkeypatch.setattr(session, "gather_sources", gather)
    return gathered


def run(folder, *more) -> int:
    return main(
        ["train", "-o", str(folder), "--data", "heads", "--steps", "4", "--workers", "0",
         "--device", "cpu", "--name", "mine", *more]
    )  # fmt: skip


def test_a_model_comes_out_with_curves_and_a_card(tmp_path, capsys, tiny):
    assert run(tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "Model mine" in out
    bundle = find_model(str(tmp_path / "run" / "model"))
    assert bundle.name == "mine"
    bundle.load_network()
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert "| steps | 4 |" in card
    assert "<!-- evaluation -->" in card
    assert [held_out for _, held_out in tiny] == [False, True]


def test_a_folder_with_a_model_is_left_alone(tmp_path, capsys):
    assert run(tmp_path) == 0
    before = (tmp_path / "model" / "models" / "model.pt").read_bytes()
    assert run(tmp_path, "--seed", "2") == 1
    assert "model" in capsys.readouterr().err
    assert (tmp_path / "model" / "models" / "model.pt").read_bytes() == before


@pytest.mark.slow
def test_heads_are_read_once_for_all_designs(tmp_path, tiny):
    (tmp_path / "b").mkdir()
    assert run(tmp_path / "a") == 0
    for name in (session.HEADS, session.HELD_OUT):
        (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
    assert run(tmp_path / "b") == 0
    assert len(tiny) == 2


def test_cancelled_training_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "_step", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(tmp_path) == 1
    assert "--resume" in capsys.readouterr().err


def test_missing_scans_are_told_of(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    assert main(["train", "-o", str(tmp_path / "run"), "--data", str(tmp_path)]) == 1
    assert "SKINSEG_DATA" in capsys.readouterr().err
    assert main(["train", "-o", str(tmp_path / "run"), "--design", "cleverest"]) == 1
    assert "residual-2.5mm" in capsys.readouterr().err


def test_training_goes_on_from_a_model_on_other_scenes(tmp_path, capsys, monkeypatch):
    assert run(tmp_path / "first") == 0
    first = find_model(str(tmp_path / "first" / "model"))
    seen = []
    genuine = loader.make_scene

    def watched(sources, seed, cells, size_mm, odd):
        seen.append((seed, odd))
        return genuine(sources, seed, cells, size_mm, odd)

    monkeypatch.setattr(loader, "make_scene", watched)
    more = ("--from", str(first.folder), "--odd", "0.5", "--rate", "1e-9")
    assert run(tmp_path / "more", *more) == 0
    second = find_model(str(tmp_path / "more" / "model"))
    old, new = (bundle.load_network().state_dict() for bundle in (first, second))
    for name, values in old.items():
        torch.testing.assert_close(new[name], values, atol=1e-6, rtol=0)
    trained = [(seed, odd) for seed, odd in seen if seed < 8]
    assert trained == [(seed, float(seed % 2)) for seed in range(8)]
    recipe = json.loads((tmp_path / "more" / "recipe.json").read_text(encoding="utf-8"))
    assert (recipe["odd"], recipe["learning_rate"]) == (0.5, 1e-9)
    assert recipe["started_from"]["sha256"] == first.sha256
    card = (second.folder / "docs" / "README.md").read_text(encoding="utf-8")
    assert first.sha256[:16] in card
    capsys.readouterr()
    (second.folder / "models" / "model.pt").rename(tmp_path / "away.pt")
    second.folder.rename(tmp_path / "elsewhere")
    assert run(tmp_path / "more", "--resume", *more[:2], "--odd", "0.25") == 1
    assert "odd 0.5, not 0.25" in capsys.readouterr().err


@pytest.mark.parametrize(("odd", "all_of"), [(0.0, "0000000000"), (1.0, "1111111111"), (0.3, None)])
def test_the_share_of_odd_scenes(odd, all_of, monkeypatch):
    monkeypatch.setattr(loader, "make_scene", lambda *_, odd: f"{odd:.0f}")
    of_seeds = "".join(loader.partly_odd_scene(odd, [], seed, (8, 8, 8), 3.0) for seed in range(10))
    assert of_seeds == (all_of or "0001001001")


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--odd", "1.5"), "share"), (("--rate", "0"), "learning rate"), (("--rate", "nan"), "rate"),
     (("--from", "nowhere"), "nowhere"), (("--cases", "set", "--odd", "0.5"), "--odd is fixed")],
)  # fmt: skip
def test_what_makes_no_sense_is_told_of(tmp_path, capsys, given, said):
    assert run(tmp_path / "run", *given) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(("name", "given"), [("odd", ("--odd", "0.5")), ("started from", None)])
def test_what_an_older_checkpoint_does_not_say_is_known(tmp_path, capsys, name, given):
    """From before there was a choice: every scene odd, from random weights."""
    assert run(tmp_path / "run") == 0
    model = tmp_path / "run" / "model"
    model.rename(tmp_path / "model")
    path = tmp_path / "run" / "checkpoint.pt"
    kept = torch.load(path, weights_only=True)
    del kept[name]
    torch.save(kept, path)
    other = given or ("--from", str(tmp_path / "model"))
    assert run(tmp_path / "run", "--resume", *other) == 1
    assert f"made with {name}" in capsys.readouterr().err
    assert run(tmp_path / "run", "--resume", "--steps", "6") == 0
