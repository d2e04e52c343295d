"""Mesh files: written, read back to be sure of what was written, and read from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, SkinMesh, replacing
from .contour import is_closed
from .formats import (
    SPACES,
    FileMesh,
    read_obj,
    read_ply,
    read_stl,
    read_vtp,
    write_polydata,
)
from .gltf import SUFFIXES as GLTF_SUFFIXES
from .gltf import read_gltf, write_gltf
from .polydata import lps_signs
from .threemf import read_3mf, require_lib3mf, write_3mf

FORMATS = (".stl", ".ply", ".obj", ".vtp", ".3mf", *GLTF_SUFFIXES)
#: Farthest that a coordinate may be off when read back, in mm: text files round.
_TOLERANCE_MM = 1e-3

_READERS = {
    ".stl": read_stl,
    ".ply": read_ply,
    ".obj": read_obj,
    ".vtp": read_vtp,
    ".3mf": read_3mf,
    ".glb": read_gltf,
    ".gltf": read_gltf,
}


def check_format(path: Path | str, *, ascii: bool = False) -> None:
    """Raises OutputError unless the file name's ending is one of FORMATS, or text was asked of one
    that has no such form; MissingPackageError if the format needs a package that is missing."""
    suffix, name = Path(path).suffix.lower(), Path(path).name
    if suffix not in FORMATS:
        raise OutputError(
            f"{name}: this kind of file is not known. "
            f"Choose a name that ends in {', '.join(FORMATS)}."
        )
    if ascii and suffix != ".stl":
        raise OutputError(f"{name}: only STL can be written as text. Choose a name in .stl.")
    if suffix == ".3mf":
        require_lib3mf()


def write(mesh: SkinMesh, path: Path | str, space: str = "LPS", *, ascii: bool = False) -> Path:
    """Write a mesh as STL, PLY, OBJ, VTP, 3MF or glTF, by the file name's ending.

    ``space``: LPS, which Slicer assumes and other programs expect, or RAS. It is written into the
    file, where Slicer reads it (``SPACE=LPS``) if it reads the format. All are in mm but glTF,
    which is in metres with Y up; there ``space`` is only what the file names as the patient's.
    ``ascii``: STL as text. The file is read back and compared before it replaces an existing one;
    on any error that one stays.

    Raises OutputError for an unknown ending, an empty mesh, an unwritable place or a file that
    reads back wrong, MissingPackageError where 3MF's library is not installed.
    """
    target = Path(path)
    check_format(target, ascii=ascii)
    if space not in SPACES:
        raise OutputError(f"{space} is no coordinate system. Choose LPS or RAS.")
    if not len(mesh.triangles):
        raise OutputError(f"{target.name}: the surface has no triangles, so nothing was written.")
    with replacing(target) as temporary:
        _write(mesh, temporary, space, ascii)
        _verify(mesh, temporary, space, target.name)
    return target


def read_points(path: Path | str) -> tuple[NDArray[Any], int, str]:
    """What a mesh file holds: points (n, 3) in mm, number of triangles, and its space tag.

    The points are as written, but for glTF, whose own axes are undone. STL repeats a point for
    each triangle. The tag is "LPS", "RAS" or "" where there is none. Raises as read_mesh does.
    """
    found = _read(Path(path))
    return found.points, len(found.triangles), found.tag


def read_mesh(path: Path | str) -> SkinMesh:
    """Read a mesh file in any of FORMATS, also one made elsewhere, into RAS mm.

    By the file's tag; without one it is LPS, as Slicer assumes (glTF: upright, facing +Z, as its
    specification wants). Coordinates of all but 3MF and glTF, which have units, are taken for mm.
    Polygons are cut into triangles. Corners at exactly the same place become one point in STL, and
    in other formats where the mesh is not closed without. ``is_cut`` is False throughout.

    Raises OutputError for an unknown ending and for a file that cannot be read, is cut short, or
    holds no triangle; MissingPackageError where 3MF's library is not installed.
    """
    target = Path(path)
    found = _read(target)
    if not len(found.triangles):
        raise OutputError(f"{target.name} holds no triangle. Choose another file.")
    if not np.isfinite(found.points).all():
        raise OutputError(
            f"{target.name} holds coordinates that are no numbers. Export it again from its source."
        )
    points = np.ascontiguousarray(found.in_space("RAS"), np.float32)
    triangles = found.triangles.astype(np.int32)
    closed = is_closed(triangles)
    if target.suffix.lower() == ".stl" or not closed:
        points, triangles = _merged(points, triangles)
        closed = is_closed(triangles)
    return SkinMesh(points, triangles, np.zeros(len(triangles), bool), closed)


def _merged(
    points: NDArray[np.float32], triangles: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Points of the same coordinates become one; triangles stay, in their order."""
    bits = np.ascontiguousarray(points + np.float32(0)).view(np.uint32)  # -0.0 is 0.0
    order = np.lexsort((bits[:, 2], bits[:, 0].astype(np.uint64) << np.uint64(32) | bits[:, 1]))
    first = np.ones(len(order), bool)
    first[1:] = (bits[order[1:]] != bits[order[:-1]]).any(axis=1)
    number = np.empty(len(order), np.int32)
    number[order] = np.cumsum(first, dtype=np.int32) - 1
    return points[order[first]], number[triangles]


def _write(mesh: SkinMesh, path: Path, space: str, ascii: bool) -> None:
    suffix = path.suffix.lower()
    if suffix == ".3mf":
        write_3mf(mesh, path, space)
    elif suffix in GLTF_SUFFIXES:
        write_gltf(mesh, path, space)
    else:
        write_polydata(mesh, path, space, ascii=ascii)


def _read(path: Path) -> FileMesh:
    check_format(path)
    if not path.is_file():
        raise OutputError(f"There is no file {path.name}. Check its name and folder.")
    try:
        return _READERS[path.suffix.lower()](path)
    except OSError as error:
        raise OutputError(
            f"{path.name} cannot be read ({error.strerror or error}). Check its name and place."
        ) from error


def _verify(mesh: SkinMesh, path: Path, space: str, name: str) -> None:
    """Raises OutputError unless every triangle and the tag of the file are those of the mesh."""
    expected = mesh.points if space == "RAS" else mesh.points * lps_signs()
    try:
        back = _read(path)
        same = back.tag == space and back.triangles.shape == mesh.triangles.shape
    except OutputError:
        same = False
    if same:
        off = np.abs(back.points[back.triangles] - expected[mesh.triangles])
        same = bool(off.max(initial=0) <= _TOLERANCE_MM)
    if not same:
        raise OutputError(
            f"{name} did not read back as it was written and was discarded. "
            "Check the disk, or choose another folder."
        )
