"""Training the network on made scenes: deterministic by seed, resumable, on CPU or GPU."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SkinSegLib.core import Cancelled, Progress, SkinSegError, replacing
from SkinSegLib.segmentation.architectures import build
from SkinSegLib.segmentation.bundle import Bundle
from SkinSegLib.segmentation.network import threads
from SkinSegLib.segmentation.plain_weights import load_plain

from .designs import DESIGNS, Design
from .loader import SceneMaker, scene_loader, validation_scenes
from .scenes import HeadSource, make_scene

if TYPE_CHECKING:
    import torch

_CHECKPOINT, _BEST, _LOG = "checkpoint.pt", "best.pt", "log.csv"
#: What older checkpoints do not say, and were made with.
_UNSAID = {"started from": "", "odd": 1.0}


@dataclass(frozen=True)
class TrainOptions:
    """What a training run is.

    ``output``: folder for checkpoint, log and weights. ``design``: a name in DESIGNS. ``steps``:
    of ``batch`` scenes each, None for what the design says. ``minutes``: stop after that much time,
    None for no limit. ``device``: "cpu", "cuda", "cuda:N". ``workers``: processes that make scenes.
    ``resume``: go on from the folder's checkpoint. ``validate_every``: steps; ``patience``:
    validations without a better score before training stops early. Raises SkinSegError for values
    that make no sense.
    """

    output: Path
    design: str = "residual-2.5mm"
    steps: int = 9000
    minutes: float | None = None
    device: str = "cpu"
    seed: int = 0
    workers: int = 1
    resume: bool = False
    batch: int | None = None
    learning_rate: float = 2e-3
    validate_every: int = 200
    patience: int = 15
    validation_scenes: int = 24

    def __post_init__(self) -> None:
        if self.design not in DESIGNS:
            raise SkinSegError(
                f"There is no design {self.design!r}. Choose one of {', '.join(DESIGNS)}."
            )
        if min(self.steps, self.scenes, self.validate_every, self.patience) < 1:
            raise SkinSegError("Steps, batch, validation interval and patience must be at least 1.")
        if not 0 < self.learning_rate <= 1:
            raise SkinSegError("The learning rate must be above 0, and at most 1.")

    @property
    def scenes(self) -> int:
        """Scenes a step."""
        return DESIGNS[self.design].batch if self.batch is None else self.batch


@dataclass
class _State:
    """What a checkpoint holds beside the weights."""

    step: int = 0
    best: float = float("-inf")
    best_step: int = 0
    seconds: float = 0.0


def train(
    sources: list[HeadSource],
    validation: list[HeadSource],
    options: TrainOptions,
    progress: Progress | None = None,
    start: Bundle | None = None,
    make: SceneMaker = make_scene,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Train a design and return the file of the best weights (a state dict).

    ``start``: a model of the same design to go on from; None to begin with random weights.
    ``make``: makes the scenes that are trained on, and those that are validated on. ``about``: what
    else the recipe says of them, and must be the same for a training to be resumed.

    ``options.output`` also holds ``log.csv`` (step, loss, validation Dice, learning rate,
    seconds) and ``recipe.json``. Progress stage: Train. The learning rate follows one cosine over
    ``steps``, or over ``minutes`` where given. Raises SkinSegError where a checkpoint does not fit
    the options, Cancelled with a checkpoint of the last step in place.
    """
    import torch

    progress = progress or Progress()
    design = DESIGNS[options.design]
    fixed = {**_fixed(options, start), **(about or {})}
    options.output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(options.seed)
    device = torch.device(options.device)
    network = _begun(design, start).to(device)
    optimiser = make_optimiser(network, options)
    if options.resume:
        state = _restore(options.output, fixed, network, optimiser)
    else:
        state = _State()
        (options.output / _LOG).unlink(missing_ok=True)
        _write_recipe(options, design, sources, start, about or {})
    batches = scene_loader(sources, options, design, range(state.step, options.steps), make)
    held_out = validation_scenes(validation, design, options, make)
    started = time.monotonic() - state.seconds
    patience = options.patience * options.validate_every
    losses: list[float] = []
    rate = 0.0

    def check() -> None:
        score = _validate(network, held_out, device)
        _log(options.output, state, float(np.mean(losses)), score, rate)
        losses.clear()
        _keep_best(options.output, network, state, score[0])
        _keep(options.output, fixed, network, optimiser, state)

    with threads(_free_cores(options)), progress.stage("Train", 1.0):
        for batch in batches:
            done = state.step / options.steps
            state.seconds = time.monotonic() - started
            if options.minutes is not None:
                done = max(done, state.seconds / (60 * options.minutes))
            if done >= 1 or state.step - state.best_step > patience:
                break
            try:
                progress.update(done)
            except Cancelled:
                if losses:
                    _keep(options.output, fixed, network, optimiser, state)
                raise
            rate = _set_rate(optimiser, options, state.step, done)
            losses.append(_step(network, optimiser, [part.to(device) for part in batch]))
            state.step += 1
            if state.step % options.validate_every == 0:
                check()
        if losses:
            check()
    return options.output / _BEST


def make_optimiser(network: torch.nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """The optimiser of a training, before its first step."""
    import torch

    return torch.optim.AdamW(network.parameters(), lr=options.learning_rate, weight_decay=1e-4)


def run_steps(
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    sources: list[HeadSource],
    options: TrainOptions,
    steps: range,
    make: SceneMaker = make_scene,
    progress: Progress | None = None,
) -> list[float]:
    """Take some of a training's steps on ``network``, and return the loss before each.

    ``steps``: which of the ``options.steps``; scenes and learning rate are those of the same steps
    of :func:`train`. Nothing is validated or written. ``network`` is on ``options.device``. Raises
    Cancelled.
    """
    progress = progress or Progress()
    losses = []
    batches = scene_loader(sources, options, DESIGNS[options.design], steps, make)
    with threads(_free_cores(options)):
        for step, batch in zip(steps, batches, strict=True):
            progress.update((step - steps.start) / len(steps))
            _set_rate(optimiser, options, step, step / options.steps)
            losses.append(_step(network, optimiser, [part.to(options.device) for part in batch]))
    return losses


def _set_rate(
    optimiser: torch.optim.Optimizer, options: TrainOptions, step: int, done: float
) -> float:
    """The learning rate of a step: one cosine over all of the training, after a warm-up."""
    rate = options.learning_rate * max(0.5 * (1 + math.cos(math.pi * done)), 0.01)
    rate *= min(1.0, (step + 1) / 50)
    for group in optimiser.param_groups:
        group["lr"] = rate
    return rate


def _free_cores(options: TrainOptions) -> int:
    """Threads that wait for a core which a scene maker has cost more than they bring."""
    return max(1, (os.cpu_count() or 1) - options.workers)


def _begun(design: Design, start: Bundle | None) -> torch.nn.Module:
    """The network that training begins with."""
    if start is None:
        return build(design.network, dict(design.arguments))
    same = start.network == design.network and dict(start.arguments) == dict(design.arguments)
    if not (same and start.cell_mm == design.cell_mm):
        raise SkinSegError(
            f"The model {start.name} is of another design than the training. Choose its own design."
        )
    return start.load_network()


def _keep_best(folder: Path, network: torch.nn.Module, state: _State, dice: float) -> None:
    if dice > state.best:
        state.best, state.best_step = dice, state.step
        _save(network.state_dict(), folder / _BEST)


def _step(
    network: torch.nn.Module, optimiser: torch.optim.Optimizer, batch: list[torch.Tensor]
) -> float:
    """One step of gradient descent; the loss before it."""
    import torch

    network.train()
    optimiser.zero_grad()
    with _fast(batch[0].device.type):
        logits = network(batch[0])
    loss = loss_of(logits.float(), batch[1], batch[2])
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _fast(device: str) -> torch.autocast:
    """Products in bfloat16 where the processor has units for it; they take half the time."""
    import torch

    able = {
        "cpu": lambda: bool(torch.cpu.get_capabilities().get("amx_bf16")),
        "cuda": torch.cuda.is_bf16_supported,
    }
    return torch.autocast(device, torch.bfloat16, enabled=device in able and able[device]())


def loss_of(logits: torch.Tensor, filled: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross entropy with the share of each cell that is filled, and soft Dice.

    All (batch, 1, S, A, R). Dice keeps small parts of the field from being ignored;
    the weights make the skin and its contacts count most.
    """
    import torch
    from monai.losses import DiceLoss

    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, filled, weight)
    dice: torch.Tensor = DiceLoss(sigmoid=True, smooth_dr=1.0, smooth_nr=1.0)(logits, filled)
    return entropy + dice


def _validate(
    network: torch.nn.Module, scenes: list[tuple[Any, Any]], device: torch.device
) -> tuple[float, float]:
    """Mean Dice and mean number of wrong cells, over held-out scenes."""
    import torch
    from monai.metrics import compute_dice

    network.eval()
    dice, wrong = [], []
    with torch.inference_mode():
        for grey, filled in scenes:
            with _fast(device.type):
                logits = network(torch.from_numpy(grey)[None, None].to(device))[0, 0].float().cpu()
            found, truth = logits > 0, torch.from_numpy(filled) >= 0.5
            dice.append(float(compute_dice(found[None, None], truth[None, None])))
            wrong.append(float((found ^ truth).sum()))
    return float(np.nanmean(dice)), float(np.mean(wrong))


def _write_recipe(
    options: TrainOptions,
    design: Design,
    sources: list[HeadSource],
    start: Bundle | None,
    about: Mapping[str, Any],
) -> None:
    recipe = {
        "design": options.design,
        "network": design.network,
        "arguments": dict(design.arguments),
        "cell_mm": design.cell_mm,
        "shapes": [list(shape) for shape in design.shapes],
        "seed": options.seed,
        "batch": options.scenes,
        "steps": options.steps,
        "minutes": options.minutes,
        "learning_rate": options.learning_rate,
        "started_from": None if start is None else start.identity,
        **about,
        "sources": [source.name for source in sources],
    }
    text = json.dumps(recipe, indent=2) + "\n"
    with replacing(options.output / "recipe.json") as temporary:
        temporary.write_text(text, encoding="utf-8")


def _log(folder: Path, state: _State, loss: float, score: tuple[float, float], rate: float) -> None:
    """Add a line to log.csv; lines beyond a checkpoint that was resumed from are repeated."""
    path = folder / _LOG
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        if new:
            file.write("step,loss,dice,wrong_cells,learning_rate,seconds\n")
        file.write(
            f"{state.step},{loss:.5f},{score[0]:.5f},{score[1]:.1f},{rate:.2e},"
            f"{state.seconds:.1f}\n"
        )


def _save(data: Any, path: Path) -> None:
    import torch

    with replacing(path) as temporary:
        torch.save(data, temporary)


def _keep(
    folder: Path,
    fixed: Mapping[str, Any],
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    state: _State,
) -> None:
    """Write the checkpoint that training goes on from after a stop or a crash."""
    kept = {
        **fixed,
        "network": network.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": asdict(state),
    }
    _save(kept, folder / _CHECKPOINT)


def _fixed(options: TrainOptions, start: Bundle | None) -> dict[str, Any]:
    """What must be the same for a training to be resumed."""
    return {
        "design": options.design,
        "seed": options.seed,
        "batch": options.scenes,
        "started from": "" if start is None else start.sha256,
    }


def _restore(
    folder: Path,
    fixed: Mapping[str, Any],
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
) -> _State:
    import pickle

    path = folder / _CHECKPOINT
    if not path.is_file():
        raise SkinSegError(f"There is no {_CHECKPOINT} in {folder}. Train without --resume.")
    try:
        kept = {**_UNSAID, **load_plain(path)}
    except (pickle.UnpicklingError, EOFError) as error:
        raise SkinSegError(
            f"{_CHECKPOINT} in {folder} holds no plain numbers and was not read. "
            "Train without --resume, in another folder."
        ) from error
    for name, value in fixed.items():
        if kept[name] != value:
            raise SkinSegError(
                f"The checkpoint in {folder} was made with {name} {kept[name]}, not "
                f"{value}. Use the same one, or another folder."
            )
    network.load_state_dict(kept["network"])
    optimiser.load_state_dict(kept["optimiser"])
    return _State(**kept["state"])
