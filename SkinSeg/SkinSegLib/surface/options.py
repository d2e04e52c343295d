"""What the user can choose about the surface."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core import SurfaceError


@dataclass(frozen=True)
class SurfaceOptions:
    """Options of :func:`SkinSegLib.surface.build`.

    ``layer_mm``: None for the solid head, else the thickness in mm of the skin layer, whose shell
    has an outer and an inner wall. Raises SurfaceError for a thickness that makes no sense.
    """

    layer_mm: float | None = None

    def __post_init__(self) -> None:
        if self.layer_mm is not None and not (
            math.isfinite(self.layer_mm) and 0.2 <= self.layer_mm <= 50
        ):
            raise SurfaceError("The skin layer must be between 0.2 and 50 mm thick.")
