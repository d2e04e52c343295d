"""Reading what ``torch.save`` has written, as numbers and never as a program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core import MissingPackageError, resource_path

#: Before, a crafted file could run code in spite of ``weights_only``: CVE-2025-32434 (up to 2.5)
#: and CVE-2026-24747 (up to 2.9).
SAFE_TORCH = (2, 10)


def load_plain(path: Path, device: str = "cpu") -> Any:
    """What is in the file, with its tensors on ``device``.

    Raises pickle.UnpicklingError for what is more than numbers; MissingPackageError where PyTorch
    is so old that a file could run code, unless it came with SkinSeg.
    """
    import torch

    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    if not (found and (int(found[1]), int(found[2])) >= SAFE_TORCH) and not _came_with_us(path):
        raise MissingPackageError(
            f"PyTorch {torch.__version__} could be made to run a program by a file of weights. "
            f"Update it to {'.'.join(map(str, SAFE_TORCH))} or newer to use models that did not "
            "come with SkinSeg."
        )
    return torch.load(path, map_location=device, weights_only=True)


def _came_with_us(path: Path) -> bool:
    try:
        shipped = resource_path("Models")
    except MissingPackageError:
        return False
    return path.resolve().is_relative_to(shipped.resolve())
