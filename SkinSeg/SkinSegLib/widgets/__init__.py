"""The parts of the panel: the only folder that imports qt and ctk. They hold no algorithm.

Each section of the panel is a class that owns its widgets of the ``.ui`` file; ``panel.py`` puts
them together and says what may be clicked now, and why not.
"""
