"""The worker: its protocol, its life, and what happens when it dies, hangs or talks nonsense."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command import LIBRARY
from hypothesis import given
from hypothesis import strategies as st
from marks import slow
from mrml_makers import small_scan
from SkinSegLib.core import (
    Cancelled,
    FindingKind,
    OutputError,
    Progress,
    ScanReadError,
    SegmentationError,
    SkinSegError,
    WorkerError,
)
from SkinSegLib.pipeline import JobOptions, compute
from SkinSegLib.segmentation import SegmentOptions
from SkinSegLib.worker import (
    Exchange,
    SubprocessTransport,
    Task,
    Worker,
    command_line,
    exchange,
    remove_leftovers,
    run,
)
from SkinSegLib.worker.messages import ScanMessage, get_result
from SkinSegLib.worker.protocol import Decoder, ProtocolError, encode, error_from

THRESHOLD = JobOptions(SegmentOptions(engine="threshold"))


def fake(code: str, **limits: float) -> Worker:
    """A worker whose child is a few lines of Python instead."""
    return Worker(lambda: SubprocessTransport([sys.executable, "-c", code]), **limits)


HELLO = 'import sys, os, time; print(\'{"kind": "hello", "pid": %d}\' % os.getpid(), flush=True)\n'


def gone(pid: int, within_s: float = 3.0) -> bool:
    """Whether the process ends in time; one that is only waited for has ended."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def segment(worker: Worker, scan, progress: Progress | None = None, options=THRESHOLD):
    with Exchange(3 * scan.voxels.nbytes) as place:
        arguments = {
            "scan": dataclasses.asdict(ScanMessage.of(scan, place.folder)),
            "options": dataclasses.asdict(options),
            "folder": str(place.folder),
        }
        return get_result(run(worker, "segment", arguments, progress), place.folder)


@pytest.fixture(scope="module")
def worker():
    made = Worker(SubprocessTransport)
    yield made
    made.close()


# Protocol


@pytest.mark.slow
@given(st.lists(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False))), st.data())
def test_messages_come_through_whole_however_they_are_cut(contents, data):
    stream = b"".join(encode("some", content=content) for content in contents)
    decoder, found = Decoder(), []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert [message["content"] for message in found] == contents


@given(st.binary())
def test_no_bytes_do_more_than_being_refused(data):
    try:
        messages = Decoder().feed(data + b"\n")
    except ProtocolError:
        return
    assert all(isinstance(message["kind"], str) for message in messages)


def test_a_line_without_end_is_refused():
    decoder = Decoder()
    with pytest.raises(ProtocolError):
        for _ in range(10):
            decoder.feed(b"x" * (1 << 20))


def test_errors_keep_their_class_and_only_ours_keep_their_words():
    error = error_from({"error": "ScanReadError", "message": "Too small."})
    assert type(error) is ScanReadError
    assert str(error) == "Too small."
    for name in ("KeyError", "Progress", "os", None):
        error = error_from({"error": name, "message": "Doe^Jane"})
        assert type(error) is WorkerError
        assert "Doe" not in str(error)


# Work


def test_the_result_is_the_one_computed_here(worker):
    scan = small_scan()
    here, there = compute(scan, THRESHOLD), segment(worker, scan)
    np.testing.assert_array_equal(here.mask.voxels, there.mask.voxels)
    np.testing.assert_array_equal(here.layer_voxels, there.layer_voxels)
    for ours, theirs in ((here.head, there.head), (here.layer, there.layer)):
        np.testing.assert_array_equal(ours.points, theirs.points)
        np.testing.assert_array_equal(ours.triangles, theirs.triangles)
        np.testing.assert_array_equal(ours.is_cut, theirs.is_cut)
        assert ours.closed == theirs.closed
        assert ours.processing == theirs.processing
    assert here.mask.findings == there.mask.findings
    assert {finding.kind for finding in there.mask.findings} <= set(FindingKind)
    assert here.mask.level_hu == there.mask.level_hu
    assert here.mask.cut_faces == there.mask.cut_faces


def test_progress_comes_through_and_goes_forward(worker):
    told = []
    segment(worker, small_scan(), Progress(lambda stage, fraction: told.append(fraction)))
    assert told == sorted(told)
    assert told[0] == 0
    assert told[-1] == pytest.approx(1)


def test_errors_come_through_with_their_words(worker):
    empty = dataclasses.replace(small_scan(), voxels=np.full((30, 30, 30), -1000, np.int16))
    with pytest.raises(SegmentationError):
        segment(worker, empty)
    with Exchange() as place, pytest.raises(WorkerError, match="does not know"):
        scan = dataclasses.asdict(ScanMessage.of(small_scan(), place.folder))
        run(worker, "segment", {"scan": scan, "options": {"no": 1}, "folder": ""})
    with pytest.raises(WorkerError, match="The log has the details"):
        run(worker, "there is no such task", {})
    assert segment(worker, small_scan()).head.closed


@pytest.mark.slow
def test_one_process_does_many_tasks(worker):
    before = worker.generation
    segment(worker, small_scan())
    pid = worker.pid
    segment(worker, small_scan())
    assert worker.pid == pid
    assert worker.generation == max(before, 1)


def test_a_second_task_is_refused_while_one_runs(worker):
    with Exchange() as place:
        message = dataclasses.asdict(ScanMessage.of(small_scan(), place.folder))
        ended = []
        task = Task(
            "segment",
            {
                "scan": message,
                "options": dataclasses.asdict(THRESHOLD),
                "folder": str(place.folder),
            },
            *[ended.append] * 3,
        )
        worker.run(task)
        with pytest.raises(WorkerError, match="already"):
            worker.run(task)
        while not ended:
            worker.transport.pump()
            worker.tick()


def test_too_little_memory_is_said(monkeypatch, capfdbinary):
    import io

    from SkinSegLib.worker.child import Child

    def greedy(arguments, progress):
        raise MemoryError

    out = io.BytesIO()
    Child(io.BytesIO(), out, os.getpid())._do({"greedy": greedy}, "greedy", {})
    (message,) = Decoder().feed(out.getvalue())
    assert isinstance(error_from(message), WorkerError)
    assert "not enough memory" in str(error_from(message))


# Cancelling


@pytest.mark.parametrize("after_s", [0.1, *slow([0.0, 0.3, 0.6])])
def test_cancelled_at_once_and_the_next_run_works(worker, after_s):
    segment(worker, small_scan())  # warm
    begun = time.monotonic()
    asked: list[float] = []

    def is_cancelled():
        if time.monotonic() - begun < after_s:
            return False
        asked.append(time.monotonic())
        return True

    with pytest.raises(Cancelled):
        segment(worker, big_scan(), Progress(is_cancelled=is_cancelled))
    assert time.monotonic() - asked[0] < 2.0  # 0.5 where nothing else runs
    assert segment(worker, small_scan()).head.closed


def big_scan():
    scan = small_scan()
    voxels = np.repeat(np.repeat(np.repeat(scan.voxels, 4, 0), 4, 1), 4, 2)
    matrix = scan.ijk_to_ras @ np.diag([0.25, 0.25, 0.25, 1])
    return dataclasses.replace(scan, voxels=voxels, ijk_to_ras=matrix)


def test_a_child_that_does_not_listen_is_ended():
    worker = fake(HELLO + "time.sleep(60)")
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        run(worker, "any", {}, Progress(is_cancelled=lambda: worker.is_ready))
    assert time.monotonic() - begun < 20
    assert worker.is_running  # another one is warming up
    assert worker.generation == 2
    worker.close()


# Dying, hanging, talking nonsense


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (HELLO + "sys.exit(7)", "exit code 7"),
        (HELLO + "os.kill(os.getpid(), 9)", "SIGKILL"),
        (HELLO + "os.abort()", "SIGABRT"),
        (HELLO + "os.write(1, b'\\xff\\xfe\\x00 caf\\xe9\\n'); time.sleep(60)", "not understood"),
        (HELLO + "os.write(1, b'[1, 2]\\n'); time.sleep(60)", "not understood"),
        (HELLO + "os.write(1, b'x' * (5 << 20)); time.sleep(60)", "not understood"),
        (HELLO + "time.sleep(60)", "no sign of life"),
        ("import time; time.sleep(60)", "no sign of life"),
        ("this is no Python", "exit code 1"),
    ],
)
def test_what_goes_wrong_is_said_and_the_child_is_gone(code, said):
    worker = fake(code, silence_s=1.0, start_s=1.5)
    with pytest.raises(WorkerError, match=said) as caught:
        run(worker, "any", {})
    assert "Nothing was changed" in str(caught.value)
    assert not worker.is_running
    assert not worker.is_busy


def test_a_program_that_is_not_there_is_said():
    worker = Worker(lambda: SubprocessTransport(["/there/is/no/python"]))
    with pytest.raises(WorkerError, match="cannot be started"):
        run(worker, "any", {})
    assert not worker.is_running
    assert not worker.is_busy


def test_complaints_in_any_encoding_do_no_harm():
    code = HELLO + (
        "os.write(2, b'caf\\xe9 \\xff\\n' * 2000);"
        'sys.stdin.readline(); print(\'{"kind": "done", "result": {"a": 1}}\', flush=True);'
        "time.sleep(60)"
    )
    worker = fake(code)
    assert run(worker, "any", {}) == {"a": 1}
    assert len(worker.complaints().splitlines()) <= 40
    worker.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, *slow([signal.SIGSTOP, signal.SIGSEGV])])
def test_a_worker_killed_in_the_middle_fails_its_run_and_the_next_one_works(how):
    worker = Worker(SubprocessTransport, silence_s=2.5)
    hit: list[int] = []

    def strike(stage, fraction):
        if not hit:
            hit.append(worker.pid)
            os.kill(worker.pid, how)

    with pytest.raises(WorkerError, match="Nothing was changed"):
        segment(worker, big_scan(), Progress(strike))
    assert gone(hit[0])
    assert segment(worker, small_scan()).head.closed
    worker.close()


# Nothing is left behind


def test_closing_ends_the_child_and_its_task():
    worker = Worker(SubprocessTransport)
    ended = []
    worker.run(Task("warm", {}, ended.append, ended.append, ended.append))
    while not worker.is_ready:
        worker.transport.pump()
    pid = worker.pid
    worker.close()
    assert isinstance(ended[0], Cancelled)
    assert gone(pid)


OWNER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from SkinSegLib.worker import Exchange, SubprocessTransport, Worker
worker, place = Worker(SubprocessTransport), Exchange()
worker.start()
while not worker.is_ready:
    worker.transport.pump()
print(worker.pid, place.folder, flush=True)
time.sleep(60)
"""


def test_a_killed_owner_leaves_neither_child_nor_scan():
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(LIBRARY)], stdout=subprocess.PIPE, text=True
    )
    pid, folder = owner.stdout.readline().split()
    assert Path(folder).is_dir()
    owner.kill()
    owner.wait()
    assert gone(int(pid))
    remove_leftovers()  # as every new worker does
    assert not Path(folder).exists()


def test_a_living_owner_keeps_its_folders():
    with Exchange() as place:
        remove_leftovers()
        assert place.folder.is_dir()
        assert place.folder.stat().st_mode & 0o077 == 0
    assert not place.folder.exists()


def test_a_child_says_nothing_but_messages_and_outlives_no_closed_pipe():
    child = subprocess.Popen(command_line(), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    message = json.loads(child.stdout.readline())
    assert message == {"kind": "hello", "pid": child.pid}
    child.stdin.close()
    assert child.wait(timeout=20) == 0
    child.stdout.close()


# Arrays


def test_voxels_are_handed_over_slab_by_slab(monkeypatch):
    monkeypatch.setattr(exchange, "_SLAB_BYTES", 1000)
    voxels = np.arange(20 * 11 * 7, dtype=np.uint16).reshape(20, 11, 7)
    with Exchange(voxels.nbytes) as place:
        steps = list(place.put_slowly("scan", voxels))
        assert len(steps) > 3
        assert steps[-1][0] == 1
        np.testing.assert_array_equal(np.concatenate([slab for _, slab in steps]), voxels)
        np.testing.assert_array_equal(exchange.get(place.folder, "scan"), voxels)
        assert not list(place.folder.iterdir())


def test_a_full_disk_is_said(monkeypatch):
    full = type("Usage", (), {"free": 0})
    monkeypatch.setattr(exchange.shutil, "disk_usage", lambda _: full)
    with Exchange() as place, pytest.raises(OutputError, match="no room"):
        exchange.put(place.folder, "scan", np.zeros(10))


def test_pickled_objects_are_refused(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(WorkerError, match="not whole"):
        exchange.get(tmp_path, "evil")


def test_a_result_that_is_not_whole_is_an_error(tmp_path):
    with pytest.raises(SkinSegError, match="not come back whole"):
        get_result({"mask": {}}, tmp_path)
