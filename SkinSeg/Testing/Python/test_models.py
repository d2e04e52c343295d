"""The models that can be chosen: listed, added and removed, shipped ones never."""

from __future__ import annotations

import shutil
import sys

import pytest
from model_makers import write_model
from SkinSegLib.core import MissingPackageError, OutputError, SegmentationError
from SkinSegLib.segmentation import models
from SkinSegLib.segmentation.bundle import CARD, LICENCE, METADATA, WEIGHTS


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The user's own models, in a folder that is not there yet."""
    folder = tmp_path / "own" / "models"
    monkeypatch.setenv(models.FOLDER_VARIABLE, str(folder))
    return folder


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """One shipped model, named basic."""
    resources = tmp_path / "Resources"
    (resources / "Models").mkdir(parents=True)
    write_model(resources / "Models" / "basic", tmp_path, version="2.0")

    def resource_path(*parts):
        path = resources.joinpath(*parts)
        if not path.exists():
            raise MissingPackageError("missing")
        return path

    monkeypatch.setattr(models, "resource_path", resource_path)
    return resources / "Models" / "basic"


@pytest.fixture
def trained(tmp_path):
    """A model somewhere else."""
    return write_model(tmp_path / "trained", tmp_path).folder


def test_without_any_model_the_list_is_empty_of_ones_own():
    assert not [entry for entry in models.list_models() if not entry.shipped]


def test_a_model_is_added_listed_found_and_removed(shipped, trained, own):
    (trained / "notes.txt").write_text("not part of a model", encoding="utf-8")
    added = models.add_model(trained, "mine")
    assert added.folder == own / "mine"
    assert sorted(p.name for p in own.iterdir()) == ["mine"]
    assert not (own / "mine" / "notes.txt").exists()
    assert (own / "mine" / CARD).is_file()
    assert (own / "mine" / LICENCE).is_file()
    entries = models.list_models()
    assert [(e.name, e.shipped, e.version, e.problem) for e in entries] == [
        ("basic", True, "2.0", ""),
        ("mine", False, "0.1", ""),
    ]
    assert models.find_model("mine") == added
    assert models.network_is_there("mine")
    models.remove_model("mine")
    assert not list(own.iterdir())
    with pytest.raises(SegmentationError, match="no model mine"):
        models.find_model("mine")


def test_the_folders_name_is_the_models(trained, own):
    assert models.add_model(trained).folder == own / "trained"


def test_shipped_models_are_neither_removed_nor_replaced(shipped, trained):
    with pytest.raises(SegmentationError, match="came with SkinSeg"):
        models.remove_model("basic")
    with pytest.raises(SegmentationError, match="already"):
        models.add_model(trained, "basic")
    assert models.find_model("basic").folder == shipped


def test_a_name_that_is_taken_stays(trained, own):
    models.add_model(trained, "mine")
    with pytest.raises(SegmentationError, match="already"):
        models.add_model(trained, "mine")
    assert models.find_model("mine").version == "0.1"


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../trained", ".hidden", "x" * 65, "a b"])
def test_what_is_no_name_reaches_no_folder(trained, own, name):
    with pytest.raises(SegmentationError):
        models.remove_model(name)
    with pytest.raises(SegmentationError):
        models.add_model(trained, name)
    assert (trained / WEIGHTS).is_file()


def test_a_model_that_does_not_load_is_not_added(trained, own):
    path = trained / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SegmentationError, match="not those"):
        models.add_model(trained, "mine")
    assert not own.exists() or not list(own.iterdir())


def test_a_link_out_of_the_folder_is_not_copied(trained, own, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret", encoding="utf-8")
    (trained / LICENCE).unlink()
    try:
        (trained / LICENCE).symlink_to(secret)
    except OSError:
        pytest.skip("no links on this system")
    with pytest.raises(SegmentationError, match="leads out"):
        models.add_model(trained, "mine")
    assert not list(own.iterdir())


def test_removing_a_linked_model_leaves_what_it_links_to(trained, own):
    own.mkdir(parents=True)
    try:
        (own / "linked").symlink_to(trained, target_is_directory=True)
    except OSError:
        pytest.skip("no links on this system")
    models.remove_model("linked")
    assert not list(own.iterdir())
    assert (trained / WEIGHTS).is_file()


def test_a_broken_model_is_listed_with_what_is_wrong(trained, own):
    models.add_model(trained, "mine")
    (own / "mine" / METADATA).write_text("{", encoding="utf-8")
    (entry,) = [e for e in models.list_models() if e.name == "mine"]
    assert entry.version == ""
    assert "damaged" in entry.problem
    models.remove_model("mine")
    assert not [e for e in models.list_models() if e.name == "mine"]


def test_a_folder_that_cannot_be_made_is_an_error(trained, own):
    own.parent.mkdir()
    own.write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match=models.FOLDER_VARIABLE):
        models.add_model(trained, "mine")


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_each_system_has_its_place(monkeypatch, platform):
    monkeypatch.delenv(models.FOLDER_VARIABLE)
    monkeypatch.setattr(sys, "platform", platform)
    folder = models.user_folder()
    assert folder.is_absolute()
    assert "skinseg" in str(folder).lower()


def test_a_folder_is_still_a_model(trained, tmp_path):
    moved = tmp_path / "with space"
    shutil.copytree(trained, moved)
    assert models.find_model(str(moved)).folder == moved
