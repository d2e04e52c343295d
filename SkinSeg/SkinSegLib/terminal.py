"""The terminal's side of a job: a progress bar or plain lines, tables, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TextIO

from .core import Progress
from .core.progress import Listener


@contextmanager
def watched(stream: TextIO) -> Iterator[Progress]:
    """A Progress shown on ``stream`` and cancelled by Ctrl-C (or SIGTERM).

    A terminal gets a bar with stage and time left, anything else one plain line for each stage.
    """
    progress = Progress()
    with _interrupts(stream, progress):
        if stream.isatty():
            with _bar(stream) as progress.report:
                yield progress
        else:
            progress.report = _lines(stream)
            yield progress


def show_table(headings: Sequence[str], rows: Iterable[Sequence[str]], stream: TextIO) -> None:
    """Print a table as wide as the terminal; long texts are wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(text) for text in row))  # no markup: "[" is a bracket
    Console(file=stream).print(table)


@contextmanager
def _interrupts(stream: TextIO, progress: Progress) -> Iterator[None]:
    """Ctrl-C asks the job to stop at its next report; a second one stops it where it is.

    Raising at once would unwind through VTK's and ITK's callbacks, which swallow exceptions. Once
    the job has finished, Ctrl-C does nothing: all that is left is to say so.
    """
    asked = threading.Event()
    progress.is_cancelled = asked.is_set

    def ask(number: int, frame: FrameType | None) -> None:
        if progress.finished:
            return
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        # A handler may interrupt a print, and must not print itself: write to the descriptor.
        with suppress(OSError, ValueError):
            os.write(stream.fileno(), b"\nCancelling ...\n")

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(stream: TextIO) -> Iterator[Listener]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("Start", total=1.0)

        def report(stage: str, fraction: float) -> None:
            # Else it redraws ten times a second, and a short stage would never be seen.
            new = bar.tasks[task].description != stage
            bar.update(task, description=stage, completed=fraction, refresh=new)

        yield report


def _lines(stream: TextIO) -> Listener:
    seen: list[str] = []

    def report(stage: str, fraction: float) -> None:
        if not seen or seen[-1] != stage:
            seen.append(stage)
            print(f"{fraction:4.0%}  {stage}", file=stream, flush=True)

    return report
