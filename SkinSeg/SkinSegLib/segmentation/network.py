"""Localisation by the network: one pass over the whole scan, on a grid of a few mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..core import CTVolume, Progress, SegmentationError
from .architectures import multiple_of
from .bundle import Bundle
from .coarse import Floats
from .level import Level
from .network_grid import NetworkGrid

if TYPE_CHECKING:
    import torch

#: Cells along an axis that go through the network at once; a head and shoulders is far below.
_WINDOW = 192


def patient_probability(
    volume: CTVolume,
    level: Level,
    bundle: Bundle,
    device: str = "auto",
    progress: Progress | None = None,
) -> tuple[NetworkGrid, Floats, tuple[str, ...]]:
    """How likely each cell is patient, 0..1, on the network's grid.

    Returns the grid, the probabilities (its network_shape) and notes for the user. ``device``:
    "auto", "cpu", "cuda", "cuda:N" or "mps". On a GPU it computes in half precision; where its
    memory is too small, in smaller windows, and then on the CPU, which a note says.

    Raises SegmentationError if the model is unusable or a device that was asked for is absent,
    Cancelled.
    """
    import torch

    progress = progress or Progress()
    chosen = choose_device(device)
    grid = NetworkGrid.over(volume, bundle.cell_mm)
    grey = grid.grey(volume, level)
    progress.update(0.4)
    multiple = multiple_of(bundle.network, bundle.arguments)
    notes: list[str] = []
    attempts = [(chosen, _WINDOW)]
    if chosen != "cpu":
        attempts += [(chosen, _WINDOW // 2), ("cpu", _WINDOW)]
    for place, window in attempts:
        try:
            probability = _predict(bundle, grey, place, multiple, window, progress)
            break
        except torch.OutOfMemoryError:
            if (place, window) == attempts[-1]:
                raise
            following = "in smaller windows" if window == _WINDOW else "on the CPU"
            notes.append(f"The memory of {place} was too small; computed {following} instead.")
    return grid, probability, tuple(notes[-1:])


def choose_device(device: str) -> str:
    """The device to compute on. Raises SegmentationError where one that was asked for is absent."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and int(number or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(kind, False):
        raise SegmentationError(
            f"This computer has no device {device} that PyTorch can use. "
            "Choose auto or cpu, or install the GPU's driver and a PyTorch made for it."
        )
    return device


def _predict(
    bundle: Bundle, grey: Floats, device: str, multiple: int, window: int, progress: Progress
) -> Floats:
    """One pass, or windows where the scan is larger; results are gathered on the CPU."""
    import torch
    from monai.inferers import sliding_window_inference
    from torch.nn.functional import pad

    network = bundle.load_network(device)
    progress.update(0.5)
    # Multiples of the network's strides; the ends go on as they are, as in training.
    room = [-n % multiple for n in grey.shape]
    picture = torch.from_numpy(np.ascontiguousarray(grey))[None, None]
    picture = pad(picture, (0, room[2], 0, room[1], 0, room[0]), mode="replicate")
    windows = -(-window // multiple) * multiple
    on_gpu = device != "cpu"

    def predictor(part: torch.Tensor) -> torch.Tensor:
        progress.check()
        with torch.autocast(device.partition(":")[0], torch.float16, enabled=on_gpu):
            logits: torch.Tensor = network(part)
        return torch.sigmoid(logits.float())

    with torch.inference_mode():
        if max(picture.shape) <= windows:
            found = predictor(picture.to(device)).cpu()
        else:
            found = sliding_window_inference(
                picture,
                (windows,) * 3,
                1,
                predictor,
                overlap=0.25,
                mode="gaussian",
                sw_device=device,
                device="cpu",
            )
    progress.update(1.0)
    a, b, c = grey.shape
    result: Floats = np.ascontiguousarray(found[0, 0, :a, :b, :c].numpy(), np.float32)
    return result
