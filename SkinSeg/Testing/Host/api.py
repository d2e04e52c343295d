"""Which names the real application offers to Python, class by class.

``api.json`` is cut from a list that was read off a running Slicer 5.13: per class the names that
Python can reach, its properties, signals and slots. Whatever is not there is refused, so that a
call that real Slicer lacks fails in the tests too.
"""

from __future__ import annotations

import json
from pathlib import Path

PATH = Path(__file__).with_name("api.json")
CLASSES: dict[str, dict] = json.loads(PATH.read_text(encoding="utf-8"))

#: Of every widget, and an alias that PythonQt adds to the list.
_WIDGET = "qt.QWidget"
_ALIASES = {"name"}
#: Classes that are no widgets, so have no widget's names.
_PLAIN = {
    *("qt.QObject", "qt.QSettings", "qt.QFile", "qt.QUiLoader", "qt.QIcon", "qt.QProcess"),
    *("qt.QTimer", "qt.QByteArray", "qt.QUrl", "qt.QDesktopServices", "slicer.app"),
    "qt.QPixmap",
}


def require(key: str) -> None:
    """Raise AttributeError unless the list has this class ("qt.QLabel", "slicer.app")."""
    if key not in CLASSES:
        raise AttributeError(f"{key} is not in Host/api.json: add it if real Slicer has it")


def names(key: str) -> set[str]:
    """Everything that Python can name on an object of the class."""
    require(key)
    own = set(CLASSES[key]["names"]) | _ALIASES
    return own if key in _PLAIN else own | set(CLASSES[_WIDGET]["names"])


def properties(key: str) -> set[str]:
    """What is read and set as a plain attribute."""
    require(key)
    own = set(CLASSES[key].get("properties", ()))
    return own if key in _PLAIN else own | set(CLASSES[_WIDGET]["properties"])


def signals(key: str) -> list[str]:
    """Full signatures of the signals."""
    require(key)
    own = list(CLASSES[key].get("signals", ()))
    return own if key in _PLAIN else own + list(CLASSES[_WIDGET].get("signals", ()))


def slots(key: str) -> list[str]:
    """Full signatures of the slots."""
    require(key)
    return list(CLASSES[key].get("slots", ()))


def check(key: str, name: str) -> None:
    """Raise AttributeError unless real objects of the class have the name."""
    if name not in names(key):
        raise AttributeError(f"{key} has no attribute '{name}' in real Slicer")
