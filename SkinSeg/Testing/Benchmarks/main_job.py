"""Time and peak memory of the job by either engine, scan in memory to verified STL, and the floor.

    python SkinSeg/Testing/Benchmarks/main_job.py --size 512 512 250 --spacing 0.5 0.5 1 --runs 3

The floor is one thresholding pass plus VTK's flying edges on the same volume, no file written. The
network is loaded, and was run once on a small part, before the clock starts; "(Network)" is its
pass alone, "(Mask)" all up to the mask. Each run has a process of its own, in turn, so that each
has its own peak memory and a change of the machine's speed meets both; the ratio is formed run by
run. The scan is the phantom with table and head holder, rendered once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))


def render(folder: Path, size: tuple[int, int, int], spacing: tuple[float, float, float]) -> None:
    """Write the phantom's voxels and geometry into ``folder``. ``size``, ``spacing``: i, j, k."""
    from dataclasses import replace

    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    spec = replace(
        PhantomSpec.table_and_holder(), shape=(size[2], size[1], size[0]), spacing_mm=spacing
    )
    volume = make_phantom(spec).volume
    np.save(folder / "voxels.npy", volume.voxels)
    np.save(folder / "ijk_to_ras.npy", volume.ijk_to_ras)


def job(folder: Path, engine: str) -> dict[str, Any]:
    """The whole job; seconds per stage, imports excluded as when the program is open."""
    from SkinSegLib.core import CTVolume, Progress
    from SkinSegLib.segmentation import SegmentOptions, segment
    from SkinSegLib.surface import build, write

    _import_everything()
    volume = CTVolume(np.load(folder / "voxels.npy"), np.load(folder / "ijk_to_ras.npy"))
    options = SegmentOptions(engine=engine, device="cpu")
    passes: list[float] = []
    if engine == "network":
        small = CTVolume(np.ascontiguousarray(volume.voxels[::4, ::4, ::4]), volume.ijk_to_ras)
        segment(small, options)
        _time_the_pass(passes)
    progress = Progress()
    started = time.perf_counter()
    mask = segment(volume, options, progress)
    mask_seconds = time.perf_counter() - started
    mesh = build(mask, volume, progress=progress)
    with progress.stage("Write", 0.0):
        write(mesh, folder / "skin.stl")
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "stages": {**progress.seconds, "(Mask)": mask_seconds, "(Network)": sum(passes)},
        "triangles": len(mesh.triangles),
        "closed": mesh.closed,
    }


def _time_the_pass(passes: list[float]) -> None:
    """Let ``passes`` gather how long the network itself takes."""
    from SkinSegLib.segmentation import network

    real = network._predict

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = real(*arguments)
        passes.append(time.perf_counter() - started)
        return result

    network._predict = timed


def floor(folder: Path, engine: str) -> dict[str, Any]:
    """One thresholding pass and flying edges."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    _import_everything()
    voxels = np.load(folder / "voxels.npy")
    started = time.perf_counter()
    image = vtkImageData()
    image.SetDimensions(voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk((voxels >= -480).view(np.uint8).ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.Update()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "triangles": edges.GetOutput().GetNumberOfPolys()}


def _import_everything() -> None:
    """What the job imports on the way: a program that is open has done that already."""
    for name in (
        "scipy.ndimage",
        "scipy.sparse.csgraph",
        "scipy.spatial",
        "SimpleITK",
        "vtkmodules.util.numpy_support",
        "vtkmodules.vtkFiltersCore",
        "vtkmodules.vtkIOGeometry",
        "vtkmodules.vtkIOPLY",
        "vtkmodules.vtkIOXML",
    ):
        importlib.import_module(name)


def _measured(what: str, folder: Path, engine: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", what, "--folder", str(folder)]
    command += ["--engine", engine]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(printed)
    return result


def _child(what: str, folder: Path, engine: str) -> None:
    import resource

    result = {"job": job, "floor": floor}[what](folder, engine)
    result["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 250), metavar="N")
    parser.add_argument("--spacing", type=float, nargs=3, default=(0.5, 0.5, 1.0), metavar="MM")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--engine", choices=("network", "threshold"), default="network")
    parser.add_argument("--child", choices=("job", "floor"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(arguments.child, arguments.folder, arguments.engine)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        render(folder, tuple(arguments.size), tuple(arguments.spacing))
        pairs = [
            tuple(_measured(what, folder, arguments.engine) for what in ("job", "floor"))
            for _ in range(arguments.runs)
        ]
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
            f"peak {median(r['peak_mb'] for r in runs):6.0f} MB   {runs[0]['triangles']} triangles"
        )
    ratios = sorted(a["seconds"] / b["seconds"] for a, b in pairs)
    print(f"ratio  {median(ratios):6.1f}   (from {ratios[0]:.1f} to {ratios[-1]:.1f})")
    for stage in pairs[0][0]["stages"]:
        print(f"  {stage:10} {median(a['stages'][stage] for a, _ in pairs):6.2f} s")


if __name__ == "__main__":
    main()
