"""Nothing half-written, and an existing file stays until the new one is whole."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import BECOME_NOBODY, LIBRARY, locked_folder, names
from SkinSegLib.core import (
    OutputError,
    lacks_memory,
    replacing,
    replacing_together,
    require_writable,
)


def test_replaces_an_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "mask.seg.nrrd"
    target.write_text("old")
    with replacing(target) as temporary:
        assert temporary.name.endswith(".seg.nrrd")  # writers choose the format by it
        assert temporary.parent == tmp_path  # another disk could not be renamed from
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_keeps_the_old_file_whatever_is_raised(tmp_path: Path, raised: type) -> None:
    target = tmp_path / "skin.stl"
    target.write_text("old")
    with pytest.raises(raised), replacing(target) as temporary:
        temporary.write_text("half")
        raise raised
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_missing_folder(tmp_path: Path) -> None:
    target = tmp_path / "none" / "skin.stl"
    for attempt in (require_writable, lambda path: replacing(path).__enter__()):
        with pytest.raises(OutputError, match="does not exist"):
            attempt(target)
    assert list(tmp_path.iterdir()) == []


def test_target_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        require_writable(tmp_path)


def test_nothing_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="was not written"), replacing(tmp_path / "a.stl"):
        pass


def test_error_of_the_system_says_why_and_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"No space left on device\. Free some space"),
        replacing(tmp_path / "a.stl") as temporary,
    ):
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_writable_folder_is_left_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.stl"
    target.write_text("old")
    require_writable(target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folder_without_permission() -> None:
    with locked_folder() as folder:
        code = f"""
import sys
sys.path.insert(0, {str(LIBRARY)!r})
from SkinSegLib.core import OutputError, require_writable
{BECOME_NOBODY}
try:
    require_writable(sys.argv[1])
except OutputError as error:
    print(error)
    sys.exit(7)
"""
        done = subprocess.run(
            [sys.executable, "-c", code, str(folder / "a.stl")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 7, done.stderr
        assert f"{folder} cannot be written to (Permission denied)" in done.stdout
        assert "Check the permissions" in done.stdout
        assert "space" not in done.stdout
        assert names(folder) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "Free some space, or"),
        (errno.EDQUOT, "Free some space, or"),
        (errno.EACCES, "Check the permissions, close any program"),
        (errno.EROFS, "Check the permissions, close any program"),
        (errno.EBUSY, "Check the permissions, close any program"),
        (errno.ENAMETOOLONG, "Choose another name or output folder"),
    ],
)
def test_advice_fits_the_error(tmp_path: Path, number: int, words: str) -> None:
    with pytest.raises(OutputError) as raised, replacing(tmp_path / "a.stl"):
        raise OSError(number, os.strerror(number))
    assert f"{os.strerror(number)}. {words}" in str(raised.value)
    assert ("space" in str(raised.value)) == (number in (errno.ENOSPC, errno.EDQUOT))


THREE = ("a.stl", "b.nrrd", "c.json")


def write_three(folder: Path) -> None:
    with replacing_together() as files:
        for name in THREE:
            with files.add(folder / name) as temporary:
                temporary.write_text("new")
        assert not (folder / "b.nrrd").exists()


def failing_at_the_second(
    monkeypatch: pytest.MonkeyPatch, what: BaseException, folder: Path
) -> None:
    """os.replace raises ``what`` for b.nrrd, as where another program has it open on Windows."""
    real = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == folder / "b.nrrd" and Path(source).name.endswith("b.nrrd"):
            raise what
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
def test_all_files_take_their_names_or_none(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.stl").write_text("old")
    if not links:  # as on a USB stick

        def refuse(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refuse)
    with monkeypatch.context() as patch:
        failing_at_the_second(patch, PermissionError(errno.EACCES, "Permission denied"), tmp_path)
        with pytest.raises(OutputError, match=r"b\.nrrd: Permission denied\. .*close any program"):
            write_three(tmp_path)
    assert names(tmp_path) == ["a.stl"]
    assert (tmp_path / "a.stl").read_text() == "old"
    write_three(tmp_path)
    assert names(tmp_path) == list(THREE)
    assert {(tmp_path / name).read_text() for name in THREE} == {"new"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no hard links"])
def test_the_one_that_fails_stays_too(
    tmp_path: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in THREE:
        (tmp_path / name).write_text("old")
    real, failed = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if Path(target) == tmp_path / "b.nrrd" and not failed:
            failed.append(target)
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target)

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "replace", replace)
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutputError, match=r"b\.nrrd"), replacing_together() as files:
        for name in THREE:
            with files.add(tmp_path / name) as temporary:
                temporary.write_text("new")
    assert failed
    assert names(tmp_path) == list(THREE)
    assert {(tmp_path / name).read_text() for name in THREE} == {"old"}


def test_interrupt_raised_in_the_middle_undoes_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.stl").write_text("old")
    failing_at_the_second(monkeypatch, KeyboardInterrupt(), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_three(tmp_path)
    assert names(tmp_path) == ["a.stl"]
    assert (tmp_path / "a.stl").read_text() == "old"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle_waits(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, came = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "b.nrrd":
            os.kill(os.getpid(), number)
        real(source, target)

    def handle(*_: object) -> None:
        came.append(names(tmp_path))
        raise KeyboardInterrupt

    before = signal.signal(number, handle)
    try:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            write_three(tmp_path)
        assert signal.getsignal(number) is handle
    finally:
        signal.signal(number, before)
    assert came == [list(THREE)]  # and not earlier
    assert names(tmp_path) == list(THREE)


def test_what_cannot_be_put_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.stl").write_text("old")
    real, calls = os.replace, []

    def replace(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) > 1:
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OutputError) as raised:
        write_three(tmp_path)
    (former,) = (path for path in tmp_path.iterdir() if path.name.startswith(".skinseg-"))
    assert former.read_text() == "old"
    assert raised.value.__notes__ == [f"Undoing failed: Your {tmp_path / 'a.stl'} is {former}."]


def test_messages_have_no_temporary_names(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as raised, replacing(tmp_path / "a.stl") as temporary:
        raise OutputError(f"{temporary} is bad.")
    assert str(raised.value) == f"{tmp_path / 'a.stl'} is bad."


def test_disk_that_really_fills_up(tmp_path: Path) -> None:
    """A limit on file size, which the system reports while writing, as a full disk does."""
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(LIBRARY)!r})
from SkinSegLib.core import OutputError, replacing
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with replacing(sys.argv[1]) as temporary:
        temporary.write_bytes(bytes(100_000))
except OutputError as error:
    print(error)
    sys.exit(7)
"""
    target = tmp_path / "a.stl"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 7, done.stderr
    assert f"Cannot write {target}: File too large" in done.stdout
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_half_files_of_a_killed_process_go_and_no_others(tmp_path: Path) -> None:
    """They show a patient. What was set aside may be the only copy of a file, and stays."""
    code = f"""
import os, sys
sys.path.insert(0, {str(LIBRARY)!r})
from SkinSegLib.core import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""
    target = tmp_path / "a.stl"
    target.write_text("old")
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    (half,) = (path for path in tmp_path.iterdir() if path != target)
    start, computer = ".skinseg-", half.name.removeprefix(".skinseg-")[:8]
    other = f"{int(computer, 16) ^ 1:08x}"
    stay = [
        f"{start}{computer}{os.getppid():08x}{12 * 'a'}-a.stl",  # of a living one
        f"{start}{other}{half.name.removeprefix(start)[8:]}",  # of another computer's
        f"{start}{12 * 'a'}-a.stl",  # set aside
        f"{start}else",
    ]
    for name in stay:
        (tmp_path / name).touch()
    for process in (8 * "f", f"{os.getpid():08x}"):  # no process's, and an earlier one's with ours
        (tmp_path / f"{start}{computer}{process}{12 * 'a'}-a.stl").touch()
    require_writable(target)
    assert names(tmp_path) == sorted([*stay, "a.stl"])
    assert target.read_text() == "old"


def test_a_disk_that_lets_nothing_go_does_not_hide_what_went_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that became read-only meanwhile."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(OutputError, match="Read-only file system"), replacing(tmp_path / "a.stl"):
        refuse()
    with pytest.raises(OutputError, match="Read-only file system"):
        write_three(tmp_path)


def test_what_could_not_be_removed_goes_as_soon_as_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same process goes on, as Slicer does, and the disk may be written to again."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refuse)
        with pytest.raises(OutputError), replacing(tmp_path / "a.stl") as temporary:
            temporary.write_text("half")
            refuse()
    assert temporary.read_text() == "half"
    with replacing(tmp_path / "b.stl") as other:
        other.write_text("being written")
        require_writable(tmp_path / "a.stl")
        assert set(tmp_path.iterdir()) == {other}


@pytest.mark.parametrize("name", [240 * "a" + ".seg.nrrd", 123 * "ä" + ".stl"])
def test_a_name_as_long_as_the_disk_takes(tmp_path: Path, name: str) -> None:
    for content in ("new", "newer"):  # the second time there is one to set aside
        with replacing(tmp_path / name) as temporary:
            assert temporary.name.endswith(name[-9:])
            temporary.write_text(content)
        assert (tmp_path / name).read_text() == content
    assert names(tmp_path) == [name]


def test_too_little_memory_in_whatever_words() -> None:
    for error in (
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
    ):
        assert lacks_memory(error)
    for error in (OSError(errno.ENOSPC, "full"), ImportError("no module"), ValueError("bad_alloc")):
        assert not lacks_memory(error)
