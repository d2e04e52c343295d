"""What the user can choose about a segmentation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..core import SegmentationError

ENGINES = ("auto", "network", "threshold")
SHIPPED_MODEL = "skin-ct-head"
#: Stands for the model that is live: the shipped one, or that which took its place.
LIVE_MODEL = "live"


@dataclass(frozen=True)
class SegmentOptions:
    """Options of :func:`SkinSegLib.segmentation.segment`; all sizes in mm.

    ``engine``: one of ENGINES; "auto" takes the network if there is a model, or one is named.
    ``model``: the network's, by name or as a folder; LIVE_MODEL for the one in use.
    ``level_hu``: grey value of the skin in the scan's own units, None to find it. ``device``: for
    engines that compute on a GPU. ``workers``: the most CPU threads to take, None for one on every
    core.
    ``opening_mm``: radius below which a part counts as thin (shells, tubes, straps).
    ``reach_mm``: a thin part that reaches farther than this from the head is an object, a shorter
    one (an ear, a nose) is patient. ``seal_mm``: openings narrower than twice this are closed
    (nostrils, lips, ear canals). ``cavity_depth_mm``: an air pocket behind such an opening is
    filled when it is at least this deep on average; shallower ones are creases and stay open (on
    the training scans creases come to 9.6 mm at most, whole ear canals to 12.3 mm and more).

    Raises SegmentationError for values that make no sense.
    """

    engine: str = "auto"
    level_hu: float | None = None
    device: str = "auto"
    model: str = LIVE_MODEL
    workers: int | None = None
    opening_mm: float = 5.0
    reach_mm: float = 45.0
    seal_mm: float = 6.0
    cavity_depth_mm: float = 11.0

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise SegmentationError(
                f"There is no engine called {self.engine}. Choose one of: {', '.join(ENGINES)}."
            )
        if self.level_hu is not None and not math.isfinite(self.level_hu):
            raise SegmentationError("The level must be a number, for example -480.")
        if self.workers is not None and self.workers < 1:
            raise SegmentationError(
                "At least one worker is needed. Leave it out to use every core."
            )
        for name in ("opening_mm", "reach_mm", "seal_mm", "cavity_depth_mm"):
            if not getattr(self, name) > 0:
                raise SegmentationError(f"{name} must be larger than 0 mm.")
