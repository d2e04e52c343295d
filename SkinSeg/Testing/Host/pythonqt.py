"""PySide6 objects with the manners of PythonQt, which desktop Slicer uses.

Properties are attributes, signals are connected by signature or by name, and a name that the real
class does not have is refused. Follows PythonQtInstanceWrapper and PythonQtClassWrapper.
"""

from __future__ import annotations

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import api

_classes: dict[str, type] = {}


def unwrap(value: Any) -> Any:
    """The PySide6 object behind a wrapper; anything else as it is."""
    return value._object if isinstance(value, Wrapper) else value


def wrap(value: Any) -> Any:
    """A PySide6 object as Slicer's Python would see it; anything else as it is."""
    if isinstance(value, (list, tuple)):
        return type(value)(wrap(item) for item in value)
    if not isinstance(value, QtCore.QObject):
        return value
    known = getattr(value, "_wrapper", None)
    if known is None:
        known = object.__new__(wrapper_class(_key_of(value)))
        known._adopt(value)
    return known


def wrapper_class(key: str) -> type:
    """The class that ``qt.QLabel`` or ``slicer.qMRMLWidget`` is in the host."""
    if key not in _classes:
        api.require(key)
        _classes[key] = WrapperType(key.partition(".")[2], (Wrapper,), {"_key": key})
    return _classes[key]


def stand_in(key: str) -> Any:
    """Class decorator: this PySide6 class stands in for the real class ``key``."""

    def register(cls: type) -> type:
        api.require(key)
        cls.api_key = key
        STAND_INS[key] = cls
        return cls

    return register


STAND_INS: dict[str, type] = {}


def _key_of(value: QtCore.QObject) -> str:
    for cls in type(value).__mro__:
        key = cls.__dict__.get("api_key", f"qt.{cls.__name__}")
        if key in api.CLASSES:
            return key
    raise AttributeError(f"{type(value).__name__} is not in Host/api.json")


def _qt_class(key: str) -> Any:
    if key in STAND_INS:
        return STAND_INS[key]
    name = key.partition(".")[2]
    for module in (QtWidgets, QtGui, QtCore):
        if hasattr(module, name):
            return getattr(module, name)
    raise NotImplementedError(f"The host has no stand-in for {key} yet")


class WrapperType(type):
    """Static functions and enums: ``qt.QFileDialog.getSaveFileName``, ``qt.QFile.ReadOnly``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        api.check(cls._key, name)
        found = getattr(_qt_class(cls._key), name)
        return _calling(found) if callable(found) and not isinstance(found, type) else found


class Wrapper(metaclass=WrapperType):
    """One wrapped object."""

    _key = ""

    def __init__(self, *args: Any) -> None:
        self._adopt(_qt_class(self._key)(*map(unwrap, args)))

    def _adopt(self, value: Any) -> None:
        object.__setattr__(self, "_object", value)
        object.__setattr__(self, "_connections", [])
        if isinstance(value, QtCore.QObject):
            value._wrapper = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        api.check(self._key, name)
        if name == "name":
            return self._object.objectName()
        if name in api.properties(self._key):
            return wrap(self._object.property(name))
        listed = "properties" in api.CLASSES[self._key]  # of some classes, there are names alone
        if not listed and isinstance(self._object, QtCore.QObject):
            value = self._object.property(name)
            if value is not None:
                return wrap(value)
        if any(s.partition("(")[0] == name for s in api.signals(self._key)):
            return _Signal(self, name)
        if not hasattr(self._object, name):
            raise NotImplementedError(f"The host's {self._key} has no '{name}' yet")
        return _calling(getattr(self._object, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "name":
            name = "objectName"
        if name not in api.properties(self._key):
            raise AttributeError(f"{self._key} has no property '{name}' in real Slicer")
        if self._object.metaObject().indexOfProperty(name) < 0 and self._key not in STAND_INS:
            raise NotImplementedError(f"The host's {self._key} has no property '{name}' yet")
        self._object.setProperty(name, unwrap(value))

    def connect(self, signature: str, slot: Any) -> bool:
        """``obj.connect("clicked()", f)``: f gets the arguments that the signature names."""
        if signature not in api.signals(self._key):
            raise ValueError(f"{self._key} has no signal {signature} in real Slicer")
        name, _, types = signature.rstrip(")").partition("(")
        count = len(types.split(",")) if types else 0

        # PySide6 looks at how many arguments a function takes, and hands over so many.
        calls = (
            lambda: slot(),
            lambda value: slot(wrap(value)),
            lambda first, second: slot(wrap(first), wrap(second)),
        )
        if count >= len(calls):
            raise NotImplementedError(f"The host cannot connect {signature} yet")
        call = calls[count]
        getattr(self._object, name).connect(call)
        self._connections.append((signature, slot, call))
        return True

    def disconnect(self, signature: str, slot: Any) -> bool:
        for entry in list(self._connections):
            if entry[0] == signature and entry[1] == slot:
                getattr(self._object, signature.partition("(")[0]).disconnect(entry[2])
                self._connections.remove(entry)
                return True
        raise ValueError(f"{signature} is not connected to this slot")

    def className(self) -> str:
        return self._key.partition(".")[2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrapper) and self._object is other._object

    def __hash__(self) -> int:
        return hash(id(self._object))


class _Signal:
    """``obj.clicked.connect(f)``: f gets all arguments of the longest signature."""

    def __init__(self, owner: Wrapper, name: str) -> None:
        matching = [s for s in api.signals(owner._key) if s.partition("(")[0] == name]
        self._owner, self._signature = owner, max(matching, key=len)

    def connect(self, slot: Any) -> None:
        self._owner.connect(self._signature, slot)

    def disconnect(self, slot: Any) -> None:
        self._owner.disconnect(self._signature, slot)


def _calling(function: Any) -> Any:
    def call(*args: Any) -> Any:
        return wrap(function(*map(unwrap, args)))

    return call
