"""What there is to compute on, and having the network ready before it is needed."""

from __future__ import annotations

from ..core import SkinSegError
from .models import find_model, require_packages
from .options import SegmentOptions


def devices() -> tuple[tuple[str, str], ...]:
    """What PyTorch can compute on here: (what to show, what SegmentOptions takes), best first.

    Raises MissingPackageError without the network's packages.
    """
    require_packages()
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        found.append((f"GPU: {properties.name}, {memory:.0f} GB", f"cuda:{index}"))
    if torch.backends.mps.is_available():
        found.append(("GPU: Apple, shared memory", "mps"))
    return (*found, ("CPU", "cpu"))


def prepare(options: SegmentOptions) -> str:
    """Import the network's packages and load its model; returns why it cannot be used, or "".

    What is loaded stays for the next :func:`SkinSegLib.segmentation.segment` of this process.
    """
    try:
        require_packages()
        bundle = find_model(options.model)
        from .network import preload

        preload(bundle, options.device)
    except SkinSegError as error:
        return str(error)
    return ""
