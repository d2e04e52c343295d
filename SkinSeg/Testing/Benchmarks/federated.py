"""Three made hospitals of unequal size train together: federated beside pooled and each alone.

    nice python SkinSeg/Testing/Benchmarks/federated.py -o FOLDER --minutes 60

Every site has heads of its own and gel in a place of its own (see fine_tune.py), which the shipped
model takes in: 6, 3 and 1 training cases, and 3 test cases each of heads that
no site has trained on. Stopped by --minutes or Ctrl-C, the same command goes on where it was. The
last line says how far the federated model is from the pooled one; the bar is 0.01 surface Dice.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from fine_tune import PLACES, cradle_scan  # noqa: E402
from SkinSegLib.core import Cancelled, Progress  # noqa: E402
from SkinSegLib.segmentation.models import find_model  # noqa: E402
from SkinSegLib.segmentation.options import SHIPPED_MODEL  # noqa: E402
from SkinSegLib.training.dataset import CaseFolder  # noqa: E402
from SkinSegLib.training.dataset.intake import prepare  # noqa: E402
from SkinSegLib.training.federated.plan import FederatedPlan  # noqa: E402
from SkinSegLib.training.federated.simulate import POOLED, simulate  # noqa: E402
from SkinSegLib.training.finetune import design_of  # noqa: E402

SPACING_MM = 2.0
#: A model that gained less than this in surface Dice has not learned the kinds.
_LEARNED = 0.05
#: Training cases of each site, and test cases.
TRAINING, TESTING = (6, 3, 1), 3
#: Heads that neither the shipped model nor rehearsal or its validation has seen.
FIRST_SEED = 7000


def data_set(folder: Path, site: int, train: int, test: int, progress: Progress) -> Path:
    """The data set of a site; what is there already is kept."""
    cases = CaseFolder.create(folder)
    there = len(cases.records())
    for n in range(there, train + test):
        progress.check()
        seed = FIRST_SEED + 100 * site + n
        split = "train" if n < train else "test"
        scan = cradle_scan(seed, SPACING_MM, PLACES[site])
        taken = prepare(*scan, f"MADE{seed}", split, check=False)
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
    means = {
        row[0]: float(row[1]) for row in rows if row and row[0] in ("before", POOLED, "federated")
    }
    print(f"Federated minus pooled: {means['federated'] - means[POOLED]:+.4f} surface Dice")
    if means[POOLED] - means["before"] < _LEARNED:
        print("The pooled model is hardly better than the one before: this says nothing yet.")


if __name__ == "__main__":
    main()
