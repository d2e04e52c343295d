"""Whether the scan that is to be labelled next is the one that the model gets most wrong.

    python SkinSeg/Testing/Benchmarks/ranking.py --heads 3

Made heads, whose truth is known: alone, with table and holder, with things in contact, and in gel
at three places (see fine_tune.py). For each the doubt that orders them (training/ranking.py) and
the real error of the mask, not-patient taken in plus patient lost, in mL. The last lines have
Spearman's rank correlation, and the share of all error in the first third by doubt: by chance that
is a third, by knowing the truth it is the most there is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from fine_tune import PLACES, cradle_scan  # noqa: E402
from SkinSegLib.core import CTVolume  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions, segment  # noqa: E402
from SkinSegLib.segmentation.models import find_model  # noqa: E402
from SkinSegLib.segmentation.options import SHIPPED_MODEL  # noqa: E402
from SkinSegLib.training.evaluation import Reference, measure  # noqa: E402
from SkinSegLib.training.phantom import PhantomSpec, make_phantom  # noqa: E402
from SkinSegLib.training.ranking import doubt  # noqa: E402

#: Heads that no training, no validation and no other benchmark uses.
FIRST_SEED, SPACING_MM = 8000, 2.0
Scan = Callable[[], tuple[CTVolume, NDArray[np.uint8]]]


def phantom(spec: PhantomSpec) -> tuple[CTVolume, NDArray[np.uint8]]:
    """The scan of a spec at SPACING_MM, and its solid head."""
    made = make_phantom(spec.resampled((SPACING_MM,) * 3))
    return made.volume, made.truth


def scans(heads: int) -> dict[str, Scan]:
    """What is ordered: several kinds of scan of each head."""
    found: dict[str, Scan] = {}
    for n in range(heads):
        seed = FIRST_SEED + n
        touching = replace(PhantomSpec.touching("foam", "strap"), seed=seed)
        kinds = {
            "alone": PhantomSpec.clean(seed),
            "table": PhantomSpec.table_and_holder(seed=seed),
            "touching": touching,
        }
        for kind, spec in kinds.items():
            found[f"{kind} {n}"] = partial(phantom, spec)
        for place in PLACES:
            found[f"gel {place} {n}"] = partial(cradle_scan, seed, SPACING_MM, place)
    return found


def main() -> None:
    """Print the doubt and the error of every scan, and how far they go together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=3)
    chosen = parser.parse_args()
    bundle = find_model(SHIPPED_MODEL)
    options = SegmentOptions(engine="network", model=SHIPPED_MODEL, device="cpu")
    doubts, errors = [], []
    for name, make in scans(chosen.heads).items():
        volume, truth = make()
        figures = measure(segment(volume, options).voxels, Reference(volume, truth, -480.0))
        doubts.append(doubt(volume, bundle, "cpu"))
        errors.append(figures.taken_ml + figures.lost_ml)
        print(f"{name:14} {doubts[-1]:8.1f} mL in doubt {errors[-1]:8.1f} mL wrong", flush=True)
    third = max(1, len(errors) // 3)
    found = np.array(errors)
    first = found[np.argsort(doubts)[::-1][:third]].sum() / found.sum()
    best = np.sort(found)[::-1][:third].sum() / found.sum()
    print(f"Spearman's rank correlation {stats.spearmanr(doubts, errors).statistic:.2f}")
    print(f"Of all error, in the first third by doubt: {first:.0%}; at best {best:.0%}")


if __name__ == "__main__":
    main()
