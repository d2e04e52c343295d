"""SkinSeg: the patient's skin from a head CT, with and without 3D Slicer."""

__version__ = "0.1.0"
