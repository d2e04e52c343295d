"""DICOM out: a mask as Segmentation, a surface as Encapsulated STL, in the study of their scan.

Reading series is in :mod:`SkinSegLib.scan`. highdicom (for the Segmentation) and pydicom are
imported only once they are needed.
"""

from .encapsulated_stl import write_encapsulated_stl
from .objects import SEGMENTATION_NAME, SURFACE_NAME, write_objects
from .segmentation import Segment, require_highdicom, write_segmentation
from .slices import on_slices, require_referable

__all__ = [
    "SEGMENTATION_NAME",
    "SURFACE_NAME",
    "Segment",
    "on_slices",
    "require_highdicom",
    "require_referable",
    "write_encapsulated_stl",
    "write_objects",
    "write_segmentation",
]
