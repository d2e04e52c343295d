"""A process that is killed while several files take their names: the next one finishes it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command import LIBRARY, names
from SkinSegLib.core import OutputError, replacing, replacing_together, require_writable

THREE = ("a.stl", "b.nrrd", "c.json")


def killed(folders: list[Path], after: int, links: bool = True) -> None:
    """Write three files anew, each in its folder, in a process that is killed when ``after`` of
    them have their names."""
    code = f"""
import os, sys
sys.path.insert(0, {str(LIBRARY)!r})
from pathlib import Path
from SkinSegLib.core import replacing_together

real, done = os.replace, []
targets = [Path(name) for name in sys.argv[1:]]
def replace(source, target):
    if Path(target) in targets:
        if len(done) == {after}:
            os.kill(os.getpid(), 9)
        done.append(target)
    real(source, target)
def refuse(*_):
    raise OSError(1, "no links here")
os.replace = replace
if not {links}:
    os.link = refuse
with replacing_together() as files:
    for target in targets:
        with files.add(target) as temporary:
            temporary.write_text("new " + target.name)
"""
    targets = [str(folder / name) for folder, name in zip(folders, THREE, strict=True)]
    done = subprocess.run([sys.executable, "-c", code, *targets], check=False)
    assert done.returncode == -signal.SIGKILL


def contents(folder: Path) -> dict[str, str]:
    """Of the files that are not hidden."""
    return {
        path.name: path.read_text() for path in folder.iterdir() if not path.name.startswith(".")
    }


def all_new(*which: str) -> dict[str, str]:
    return {name: f"new {name}" for name in which or THREE}


def fill(folder: Path) -> None:
    for name in THREE:
        (folder / name).write_text("old")


def journals(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith("-names.journal")]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "first"])
def test_the_next_run_finishes_it(tmp_path: Path, after: int, links: bool, there: bool) -> None:
    if there:
        fill(tmp_path)
    killed([tmp_path] * 3, after, links)
    assert contents(tmp_path) != all_new()
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == all_new()
    assert names(tmp_path) == list(THREE)  # and nothing hidden
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}


def test_files_in_several_folders(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two", tmp_path / "two"]
    for folder in set(folders):
        folder.mkdir()
    killed(folders, 1)
    require_writable(tmp_path / "two" / "other.stl")  # in either of them
    assert contents(tmp_path / "one") == all_new("a.stl")
    assert contents(tmp_path / "two") == all_new("b.nrrd", "c.json")
    assert names(tmp_path / "two") == ["b.nrrd", "c.json"]
    require_writable(tmp_path / "one" / "other.stl")
    assert names(tmp_path / "one") == ["a.stl"]


@pytest.mark.parametrize("which", ["a.stl", "c.json"], ids=["had its name", "had not"])
def test_what_somebody_wrote_meanwhile_is_theirs(tmp_path: Path, which: str) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    (tmp_path / which).write_text("mended by hand")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), which: "mended by hand"}
    assert not journals(tmp_path)


def test_a_file_that_was_not_there_and_is_now(tmp_path: Path) -> None:
    killed([tmp_path] * 3, 1)
    (tmp_path / "b.nrrd").write_text("somebody's")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), "b.nrrd": "somebody's"}


def test_half_of_a_waiting_file_is_not_used(tmp_path: Path) -> None:
    """As after a power cut, where the disk may have lost its end."""
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    (waiting,) = tmp_path.glob(".skinseg-*-c.json")
    waiting.write_text("ne")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), "c.json": "old"}


def spoil(journal: Path, how: str) -> None:
    entries: list[dict[str, Any]] = json.loads(journal.read_text())
    if how == "no JSON":
        journal.write_text("names")
        return
    if how == "no list":
        journal.write_text("7")
        return
    (last,) = (entry for entry in entries if entry["target"].endswith("c.json"))
    if how == "elsewhere":
        last["target"] = str(journal.parent.parent / "c.json")
    elif how == "other source":
        (journal.parent / "secret").write_text("new c.json")
        there = (journal.parent / "secret").stat()
        last["temporary"] = str(journal.parent / "secret")
        last["new"] = [there.st_size, there.st_mtime_ns]
    elif how == "relative":
        last["target"], last["temporary"] = "c.json", Path(last["temporary"]).name
    elif how == "no number":
        last["new"] = ["x", None]
    elif how == "missing":
        del last["old"]
    journal.write_text(json.dumps(entries))


@pytest.mark.parametrize(
    "how",
    ["no JSON", "no list", "elsewhere", "other source", "relative", "no number", "missing"],
)
def test_a_journal_that_is_not_ours_is_not_obeyed(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    monkeypatch.chdir(folder)
    fill(folder)
    killed([folder] * 3, 1)
    (journal,) = journals(folder)
    spoil(journal, how)
    before = contents(folder)
    require_writable(folder / "other.stl")
    assert contents(folder) == before
    assert names(tmp_path) == ["out"]
    assert not journals(folder)


def test_of_a_living_process_or_another_user_or_through_a_link_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    before = contents(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("SkinSegLib.core.temporary.is_running", lambda pid: True)
        require_writable(tmp_path / "other.stl")
        assert contents(tmp_path) == before
    (journal,) = journals(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getuid", lambda: journal.stat().st_uid + 1)
        patch.setattr("SkinSegLib.core.files._remove", lambda path: None)
        require_writable(tmp_path / "other.stl")
        assert contents(tmp_path) == before
    (tmp_path / "real").write_bytes(journal.read_bytes())
    journal.unlink()
    journal.symlink_to(tmp_path / "real")
    require_writable(tmp_path / "other.stl")
    (tmp_path / "real").unlink()
    assert contents(tmp_path) == before


def test_several_files_are_told_of_before_the_first_has_its_name_and_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = os.replace, []

    def replace(source: Path, target: Path) -> None:
        seen.append(len(journals(tmp_path)))
        for journal in journals(tmp_path):
            assert journal.stat().st_mode & 0o777 == 0o600
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with replacing(tmp_path / "one.stl") as temporary:
        temporary.write_text("new")
    with replacing_together() as files:
        for name in THREE:
            with files.add(tmp_path / name) as temporary:
                temporary.write_text("new")
    assert seen == [0, 1, 1, 1]
    assert not journals(tmp_path)


def test_no_room_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path)
    real = os.open

    def full(path: Any, *rest: Any) -> int:
        if str(path).endswith(".journal"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, *rest)

    with pytest.raises(OutputError, match="Free some space"), replacing_together() as files:
        for name in THREE:
            with files.add(tmp_path / name) as temporary:
                temporary.write_text("new")
        monkeypatch.setattr(os, "open", full)
    assert contents(tmp_path) == dict.fromkeys(THREE, "old")
    assert names(tmp_path) == list(THREE)


def test_a_single_file_is_never_without_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on a disk without hard links, where setting it aside would take it away."""
    (tmp_path / "a.stl").write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    real, seen = os.replace, []

    def replace(source: Path, target: Path) -> None:
        seen.append((tmp_path / "a.stl").read_text())
        real(source, target)

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "replace", replace)
    with replacing(tmp_path / "a.stl") as temporary:
        temporary.write_text("new")
    assert seen == ["old"]
