"""The made scenes that a training sees, and those that it is validated on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING, Any

from .designs import Design
from .scenes import HeadSource, Scene, make_scene

if TYPE_CHECKING:
    import torch

    from .train import TrainOptions

#: Seeds of scenes: validation and evaluation scenes are never trained on.
VALIDATION_SEED, EVALUATION_SEED = 2_000_000_000, 3_000_000_000
#: From heads, a seed, a shape and the size of a cell to a scene. A function at the top of a module
#: or a partial of one: it is sent to other processes.
SceneMaker = Callable[[list[HeadSource], int, tuple[int, int, int], float], Scene]


def partly_odd_scene(
    odd: float, sources: list[HeadSource], seed: int, cells: tuple[int, int, int], size_mm: float
) -> Scene:
    """One of scenes of which the share ``odd`` is as scans seldom are, the rest as they are.

    See make_scene; which it is goes by the seed, in turn.
    """
    is_odd = floor((seed + 1) * odd) - floor(seed * odd)
    return make_scene(sources, seed, cells, size_mm, odd=float(is_odd))


def scene_loader(
    sources: list[HeadSource],
    options: TrainOptions,
    design: Design,
    steps: range,
    make: SceneMaker,
) -> Iterator[list[torch.Tensor]]:
    """The batches of some steps; the same whatever the number of workers."""
    from torch.utils.data import DataLoader

    indices = range(steps.start * options.scenes, steps.stop * options.scenes)
    scenes = _Scenes(sources, options.seed, options.scenes, design, indices, make)
    return iter(DataLoader(scenes, batch_size=options.scenes, num_workers=options.workers))


@dataclass(frozen=True)
class _Scenes:
    """A torch map-style data set: the n-th scene of a run."""

    sources: list[HeadSource]
    seed: int
    batch: int
    design: Design
    indices: range
    make: SceneMaker

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, n: int) -> tuple[Any, Any, Any]:
        index = self.indices[n]
        # All scenes of a batch are of one shape.
        shape = self.design.shapes[index // self.batch % len(self.design.shapes)]
        seed = self.seed * 1_000_000 + index
        scene = self.make(self.sources, seed, shape, self.design.cell_mm)
        return scene.grey[None], scene.filled[None], scene.weight[None]


def validation_scenes(
    sources: list[HeadSource], design: Design, options: TrainOptions, make: SceneMaker
) -> list[tuple[Any, Any]]:
    """Scenes of held-out heads, the same in every run and for every seed."""
    batches = []
    for n in range(options.validation_scenes):
        shape = design.shapes[n % len(design.shapes)]
        scene = make(sources, VALIDATION_SEED + n, shape, design.cell_mm)
        batches.append((scene.grey, scene.filled))
    return batches
