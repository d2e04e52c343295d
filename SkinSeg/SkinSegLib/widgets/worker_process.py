"""The worker by Qt: a QProcess, and timers that keep an eye on it without ever waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from ..worker import Worker, command_line
from ..worker.runner import Runner

_TICK_MS = 80
#: At the end of the application there is nobody left to wait for the process.
_LAST_WAIT_MS = 500


class QProcessTransport:
    """The child as a QProcess; its signals come in the thread of the window."""

    #: Processes that were ended and have not gone yet: Qt complains of ones destroyed alive.
    _dying: list[Any] = []  # noqa: RUF012 - one for the application

    def __init__(self) -> None:
        self._process = qt.QProcess()
        self._owner: Worker | None = None
        self._process.connect("readyReadStandardOutput()", self._on_output)
        self._process.connect("readyReadStandardError()", self._on_complaint)
        self._process.connect("finished(int,QProcess::ExitStatus)", self._on_finished)
        self._process.connect("errorOccurred(QProcess::ProcessError)", self._on_error)

    def start(self, owner: Worker) -> None:
        self._owner = owner
        program, *arguments = command_line()
        self._process.start(program, arguments)

    def send(self, data: bytes) -> None:
        self._process.write(qt.QByteArray(data))

    def kill(self) -> None:
        self._owner = None
        if self._process.state() == qt.QProcess.NotRunning:
            return
        self._dying.append(self._process)
        self._process.kill()

    @classmethod
    def wait_for_the_dying(cls) -> None:
        """For the end of the application: let go of the processes that were ended."""
        for process in cls._dying:
            process.waitForFinished(_LAST_WAIT_MS)
        cls._dying.clear()

    def _on_output(self) -> None:
        if self._owner is not None:
            self._owner.heard(self._process.readAllStandardOutput().data())

    def _on_complaint(self) -> None:
        if self._owner is not None:
            self._owner.complained(self._process.readAllStandardError().data())

    def _on_finished(self, code: int, status: Any) -> None:
        if self._process in self._dying:
            self._dying.remove(self._process)
        if self._owner is not None:
            crashed = status == qt.QProcess.CrashExit
            self._owner.ended(-code if crashed else code)

    def _on_error(self, error: Any) -> None:
        # It may come from within start(), where the owner is not ready to hear of it.
        if error == qt.QProcess.FailedToStart:
            qt.QTimer.singleShot(0, self._on_no_start)

    def _on_no_start(self) -> None:
        if self._owner is not None:
            self._owner.ended(127)


class PanelWorker:
    """One worker for the panel, and the runner of its jobs.

    ``keep_warm_s``: how long an idle process is kept. The process starts by :meth:`start`, in
    advance of its first job.
    """

    def __init__(self, keep_warm_s: float = 600.0) -> None:
        self.keep_warm_s = keep_warm_s
        self.worker = Worker(QProcessTransport)
        self.runner = Runner(self.worker, self._later)
        self._timer, self._soon = qt.QTimer(), qt.QTimer()
        self._timer.connect("timeout()", self._on_tick)
        # One timer for all steps: Slicer's own singleShot keeps a timer for each.
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self._on_soon)
        self._step: Callable[[], None] | None = None

    def start(self) -> None:
        """Have a process ready. Raises WorkerError if it cannot be started."""
        self.worker.start()
        self._timer.start(_TICK_MS)

    def close(self) -> None:
        """End the process; a job that runs is cancelled."""
        self._timer.stop()
        self._soon.stop()
        self.runner.abort()
        self.worker.close()
        QProcessTransport.wait_for_the_dying()

    def _later(self, step: Callable[[], None]) -> None:
        self._timer.start(_TICK_MS)
        self._step = step
        self._soon.start(0)

    def _on_soon(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step()

    def _on_tick(self) -> None:
        self.worker.tick()
        if self.worker.idle_s() > self.keep_warm_s and self.runner.job is None:
            self.worker.close()
        if not self.worker.is_running and self.runner.job is None:
            self._timer.stop()
