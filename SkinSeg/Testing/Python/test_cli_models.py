"""``skinseg models``: what a user sees of the registry."""

from __future__ import annotations

import pytest
from model_makers import write_model
from SkinSegLib.cli import main


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("SKINSEG_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


def test_a_model_is_added_listed_and_removed(tmp_path, capsys, own):
    write_model(tmp_path / "theirs", tmp_path, version="2.5")
    assert main(["models", "--add", str(tmp_path / "theirs"), "--name", "mine"]) == 0
    assert "mine 2.5" in capsys.readouterr().out
    assert (own / "mine" / "configs" / "metadata.json").is_file()
    assert main(["models"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("mine"))
    assert "2.5, yours" in line
    assert main(["models", "--remove", "mine"]) == 0
    assert not (own / "mine").exists()
    capsys.readouterr()
    main(["models"])
    assert "mine" not in capsys.readouterr().out


def test_what_cannot_be_done_is_said(tmp_path, capsys):
    assert main(["models", "--remove", "nothing"]) == 1
    assert "There is no model nothing" in capsys.readouterr().err
    assert main(["models", "--add", str(tmp_path)]) == 1
    assert "lacks its file" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["models", "--add", str(tmp_path), "--remove", "x"])


def test_a_broken_model_is_listed_with_what_is_wrong(tmp_path, capsys, own):
    write_model(own / "broken", tmp_path)
    (own / "broken" / "configs" / "metadata.json").write_text("{")
    assert main(["models"]) == 0
    assert "damaged" in capsys.readouterr().out
