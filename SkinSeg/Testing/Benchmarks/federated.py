"""Three made hospitals of unequal size train together: federated beside pooled and each alone.

    nice python SkinSeg/Testing/Benchmarks/federated.py -o FOLDER --minutes 60

Every site has heads of its own and a holder of its own kind, as dense as skin and in contact with
it, which the shipped model takes in: 6, 3 and 1 training cases, and 3 test cases each of heads that
no site has trained on. Stopped by --minutes or Ctrl-C, the same command goes on where it was. The
last line says how far the federated model is from the pooled one; the bar is 0.01 surface Dice.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import Cancelled, CTVolume, Progress, distance_to  # noqa: E402
from SkinSegLib.segmentation.models import find_model  # noqa: E402
from SkinSegLib.segmentation.options import SHIPPED_MODEL  # noqa: E402
from SkinSegLib.training.dataset import CaseFolder  # noqa: E402
from SkinSegLib.training.dataset.intake import prepare  # noqa: E402
from SkinSegLib.training.federated.plan import FederatedPlan  # noqa: E402
from SkinSegLib.training.federated.simulate import POOLED, simulate  # noqa: E402
from SkinSegLib.training.finetune import design_of  # noqa: E402
from SkinSegLib.training.phantom import PhantomSpec, make_phantom  # noqa: E402

SPACING_MM = 2.0
#: Training cases of each site, and test cases.
TRAINING, TESTING = (6, 3, 1), 3
#: Heads that neither the shipped model nor rehearsal or its validation has seen.
FIRST_SEED = 7000

Places = NDArray[np.float64]


def behind(x: Places, y: Places, z: Places) -> NDArray[np.bool_]:
    return (y < -35) & (z > -30)


def beside(x: Places, y: Places, z: Places) -> NDArray[np.bool_]:
    return (np.abs(x) > 45) & (y < 40) & (z > -20)


def above(x: Places, y: Places, z: Places) -> NDArray[np.bool_]:
    return z > 70


#: Where a site's holder lies (RAS mm, from between the ear canals), how thick it is, and its HU.
HOLDERS: tuple[tuple[Callable[..., NDArray[np.bool_]], float, float], ...] = (
    (behind, 12.0, 40.0),
    (beside, 16.0, 60.0),
    (above, 9.0, 20.0),
)


def case(seed: int, site: int) -> tuple[CTVolume, NDArray[np.uint8]]:
    """A made head in the holder of a site, and the truth."""
    phantom = make_phantom(PhantomSpec.clean(seed).resampled((SPACING_MM,) * 3))
    volume, truth = phantom.volume, phantom.truth
    where, thick, hu = HOLDERS[site]
    index = np.indices(truth.shape)[::-1].reshape(3, -1)
    x, y, z = (volume.ijk_to_ras[:3, :3] @ index + volume.ijk_to_ras[:3, 3:]).reshape(
        3, *truth.shape
    )
    rng = np.random.default_rng([seed, site])
    distance = distance_to(truth > 0, volume.spacing[::-1])
    body = (distance > 0) & (distance < thick * rng.uniform(0.8, 1.2)) & where(x, y, z)
    share = ndimage.gaussian_filter(body.astype(np.float32), 0.6)
    grey = -1000 + share * (hu + 1000) + rng.normal(0, 8, truth.shape)
    voxels = np.where(truth > 0, volume.voxels, np.maximum(volume.voxels, grey))
    return replace(volume, voxels=np.rint(voxels).astype(np.int16)), truth


def data_set(folder: Path, site: int, train: int, test: int, progress: Progress) -> Path:
    """The data set of a site; what is there already is kept."""
    cases = CaseFolder.create(folder)
    there = len(cases.records())
    for n in range(there, train + test):
        progress.check()
        seed = FIRST_SEED + 100 * site + n
        split = "train" if n < train else "test"
        taken = prepare(*case(seed, site), f"MADE{seed}", split)
        # Made heads are more alike than people.
        cases.add(taken.record, taken.volume, taken.mask, allow_alike=True)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after that much time")
    parser.add_argument("--training", type=int, nargs=3, default=TRAINING, metavar="N")
    parser.add_argument("--testing", type=int, default=TESTING, metavar="N")
    parser.add_argument("--rounds", type=int, default=FederatedPlan.rounds)
    parser.add_argument("--steps", type=int, default=FederatedPlan.local_steps)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    seen: list[str] = []

    def say(stage: str, done: float) -> None:
        line = f"{done:4.0%} {stage}"
        if line not in seen:
            seen.append(line)
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)

    progress = Progress(say, lambda: time.monotonic() > end)
    start = find_model(SHIPPED_MODEL)
    plan = FederatedPlan(design_of(start), arguments.rounds, arguments.steps)
    try:
        data = {
            f"site-{n + 1}": data_set(
                arguments.output / "data" / str(n + 1), n, count, arguments.testing, progress
            )
            for n, count in enumerate(arguments.training)
        }
        done = simulate(
            data,
            start,
            plan,
            arguments.output / "training",
            device=arguments.device,
            progress=progress,
        )
    except (Cancelled, KeyboardInterrupt):
        sys.exit("Stopped; the same command goes on.")
    text = done.table.read_text(encoding="utf-8")
    print(text)
    rows = [[cell.strip() for cell in row.split("|")[1:]] for row in text.splitlines()]
    means = {row[0]: float(row[1]) for row in rows if row and row[0] in (POOLED, "federated")}
    print(f"Federated minus pooled: {means['federated'] - means[POOLED]:+.4f} surface Dice")


if __name__ == "__main__":
    main()
