"""A worker by the standard library, for the command, tests and any Python without Qt."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any

from ..core import Progress
from .client import Task, Worker
from .launch import command_line

_BLOCK = 1 << 16
#: How many blocks wait for the owner at most; a child that says more has to wait itself.
_WAITING = 64


class SubprocessTransport:
    """The child as a ``subprocess``; what it says waits in a queue for :meth:`pump`.

    ``command``: program and arguments, :func:`command_line` unless a test wants another.
    """

    def __init__(self, command: list[str] | None = None) -> None:
        self._command = command or command_line()
        self._said: queue.Queue[tuple[str, Any]] = queue.Queue(_WAITING)
        self._is_over = threading.Event()
        self._to_send: queue.Queue[bytes | None] = queue.Queue()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner: Worker | None = None

    def start(self, owner: Worker) -> None:
        self._owner = owner
        self._child = child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            readers = [
                self._thread(self._read, child.stdout, "heard"),
                self._thread(self._read, child.stderr, "complained"),
            ]
            self._thread(self._write, child.stdin)
            self._thread(self._wait, child, readers)
        except RuntimeError as error:  # no memory for a thread
            self.kill()
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error

    def send(self, data: bytes) -> None:
        self._to_send.put(data)

    def kill(self) -> None:
        assert self._child is not None
        self._owner = None
        self._is_over.set()
        self._to_send.put(None)
        self._child.kill()
        self._child.wait()

    def pump(self, wait_s: float = 0.05) -> None:
        """Tell the owner what the child said since, waiting ``wait_s`` for something at most."""
        try:
            first = self._said.get(timeout=wait_s)
        except queue.Empty:
            return
        # What is there now and no more: a child may talk faster than it is listened to.
        waiting = [first, *(self._said.get() for _ in range(self._said.qsize()))]
        for what, value in waiting:
            if self._owner is not None:
                getattr(self._owner, what)(value)

    def _thread(self, target: Callable[..., None], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=args, daemon=True)
        thread.start()
        return thread

    def _read(self, pipe: IO[bytes], what: str) -> None:
        while data := pipe.read1(_BLOCK):  # type: ignore[attr-defined]
            self._tell(what, data)

    def _tell(self, what: str, value: Any) -> None:
        while not self._is_over.is_set():
            try:
                self._said.put((what, value), timeout=0.2)
            except queue.Full:
                continue
            return

    def _write(self, pipe: IO[bytes]) -> None:
        while (data := self._to_send.get()) is not None:
            try:
                pipe.write(data)
                pipe.flush()
            except OSError:  # the child is gone, of which the owner hears by itself
                return
        pipe.close()

    def _wait(self, child: subprocess.Popen[bytes], readers: list[threading.Thread]) -> None:
        code = child.wait()
        for reader in readers:
            reader.join()  # its last words first
        self._to_send.put(None)
        self._tell("ended", code)


def run(
    worker: Worker,
    name: str,
    arguments: Mapping[str, Any],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Do one task and wait for it, with a worker of SubprocessTransport; returns the result.

    Raises what the task raises: SkinSegError, or Cancelled through ``progress``.
    """
    outcome: list[Any] = []
    told: list[tuple[str, float]] = []
    task = Task(
        name,
        arguments,
        done=outcome.append,
        failed=outcome.append,
        cancelled=outcome.append,
        progress=lambda stage, fraction: told.append((stage, fraction)),
    )
    worker.run(task)
    while not outcome:
        assert isinstance(worker.transport, SubprocessTransport)
        worker.transport.pump()
        worker.tick()
        if progress is None:
            continue
        if progress.report is not None:
            for stage, fraction in told:
                progress.report(stage, fraction)
        told.clear()
        if progress.is_cancelled is not None and progress.is_cancelled():
            worker.cancel()
    (result,) = outcome
    if isinstance(result, Exception):
        raise result
    found: dict[str, Any] = result
    return found
