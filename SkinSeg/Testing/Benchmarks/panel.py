"""How the panel behaves on a large scan: blocked window, hand-over, first run, many runs.

    python SkinSeg/Testing/Benchmarks/panel.py --size 512 512 250 --spacing 0.5 0.5 1 --runs 3
    python SkinSeg/Testing/Benchmarks/panel.py --many 100

The panel runs in the test host (Qt offscreen, the real MRML); the phantom with table and holder is
the scan. "Blocked" is the longest time between two turns of the event loop while a run is under
way, the step that puts the result into the scene apart ("finish"). "First" starts with a new
process at the click, "warm" finds one ready. ``--many``: so many runs of a small scan in a row, and
what the panel's process holds (MB) after the 10th and after the last.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(LIBRARY), str(LIBRARY / "Testing"), str(LIBRARY / "Testing" / "Python")]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def resident_mb() -> float:
    """Memory of this process now; where the system does not tell, the most it ever was."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 1e6


def children() -> int:
    """How many child processes there are."""
    try:
        return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
    except OSError:
        return -1


class Watch:
    """Runs the panel's clicks and times what the user would feel."""

    def __init__(self) -> None:
        import Host

        self.host = Host.start()
        started = time.perf_counter()
        self.panel = self.host.open_panel()
        self.open_s = time.perf_counter() - started
        import slicer

        self.slicer = slicer

    def turn(self) -> None:
        self.slicer.app.processEvents()
        time.sleep(0.0005)

    def until_idle(self) -> None:
        """Nothing runs, and what is there is known."""
        runner = self.panel.panel.work.runner
        quiet = 0
        while quiet < 400:
            self.turn()
            quiet = quiet + 1 if runner.job is None else 0

    def run(self) -> dict[str, float]:
        """One click on the main button, to its end."""
        from SkinSegLib.mrml.jobs import SegmentJob

        finish, prepared = SegmentJob.finish, SegmentJob.arguments
        found: dict[str, float] = {}

        def timed(job: Any, result: Any) -> Any:
            begun = time.perf_counter()
            try:
                return finish(job, result)
            finally:
                found["finish_s"] = time.perf_counter() - begun

        def handed(job: Any) -> Any:
            found["hand_over_s"] = time.perf_counter() - started
            return prepared(job)

        SegmentJob.finish, SegmentJob.arguments = timed, handed  # type: ignore[method-assign]
        longest, started = 0.0, time.perf_counter()
        self.panel.ui.segmentButton.click()
        last = time.perf_counter()
        while self.panel.panel.is_busy:
            self.turn()
            now, put = time.perf_counter(), found.get("finish_s", 0.0)
            longest, last = max(longest, now - last - put * (now - last > put > 0)), now
        SegmentJob.finish, SegmentJob.arguments = finish, prepared  # type: ignore[method-assign]
        found["total_s"] = time.perf_counter() - started
        found["blocked_s"] = longest
        return found


def large(watch: Watch, size: list[int], spacing: list[float], runs: int) -> dict[str, Any]:
    """Runs on one large scan, the first in a new process."""
    from dataclasses import replace

    from SkinSegLib import mrml
    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    spec = replace(
        PhantomSpec.table_and_holder(), shape=tuple(size[::-1]), spacing_mm=tuple(spacing)
    )
    mrml.add_volume(make_phantom(spec).volume, "scan")
    watch.until_idle()
    watch.panel.panel.work.worker.close()
    first = watch.run()
    assert "mL in" in watch.panel.ui.resultLabel.text, watch.panel.ui.resultLabel.text
    warm = []
    for _ in range(runs):
        watch.panel.ui.undoRunButton.click()
        watch.until_idle()
        warm.append(watch.run())
    middle = {key: statistics.median(run[key] for run in warm) for key in warm[0]}
    return {"first": first, "warm": middle, "first_more_s": first["total_s"] - middle["total_s"]}


def many(watch: Watch, count: int) -> dict[str, Any]:
    """So many runs of a small scan in a row, each result removed again."""
    from mrml_makers import small_scan
    from SkinSegLib import mrml

    mrml.add_volume(small_scan(), "scan")
    watch.until_idle()
    held = []
    for _ in range(count):
        watch.run()
        node = watch.panel._parameterNode.segmentation
        watch.slicer.mrmlScene.RemoveNode(node)
        held.append(resident_mb())
    watch.host.close_panel()
    end = time.monotonic() + 5
    while children() > 0 and time.monotonic() < end:
        time.sleep(0.05)
    settled = held[min(9, count - 1)]
    return {
        "runs": count,
        "after_10_mb": settled,
        "after_all_mb": held[-1],
        "growth_mb": held[-1] - settled,
        "slope_kb_a_run": float(np.polyfit(range(len(held)), held, 1)[0] * 1000),
        "children_left": children(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=[512, 512, 250])
    parser.add_argument("--spacing", type=float, nargs=3, default=[0.5, 0.5, 1.0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--many", type=int, default=0)
    options = parser.parse_args()
    watch = Watch()
    if options.many:
        found = many(watch, options.many)
    else:
        found = large(watch, options.size, options.spacing, options.runs)
        watch.host.close_panel()
    print(json.dumps({"open_s": watch.open_s, **found}, indent=2))


if __name__ == "__main__":
    main()
