"""Reading glTF 2.0: the triangles of a scene in their places, and nothing else of it.

VTK's reader (9.6) trusts the numbers in the file and takes the whole program with it where they are
wrong; here numpy checks them against the data.

Source: Khronos Group, glTF 2.0 specification, sections 3.5 to 3.7 and 4 (GLB).
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from .formats import damaged

MAGIC = b"glTF"
_JSON, _BINARY = 0x4E4F534A, 0x004E4942
_NUMBERS = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_PER_ITEM = {"SCALAR": 1, "VEC3": 3}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6

Part = tuple[NDArray[np.float64], NDArray[np.int64]]


def scene_of(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64], str]:
    """All triangles of a file's scene as one mesh, in metres along glTF's own axes.

    Returns points (n, 3), triangles (m, 3), and what ``SPACE`` in ``asset.extras`` says, "" where
    there is none. Sparse and compressed (Draco) data is not read. Raises OutputError.
    """
    try:
        content, binary = _chunks(path)
        asset = content["asset"]
        if not asset["version"].startswith("2"):
            raise damaged(path, "glTF 2")
        buffers = [_buffer(path, buffer, binary) for buffer in content["buffers"]]
        parts = _Scene(content, buffers).parts()
        space = str((asset.get("extras") or {}).get("SPACE", ""))
    except (
        *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
        *(RecursionError, struct.error, FileNotFoundError),
    ) as error:
        raise damaged(path, "glTF") from error
    starts = np.cumsum([0, *(len(points) for points, _ in parts)]).tolist()
    points = np.concatenate([np.empty((0, 3)), *(points for points, _ in parts)])
    triangles = [some + start for (_, some), start in zip(parts, starts, strict=False)]
    return points, np.concatenate([np.empty((0, 3), np.int64), *triangles]), space


def _chunks(path: Path) -> tuple[Any, bytes]:
    """The JSON part and the binary one."""
    data = path.read_bytes()
    if data[:4] != MAGIC:
        return json.loads(data), b""
    _, version, length, size, kind = struct.unpack_from("<4s4I", data)
    if (version, kind, length) != (2, _JSON, len(data)):
        raise damaged(path, "glTF 2")
    content = json.loads(data[20 : 20 + size])
    binary = b""
    if 20 + size < len(data):
        length, kind = struct.unpack_from("<2I", data, 20 + size)
        if kind == _BINARY:
            binary = data[28 + size : 28 + size + length]
    return content, binary


def _buffer(path: Path, buffer: Any, binary: bytes) -> bytes:
    uri = buffer.get("uri")
    if uri is None:
        return binary
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2], validate=True)
    return (path.parent / unquote(uri)).read_bytes()


class _Scene:
    def __init__(self, content: Any, buffers: list[bytes]) -> None:
        self._content, self._buffers = content, buffers
        self._seen: set[int] = set()

    def parts(self) -> list[Part]:
        """Points and triangles of each mesh of the scene; metres, and the front face outward."""
        nodes = self._content["nodes"]
        scenes = self._content.get("scenes")
        if scenes:
            roots = scenes[self._content.get("scene", 0)].get("nodes", [])
        else:
            inner = {child for node in nodes for child in node.get("children", [])}
            roots = [n for n in range(len(nodes)) if n not in inner]
        return [part for root in roots for part in self._parts_of(root, np.eye(4))]

    def _parts_of(self, number: int, above: NDArray[np.float64]) -> list[Part]:
        if number in self._seen:
            raise ValueError("a node has two parents")
        self._seen.add(number)
        node = self._content["nodes"][number]
        place = above @ _matrix(node)
        parts = []
        if "mesh" in node:
            for primitive in self._content["meshes"][node["mesh"]]["primitives"]:
                points, triangles = self._primitive(primitive)
                points = points @ place[:3, :3].T + place[:3, 3]
                if np.linalg.det(place[:3, :3]) < 0:  # specification 3.7.4
                    triangles = triangles[:, ::-1]
                parts.append((points, triangles))
        for child in node.get("children", []):
            parts += self._parts_of(child, place)
        return parts

    def _primitive(self, primitive: Any) -> Part:
        points = self._accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
        order = np.arange(len(points))
        if "indices" in primitive:
            order = self._accessor(primitive["indices"]).ravel().astype(np.int64)
        mode = primitive.get("mode", _TRIANGLES)
        if mode == _TRIANGLES:
            triangles = order[: len(order) // 3 * 3].reshape(-1, 3)
        elif mode == _STRIP:
            triangles = np.column_stack((order[:-2], order[1:-1], order[2:]))
            triangles[1::2] = triangles[1::2, [0, 2, 1]]
        elif mode == _FAN:
            triangles = np.column_stack((order[1:-1], order[2:], np.full(len(order) - 2, order[0])))
        else:  # points and lines
            triangles = np.empty((0, 3), np.int64)
        if triangles.size and triangles.max() >= len(points):
            raise ValueError("there is no such point")
        return points, triangles

    def _accessor(self, number: int) -> NDArray[Any]:
        """(count, numbers per item)."""
        accessor = self._content["accessors"][number]
        if "sparse" in accessor:
            raise ValueError("sparse data is not read")
        view = self._content["bufferViews"][accessor["bufferView"]]
        kind = np.dtype(_NUMBERS[accessor["componentType"]])
        width = _PER_ITEM[accessor["type"]]
        data = memoryview(self._buffers[view["buffer"]])
        start = view.get("byteOffset", 0)
        data = data[start : start + view["byteLength"]]
        stride = view.get("byteStride", width * kind.itemsize)
        return np.ndarray(
            (accessor["count"], width),
            kind,
            data,
            accessor.get("byteOffset", 0),
            (stride, kind.itemsize),
        )


def _matrix(node: Any) -> NDArray[np.float64]:
    """4x4 of a node, given as such by columns, or by translation, rotation (x, y, z, w), scale."""
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    turn = Rotation.from_quat(node.get("rotation", (0, 0, 0, 1))).as_matrix()
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), dtype=np.float64)
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
