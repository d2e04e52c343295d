"""3MF by lib3mf, the 3MF Consortium's own library, which is an optional package.

Source: 3MF Consortium, Core Specification 1.3: right-handed coordinates, units of its own,
triangles counter-clockwise seen from outside.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, SkinMesh
from .formats import UNIT, FileMesh, damaged, not_written, stamp, tag_of
from .polydata import lps_signs

#: Millimetres in each of lib3mf's units, in the order of its enumeration.
_UNITS_MM = (0.001, 1.0, 10.0, 25.4, 304.8, 1000.0)
_DESCRIPTION = "Description"


def require_lib3mf() -> Any:
    """The package. Raises MissingPackageError where it is not installed or does not load."""
    try:
        import lib3mf
    except (ImportError, OSError) as error:
        raise MissingPackageError(
            "3MF files need the package lib3mf. Install it (pip install 'skinseg[mesh]', or "
            "pip install lib3mf), or choose another format."
        ) from error
    return lib3mf


def write_3mf(mesh: SkinMesh, path: Path, space: str) -> None:
    """Write one object in mm, in ``space``, which the file's description names.

    Raises MissingPackageError, or OutputError if the writer fails.
    """
    lib3mf = require_lib3mf()
    wrapper = lib3mf.get_wrapper()
    model = wrapper.CreateModel()
    model.SetUnit(lib3mf.ModelUnit.MilliMeter)
    notes = model.GetMetaDataGroup()
    notes.AddMetaData("", "Application", "SkinSeg", "xs:string", True)
    notes.AddMetaData("", _DESCRIPTION, f"{stamp(space)} unit: {UNIT}", "xs:string", True)
    body = model.AddMeshObject()
    body.SetName("Skin")
    points = np.array(mesh.points if space == "RAS" else mesh.points * lps_signs(), np.float32)
    triangles = np.array(mesh.triangles, np.uint32)
    # The wrapper's own SetGeometry makes a Python object of each point: 5 s for 1.7 M triangles.
    wrapper.checkError(
        body,
        wrapper.lib.lib3mf_meshobject_setgeometry(
            body._handle,
            ctypes.c_uint64(len(points)),
            (lib3mf.Position * len(points)).from_buffer(points),
            ctypes.c_uint64(len(triangles)),
            (lib3mf.Triangle * len(triangles)).from_buffer(triangles),
        ),
    )
    model.AddBuildItem(body, wrapper.GetIdentityTransform())
    try:
        content = _packed(lib3mf, model)
    except lib3mf.ELib3MFException as error:
        raise not_written(path) from error
    path.write_bytes(content)


def _packed(lib3mf: Any, model: Any) -> bytearray:
    """The file's bytes. lib3mf 2.5 aborts the whole process where it writes to a full disk."""
    content, at = bytearray(), 0

    def write(address: int, count: int, _data: Any) -> int:
        nonlocal at
        content[at : at + count] = ctypes.string_at(address, count)
        at += count
        return 0

    def seek(position: int, _data: Any) -> int:
        nonlocal at
        at = position
        return 0

    kept = lib3mf.WriteCallback(write), lib3mf.SeekCallback(seek)
    model.QueryWriter("3mf").WriteToCallback(*kept, None)
    return content


def read_3mf(path: Path) -> FileMesh:
    """All that a file puts on the build plate, components and transforms applied, in mm.

    Raises MissingPackageError, or OutputError if it is no 3MF or not all there.
    """
    lib3mf = require_lib3mf()
    wrapper = lib3mf.get_wrapper()
    model = wrapper.CreateModel()
    try:
        model.QueryReader("3mf").ReadFromFile(str(path))
        bodies = model.MergeToModel().GetMeshObjects()
    except lib3mf.ELib3MFException as error:
        raise damaged(path, "3MF") from error
    notes = model.GetMetaDataGroup()
    texts = [notes.GetMetaData(n) for n in range(notes.GetMetaDataCount())]
    tag = tag_of(" ".join(text.GetValue() for text in texts if text.GetName() == _DESCRIPTION))
    points, triangles, count = [np.empty((0, 3), np.float32)], [np.empty((0, 3), np.int64)], 0
    while bodies.MoveNext():
        body = bodies.GetCurrentMeshObject()
        some, corners = _geometry(lib3mf, wrapper, body)
        points.append(some)
        triangles.append(corners.astype(np.int64) + count)
        count += len(some)
    scale = np.float32(_UNITS_MM[int(model.GetUnit())])
    return FileMesh(np.concatenate(points) * scale, np.concatenate(triangles), tag)


def _geometry(
    lib3mf: Any, wrapper: Any, body: Any
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Points and triangles of an object; by the C interface, as in writing."""
    points = np.empty((body.GetVertexCount(), 3), np.float32)
    triangles = np.empty((body.GetTriangleCount(), 3), np.uint32)
    for array, kind, get in (
        (points, lib3mf.Position, wrapper.lib.lib3mf_meshobject_getvertices),
        (triangles, lib3mf.Triangle, wrapper.lib.lib3mf_meshobject_gettriangleindices),
    ):
        if len(array):
            size, buffer = ctypes.c_uint64(len(array)), (kind * len(array)).from_buffer(array)
            wrapper.checkError(body, get(body._handle, size, ctypes.c_uint64(), buffer))
    return points, triangles
