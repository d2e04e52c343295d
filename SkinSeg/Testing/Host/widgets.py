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
        self._wanted: dict[QtCore.QObject, bool] = {}
        self._hidden: set[QtCore.QObject] = set()
        self._working = False
        self.setCheckable(True)
        self.setChecked(True)
        self._header = self.fontMetrics().height() + 10
        self.setContentsMargins(0, self._header, 0, 0)
        self.toggled.connect(self._on_toggled)

    def _on_toggled(self, checked: bool) -> None:
        self._show_children(checked)
        self.contentsCollapsed.emit(not checked)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        """A file of Designer collapses a section before it puts anything into it."""
        super().showEvent(event)
        if not self.isChecked():
            self._show_children(False)

    def _show_children(self, shown: bool) -> None:
        self._working = True
        for child in self.children():
            if not isinstance(child, QtWidgets.QWidget):
                continue
            if not shown and child not in self._hidden:
                child.installEventFilter(self)
                self._hidden.add(child)
                self._wanted[child] = child.isVisibleTo(self)
            elif shown:
                self._hidden.discard(child)
            child.setVisible(shown and self._wanted.get(child, True))
        self._working = False

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        """What is shown or hidden while the button is collapsed stays hidden, and is remembered."""
        kinds = QtCore.QEvent.Type
        if not self._working and not self.isChecked():
            if event.type() in (kinds.ShowToParent, kinds.HideToParent):
                self._wanted[child] = event.type() == kinds.ShowToParent
            if event.type() == kinds.ShowToParent:
                self._working = True
                child.setVisible(False)
                self._working = False
        return super().eventFilter(child, event)

    collapsed = QtCore.Property(
        bool, lambda self: not self.isChecked(), lambda self, value: self.setChecked(not value)
    )

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
        self._attributes: list[tuple[str, str, str]] = []
        defaults = {"showChildNodeTypes": True, "noneEnabled": False, "noneDisplay": "None"}
        for name, value in {**defaults, "showHidden": False}.items():
            self.setProperty(name, value)

    def addAttribute(self, kind: str, name: str, value: str) -> None:
        self._attributes.append((kind, name, value))

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
        if node is None:
            self._combo.setCurrentIndex(0 if self.property("noneEnabled") else -1)
        else:
            self._combo.setCurrentIndex(self._combo.findData(node.GetID()))

    def _nodes(self) -> list[Any]:
        if self._scene is None:
            return []
        types, children = self.property("nodeTypes") or [], self.property("showChildNodeTypes")
        found = []
        for index in range(self._scene.GetNumberOfNodes()):
            node = self._scene.GetNthNode(index)
            fits = any(node.IsA(t) if children else node.GetClassName() == t for t in types)
            fits = fits and all(
                not node.IsA(kind) or node.GetAttribute(name) == value
                for kind, name, value in self._attributes
            )
            if fits and (self.property("showHidden") or not node.GetHideFromEditors()):
                found.append(node)
        return found

    def _refresh(self) -> None:
        before = self._combo.currentData()
        with QtCore.QSignalBlocker(self._combo):
            self._combo.clear()
            if self.property("noneEnabled"):
                self._combo.addItem(self.property("noneDisplay"), None)
            for node in self._nodes():
                self._combo.addItem(node.GetName(), node.GetID())
            at = self._combo.findData(before) if before is not None else -1
            # As the real one: where none may be chosen, the first node is chosen by itself.
            self._combo.setCurrentIndex(at if at >= 0 else min(self._combo.count() - 1, 0))
        self._on_index()

    def _on_index(self, _index: int = 0) -> None:
        node = self.currentNode()
        if node is not self._last:
            self._last = node
            self.currentNodeChanged.emit(node)


def _of_box(name: str, kind: type) -> QtCore.Property:
    """A property of SliderWidget that is its spin box's."""
    put = f"set{name[0].upper()}{name[1:]}"
    return QtCore.Property(
        kind,
        lambda self: getattr(self._box, name)(),
        lambda self, value: getattr(self._box, put)(value),
    )


@stand_in("ctk.ctkSliderWidget")
class SliderWidget(QtWidgets.QWidget):
    """Follows ctkSliderWidget: a slider and a spin box with one value, a real number."""

    valueChanged = QtCore.Signal(float)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, 1000)
        self._box = QtWidgets.QDoubleSpinBox(self)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self.setFocusProxy(self._box)
        self._box.valueChanged.connect(self._on_value)
        self._slider.sliderMoved.connect(self._on_slider)

    def _on_value(self, value: float) -> None:
        low, high = self._box.minimum(), self._box.maximum()
        with QtCore.QSignalBlocker(self._slider):
            self._slider.setValue(round(1000 * (value - low) / max(high - low, 1e-9)))
        self.valueChanged.emit(value)

    def _on_slider(self, position: int) -> None:
        low, high = self._box.minimum(), self._box.maximum()
        self._box.setValue(low + (high - low) * position / 1000)

    value, minimum = _of_box("value", float), _of_box("minimum", float)
    maximum, suffix = _of_box("maximum", float), _of_box("suffix", str)
    singleStep, decimals = _of_box("singleStep", float), _of_box("decimals", int)


@stand_in("ctk.ctkDirectoryButton")
class DirectoryButton(QtWidgets.QPushButton):
    """Follows ctkDirectoryButton: a button that shows a folder; no dialog opens."""

    directoryChanged = QtCore.Signal(str)

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        self._directory = "."

    def _set(self, directory: str) -> None:
        self._directory = directory
        self.setText(directory)
        self.directoryChanged.emit(directory)

    directory = QtCore.Property(str, lambda self: self._directory, _set)


@stand_in("slicer.qMRMLSegmentEditorWidget")
class SegmentEditorWidget(QtWidgets.QWidget):
    """Follows qMRMLSegmentEditorWidget, over the real vtkSlicerSegmentEditorLogic.

    Shows the buttons of its effects; what an effect does is for a test to do on ``logic``.
    """

    def __init__(self, parent: QtWidgets.QWidget | None = None) -> None:
        super().__init__(parent)
        import slicer

        self.logic = slicer.vtkSlicerSegmentEditorLogic()
        self.logic.SetSegmentationHistory(slicer.vtkSegmentationHistory())
        self._order: list[str] = []
        self._shortcuts = False
        self._buttons = QtWidgets.QGridLayout(self)
        for name, value in _EDITOR_PROPERTIES.items():
            self.setProperty(name, value)

    def setMRMLScene(self, scene: Any) -> None:
        self.logic.SetMRMLScene(scene)

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self.logic.SetSegmentEditorNode(node)

    def mrmlSegmentEditorNode(self) -> Any:
        return self.logic.GetSegmentEditorNode()

    def setMaximumNumberOfUndoStates(self, count: int) -> None:
        self.logic.SetMaximumNumberOfUndoStates(count)

    def setEffectNameOrder(self, names: list[str]) -> None:
        self._order = names
        for n, name in enumerate(names):
            button = QtWidgets.QPushButton(name, self)
            button.clicked.connect(lambda _=False, name=name: self.setActiveEffectByName(name))
            self._buttons.addWidget(button, n // 3, n % 3)

    def setActiveEffectByName(self, name: str) -> None:
        self.mrmlSegmentEditorNode().SetActiveEffectName(name)

    def setActiveEffect(self, effect: Any) -> None:
        if effect is not None:
            raise NotImplementedError("The host has no effects, only their names")
        if self.mrmlSegmentEditorNode() is not None:
            self.mrmlSegmentEditorNode().SetActiveEffectName("")

    def setSegmentationNode(self, node: Any) -> None:
        self.logic.SetSegmentationNode(node)

    def segmentationNode(self) -> Any:
        return self.logic.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self.logic.SetSourceVolumeNode(node)

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self.logic.SetCurrentSegmentID(segment_id)

    def saveStateForUndo(self) -> None:
        self.logic.SaveStateForUndo()

    def undo(self) -> None:
        self.logic.Undo()

    def redo(self) -> None:
        self.logic.Redo()

    def installKeyboardShortcuts(self) -> None:
        self._shortcuts = True

    def uninstallKeyboardShortcuts(self) -> None:
        self._shortcuts = False

    def removeViewObservations(self) -> None:
        """There are no views."""


_EDITOR_PROPERTIES = {
    "unorderedEffectsVisible": True,
    "segmentationNodeSelectorVisible": True,
    "sourceVolumeNodeSelectorVisible": True,
    "switchToSegmentationsButtonVisible": True,
}
