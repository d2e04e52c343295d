"""How much faster a batch is on two workers of one thread each than on one: wall time as a ratio.

    python SkinSeg/Testing/Benchmarks/batch.py --count 100 --different 10 --runs 1

All of it counts: starting Dask and its workers, loading the network once in each, and the results
in place. Runs on one and on two workers take turns, so that a change of the machine's speed meets
both. What the machine itself could give is measured beside them: how much more work two processes
of plain arithmetic do at once than one alone; where other programs take the cores, or two "cores"
are one, that is well below 2. The scans are phantoms with table and head holder, each of another
head (``--different``), copied until there are ``--count``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import resource
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.batch import (  # noqa: E402
    BatchSettings,
    CaseResult,
    Ledger,
    Status,
    Where,
    find_scans,
    locked,
    make_plan,
    run_plan,
)
from SkinSegLib.core import Progress  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions  # noqa: E402


def write_scans(folder: Path, count: int, different: int, spacing_mm: float) -> None:
    """Phantoms as NRRD, each in a folder of its own."""
    import numpy as np
    import SimpleITK as sitk
    from SkinSegLib.core import LPS_RAS
    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    for number in range(count):
        place = folder / f"scan-{number:03d}"
        place.mkdir(parents=True)
        if number >= different:
            shutil.copy(folder / f"scan-{number % different:03d}" / "scan.nrrd", place)
            continue
        spec = PhantomSpec.table_and_holder(12.0, number).resampled((spacing_mm,) * 3)
        volume = make_phantom(replace(spec, psf_sigma_mm=0.48 * spacing_mm)).volume
        image = sitk.GetImageFromArray(volume.voxels)
        lps = LPS_RAS @ volume.ijk_to_ras
        image.SetSpacing([float(s) for s in volume.spacing])
        image.SetDirection((lps[:3, :3] / np.array(volume.spacing)).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(place / "scan.nrrd"))


@dataclass(frozen=True)
class Run:
    """Seconds of a whole batch into an empty folder: on the wall, of the CPU by this process and by
    the workers; and its results."""

    wall: float
    own_cpu: float
    workers_cpu: float
    results: list[CaseResult]


def batch(source: Path, workers: int, engine: str, stl: bool) -> Run:
    finished: list[CaseResult] = []
    before = cpu_seconds()
    with tempfile.TemporaryDirectory() as name:
        output = Path(name)
        started = time.perf_counter()
        with locked(output):
            ledger = Ledger.of(output)
            settings = BatchSettings.settled(SegmentOptions(engine=engine, device="cpu"), stl)
            plan = make_plan(find_scans(source, output), output, ledger, settings)
            ledger.save(output)
            run_plan(plan, output, Where(workers), Progress(), lambda r, *_: finished.append(r))
        seconds = time.perf_counter() - started
    print(f"{workers} workers: {seconds:.1f} s", file=sys.stderr)
    failed = [result for result in finished if result.status is not Status.DONE]
    if failed:
        raise SystemExit(f"{len(failed)} cases failed, the first: {failed[0].error}")
    own, others = (now - then for now, then in zip(cpu_seconds(), before, strict=True))
    return Run(seconds, own, others, finished)


def cpu_seconds() -> tuple[float, float]:
    """Of this process, and of those it started that have ended."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, others = (u.ru_utime + u.ru_stime for u in used)
    return own, others


def arithmetic(seconds: float) -> int:
    """How many rounds of arithmetic this process does in a time."""
    rounds, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(number * number for number in range(10_000))
        rounds += 1
    return rounds


def machine_ratio(seconds: float = 2.0) -> float:
    """Work of two processes at once as a multiple of one's alone."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(arithmetic, [0.1, 0.1])
        alone = pool.apply(arithmetic, (seconds,))
        return sum(pool.map(arithmetic, [seconds, seconds], chunksize=1)) / alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100, help="scans")
    parser.add_argument("--different", type=int, default=10, help="phantoms that are rendered")
    parser.add_argument("--spacing", type=float, default=2.0, metavar="MM", help="voxels")
    parser.add_argument("--runs", type=int, default=1, help="pairs of runs")
    parser.add_argument("--engine", choices=("network", "threshold"), default="network")
    parser.add_argument("--stl", action="store_true", help="surfaces too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        source = Path(name)
        write_scans(source, arguments.count, arguments.different, arguments.spacing)
        pairs, machine = [], [machine_ratio()]
        for _ in range(arguments.runs):
            pairs.append([batch(source, n, arguments.engine, arguments.stl) for n in (1, 2)])
            machine.append(machine_ratio())
    report(pairs, machine, arguments)


def report(pairs: list[list[Run]], machine: list[float], arguments: argparse.Namespace) -> None:
    """Print medians, and the ratio formed pair by pair."""
    median = statistics.median
    print(f"{arguments.count} scans of {arguments.spacing} mm, engine {arguments.engine}, "
          f"{'with' if arguments.stl else 'without'} surfaces, {arguments.runs} runs, "
          f"{platform.machine()}, Python {platform.python_version()}")  # fmt: skip
    for number, label in ((1, "1 worker"), (2, "2 workers")):
        runs = [pair[number - 1] for pair in pairs]
        wall = median(run.wall for run in runs)
        case = median(result.seconds for run in runs for result in run.results)
        idle = median(number * run.wall - sum(r.seconds for r in run.results) for run in runs)
        own, others = median(r.own_cpu for r in runs), median(r.workers_cpu for r in runs)
        print(
            f"{label:9} {wall:7.1f} s   a case {case:5.2f} s   no case {idle:5.1f} s of all workers"
            f"   CPU {others:6.1f} s by workers, {own:4.1f} s by Dask's scheduler and the rest"
        )
    ratios = sorted(one.wall / two.wall for one, two in pairs)
    print(f"ratio     {median(ratios):7.2f}     (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(
        f"machine   {median(machine):7.2f}     (from {min(machine):.2f} to {max(machine):.2f}): "
        "plain arithmetic, two processes"
    )


if __name__ == "__main__":
    main()
