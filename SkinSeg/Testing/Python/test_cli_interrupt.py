"""Ctrl-C at each stage: exit code 1, a message, and no file changed or left behind.

Once the files take their names it is too late: then all of them are there, and the exit code is 0.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from command import LIBRARY, STAGES, names, write_scan
from marks import slow
from SkinSegLib.cli import main
from SkinSegLib.core import Progress
from SkinSegLib.report import Report

SAID = "Cancelled; nothing was written."


@pytest.fixture(autouse=True)
def ctrl_c_means_something():
    """As in a terminal: a shell starts what runs in its background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


def everything(scan: Path, folder: Path) -> list[str]:
    """Arguments that go through every stage, with all four outputs there before."""
    files = {"-o": "s.stl", "--mask": "m.nrrd", "--json": "r.json", "--preview": "p.png"}
    for name in files.values():
        (folder / name).write_text("old")
    given = [text for option, name in files.items() for text in (option, str(folder / name))]
    return ["segment", str(scan), *given, "--layer", "8"]


def assert_untouched(folder: Path) -> None:
    assert names(folder) == ["m.nrrd", "p.png", "r.json", "s.stl"]
    assert {path.read_bytes() for path in folder.iterdir()} == {b"old"}


@pytest.mark.parametrize(
    ("stage", "at"),
    [
        ("Write", "begin"),
        *slow((stage, "begin") for stage in STAGES if stage != "Write"),
        *slow([(STAGES[-1], "end")]),
    ],
)
def test_ctrl_c_at_each_stage(
    scan: Path,
    tmp_path: Path,
    stage: str,
    at: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real SIGINT, sent to this process as the stage begins, or as it ends."""
    real, sent = Progress.update, []

    def update(self: Progress, fraction: float) -> None:
        real(self, fraction)
        if self._name == stage and fraction == (0.0 if at == "begin" else 1.0) and not sent:
            sent.append(stage)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "update", update)
    before = signal.getsignal(signal.SIGINT)
    assert main(everything(scan, tmp_path)) == 1
    assert sent == [stage]
    assert SAID in capsys.readouterr().err
    assert_untouched(tmp_path)
    assert signal.getsignal(signal.SIGINT) is before


def test_second_ctrl_c_stops_at_once(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a stage that does not report for long."""

    def stuck(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("went on")

    monkeypatch.setattr("SkinSegLib.surface.build", stuck)
    assert main(everything(scan, tmp_path)) == 1
    assert SAID in capsys.readouterr().err
    assert_untouched(tmp_path)


def assert_all_written(folder: Path) -> None:
    assert names(folder) == ["m.nrrd", "p.png", "r.json", "s.stl"]
    assert b"old" not in {path.read_bytes() for path in folder.iterdir() if path.name != "p.png"}


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_the_files_take_their_names(
    scan: Path,
    tmp_path: Path,
    times: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    real, seen = os.replace, []

    def replace(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path and not Path(target).name.startswith("."):
            seen.append(target)
            if len(seen) == 2:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert main(everything(scan, tmp_path)) == 0
    out, err = capsys.readouterr()
    assert len(seen) >= 3
    assert "Cancel" not in err
    assert f"Wrote {tmp_path / 'r.json'}" in out
    assert_all_written(tmp_path)


@pytest.mark.slow
def test_ctrl_c_while_the_report_is_shown(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def as_text(self: Report) -> str:
        signal.raise_signal(signal.SIGINT)
        pytest.fail("Ctrl-C was ignored")

    monkeypatch.setattr(Report, "as_text", as_text)
    assert main(everything(scan, tmp_path)) == 0
    err = capsys.readouterr().err
    assert "nothing was written" not in err
    assert "every file is written" in err
    assert_all_written(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_from_outside(scan: Path, tmp_path: Path, number: int) -> None:
    """The command as its own process, interrupted from another one while it computes."""
    code = f"import sys; sys.path.insert(0, {str(LIBRARY)!r}); from SkinSegLib.cli import main"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.exit(main())", *everything(scan, tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "Locate" in line:
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Cancelling" in err
    assert SAID in err
    assert "Traceback" not in err
    assert out == ""
    assert_untouched(tmp_path)
