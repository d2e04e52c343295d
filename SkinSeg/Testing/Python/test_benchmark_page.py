"""The benchmark page says what was measured, and where a budget is not kept."""

from __future__ import annotations

from typing import Any

import pytest
from Benchmarks.main_job import render
from Benchmarks.page_text import MAIN, page, ratio


def ran(seconds: float, peak_mb: float = 900.0) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "peak_mb": peak_mb,
        "start_s": 3.0,
        "stages": {
            "Level": 0.1,
            "Surface": seconds - 0.1,
            "(Network)": 0.05,
            "(Mask)": seconds / 2,
            "Threshold, islands, median": seconds - 2,
        },
        "file": {
            "triangles": 1234567,
            "closed": True,
            "self_intersections": 0,
            "components": 1,
            "printable": False,
            "share_of_truth": 0.981,
            "megabytes": 61.7,
        },
    }


def figures(ours: float, slicer: float, peak_mb: float = 900.0) -> dict[str, Any]:
    size = {"skinseg": ran(ours, peak_mb), "floor": ran(1.0), "slicer": ran(slicer)}
    large = {**size, "skinseg": ran(10 * ours, 10 * peak_mb), "slicer": {"over": 200.0}}
    return {
        "machine": {"date": "today", "processor": "one", "system": "Linux", "torch": "2.13"},
        "gpu": False,
        "compared": {name: [run] * 3 for name, run in size.items()},
        "cores": {1: [ran(2 * ours)] * 3, 2: [ran(ours)] * 3},
        "start": {"version": 0.1, "warm": 9.0},
        "profile": {**ran(ours), "profile": [["simplify.py:simplify", 1, 1.5]]},
        "sizes": {MAIN: size, "huge": large},
        "voxels": {MAIN: 65_536_000, "huge": 655_360_000},
        "accuracy": "\n## test\n\n| scan |\n",
    }


def row(text: str, start: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("ours", "kept", "mask"), [(4.0, "yes", "yes"), (8.0, "**no**", "**no**")])
def test_budgets_are_told_as_they_are(ours, kept, mask):
    text = page(figures(ours, 6.0))
    assert row(text, "faster than Slicer's recipe")[2] == kept
    assert row(text, "within 5 times the floor")[1:] == [f"{ours:.1f} times", kept]
    assert row(text, "the same, the mask alone")[1:] == [f"{8 / ours:.2f} times", mask]
    first_table = text[: text.index("| the file")]
    assert row(first_table, "Slicer's recipe")[1:3] == ["4.00", "6.00"]
    assert row(first_table, "**SkinSeg**, network")[1:3] == [f"{ours / 2:.2f}", f"{ours:.2f}"]
    assert row(text, f"{MAIN}: at most")[2] == "yes"
    assert row(text, "huge: at most")[1:] == ["9000 MB", "**no**"]
    assert "InVesalius was not there." in text
    assert "Time grows as the voxels to the power 1.00." in text
    assert "Two for one: 2.00 times." in text
    assert "nothing in the cache" not in text
    assert "\n### test\n" in text


def test_a_net_is_compared_to_a_verified_surface_too():
    """Its file is the floor's contour, which nobody checked and nothing closed."""
    found = figures(4.0, 6.0)
    net = ran(3.0)
    net["stages"] = {"Resample": 0.5, "(Network)": 2.0, "Surface": 0.5}
    found["compared"]["nnunet-6"] = [net] * 3
    text = page(found)
    assert row(text, "faster than net of nnU-Net's size, 6 mm")[1:] == ["0.75 times", "**no**"]
    assert row(text, "the same, to a verified STL")[1:] == ["1.12 times", "yes"]


def test_a_run_that_was_ended_is_no_figure():
    lines = [line for line in page(figures(4.0, 6.0)).splitlines() if "Slicer's recipe |" in line]
    assert any("over 200" in line for line in lines)
    assert any(line.startswith("| peak MB, Slicer's recipe") and "| - |" in line for line in lines)


def test_ratios_are_formed_turn_by_turn():
    slow, fast = [ran(10), ran(30), ran(90)], [ran(5), ran(10), ran(30)]
    assert ratio(slow, fast) == 3
    assert ratio(slow, fast[:1]) == 2


@pytest.mark.slow
def test_a_large_phantom_is_made_from_a_coarser_one(tmp_path, monkeypatch):
    import numpy as np
    from Benchmarks import main_job

    fine = render(tmp_path, (41, 40, 40), (6.0, 6.0, 6.0))
    small = np.load(tmp_path / "voxels.npy")
    monkeypatch.setattr(main_job, "COMPUTED", 1000)
    coarse = render(tmp_path, (41, 40, 40), (6.0, 6.0, 6.0))
    large = np.load(tmp_path / "voxels.npy")
    assert large.shape == small.shape == (40, 40, 41)
    assert coarse["truth_ml"] == pytest.approx(fine["truth_ml"], rel=0.1)
    overlap = ((large > -480) & (small > -480)).sum() / (small > -480).sum()
    assert overlap > 0.85
