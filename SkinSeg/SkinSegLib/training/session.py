"""From a folder of scans to a model: heads, training, learning curves, a bundle."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from SkinSegLib.core import OutputError, Progress, SkinSegError, replacing
from SkinSegLib.segmentation.bundle import Bundle, write_bundle

from .card import LICENCE, model_card, recipe_of, trained_on
from .designs import DESIGNS
from .labels import label_of
from .loader import partly_odd_scene
from .scenes import HeadSource, gather_sources, load_sources, save_sources
from .train import TrainOptions, train

HEADS, HELD_OUT, CURVES, MODEL = "heads.npz", "held-out-heads.npz", "curves.png", "model"
NARROW_CURVES = "curves-narrow.png"
#: Cells of the heads that scenes are made from, mm.
HEAD_MM = 2.0
_MADE_HEADS, _HELD_OUT_MADE_HEADS = 12, 6


@dataclass(frozen=True)
class TrainedModel:
    """``bundle``: the model as a folder; ``curves``: picture; ``log``: CSV of the training."""

    bundle: Bundle
    curves: Path
    log: Path


def train_model(
    data: Path,
    options: TrainOptions,
    name: str,
    version: str,
    progress: Progress | None = None,
    *,
    start: Bundle | None = None,
    odd: float = 1.0,
) -> TrainedModel:
    """Train on the train scans in ``data`` and write a model to ``options.output``/model.

    ``start``: a model of the same design to go on from; None to begin with random weights.
    ``odd``: share of the made scenes that are as scans seldom are, see make_scene, 0..1.
    ``data``: the folder of $SKINSEG_DATA. Heads are read once and kept in the output folder, for
    resuming and for other designs. Progress stages: Heads, Train. Raises ScanReadError where the
    scans are missing, OutputError where there is a model already, SkinSegError where ``odd`` is no
    share, and what train() raises.
    """
    progress = progress or Progress()
    if not 0 <= odd <= 1:
        raise SkinSegError("The share of odd scenes must be from 0 to 1.")
    folder = options.output
    if (folder / MODEL).exists():
        raise OutputError(
            f"There is a model in {folder} already. Choose another folder, or delete {MODEL} in it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    heads = _heads(data, folder / HEADS, False, progress.part(0.0, 0.1))
    held_out = _heads(data, folder / HELD_OUT, True, progress.part(0.1, 0.03))
    make = partial(partly_odd_scene, odd)
    part = progress.part(0.13, 0.87)
    weights = train(heads, held_out, options, part, start, make, {"odd": odd})
    curves = draw_curves(folder)
    design = DESIGNS[options.design]
    how = "Trained by `skinseg train`."
    if start is not None:
        how = f"{trained_on(start.name, start.version, start.sha256)} by `skinseg train`."
    bundle = write_bundle(
        folder / MODEL,
        weights,
        name=name,
        version=version,
        network=design.network,
        arguments=design.arguments,
        cell_mm=design.cell_mm,
        card=model_card(
            name,
            how,
            "Not yet evaluated: run `skinseg evaluate --card` with this folder.",
            recipe_of(folder),
        ),
        licence=LICENCE,
    )
    return TrainedModel(bundle, curves, folder / "log.csv")


def draw_curves(folder: Path, narrow: bool = False) -> Path:
    """Loss, Dice and wrong cells of a training's log.csv as a picture, PNG.

    ``narrow``: loss and Dice alone, for a panel of 400 pixels' width; another file.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with (folder / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(3.9, 1.7) if narrow else (10, 3.2), dpi=90)
    FigureCanvasAgg(figure)
    shown = (("loss", "training loss"), ("dice", "Dice of held-out scenes"),
             ("wrong_cells", "wrong cells of a held-out scene"))  # fmt: skip
    count = 2 if narrow else 3
    for n, (column, title) in enumerate(shown[:count]):
        axes = figure.add_subplot(1, count, n + 1)
        values = [float(r[column]) for r in rows]
        axes.plot([int(r["step"]) for r in rows], values, lw=1.2, marker="." if narrow else "")
        axes.ticklabel_format(useOffset=False)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    path = folder / (NARROW_CURVES if narrow else CURVES)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    return path


def _heads(data: Path, cache: Path, held_out: bool, progress: Progress) -> list[HeadSource]:
    if cache.exists():
        return load_sources(cache)
    made = _HELD_OUT_MADE_HEADS if held_out else _MADE_HEADS
    heads = gather_sources(data, label_of, HEAD_MM, made, held_out, progress)
    with replacing(cache) as temporary:
        save_sources(heads, temporary)
    # As they come back: half precision, so that a resumed training sees the same.
    return load_sources(cache)
