"""The owner's side of one worker: its tasks, its answers, and what may go wrong with it.

Knows neither Qt nor threads: a transport hands over what the child says, and someone calls
:meth:`Worker.tick` a few times a second.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..core import Cancelled, SkinSegError, WorkerError, lacks_memory
from .protocol import Decoder, ProtocolError, encode, error_from

_log = logging.getLogger("SkinSeg.worker")

#: A worker that was asked to stop may take so long before it is ended (the user: 0.5 s at most).
GRACE_S = 0.25
#: No sign of life for so long, and the worker hangs. It gives one each second.
SILENCE_S = 30.0
#: Starting Python and importing NumPy from a cold disk, on a slow machine.
START_S = 120.0
#: An owner that has not looked for so long cannot blame the child.
_OWNER_SLEPT_S = 5.0
#: How much of what a worker complains about is kept for the log.
_COMPLAINT_LINES = 40


class Transport(Protocol):
    """How bytes reach a child process and come back; ``owner`` is told of all that happens."""

    def start(self, owner: Worker) -> None:
        """Start the child. Then ``owner.heard``, ``.complained`` and ``.ended`` are called.

        Never from another thread, and never from within a call of ``send`` or ``kill``.
        """

    def send(self, data: bytes) -> None:
        """Write to the child's standard input, without waiting."""

    def kill(self) -> None:
        """End the child now. After this nothing more of it is told to the owner."""


@dataclass
class Task:
    """One task and who is told of it; exactly one of the last three is called, once.

    ``arguments``: ready for JSON. ``progress``: (stage, fraction 0..1).
    """

    name: str
    arguments: Mapping[str, Any]
    done: Callable[[dict[str, Any]], None]
    failed: Callable[[SkinSegError], None]
    cancelled: Callable[[Cancelled], None]
    progress: Callable[[str, float], None] | None = None


class Worker:
    """One child process at a time, kept warm, and at most one task for it at a time.

    A child that ends, hangs or says what is no message fails its task with a WorkerError; the next
    task starts another. ``make`` makes a transport for each child.
    """

    def __init__(
        self,
        make: Callable[[], Transport],
        *,
        grace_s: float = GRACE_S,
        silence_s: float = SILENCE_S,
        start_s: float = START_S,
    ) -> None:
        self._make = make
        self._grace_s, self._silence_s, self._start_s = grace_s, silence_s, start_s
        self._transport: Transport | None = None
        self._decoder = Decoder()
        self._pid = 0
        self._task: Task | None = None
        self._last_sign = self._last_tick = 0.0
        self._cancelled_at: float | None = None
        self._complaints: deque[str] = deque(maxlen=_COMPLAINT_LINES)
        self._idle_since = time.monotonic()
        #: How many children were started.
        self.generation = 0

    @property
    def transport(self) -> Transport | None:
        """What carries the bytes of the child there is now."""
        return self._transport

    @property
    def is_running(self) -> bool:
        """Whether there is a child process."""
        return self._transport is not None

    @property
    def is_ready(self) -> bool:
        """Whether the child has said hello."""
        return self._pid != 0

    @property
    def is_busy(self) -> bool:
        """Whether it has a task."""
        return self._task is not None

    @property
    def pid(self) -> int:
        """Process number of the child, 0 while it has not said hello."""
        return self._pid

    def start(self) -> None:
        """Start the child if there is none, so that it is there when it is needed."""
        if self._transport is not None:
            return
        self.generation += 1
        self._decoder, self._pid = Decoder(), 0
        self._complaints.clear()
        self._last_sign = self._idle_since = self._last_tick = time.monotonic()
        self._transport = self._make()
        try:
            self._transport.start(self)
        except OSError as error:
            self._transport = None
            advice = "Restart the program; if that does not help, install it again."
            if lacks_memory(error):
                advice = "Close programs that need much memory and try again."
            raise WorkerError(
                f"The process that computes cannot be started ({error.strerror}). {advice}"
            ) from error

    def run(self, task: Task) -> None:
        """Give the child a task. Raises WorkerError if it has one already or cannot be started."""
        if self._task is not None:
            raise WorkerError("Something is being computed already. Wait for it, or cancel it.")
        self.start()
        assert self._transport is not None
        self._task, self._cancelled_at = task, None
        self._last_sign = time.monotonic()
        self._transport.send(encode("run", task=task.name, arguments=task.arguments))

    def cancel(self) -> None:
        """Ask for the task to be stopped; after a grace period the child is ended."""
        if self._task is None or self._cancelled_at is not None or self._transport is None:
            return
        self._cancelled_at = time.monotonic()
        self._transport.send(encode("cancel"))

    def tick(self) -> None:
        """Look at the clock: to be called several times a second while there is a child."""
        if self._transport is None:
            return
        now = time.monotonic()
        if now - self._last_tick > _OWNER_SLEPT_S:
            # The owner was blocked, or the computer slept: what the child said has yet to be read.
            self._last_sign = now
        self._last_tick = now
        if self._cancelled_at is not None and now - self._cancelled_at > self._grace_s:
            self._end()
            self._finish("cancelled", Cancelled("Cancelled by the user."))
            self.start()  # warm again for the next run
            return
        limit = self._silence_s if self.is_ready else self._start_s
        if now - self._last_sign > limit:
            self._fail(f"gave no sign of life for {limit:.0f} seconds")

    def idle_s(self) -> float:
        """For how long the child has had nothing to do."""
        return 0.0 if self.is_busy else time.monotonic() - self._idle_since

    def close(self) -> None:
        """End the child. A task it has is cancelled."""
        self._end()
        self._finish("cancelled", Cancelled("The process that computes was closed."))

    # What the transport tells

    def heard(self, data: bytes) -> None:
        """Bytes from the child's standard output."""
        self._last_sign = time.monotonic()
        try:
            messages = self._decoder.feed(data)
        except ProtocolError as error:
            _log.error("The worker sent %s", error)
            self._fail("sent something that is not understood")
            return
        transport = self._transport
        for message in messages:
            self._handle(message)
            if self._transport is not transport:
                return  # ended meanwhile

    def complained(self, data: bytes) -> None:
        """Bytes from the child's standard error stream, in whatever encoding."""
        self._complaints.extend(data.decode("utf-8", errors="replace").splitlines())

    def ended(self, code: int) -> None:
        """The child is gone by itself."""
        self._transport = None
        self._fail(f"ended unexpectedly ({_how(code)})")

    def complaints(self) -> str:
        """The last it wrote to its standard error stream. May name files: not for logs."""
        return "\n".join(self._complaints)

    def _handle(self, message: dict[str, Any]) -> None:
        kind, task = message["kind"], self._task
        if kind == "hello":
            self._pid = message["pid"]
        elif kind == "progress" and task is not None:
            if task.progress is not None and self._cancelled_at is None:
                task.progress(message["stage"], float(message["fraction"]))
        elif kind == "done":
            if self._cancelled_at is not None:  # it was faster than the wish
                self._finish("cancelled", Cancelled("Cancelled by the user."))
            else:
                self._finish("done", message["result"])
        elif kind == "cancelled":
            self._finish("cancelled", Cancelled("Cancelled by the user."))
        elif kind == "failed":
            _log.error("The worker failed: %s", message.get("trace"))
            if self._cancelled_at is not None:
                self._finish("cancelled", Cancelled("Cancelled by the user."))
            else:
                self._finish("failed", error_from(message))

    def _fail(self, how: str) -> None:
        """The child is of no use any more."""
        _log.error("The worker %s", how)
        self._end()
        text = f"The process that computes {how}. Nothing was changed. "
        cancelled = self._cancelled_at is not None
        if cancelled:
            self._finish("cancelled", Cancelled("Cancelled by the user."))
            return
        self._finish(
            "failed",
            WorkerError(
                text + "Close programs that need much memory and try again; it is started anew "
                "by itself. The log may say more."
            ),
        )

    def _end(self) -> None:
        transport, self._transport = self._transport, None
        pid, self._pid = self._pid, 0
        if transport is None:
            return
        # What was started may be a launcher, which leaves its own child alone when it is ended.
        if pid > 0 and pid != os.getpid():
            try:
                os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            except OSError:
                _log.debug("The worker was gone already")
        transport.kill()

    def _finish(self, how: str, outcome: Any) -> None:
        task, self._task = self._task, None
        self._cancelled_at = None
        self._idle_since = time.monotonic()
        if task is not None:
            getattr(task, how)(outcome)


def _how(code: int) -> str:
    if code < 0:
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"
