"""The benchmark page as Markdown, from the figures that page.py measured."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

MAIN = "512x512x250"
#: The budgets of the issue: bytes for each voxel, and MB beyond.
_BYTES, _BASE_MB = 8, 1024
_FLOOR = 5.0
#: What the tables call the programs, and what is included.
LABELS = {
    "skinseg": "**SkinSeg**, network",
    "skinseg-gpu": "SkinSeg, network on the GPU",
    "skinseg-threshold": "SkinSeg, without the network",
    "slicer": "Slicer's recipe",
    "invesalius": "InVesalius",
    "nnunet-6": "net of nnU-Net's size, 6 mm",
    "nnunet-1.5": "net of nnU-Net's size, 1.5 mm",
    "floor": "floor",
}
#: Stages up to the mask. InVesalius's largest region is one of the surface. The nets have yet to go
#: back to the scan's grid after these.
_MASK = {
    "skinseg": ("(Mask)",),
    "skinseg-gpu": ("(Mask)",),
    "skinseg-threshold": ("(Mask)",),
    "slicer": ("Threshold, islands, median",),
    "nnunet-6": ("Resample", "(Network)"),
    "nnunet-1.5": ("Resample", "(Network)"),
}
_INTRO = """# Benchmarks

Made by one command, which also says how long it takes and what it needs:

    python SkinSeg/Testing/Benchmarks/page.py --results FOLDER -o Docs/benchmarks.md

Times are of the work from the scan in memory to an STL file on the disk, with everything imported
and loaded, as in a program that is open. Each run has a process of its own, so its memory is the
most that process ever held. Programs that are compared take turns, and a ratio is formed within a
turn; tables have the median. The scan is a made head with table and head holder, noise and hair.
"""
_PROGRAMS = """
* **SkinSeg**: mask by the network or by thresholds, closed surface with its checks, file.
* **Slicer's recipe**: what a user clicks, by Slicer's own code (slicer-core): threshold at the
  level of the scan, largest island, median of 3 mm, closed surface with smoothing 0.5, file.
* **InVesalius**: its own functions without its window: preset "Skin Tissue (Adult)", surface,
  largest region, file. Its memory is that of the largest of its processes.
* **Net of nnU-Net's size**: a network with the stages and channels that nnU-Net's planner gives for
  a patch of 128 (1.5 mm) and 64 (6 mm) voxels, as TotalSegmentator's "body" uses it: resampling,
  windows that overlap by half, one fold, no mirroring, back. Its weights are random: the cost is
  that of trained ones, the mask means nothing, and the surface is that of the floor: open, in
  parts, unchecked. *To a verified STL*: its mask, then SkinSeg's surface of that turn (a sum).
* **Floor**: one threshold, flying edges, one file. Nothing can be had for less.
* **mask**: up to the mask; of the nets without their way back to the scan's grid, of InVesalius it
  cannot be told, as its largest region is one of the surface.
"""


def page(found: dict[str, Any]) -> str:
    """The whole page."""
    parts = [
        _INTRO,
        _on(found["machine"], found["gpu"]),
        "## The same work by others\n",
        _compared(found["compared"]),
        _files(found["compared"]),
        _PROGRAMS,
        "## Budgets\n",
        _budgets(found),
        "## Sizes\n",
        _sizes(found["sizes"], found["voxels"]),
        "## Cores\n",
        _cores(found["cores"]),
        "## Start-up\n",
        _start(found["start"], found["compared"]["skinseg"]),
        "## What takes the time\n",
        _profile(found["profile"]),
        "## Accuracy\n",
        "By `skinseg evaluate`, on scans that no training has seen.\n",
        found["accuracy"].replace("\n## ", "\n### "),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all but the first column are numbers."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows]) + "\n"


def middle(runs: Sequence[dict[str, Any]], name: str) -> float:
    """The median of a figure over runs."""
    return statistics.median(run[name] for run in runs)


def ratio(runs: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> float:
    """The median over the turns of how much longer the first took."""
    pairs = zip(runs, others, strict=False)  # one that ran once is compared in its turn
    return statistics.median(a["seconds"] / b["seconds"] for a, b in pairs)


def mask_seconds(name: str, runs: Sequence[dict[str, Any]]) -> float:
    """The median over runs of the time up to the mask; ``name``: a key of _MASK."""
    return statistics.median(_mask_of(name, run) for run in runs)


def verified_ratio(
    name: str, runs: Sequence[dict[str, Any]], ours: Sequence[dict[str, Any]]
) -> float:
    """The median over the turns of how much longer a mask takes with SkinSeg's own surface after
    it, of which a net's file, the floor's contour, has no part; ``name``: a key of _MASK."""
    shares = [
        (_mask_of(name, run) + own["seconds"] - _mask_of("skinseg", own)) / own["seconds"]
        for run, own in zip(runs, ours, strict=False)
    ]
    return statistics.median(shares)


def _mask_of(name: str, run: dict[str, Any]) -> float:
    return float(sum(run["stages"][stage] for stage in _MASK[name]))


def _on(machine: dict[str, str], gpu: bool) -> str:
    versions = ", ".join(
        f"{name} {value}"
        for name, value in machine.items()
        if name not in ("processor", "system", "date")
    )
    graphics = "with a GPU" if gpu else "no GPU"
    return (
        f"Measured on {machine['date']}: {machine['processor']}, {machine['system']}, {graphics}; "
        f"{versions}.\n"
    )


def _compared(found: dict[str, list[Any]]) -> str:
    ours, floor = found["skinseg"], found["floor"]
    rows = [
        [
            LABELS[name],
            f"{mask_seconds(name, runs):.2f}" if name in _MASK else "-",
            f"{middle(runs, 'seconds'):.2f}",
            f"{ratio(runs, ours):.2f}",
            f"{ratio(runs, floor):.1f}",
            f"{middle(runs, 'peak_mb'):.0f}",
            str(len(runs)),
        ]
        for name, runs in sorted(found.items(), key=lambda item: middle(item[1], "seconds"))
    ]
    head = [MAIN, "mask, s", "all, s", "times SkinSeg", "times floor", "peak MB", "runs"]
    text = table(head, rows)
    if "invesalius" not in found:
        text += "\nInVesalius was not there.\n"
    return text


def _files(found: dict[str, list[Any]]) -> str:
    rows = []
    for name, runs in found.items():
        file = runs[0]["file"]
        if name.startswith("nnunet"):
            continue  # its surface is the floor's
        pairs = file["self_intersections"]
        rows.append(
            [
                LABELS[name],
                f"{file['triangles']:,}",
                f"{file['megabytes']:.0f}",
                "yes" if file["closed"] else "no",
                f"{file['components']:,}",
                "-" if pairs is None else f"{pairs:,}",
                "yes" if file["printable"] else "no",
                f"{file['share_of_truth']:.1%}",
            ]
        )
    head = ["the file", "triangles", "MB", "closed", "parts", "crossing pairs", "printable",
            "volume of the true"]  # fmt: skip
    return table(head, rows)


def _budgets(found: dict[str, Any]) -> str:
    runs = found["compared"]
    ours = runs["skinseg"]
    rows = []
    for name in runs:
        if name in ("floor", "skinseg", "skinseg-gpu", "skinseg-threshold"):
            continue
        times = ratio(runs[name], ours)
        rows.append([f"faster than {LABELS[name]}", f"{times:.2f} times", _kept(times > 1)])
        if name in _MASK:
            times = mask_seconds(name, runs[name]) / mask_seconds("skinseg", ours)
            rows.append(["the same, the mask alone", f"{times:.2f} times", _kept(times > 1)])
        if name.startswith("nnunet"):
            times = verified_ratio(name, runs[name], ours)
            rows.append(["the same, to a verified STL", f"{times:.2f} times", _kept(times > 1)])
    floor = ratio(ours, runs["floor"])
    rows.append([f"within {_FLOOR:.0f} times the floor", f"{floor:.1f} times",
                 _kept(floor <= _FLOOR)])  # fmt: skip
    for size, of_size in found["sizes"].items():
        allowed = _BYTES * found["voxels"][size] / 2**20 + _BASE_MB
        peak = of_size["skinseg"]["peak_mb"]
        rows.append([f"{size}: at most {_BYTES} bytes a voxel and 1 GB, {allowed:.0f} MB",
                     f"{peak:.0f} MB", _kept(peak <= allowed)])  # fmt: skip
    return table(["budget (2 cores, in memory to verified STL)", "measured", "kept"], rows)


def _kept(yes: bool) -> str:
    return "yes" if yes else "**no**"


def _sizes(sizes: dict[str, Any], voxels: dict[str, int]) -> str:
    first = next(iter(sizes.values()))["skinseg"]
    stages = [name for name in first["stages"] if not name.startswith("(")]
    head = ["s", *sizes]
    rows = [["voxels, millions", *(f"{voxels[size] / 1e6:.0f}" for size in sizes)]]
    for stage in [*stages, "(Network)"]:
        cells = (sizes[size]["skinseg"]["stages"].get(stage, 0.0) for size in sizes)
        rows.append([stage, *(f"{value:.2f}" for value in cells)])
    for label, name in (("**all**", "skinseg"), ("Slicer's recipe", "slicer"), ("floor", "floor")):
        rows.append([label, *(_figure(sizes[size][name], "seconds", 2) for size in sizes)])
    rows.append(
        ["ms for a million voxels",
         *(f"{sizes[s]['skinseg']['seconds'] / voxels[s] * 1e9:.0f}" for s in sizes)]
    )  # fmt: skip
    for label, name in (("peak MB", "skinseg"), ("peak MB, Slicer's recipe", "slicer")):
        rows.append([label, *(_figure(sizes[size][name], "peak_mb", 0) for size in sizes)])
    return table(head, rows) + "\n" + _growth(sizes, voxels)


def _figure(run: dict[str, Any], name: str, digits: int) -> str:
    """A figure of a run, or what is known of it if the run was ended."""
    if "over" in run:
        return f"over {run['over']:.0f}" if name == "seconds" else "-"
    return f"{run[name]:.{digits}f}"


def _growth(sizes: dict[str, Any], voxels: dict[str, int]) -> str:
    """The slope of log seconds over log voxels."""
    points = [
        (math.log(voxels[size]), math.log(of_size["skinseg"]["seconds"]))
        for size, of_size in sizes.items()
    ]
    slope = statistics.linear_regression(*zip(*points, strict=True)).slope
    return (
        f"Time grows as the voxels to the power {slope:.2f}. One run of each; (Network) is part of "
        "Locate. The last two scans are interpolated from half the resolution, with noise of their "
        "own, as computing the phantom on so many voxels takes many minutes.\n"
    )


def _cores(cores: dict[int, list[Any]]) -> str:
    rows = [
        [str(n), f"{middle(runs, 'seconds'):.2f}", f"{middle(runs, 'peak_mb'):.0f}"]
        for n, runs in cores.items()
    ]
    gain = ratio(cores[1], cores[2])
    return table([f"cores, {MAIN}", "s", "peak MB"], rows) + f"\nTwo for one: {gain:.2f} times.\n"


def _start(found: dict[str, float], runs: list[Any]) -> str:
    rows = [["`skinseg --version`", f"{found['version']:.2f}"]]
    if "cold" in found:
        rows.append(["`skinseg scan.nrrd -o skin.stl`, nothing in the cache",
                     f"{found['cold']:.2f}"])  # fmt: skip
    rows.append(["the same again", f"{found['warm']:.2f}"])
    start, work = middle(runs, "start_s"), middle(runs, "seconds")
    rows.append(["of that: imports, model, a first small scan", f"{start:.2f}"])
    rows.append(["and the work itself, the program being open", f"{work:.2f}"])
    return table([MAIN, "s"], rows)


def _profile(found: dict[str, Any]) -> str:
    rows = [[f"`{name}`", f"{calls:,}", f"{own:.2f}"] for name, calls, own in found["profile"]]
    slowest = max(
        (item for item in found["stages"].items() if not item[0].startswith("(")),
        key=lambda item: item[1],
    )
    text = f"The slowest stage is {slowest[0]}, {slowest[1]:.2f} s of {found['seconds']:.2f} s "
    text += "(under Python's profiler). The functions with most time of their own:\n\n"
    return text + table(["function", "calls", "s"], rows)
