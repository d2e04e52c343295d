"""``python -m Host picture.png``: a picture of the panel, with a made scan selected."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from .application import start
from .pythonqt import unwrap


def main(path: str) -> int:
    host = start()
    panel = host.open_panel()
    host.code.SkinSegTest()._head()
    panel.onSegmentButton()
    widget = unwrap(panel.parent)
    widget.resize(380, 460)
    host.code.slicer.app.processEvents()
    saved = widget.grab().save(path)
    host.close_panel()
    return 0 if saved else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "panel.png"))
