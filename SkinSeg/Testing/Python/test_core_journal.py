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


#: In a process of its own, as often as it takes: fork, have the child killed before its n-th call
#: of the system, let the next run look, tell what is there then.
CRASHES = f"""
import json, os, sys
sys.path.insert(0, {str(LIBRARY)!r})
from pathlib import Path
from SkinSegLib.core import replacing_together, require_writable

top, links, there = Path(sys.argv[1]), sys.argv[2] == "links", sys.argv[3] == "replaced"
folders = [top / name for name in sys.argv[4:]]
looks = list(dict.fromkeys(reversed(folders)))
NAMES = {THREE!r}

def write(n):
    calls = []
    def counted(real):
        def call(*given, **named):
            calls.append(real)
            if len(calls) == n:
                os.kill(os.getpid(), 9)
            return real(*given, **named)
        return call
    with replacing_together() as files:
        for folder, name in zip(folders, NAMES):
            with files.add(folder / name) as temporary:
                temporary.write_text("new " + name)
        if not links:
            def refuse(*_):
                raise OSError(1, "no links here")
            os.link = refuse
        for name in ("open", "link", "replace", "unlink", "chmod"):
            setattr(os, name, counted(getattr(os, name)))

for n in range(1, 100):
    for folder in set(folders):
        folder.mkdir(exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
    if there:
        for folder, name in zip(folders, NAMES):
            (folder / name).write_text("old")
    pid = os.fork()
    if pid == 0:
        write(n)
        os._exit(0)
    ended = os.waitpid(pid, 0)[1]
    before = [path.read_text()[:3] if path.exists() else "-"
              for path in map(Path.__truediv__, folders, NAMES)]
    for folder in looks:
        require_writable(folder / "other.stl")
    found = [path.read_text() if path.exists() else "-"
             for path in map(Path.__truediv__, folders, NAMES)]
    hidden = [path.name for folder in set(folders) for path in folder.iterdir()
              if path.name not in NAMES]
    print(json.dumps([before, found, hidden]))
    if ended == 0:
        break
"""


@pytest.mark.parametrize("links", ["links", "no hard links"])
@pytest.mark.parametrize("there", ["replaced", "first"])
@pytest.mark.parametrize("folders", ["one one one", "one two two", "two one one"])
def test_killed_at_any_moment(tmp_path: Path, links: str, there: str, folders: str) -> None:
    """All are old or all are new once the next run has looked, and nothing else is there."""
    code = [sys.executable, "-c", CRASHES, str(tmp_path), links, there, *folders.split()]
    told = subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()
    runs = [json.loads(line) for line in told]
    old = ["old" if there == "replaced" else "-"] * 3
    new = list(all_new().values())
    for before, found, hidden in runs:
        assert found in (old, new), (before, found)
        assert hidden == []
    assert len(runs) > 5
    assert any(len(set(before)) > 1 for before, _, _ in runs)  # mixed, if nobody had looked
    assert runs[0][1] == old
    assert runs[-1][1] == new


@pytest.mark.parametrize("mode", [0o640, None], ids=["as it was", "usual"])
def test_permissions_are_those_of_a_run_that_was_not_killed(
    tmp_path: Path, mode: int | None
) -> None:
    fill(tmp_path)
    for name in THREE:
        (tmp_path / name).unlink() if mode is None else (tmp_path / name).chmod(mode)
    killed([tmp_path] * 3, 1)
    require_writable(tmp_path / "other.stl")
    (tmp_path / "usual").touch()
    usual = (tmp_path / "usual").stat().st_mode & 0o777
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in THREE} == {mode or usual}


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


@pytest.mark.parametrize(
    ("which", "aside"),
    [("a.stl", ["old"]), ("b.nrrd", ["old"]), ("c.json", [])],
    ids=["had its name", "was next", "had not"],
)
def test_what_somebody_wrote_meanwhile_is_theirs(
    tmp_path: Path, which: str, aside: list[str]
) -> None:
    """And what it had replaced, or was to, is kept where it was set aside."""
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    (tmp_path / which).unlink()
    (tmp_path / which).write_text("mended by hand")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), which: "mended by hand"}
    assert [path.read_text() for path in tmp_path.glob(f".skinseg-*-{which}")] == aside
    assert not journals(tmp_path)


def test_a_file_that_was_not_there_and_is_now(tmp_path: Path) -> None:
    killed([tmp_path] * 3, 1)
    (tmp_path / "b.nrrd").write_text("somebody's")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), "b.nrrd": "somebody's"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
@pytest.mark.parametrize("which", ["b.nrrd", "c.json"])
def test_half_of_a_waiting_file_is_not_used(tmp_path: Path, which: str, links: bool) -> None:
    """As after a power cut: the disk may have lost its end. The old one gets its name back."""
    fill(tmp_path)
    killed([tmp_path] * 3, 1, links)
    (waiting,) = tmp_path.glob(f".skinseg-{28 * '[0-9a-f]'}-{which}")
    waiting.write_text("ne")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == {**all_new(), which: "old"}


def test_times_that_the_disk_rounded_are_the_same(tmp_path: Path) -> None:
    """FAT keeps even seconds, which is seen once it is mounted anew."""
    fill(tmp_path)
    killed([tmp_path] * 3, 1, links=False)
    for path in tmp_path.iterdir():
        if not path.name.endswith(".journal"):
            second = path.stat().st_mtime_ns // 2_000_000_000 * 2
            os.utime(path, (second, second))
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == all_new()


def test_a_file_in_use_is_left_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows nothing takes the name of a file that another program has open."""
    fill(tmp_path)
    killed([tmp_path] * 3, 1, links=False)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "b.nrrd":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        require_writable(tmp_path / "other.stl")
        assert contents(tmp_path) == all_new("a.stl", "c.json")
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == all_new()
    assert names(tmp_path) == list(THREE)


def test_another_run_that_finishes_it_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "b.nrrd":
            real(source, target)  # the other's
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == all_new()
    assert names(tmp_path) == list(THREE)


def test_what_was_moved_away_does_not_come_up_again(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "kept"
    folder.mkdir()
    elsewhere.mkdir()
    fill(folder)
    killed([folder] * 3, 1)
    for name in THREE:
        (folder / name).rename(elsewhere / name)
    require_writable(folder / "other.stl")
    assert contents(folder) == {}
    assert contents(elsewhere) == {"a.stl": "new a.stl", "b.nrrd": "old", "c.json": "old"}


def test_the_folder_was_renamed_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    fill(folder)
    killed([folder] * 3, 1, links=False)
    folder = folder.rename(tmp_path / "patient")
    require_writable(folder / "other.stl")
    assert contents(folder) == all_new()


def test_every_writer_finishes_it(tmp_path: Path) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    with replacing(tmp_path / "other.stl") as temporary:
        temporary.write_text("other")
    assert contents(tmp_path) == {**all_new(), "other.stl": "other"}


#: What a journal may hold, or be, that is not ours: a change of its entry for c.json, or its text.
SPOILT: dict[str, Any] = {
    "no JSON": "names",
    "no list": "7",
    "no entries": "[7]",
    "without end": 200_000 * "[",
    "no number": {"new": ["x", None]},
    "three numbers": {"old": [1, 2, 3]},
    "infinite": '[{"folder": ".", "temporary": "", "target": "", "new": [Infinity, 1]}]',
    "another's target": {"target": "../c.json"},
    "parent": {"target": ".."},
    "this folder": {"target": ""},
    "no name at all": {"target": None},
    "zero byte": {"target": "c\0"},
    "no character": {"target": "\ud800"},
    "zero byte in the folder": {"folder": "\0"},
    "target is temporary": {"target": ".skinseg-aaaaaaaaaaaa-c.json"},
    "source is any file": {"temporary": "secret"},
    "source is of another process": {"temporary": f".skinseg-{28 * 'a'}-c.json"},
    "source was set aside": {"temporary": f".skinseg-{12 * 'a'}-c.json"},
    "former is any file": {"former": "secret"},
    "former is in another folder": {"former": "../secret"},
    "former is of a process": {"former": f".skinseg-{28 * 'a'}-c.json"},
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_journal_that_is_not_ours_is_not_obeyed(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    fill(folder)
    killed([folder] * 3, 1)
    (journal,) = journals(folder)
    change = SPOILT[how]
    for path in (folder / "secret", folder / f".skinseg-{12 * 'a'}-c.json", tmp_path / "secret"):
        path.write_text("secret")
    if isinstance(change, dict):
        entries: list[dict[str, Any]] = json.loads(journal.read_text())
        entries[-1].update(change)
        if change.get("temporary"):
            there = (folder / "secret").stat()
            entries[-1]["new"] = [there.st_size, there.st_mtime_ns]
            if not (folder / change["temporary"]).exists():
                (folder / change["temporary"]).write_text("secret")
                os.utime(folder / change["temporary"], ns=(there.st_mtime_ns, there.st_mtime_ns))
        change = json.dumps(entries)
    journal.write_text(change)
    before = contents(folder)
    require_writable(folder / "other.stl")
    assert contents(folder) == before
    assert names(tmp_path) == ["out", "secret"]
    assert (folder / f".skinseg-{12 * 'a'}-c.json").read_text() == "secret"
    assert not journals(folder)


def test_what_lies_behind_a_link_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("key")
    (tmp_path / "key").chmod(0o600)
    out = tmp_path / "out"
    out.mkdir()
    fill(out)
    killed([out] * 3, 1)
    (journal,) = journals(out)
    entries = json.loads(journal.read_text())
    waiting = out / entries[-1]["temporary"]
    waiting.unlink()
    waiting.symlink_to("../key")
    there = waiting.lstat()
    entries[-1].update(mode=0o777, new=[there.st_size, there.st_mtime_ns])
    journal.write_text(json.dumps(entries))
    require_writable(out / "other.stl")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert (out / "c.json").read_text() == "old"
    assert not (out / "c.json").is_symlink()


def test_bits_of_permission_are_all_that_a_journal_gives(tmp_path: Path) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    (journal,) = journals(tmp_path)
    entries = json.loads(journal.read_text())
    entries[-1]["mode"] = 0o4755
    journal.write_text(json.dumps(entries))
    require_writable(tmp_path / "other.stl")
    assert (tmp_path / "c.json").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("kind", ["pipe", "folder", "too large"])
def test_what_is_no_plain_file_does_not_stop_the_run(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    killed([tmp_path] * 3, 1)
    (journal,) = journals(tmp_path)
    if kind == "too large":
        monkeypatch.setattr("SkinSegLib.core.journal._LARGEST_BYTES", 10)
    else:
        journal.unlink()
        os.mkfifo(journal) if kind == "pipe" else journal.mkdir()
    before = contents(tmp_path)
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(3):
        require_writable(tmp_path / "other.stl")
    assert contents(tmp_path) == before
    assert not handles or len(os.listdir("/proc/self/fd")) == handles


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
