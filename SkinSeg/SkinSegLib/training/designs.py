"""Networks that were compared: what they are built from, and how coarse their cells are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Design:
    """``network``, ``arguments``: see segmentation.architectures. ``cell_mm``: size of the cells
    that it sees. ``shapes``: cells along S, A, R of the boxes it is trained on; all of them hold
    about as many. ``batch``: scenes a step, so that every design sees a million cells a step."""

    network: str
    arguments: Mapping[str, Any]
    cell_mm: float
    shapes: tuple[tuple[int, int, int], ...]
    batch: int


#: From a stack of few slices to a long narrow one. The normalisation of each channel is over the
#: whole box, so boxes must differ in how much of them is air as scans do.
_COARSE = (
    (80, 80, 80),
    (96, 80, 64),
    (64, 96, 80),
    (112, 64, 64),
    (48, 112, 96),
    (32, 128, 128),
)
_FINE = (
    (64, 96, 96),
    (80, 96, 80),
    (96, 80, 80),
    (112, 80, 64),
    (48, 112, 112),
    (32, 144, 128),
)
_FINEST = (
    (80, 112, 112),
    (64, 128, 112),
    (96, 112, 96),
    (112, 96, 96),
    (48, 144, 144),
    (32, 176, 176),
)


def _unet(residual_units: int, *channels: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "channels": channels,
            "strides": (2,) * (len(channels) - 1),
            "num_res_units": residual_units,
        }
    )


_CHANNELS = (16, 32, 64, 96, 128)
_SEGRESNET = MappingProxyType(
    {"init_filters": 8, "blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}
)

#: By name; see :class:`Design`.
DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        "plain-3mm": Design("UNet", _unet(0, *_CHANNELS), 3.0, _COARSE, 2),
        "plain-2.5mm": Design("UNet", _unet(0, *_CHANNELS), 2.5, _FINE, 2),
        "residual-3mm": Design("UNet", _unet(2, *_CHANNELS), 3.0, _COARSE, 2),
        "residual-2.5mm": Design("UNet", _unet(2, *_CHANNELS), 2.5, _FINE, 2),
        "residual-2mm": Design("UNet", _unet(2, *_CHANNELS), 2.0, _FINEST, 1),
        "segresnet-3mm": Design("SegResNet", _SEGRESNET, 3.0, _COARSE, 2),
    }
)
