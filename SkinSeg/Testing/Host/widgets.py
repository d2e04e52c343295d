"""Stand-ins for the widgets of CTK and Slicer that the panel uses, over real MRML."""

from __future__ import annotations

import weakref
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import stand_in


@stand_in("slicer.qMRMLWidget")
class QMRMLWidget(QtWidgets.QWidget):
    """Follows qMRMLWidget: keeps the scene and tells the widgets connected to it."""

    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


@stand_in("slicer.qSlicerScriptedLoadableModuleWidget")
class ModuleWidget(QMRMLWidget):
    """Follows qSlicerScriptedLoadableModuleWidget: holds a module's panel."""

    def __init__(self) -> None:
        super().__init__()
        self.setLayout(QtWidgets.QVBoxLayout())
        self.setProperty("isEntered", False)


@stand_in("ctk.ctkCollapsibleButton")
class CollapsibleButton(QtWidgets.QAbstractButton):
    """Follows ctkCollapsibleButton: a header that shows or hides what lies below it."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self._header = self.fontMetrics().height() + 10
        self.setContentsMargins(0, self._header, 0, 0)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, checked: bool) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(checked)
        self.contentsCollapsed.emit(not checked)

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return position.y() < self._header

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self._header)
        option.text = ("\u25be  " if self.isChecked() else "\u25b8  ") + self.text()
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_PushButton, option)


@stand_in("slicer.qMRMLNodeComboBox")
class NodeComboBox(QtWidgets.QWidget):
    """Follows qMRMLNodeComboBox: the scene's nodes of some types, newest state at any time."""

    currentNodeChanged = QtCore.Signal(object)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene: Any = None
        self._tags: list[int] = []
        self._combo = QtWidgets.QComboBox(self)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._last: Any = None
        self._combo.currentIndexChanged.connect(self._on_index)
        for name, value in (("showChildNodeTypes", True), ("noneEnabled", False)):
            self.setProperty(name, value)

    def setMRMLScene(self, scene: Any) -> None:
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        alive = weakref.ref(self)

        def changed(_caller: Any, _event: str) -> None:
            widget = alive()
            if widget is not None:
                widget._refresh()

        if scene is not None:
            for event in (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndBatchProcessEvent,
                scene.EndCloseEvent,
            ):
                self._tags.append(scene.AddObserver(event, changed))
        self._refresh()

    def mrmlScene(self) -> Any:
        return self._scene

    def nodeCount(self) -> int:
        return len(self._nodes())

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._combo.currentData() or "") if self._scene else None

    def setCurrentNode(self, node: Any) -> None:
        index = self._combo.findData(node.GetID() if node is not None else None)
        self._combo.setCurrentIndex(index)

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        types, children = self.property("nodeTypes") or [], self.property("showChildNodeTypes")
        found = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            fits = any(node.IsA(t) if children else node.GetClassName() == t for t in types)
            if fits and not node.GetHideFromEditors():
                found.append(node)
        return found

    def _refresh(self) -> None:
        before = self._combo.currentData()
        with QtCore.QSignalBlocker(self._combo):
            self._combo.clear()
            if self.property("noneEnabled"):
                self._combo.addItem("None", None)
            for node in self._nodes():
                self._combo.addItem(node.GetName(), node.GetID())
            at = self._combo.findData(before)
            # As the real one: where none may be chosen, the first node is chosen by itself.
            self._combo.setCurrentIndex(at if at >= 0 else min(self._combo.count() - 1, 0))
        self._on_index()

    def _on_index(self, _index: int = 0) -> None:
        node = self.currentNode()
        if node is not self._last:
            self._last = node
            self.currentNodeChanged.emit(node)
