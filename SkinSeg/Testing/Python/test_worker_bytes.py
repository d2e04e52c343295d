"""Random bytes and messages that make no sense, on both sides of the worker: no hang, no code run,
no foreign process ended, bounded memory. ``SKINSEG_EXAMPLES=200`` looks that many times as far."""

from __future__ import annotations

import errno
import io
import json
import os
import resource
import subprocess
import threading
import time
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from SkinSegLib.core import Cancelled, OutputError, Progress, SkinSegError, WorkerError
from SkinSegLib.worker import (
    Exchange,
    Task,
    Worker,
    child,
    client,
    command_line,
    exchange,
    run,
)
from SkinSegLib.worker.messages import get_result, scan_from
from SkinSegLib.worker.protocol import LONGEST_BYTES, Decoder, ProtocolError, encode
from SkinSegLib.worker.tasks import TASKS
from test_properties import examples
from test_worker import HELLO, fake

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
#: What a child says, with anything at all in place of what it should say.
SAID = st.builds(
    lambda kind, content: json.dumps({**content, "kind": kind}).encode() + b"\n",
    st.sampled_from(["hello", "alive", "progress", "done", "cancelled", "failed", "run", "else"]),
    st.dictionaries(
        st.sampled_from(["pid", "stage", "fraction", "result", "error", "message", "trace"]),
        VALUES | st.sampled_from([0, 1, -1, 0.5, 2**70, "SkinSegError", "os", {}]),
    ),
)
BYTES = st.lists(st.binary(max_size=60) | SAID, max_size=8).map(b"".join)


class Nothing:
    """A transport without a child."""

    def __init__(self) -> None:
        self.killed = False

    def start(self, owner: Worker) -> None:
        pass

    def send(self, data: bytes) -> None:
        pass

    def kill(self) -> None:
        self.killed = True


# The owner's side


@examples(150)
@given(BYTES, st.integers(1, 50), st.booleans())
def test_whatever_a_child_says_ends_in_one_outcome_or_none(data, size, cancelled):
    ended, killed = [], []
    patch = pytest.MonkeyPatch()
    patch.setattr(client.os, "kill", lambda pid, how: killed.append(pid))
    try:
        worker = Worker(Nothing)
        told: list[float] = []
        task = Task("any", {}, *[ended.append] * 3, progress=lambda stage, f: told.append(f))
        worker.run(task)
        if cancelled:
            worker.cancel()
        while data and worker.is_running:
            worker.heard(data[:size])
            data = data[size:]
        worker.close()
    finally:
        patch.undo()
    assert len(ended) == 1
    assert isinstance(ended[0], dict | SkinSegError | Cancelled)
    assert all(0 <= fraction <= 1 for fraction in told)
    assert all(type(pid) is int and 1 < pid < 2**31 for pid in killed)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "hello", "pid": "12"},
        {"kind": "hello", "pid": 1},
        {"kind": "hello", "pid": -1},
        {"kind": "hello"},
        {"kind": "progress", "stage": "Read", "fraction": "half"},
        {"kind": "progress", "stage": "Read", "fraction": float("nan")},
        {"kind": "progress", "stage": None, "fraction": 0.5},
        {"kind": "done", "result": 5},
        {"kind": "done"},
    ],
)
def test_a_message_without_its_content_is_not_understood(message):
    line = json.dumps(message)
    code = HELLO + f"print({line!r}, flush=True); time.sleep(60)"
    worker = fake(code)
    with pytest.raises(WorkerError, match="not understood"):
        run(worker, "any", {})
    assert not worker.is_running


@pytest.mark.slow
@pytest.mark.parametrize("stream", [1, 2])
def test_a_child_that_never_stops_talking_can_be_cancelled(stream):
    """It is heard in turns, and waits when it is faster."""
    line = b'{"kind": "alive"}\n' * 3000
    worker = fake(HELLO + f"\nline = {line[:18]!r} * 3000\nwhile True: os.write({stream}, line)")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun: list[float] = []

    def enough() -> bool:
        if worker.is_ready and not begun:
            begun.append(time.monotonic())
        return bool(begun) and time.monotonic() - begun[0] > 0.5

    with pytest.raises(Cancelled):
        run(worker, "any", {}, Progress(is_cancelled=enough))
    assert time.monotonic() - begun[0] < 10
    worker.close()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 100


@examples(40)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=6), st.integers(1, 1 << 18))
def test_no_stream_is_kept_beyond_the_longest_message(blocks, repeat):
    decoder = Decoder()
    for block in blocks:
        try:
            decoder.feed(block.replace(b"\n", b" ") * repeat)
        except ProtocolError:
            return
        assert len(decoder._rest) <= LONGEST_BYTES


RESULTS = st.dictionaries(
    st.sampled_from(["mask", "head", "layer", "layer_voxels", "seconds"]),
    VALUES | st.dictionaries(st.sampled_from(["name", "ijk_to_ras", "engine", "closed"]), VALUES),
)


@examples(60)
@given(RESULTS)
def test_a_result_of_anything_is_refused(content):
    with Exchange() as place, pytest.raises(SkinSegError):
        get_result(content, place.folder)


def test_no_memory_for_a_thread_is_said_and_the_next_run_works(monkeypatch):
    """A child that nobody hears would be waited for until it counts as hanging."""
    code = HELLO + 'print(\'{"kind": "done", "result": {}}\', flush=True); time.sleep(60)'
    worker, started = fake(code), []
    real = threading.Thread.start

    def start(self: threading.Thread) -> None:
        started.append(self)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(WorkerError, match="Close programs that need much memory"):
            run(worker, "any", {})
    assert not worker.is_running
    assert run(worker, "any", {}) == {}
    worker.close()


# The child's side


class Ended(BaseException):
    pass


def listened(data: bytes) -> tuple[int, list[dict]]:
    """The code that a child ends with when it gets these bytes, and the tasks it would do."""

    def end(code: int) -> None:
        raise Ended(code)

    patch = pytest.MonkeyPatch()
    patch.setattr(child.os, "_exit", end)
    try:
        made = child.Child(io.BufferedReader(io.BytesIO(data)), io.BytesIO(), os.getpid())
        with pytest.raises(Ended) as ended:
            made._listen()
    finally:
        patch.undo()
    return ended.value.args[0], list(made._tasks.queue)


ASKED = st.builds(
    lambda kind, task, arguments: encode(kind, task=task, arguments=arguments),
    st.sampled_from(["run", "cancel", "quit", "else"]),
    VALUES | st.sampled_from(sorted(TASKS)),
    VALUES,
)


@examples(150)
@given(st.lists(st.binary(max_size=60) | ASKED, max_size=6).map(b"".join))
def test_a_child_ends_at_bytes_that_are_no_message(data):
    code, tasks = listened(data)
    assert code in (0, 3)
    assert all(type(t["task"]) is str and type(t["arguments"]) is dict for t in tasks)


@examples(60)
@given(
    st.sampled_from(sorted(set(TASKS) - {"warm"})),
    st.dictionaries(
        st.sampled_from(["scan", "options", "folder", "mesh", "segment", "name", "path", "how"]),
        st.none() | st.integers() | st.floats() | st.lists(st.integers(), max_size=2),
    ),
)
def test_a_task_asked_for_with_anything_fails_and_says_nothing_of_it(task, arguments):
    out = io.BytesIO()
    child.Child(io.BytesIO(), out, os.getpid())._do(TASKS, task, arguments)
    message = Decoder().feed(out.getvalue())[-1]
    assert message["kind"] == "failed"
    assert message["message"] is None or message["error"] in ("WorkerError", "SegmentationError")


def test_a_real_child_ends_at_noise():
    noise = np.random.default_rng(0).bytes(1 << 20)
    done = subprocess.run(command_line(), input=noise, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert Decoder().feed(done.stdout)[:1] in ([], [{"kind": "hello", "pid": ANY}])
    assert done.stderr == b""


# Files


WHOLE = io.BytesIO()
np.save(WHOLE, np.arange(24, dtype=np.int16).reshape(2, 3, 4))


@examples(150)
@given(
    st.binary(max_size=300)
    | st.tuples(st.integers(0, len(WHOLE.getvalue())), st.binary(max_size=6)).map(
        lambda edit: WHOLE.getvalue()[: edit[0]] + edit[1] + WHOLE.getvalue()[edit[0] :]
    )
    | st.integers(0, len(WHOLE.getvalue())).map(lambda end: WHOLE.getvalue()[:end])
)
def test_a_file_of_anything_is_an_array_of_numbers_or_refused(content):
    with Exchange() as place:
        (place.folder / "scan.npy").write_bytes(content)
        try:
            found = exchange.get(place.folder, "scan")
        except WorkerError:
            return
        assert not found.dtype.hasobject
        assert found.nbytes <= len(content)


def test_a_header_that_claims_too_much_takes_no_memory(tmp_path: Path):
    huge = WHOLE.getvalue().replace(b"(2, 3, 4)", b"(9999999999999,)")
    (tmp_path / "scan.npy").write_bytes(huge)
    with pytest.raises(WorkerError, match="not whole"):
        exchange.get(tmp_path, "scan")


def test_a_scan_that_was_deleted_meanwhile_is_said(tmp_path: Path):
    matrix = np.eye(4).ravel().tolist()
    message = {"folder": str(tmp_path), "name": "scan", "ijk_to_ras": matrix, "settled": True}
    with pytest.raises(WorkerError, match="Try again"):
        scan_from({**message, "padding": [], "notes": []})


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room")
@pytest.mark.parametrize("slowly", [False, True])
def test_a_disk_that_others_fill_meanwhile_ends_no_process(monkeypatch, slowly):
    """What was free a moment ago is not when the voxels are written: no SIGBUS, a message."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(exchange.os, "posix_fallocate", full)
    voxels = np.zeros((4, 5, 6), np.int16)
    with Exchange() as place, pytest.raises(OutputError, match="no room for 0 MB"):
        if slowly:
            list(place.put_slowly("scan", voxels))
        else:
            exchange.put(place.folder, "scan", voxels)


def test_a_folder_for_temporary_files_that_is_gone_is_said():
    place = Exchange()
    place.close()
    with pytest.raises(OutputError, match="cannot be used"):
        exchange.put(place.folder, "scan", np.zeros(10))
