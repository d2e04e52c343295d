"""``skinseg dicom list|check|filter``: what is printed, written, and never said."""

from __future__ import annotations

import json
import signal
import zipfile
from pathlib import Path

import pytest
from scan_makers import GRIDS, NAME, Grid
from series_makers import series
from SkinSegLib.cli import main
from SkinSegLib.core import Progress

GOOD = {"SeriesNumber": 3, "ConvolutionKernel": "H30s", "BodyPartExamined": "HEAD"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """An axial head, a coronal MPR, two phases that nothing tells apart, a localizer, a damaged
    file; its folder is called after the patient."""
    folder = tmp_path / "Doe_Jane_19500101"
    axial = series(folder / "a", Grid(spacing=(1, 1, 3)), **GOOD, SeriesDescription=NAME)
    mpr = {"ImageType": ["DERIVED", "SECONDARY", "MPR"], "SeriesNumber": 4}
    series(folder / "b", GRIDS["coronal"], **mpr)
    series(folder / "c", places=[0, 1, 2, 0, 1, 2], SeriesNumber=5)
    series(folder / "d", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesNumber=1)
    whole = axial[0].read_bytes()
    (folder / "broken").write_bytes(whole[: whole.index(b"\x28\x00\x30\x00")])  # Pixel Spacing
    return folder


def run(*arguments: object) -> int:
    return main(["dicom", *map(str, arguments)])


def assert_nameless(*texts: str) -> None:
    for text in texts:
        for word in ("Doe", "Jane", "Secret", "S3cret", "1950", "1.2.3"):
            assert word not in text


def test_list(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "list.json"
    assert run("list", study, "--json", out) == 0
    said = capsys.readouterr()
    table = said.out.splitlines()
    assert table[0].split()[:3] == ["#", "series", "kind"]
    words = table[1].split()
    assert words == [
        *("#1", "3", "CT", "axial", "6", "11x9", "1.00x1.00x3.00", "3", "H30s", "HEAD"),
        *("no", "reads"),
    ]
    assert table[2].split()[:5] == ["#2", "4", "CT", "MPR", "coronal"]
    assert table[3].split()[-1] == "refused"
    assert "Left out: series 1, 6 localizers" in table
    assert "Left out: 1 damaged files" in table
    assert table[-1].startswith("Best for a head: #1, original slices, body part HEAD")
    content = json.loads(out.read_text())
    assert [info["number"] for info in content["series"]] == [3, 4, 5]
    assert content["series"][0]["plane"] == "axial"
    assert content["series"][2]["issues"][0]["kind"] == "slices at the same place"
    assert content["others"] == [{"number": 1, "modality": "CT", "kind": "localizers", "files": 6}]
    assert (content["best"], content["damaged"]) == (1, 1)
    assert_nameless(said.out, said.err, out.read_text())


def test_check(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", study) == 0
    said = capsys.readouterr()
    assert "#3  slices at the same place (refused): 3 slices" in said.out
    assert "export one phase as a series of its own" in said.out
    assert "#2  derived pictures (reads)" in said.out
    assert_nameless(said.out, said.err)
    assert run("check", study / "c") == 1
    assert "No series can be used." in capsys.readouterr().out
    assert run("check", study / "d") == 1
    assert "There is no CT series." in capsys.readouterr().out


def test_filter(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run("filter", study, "--plane", "coronal") == 0
    said = capsys.readouterr()
    assert "1 series, 6 files match: coronal." in said.out
    assert_nameless(said.out, said.err)
    assert run("filter", study, "--plane", "coronal", "-o", out, "--json", tmp_path / "f.json") == 0
    assert "1 series, 6 files copied" in capsys.readouterr().out
    assert len(list(out.rglob("*.dcm"))) == 6
    assert len(json.loads((tmp_path / "f.json").read_text())["series"]) == 1
    assert run("filter", out, "--plane", "axial", "--tolerance", "44") == 0
    assert "0 series, 0 files" in capsys.readouterr().out
    assert run("filter", study, "--plane", "axial", "--files") == 0
    printed = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert {path.parent.name for path in printed} == {"a", "c"}
    assert run("filter", study, "--plane", "axial", "-o", out) == 1
    said = capsys.readouterr()
    assert "not empty" in said.err
    assert_nameless(said.err)
    with pytest.raises(SystemExit):
        run("filter", study, "--plane", "axial", "--tolerance", "60")


def test_a_zip(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also one whose names climb out of the folder."""
    path, out = tmp_path / "Doe.zip", tmp_path / "out"
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(sorted((study / "a").iterdir())):
            archive.write(file, f"../../Doe{number}")
    before = set(tmp_path.rglob("*"))
    assert run("list", path) == 0
    assert "#1" in capsys.readouterr().out
    assert run("filter", path, "--plane", "axial", "-o", out) == 0
    assert {item for item in set(tmp_path.rglob("*")) - before if out not in item.parents} == {out}
    assert sorted(item.name for item in out.rglob("*.dcm")) == [
        f"00000{n}.dcm" for n in range(1, 7)
    ]


@pytest.mark.parametrize("command", ["list", "check", "filter"])
@pytest.mark.parametrize("what", ["missing", "empty", "text", "broken"])
def test_errors_name_no_path(
    command: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "Doe_Jane"
    if what == "empty":
        place.write_bytes(b"")
    elif what == "text":
        place.write_text("Doe^Secret")
    elif what == "broken":
        place = place.with_suffix(".zip")
        place.write_bytes(b"PK\x03\x04 Doe")
    more = ["--plane", "axial"] if command == "filter" else []
    assert run(command, place, *more) == 1
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].startswith("Error: ")
    assert_nameless(said.out, said.err)
    assert str(tmp_path) not in said.err


@pytest.mark.parametrize("command", ["list", "filter"])
def test_ctrl_c(
    command: str,
    study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real SIGINT while headers are read, or files copied: nothing is written."""
    real, sent = Progress.update, []

    def update(self: Progress, fraction: float) -> None:
        real(self, fraction)
        if fraction > (0.25 if command == "list" else 0.6) and not sent:
            sent.append(fraction)
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr(Progress, "update", update)
        out = tmp_path / "out"
        more = ["--plane", "axial", "-o", out] if command == "filter" else []
        report = tmp_path / "r.json"
        assert run(command, study, *more, "--json", report) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent
    assert "Cancelled; nothing was written." in capsys.readouterr().err
    assert not report.exists()
    assert not out.exists()
