"""Hundreds of runs of mixed scans through one warm worker, with random cancels: does anything leak?

    python SkinSeg/Testing/Benchmarks/soak.py --runs 500

Made heads alone, with table, touched, tilted, cut off and with voxels of several sizes, by the
network and by thresholds, and two scans that have to be refused. Each result must be, voxel by
voxel and point by point, the one that a worker of its own gave at the beginning. A share of the
runs is cancelled after a random time. In the end: memory of worker and owner over the runs, files
they hold, folders in memory and on the disk, processes. Exits with 1 if anything is not as it was.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import Cancelled, CTVolume, Progress, SkinSegError  # noqa: E402
from SkinSegLib.pipeline import JobOptions, JobResult  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions  # noqa: E402
from SkinSegLib.training.phantom import PhantomSpec, make_phantom  # noqa: E402
from SkinSegLib.worker import Exchange, SubprocessTransport, Worker, run  # noqa: E402
from SkinSegLib.worker.messages import ScanMessage, get_result  # noqa: E402

#: Growth in MB from the end of the warming up to the last run that is still called flat.
FLAT_MB = 40.0
#: Runs until every part of the program was in use.
WARMING = 40


def scans() -> dict[str, CTVolume]:
    """What is segmented, by name; those with "refused" in it have no head."""
    air = np.full((40, 60, 60), -1000, np.int16)
    specs = {
        "alone": (PhantomSpec.clean(1), 3.0),
        "table": (PhantomSpec.table_and_holder(), 2.5),
        "touching": (PhantomSpec.touching("foam", "strap"), 3.0),
        "cone beam": (PhantomSpec.cone_beam(), 3.0),
        "coarse": (PhantomSpec.clean(2), 4.0),
    }
    found = {
        name: make_phantom(spec.resampled((mm,) * 3)).volume for name, (spec, mm) in specs.items()
    }
    tilted = np.array(found["alone"].ijk_to_ras)
    tilted[1, 2] = 0.3 * tilted[2, 2]
    found["tilted"] = replace(found["alone"], ijk_to_ras=tilted)
    part = found["coarse"].voxels[:, :, 20:]
    found["cut"] = replace(found["coarse"], voxels=np.ascontiguousarray(part))
    found["air, refused"] = CTVolume(air, np.diag([3.0, 3.0, 3.0, 1.0]))
    found["flat, refused"] = CTVolume(air[:, :, :2] * 0, np.diag([3.0, 3.0, 3.0, 1.0]))
    return found


@dataclass
class Seen:
    """What is counted over the runs."""

    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    worker_mb: dict[int, list[float]] = field(default_factory=dict)
    owner_mb: list[float] = field(default_factory=list)
    cancel_s: list[float] = field(default_factory=list)


def main() -> None:
    """Do the runs, print what was found, and say whether all is as it was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--cancelled", type=float, default=0.2, help="share of the runs")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        # A folder for temporary files that no other program uses.
        os.environ["TMPDIR"] = tempfile.tempdir = place
        problems = soak(chosen)
    sys.exit("\n".join(problems) if problems else 0)


def soak(chosen: argparse.Namespace) -> list[str]:
    """All runs; what is not as it should be."""
    rng = random.Random(chosen.seed)
    things = [(name, scan, engine) for name, scan in scans().items() for engine in ENGINES]
    expected = {(name, engine): alone(scan, engine) for name, scan, engine in things}
    for (name, engine), (answer, seconds) in expected.items():
        print(f"{name:15} {engine:10} {seconds:5.1f} s in a new worker, {answer[:60]}", flush=True)
    before = state(0)
    worker = Worker(SubprocessTransport)
    seen = Seen()
    for number in range(chosen.runs):
        name, scan, engine = rng.choice(things)
        answer, seconds = expected[name, engine]
        limit = rng.random() * seconds if rng.random() < chosen.cancelled else None
        once(worker, scan, engine, limit, f"{number} {name} {engine}", answer, seen)
        if (number + 1) % 50 == 0:
            print(f"{number + 1} runs, {dict(seen.outcomes)}", flush=True)
    held = state(worker.pid)
    worker.close()
    time.sleep(1)
    return report(seen, before, held, state(0), worker.generation)


ENGINES = ("network", "threshold")


def alone(scan: CTVolume, engine: str) -> tuple[str, float]:
    """What a new worker says to a scan, and how long a second run takes it."""
    worker = Worker(SubprocessTransport)
    try:
        answer(worker, scan, engine)
        started = time.perf_counter()
        return answer(worker, scan, engine), time.perf_counter() - started
    finally:
        worker.close()


def once(
    worker: Worker,
    scan: CTVolume,
    engine: str,
    limit: float | None,
    what: str,
    expected: str,
    seen: Seen,
) -> None:
    """One run, cancelled after ``limit`` seconds, and what there is to see of it."""
    started = time.monotonic()

    def is_over() -> bool:
        return limit is not None and time.monotonic() - started > limit

    try:
        found = answer(worker, scan, engine, Progress(is_cancelled=is_over))
    except Cancelled:
        seen.outcomes["cancelled"] += 1
        seen.cancel_s.append(time.monotonic() - started - (limit or 0.0))
    else:
        seen.outcomes["refused" if found.startswith("refused") else "done"] += 1
        if found != expected:
            seen.wrong.append(f"{what}: {found} instead of {expected}")
        if worker.is_ready:
            seen.worker_mb.setdefault(worker.generation, []).append(resident_mb(worker.pid))
        seen.owner_mb.append(resident_mb(os.getpid()))


def answer(worker: Worker, scan: CTVolume, engine: str, progress: Progress | None = None) -> str:
    """A hash of all that the worker gives back, or why it refused. Raises Cancelled."""
    options = JobOptions(SegmentOptions(engine=engine, device="cpu"), layer_mm=9.0)
    try:
        with Exchange(3 * scan.voxels.nbytes) as place:
            arguments = {
                "scan": asdict(ScanMessage.of(scan, place.folder)),
                "options": asdict(options),
                "folder": str(place.folder),
            }
            return digest(get_result(run(worker, "segment", arguments, progress), place.folder))
    except Cancelled:
        raise
    except SkinSegError as error:
        return f"refused: {type(error).__name__}: {error}"


def digest(result: JobResult) -> str:
    """SHA-256 of the masks and both meshes."""
    found = hashlib.sha256()
    for array in (
        result.mask.voxels,
        result.layer_voxels,
        *(part for mesh in (result.head, result.layer) for part in (mesh.points, mesh.triangles)),
    ):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def resident_mb(pid: int) -> float:
    """Memory that a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def state(worker: int) -> dict[str, int]:
    """What could leak: files held by owner and worker, children, folders left."""
    mine = os.getpid()
    found = {
        "files of the owner": len(os.listdir(f"/proc/{mine}/fd")),
        "processes": len(Path(f"/proc/self/task/{mine}/children").read_text().split()),
        "threads of the owner": len(os.listdir(f"/proc/{mine}/task")),
        "folders in memory": len(list(Path("/dev/shm").glob("skinseg-*"))),
        "folders on the disk": len(list(Path(tempfile.gettempdir()).glob("skinseg-*"))),
    }
    if worker:
        found["files of the worker"] = len(os.listdir(f"/proc/{worker}/fd"))
        found["threads of the worker"] = len(os.listdir(f"/proc/{worker}/task"))
    return found


def report(
    seen: Seen, before: dict[str, int], held: dict[str, int], after: dict[str, int], lives: int
) -> list[str]:
    """Print what was seen; what is not as it should be."""
    problems = [f"wrong result: {line}" for line in seen.wrong]
    print(f"\n{dict(seen.outcomes)}, {len(seen.wrong)} wrong, {lives} worker processes")
    if seen.cancel_s:
        times = np.array(seen.cancel_s)
        print(f"cancelled within {np.median(times):.2f} s (median), {times.max():.2f} s at most")
    memory = {"owner": seen.owner_mb}
    memory |= {f"worker {n}": m for n, m in seen.worker_mb.items() if len(m) > 2 * WARMING}
    for who, held_mb in memory.items():
        if len(held_mb) <= 2 * WARMING:
            continue
        settled = np.array(held_mb[WARMING:])
        slope = np.polyfit(range(len(settled)), settled, 1)[0]
        growth = float(np.median(settled[-WARMING // 2 :]) - np.median(settled[: WARMING // 2]))
        print(
            f"{who}: {settled[0]:.0f} MB after warming up, {settled[-1]:.0f} MB in the end, most "
            f"{settled.max():.0f} MB; growth {growth:+.1f} MB over {len(settled)} runs "
            f"({slope * 1000:+.1f} kB a run)"
        )
        if growth > FLAT_MB:
            problems.append(f"{who} grew by {growth:.0f} MB")
    for name, count in held.items():
        print(
            f"{name}: {before.get(name, '-')} before, {count} at work, {after.get(name, '-')} after"
        )
        if name in before and after[name] > before[name]:
            problems.append(f"{name}: {after[name] - before[name]} left")
    return problems


if __name__ == "__main__":
    main()
