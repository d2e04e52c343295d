"""What the panel lets the user choose from, handed on so that it needs no other part."""

from __future__ import annotations

from pathlib import Path

from ..core import SkinSegError
from ..pipeline import JobOptions
from ..segmentation import SegmentOptions
from ..segmentation.live import live_model
from ..segmentation.models import add_model, list_models, network_is_there, remove_model
from ..segmentation.options import LIVE_MODEL

__all__ = [
    "LIVE_MODEL",
    "JobOptions",
    "SegmentOptions",
    "install_model",
    "live_name",
    "model_names",
    "network_is_there",
    "own_model_names",
    "remove_model",
]


def model_names() -> list[str]:
    """The models that can be used, shipped ones first. Imports nothing heavy."""
    return [entry.name for entry in list_models() if not entry.problem]


def live_name() -> str:
    """The name of the model in use, "" where the note of it is damaged: a run then says so."""
    try:
        return live_model()
    except SkinSegError:
        return ""


def own_model_names() -> list[str]:
    """The models that the user added."""
    return [entry.name for entry in list_models() if not entry.shipped]


def install_model(folder: Path) -> str:
    """Copy a model to the user's own; returns its name. See :func:`segmentation.models.add_model`.

    Takes seconds, since the weights are loaded once: call it where that is all right.
    """
    return add_model(folder).name
