"""Engines side by side in processes of their own, and the tables and pictures of it."""

from __future__ import annotations

import csv
import math
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from evaluation_makers import (
    ball_mask,
    by_level,
    engines_of,
    reference_of,
    scan_of,
)
from SkinSegLib.core import (
    Cancelled,
    CTVolume,
    ModelError,
    Progress,
    SegmentationError,
    SkinSegError,
)
from SkinSegLib.training.evaluation import (
    Case,
    DataSet,
    Entry,
    child,
    evaluate,
    write_card,
    write_csv,
    write_markdown,
    write_picture,
)


def _nothing(volume: CTVolume) -> np.ndarray:
    if volume.voxels.shape[0] == 32:
        return by_level(volume)  # the ball for starting up
    raise SegmentationError("No patient is to be found. Choose another scan.")


def _broken(volume: CTVolume) -> np.ndarray:
    raise ValueError("what a library says of the scan")


def _ending(volume: CTVolume) -> np.ndarray:
    if volume.voxels.shape[0] != 32:
        os._exit(9)
    return by_level(volume)


def _greedy(volume: CTVolume, megabytes: int) -> np.ndarray:
    if volume.voxels.shape[0] != 32:
        np.ones(megabytes * 1_000_000, np.uint8)
    return by_level(volume)


def _sleeping(volume: CTVolume) -> np.ndarray:
    import time

    time.sleep(100 if volume.voxels.shape[0] != 32 else 0)
    return by_level(volume)


def _set_of_two() -> DataSet:
    head, table = ball_mask(20, (60, 60, 60)), np.zeros((60, 60, 60), bool)
    table[:, 52:56] = True
    first = reference_of(head, other=table)
    other = reference_of(ball_mask(21, (60, 60, 60)), other=table)

    def missing(progress: Progress) -> Case:
        raise SkinSegError("There is no such scan. Get it.")

    return DataSet(
        "made",
        (
            Entry("ball", lambda _: Case(first, other)),
            Entry("gone", missing),
            Entry("plain", lambda _: Case(reference_of(head))),
        ),
    )


@pytest.fixture(scope="module")
def result():
    engines = engines_of(level=by_level, shy=_nothing, broken=_broken, ending=_ending)
    return evaluate([_set_of_two()], engines)


def test_engines_side_by_side(result):
    rows = {(row.case, row.engine, row.reference): row for row in result.rows}
    assert len(rows) == len(result.rows) == 4 * 3 + 1
    assert rows["plain", "level", "first"].figures.dice == 1
    level = rows["ball", "level", "first"]
    assert level.figures.taken_ml == pytest.approx(60 * 60 * 4 / 1000)
    assert level.seconds > 0
    assert rows["ball", "level", "second"].figures.lost_ml == pytest.approx(0.096)
    assert level.figures.lost_ml == 0
    assert rows["ball", "level", "second"].figures.skin != level.figures.skin
    apart = rows["ball", "second reference", "first"]
    assert apart.figures.skin.mean == pytest.approx(1, abs=0.2)
    assert math.isnan(apart.seconds)


def test_a_missing_case_is_left_out_with_a_warning(result):
    assert result.warnings == ("gone was left out: There is no such scan. Get it.",)
    assert "gone" not in {row.case for row in result.rows}
    everything = DataSet("made", _set_of_two().entries[1:2])
    with pytest.raises(SkinSegError, match=r"nothing to evaluate.*gone was left out"):
        evaluate([everything], engines_of(level=by_level))


def test_an_engine_that_fails_is_scored_as_empty_and_says_why(result):
    problems = {row.engine: row for row in result.rows if row.case == "plain"}
    assert problems["shy"].problem == "No patient is to be found. Choose another scan."
    assert "ValueError" in problems["broken"].problem
    assert "library" not in problems["broken"].problem
    assert "enough memory" in problems["ending"].problem
    for name in ("shy", "broken", "ending"):
        assert problems[name].figures.dice == 0
        assert problems[name].figures.skin.mean == math.inf
    assert problems["level"].problem == ""


def test_peak_memory_is_of_each_case_alone(monkeypatch):
    volume = scan_of(ball_mask(20, (60, 60, 60)))
    with child.EngineProcess(partial(_greedy, megabytes=400)) as process:
        greedy = process.run(volume, Progress())
        small = process.run(child._ball(), Progress())
    assert greedy.mask is not None
    assert greedy.peak_mb - small.peak_mb > 350
    assert small.peak_mb < 400


def test_a_process_whose_peak_cannot_be_reset_is_used_once(monkeypatch):
    monkeypatch.setattr(child, "_RESET", child.Path("/nowhere/clear_refs"))
    assert child._reset_peak() is False
    assert child._peak_mb() > 10
    monkeypatch.setattr(child, "_STATUS", child.Path("/nowhere/status"))
    assert child._peak_mb() > 10


def test_cancelling_does_not_wait_for_the_engine():
    asked = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 6

    with pytest.raises(Cancelled):
        evaluate([_set_of_two()], engines_of(slow=_sleeping), Progress(is_cancelled=cancelled))


def test_csv_has_every_row_and_figure(result, tmp_path):
    write_csv(result, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result.rows)
    first = rows[0]
    assert (first["set"], first["case"], first["engine"]) == ("made", "ball", "level")
    assert float(first["taken_ml"]) == pytest.approx(14.4)
    assert float(first["skin_mean_mm"]) == pytest.approx(result.rows[0].figures.skin.mean, rel=1e-3)
    assert rows[-1]["contact_p95_mm"] == ""  # there is nothing to touch
    assert rows[-1]["skin_mean_mm"] == "inf"
    assert "memory" in rows[-1]["problem"]
    assert {"dice", "surface_dice_2mm", "cut_p99_mm", "lost_ml", "peak_mb"} <= set(first)


def test_markdown_has_a_table_with_medians_and_what_was_left_out(result, tmp_path):
    write_markdown(result, tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "## made" in text
    assert len({line.count("|") for line in lines}) == 1
    assert sum(line.startswith("| ball | ") for line in lines) == 4 * 2 + 1
    medians = [line for line in lines if line.startswith("| **median of 2** | level |")]
    dice = sorted(
        r.figures.dice for r in result.rows if (r.engine, r.reference) == ("level", "first")
    )
    assert medians[0].split("|")[3].strip() == f"{sum(dice) / 2:.4f}"
    assert "| ∞ / ∞ / ∞ |" in text
    assert "* gone was left out: There is no such scan." in text
    assert "* shy on plain: No patient is to be found." in text


def test_a_model_card_gets_the_tables_between_its_marks(result, tmp_path):
    card = tmp_path / "README.md"
    card.write_text("# Mine\n\n<!-- evaluation -->\nold\n<!-- end of evaluation -->\n\nLast.\n")
    for _ in range(2):  # again and again, and nothing piles up
        write_card(result, card)
    text = card.read_text(encoding="utf-8")
    assert text.startswith("# Mine\n")
    assert text.endswith("\n\nLast.\n")
    assert "old" not in text
    assert text.count("### made") == 1
    assert "| ball | level |" in text
    many = replace(result, rows=tuple(replace(result.rows[0], case=str(n)) for n in range(30)))
    write_card(many, card)
    text = card.read_text(encoding="utf-8")
    assert "| 7 | level |" not in text
    assert "**median of 30**" in text
    card.write_text("# Without marks")
    with pytest.raises(ModelError, match="Add the lines"):
        write_card(result, card)
    assert card.read_text(encoding="utf-8") == "# Without marks"


def test_many_cases_have_a_line_for_the_worst(result, tmp_path):
    first = next(row for row in result.rows if row.case == "plain")
    rows = tuple(
        replace(
            first,
            case=str(n),
            figures=replace(first.figures, dice=n / 100, taken_ml=float(n)),
        )
        for n in range(101)
    )
    write_markdown(replace(result, rows=rows), tmp_path / "all.md")
    text = (tmp_path / "all.md").read_text(encoding="utf-8")
    worst = next(line for line in text.splitlines() if line.startswith("| **worst 5 % from**"))
    cells = [cell.strip() for cell in worst.split("|")]
    assert cells[3] == "0.0500"
    assert "95.0" in cells
    write_picture(replace(result, rows=rows), tmp_path / "all.png")


def test_the_picture_shows_something(result, tmp_path):
    import matplotlib.image

    write_picture(result, tmp_path / "all.png")
    picture = matplotlib.image.imread(tmp_path / "all.png")
    assert picture.shape[1] == 1200
    assert (picture[..., :3].std(axis=2) > 0.1).mean() > 0.01  # bars are coloured
