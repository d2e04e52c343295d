"""Networks that were compared: what they are built from, and how coarse their cells are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Design:
    """``network``, ``arguments``: see segmentation.architectures. ``cell_mm``: size of the cells
    that it sees. ``cells``: edge of the cube it is trained on."""

    network: str
    arguments: Mapping[str, Any]
    cell_mm: float
    cells: int


def _unet(residual_units: int, *channels: int) -> Mapping[str, Any]:
    return MappingProxyType(
        {
            "channels": channels,
            "strides": (2,) * (len(channels) - 1),
            "num_res_units": residual_units,
        }
    )


#: By name; see :class:`Design`.
DESIGNS: Mapping[str, Design] = MappingProxyType(
    {
        "plain-3mm": Design("UNet", _unet(0, 16, 32, 64, 96), 3.0, 80),
        "residual-3mm": Design("UNet", _unet(2, 16, 32, 64, 96), 3.0, 80),
        "residual-2mm": Design("UNet", _unet(2, 16, 32, 64, 96, 128), 2.0, 112),
        "segresnet-3mm": Design(
            "SegResNet",
            MappingProxyType(
                {"init_filters": 8, "blocks_down": (1, 2, 2, 2), "blocks_up": (1, 1, 1)}
            ),
            3.0,
            80,
        ),
    }
)
