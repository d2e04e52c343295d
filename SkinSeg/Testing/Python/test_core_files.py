"""Nothing half-written, and an existing file stays until the new one is whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from SkinSegLib.core import OutputError, replacing, require_writable

LIBRARY = Path(__file__).resolve().parents[2]


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


def test_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root may write anywhere, so the system's answer is given here.
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(OutputError, match=r"cannot be written to .*Permission denied"):
        require_writable(tmp_path / "a.stl")


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
