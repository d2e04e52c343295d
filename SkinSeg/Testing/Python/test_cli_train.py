"""``skinseg train``: from heads to a model that the network engine takes."""

from __future__ import annotations

import numpy as np
import pytest
from SkinSegLib.cli import main
from SkinSegLib.segmentation.models import find_model
from SkinSegLib.training import designs, session, train
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
