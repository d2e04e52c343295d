"""Made scenes to train on: real and made heads among things that are not patient."""

from .maker import Scene, make_scene
from .sources import HeadSource, gather_sources, load_sources, save_sources

__all__ = ["HeadSource", "Scene", "gather_sources", "load_sources", "make_scene", "save_sources"]
