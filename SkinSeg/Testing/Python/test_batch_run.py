"""Batches in real Dask workers: failures, lost workers, stopping, going on, and a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from batch_makers import PATIENT, fake_case, planned, unfit_case, write_archive
from command import LIBRARY, write_scan
from SkinSegLib.batch import CaseResult, Plan, Status, Where, all_results, locked, run_plan
from SkinSegLib.batch.ledger import PRIVATE
from SkinSegLib.batch.record import found
from SkinSegLib.core import Cancelled, OutputError, Progress, WorkerError

pytest.importorskip("distributed")

TWO = Where(workers=2, memory="700MB")


def carried_out(
    plan: Plan, output: Path, where: Where = TWO, stop: Callable[[], bool] = lambda: False
) -> list[CaseResult]:
    """The results of all cases; ``stop``: asked all the time whether to cancel."""
    finished: list[CaseResult] = []
    with locked(output):
        try:
            progress = Progress(is_cancelled=stop)
            run_plan(
                plan, output, where, progress, lambda *told: finished.append(told[0]), fake_case
            )
        except Cancelled:
            assert stop()
    return all_results(plan, finished)


def asleep(output: Path) -> list[int]:
    """The processes that say they are in a case that sleeps."""
    return [int(p.name.split("-")[-1]) for p in (output / PRIVATE).glob("run-*/asleep-*")]


@pytest.mark.slow
def test_one_case_is_all_that_a_failure_costs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    contents = ("kill", "fine", "hog once", "bad", "oops", "fine")
    source, output = write_archive(tmp_path / PATIENT, *contents), tmp_path / "out"
    results = carried_out(planned(source, output), output)
    done = {number for number, word in enumerate(contents) if word in ("fine", "hog once")}
    assert {n for n, r in enumerate(results) if r.status is Status.DONE} == done
    assert all(result.status is not Status.WAITING for result in results)
    assert [result.attempt for result in results] == [2, 1, 2, 1, 1, 1]
    assert (output / "case-0003" / "mask.nrrd").read_text() == "mask of attempt 2"
    assert "ended twice" in results[0].error
    assert "--memory" in results[0].error
    # Ctrl-C is for the process that the user sees, not for workers, also those that came later.
    assert all(results[number].report["deaf"] for number in done)
    assert results[3].error == "The scan: no patient is in it. Choose another scan."
    assert results[4].error == "SkinSeg failed unexpectedly (RuntimeError)."
    assert "batch_makers.py" in results[4].where
    assert [found(output / r.case) for r in results] == results
    assert not list((output / PRIVATE).glob("run-*"))
    told = capfd.readouterr()
    written = "".join(p.read_text(errors="replace") for p in output.rglob("*") if p.is_file())
    assert PATIENT.lower() not in f"{told.out}{told.err}{written}".lower()

    again = planned(source, output)  # failed ones stay failed until they are asked for
    assert not again.tasks
    again = planned(source, output, retry_failed=True)
    assert [task.case for task in again.tasks] == [f"case-{n:04d}" for n in (1, 4, 5)]


def test_an_answer_that_goes_with_its_worker_is_waited_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask says "lost" of a task that was finished when its worker is killed by the next one."""
    import distributed
    from SkinSegLib.batch.cluster import outcomes

    class Future:
        def __init__(self) -> None:
            self.seen = ["lost", "pending", "finished", "finished"]

        @property
        def status(self) -> str:
            return self.seen[0]

        def result(self) -> str:
            return "an answer"

    class Client:
        status = "closed"

        def nthreads(self) -> dict[str, int]:
            return {"a": 1}

        def submit(self, *_: object, **__: object) -> Future:
            return Future()

    def wait(futures: list[Future], **_: object) -> SimpleNamespace:
        for future in futures:
            future.seen.pop(0) if len(future.seen) > 1 and asked else asked.append(future)
        return SimpleNamespace(done=set(futures))

    asked: list[Future] = []
    monkeypatch.setattr(distributed, "wait", wait)
    tasks = planned(write_archive(tmp_path / "a", "fine", "fine"), tmp_path / "out").tasks
    found = list(outcomes(Client(), fake_case, tasks, "x", Progress()))
    assert [(task.case, result) for task, result in found] == [
        ("case-0001", "an answer"),
        ("case-0002", "an answer"),
    ]


@pytest.mark.slow
def test_cancelled_and_gone_on_with(tmp_path: Path) -> None:
    source = write_archive(tmp_path / "a", "fine", "sleep", "sleep", "fine")
    output = tmp_path / "out"
    stopped: list[float] = []

    def stop() -> bool:
        if len(asleep(output)) == 2 and not stopped:
            stopped.append(time.monotonic())
        return bool(stopped)

    results = carried_out(planned(source, output), output, stop=stop)
    assert time.monotonic() - stopped[0] < 20
    assert [r.status for r in results] == [Status.DONE, *[Status.WAITING] * 3]
    first = output / "case-0001" / "mask.nrrd"
    assert sorted(p.name for p in output.iterdir()) == [PRIVATE, "case-0001"]
    assert not list((output / PRIVATE).glob("run-*"))

    written = first.stat().st_mtime_ns
    for path in source.rglob("*.nrrd"):
        if path.read_text() == "sleep":
            path.write_text("fine")
    plan = planned(source, output)
    assert [task.case for task in plan.tasks] == ["case-0002", "case-0003", "case-0004"]
    results = carried_out(plan, output)
    assert {result.status for result in results} == {Status.DONE}
    assert first.stat().st_mtime_ns == written


def test_workers_that_are_not_fit_get_no_more_cases(tmp_path: Path) -> None:
    """Else one of them would fail the whole archive in no time."""
    source, output = write_archive(tmp_path / "a", "fine", "fine", "fine"), tmp_path / "out"
    plan = planned(source, output)
    with locked(output), pytest.raises(WorkerError, match="cannot run SkinSeg"):
        run_plan(plan, output, Where(workers=1), Progress(), lambda *told: None, unfit_case)
    assert len(planned(source, output).tasks) == 3


def test_only_one_run_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(OutputError, match="Another run"), locked(tmp_path):
        pass


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler of its own and its two workers, as on a cluster."""
    folder = tmp_path / "dask"
    folder.mkdir()
    places = f"{LIBRARY}{os.pathsep}{Path(__file__).parent}"
    options = {
        "cwd": folder,
        "env": {**os.environ, "PYTHONPATH": places},
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    file = folder / "scheduler.json"
    command += ["--no-dashboard", "--scheduler-file", str(file)]
    started = [subprocess.Popen(command, **options)]
    command = [sys.executable, "-m", "dask", "worker", "--scheduler-file", str(file)]
    command += ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
    started += [subprocess.Popen(command, **options) for _ in range(2)]
    try:
        for _ in range(300):
            if file.is_file() and file.stat().st_size:
                break
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def test_a_cluster_that_loses_a_worker(
    tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    """The same call, on workers that were there before and that nothing replaces."""
    address, workers = cluster
    source = write_archive(tmp_path / "a", "sleep", "fine", "fine", "fine")
    output = tmp_path / "out"
    killed: list[int] = []

    def kill_the_sleeper() -> bool:
        for number in asleep(output):
            if not killed:
                min(source.rglob("*.nrrd")).write_text("fine")
                os.kill(number, signal.SIGKILL)
                killed.append(number)
        return False

    plan = planned(source, output)
    results = carried_out(plan, output, Where(scheduler=address), kill_the_sleeper)
    assert killed[0] in [worker.pid for worker in workers]
    assert [r.status for r in results] == [Status.DONE] * 4
    assert [r.attempt for r in results] == [2, 1, 1, 1]
    left = next(worker for worker in workers if worker.pid not in killed)
    assert left.poll() is None  # a cluster is not ours to end


def test_no_scheduler_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SkinSegLib.batch.cluster._CONNECT_S", 0.5)
    source, output = write_archive(tmp_path / "a", "fine"), tmp_path / "out"
    with pytest.raises(WorkerError, match="No Dask scheduler answers"):
        carried_out(planned(source, output), output, Where(scheduler="tcp://127.0.0.1:9"))
    assert not list((output / PRIVATE).glob("run-*"))


@pytest.mark.slow
def test_ctrl_c_in_a_terminal(tmp_path: Path) -> None:
    """SIGINT to all processes, as a terminal sends it: what is finished stays, and it goes on."""
    source = tmp_path / "scans"
    source.mkdir()
    for name in ("a.nrrd", "b.nrrd"):
        write_scan(source / name)
    code = (
        f"import sys, signal; sys.path.insert(0, {str(LIBRARY)!r});"
        "signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from SkinSegLib.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", code, "batch", str(source), "-o", str(tmp_path / "out")]
    command += ["--workers", "1", "--engine", "threshold"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("[1/2]"):
            os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 1
    assert "Cancelled. Finished cases stay" in said[-1]
    assert "Traceback" not in "".join(said)
    out = tmp_path / "out"
    assert (out / "summary.csv").read_text().count("not done") == 1
    assert not list((out / PRIVATE).glob("run-*"))
    plan = planned(source, out)
    assert [result.case for result in plan.before] == ["case-0001"]
    assert [task.case for task in plan.tasks] == ["case-0002"]
