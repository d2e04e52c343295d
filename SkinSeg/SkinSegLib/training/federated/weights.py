"""Weights as plain arrays: what is sent, what is accepted, and files of them without code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import ModelError, replacing

if TYPE_CHECKING:
    import torch

#: Name of a parameter to its values.
Weights = dict[str, NDArray[np.float32]]
#: No weight of an honest network is larger; a site whose training ran away is left out.
_LARGEST = 1e4
#: No site has more cases: a number beyond it would let one site decide alone.
_MOST_CASES = 100_000


def weights_of(network: torch.nn.Module) -> Weights:
    """The weights of a network, copied. Raises ModelError if it has some that cannot be averaged.

    Counters, which are whole numbers, cannot; no network on our list has them.
    """
    state = network.state_dict()
    if not all(value.is_floating_point() for value in state.values()):
        raise ModelError("The model has weights that cannot be averaged. Choose another one.")
    return {name: value.detach().cpu().float().numpy().copy() for name, value in state.items()}


def put_weights(network: torch.nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Give a network weights that were checked against its own by :func:`checked`."""
    import torch

    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})


def checked(found: Any, expected: Mapping[str, NDArray[np.float32]]) -> Weights:
    """``found`` as weights, if they have the names and shapes of ``expected``.

    Raises ModelError for anything else, and for values that are not finite or very large.
    """
    if not isinstance(found, Mapping) or set(found) != set(expected):
        raise ModelError("These are not the weights of the job's network. Check who sent them.")
    for name, value in found.items():
        plain = isinstance(value, np.ndarray) and value.dtype == np.float32
        if not plain or value.shape != expected[name].shape:
            raise ModelError(f"The weights {name} are not of the job's network. Check who sent it.")
        # False for NaN too.
        if value.size and not float(np.abs(value).max()) <= _LARGEST:
            raise ModelError(f"The weights {name} are not finite, or too large. Leave them out.")
    return dict(found)


def checked_cases(found: Any) -> int:
    """A site's number of cases. Raises ModelError for what cannot be one."""
    whole = isinstance(found, int | float) and not isinstance(found, bool)
    if not whole or not (1 <= found <= _MOST_CASES and found == int(found)):
        raise ModelError("A site must say how many cases it has trained on.")
    return int(found)


def write_weights(weights: Mapping[str, NDArray[np.float32]], path: Path) -> None:
    """Write an .npz file. Raises OutputError."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **weights)  # type: ignore[arg-type]


def read_weights(path: Path) -> Weights:
    """Read what :func:`write_weights` wrote; never code. Raises ModelError for another file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(
            f"{path.name} holds no weights. Get the job again from who made it."
        ) from error
