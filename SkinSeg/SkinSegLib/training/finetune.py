"""From a model and corrected scans to a better model of one's own.

Six of ten scenes that are trained on show corrected scans, mostly with their own surroundings and
in part with other heads in them (:mod:`.transplant`); the others are made scenes of made heads,
so that nothing is forgotten (rehearsal: Robins 1995, Connection Science 7:123). The weights start
from the model's; with less than the learning rate of a training from scratch the kind that it gets
wrong is not learned in minutes (Benchmarks/fine_tune.py: 3e-4, 68 to 77 % of the error; 1.5e-3,
97 %).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from SkinSegLib.core import OutputError, Progress, SkinSegError, replacing
from SkinSegLib.segmentation.bundle import Bundle, write_bundle

from .card import LICENCE, NOT_COMPARED, model_card, recipe_of, trained_on
from .dataset import CaseFolder, CaseRecord
from .designs import DESIGNS
from .labels import label_of
from .scenes import HeadSource, Scene, gather_sources, load_sources, make_scene, save_sources
from .scenes.sources import from_scan, made_source
from .session import HEAD_MM, MODEL, draw_curves
from .train import TrainOptions, train
from .transplant import SURROUNDINGS, surroundings, transplanted

#: Before the name of a head that is somebody's own case.
OWN = "case/"
_CACHE, _HELD_OUT, _CASES = "heads.npz", "held-out-heads.npz", "cases.json"
#: Made heads to rehearse on; their seeds, and the first one of those to validate on, are those of
#: the shipped model.
MADE_HEADS, _HELD_OUT_SEED = 8, 1000
#: How often a corrected scan is shown with what was around it.
_AS_IT_WAS = 0.85
#: How often another head is laid in its place.
_TRANSPLANTED = 0.6


@dataclass(frozen=True)
class FineTuneOptions:
    """``output``: folder for checkpoint, log and model. ``name``, ``version``: of the model.

    ``steps``, ``minutes``, ``device``, ``seed``, ``workers``, ``resume``: see
    :class:`.train.TrainOptions`. ``batch``: scenes a step; with one the weights move twice as often
    in the same time. ``share``: of the scenes, that show corrected scans, 0..1.
    ``data``: folder of $SKINSEG_DATA whose scans are rehearsed too, None for made heads only.
    ``made``: made heads to rehearse on; a fourth as many besides are to validate on.
    ``validation_scenes``: that say which of the weights are the best.
    """

    output: Path
    name: str = "my-model"
    version: str = "1"
    steps: int = 1500
    minutes: float | None = 12.0
    device: str = "cpu"
    seed: int = 0
    workers: int = 1
    resume: bool = False
    share: float = 0.6
    learning_rate: float = 1.5e-3
    batch: int = 1
    data: Path | None = None
    made: int = MADE_HEADS
    validation_scenes: int = 16

    def training(self, design: str) -> TrainOptions:
        """The options of the training itself."""
        every = max(1, min(100, self.steps // 6))
        return TrainOptions(
            self.output,
            design,
            self.steps,
            self.minutes,
            self.device,
            self.seed,
            self.workers,
            self.resume,
            batch=self.batch,
            learning_rate=self.learning_rate,
            validate_every=every,
            patience=8,
            validation_scenes=self.validation_scenes,
        )


@dataclass(frozen=True)
class FineTuned:
    """``bundle``: the model as a folder; ``curves``: picture; ``log``: CSV; ``cases``: names."""

    bundle: Bundle
    curves: Path
    log: Path
    cases: tuple[str, ...]


def fine_tune(
    cases: CaseFolder, start: Bundle, options: FineTuneOptions, progress: Progress | None = None
) -> FineTuned:
    """Train ``start`` on the training cases of a data set and write a model to output/model.

    Test cases are never read. A training that was cancelled or killed goes on from its checkpoint
    with ``resume``, with the cases that it began with. Progress stages: Heads, Train.

    Raises SkinSegError without training cases or for a model of an unknown design, OutputError
    where there is a model already, Cancelled with the last checkpoint in place.
    """
    progress = progress or Progress()
    folder = options.output
    if (folder / MODEL).exists():
        raise OutputError(
            f"There is a model in {folder} already. Choose another folder, or delete {MODEL} in it."
        )
    design = design_of(start)
    folder.mkdir(parents=True, exist_ok=True)
    heads, held_out, names = _heads(cases, options, progress.part(0.0, 0.15))
    make = partial(mixed_scene, share=options.share)
    training = options.training(design)
    weights = train(heads, held_out, training, progress.part(0.15, 0.85), start, make)
    curves = draw_curves(folder)
    bundle = write_bundle(
        folder / MODEL,
        weights,
        name=options.name,
        version=options.version,
        network=start.network,
        arguments=start.arguments,
        cell_mm=start.cell_mm,
        threshold=start.threshold,
        card=model_card(
            f"{options.name} {options.version}",
            f"{trained_on(**start.identity)} by corrected scans: {len(names)} cases "
            f"({', '.join(names)}).",
            NOT_COMPARED,
            {
                **recipe_of(folder),
                "share of corrected scans": options.share,
                "other heads": "those of the shipped model" if options.data else "made ones",
            },
        ),
        licence=LICENCE,
        authors="Whoever trained it",
    )
    return FineTuned(bundle, curves, folder / "log.csv", names)


def can_resume(output: Path) -> bool:
    """Whether a training in this folder was stopped before it ended."""
    return (output / "checkpoint.pt").is_file() and not (output / MODEL).exists()


def design_of(bundle: Bundle) -> str:
    """The name in DESIGNS of a model's design. Raises SkinSegError if it has none."""
    for name, design in DESIGNS.items():
        same = (design.network, dict(design.arguments)) == (bundle.network, dict(bundle.arguments))
        if same and design.cell_mm == bundle.cell_mm:
            return name
    raise SkinSegError(
        f"The model {bundle.name} is of a design that cannot be trained here. Choose another one."
    )


def mixed_scene(
    sources: list[HeadSource],
    seed: int,
    shape: tuple[int, int, int],
    size_mm: float,
    share: float = 0.5,
) -> Scene:
    """The scene of a seed: ``share`` of them of one's own cases, in more than half of these with
    another head, the rest made ones."""
    kinds = {kind: [s for s in sources if s.name.startswith(kind)] for kind in (OWN, SURROUNDINGS)}
    own, places = kinds.values()
    others = [s for s in sources if not s.name.startswith((OWN, SURROUNDINGS))]
    rng = np.random.default_rng([seed, 40])
    if own and (not others or rng.random() < share):
        if places and others and rng.random() < _TRANSPLANTED:
            place, head = places[rng.integers(len(places))], others[rng.integers(len(others))]
            own = [transplanted(place, head, rng)]
        return make_scene(own, seed, shape, size_mm, odd=0.3, own=_AS_IT_WAS)
    return make_scene(others, seed, shape, size_mm)


def own_head(cases: CaseFolder, record: CaseRecord) -> HeadSource:
    """A case as scenes are made from, with what was around the head."""
    volume, mask = cases.read(record)
    if mask is None:
        raise SkinSegError(f"{record.name} has no label yet. Label it first.")
    return from_scan(OWN + record.name, volume, mask, HEAD_MM, real_scene=True)


def _heads(
    cases: CaseFolder, options: FineTuneOptions, progress: Progress
) -> tuple[list[HeadSource], list[HeadSource], tuple[str, ...]]:
    """Heads to train and to validate on, and the names of the cases; those of an earlier start."""
    files = [options.output / name for name in (_CACHE, _HELD_OUT, _CASES)]
    there = all(file.is_file() for file in files)
    names = tuple(json.loads(files[2].read_text(encoding="utf-8"))) if there else ()
    chosen = [record for record in cases.records() if record.split == "train"]
    # A number is never given twice, so the same names are the same cases.
    if there and (options.resume or names == tuple(record.name for record in chosen)):
        return load_sources(files[0]), load_sources(files[1]), names
    if not chosen:
        raise SkinSegError("The data set has no cases for training. Add some first.")
    own: list[HeadSource] = []
    with progress.stage("Heads", 1.0):
        for record in chosen:
            own.append(own_head(cases, record))
            progress.update(0.5 * len(own) / len(chosen))
        heads, held_out = _rehearsal(options, progress)
    places = [surroundings(source) for source in own]
    for path, sources in ((files[0], heads + own + places), (files[1], held_out + own + places)):
        with replacing(path) as temporary:
            save_sources(sources, temporary)
    names = tuple(record.name for record in chosen)
    with replacing(files[2]) as temporary:
        temporary.write_text(json.dumps(names) + "\n", encoding="utf-8")
    # As they come back: half precision, so that a resumed training sees the same.
    return load_sources(files[0]), load_sources(files[1]), names


def _rehearsal(
    options: FineTuneOptions, progress: Progress
) -> tuple[list[HeadSource], list[HeadSource]]:
    made, held_out = options.made, (options.made + 3) // 4
    if options.data is not None:
        both = [
            gather_sources(options.data, label_of, HEAD_MM, count, other, progress.part(0.5, 0.5))
            for count, other in ((made, False), (held_out, True))
        ]
        return both[0], both[1]
    seeds = [*range(made), *range(_HELD_OUT_SEED, _HELD_OUT_SEED + held_out)]
    heads = []
    for seed in seeds:
        heads.append(made_source(seed, HEAD_MM))
        progress.update(0.5 + 0.5 * len(heads) / len(seeds))
    return heads[:made], heads[made:]
