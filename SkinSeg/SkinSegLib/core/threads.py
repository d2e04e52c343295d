"""Several CPU cores by threads: NumPy and PyTorch compute outside Python's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar, copy_context
from threading import Event
from typing import TypeVar

from .progress import Progress

T = TypeVar("T")

_most: ContextVar[int | None] = ContextVar("most_threads", default=None)


def cores() -> int:
    """CPU cores that this process may use, and no more than :func:`at_most` allows."""
    if hasattr(os, "sched_getaffinity"):
        there = len(os.sched_getaffinity(0))
    else:
        there = os.cpu_count() or 1
    most = _most.get()
    return there if most is None else min(there, most)


@contextmanager
def at_most(threads: int | None) -> Iterator[None]:
    """Have what is called within take no more threads than these; None changes nothing."""
    before = _most.get()
    token = _most.set(before if threads is None else threads)
    try:
        yield
    finally:
        _most.reset(token)


def in_pieces(
    work: Callable[[slice], None],
    count: int,
    size: int,
    done: Callable[[float], None] | None = None,
) -> None:
    """Call ``work`` for 0..``count`` in pieces of ``size``, on all :func:`cores`.

    ``work`` may write into arrays, each piece into a part of its own. ``done`` is told how much is
    done, 0..1, by the thread that calls. If either fails, pieces that were not begun are not done,
    and the first failure is raised once the others have ended.
    """
    pieces = [slice(start, min(start + size, count)) for start in range(0, count, size)]
    threads = min(cores(), len(pieces))
    with ExitStack() as stack:
        if threads > 1:
            pool = ThreadPoolExecutor(threads, thread_name_prefix="skinseg")
            stack.callback(pool.shutdown, cancel_futures=True)
            results = pool.map(work, pieces)
        else:
            results = map(work, pieces)
        for n, _ in enumerate(results, 1):
            if done is not None:
                done(n / len(pieces))


@contextmanager
def beside(work: Callable[[Progress], T], progress: Progress) -> Iterator[Callable[[], T]]:
    """Have ``work`` done in another thread during the block; what is given waits for its result.

    With a single core it is done when it is asked for. ``work`` gets a Progress that reports
    nothing and is cancelled with ``progress``, or when the block ends without the result having
    been waited for. What it raises is raised where the result is asked for.
    """
    if cores() == 1:
        quiet = Progress(is_cancelled=progress.is_cancelled)
        yield lambda: work(quiet)
        return
    left = Event()

    def is_over() -> bool:
        return left.is_set() or (progress.is_cancelled is not None and progress.is_cancelled())

    with ThreadPoolExecutor(1, thread_name_prefix="skinseg") as pool:
        future = pool.submit(copy_context().run, work, Progress(is_cancelled=is_over))
        try:
            yield future.result
        finally:
            left.set()
