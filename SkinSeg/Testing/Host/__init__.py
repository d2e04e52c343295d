"""Runs the real SkinSeg.py and its .ui where there is no desktop Slicer. Test support only.

Qt is PySide6 with the manners of PythonQt (``pythonqt.py``); the scene is the real MRML of
slicer-core. Each stand-in names the real class it follows, and refuses names that the real class
does not have (``api.py``). ``python -m Host picture.png`` writes a picture of the panel.
"""

from .application import start

__all__ = ["start"]
