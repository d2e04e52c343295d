"""Localisation by the network: one pass over the whole scan, on a grid of a few mm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..core import CTVolume, Progress, SegmentationError
from .architectures import multiple_of
from .bundle import WEIGHTS, Bundle
from .coarse import Floats
from .level import Level
from .network_grid import NetworkGrid

if TYPE_CHECKING:
    import torch

#: Cells along an axis that go through the network at once; a head and shoulders is far below.
_WINDOW = 192
#: What PyTorch says of too little memory where it has no exception of its own for it.
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
#: What it says where a GPU is gone or broken: unplugged, its driver reset, asleep, or in use.
_GPU_WORDS = ("cuda", "cudnn", "cublas", "nvml", "nvidia", "hip error", "mps")


class _GpuFailed(Exception):
    """The GPU, not what was computed on it, is the matter."""


def patient_probability(
    volume: CTVolume,
    level: Level,
    bundle: Bundle,
    device: str = "auto",
    progress: Progress | None = None,
    workers: int | None = None,
) -> tuple[NetworkGrid, Floats, tuple[str, ...]]:
    """How likely each cell is patient, 0..1, on the network's grid.

    Returns the grid, the probabilities (its network_shape) and notes for the user. ``device``:
    "auto", "cpu", "cuda", "cuda:N" or "mps". On a GPU it computes in half precision; where memory
    is too small, in smaller windows, and then on the CPU, as where the GPU fails; a note says so.
    ``workers``: the most CPU threads to take, None for PyTorch's own number. The network stays
    loaded for the next scan.

    Raises ModelError if the model is unusable, SegmentationError if a device that was asked for
    is absent or no memory is enough, Cancelled.
    """
    progress = progress or Progress()
    chosen = choose_device(device)
    grid = NetworkGrid.over(volume, bundle.cell_mm)
    grey = grid.grey(volume, level)
    progress.update(0.4)
    multiple = multiple_of(bundle.network, bundle.arguments)
    attempts = [(chosen, _WINDOW), (chosen, _WINDOW // 2)]
    if chosen != "cpu":
        attempts += [("cpu", _WINDOW), ("cpu", _WINDOW // 2)]
    failed = ""
    with threads(workers):
        for n, (place, window) in enumerate(attempts):
            if place == failed:
                continue
            try:
                probability = _fitting(bundle, grey, place, multiple, window, progress)
            except _GpuFailed:
                failed = place
                continue
            if probability is not None:
                notes = _gpu_note(failed) if failed else _memory_note(chosen, place, n)
                return grid, probability, notes
    raise SegmentationError(
        "There is not enough memory for the network. Close other programs, or use the engine "
        "threshold."
    )


def preload(bundle: Bundle, device: str = "auto") -> None:
    """Have the packages and the network in memory, so that the first scan does not wait for them.

    Raises ModelError if the model is unusable, SegmentationError if the device is absent.
    """
    from monai.inferers import sliding_window_inference  # noqa: F401 - takes seconds

    _loaded(bundle, choose_device(device), _stamp(bundle))


def choose_device(device: str) -> str:
    """The device to compute on. Raises SegmentationError where one that was asked for is absent."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind, colon, number = device.partition(":")
    index = int(number) if number.isdecimal() else 0
    there = {
        "cpu": not colon,
        "cuda": torch.cuda.is_available() and index < torch.cuda.device_count(),
        "mps": not colon and torch.backends.mps.is_available(),
    }
    if not there.get(kind, False) or (colon and not number.isdecimal()):
        raise SegmentationError(
            f"This computer has no device {device} that PyTorch can use. "
            "Choose auto or cpu, or install the GPU's driver and a PyTorch made for it."
        )
    return device


def _fitting(
    bundle: Bundle, grey: Floats, device: str, multiple: int, window: int, progress: Progress
) -> Floats | None:
    """What :func:`_predict` gives, or None if memory is too small for it."""
    import torch

    try:
        return _predict(bundle, grey, device, multiple, window, progress)
    except (torch.OutOfMemoryError, MemoryError):
        pass
    except RuntimeError as error:
        said = str(error).lower()
        if not any(words in said for words in _NO_MEMORY):
            if device == "cpu" or not any(words in said for words in _GPU_WORDS):
                raise
            _loaded.cache_clear()  # the next scan may find the GPU well again
            raise _GpuFailed from error
    # Past the handler, which would keep the failed pass's tensors alive.
    _loaded.cache_clear()
    if device.startswith("cuda") and torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


def _gpu_note(device: str) -> tuple[str, ...]:
    return (
        f"The device {device} failed while it computed; computed on the CPU instead. "
        "Restart the program before the next scan to use it again.",
    )


def _memory_note(chosen: str, place: str, failed: int) -> tuple[str, ...]:
    if not failed:
        return ()
    instead = "in smaller windows" if place == chosen else "on the CPU"
    return (f"The memory of {chosen} was too small; computed {instead} instead.",)


def _predict(
    bundle: Bundle, grey: Floats, device: str, multiple: int, window: int, progress: Progress
) -> Floats:
    """One pass, or windows where the scan is larger; results are gathered on the CPU."""
    import torch
    from monai.inferers import sliding_window_inference
    from torch.nn.functional import pad

    network = _loaded(bundle, device, _stamp(bundle))
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
                # Never wider than the scan: MONAI would fill the rest with air.
                tuple(min(windows, n) for n in picture.shape[2:]),
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


def _stamp(bundle: Bundle) -> tuple[int, int]:
    """Time and size of the weights' file; zeros where it is missing, which loading then says."""
    try:
        file = (bundle.folder / WEIGHTS).stat()
    except OSError:
        return 0, 0
    return file.st_mtime_ns, file.st_size


@lru_cache(maxsize=1)
def _loaded(bundle: Bundle, device: str, stamp: tuple[int, int]) -> torch.nn.Module:
    """The network of a model; kept for the next scan while its weights' file is as it was."""
    return bundle.load_network(device)


@contextmanager
def threads(most: int | None) -> Iterator[None]:
    """No more than ``most`` CPU threads within the block, and PyTorch's own number after it."""
    import torch

    before = torch.get_num_threads()
    if most is None or most >= before:
        yield
        return
    torch.set_num_threads(most)
    try:
        yield
    finally:
        torch.set_num_threads(before)
