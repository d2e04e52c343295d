"""glTF 2.0, text (.gltf) and binary (.glb): in metres, Y up, the front towards +Z.

Written here rather than by VTK's vtkGLTFWriter (9.6), which adds a camera that looks away from the
mesh and has no place for what the coordinates mean to the patient.

Source: Khronos Group, glTF 2.0 specification, sections 3.4 (coordinate system and units), 3.6
(buffers) and 4 (GLB).
"""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import SkinMesh
from .formats import SPACES, UNIT, FileMesh
from .gltf_read import MAGIC, scene_of
from .polydata import lps_signs

SUFFIXES = (".glb", ".gltf")
#: What the axes mean to the patient.
AXES = "+X left, +Y superior, +Z anterior"
#: From RAS mm to glTF: +X is the patient's left, +Y up, +Z to the front; metres. A rotation, so
#: nothing is mirrored.
_FROM_RAS = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]) / 1000.0
_JSON, _BIN = b"JSON", b"BIN\0"
_FLOAT, _UINT, _POINTS, _INDICES, _TRIANGLES = 5126, 5125, 34962, 34963, 4
_INLINE = "data:application/octet-stream;base64,"


def write_gltf(mesh: SkinMesh, path: Path, space: str) -> None:
    """Write ``mesh`` so that a head stands upright and looks along +Z, whatever ``space`` is.

    ``asset.extras`` says how to get back: ``SPACE``, and ``toPatient``, the 4x4 matrix (by
    columns, as glTF does) from the file's metres to mm in that space.
    """
    points = (mesh.points @ _FROM_RAS.T.astype(np.float32)).astype("<f4")
    indices = np.ascontiguousarray(mesh.triangles, "<u4")
    binary = points.tobytes() + indices.tobytes()
    document = _document(points, indices, space)
    if path.suffix.lower() == ".gltf":
        document["buffers"][0]["uri"] = _INLINE + base64.b64encode(binary).decode("ascii")
        path.write_text(json.dumps(document), encoding="utf-8")
        return
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    with path.open("wb") as file:
        file.write(MAGIC + struct.pack("<II", 2, 12 + 8 + len(text) + 8 + len(binary)))
        file.write(struct.pack("<I", len(text)) + _JSON + text)
        file.write(struct.pack("<I", len(binary)) + _BIN + binary)


def _document(points: NDArray[Any], indices: NDArray[Any], space: str) -> dict[str, Any]:
    to_patient = np.eye(4)
    to_patient[:3, :3] = np.linalg.inv(_FROM_RAS)
    if space == "LPS":
        to_patient[:3] *= lps_signs()[:, None]
    extras = {"SPACE": space, "unit": UNIT, "toPatient": to_patient.round(6).T.ravel().tolist()}
    return {
        "asset": {"version": "2.0", "generator": "SkinSeg", "extras": extras},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "Skin"}],
        "meshes": [
            {
                "name": "Skin",
                "primitives": [
                    {"attributes": {"POSITION": 0}, "indices": 1, "material": 0, "mode": _TRIANGLES}
                ],
            }
        ],
        # The colour of Slicer's terminology for skin; without a material, viewers show white metal.
        "materials": [
            {
                "name": "Skin",
                "pbrMetallicRoughness": {
                    "baseColorFactor": [0.44, 0.195, 0.13, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.8,
                },
            }
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": _FLOAT,
                "count": len(points),
                "type": "VEC3",
                "min": [float(value) for value in points.min(axis=0)],
                "max": [float(value) for value in points.max(axis=0)],
            },
            {"bufferView": 1, "componentType": _UINT, "count": indices.size, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": points.nbytes, "target": _POINTS},
            {
                "buffer": 0,
                "byteOffset": points.nbytes,
                "byteLength": indices.nbytes,
                "target": _INDICES,
            },
        ],
        "buffers": [{"byteLength": points.nbytes + indices.nbytes}],
    }


def read_gltf(path: Path) -> FileMesh:
    """All triangles of a file, in mm along LPS or RAS, by the axes that glTF prescribes.

    Raises OutputError if it is no glTF or not all there.
    """
    points, triangles, space = scene_of(path)
    tag = space if space in SPACES else ""
    ras = points @ np.linalg.inv(_FROM_RAS).T
    signs = lps_signs() if (tag or "LPS") == "LPS" else np.ones(3, np.float32)
    return FileMesh((ras * signs).astype(np.float32), triangles, tag)
