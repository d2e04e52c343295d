"""InVesalius projects (.inv3).

A project is a tar, gzipped or not, with ``main.plist`` (an XML property list) and the voxels in
``matrix.dat``: raw, little endian, (z, y, x) as the plist's ``matrix.shape`` says, ``spacing`` in
(x, y, z) mm, HU. The plist holds the patient's name, which is never read here.

Which way is left? InVesalius 3 (``data/imagedata_utils.py``, ``dcm2memmap``) turns the rows of each
DICOM slice upside down and orders slices along the cross product of row and column direction. So an
ordinary axial series (rows to the left, columns to posterior) is stored with i towards Left, j
towards Anterior, k towards Superior: a left-handed grid. The project itself states no axes.

Evidence, none of it from looking at the patient's own asymmetry:

* For its surfaces (``data/surface_process.py``) InVesalius mirrors y about the origin, which makes
  the grid right-handed: a stored surface has x = i*sx, y = -j*sy, z = k*sz. Checked on Debian's
  ``Cranium.inv3``, whose ``surface_0.vtp`` was made at 226 HU: on its 205777 vertices the matrix
  interpolated at (x, -y, z) has a median of 231 HU and a median deviation from 226 of 13; with x
  mirrored the deviation is 239, with y 213, with z 230. ``surface_1.vtp`` (-142 HU): -147, and 11
  against 441, 414 and 586.
* These surfaces are written to STL as they are, in DICOM's LPS for a DICOM series. A surface that
  surgeons print is not a mirror image, so (x, -y, z) is right-handed.
* In that scan the nose is at high j and the vertex at high k (seen in the slices). With these
  two, right-handedness leaves only x towards Left. Both ways agree.

So RAS = (-i*sx, j*sy, k*sz): our meshes lie on InVesalius's own STL export.

A project from NIfTI (``img2memmap``) is stored the other way round, i to Right and j to Posterior,
and carries ``affine``, the inverse of the rigid part of the NIfTI's matrix; newer versions store
the DICOM row and column directions as ``patient_orientation``. Both are used where present.
"""

from __future__ import annotations

import math
import plistlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import numpy as np
from numpy.typing import NDArray

from ..core import LPS_RAS, CTVolume, Progress, ScanReadError
from .grey import settle

#: More voxel data than this is refused, unpacked.
MAX_BYTES = 8 * 1024**3
_TYPES = {"int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"}
_CORONAL, _SAGITTAL = 2, 3


def read_invesalius(path: Path, progress: Progress | None = None) -> CTVolume:
    """The scan in an InVesalius project, in LPS as InVesalius's own surfaces are.

    Nothing is unpacked to disk. Raises ScanReadError if the project is damaged or holds no CT.
    """
    with opened(path, progress) as content:
        project, array = content.project, content.matrix()
    if progress is not None:
        progress.update(0.8)
    modality = str(project.get("modality", "CT"))
    if modality not in ("CT", "MRI", "UNKNOWN", ""):
        raise ScanReadError(
            f"{path} holds a scan of modality {modality}, not a CT. "
            "Choose a project made from a CT."
        )
    matrix, notes = geometry(project, array.shape, path)
    voxels, padding, remarks = settle(array)
    if progress is not None:
        progress.update(1.0)
    return CTVolume(voxels, matrix, padding=padding, notes=notes + remarks)


@dataclass(frozen=True)
class Content:
    """An open project: its archive, the regular files in it by base name, and its property list."""

    path: Path
    archive: tarfile.TarFile
    members: dict[str, tarfile.TarInfo]
    project: dict[str, Any]

    def matrix(self) -> NDArray[Any]:
        """The voxels as stored, (z, y, x)."""
        return _matrix(self.archive, self.members, self.project, self.path)

    def member(self, name: str) -> bytes:
        """A small file of the project; ScanReadError if it is missing."""
        item = self.members.get(name.replace("\\", "/").rsplit("/", 1)[-1])
        stream = self.archive.extractfile(item) if item and item.size <= MAX_BYTES else None
        if stream is None:
            raise damaged(self.path)
        return stream.read()


@contextmanager
def opened(path: Path, progress: Progress | None = None) -> Iterator[Content]:
    """A project, open within the block. Raises ScanReadError, there too, if it is damaged."""
    try:
        with tarfile.open(path, "r:*") as archive:
            members = _members(archive, path, progress)
            yield Content(path, archive, members, _project(archive, members, path))
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise ScanReadError(f"{path} cannot be read: {error.strerror}.") from error
        raise ScanReadError(
            f"{path} is no InVesalius project, or it is truncated. Copy or download it again."
        ) from error


def _members(
    archive: tarfile.TarFile, path: Path, progress: Progress | None
) -> dict[str, tarfile.TarInfo]:
    """Regular files by base name; links and devices are left alone."""
    members: dict[str, tarfile.TarInfo] = {}
    total = 0
    for item in archive:
        total += item.size
        if total > 2 * MAX_BYTES:
            raise ScanReadError(f"{path} unpacks to too much data for an InVesalius project.")
        if progress is not None:
            progress.update(0.1)
        if item.isreg():
            members.setdefault(item.name.rsplit("/", 1)[-1], item)
    return members


def _project(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], path: Path
) -> dict[str, Any]:
    item = members.get("main.plist")
    stream = archive.extractfile(item) if item is not None and item.size < 1 << 24 else None
    if stream is None:
        raise ScanReadError(
            f"{path} holds no main.plist, so it is no InVesalius 3 project. Choose an .inv3 file."
        )
    try:
        project = plistlib.loads(stream.read(), fmt=plistlib.FMT_XML)
    except (plistlib.InvalidFileException, ExpatError, ValueError) as error:
        raise damaged(path) from error
    if not isinstance(project, dict) or not isinstance(project.get("matrix"), dict):
        raise damaged(path)
    return project


def _matrix(
    archive: tarfile.TarFile,
    members: dict[str, tarfile.TarInfo],
    project: dict[str, Any],
    path: Path,
) -> NDArray[Any]:
    """The voxels as stored, (z, y, x)."""
    entry = project["matrix"]
    try:
        shape = tuple(int(size) for size in entry["shape"])
        name = str(entry["dtype"])
        item = members.get(str(entry["filename"]).replace("\\", "/").rsplit("/", 1)[-1])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
    if name not in _TYPES or len(shape) != 3 or min(shape) < 1:
        raise damaged(path)
    kind = np.dtype(name).newbyteorder("<")
    size = math.prod(shape) * kind.itemsize
    if size > MAX_BYTES:
        raise ScanReadError(f"{path} holds more voxels than can be read ({size / 1e9:.0f} GB).")
    stream = archive.extractfile(item) if item is not None and item.size == size else None
    if stream is None:
        raise damaged(path)
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        count = stream.readinto(view[filled : filled + (1 << 24)])  # type: ignore[attr-defined]
        if not count:
            raise damaged(path)
        filled += count
    array = np.frombuffer(buffer, dtype=kind).reshape(shape)
    return array.astype(kind.newbyteorder("="), copy=False)


def geometry(
    project: dict[str, Any], shape: tuple[int, ...], path: Path
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """4x4 from (i, j, k) to RAS mm, and notes on how sure it is."""
    try:
        spacing = np.array([float(value) for value in project["spacing"]])
        orientation = int(project.get("orientation", 1))
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path) from error
    if spacing.shape != (3,) or not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise ScanReadError(
            f"{path} has a voxel spacing of zero or no number. "
            "Correct it in InVesalius and save the project again."
        )
    if orientation == _CORONAL and project.get("affine"):
        return _from_nifti(project["affine"], spacing, shape, path), (
            "The project was made from a NIfTI file; its position was taken from there.",
        )
    lps = np.eye(4)
    directions = project.get("patient_orientation")
    if directions:
        try:
            row, column = np.array(directions, dtype=np.float64).reshape(2, 3)
        except (TypeError, ValueError) as error:
            raise damaged(path) from error
        lps[:3, :3] = _stored_axes(row, column, orientation) * spacing
        return LPS_RAS @ lps, ()
    # Without stated directions: those of ordinary axial, coronal and sagittal series.
    signs = (-1.0, 1.0, 1.0) if orientation == _SAGITTAL else (1.0, -1.0, 1.0)
    lps[:3, :3] = np.diag(np.array(signs) * spacing)
    return LPS_RAS @ lps, (
        "An InVesalius project does not store the patient's axes: rows were taken to run from back "
        "to front and slices from foot to head, as InVesalius stores an ordinary series. Check "
        "left and right in the preview.",
    )


def _stored_axes(
    row: NDArray[np.float64], column: NDArray[np.float64], orientation: int
) -> NDArray[np.float64]:
    """LPS directions of i, j, k (as columns) for DICOM row and column directions."""
    normal = np.cross(row, column)
    if orientation == _CORONAL:
        return np.stack([row, -normal, -column], axis=1)
    if orientation == _SAGITTAL:
        return np.stack([normal, row, -column], axis=1)
    return np.stack([row, -column, normal], axis=1)


def _from_nifti(
    affine: Any, spacing: NDArray[np.float64], shape: tuple[int, ...], path: Path
) -> NDArray[np.float64]:
    try:
        rigid = np.linalg.inv(np.array(affine, dtype=np.float64).reshape(4, 4))
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise damaged(path) from error
    to_voxel = np.diag([spacing[0], -spacing[1], spacing[2], 1.0])
    to_voxel[1, 3] = spacing[1] * (shape[1] - 1)
    return np.asarray(rigid @ to_voxel)


def damaged(path: Path) -> ScanReadError:
    return ScanReadError(
        f"{path} is a damaged InVesalius project. Open it in InVesalius and save it again, "
        "or use the DICOM files."
    )
