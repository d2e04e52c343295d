"""Sites, heads and a design small enough to train in seconds, also in FLARE's processes."""

from __future__ import annotations

import numpy as np
from SkinSegLib.segmentation.architectures import build
from SkinSegLib.segmentation.bundle import Bundle, write_bundle
from SkinSegLib.training.designs import Design
from SkinSegLib.training.scenes import HeadSource

NETWORK = {"channels": (4, 8), "strides": (2,), "num_res_units": 0}
TINY = Design("UNet", NETWORK, 8.0, ((16, 16, 16),), 2)
#: Python runs this at the start of every process: they know the small design and no other.
FOR_PROCESSES = f"""
import SkinSegLib.training.designs as designs
designs.DESIGNS = {{"tiny": designs.Design("UNet", {NETWORK!r}, 8.0, ((16, 16, 16),), 2)}}
"""


def ball(name: str, radius: float = 45.0) -> HeadSource:
    """A ball of tissue in air, as a head to train on."""
    axis = (np.arange(40) - 19.5) * 4
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    filled = np.clip(0.5 - (np.sqrt(x**2 + y**2 + z**2) - radius) / 4, 0, 1).astype(np.float32)
    return HeadSource(name, filled, filled, None, (4.0,) * 3)


def tiny_model(folder) -> Bundle:
    """A model of the small design with random weights, in ``folder``/start."""
    import torch

    torch.manual_seed(1)
    torch.save(build("UNet", NETWORK).state_dict(), folder / "random.pt")
    return write_bundle(
        folder / "start",
        folder / "random.pt",
        name="start",
        version="0.1",
        network="UNet",
        arguments=NETWORK,
        cell_mm=TINY.cell_mm,
        card="# A model for tests",
        licence="None",
    )
