"""Small models with random weights, for tests."""

from __future__ import annotations

from SkinSegLib.segmentation.architectures import build
from SkinSegLib.segmentation.bundle import Bundle, write_bundle

ARGUMENTS = {"channels": (4, 8), "strides": (2,), "num_res_units": 0}


def write_model(folder, tmp_path, change=None, version="0.1") -> Bundle:
    """A model in ``folder``; ``change`` may alter its weights, which lie in ``tmp_path`` too."""
    import torch

    torch.manual_seed(1)
    weights = build("UNet", ARGUMENTS).state_dict()
    if change is not None:
        change(weights)
    file = tmp_path / "weights.pt"
    torch.save(weights, file)
    return write_bundle(
        folder,
        file,
        name=folder.name,
        version=version,
        network="UNet",
        arguments=ARGUMENTS,
        cell_mm=4.0,
        card="# A model for tests",
        licence="None",
    )
