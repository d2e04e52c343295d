"""Every command of ``skinseg`` with a scan full of planted names; all that is left is searched.

Screen, errors, warnings, logs, results, temporary files, the user's folder and shared memory. A new
command without an entry here fails the test.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from case_makers import add_case
from model_makers import write_model
from planted_makers import FOLDER, SOUGHT, found_below, found_in, planted_scan
from SkinSegLib import cli
from SkinSegLib.segmentation import live, models
from SkinSegLib.training import compare, finetune, train
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.web.server import Server
from tuning_makers import WITH_TINY, ball_source
from web_makers import free_port

pytestmark = pytest.mark.slow

PASSPHRASE = "correct horse battery"
THRESHOLD = ("--engine", "threshold")
FAST = (*THRESHOLD, "--smooth", "0", "--deviation", "0")

#: What keeps patient data, why, and where that is documented.
EXCEPTED = {
    "dicom export": "puts its results into the patient's study (README, its --help)",
    "dicom filter": "with -o it copies the files of the scan as they are (Docs/dicom.md)",
    "dicom restore": "a restored scan has the header of the scan given (Docs/privacy.md)",
}
#: Errors of these do not even name the path that the user has typed; others do, on the screen.
NAMELESS = ("batch", "dicom", "web")


def leaves(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command that takes no further command, with its parser."""
    parts = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not parts:
        yield " ".join(words), parser
    for part in parts:
        for name, inner in part.choices.items():
            yield from leaves(inner, (*words, name))


#: Command: lines of arguments, each with its exit code. {name}: a path of World.
LINES: dict[str, list[tuple[int, str]]] = {
    "segment": [
        (0, "{scan} -o {out}/skin.stl --mask {out}/mask.nrrd --json {out}/r.json --provenance"),
        (0, "{scan} -o {out}/skin.ply --mask {out}/mask.nii.gz --layer 8"),
        (1, "{scan} --series 99 -o {out}/no.stl"),
    ],
    "info": [(0, "{scan}"), (0, "{zip}")],
    "demo": [(0, "{scan} -o {out}/demo")],
    "batch": [(1, "{archive} -o {out}/batch --workers 1 --engine threshold")],
    "check": [(0, "{skin} --json {out}/check.json")],
    "data add": [
        (0, "{out}/set {scan} --label {label} --labelled-by Ben --site here --no-check"),
        (1, "{spare} {scan} --label {label} --no-check"),
    ],
    "data list": [(0, "{set}")],
    "data split": [(0, "{spare} head_0001 test")],
    "data remove": [(0, "{spare} head_0001")],
    "data audit": [(0, "{set} -o {out}/audit.html")],
    "data next": [(0, "{set} --device cpu")],
    "data nnunet": [(0, "{set} -o {out}")],
    "dicom list": [(0, "{place} --json {out}/list.json")],
    "dicom check": [(0, "{place} --json {out}/check.json"), (1, "{broken}")],
    "dicom filter": [(0, "{scan} --plane axial --json {out}/filter.json")],
    "dicom export": [(0, "{mask} --scan {scan} -o {out}/objects")],
    "dicom deidentify": [
        (
            0,
            "{scan} -o {out}/clean --key {out}/k --new-key --table {out}/who --json {out}/d.json",
        ),
        (1, "{broken} -o {out}/none --json {out}/none.json"),
    ],
    "dicom deface": [
        (0, "{scan} -o {out}/bare --deidentify --reversible {out}/face --json {out}/f.json"),
    ],
    "dicom restore": [(0, "{bare} {face} -o {out}/back")],
    "dicom reveal": [(1, "{table} NOBODY")],
    "evaluate": [(0, "--set {set} --engine threshold -o {out}/evaluation")],
    "federated simulate": [(1, "{spare} {spare} -o {out}/together --device cpu")],
    "federated export-job": [(0, "--name job -o {out}")],
    "label import": [
        (0, "{label} --scan {scan} -o {out}/head.seg.nrrd --no-check"),
        (0, "{label} --scan {scan} -o {out}/png --as png --no-check"),
    ],
    "label export": [(0, "{label} --scan {scan} -o {out}/head.inv3 --no-check")],
    "label fuse": [
        (0, "A={label} B={label} --scan {scan} -o {out}/f.seg.nrrd --json {out}/f.json --no-check")
    ],
    "label compare": [
        (0, "A={label} B={label} --scan {scan} --json {out}/c.json --no-check"),
        (0, "A={label} B={label} --scan {scan} --picture {out}/c.png --no-check"),
    ],
    "mesh": [(0, "{label} --scan {scan} -o {out}/head.obj --json {out}/m.json")],
    "models": [(0, ""), (0, "--add {model} --name another"), (0, "--use tiny --untested")],
    "thickness": [(0, "{scan} -o {out}/t.ply --json {out}/t.json")],
    "train": [(0, "--cases {set} -o {out}/run --steps 2 --workers 0 --device cpu")],
    "web send": [
        (0, "{clean} --with-face --server http://127.0.0.1:{port} --dry-run --json {out}/s.json"),
        (1, "{clean} --with-face --server http://127.0.0.1:{port} --journal {out}/journal"),
        (1, "{scan} --server http://127.0.0.1:{port}"),
    ],
    "web list": [(1, "--server http://127.0.0.1:{port}")],
    "web fetch": [(1, "--server http://127.0.0.1:{port} -o {out}/fetched --all")],
    "web ask": [(1, "{scan} --server http://127.0.0.1:{port} -o {out}/asked.nrrd")],
    "web app": [(0, "-o {out}/app")],
}
MORE = {
    **dict.fromkeys(("segment", "demo", "mesh"), FAST),
    **dict.fromkeys(("dicom deface", "thickness"), THRESHOLD),
    "thickness": (*THRESHOLD, "--bone-hu", "300"),
}
MORE["mesh"] = FAST[2:]


@dataclass(frozen=True)
class World:
    """``paths``: what the lines above name. ``home``, ``temp``: the user's, and temporary ones."""

    paths: dict[str, object]
    home: Path
    temp: Path


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("world")
    home, temp = root / "home", root / "temp"
    with pytest.MonkeyPatch.context() as patch:
        for folder in (home, temp):
            folder.mkdir()
        patch.setenv("HOME", str(home))
        for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
            patch.setenv(name, str(home / name.lower()))
        for name in ("TMPDIR", "TEMP", "TMP"):
            patch.setenv(name, str(temp))
        patch.setattr(tempfile, "tempdir", None)
        patch.setenv(models.FOLDER_VARIABLE, str(home / "models"))
        patch.setenv("SKINSEG_PASSPHRASE", PASSPHRASE)
        patch.setattr("SkinSegLib.privacy.vault._LOG_N", 12)
        patch.setattr(compare, "_SCENES", 0)
        patch.setattr(finetune, "made_source", ball_source)
        for module in (finetune, train):
            patch.setattr(module, "DESIGNS", WITH_TINY)
        patch.setattr(Server, "__init__", _impatient(Server.__init__))
        yield World(_made(root), home, temp)


def _impatient(real):
    def init(self, *arguments, **named):
        real(self, *arguments, **{**named, "wait_s": 0.01, "attempts": 2})

    return init


def _made(root: Path) -> dict[str, object]:
    scan, label = planted_scan(root / "scans")
    place = root / "made"
    place.mkdir()
    broken = root / "broken" / FOLDER
    broken.mkdir(parents=True)
    whole = next(scan.iterdir()).read_bytes()
    (broken / f"{FOLDER}.dcm").write_bytes(whole[: len(whole) // 3])
    archive = root / "archive"
    shutil.copytree(scan, archive / FOLDER / "study")
    (archive / FOLDER / f"{FOLDER}.nrrd").write_bytes(b"NRRD0004\n")  # fails
    zipped = shutil.make_archive(str(root / "zipped" / FOLDER), "zip", scan)
    write_model(place / "tiny", root)
    models.add_model(place / "tiny")
    live.make_live("tiny")
    lines = [
        f"segment {scan} -o {place}/skin.stl --mask {place}/mask.nrrd --engine threshold",
        f"dicom deidentify {scan} -o {place}/clean --key {place}/key --new-key --table {place}/who",
        f"dicom deface {scan} -o {place}/bare --deidentify --key {place}/key "
        f"--reversible {place}/face --engine threshold",
        f"data add {place}/set {scan} --label {label} --no-check",
        f"data add {place}/spare {scan} --label {label} --no-check",
    ]
    for line in lines:
        assert cli.main(line.split()) == 0, line
    cases = CaseFolder.open(place / "set")
    add_case(cases, 2, "test")
    add_case(cases, 3, "unlabelled")
    return {
        **{"scan": scan, "place": scan.parent, "label": label, "broken": broken.parent},
        **{"archive": archive, "zip": zipped, "skin": place / "skin.stl", "model": place / "tiny"},
        **{"mask": place / "mask.nrrd", "clean": place / "clean", "bare": place / "bare"},
        **{"face": place / "face", "table": place / "who", "set": place / "set"},
        **{"spare": place / "spare", "port": free_port()},
    }


def test_every_command_has_its_lines() -> None:
    there = {name for name, _ in leaves(cli.build_parser())}
    assert there == LINES.keys()
    assert EXCEPTED.keys() < there


def test_the_scan_is_full_of_names(world: World) -> None:
    scan = Path(str(world.paths["scan"]))
    slices = sorted(scan.iterdir())
    assert len(found_below(scan)) == len(slices)
    assert slices[0].read_bytes().count(b"PLANTED") > 500
    for path in slices:
        content = path.read_bytes()
        assert content.count(b"PLANTED") > 300
        assert found_in(content) >= {"PLANTED", "Anna", "19570311", "1.2.826.99."}


@pytest.mark.parametrize("command", LINES)
def test_nothing_gets_out(
    command: str,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG, logger="SkinSeg")
    shared = _shared()
    for number, (code, line) in enumerate(LINES[command]):
        out = tmp_path / str(number)
        out.mkdir()
        arguments = [*line.format(**world.paths, out=out).split(), *MORE.get(command, ())]
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            assert cli.main([*command.split(), *arguments]) == code, capfd.readouterr()
        said = capfd.readouterr()
        logged = [record.getMessage() for record in caplog.records]
        err = said.err
        if code and command.split()[0] not in NAMELESS:
            for path in world.paths.values():
                err = err.replace(str(path), "what was given")
        told = "\n".join([said.out, err, *logged, *(str(w.message) for w in warned)])
        assert not found_in(told.encode("utf-8", "surrogateescape")), told
        if command not in EXCEPTED:
            assert found_below(out) == {}
    assert found_below(world.home) == {}
    assert found_below(world.temp) == {}
    assert [path.name for path in world.temp.rglob("*") if _is_ours(path)] == []
    assert _shared() <= shared


def _is_ours(path: Path) -> bool:
    # slicer-core's host has one folder for as long as the process lives.
    return "skinseg" in path.name and not path.name.startswith("skinseg-scene-")


def _shared() -> set[str]:
    # Of this process: others on this computer have theirs.
    return {name for name in os.listdir("/dev/shm") if f"skinseg-exchange-{os.getpid()}-" in name}


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    import gzip

    import numpy as np

    (tmp_path / "a.gz").write_bytes(gzip.compress(b"for " + SOUGHT[0].encode("utf-16-le")))
    np.savez_compressed(tmp_path / "b.npz", names=np.array(["x Anna"]))
    (tmp_path / "Planted").mkdir()
    (tmp_path / "c").write_bytes(b"nothing")
    assert found_below(tmp_path).keys() == {"a.gz", "b.npz", "Planted"}
