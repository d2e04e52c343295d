"""One made scene: a head, moved and deformed, among random things, as a random scanner sees it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import bounding_box, distance_to
from SkinSegLib.segmentation.coarse import Floats

from .effects import scanned
from .field import SceneField
from .rest import Rest
from .sources import HeadSource
from .things import hand, paint_things

#: How often a scan is used with its own surroundings, where it has any.
AS_IT_WAS = 0.35
#: How often the head, or an ear, is pressed flat against something.
_PRESSED = 0.4
#: How often a hand lies beside the head.
_HAND = 0.08
#: How often a scan shows only a part of the head.
_SMALL_FIELD = 0.25
#: The middle of the other scans.
_BELOW_VERTEX_MM = (40.0, 190.0)
#: What a ball of this radius does not fit into is thin, mm.
_THIN_MM = 8.0


@dataclass(frozen=True)
class Scene:
    """``grey``: what the network sees, 0..2. ``filled``: share of each cell that is patient.

    ``alone``: the greys of the patient with nothing around it, as blurred as the scanner shows it
    (thick slices, soft kernels) and without noise, streaks and shading.
    ``weight``: how much each cell counts in training, higher at the skin and in contacts.
    ``source``, ``things``: what it was made from. Arrays are (superior, anterior, right).
    """

    grey: Floats
    filled: Floats
    alone: Floats
    weight: Floats
    source: str
    things: tuple[str, ...]


def make_scene(
    sources: list[HeadSource],
    seed: int,
    cells: int | tuple[int, int, int] = 80,
    size_mm: float = 3.0,
    odd: float = 1.0,
    own: float = AS_IT_WAS,
) -> Scene:
    """The scene of a seed: ``cells`` of ``size_mm`` along S, A, R. The same every time.

    ``odd``: how often it is as scans seldom are, 0..1: the patient upside down or in part, blocks
    and slabs as dense as tissue, bent grey scales. Training is harder than scanners; 0 is as they
    are. ``own``: how often a scan is used with its own surroundings, where it has any.
    """
    cells = (cells, cells, cells) if isinstance(cells, int) else cells
    rng = np.random.default_rng([seed, 20])
    source = _choose(sources, rng)
    as_it_was = source.around is not None and rng.random() < own
    around = source.around if as_it_was and source.around is not None else source.grey
    placed = _placing(source, rng, cells, size_mm, odd)
    filled, alone, grey = _moved((source.filled, source.grey, around), placed)
    filled, alone = np.clip(filled, 0, 1), np.maximum(alone, 0)
    if not (filled >= 0.5).any():
        filled = np.zeros_like(filled)
        return Scene(filled, filled, filled, np.ones_like(filled), source.name, ())
    field = SceneField(filled, size_mm, odd)
    things: list[str] = []
    if as_it_was:
        grey = np.maximum(grey, 0)
        field.things = np.where(filled < 0.5, grey, 0).astype(np.float32)
        things.append("own")
    else:
        if rng.random() < _PRESSED:
            rest = Rest.against(field, rng)
            left = rest.left_of(field)
            filled, alone = filled * left, alone * left
            field = SceneField(filled, size_mm, odd)
            things.append(rest.paint(field, rng))
        if rng.random() < _HAND:
            more = hand(field, rng) * (1 - filled)
            alone = alone + more * np.float32(rng.uniform(0.95, 1.15))
            filled = filled + more
            painted, field = field.things, SceneField(filled, size_mm, odd)
            field.things = painted
            things.append("hand")
        things += paint_things(field, rng)
        grey = alone + (1 - filled) * field.things
    seen, alone, measured = scanned(grey, alone, size_mm, rng, odd)
    # What the scan did not measure cannot be patient in it.
    filled, alone = filled * measured, alone * measured
    return Scene(seen, filled, alone, _weight(field), source.name, tuple(things))


def _choose(sources: list[HeadSource], rng: np.random.Generator) -> HeadSource:
    """The few finely resolved heads as often as all the coarse ones together."""
    fine = [s for s in sources if s.around is not None]
    made = [s for s in sources if s.name.startswith("phantom")]
    coarse = [s for s in sources if s.around is None and not s.name.startswith("phantom")]
    groups = [(g, w) for g, w in ((fine, 0.4), (coarse, 0.4), (made, 0.2)) if g]
    shares = np.array([w for _, w in groups])
    group = groups[int(rng.choice(len(groups), p=shares / shares.sum()))][0]
    return group[int(rng.integers(len(group)))]


def _placing(
    source: HeadSource,
    rng: np.random.Generator,
    cells: tuple[int, int, int],
    size_mm: float,
    odd: float,
) -> NDArray[np.float64]:
    """Where each cell of the scene comes from: (3, *cells) indices in the source."""
    angles = rng.normal(0, 0.22, 3)
    if rng.random() < 0.1 * odd:
        angles = rng.uniform(-np.pi, np.pi, 3)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    child = rng.random() < 0.15
    size = rng.uniform(0.6, 0.85) if child else rng.uniform(0.88, 1.15)
    scale = size * rng.uniform(0.93, 1.07, 3)
    shear = np.eye(3) + np.triu(rng.normal(0, 0.05, (3, 3)), 1)
    matrix = matrix @ shear @ np.diag(1 / scale)
    if rng.random() < 0.5:
        matrix[:, 2] *= -1  # left and right of a head are alike; the label moves with it
    if rng.random() < 0.06 * odd:
        matrix[:, 0] *= -1
    centre = _centre(source, rng, np.array(cells) * size_mm, odd)
    axes = [(np.arange(n) - (n - 1) / 2) * size_mm for n in cells]
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    mm = np.tensordot(matrix, places, axes=1) + centre[:, None, None, None]
    spacing = np.array(source.spacing)[:, None, None, None]
    index: NDArray[np.float64] = mm / spacing - 0.5
    return index


def _centre(
    source: HeadSource, rng: np.random.Generator, room_mm: NDArray[np.float64], odd: float
) -> NDArray[np.float64]:
    """What of the source is in the middle of a scene of that size; mm from the source's corner.

    Scanners are set so that the whole of a head is in the slices, and start and end anywhere along
    the body, mostly about the head. A small field of view is anywhere.
    """
    spacing = np.array(source.spacing)
    extent = np.array(source.filled.shape) * spacing
    box = bounding_box(source.filled >= 0.5, margin=0)
    if box is None or rng.random() < _SMALL_FIELD * odd:
        room = np.maximum(extent - room_mm * 0.6, 40) / 2
        anywhere: NDArray[np.float64] = extent / 2 + rng.uniform(-1, 1, 3) * room
        return anywhere
    low = np.array([part.start for part in box]) * spacing
    high = np.array([part.stop for part in box]) * spacing
    slack = np.maximum(room_mm - (high - low), 0) / 2
    centre: NDArray[np.float64] = (low + high) / 2 + rng.uniform(-1, 1, 3) * slack
    centre += rng.normal(0, 8 * odd, 3)
    below_vertex = rng.uniform(*_BELOW_VERTEX_MM)
    centre[0] = max(high[0] - below_vertex, (low[0] + high[0]) / 2)
    return centre


def _moved(parts: tuple[Floats, ...], index: NDArray[np.float64]) -> list[Floats]:
    """Values at fractional indices; beyond its end a patient goes on, as in a real body."""
    import torch

    last = np.maximum(np.array(parts[0].shape) - 1, 1)[:, None, None, None]
    # PyTorch wants -1 and 1 at the first and last value, and the last axis first.
    places = torch.from_numpy((2 * index / last - 1)[::-1].astype(np.float32))
    moved = torch.nn.functional.grid_sample(
        torch.from_numpy(np.stack(parts))[None],
        places.permute(1, 2, 3, 0)[None],
        mode="bilinear",
        padding_mode="border",
        align_corners=True,
    )
    return list(moved[0].numpy())


def _weight(field: SceneField) -> Floats:
    """1 far from the skin, 3 at it, 6 where something lies against it, 15 in ears and noses.

    What is thin fills few cells, and a network that leaves it out loses little; the user loses an
    ear. What lies against an ear does not weigh as much: tried, it cost the ear.
    """
    from scipy import ndimage

    near = np.exp(-((field.distance / np.float32(6)) ** 2))
    around = max(3, 2 * round(4 / field.size_mm) + 1)
    thing = ndimage.maximum_filter((field.things > 0.1) & (field.distance > 0), around)
    weight: Floats = (1 + 2 * near + 3 * near * thing).astype(np.float32)
    core = field.distance < -_THIN_MM
    if core.any():
        beyond = distance_to(core, (field.size_mm,) * 3) > _THIN_MM + 2 * field.size_mm
        weight[beyond & (field.filled > 0.1)] = 15
    return weight
