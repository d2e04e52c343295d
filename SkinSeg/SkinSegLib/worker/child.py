"""The child process: does one task after the other until its owner says so, or is gone.

``main()`` is started by :func:`.launch.command_line`. Its standard input and output carry the
protocol alone: what any library prints goes to the standard error stream.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
from collections.abc import Mapping
from typing import IO, Any

from ..core import (
    Cancelled,
    Progress,
    SkinSegError,
    at_most,
    cores,
    failure_text,
    is_running,
    lacks_memory,
)
from .exchange import remove_leftovers
from .protocol import Decoder, ProtocolError, encode

#: A sign of life so often, in seconds.
_ALIVE_S = 1.0
#: Progress is told at most so often; a pipe that the owner does not empty would stop the work.
_PROGRESS_S = 0.04
_BLOCK = 1 << 16
_NO_MEMORY = (
    "There is not enough memory. Close other programs, or use a scan of fewer or larger voxels."
)


class Child:
    """Reads messages in one thread, gives signs of life in another, and works in the main one."""

    def __init__(self, incoming: IO[bytes], outgoing: IO[bytes], owner: int) -> None:
        self._incoming, self._outgoing, self._owner = incoming, outgoing, owner
        self._lock = threading.Lock()
        self._tasks: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cancelled = threading.Event()
        self._last, self._stage = 0.0, ""

    def serve(self) -> None:
        """Never returns: the process ends when the owner says so or is gone."""
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._live, daemon=True).start()
        self._say("hello", pid=os.getpid())
        from .tasks import TASKS

        remove_leftovers()
        while True:
            message = self._tasks.get()
            self._do(TASKS, message["task"], message["arguments"])

    def _do(self, tasks: Mapping[str, Any], name: str, arguments: dict[str, Any]) -> None:
        progress = Progress(self._report, self._cancelled.is_set)
        try:
            # One core is left to the owner's window, unless the task says how many it takes.
            with at_most(max(1, cores() - 1)):
                result = tasks[name](arguments, progress)
        except Cancelled:
            self._say("cancelled")
        except SkinSegError as error:
            self._fail(error, str(error))
        except Exception as error:
            if lacks_memory(error):
                self._fail(error, _NO_MEMORY, "WorkerError")
            else:
                self._fail(error, None)
        else:
            self._say("done", result=result)

    def _fail(self, error: BaseException, message: str | None, name: str | None = None) -> None:
        self._say(
            "failed",
            error=name or type(error).__name__,
            message=message,
            trace=failure_text(error),
        )

    def _report(self, stage: str, fraction: float) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_S or stage != self._stage or fraction == 1.0:
            self._last, self._stage = now, stage
            self._say("progress", stage=stage, fraction=round(fraction, 4))

    def _say(self, kind: str, **content: Any) -> None:
        with self._lock:
            try:
                self._outgoing.write(encode(kind, **content))
                self._outgoing.flush()
            except OSError:
                os._exit(0)  # the owner is gone

    def _listen(self) -> None:
        decoder = Decoder()
        while data := self._incoming.read1(_BLOCK):  # type: ignore[attr-defined]
            try:
                messages = decoder.feed(data)
            except ProtocolError:
                os._exit(3)
            for message in messages:
                if message["kind"] == "run":
                    self._cancelled.clear()
                    self._tasks.put(message)
                elif message["kind"] == "cancel":
                    self._cancelled.set()
                elif message["kind"] == "quit":
                    os._exit(0)
        os._exit(0)  # the owner is gone, or has let go of us

    def _live(self) -> None:
        while True:
            time.sleep(_ALIVE_S)
            # A launcher between us and the owner may keep the pipe open when the owner is killed.
            if not is_running(self._owner):
                os._exit(0)
            self._say("alive")


def main() -> None:
    """Serve the owner whose process number is the second argument."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    # Ctrl-C in a terminal reaches the whole group; the owner decides what it means.
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for pipe in (incoming, outgoing):
        if sys.platform == "win32":
            import msvcrt

            msvcrt.setmode(pipe, os.O_BINARY)
        os.set_inheritable(pipe, False)
    Child(os.fdopen(incoming, "rb"), os.fdopen(outgoing, "wb"), int(sys.argv[2])).serve()
