"""Scans, masks, meshes and findings as messages and files, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core import CTVolume, Finding, FindingKind, SkinMask, SkinMesh, WorkerError
from ..pipeline import JobResult
from ..scan.grey import settle
from .exchange import get, put

_MESH_ARRAYS = ("points", "triangles", "is_cut")


@dataclass(frozen=True)
class ScanMessage:
    """A scan whose voxels lie in an exchange folder, as they are in the owner's node or file.

    ``folder``, ``name``: of the array, (k, j, i), any real type, HU. ``ijk_to_ras``: 16 values,
    mm. ``settled``: whether the voxels are those of a CTVolume already, with ``padding`` and
    ``notes``; else the worker finds both.
    """

    folder: str
    name: str
    ijk_to_ras: tuple[float, ...]
    settled: bool = False
    padding: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(scan: CTVolume, folder: Path, name: str = "scan") -> ScanMessage:
        """Write a scan into ``folder``."""
        put(folder, name, scan.voxels)
        matrix = tuple(scan.ijk_to_ras.ravel().tolist())
        return ScanMessage(str(folder), name, matrix, True, scan.padding, scan.notes)


def scan_from(message: Mapping[str, Any]) -> CTVolume:
    """The scan of a ScanMessage; raises ScanReadError if its voxels are of no use."""
    voxels = get(Path(message["folder"]), message["name"])
    padding, notes = tuple(message["padding"]), tuple(message["notes"])
    if not message["settled"]:
        voxels, padding, found = settle(voxels, padding)
        notes = (*notes, *found)
    matrix = np.array(message["ijk_to_ras"], dtype=np.float64).reshape(4, 4)
    return CTVolume(voxels, matrix, padding, notes=notes)


def put_mesh(mesh: SkinMesh, folder: Path, name: str) -> dict[str, Any]:
    """Write a mesh; returns its message."""
    for part in _MESH_ARRAYS:
        put(folder, f"{name}-{part}", getattr(mesh, part))
    return {"name": name, "closed": mesh.closed, "processing": dict(mesh.processing)}


def get_mesh(message: Mapping[str, Any], folder: Path) -> SkinMesh:
    """The mesh of a message."""
    points, triangles, is_cut = (get(folder, f"{message['name']}-{part}") for part in _MESH_ARRAYS)
    return SkinMesh(points, triangles, is_cut, message["closed"], message["processing"])


def put_mask(mask: SkinMask, folder: Path, name: str = "mask") -> dict[str, Any]:
    """Write a mask; returns its message."""
    put(folder, name, mask.voxels)
    return {
        "name": name,
        "ijk_to_ras": mask.ijk_to_ras.ravel().tolist(),
        "engine": mask.engine,
        "level_hu": mask.level_hu,
        "half_contrast_hu": mask.half_contrast_hu,
        "cut_faces": mask.cut_faces,
        "findings": [finding_entry(finding) for finding in mask.findings],
        "seconds": dict(mask.seconds),
        "model": dict(mask.model),
    }


def get_mask(message: Mapping[str, Any], folder: Path) -> SkinMask:
    """The mask of a message."""
    return SkinMask(
        get(folder, message["name"]),
        np.array(message["ijk_to_ras"], dtype=np.float64).reshape(4, 4),
        message["engine"],
        message["level_hu"],
        message["half_contrast_hu"],
        tuple(message["cut_faces"]),
        tuple(finding_from(entry) for entry in message["findings"]),
        message["seconds"],
        message["model"],
    )


def put_result(result: JobResult, folder: Path) -> dict[str, Any]:
    """Write the result of a whole job; returns its message."""
    if result.layer_voxels is not None:
        put(folder, "layer", result.layer_voxels)
    return {
        "mask": put_mask(result.mask, folder),
        "head": put_mesh(result.head, folder, "head"),
        "layer_voxels": result.layer_voxels is not None,
        "layer": None if result.layer is None else put_mesh(result.layer, folder, "shell"),
        "seconds": dict(result.seconds),
    }


def get_result(message: Mapping[str, Any], folder: Path) -> JobResult:
    """The result of a message. Raises WorkerError if a part of it is missing."""
    try:
        layer = message["layer"]
        return JobResult(
            get_mask(message["mask"], folder),
            get_mesh(message["head"], folder),
            get(folder, "layer") if message["layer_voxels"] else None,
            None if layer is None else get_mesh(layer, folder),
            message["seconds"],
        )
    except (WorkerError, KeyError, TypeError, ValueError) as error:
        raise WorkerError(
            "The result did not come back whole. Nothing was changed. Try again."
        ) from error


def finding_entry(finding: Finding) -> dict[str, Any]:
    """A finding, ready for JSON."""
    return {
        "kind": finding.kind.name,
        "message": finding.message,
        "position_ras": finding.position_ras,
        "volume_ml": finding.volume_ml,
    }


def finding_from(entry: Mapping[str, Any]) -> Finding:
    """The finding of an entry."""
    place = entry["position_ras"]
    return Finding(
        FindingKind[entry["kind"]],
        entry["message"],
        None if place is None else tuple(place),
        entry["volume_ml"],
    )
