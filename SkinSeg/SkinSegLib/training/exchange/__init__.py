"""Labels from elsewhere and to elsewhere, and those of several people.

``read_label(path, volume)`` puts a label of any kind onto the grid of its scan, ``check_label``
refuses one that is not the scan's solid head, ``write_label`` writes it for other programs.
``fuse`` makes one label of several, ``agreement`` and ``draw_differences`` say how they differ.
"""

from .agreement import REGIONS, Agreement, agreement
from .check import LabelFit, check_label, filled_holes
from .differences import draw_differences
from .fuse import Fused, Method, disputed, fuse
from .kinds import Kind, recognised
from .read import read_label
from .write import kind_for, write_label, write_segments

__all__ = [
    "REGIONS",
    "Agreement",
    "Fused",
    "Kind",
    "LabelFit",
    "Method",
    "agreement",
    "check_label",
    "disputed",
    "draw_differences",
    "filled_holes",
    "fuse",
    "kind_for",
    "read_label",
    "recognised",
    "write_label",
    "write_segments",
]
