"""What a batch finds, how it names it, what it does again, and what it may say. No Dask here."""

from __future__ import annotations

import csv
import json
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import SimpleITK as sitk
from batch_makers import PATIENT, fake_case, planned, write_archive
from command import write_scan
from scan_makers import GRIDS, marked, write_dicom
from SkinSegLib import cli
from SkinSegLib.batch import BatchSettings, Ledger, Status, all_results, case, find_scans
from SkinSegLib.batch.ledger import PRIVATE, begin_run, end_run
from SkinSegLib.batch.plan import Plan
from SkinSegLib.batch.private import _HIDDEN, without_names
from SkinSegLib.batch.record import found
from SkinSegLib.core import ModelError, OutputError, Progress, ScanReadError, WorkerError
from SkinSegLib.segmentation import SegmentOptions


def done_here(plan: Plan, work=fake_case) -> None:
    """Carry out a plan in this process, with the computing that its files ask for."""
    run = begin_run(plan.tasks[0].output)
    for task in plan.tasks:
        work(replace(task, run=run))
    shutil.rmtree(run)


@pytest.fixture(autouse=True)
def computing_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what fake_case replaces in this process."""
    for name in ("_computed", "_warm_up"):
        monkeypatch.setattr(case, name, getattr(case, name))


def study(folder: Path, uid: str, **changes: object) -> None:
    grid = GRIDS["axial"]
    write_dicom(
        folder,
        grid,
        marked(grid),
        StudyInstanceUID=f"1.2.840.99999.1.{uid}",
        SeriesInstanceUID=f"1.2.840.99999.2.{changes.pop('series', uid)}",
        **changes,
    )


def test_every_kind_of_scan_and_one_series_of_each_study(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    study(root / "a" / "bone", "1", series="11", ConvolutionKernel="BONE")
    study(root / "b" / "soft", "1", series="12", ConvolutionKernel="STANDARD")
    study(root / "c", "2")
    study(root / "c" / "mr", "3", SOPClassUID="1.2.840.10008.5.1.4.1.1.4", Modality="MR")
    for name in ("v.nii.gz", "w.MHA", "p.inv3", "labels_label.nrrd", "m.seg.nrrd", "note.txt"):
        (root / name).write_bytes(b"no matter")
    (root / ".hidden.nrrd").write_bytes(b"no matter")
    (root / "out").mkdir()
    (root / "out" / "mask.nrrd").write_bytes(b"no matter")
    (root / "around").symlink_to(root)
    slices = sorted((root / "c").glob("IM*"))
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        archive.write(slices[0], "x.dcm")
    with zipfile.ZipFile(root / "notes.zip", "w") as archive:
        archive.write(root / "note.txt", "note.txt")

    archive = find_scans(root, root / "out", ["*_label.nrrd"])
    kinds = [scan.kind for scan in archive.scans]
    assert kinds == [
        *("InVesalius project", "NIfTI", "MetaImage", "DICOM zip", "DICOM series", "DICOM series")
    ]
    first, second = archive.scans[-2:]
    assert {path.parent.name for path in first.files} == {"soft"}
    assert first.series == "1.2.840.99999.2.12"
    assert first.about.startswith("the best of 2 CT series of its study (original slices")
    assert (second.about, list(second.files)) == ("", slices)
    assert archive.left_out["files excluded"] == 1
    assert archive.left_out["segmentations and zips without DICOM"] == 2
    assert sum(n for kind, n in archive.left_out.items() if kind.startswith("DICOM objects")) > 0
    assert PATIENT not in repr(archive)
    assert str(tmp_path) not in repr(archive)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ScanReadError, match="skinseg segment"):
        find_scans(tmp_path / "nothing")


def test_names_stay_when_scans_are_added(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "a", "fine", "fine")
    output = tmp_path / "out"
    before = {task.files: task.case for task in planned(source, output).tasks}
    assert sorted(before.values()) == ["case-0001", "case-0002"]
    (source / "00_AAA").mkdir()
    (source / "00_AAA" / "first.nrrd").write_text("fine")
    after = {task.files: task.case for task in planned(source, output).tasks}
    assert {files: after[files] for files in before} == before
    assert set(after.values()) - set(before.values()) == {"case-0003"}
    ledger = output / PRIVATE / "ledger.json"
    assert stat.S_IMODE(ledger.stat().st_mode) == 0o600
    assert PATIENT not in ledger.read_text()


def test_done_again_only_when_something_changed(tmp_path: Path) -> None:
    source, output = write_archive(tmp_path / "a", "fine", "fine", "bad"), tmp_path / "out"
    plan = planned(source, output)
    done_here(plan)
    assert [found(output / task.case).status for task in plan.tasks] == ["done", "done", "failed"]
    again = planned(source, output)
    assert (len(again.tasks), len(again.before)) == (0, 3)
    assert [t.case for t in planned(source, output, retry_failed=True).tasks] == ["case-0003"]
    assert len(planned(source, output, stl=True).tasks) == 3

    (output / "case-0001" / "mask.nrrd").write_text("damaged")
    assert [task.case for task in planned(source, output).tasks] == ["case-0001"]
    done_here(planned(source, output))
    scan = min(source.rglob("*.nrrd"))
    scan.write_text("fine ")  # another size
    assert [task.case for task in planned(source, output).tasks] == ["case-0001"]
    done_here(planned(source, output))
    record = output / "case-0002" / "case.json"
    record.write_text(record.read_text()[:-20])
    assert [task.case for task in planned(source, output).tasks] == ["case-0002"]


def test_what_decides_results_is_in_the_settings() -> None:
    base = BatchSettings.settled(SegmentOptions(engine="threshold"))
    wanted = base.wanted()
    same = BatchSettings.settled(SegmentOptions(engine="threshold", device="cpu", workers=7))
    assert same.wanted() == wanted
    other = BatchSettings.settled(SegmentOptions(engine="threshold", level_hu=-300.0))
    assert other.wanted() != wanted
    assert base.segment.workers == 1
    assert wanted["skinseg"]
    network = BatchSettings.settled(SegmentOptions())
    assert (network.segment.engine, network.segment.model) == ("network", "skin-ct-head")
    assert len(network.wanted()["model"]["sha256"]) == 64


def test_a_failed_case_has_nothing_of_the_former_one(tmp_path: Path) -> None:
    source, output = write_archive(tmp_path / "a", "fine"), tmp_path / "out"
    done_here(planned(source, output))
    next(source.rglob("*.nrrd")).write_text("bad")
    done_here(planned(source, output))
    assert [path.name for path in (output / "case-0001").iterdir()] == ["case.json"]


@pytest.mark.parametrize("stl", [False, True])
def test_a_real_case(tmp_path: Path, stl: bool) -> None:
    source = tmp_path / "a"
    source.mkdir()
    scan = write_scan(source / f"{PATIENT}.nrrd")
    output = tmp_path / "out"
    done_here(planned(source, output, stl=stl), case.run_case)
    result = found(output / "case-0001")
    assert result.status is Status.DONE, result.error
    names = ["mask.nrrd", "report.json", "skin.stl"] if stl else ["mask.nrrd"]
    assert sorted(result.files) == names
    assert sorted(path.name for path in (output / "case-0001").iterdir()) == ["case.json", *names]
    image = sitk.ReadImage(str(output / "case-0001" / "mask.nrrd"))
    assert image.GetSize() == sitk.ReadImage(str(scan)).GetSize()
    counted = sitk.GetArrayFromImage(image).sum() * 27 / 1000
    assert result.volume_ml == pytest.approx(counted, rel=0.01 if stl else 1e-6)
    assert result.seconds > 0
    assert result.report["engine"] == "threshold"
    assert result.findings


def test_a_study_in_two_folders_is_read_as_one(tmp_path: Path) -> None:
    """The worker reads the files that were chosen, wherever they lie."""
    root = tmp_path / "archive"
    study(root / "one", "1")
    (root / "two").mkdir()
    moved = sorted((root / "one").glob("IM*"))[::2]
    assert len(moved) == 3
    for path in moved:
        path.rename(root / "two" / path.name)
    (task,) = planned(root, tmp_path / "out").tasks
    assert len(task.files) == GRIDS["axial"].shape[0]
    volume = case._load(task)(Progress())
    assert volume.voxels.shape == GRIDS["axial"].shape


def test_a_case_that_this_run_has_settled_is_not_done_again(tmp_path: Path) -> None:
    """Dask asks again where the worker was lost before its answer was fetched."""
    plan = planned(write_archive(tmp_path / "a", "fine", "bad"), tmp_path / "out")
    run = begin_run(tmp_path / "out")
    tasks = [replace(task, run=run) for task in plan.tasks]
    first = [fake_case(task) for task in tasks]
    assert [result.status for result in first] == [Status.DONE, Status.FAILED]
    written = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("case-*/*")}
    assert [fake_case(task) for task in tasks] == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("case-*/*")} == written
    end_run(run)
    other = replace(tasks[0], run=begin_run(tmp_path / "out"))
    assert fake_case(other).status is Status.DONE
    assert (tmp_path / "out" / "case-0001" / "mask.nrrd").stat().st_mtime_ns not in written.values()


def test_a_case_of_a_run_that_is_over(tmp_path: Path) -> None:
    """As a worker of a cluster meets it when whoever sent it has gone."""
    source, output = write_archive(tmp_path / "a", "fine", "sleep"), tmp_path / "out"
    plan = planned(source, output)
    run = begin_run(output)
    end_run(run)
    results = [fake_case(replace(task, run=run)) for task in plan.tasks]
    assert [result.status for result in results] == [Status.WAITING] * 2
    assert not (output / "case-0001").exists()


def test_a_result_that_was_not_told_of_counts(tmp_path: Path) -> None:
    plan = planned(write_archive(tmp_path / "a", "fine", "bad", "fine"), tmp_path / "out")
    done_here(replace(plan, tasks=plan.tasks[:2]))
    statuses = [result.status for result in all_results(plan, [])]
    assert statuses == [Status.DONE, Status.WAITING, Status.WAITING]


def test_a_worker_with_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = planned(write_archive(tmp_path / "a", "fine"), tmp_path / "out").tasks
    monkeypatch.setattr(case, "__version__", "0.0.1")
    with pytest.raises(WorkerError, match=r"runs SkinSeg 0\.0\.1"):
        fake_case(replace(task, run=begin_run(tmp_path / "out")))


def test_a_worker_with_another_model(tmp_path: Path) -> None:
    (task,) = planned(write_archive(tmp_path / "a", "fine"), tmp_path / "out").tasks
    settings = BatchSettings.settled(SegmentOptions(engine="network"))
    case._check_worker(replace(task, settings=settings))
    other = replace(settings, model={**settings.model, "sha256": "0" * 64})
    with pytest.raises(ModelError, match="another model"):
        case._check_worker(replace(task, settings=other))


def test_messages_name_no_file(tmp_path: Path) -> None:
    root = tmp_path / "root"
    path = root / "Smith_John" / "ct-2021.nrrd"

    def said(text: str) -> str:
        return without_names(text, [path], root)

    assert said(f"{path}: no patient is in it.") == "The scan: no patient is in it."
    assert said(f"Nothing in {path.parent}. Look.") == "Nothing in the scan. Look."
    for text in (
        "Smith_John is too small",
        "the name SMITH is long",
        "ct-2021.nrrd is damaged",
        f"{path.parent / 'other.raw'} is missing",
        f"{root} is gone",
        "taken in 2021",
    ):
        assert said(text) == _HIDDEN
    assert said("the head is cut.") == "The head is cut."


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "case-0001").mkdir()
    with pytest.raises(OutputError, match="not empty"):
        Ledger.of(tmp_path)


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = write_archive(tmp_path / "a", "fine", "bad"), tmp_path / "out"
    arguments = ["batch", str(source), "-o", str(output), "--engine", "threshold", "--dry-run"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert "2 cases: 0 done, 0 failed, 2 to do" in said.out
    assert PATIENT not in said.out + said.err
    assert not output.exists()


def test_map_is_for_its_owner(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = write_archive(tmp_path / "a", "fine", "bad"), tmp_path / "out"
    table = tmp_path / "map.csv"
    arguments = ["batch", str(source), "-o", str(output), "--engine", "threshold", "--dry-run"]
    assert cli.main([*arguments, "--map", str(table)]) == 0
    assert "never share it" in capsys.readouterr().err
    assert stat.S_IMODE(table.stat().st_mode) == 0o600
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "case": "case-0001",
        "source": f"00_{PATIENT}/{PATIENT}.nrrd",
        "series": "",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--scheduler", "tcp://127.0.0.1:9", "--workers", "2"], "the cluster decides"),
        (["--exclude", "*"], "There is no scan"),
    ],
)
def test_what_makes_no_sense(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_archive(tmp_path / "a", "fine")
    command = ["batch", str(source), "-o", str(tmp_path / "out"), "--engine", "threshold"]
    assert cli.main([*command, *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--memory", "much"]])
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["batch", str(tmp_path), "-o", str(tmp_path / "out"), *arguments])
    assert ended.value.code == 2


def test_summary_of_what_was_done_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing left to do no worker is started, and failures make the exit code 1."""
    source, output = write_archive(tmp_path / "a", "fine", "bad"), tmp_path / "out"
    done_here(planned(source, output))
    arguments = ["batch", str(source), "-o", str(output), "--engine", "threshold"]
    assert cli.main(arguments) == 1
    assert "--retry-failed" in capsys.readouterr().out
    with open(output / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["done", "failed"]
    assert rows[0]["volume_ml"] == "1234.5"
    assert rows[0]["findings"] == "thick slices"
    content = json.loads((output / "summary.json").read_text())
    assert content["counts"] == {"done": 1, "failed": 1}
    assert PATIENT not in json.dumps(content)
