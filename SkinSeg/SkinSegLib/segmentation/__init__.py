"""Scan in, solid head out: ``segment(volume, options, progress) -> SkinMask``."""

from .engine import segment
from .options import ENGINES, SegmentOptions

__all__ = ["ENGINES", "SegmentOptions", "segment"]
