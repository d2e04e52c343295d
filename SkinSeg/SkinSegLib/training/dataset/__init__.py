"""Data sets of labelled scans: what a hospital's own model is trained and tested on."""

from .folder import SAME_SCAN, CaseFolder
from .record import SPLITS, CaseRecord, Scanner

__all__ = ["SAME_SCAN", "SPLITS", "CaseFolder", "CaseRecord", "Scanner"]
