"""Stages, fractions and cancelling: how a long job talks to whoever started it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from .errors import Cancelled

#: Told the stage's name and the fraction 0..1 of the whole job.
Listener = Callable[[str, float], None]


@dataclass
class Progress:
    """Passed through every stage of a job.

    A stage is entered with ``with progress.stage("Locate", 0.3):`` where the number is the share
    of the whole job; inside, ``progress.update(fraction)`` reports 0..1 of that stage. Both raise
    :class:`Cancelled` as soon as ``is_cancelled()`` is true, so a job stops at its next report.

    ``report(stage, fraction)`` gets the stage's name and the fraction 0..1 of the whole job, which
    never goes backwards. ``seconds`` collects the time per stage; a stage entered twice adds up.
    ``finished``: whether :meth:`finish` was called, from when on it is too late to cancel.
    """

    report: Listener | None = None
    is_cancelled: Callable[[], bool] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    finished: bool = False
    _name: str = ""
    _start: float = 0.0
    _share: float = 0.0

    def check(self) -> None:
        """Raise :class:`Cancelled` if the user has asked to stop."""
        if self.is_cancelled is not None and self.is_cancelled():
            raise Cancelled("Cancelled by the user.")

    def finish(self) -> None:
        """The last chance to cancel: raise :class:`Cancelled`, or go through with the rest."""
        self.finished = True  # first: what asks from here on finds it too late
        self.check()

    def update(self, fraction: float) -> None:
        """Report ``fraction`` (0..1, clipped) of the current stage; may raise Cancelled."""
        self.check()
        if self.report is not None:
            share = self._share * min(max(fraction, 0.0), 1.0)
            self.report(self._name, min(self._start + share, 1.0))

    @contextmanager
    def stage(self, name: str, share: float) -> Iterator[Progress]:
        """Time and report one stage that makes up ``share`` (0..1) of the whole job."""
        self._name, self._share = name, share
        self.update(0.0)
        started = time.perf_counter()
        try:
            yield self
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
        self.update(1.0)
        self._start = min(self._start + share, 1.0)
        self._share = 0.0

    def part(self, start: float, share: float) -> Progress:
        """A Progress for one part of this job, whose own stages again make up a whole.

        What it reports lands between ``start`` and ``start + share`` (0..1 of this job). It is
        cancelled with this one and adds to the same ``seconds``.
        """
        whole = self.report

        def report(stage: str, fraction: float) -> None:
            if whole is not None:
                # Rounded, or it could go backwards by one bit where two parts meet.
                whole(stage, min(round(start + share * fraction, 9), 1.0))

        return Progress(report, self.is_cancelled, self.seconds)
