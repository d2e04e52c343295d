"""Scans, data sets, batches, journals and models made by somebody who means harm: no code of theirs
runs, and no file outside of what was given is read, changed or removed."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from batch_makers import planned, write_archive
from case_makers import add_case
from command import LIBRARY
from model_makers import write_model
from SkinSegLib import cli
from SkinSegLib.batch import Ledger, locked
from SkinSegLib.batch.record import CaseResult, Status, found, put
from SkinSegLib.core import (
    MissingPackageError,
    ModelError,
    OutputError,
    ScanReadError,
    ServerError,
    SkinSegError,
)
from SkinSegLib.scan import read
from SkinSegLib.scan.masks import read_mask
from SkinSegLib.segmentation import live, models
from SkinSegLib.segmentation.bundle import INFERENCE, METADATA, WEIGHTS, load_bundle
from SkinSegLib.training import finetune, train
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.federated.plan import plan_from
from SkinSegLib.training.scenes import load_sources
from SkinSegLib.web.journal import Journal, opened_journal
from tuning_makers import WITH_TINY, ball_source

SHAPE = (6, 5, 4)
VOXELS = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
NRRD = (
    "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nspacings: 1 1 1\nendian: little\n"
    "encoding: raw\n"
)
META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\n"
    "ElementSpacing = 1 1 1\nBinaryData = True\n"
)


class Program:
    """Pickled, it makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


# Headers that name other files as their voxels


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder that came from elsewhere, with voxels in it, and a file of the user's beside it."""
    folder = tmp_path / "inbox"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "private.raw", folder / "own.raw", folder / "sub" / "own.raw"):
        place.write_bytes(VOXELS.tobytes())
    for k in range(6):
        (folder / f"s{k}.raw").write_bytes(VOXELS[k].tobytes())
    (folder / "link.raw").symlink_to(tmp_path / "private.raw")
    (folder / "out").symlink_to(tmp_path)
    (folder / "l0.raw").symlink_to(tmp_path / "private.raw")
    return folder


def header(folder: Path, name: str, data: str) -> Path:
    path = folder / name
    if name.endswith(("nrrd", "nhdr")):
        path.write_text(f"{NRRD}data file: {data}\n")
    else:
        path.write_text(f"{META}ElementDataFile = {data}\n")
    return path


OUTSIDE = ("../private.raw", "{private}", "sub/../../private.raw", "link.raw", "out/private.raw")


@pytest.mark.parametrize("name", ["a.nhdr", "a.nrrd", "a.mhd", "a.mha"])
@pytest.mark.parametrize("data", [*OUTSIDE, "LIST\n../private.raw", "LIST 3\nown.raw\nlink.raw"])
def test_voxels_elsewhere_are_not_read(inbox: Path, name: str, data: str) -> None:
    path = header(inbox, name, data.format(private=inbox.parent / "private.raw"))
    for attempt in (read, read_mask):
        with pytest.raises(ScanReadError, match="outside of its folder"):
            attempt(path)


@pytest.mark.parametrize("data", ["../s%d.raw 0 5 1", "l%d.raw 0 5 1", "out/s%01d.raw 0 5 1"])
def test_numbered_files_elsewhere_are_not_read(inbox: Path, data: str) -> None:
    for k in range(6):
        shutil.copy(inbox / f"s{k}.raw", inbox.parent)
    with pytest.raises(ScanReadError, match="outside of its folder"):
        read(header(inbox, "a.nhdr", f"{data} 2"))
    with pytest.raises(ScanReadError, match="outside of its folder"):
        read(header(inbox, "a.mhd", data))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("a.nhdr", data) for data in ("own.raw", "./own.raw", "sub/own.raw", "s%d.raw 0 5 1 2")),
        *(("a.mhd", data) for data in ("own.raw", "sub/own.raw", "s%d.raw 0 5 1")),
        ("a.nhdr", "LIST 2\n" + "\n".join(f"s{k}.raw" for k in range(6))),
        ("a.mhd", "LIST\n" + "\n".join(f"s{k}.raw" for k in range(6))),
    ],
)
def test_voxels_beside_a_header_and_below_are(inbox: Path, name: str, data: str) -> None:
    np.testing.assert_array_equal(read(header(inbox, name, data)).voxels, VOXELS)


def test_a_project_with_links_reads_nothing_of_this_computer(tmp_path: Path) -> None:
    secret = tmp_path / "secret.plist"
    secret.write_bytes(b"<plist><dict><key>matrix</key><dict/></dict></plist>")
    path = tmp_path / "in.inv3"
    with tarfile.open(path, "w") as archive:
        for name, target in (("x/main.plist", str(secret)), ("x/matrix.dat", "../secret.plist")):
            item = tarfile.TarInfo(name)
            item.type, item.linkname = tarfile.SYMTYPE, target
            archive.addfile(item)
        slip = tarfile.TarInfo("../../slipped")
        slip.size = 4
        archive.addfile(slip, io.BytesIO(b"evil"))
    with pytest.raises(ScanReadError, match=r"no main\.plist"):
        read(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.inv3", "secret.plist"]


# Data sets


@pytest.fixture
def theirs(tmp_path: Path) -> CaseFolder:
    cases = CaseFolder.create(tmp_path / "theirs")
    add_case(cases, 1, "unlabelled")
    return cases


@pytest.mark.parametrize("part", ["imagesTr", "records", "removed", ".lock", "dataset.json"])
def test_a_data_set_with_linked_parts_is_not_opened(
    theirs: CaseFolder, tmp_path: Path, part: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "head_0009.nii.gz").write_bytes(b"my scan")
    (tmp_path / "letter").write_text("my letter")
    place = theirs.folder / part
    folder = place.is_dir()
    shutil.rmtree(place) if folder else place.unlink(missing_ok=True)
    place.symlink_to(mine if folder else tmp_path / "letter")
    for attempt in (CaseFolder.open, CaseFolder.create):
        with pytest.raises(SkinSegError, match=f"{part} in the data set is a link"):
            attempt(theirs.folder)
    assert [path.name for path in mine.iterdir()] == ["head_0009.nii.gz"]
    assert (tmp_path / "letter").read_text() == "my letter"


@pytest.mark.parametrize("file", ["records/head_0001.json", "imagesUl/head_0001.nii.gz"])
def test_linked_files_and_pipes_of_a_data_set_are_not_read(
    theirs: CaseFolder, tmp_path: Path, file: str
) -> None:
    path = theirs.folder / file
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SkinSegError, match="is a link"):
        theirs.records()
    path.unlink()
    os.mkfifo(path)  # to read it would wait for ever
    with pytest.raises(SkinSegError, match="no file at all"):
        theirs.records()


@pytest.mark.parametrize(
    "name", ["../../evil", "head_0001/../../x", "head_0001\n", "head_\uff11\uff12\uff13\uff14x"]
)
def test_a_record_cannot_name_a_path(theirs: CaseFolder, name: str) -> None:
    path = theirs.folder / "records" / "head_0001.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "name": name}), encoding="utf-8")
    with pytest.raises(SkinSegError, match="not usable"):
        theirs.records()


def test_damage_as_deep_as_it_likes_is_told_of(theirs: CaseFolder) -> None:
    path = theirs.folder / "records" / "head_0001.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(SkinSegError, match="damaged"):
        theirs.records()


# Batches


def test_a_batch_whose_private_folder_is_a_link_is_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    (mine / "run-of-mine").mkdir(parents=True)
    output = tmp_path / "out"
    output.mkdir()
    (output / ".skinseg-batch").symlink_to(mine)
    with pytest.raises(OutputError, match="is a link"):
        Ledger.of(output)
    with pytest.raises(OutputError, match="is a link"), locked(output):
        pass
    assert [path.name for path in mine.iterdir()] == ["run-of-mine"]


@pytest.mark.parametrize(
    "content",
    [
        {"key": "no key", "cases": {}},
        {"key": "00", "cases": {"a": 1, "b": 1}},
        {"key": "00", "cases": {"a": -1}},
        {"key": "00", "cases": ["a"]},
        {"key": 5, "cases": {}},
    ],
)
def test_a_ledger_that_makes_no_sense_is_refused(tmp_path: Path, content: object) -> None:
    (tmp_path / ".skinseg-batch").mkdir()
    (tmp_path / ".skinseg-batch" / "ledger.json").write_text(json.dumps(content))
    with pytest.raises(OutputError, match="damaged"):
        Ledger.of(tmp_path)


@pytest.mark.parametrize("name", ["/dev/zero", "../outside", "sub/x", "link", "pipe", ".."])
def test_a_record_has_no_other_file_read(tmp_path: Path, name: str) -> None:
    plan = planned(write_archive(tmp_path / "in", "fine"), tmp_path / "out")
    (task,) = plan.tasks
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "out" / "outside").write_text("mine")
    (work / "sub").mkdir()
    (work / "sub" / "x").write_text("theirs")
    (work / "link").symlink_to(tmp_path / "out" / "outside")
    os.mkfifo(work / "pipe")
    target = tmp_path / "out" / task.case
    put(task.result(Status.DONE, files={name: "0" * 64}), work, target)
    assert found(target) is None
    assert [t.case for t in planned(tmp_path / "in", tmp_path / "out").tasks] == [task.case]


def test_a_record_of_another_case_is_none(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    result = CaseResult("case-0002", Status.DONE, {}, "")
    put(result, tmp_path / "work", tmp_path / "case-0001")
    assert found(tmp_path / "case-0001") is None
    (tmp_path / "case-0001").rename(tmp_path / "case-0002")
    assert found(tmp_path / "case-0002") == result


# Journals of uploads

URL = "https://example.org/dicom-web"


@pytest.mark.parametrize("content", [b"no line end", b"one\ntwo", b'{"journal": 1', b"\xff\xfe\n1"])
def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis.txt"
    path.write_bytes(content)
    with pytest.raises(ServerError), opened_journal(path, URL):
        pass
    assert path.read_bytes() == content


def test_a_journal_that_is_a_link_is_not_written_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for before in (None, b""):
        if before is not None:
            mine.write_bytes(before)
        path = tmp_path / f"journal-{before}"
        path.symlink_to(mine)
        with pytest.raises(ServerError, match="is a link"), opened_journal(path, URL):
            pass
    assert mine.read_bytes() == b""


def test_a_journal_cut_short_anywhere_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, URL).add([("1.2", "a"), ("1.3", "b")])
    whole = path.read_bytes()
    second = whole.index(b"\n", whole.index(b"\n") + 1) + 1
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        known = Journal(path, URL).acknowledged
        assert ("1.3" in known) == (length == len(whole))
        assert ("1.2" in known) == (length >= second)
        assert path.read_bytes().endswith(b"\n")


# Models


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(models.FOLDER_VARIABLE, str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.mark.parametrize("key", ["name", "version"])
@pytest.mark.parametrize("text", ["ok\x1b[2Jgone", "two\nlines", "x" * 101, "\u202eevil"])
def test_names_that_could_fool_a_screen_are_refused(tmp_path: Path, key: str, text: str) -> None:
    folder = write_model(tmp_path / "model", tmp_path).folder
    content = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    (folder / METADATA).write_text(json.dumps({**content, key: text}), encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        load_bundle(folder)
    assert text not in str(raised.value)


@pytest.mark.parametrize("file", [METADATA, INFERENCE, WEIGHTS])
def test_files_too_large_or_endless_are_not_read(tmp_path: Path, file: str) -> None:
    folder = write_model(tmp_path / "model", tmp_path).folder
    path = folder / file
    path.unlink()
    with open(path, "wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(ModelError, match="too large"):
        load_bundle(folder).load_network()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ModelError, match="lacks its file"):
        load_bundle(folder).load_network()


def test_a_model_as_deep_as_it_likes_is_told_of(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", tmp_path).folder
    (folder / INFERENCE).write_text('{"a":' + "[" * 100_000)
    with pytest.raises(ModelError, match="damaged"):
        load_bundle(folder)


def test_folders_that_lead_out_of_a_model_are_not_copied(own: Path, tmp_path: Path) -> None:
    theirs = write_model(tmp_path / "theirs", tmp_path).folder
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("private")
    shutil.rmtree(theirs / "docs")
    (theirs / "docs").symlink_to(tmp_path / "mine")
    with pytest.raises(ModelError, match="leads out"):
        models.add_model(theirs)
    assert list(own.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [
        "{\"models\": [\"$__import__('os').mkdir('evil')\"]}",
        '{"models": ["../../evil"]}',
        "[" * 100_000,
    ],
)
def test_the_note_of_the_live_model_runs_nothing(
    own: Path, tmp_path: Path, text: str, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (own / live._FILE).write_text(text)
    with pytest.raises(ModelError):
        models.find_model("live")
    assert not (tmp_path / "evil").exists()


def test_an_endless_note_of_the_live_model_is_not_read(own: Path) -> None:
    with open(own / live._FILE, "wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(ModelError, match="damaged"):
        live.live_model()
    (own / live._FILE).unlink()
    (own / live._FILE).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="damaged"):
        live.live_model()


@pytest.mark.parametrize("version", ["2.5.1", "2.9.1+cpu", "1.13.0", "odd"])
def test_an_old_pytorch_reads_no_strangers_weights(
    own: Path, tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those can run code in spite of weights_only: CVE-2025-32434, CVE-2026-24747."""
    import torch

    theirs = write_model(tmp_path / "theirs", tmp_path)
    monkeypatch.setattr(torch, "__version__", version)
    for attempt in (theirs.load_network, lambda: models.add_model(theirs.folder)):
        with pytest.raises(MissingPackageError, match=r"Update it to 2\.10"):
            attempt()
    assert list(own.iterdir()) == []
    models.find_model("skin-ct-head").load_network()  # it came with us


def test_files_of_weights_are_read_in_one_place_only() -> None:
    found = {
        path.name
        for path in (LIBRARY / "SkinSegLib").rglob("*.py")
        for word in ("torch.load(", "pickle.load", "joblib", "yaml.load", "allow_pickle=True")
        if word in path.read_text(encoding="utf-8")
    }
    assert found == {"plain_weights.py"}


# Trainings and jobs


@pytest.mark.slow
def test_a_checkpoint_with_a_program_in_it_runs_nothing(
    own: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    for module in (finetune, train):
        monkeypatch.setattr(module, "DESIGNS", WITH_TINY)
    monkeypatch.setattr(finetune, "made_source", ball_source)
    mark = tmp_path / "planted"
    theirs = CaseFolder.create(tmp_path / "set")
    add_case(theirs, 1)
    add_case(theirs, 2, "test")
    model = write_model(tmp_path / "tiny", tmp_path).folder
    run = tmp_path / "run"
    run.mkdir()
    torch.save({"network": Program(mark)}, run / "checkpoint.pt")
    line = f"train --cases {theirs.folder} --from {model} -o {run} --steps 1 --resume --workers 0"
    assert cli.main(line.split()) == 1
    assert "no plain numbers" in capsys.readouterr().err
    assert not mark.exists()
    np.savez(run / "objects.npz", names=np.array([Program(mark)]))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_sources(run / "objects.npz")
    with open(run / "plain.npz", "wb") as file:
        pickle.dump(Program(mark), file)
    with pytest.raises((ValueError, OSError, pickle.UnpicklingError)):
        load_sources(run / "plain.npz")
    assert not mark.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"design": "../../evil"},
        {"design": "$__import__('os')"},
        {"folder": "/tmp"},
        {"path": "torch.nn.Linear", "args": {}},
        {"rounds": "$1"},
    ],
)
def test_the_plan_of_a_job_names_no_code_and_no_folder(changes: dict[str, object]) -> None:
    plan = {"design": "residual-2.5mm", **changes}
    with pytest.raises(SkinSegError):
        plan_from(plan)
