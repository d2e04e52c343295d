"""Stand-in for slicer.parameterNodeWrapper, over the real vtkMRMLScriptedModuleNode.

Follows Slicer's Base/Python/slicer/parameterNodeWrapper: the types and widgets that SkinSeg uses,
stored in the same form, read once and then cached until the node is modified. Any other type or
widget is refused, as the real one refuses what it cannot store or connect.
"""

from __future__ import annotations

import enum
import types
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import slicer.util
import vtk


@dataclass
class WithinRange:
    """Follows validators.WithinRange."""

    minimum: float
    maximum: float

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within {self.minimum} to {self.maximum}")


#: Names that the real wrapper keeps for itself.
_RESERVED = {
    *("allParameters", "default", "isCached", "dataType", "getValue", "setValue"),
    *("connectGui", "connectParametersToGui", "disconnectGui", "StartModify", "EndModify"),
    *("AddObserver", "RemoveObserver", "Modified"),
}


class _Parameter:
    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name, self.default = name, default
        self.type, self.validators = hint, []
        if typing.get_origin(hint) is typing.Annotated:
            self.type, *self.validators = typing.get_args(hint)
        self.is_node = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.is_enum = isinstance(self.type, type) and issubclass(self.type, enum.Enum)
        known = self.is_node or self.is_enum or self.type in (int, float, bool, str)
        if not known:
            raise TypeError(f"The host cannot store a parameter of type {self.type} yet")
        if default is None and not self.is_node:
            self.default = next(iter(self.type)) if self.is_enum else self.type()

    def write(self, node: Any, value: Any) -> None:
        allowed = (int, float) if self.type is float else self.type
        if not isinstance(value, allowed) and not (self.is_node and value is None):
            raise ValueError(f"{self.name} must be {self.type.__name__}, got {type(value)}")
        for validator in self.validators:
            validator.validate(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node: Any) -> Any:
        if not node.HasParameter(self.name):  # closing a scene empties its nodes
            self.write(node, self.default)
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: typed parameters, stored in a vtkMRMLScriptedModuleNode."""
    parameters = {}
    for name, hint in typing.get_type_hints(cls, include_extras=True).items():
        if name in _RESERVED:
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        parameters[name] = _Parameter(name, hint, getattr(cls, name, None))

    def body(namespace: dict[str, Any]) -> None:
        namespace["allParameters"] = parameters
        for name in parameters:
            namespace[name] = property(
                lambda self, n=name: self.getValue(n), lambda self, v, n=name: self.setValue(n, v)
            )

    return types.new_class(cls.__name__, (_Wrapped,), exec_body=body)


class _Wrapped:
    allParameters: typing.ClassVar[dict[str, _Parameter]] = {}

    def __init__(self, parameterNode: Any) -> None:
        self.parameterNode = parameterNode
        self._connectors: dict[int, list[Callable[[], None]]] = {}
        self._updating = False
        self._values: dict[str, Any] = {}
        self._reload()
        # A node outlives its wrappers: it must not call one that is being collected.
        alive = weakref.ref(self)
        self._observer = self.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda *_: alive() and alive()._reload(), 1.0
        )

    def __del__(self) -> None:
        self.parameterNode.RemoveObserver(self._observer)

    def _reload(self) -> None:
        self._values = {n: p.read(self.parameterNode) for n, p in self.allParameters.items()}

    def getValue(self, name: str) -> Any:
        return self._values[name]

    def setValue(self, name: str, value: Any) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            self.allParameters[name].write(self.parameterNode, value)
            self._values[name] = self.allParameters[name].read(self.parameterNode)

    def connectGui(self, gui: Any) -> int:
        tag = len(self._connectors)
        pairs = [(w.property("SlicerParameterName"), w) for w in vars(gui).values()]
        updates, undo = [], []
        for name, widget in pairs:
            if not name:
                continue
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            read, write, signal = _connector(widget, self.allParameters[name])

            def changed(*_: Any, name: str = name, read: Callable = read) -> None:
                if not self._updating:
                    self.setValue(name, read())

            write(self.getValue(name))
            widget.connect(signal, changed)
            updates.append(lambda n=name, w=write: w(self.getValue(n)))
            undo.append(lambda w=widget, s=signal, c=changed: w.disconnect(s, c))

        def update(*_: Any) -> None:
            if self._updating:
                return
            self._updating = True
            try:
                for step in updates:
                    step()
            finally:
                self._updating = False

        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, update)
        undo.append(lambda: self.RemoveObserver(observer))
        self._connectors[tag] = undo
        return tag

    def disconnectGui(self, tag: int) -> None:
        for step in self._connectors.pop(tag, []):
            step()

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> Any:
        return self.parameterNode.StartModify()

    def EndModify(self, was: Any) -> Any:
        return self.parameterNode.EndModify(was)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def _connector(widget: Any, parameter: _Parameter) -> tuple[Callable, Callable, str]:
    """How to read and write a widget, and the signal that it changed.

    Follows guiConnectors: ranges are set on the widget, and an enum fills its combo box.
    """
    kind, bounds = widget.className(), next(iter(parameter.validators), None)
    if kind == "qMRMLNodeComboBox" and parameter.is_node:
        return widget.currentNode, widget.setCurrentNode, "currentNodeChanged(vtkMRMLNode*)"
    if kind == "QCheckBox" and parameter.type is bool:
        return _property(widget, "checked", bool), _setter(widget, "checked"), "toggled(bool)"
    number = parameter.type in (int, float)
    if kind in ("QDoubleSpinBox", "ctkSliderWidget", "QSpinBox") and number and bounds:
        if kind == "QSpinBox" and parameter.type is not int:
            raise RuntimeError("QSpinBox is for whole numbers")
        widget.minimum, widget.maximum = bounds.minimum, bounds.maximum
        signal = "valueChanged(int)" if kind == "QSpinBox" else "valueChanged(double)"
        return _property(widget, "value", parameter.type), _setter(widget, "value"), signal
    if kind == "QComboBox" and parameter.is_enum:
        items = list(parameter.type)
        widget.clear()
        widget.addItems([item.label() if hasattr(item, "label") else item.name for item in items])

        def write(value: Any) -> None:
            widget.currentIndex = items.index(value)

        return lambda: items[widget.currentIndex], write, "currentIndexChanged(int)"
    raise RuntimeError(f"The host cannot connect a {kind} to a {parameter.type.__name__} yet")


def _property(widget: Any, name: str, kind: type) -> Callable:
    return lambda: kind(getattr(widget, name))


def _setter(widget: Any, name: str) -> Callable:
    return lambda value: setattr(widget, name, value)
