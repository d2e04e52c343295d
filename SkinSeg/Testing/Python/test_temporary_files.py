"""Temporary files are for their owner alone, and gone after success, errors and cancelling."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from case_makers import made_case
from command import LIBRARY, names, write_scan
from planted_makers import planted_scan
from SkinSegLib.core import (
    Cancelled,
    OutputError,
    Progress,
    ScanReadError,
    replacing,
    replacing_together,
)
from SkinSegLib.scan import read
from SkinSegLib.segmentation import SegmentOptions
from SkinSegLib.training.exchange import Kind, write_label
from SkinSegLib.web import serve
from SkinSegLib.worker.exchange import Exchange, put


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=["022", "077", "002"])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_private_until_it_has_its_name(tmp_path: Path, umask: int) -> None:
    target = tmp_path / "skin.stl"
    with replacing_together() as files:
        with files.add(target) as temporary:
            assert mode(temporary) == 0o600
            temporary.write_text("new")
            assert mode(temporary) == 0o600
        assert mode(temporary) == 0o600  # until the others are whole too
    assert mode(target) == 0o666 & ~umask


def test_a_writer_that_makes_the_file_anew_changes_nothing(tmp_path: Path, umask: int) -> None:
    target = tmp_path / "skin.stl"
    with replacing_together() as files:
        with files.add(target) as temporary:
            temporary.unlink()
            temporary.write_text("new")
        assert mode(temporary) == 0o600
    assert mode(target) == 0o666 & ~umask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o664])
def test_what_is_replaced_keeps_its_permissions(tmp_path: Path, umask: int, kept: int) -> None:
    target = tmp_path / "skin.stl"
    target.write_text("old")
    target.chmod(kept)
    with replacing(target) as temporary:
        temporary.write_text("new")
    assert (target.read_text(), mode(target)) == ("new", kept)


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "mine").chmod(0o640)
    (tmp_path / "skin.stl").symlink_to(tmp_path / "mine")
    with replacing(tmp_path / "skin.stl") as temporary:
        temporary.write_text("new")
    assert not (tmp_path / "skin.stl").is_symlink()
    assert ((tmp_path / "mine").read_text(), mode(tmp_path / "mine")) == ("mine", 0o640)


def test_keys_stay_private_whatever_was_there(tmp_path: Path, umask: int) -> None:
    target = tmp_path / "key"
    for _ in range(2):
        with replacing(target, private=True) as temporary:
            temporary.write_text("key")
        assert mode(target) == 0o600
        target.chmod(0o644)


def test_a_name_that_somebody_else_took_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    monkeypatch.setattr("SkinSegLib.core.temporary._here", lambda: "")
    monkeypatch.setattr("os.getpid", lambda: 0)
    (tmp_path / f".skinseg-{'0' * 20}-a.stl").symlink_to(tmp_path / "mine")
    with pytest.raises(OutputError), replacing(tmp_path / "a.stl") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_of_pictures_is_private_until_it_has_its_name(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, mask = made_case(1, 8.0)
    seen = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        (outer,) = (path for path in tmp_path.iterdir() if path.name.startswith(".skinseg-"))
        seen.append(mode(outer))
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_label(tmp_path / "png", volume, mask, Kind.PNG)
    assert seen == [0o700]
    assert mode(tmp_path / "png") == 0o777 & ~umask
    assert names(tmp_path) == ["png"]


def test_the_answer_for_a_server_is_private(temp: Path, tmp_path: Path, umask: int) -> None:
    scan = write_scan(tmp_path / "scan.nrrd")
    path, _ = serve.infer(scan, ".nrrd", SegmentOptions(engine="threshold"))
    assert path.parent == temp
    assert mode(path) == 0o600
    assert names(temp) == [path.name]


def test_arrays_for_a_worker_are_private_and_gone_after_an_error(umask: int) -> None:
    with pytest.raises(ValueError, match="stop"), Exchange(1000) as exchange:
        assert mode(exchange.folder) == 0o700
        put(exchange.folder, "a", np.zeros(3))
        raise ValueError("stop")
    assert not exchange.folder.exists()


@pytest.mark.slow
def test_a_zip_is_unpacked_in_private_and_gone_whatever_happens(
    temp: Path, tmp_path: Path, umask: int
) -> None:
    scan, _ = planted_scan(tmp_path / "in", 12.0)
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, one in enumerate(sorted(scan.iterdir())):
            archive.write(one, f"../../{number}")
    progress, seen = Progress(), []

    def look(stage: str, fraction: float) -> None:
        seen.extend((folder.name, mode(folder)) for folder in temp.iterdir())

    progress.report = look
    read(path, progress=progress)
    assert {mode for _, mode in seen} == {0o700}
    assert len({name for name, _ in seen}) == 1
    assert names(temp) == []
    calls = []
    stopped = Progress(is_cancelled=lambda: calls.append(1) is None and len(calls) > 5)
    with pytest.raises(Cancelled):
        read(path, progress=stopped)
    assert names(temp) == []

    with pytest.raises(ScanReadError, match="no such series"):
        read(path, "99")
    assert names(temp) == []
    assert names(tmp_path) == ["in", "scan.zip", "temp"]


#: Where temporary files are made that the block they are made in does not remove: the file, what is
#: called, and who removes what it made.
MADE = {
    ("worker/exchange.py", "mkdtemp"),  # Exchange.close, and remove_leftovers after a kill
    ("mrml/host.py", "mkdtemp"),  # atexit; the scene's cache folder, in which nothing is put
    ("web/serve.py", "mkstemp"),  # the caller: MONAI Label removes what it has sent
}


def test_every_temporary_file_is_made_by_what_makes_it_private() -> None:
    """TemporaryDirectory is 0700 and removes itself; all else is on the list above."""
    found = set()
    for path in sorted((LIBRARY / "SkinSegLib").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(LIBRARY / "SkinSegLib").as_posix()
        calls = re.findall(
            r"\b(mkdtemp|mkstemp|mktemp|NamedTemporaryFile|SpooledTemporary\w+)\(", text
        )
        found |= {(name, call) for call in calls}
        for call in re.finditer(r"(with )?(tempfile\.)?\bTemporaryDirectory\(", text):
            closed = r".*\(([^()]|\([^()]*\))*\) as \w+[:,]"
            assert re.match(closed, text[call.start() :]), name
        # replacing(..., private=True) says it, and keeps it when the file is replaced.
        assert ".touch(mode=" not in text, name
        assert not re.search(r"[\"']/tmp|[\"']/var/tmp", text), name
    assert found == MADE
