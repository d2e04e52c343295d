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
    about as many."""

    network: str
    arguments: Mapping[str, Any]
    cell_mm: float
    shapes: tuple[tuple[int, int, int], ...]


#: From a stack of few slices to a long narrow one. The normalisation of each channel is over the
#: whole box, so boxes must differ in how much of them is air as scans do.
_SHAPES = (
    (80, 80, 80),
    (96, 80, 64),
    (64, 96, 80),
    (112, 64, 64),
    (48, 112, 96),
    (32, 128, 128),
)


def _scaled(factor: float) -> tuple[tuple[int, int, int], ...]:
    """The same boxes in mm with smaller cells, in multiples of 16 cells."""
    scaled = (tuple(16 * round(n * factor / 16) for n in shape) for shape in _SHAPES)
    return tuple(scaled)  # type: ignore[arg-type]


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
        "plain-3mm": Design("UNet", _unet(0, 16, 32, 64, 96, 128), 3.0, _SHAPES),
        "residual-3mm": Design("UNet", _unet(2, 16, 32, 64, 96, 128), 3.0, _SHAPES),
        "residual-2mm": Design("UNet", _unet(2, 16, 32, 64, 96, 128), 2.0, _scaled(1.5)),
        "segresnet-3mm": Design(
            "SegResNet",
            MappingProxyType(
                {"init_filters": 8, "blocks_down": (1, 2, 2, 4), "blocks_up": (1, 1, 1)}
            ),
            3.0,
            _SHAPES,
        ),
    }
)
