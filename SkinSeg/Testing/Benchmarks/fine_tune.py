"""What fine-tuning on three corrected scans brings on their kind, and what it costs elsewhere.

    python SkinSeg/Testing/Benchmarks/fine_tune.py --output FOLDER

The kind is made: a head in a cradle of gel as dense as skin, which the shipped network takes for
the patient. The model is trained on from the shipped one on seeds 201 to 203 as corrected scans,
through the same data set and the same function as "skinseg train --cases". The table then has old
and new model on seeds 301 to 306, which nothing was ever tuned on, and on the test scans of
$SKINSEG_DATA where they are. A second start with the same folder goes on from the checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import CTVolume, Progress, SkinSegError  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions  # noqa: E402
from SkinSegLib.segmentation.models import find_model  # noqa: E402
from SkinSegLib.segmentation.options import SHIPPED_MODEL  # noqa: E402
from SkinSegLib.training.dataset import CaseFolder  # noqa: E402
from SkinSegLib.training.dataset.intake import prepare  # noqa: E402
from SkinSegLib.training.evaluation import (  # noqa: E402
    DataSet,
    Engine,
    Row,
    by_segment,
    evaluate,
    single_scans,
)
from SkinSegLib.training.evaluation.cases import Case, Entry  # noqa: E402
from SkinSegLib.training.evaluation.measures import Reference  # noqa: E402
from SkinSegLib.training.finetune import FineTuneOptions, fine_tune  # noqa: E402
from SkinSegLib.training.phantom import PhantomSpec, make_phantom  # noqa: E402

CORRECTED, UNSEEN = (201, 202, 203), (301, 302, 303, 304, 305, 306)
#: Gel: like skin and the fat under it.
_GEL_HU, _GRAIN_HU = 35.0, 12.0


#: Where gel may lie.
PLACES = ("back", "side", "top")


def cradle_scan(
    seed: int, spacing_mm: float = 1.5, place: str = "back"
) -> tuple[CTVolume, NDArray[np.uint8]]:
    """A made head in a cradle of gel, and its solid head (k, j, i). ``place``: one of PLACES."""
    shape = tuple(round(mm / spacing_mm) for mm in (252, 282, 282))
    rng = np.random.default_rng([seed, 7])
    spec = PhantomSpec(
        seed=seed,
        shape=shape,  # type: ignore[arg-type]
        spacing_mm=(spacing_mm,) * 3,
        center_ras=(0.0, -18.0, 16.0),
        noise_hu=10.0,
        hair=bool(rng.random() < 0.5),
    )
    made = make_phantom(spec)
    matrix = made.volume.ijk_to_ras
    k, j, i = np.indices(shape, np.float32)
    right, front, top = (
        matrix[axis, 0] * i + matrix[axis, 1] * j + matrix[axis, 2] * k + matrix[axis, 3]
        for axis in range(3)
    )
    # A block behind the head that rises at its sides: its front face is a bowl.
    side, rim = rng.uniform(95, 115), rng.uniform(-45, -15)
    bottom = rng.uniform(-130, -118)
    low, high = rng.uniform(-75, -50), rng.uniform(60, 110)
    bowl = rim + 18 * np.abs(right / side) ** 3
    faces = {
        "back": [np.abs(right) - side, front - bowl, bottom - front, low - top, top - high],
        "side": [np.abs(front + 15) - side, 55 + rim / 2 - right, right + bottom, low - top,
                 top - high],
        "top": [np.abs(right) - side, np.abs(front + 15) - side, 105 + rim - top, top - 132],
    }  # fmt: skip
    distance = np.maximum.reduce(faces[place])
    share = np.clip(0.5 - distance / spacing_mm, 0, 1) * (made.truth == 0)
    # A film of air here and there, as where hair keeps the gel off.
    grey = made.volume.voxels.astype(np.float32)
    gel = _GEL_HU + _GRAIN_HU * rng.standard_normal(shape).astype(np.float32)
    air = np.clip((-500 - grey) / 500, 0, 1)
    grey += share * air * (gel + 1000)
    # The voxels that the skin's edge shares with air are filled up with gel as well.
    edge = share * (1 - air) * np.clip(-grey, 0, None)
    voxels = np.rint(np.clip(grey + edge, -1024, 3071)).astype(np.int16)
    return CTVolume(voxels, matrix), made.truth


def unseen(seeds: tuple[int, ...] = UNSEEN) -> DataSet:
    """Scans of the kind that no training has seen, as a data set to evaluate on."""

    def load(seed: int, progress: Progress) -> Case:
        progress.check()
        volume, mask = cradle_scan(seed)
        return Case(Reference(volume, mask, -480.0))

    return DataSet("cradle", tuple(Entry(f"cradle-{s}", partial(load, s)) for s in seeds))


def main() -> None:
    """Train, evaluate, print the table and the two figures that the issue asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=FineTuneOptions.minutes)
    parser.add_argument("--steps", type=int, default=FineTuneOptions.steps)
    parser.add_argument("--rate", type=float, default=FineTuneOptions.learning_rate)
    parser.add_argument("--share", type=float, default=FineTuneOptions.share)
    parser.add_argument("--no-test", action="store_true", help="without the test scans")
    chosen = parser.parse_args()
    old = find_model(SHIPPED_MODEL)
    cases = CaseFolder.create(chosen.output / "cases")
    for seed in CORRECTED[len(cases.records()) :]:
        taken = prepare(*cradle_scan(seed), patient=f"MADE{seed}")
        cases.add(taken.record, taken.volume, taken.mask)
    options = FineTuneOptions(
        chosen.output / "training",
        steps=chosen.steps,
        minutes=chosen.minutes,
        learning_rate=chosen.rate,
        share=chosen.share,
        resume=(chosen.output / "training" / "checkpoint.pt").is_file(),
    )
    started = time.monotonic()
    if not (options.output / "model").is_dir():
        fine_tune(cases, old, options)
    print(f"Fine-tuning took {(time.monotonic() - started) / 60:.1f} min on {os.cpu_count()} cores")
    sets = [unseen()]
    if not chosen.no_test:
        sets.append(single_scans("test"))
    segmenting = SegmentOptions(engine="network", device="cpu")
    new = options.output / "model"
    engines = [
        Engine(name, partial(by_segment, options=replace(segmenting, model=model)))
        for name, model in (("old", old.name), ("new", str(new)))
    ]
    result = evaluate(sets, engines, done=_say)
    for warning in result.warnings:
        print(f"Warning: {warning}")
    _sum_up([row for row in result.rows if row.reference == "first"])


def _say(row: Row) -> None:
    figures = row.figures
    print(
        f"{row.case:22} {row.engine:16} within 1 mm {figures.surface_dice_1mm:.4f}, "
        f"mean {figures.skin.mean:.3f} mm, taken {figures.taken_ml:7.1f}, "
        f"lost {figures.lost_ml:6.1f} mL {row.problem}",
        flush=True,
    )


def _sum_up(rows: list[Row]) -> None:
    def error(engine: str) -> float:
        found = [r.figures for r in rows if r.engine == engine and r.data_set == "cradle"]
        return sum(figures.taken_ml + figures.lost_ml for figures in found)

    print(f"Error of the kind: {error('old'):.0f} mL before, {error('new'):.0f} mL after: "
          f"{1 - error('new') / error('old'):.1%} less")  # fmt: skip
    elsewhere = [r for r in rows if r.data_set == "test"]
    for case in dict.fromkeys(row.case for row in elsewhere):
        share = {r.engine: r.figures.surface_dice_1mm for r in elsewhere if r.case == case}
        print(f"Surface Dice of {case}: {share['new'] - share['old']:+.4f}")


if __name__ == "__main__":
    try:
        main()
    except SkinSegError as error:
        sys.exit(str(error))
