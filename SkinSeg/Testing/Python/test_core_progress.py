"""Stages, fractions and cancelling."""

from __future__ import annotations

import pytest
from SkinSegLib.core import Cancelled, Progress


def test_fractions_are_of_the_whole_job_and_never_go_back() -> None:
    seen: list[tuple[str, float]] = []
    progress = Progress(lambda stage, fraction: seen.append((stage, fraction)))
    with progress.stage("Locate", 0.25):
        progress.update(0.5)
        progress.update(7)  # out of range is clipped
    with progress.stage("Clean", 0.75):
        progress.update(0.2)
    assert seen == [
        ("Locate", 0.0),
        ("Locate", 0.125),
        ("Locate", 0.25),
        ("Locate", 0.25),
        ("Clean", 0.25),
        ("Clean", pytest.approx(0.4)),
        ("Clean", 1.0),
    ]
    assert set(progress.seconds) == {"Locate", "Clean"}


def test_shares_that_add_up_to_more_than_one_stop_at_one() -> None:
    seen: list[float] = []
    progress = Progress(lambda stage, fraction: seen.append(fraction))
    for name in ("a", "b", "c"):
        with progress.stage(name, 0.7):
            progress.update(0.5)
    assert max(seen) == 1.0
    assert seen == sorted(seen)


def test_a_stage_entered_twice_adds_up() -> None:
    progress = Progress()
    with progress.stage("Write", 0.1):
        pass
    first = progress.seconds["Write"]
    with progress.stage("Write", 0.1):
        pass
    assert list(progress.seconds) == ["Write"]
    assert progress.seconds["Write"] > first


def test_cancelling_stops_at_the_next_report() -> None:
    asked = False
    progress = Progress(is_cancelled=lambda: asked)
    with pytest.raises(Cancelled), progress.stage("Locate", 1.0):
        progress.update(0.1)
        asked = True
        progress.update(0.2)
        pytest.fail("went on after the user cancelled")
    assert "Locate" in progress.seconds


def test_a_part_is_a_whole_of_its_own() -> None:
    seen: list[tuple[str, float]] = []
    asked = False
    whole = Progress(lambda stage, fraction: seen.append((stage, fraction)), lambda: asked)
    for start in (0.0, 0.5):
        part = whole.part(start, 0.5)
        with part.stage("a", 0.5):
            pass
        with part.stage("b", 0.5):
            part.update(0.5)
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert ("b", pytest.approx(0.875)) in seen
    assert set(whole.seconds) == {"a", "b"}
    asked = True
    with pytest.raises(Cancelled):
        whole.part(0, 1).check()
