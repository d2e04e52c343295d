"""Networks that a model may be: a name from this list and plain numbers, never code.

Every one takes one channel of grey values and gives one channel, the logit of "patient".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..core import ModelError

if TYPE_CHECKING:
    import torch

#: Arguments that each network takes, by MONAI's names.
_ALLOWED = {
    "UNet": frozenset({"channels", "strides", "num_res_units"}),
    "SegResNet": frozenset({"init_filters", "blocks_down", "blocks_up"}),
}
#: No honest model of this program has a larger number anywhere, or more of them.
_LARGEST, _LONGEST = 512, 8


def architectures() -> tuple[str, ...]:
    """The names that :func:`build` knows."""
    return tuple(_ALLOWED)


def build(name: str, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """A network with fresh weights; input and output (batch, 1, cells, cells, cells).

    ``arguments``: whole numbers and lists of them, by MONAI's names. Raises ModelError for
    a network or an argument that is not on the list, or for sizes out of range.
    """
    checked = check_arguments(name, arguments)
    from monai.networks import nets

    if name == "UNet":
        if len(checked["strides"]) != len(checked["channels"]) - 1:
            raise ModelError("A UNet has one stride less than channels. Check the model.")
        unet: torch.nn.Module = nets.UNet(3, 1, 1, **checked)
        return unet
    if len(checked["blocks_up"]) != len(checked["blocks_down"]) - 1:
        raise ModelError("A SegResNet has one block less up than down. Check the model.")
    segresnet: torch.nn.Module = nets.SegResNet(3, in_channels=1, out_channels=1, **checked)
    return segresnet


def multiple_of(name: str, arguments: Mapping[str, Any]) -> int:
    """The number of cells along each axis must be a multiple of this."""
    checked = check_arguments(name, arguments)
    if name == "UNet":
        return math.prod(checked["strides"])
    return int(2 ** (len(checked["blocks_down"]) - 1))


def check_arguments(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, lists as tuples. Raises ModelError as :func:`build` does."""
    if name not in _ALLOWED:
        raise ModelError(
            f"The model is built on a network that SkinSeg does not know. "
            f"Known are: {', '.join(_ALLOWED)}. Choose another model."
        )
    if set(arguments) != _ALLOWED[name]:
        raise ModelError(
            f"The model's network {name} needs just {', '.join(sorted(_ALLOWED[name]))}. "
            "Choose another model, or get this one again."
        )
    checked: dict[str, Any] = {}
    for key, value in arguments.items():
        many = isinstance(value, list | tuple)
        numbers = list(value) if many else [value]
        wanted_many = key in ("channels", "strides", "blocks_down", "blocks_up")
        least = 0 if key == "num_res_units" else 1
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
        if (
            many != wanted_many
            or not whole
            or not 1 <= len(numbers) <= _LONGEST
            or not all(least <= n <= _LARGEST for n in numbers)
        ):
            raise ModelError(
                f"The model's network has an unusable value for {key}. "
                "Choose another model, or get this one again."
            )
        checked[key] = tuple(numbers) if many else value
    return checked
