"""One job from the click to its end: hand over, compute in the worker, put the result in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ..core import Cancelled, Progress
from .client import Task, Worker
from .process import run

#: How much of a job handing over is; it takes a tenth of a second.
HAND_OVER_SHARE = 0.02


class Job(Protocol):
    """What a runner runs. ``task``: one of :mod:`.tasks`."""

    task: str

    def prepare(self) -> Iterator[float]:
        """Hand over what the task needs; yields how much is done (0..1) every few milliseconds."""

    def arguments(self) -> Mapping[str, Any]:
        """Of the task, once it is prepared."""

    def finish(self, result: Mapping[str, Any]) -> Any:
        """Put the result where it belongs, and return it."""

    def close(self) -> None:
        """Let go of what :meth:`prepare` made, whatever happened."""


class Runner:
    """Runs one job at a time without ever waiting for it.

    ``later``: calls a function as soon as the caller's event loop has had its turn. Exactly one of
    ``done``, ``failed`` and ``cancelled`` is called for each job, in the caller's thread.
    """

    def __init__(self, worker: Worker, later: Callable[[Callable[[], None]], None]) -> None:
        self._worker, self._later = worker, later
        self._job: Job | None = None
        self._steps: Iterator[float] | None = None
        self._is_cancelled = False

    @property
    def job(self) -> Job | None:
        """The job that runs."""
        return self._job

    @property
    def is_cancelled(self) -> bool:
        """Whether the job that runs was asked to stop."""
        return self._is_cancelled

    def start(
        self,
        job: Job,
        *,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
        cancelled: Callable[[], None],
        progress: Callable[[str, float], None] | None = None,
    ) -> None:
        """Start a job. What it raises at any time comes by ``failed``.

        Raises RuntimeError while another one runs: ask :attr:`job` first.
        """
        if self._job is not None:
            raise RuntimeError("a job is running")
        self._job, self._is_cancelled = job, False
        self._done, self._failed, self._on_cancelled = done, failed, cancelled
        self._progress = progress or (lambda stage, fraction: None)
        self._steps = iter(job.prepare())
        self._later(self._step)

    def cancel(self) -> None:
        """Ask the job to stop; it does within half a second."""
        if self._job is None:
            return
        self._is_cancelled = True
        self._worker.cancel()

    def abort(self) -> None:
        """Let go of the job at once, for the end of the application: nothing runs after this."""
        if self._job is not None:
            self._end(Cancelled("The window was closed."))

    def _step(self) -> None:
        """The next piece of handing over, or the task itself."""
        job, steps = self._job, self._steps
        if job is None or steps is None:
            return
        try:
            if self._is_cancelled:
                raise Cancelled("Cancelled by the user.")
            self._progress("Hand over", HAND_OVER_SHARE * next(steps))
        except StopIteration:
            self._steps = None
            self._begin(job)
        except Exception as error:
            self._end(error)
        else:
            self._later(self._step)

    def _begin(self, job: Job) -> None:
        def told(stage: str, fraction: float) -> None:
            self._progress(stage, HAND_OVER_SHARE + (1 - HAND_OVER_SHARE) * fraction)

        try:
            task = Task(job.task, job.arguments(), self._finish, self._end, self._end, told)
            self._worker.run(task)
        except Exception as error:
            self._end(error)

    def _finish(self, result: dict[str, Any]) -> None:
        assert self._job is not None
        try:
            found = self._job.finish(result)
        except Exception as error:
            self._end(error)
            return
        done = self._done
        self._close()
        done(found)

    def _end(self, error: Exception) -> None:
        failed, cancelled = self._failed, self._on_cancelled
        self._close()
        if isinstance(error, Cancelled):
            cancelled()
        else:
            failed(error)

    def _close(self) -> None:
        job, self._job, self._steps = self._job, None, None
        self._is_cancelled = False
        if job is not None:
            job.close()


def run_job(worker: Worker, job: Job, progress: Progress | None = None) -> Any:
    """Run a job and wait for it, by a worker of SubprocessTransport.

    Raises what the job raises, and Cancelled through ``progress``.
    """
    progress = progress or Progress()
    try:
        for fraction in job.prepare():
            progress.check()
            if progress.report is not None:
                progress.report("Hand over", HAND_OVER_SHARE * fraction)
        part = progress.part(HAND_OVER_SHARE, 1 - HAND_OVER_SHARE)
        return job.finish(run(worker, job.task, job.arguments(), part))
    finally:
        job.close()
