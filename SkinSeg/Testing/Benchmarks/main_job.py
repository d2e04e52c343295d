"""Time and peak memory of the job by either engine, scan in memory to verified STL, and the floor.

    python SkinSeg/Testing/Benchmarks/main_job.py --size 512 512 250 --spacing 0.5 0.5 1 --runs 3

The floor is one thresholding pass, VTK's flying edges on the same volume, and the file. The
network is loaded, and was run once on a small part, before the clock starts; "(Network)" is its
pass alone, "(Mask)" all up to the mask. Each run has a process of its own, in turn, so that each
has its own peak memory and a change of the machine's speed meets both; the ratio is formed run by
run. The scan is the phantom with table and head holder, rendered once. page.py has the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

#: The phantom is computed on at most so many voxels; more are interpolated from half as many along
#: each axis, with noise of their own, as computing them takes many minutes.
COMPUTED = 100_000_000
_NOISE_HU = 15.0
#: Seconds that one run may take with its start.
LIMIT_S = 200.0


def render(
    folder: Path, size: tuple[int, int, int], spacing: tuple[float, float, float]
) -> dict[str, float]:
    """Write voxels and geometry of a phantom with table and holder; its volume in mL.

    ``size``, ``spacing``: i, j, k, mm.
    """
    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    half = int(np.prod(size)) > COMPUTED
    shape = tuple((n + 1) // 2 if half else n for n in size[::-1])
    step = tuple(2 * s if half else s for s in spacing)
    spec = replace(PhantomSpec.table_and_holder(), shape=shape, spacing_mm=step)
    made = make_phantom(spec)
    voxels = made.volume.voxels
    matrix = np.array(made.volume.ijk_to_ras)
    volume = float(np.count_nonzero(made.truth)) * np.prod(step) / 1000
    if half:
        voxels = _doubled(voxels, size[::-1])
        matrix[:3, :3] /= 2
    np.save(folder / "voxels.npy", voxels)
    np.save(folder / "ijk_to_ras.npy", matrix)
    return {"truth_ml": float(volume)}


def _doubled(voxels: Any, shape: tuple[int, ...]) -> Any:
    """Voxels at half the distance, linear between those there are, with noise."""
    from scipy import ndimage

    rng = np.random.default_rng(0)
    result = np.empty(shape, np.int16)
    _, rows, columns = shape
    for k in range(shape[0]):
        low, share = divmod(k, 2)
        high = min(low + share, len(voxels) - 1)
        section = (voxels[low].astype(np.float32) + voxels[high]) / 2
        fine = ndimage.zoom(section, 2, order=1, grid_mode=True, mode="nearest")[:rows, :columns]
        fine += _NOISE_HU * rng.standard_normal(fine.shape, np.float32)
        result[k] = np.rint(np.clip(fine, -1024, 3071))
    return result


def measured(what: str, folder: Path, cores: int | None = None, *more: str) -> dict[str, Any]:
    """One run of a contender in a process of its own, on so many cores. See contenders.py.

    One that is not ready after LIMIT_S is ended; it then has "over", the limit, and nothing else.
    """
    command = [sys.executable, str(HERE / "contenders.py"), "--child", what]
    command += ["--folder", str(folder), *more]
    if what == "invesalius":
        command = ["/usr/bin/python3", str(HERE / "invesalius_surface.py"), str(folder)]
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            preexec_fn=lambda: os.sched_setaffinity(0, allowed),
        )
    except subprocess.TimeoutExpired:
        return {"over": LIMIT_S}
    if ran.returncode:
        raise RuntimeError(f"{what} failed:\n{ran.stderr}")
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 250), metavar="N")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.5, 0.5, 1.0), metavar="MM")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engine", choices=("network", "threshold"), default="network")
    arguments = parser.parse_args()
    ours = "skinseg" if arguments.engine == "network" else "skinseg-threshold"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder, tuple(arguments.size), tuple(arguments.spacing))
        pairs = [(measured(ours, folder), measured("floor", folder)) for _ in range(arguments.runs)]
    report(pairs, arguments)


def report(pairs: list[tuple[dict[str, Any], dict[str, Any]]], arguments: Any) -> None:
    """Print medians, and the ratio formed run by run."""
    median = statistics.median
    print(f"{arguments.size} voxels, {arguments.spacing} mm, {arguments.runs} runs, "
          f"engine {arguments.engine}, "
          f"{platform.machine()}, Python {platform.python_version()}")  # fmt: skip
    for label, index in (("job", 0), ("floor", 1)):
        runs = [pair[index] for pair in pairs]
        print(
            f"{label:6} {median(r['seconds'] for r in runs):6.2f} s   "
            f"peak {median(r['peak_mb'] for r in runs):6.0f} MB"
        )
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in pairs)
    print(f"ratio  {median(ratios):6.1f}   (from {ratios[0]:.1f} to {ratios[-1]:.1f})")
    for stage in pairs[0][0]["stages"]:
        print(f"  {stage:10} {median(a['stages'][stage] for a, _ in pairs):6.2f} s")


if __name__ == "__main__":
    main()
