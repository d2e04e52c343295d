"""Docs/benchmarks.md: SkinSeg beside what people use, over sizes and cores, start-up and accuracy.

    python SkinSeg/Testing/Benchmarks/page.py --results FOLDER -o Docs/benchmarks.md

Every figure is kept in FOLDER as soon as it is measured; a second start measures only what is not
there. Programs that are compared run in turn, and each ratio is formed within one turn. InVesalius
needs Debian's package of that name, the accuracy $SKINSEG_DATA; what is not there is left out, and
the page says so. Nothing else should run meanwhile: about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from main_job import measured, render  # noqa: E402
from page_text import page  # noqa: E402

#: i, j, k and mm; the second one is that of the budgets.
SIZES = {
    "256x256x100": ((256, 256, 100), (1.0, 1.0, 1.5)),
    "512x512x250": ((512, 512, 250), (0.5, 0.5, 1.0)),
    "512x512x600": ((512, 512, 600), (0.5, 0.5, 0.6)),
    "768x768x768": ((768, 768, 768), (0.3, 0.3, 0.3)),
}
MAIN = "512x512x250"
#: Compared with in every turn; the large net only once, as it takes minutes.
OTHERS = ("floor", "slicer", "invesalius", "nnunet-6")
ONCE = ("nnunet-1.5",)
TURNS = 3


class Results:
    """What was measured, a JSON file for each thing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.scans = tempfile.TemporaryDirectory()

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """The value kept under ``name``, or measured now and kept."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
            path.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def scan(self, size: str) -> Path:
        """The folder of a rendered scan."""
        folder = Path(self.scans.name) / size
        if not folder.is_dir():
            folder.mkdir()
            made = render(folder, *SIZES[size])
            (folder / "truth.json").write_text(json.dumps(made), encoding="utf-8")
        return folder


def run(results: Results, size: str, what: str, turn: int, cores: int | None = None) -> Any:
    """One run of a program, with what its file is like where that is asked for the first time."""

    def measure() -> Any:
        folder = results.scan(size)
        found = measured(what, folder, cores)
        if size == MAIN and not turn and not cores:
            found["file"] = file_figures(folder)
        return found

    name = "-".join([size, what, *([f"{cores}core"] if cores else []), str(turn)])
    return results.get(name, measure)


def file_figures(folder: Path) -> dict[str, Any]:
    """What the STL file in a folder is worth, by SkinSeg's check of meshes."""
    from SkinSegLib.surface import check, read_mesh

    found = check(read_mesh(folder / "skin.stl"))
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))["truth_ml"]
    return {
        "triangles": found.triangles,
        "closed": found.closed,
        "self_intersections": found.self_intersections,
        "components": found.components,
        "printable": found.printable,
        "share_of_truth": found.volume_ml / truth,
        "megabytes": (folder / "skin.stl").stat().st_size / 1e6,
    }


def compared(results: Results) -> dict[str, list[Any]]:
    """Every program's runs on the main size, turn by turn."""
    names = [name for name in ("skinseg", "skinseg-threshold", *OTHERS) if there(name)]
    found: dict[str, list[Any]] = {name: [] for name in names}
    for turn in range(TURNS):
        for name in names:
            found[name].append(run(results, MAIN, name, turn))
    for name in ONCE:
        found[name] = [run(results, MAIN, name, 0)]
    if gpu():
        found["skinseg-gpu"] = [run(results, MAIN, "skinseg-gpu", turn) for turn in range(TURNS)]
    return found


def there(name: str) -> bool:
    """Whether a program can be run on this machine."""
    return name != "invesalius" or Path("/usr/share/invesalius").is_dir()


def gpu() -> bool:
    """Whether PyTorch finds one."""
    import torch

    return bool(torch.cuda.is_available())


def start_up(results: Results) -> dict[str, float]:
    """Seconds of whole commands on the main size, files read from disk and from the cache."""
    import numpy as np
    import SimpleITK

    folder = results.scan(MAIN)
    path = folder / "scan.nrrd"
    image = SimpleITK.GetImageFromArray(np.load(folder / "voxels.npy"))
    image.SetSpacing(SIZES[MAIN][1])
    SimpleITK.WriteImage(image, str(path))
    program = str(Path(sys.executable).with_name("skinseg"))
    whole = [program, "segment", str(path), "-o", str(folder / "out.stl"), "--device", "cpu"]
    found = {}
    if drop_caches():
        found["cold"] = seconds(whole)
    found["warm"] = statistics.median(seconds(whole) for _ in range(TURNS))
    found["version"] = statistics.median(seconds([program, "--version"]) for _ in range(TURNS))
    return found


def drop_caches() -> bool:
    """Have the system forget the files it holds in memory; False where it does not let us."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3\n", encoding="ascii")
    except OSError:
        return False
    return True


def seconds(command: list[str]) -> float:
    """How long a command takes. Raises CalledProcessError if it fails."""
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def accuracy(results: Results) -> str:
    """The tables of "skinseg evaluate" on the test scans, or why there is none."""
    folder = results.folder / "accuracy"
    if not (folder / "evaluation.md").is_file():
        program = str(Path(sys.executable).with_name("skinseg"))
        command = [program, "evaluate", "--set", "test", "-o", str(folder), "--device", "cpu"]
        for engine in ("network", "threshold", "slicer-recipe-filled"):
            command += ["--engine", engine]
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            return f"Not measured: {ran.stderr.strip().splitlines()[-1]}"
    return (folder / "evaluation.md").read_text(encoding="utf-8")


def machine() -> dict[str, str]:
    """What it was measured on, without the machine's name."""
    names = ("torch", "monai", "vtk", "numpy", "SimpleITK", "slicer-core")
    found = {"python": platform.python_version(), **{name: version(name) for name in names}}
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), model)
    found["processor"] = f"{model}, {len(os.sched_getaffinity(0))} cores"
    found["system"] = f"{platform.system()} {platform.machine()}"
    found["date"] = time.strftime("%d %B %Y")
    if there("invesalius") and (query := shutil.which("dpkg-query")):
        command = [query, "-W", "-f", "${Version}", "invesalius"]
        found["invesalius"] = subprocess.run(command, capture_output=True, text=True).stdout
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True, help="folder of the figures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    chosen = parser.parse_args()
    results = Results(chosen.results)
    found = {
        "machine": results.get("machine", machine),
        "gpu": gpu(),
        "compared": compared(results),
        "cores": {n: [run(results, MAIN, "skinseg", t, n) for t in range(TURNS)] for n in (1, 2)},
        "start": results.get("start", lambda: start_up(results)),
        "profile": results.get(
            "profile", lambda: measured("skinseg", results.scan(MAIN), None, "--profile")
        ),
        "sizes": {
            size: {what: run(results, size, what, 0) for what in ("skinseg", "floor", "slicer")}
            for size in SIZES
        },
        "voxels": {size: shape[0] * shape[1] * shape[2] for size, (shape, _) in SIZES.items()},
        "accuracy": accuracy(results),
    }
    chosen.output.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
