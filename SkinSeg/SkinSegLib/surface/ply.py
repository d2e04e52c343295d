"""Reading PLY. VTK's reader ends the process by a segmentation fault where a file is cut short or
names points that it does not have (seen with vtk 9.6), and a face picked from elsewhere may.

Format: Turk 1994, "The PLY Polygon File Format".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: numpy's names of PLY's types, old and new.
_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Ply:
    """``points``: (n, 3). ``counts``: corners of each polygon; ``corners``: all, one after the
    other, as indices into points."""

    points: NDArray[Any]
    counts: NDArray[np.int64]
    corners: NDArray[np.int64]
    comments: tuple[str, ...]


@dataclass(frozen=True)
class _Property:
    """``count``: the type of the number before a list, "" for a single value."""

    name: str
    type: str
    count: str


@dataclass(frozen=True)
class _Element:
    name: str
    rows: int
    properties: list[_Property]


def parse(content: bytes) -> Ply | None:
    """What a PLY file holds, None if it is none or not all there."""
    try:
        return _parse(content)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError):
        return None  # what a damaged file does to the parser


def _parse(content: bytes) -> Ply | None:
    end = content.find(b"end_header")
    start = content.find(b"\n", end) + 1
    if not content.startswith(b"ply") or end < 0 or start == 0:
        return None
    order, elements, comments = _header(content[:end].decode("latin-1"))
    body: Any = content[start:].split() if order == "=" else memoryview(content)[start:]
    columns: dict[str, dict[str, Any]] = {}
    for element in elements:
        take = _take_text if order == "=" else _take_binary
        columns[element.name], body = take(body, element, order)
        if element.name == "face":
            break
    vertex, face = columns["vertex"], columns.get("face", {})
    points = np.column_stack([vertex[axis] for axis in "xyz"])
    found = [face[name] for name in _CORNERS if name in face]
    none = np.empty(0, np.int64)
    counts, corners = found[0] if found else (none, none)
    return Ply(points, counts, corners, tuple(comments))


def _header(text: str) -> tuple[str, list[_Element], list[str]]:
    order, elements, comments = "", [], []
    for line in text.splitlines()[1:]:
        word, *rest = line.split() or [""]
        if word == "format":
            order = _ORDERS[rest[0]]
        elif word in ("comment", "obj_info"):
            comments.append(" ".join(rest))
        elif word == "element":
            elements.append(_Element(rest[0], int(rest[1]), []))
        elif word == "property":
            count = _TYPES[rest[1]] if rest[0] == "list" else ""
            elements[-1].properties.append(_Property(rest[-1], _TYPES[rest[-2]], count))
    if not order or any(element.rows < 0 for element in elements):
        raise ValueError("no format")
    return order, elements, comments


def _take_binary(body: memoryview, element: _Element, order: str) -> tuple[dict[str, Any], Any]:
    """The columns of one element, and what follows it; a list is (counts, values)."""
    # As if each list had as many values as that of the first row, which is nearly always so.
    if element.rows == 0:
        return {p.name: _no_rows(p) for p in element.properties}, body
    sizes, at = [], 0
    for p in element.properties:
        length = 1
        if p.count:
            length = _length(body, order + p.count, at)
            at += np.dtype(p.count).itemsize
        sizes.append(length)
        at += length * np.dtype(p.type).itemsize
    row = np.dtype(
        [
            field
            for n, (p, length) in enumerate(zip(element.properties, sizes, strict=True))
            for field in (
                [(f"count{n}", order + p.count), (f"{n}", order + p.type, (length,))]
                if p.count
                else [(f"{n}", order + p.type)]
            )
        ]
    )
    uniform = len(body) >= element.rows * row.itemsize
    if uniform:
        table = np.frombuffer(body, row, element.rows)
        uniform = all(
            bool((table[f"count{n}"] == length).all())
            for n, (p, length) in enumerate(zip(element.properties, sizes, strict=True))
            if p.count
        )
    if not uniform:
        return _walk(body, element, order)
    columns: dict[str, Any] = {}
    for n, (p, length) in enumerate(zip(element.properties, sizes, strict=True)):
        values = table[f"{n}"]
        columns[p.name] = values
        if p.count:
            counts = np.full(element.rows, length, np.int64)
            columns[p.name] = counts, values.astype(np.int64).ravel()
    return columns, body[element.rows * row.itemsize :]


def _walk(body: memoryview, element: _Element, order: str) -> tuple[dict[str, Any], Any]:
    """Row by row, where lists differ in length; raises ValueError where the file ends too early."""
    lists: dict[str, tuple[list[int], list[NDArray[Any]]]] = {
        p.name: ([], []) for p in element.properties if p.count
    }
    if not lists:
        raise ValueError("the file ends too early")
    at = 0
    for _ in range(element.rows):
        for p in element.properties:
            length = 1
            if p.count:
                length = _length(body, order + p.count, at)
                at += np.dtype(p.count).itemsize
                lists[p.name][0].append(length)
                lists[p.name][1].append(np.frombuffer(body, order + p.type, length, at))
            at += length * np.dtype(p.type).itemsize
    if at > len(body):
        raise ValueError("the file ends too early")
    columns: dict[str, Any] = {
        name: (np.array(counts, np.int64), np.concatenate(values).astype(np.int64))
        for name, (counts, values) in lists.items()
    }
    return columns, body[at:]


def _take_text(words: list[bytes], element: _Element, order: str) -> tuple[dict[str, Any], Any]:
    """As :func:`_take_binary`, from the words of a text file."""
    if not any(p.count for p in element.properties):
        width = len(element.properties)
        table = np.array(words[: element.rows * width], np.float64).reshape(element.rows, width)
        columns = {p.name: table[:, n] for n, p in enumerate(element.properties)}
        return columns, words[element.rows * width :]
    lists: dict[str, tuple[list[int], list[bytes]]] = {
        p.name: ([], []) for p in element.properties if p.count
    }
    at = 0
    for _ in range(element.rows):
        for p in element.properties:
            length = 1
            if p.count:
                length = int(words[at])
                at += 1
                lists[p.name][0].append(length)
                lists[p.name][1].extend(words[at : at + length])
            at += length
    if at > len(words):
        raise ValueError("the file ends too early")
    return {
        name: (np.array(counts, np.int64), np.array(values, np.float64).astype(np.int64))
        for name, (counts, values) in lists.items()
    }, words[at:]


def _length(body: memoryview, kind: str, at: int) -> int:
    length = int(np.frombuffer(body, kind, 1, at)[0])
    if length < 0:
        raise ValueError("a list of negative length")
    return length


def _no_rows(p: _Property) -> Any:
    none = np.empty(0, np.int64)
    return (none, none) if p.count else none
