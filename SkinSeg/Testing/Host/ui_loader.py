"""Loads a Qt Designer file as Slicer's qt.QUiLoader does, and checks it on the way."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from PySide6 import QtCore, QtUiTools, QtWidgets

from . import api
from .pythonqt import STAND_INS, stand_in


def api_key(class_name: str) -> str:
    """ "QLabel" -> "qt.QLabel", "ctkX" -> "ctk.ctkX", "qMRMLX" -> "slicer.qMRMLX"."""
    if class_name.startswith("ctk"):
        return f"ctk.{class_name}"
    return f"{'slicer' if class_name.startswith(('qMRML', 'qSlicer')) else 'qt'}.{class_name}"


def check_ui(root: ET.Element) -> None:
    """Raise unless every class, property, signal and slot in the file is one of real Slicer."""
    kinds = {}
    for widget in root.iter("widget"):
        key = api_key(widget.attrib["class"])
        kinds[widget.attrib["name"]] = key
        api.require(key)
        for entry in widget.findall("property"):
            name = entry.attrib["name"]
            if entry.attrib.get("stdset") != "0" and name not in _settable(key):
                raise AttributeError(f"{key} has no property '{name}' in real Slicer")
    for connection in root.iter("connection"):
        ends = {tag: connection.findtext(tag) or "" for tag in _CONNECTION}
        if ends["signal"] not in api.signals(kinds[ends["sender"]]):
            raise ValueError(f"{ends['sender']} has no signal {ends['signal']}")
        if ends["slot"] not in api.slots(kinds[ends["receiver"]]):
            raise ValueError(f"{ends['receiver']} has no slot {ends['slot']}")


_CONNECTION = ("sender", "signal", "receiver", "slot")


def _settable(key: str) -> set[str]:
    return api.properties(key) | {"buddy"}  # QLabel's buddy is for Designer alone


class _Loader(QtUiTools.QUiLoader):
    def createWidget(
        self, class_name: str, parent: QtWidgets.QWidget | None = None, name: str = ""
    ) -> QtWidgets.QWidget:
        key = api_key(class_name)
        if key not in STAND_INS:
            return super().createWidget(class_name, parent, name)
        widget = STAND_INS[key](parent)
        widget.setObjectName(name)
        return widget


@stand_in("qt.QUiLoader")
class UiLoader:
    """Follows QUiLoader of PythonQt: ``load(qt.QFile)`` gives the widget."""

    def load(self, file: QtCore.QFile) -> Any:
        root = ET.fromstring(bytes(file.readAll()))
        check_ui(root)
        connections = [
            {tag: c.findtext(tag) or "" for tag in _CONNECTION} for c in root.iter("connection")
        ]
        for element in root.findall("connections"):
            root.remove(element)  # Python's own signals are connected below
        for element in root.findall("customwidgets"):
            root.remove(element)
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = _Loader().load(buffer)
        for c in connections:
            sender, receiver = (_named(widget, c[end]) for end in ("sender", "receiver"))
            signal = getattr(sender, c["signal"].partition("(")[0])
            signal.connect(getattr(receiver, c["slot"].partition("(")[0]))
        return widget


def _named(widget: QtWidgets.QWidget, name: str) -> QtCore.QObject:
    return widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
