"""Work in pieces on several cores, and beside the rest."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from SkinSegLib.core import Cancelled, Progress, at_most, beside, cores, in_pieces, threads


@pytest.fixture(params=[1, 2, 5])
def number(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many cores, whatever the machine has."""
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(request.param))
    return request.param


def test_every_piece_is_done_once(number: int) -> None:
    done = np.zeros(103, int)
    told: list[float] = []

    def work(part: slice) -> None:
        done[part] += 1

    in_pieces(work, len(done), 10, told.append)
    assert (done == 1).all()
    assert told == sorted(told)
    assert len(told) == 11
    assert told[-1] == 1


def test_nothing_to_do(number: int) -> None:
    in_pieces(lambda _: pytest.fail("there is nothing"), 0, 4)


def test_no_more_threads_than_allowed(number: int) -> None:
    seen: set[int] = set()

    def work(_: slice) -> None:
        seen.add(threading.get_ident())
        time.sleep(0.01)

    in_pieces(work, 12, 1)
    assert len(seen) == number
    seen.clear()
    with at_most(1):
        assert cores() == 1
        in_pieces(work, 4, 1)
    assert seen == {threading.get_ident()}
    assert cores() == number


def test_a_limit_within_a_limit() -> None:
    with at_most(1), at_most(None):
        assert cores() == 1


def test_a_failure_stops_the_rest(number: int) -> None:
    begun = []

    def work(part: slice) -> None:
        begun.append(part.start)
        time.sleep(0.005)
        if part.start == 3:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        in_pieces(work, 1000, 1)
    assert len(begun) < 500


def test_cancelling_stops_the_rest(number: int) -> None:
    begun = []

    def work(part: slice) -> None:
        begun.append(part.start)
        time.sleep(0.005)

    def done(_: float) -> None:
        raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        in_pieces(work, 1000, 1, done)
    at_the_end = len(begun)
    time.sleep(0.05)
    assert len(begun) == at_the_end < 500


def test_beside_gives_what_the_work_gives(number: int) -> None:
    with beside(lambda _: threading.get_ident(), Progress()) as result:
        where = result()
    assert (where == threading.get_ident()) == (number == 1)


def test_beside_raises_what_the_work_raises(number: int) -> None:
    def work(_: Progress) -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"), beside(work, Progress()) as result:
        result()


def test_beside_keeps_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(8))
    with at_most(3), beside(lambda _: cores(), Progress()) as result:
        assert result() == 3


def test_work_beside_ends_when_the_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(2))
    ended = []

    def work(progress: Progress) -> None:
        try:
            while True:
                progress.check()
                time.sleep(0.001)
        finally:
            ended.append(True)

    with pytest.raises(ValueError, match="beside it"), beside(work, Progress()):
        raise ValueError("beside it")
    assert ended == [True]


def test_work_beside_is_cancelled_with_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(2))
    job = Progress(is_cancelled=lambda: True)
    with pytest.raises(Cancelled), beside(lambda progress: progress.check(), job) as result:
        result()


def test_where_the_system_does_not_say_which_cores_are_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(threads.os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 6)
    assert cores() == 6
    monkeypatch.setattr(threads.os, "cpu_count", lambda: None)
    assert cores() == 1
