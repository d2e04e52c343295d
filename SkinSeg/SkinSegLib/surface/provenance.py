"""A record beside a mesh file of how it was made, by which the file is known again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..core import NOTICE, SkinMesh
from .formats import UNIT
from .gltf import AXES as GLTF_AXES
from .gltf import SUFFIXES as GLTF_SUFFIXES

SIDECAR_SUFFIX = ".json"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Provenance:
    """How a mesh came to be; values are ready for JSON, and none is patient data or a path.

    ``versions``: of SkinSeg, Python and packages. ``model``: the network's "name", "version" and
    "sha256"; empty where none ran. ``options``: what was chosen; ``measures``: what was measured,
    both with their unit in the key's name.
    """

    engine: str
    versions: Mapping[str, str]
    model: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)


def sidecar_path(mesh_path: Path | str) -> Path:
    """Where the record of a mesh file belongs: ``skin.stl.json`` beside ``skin.stl``."""
    path = Path(mesh_path)
    return path.with_name(path.name + SIDECAR_SUFFIX)


def write_provenance(
    origin: Provenance, mesh: SkinMesh, mesh_path: Path, path: Path, space: str = "LPS"
) -> None:
    """Write the record of ``mesh``, which is in the file ``mesh_path``, to ``path``.

    The file is known by its SHA-256, not by its name: whoever chose that may have named a patient.
    Writes in place; use it within ``Replacements.add``. Raises OSError.
    """
    gltf = mesh_path.suffix.lower() in GLTF_SUFFIXES
    content = {
        "sha256": _sha256(mesh_path),
        "format": mesh_path.suffix.lower().removeprefix("."),
        "triangles": len(mesh.triangles),
        "closed": mesh.closed,
        "space": space,
        "axes": GLTF_AXES if gltf else space,
        "unit": "m" if gltf else UNIT,
        "engine": origin.engine,
        "model": dict(origin.model) or None,
        "options": dict(origin.options),
        "measures": dict(origin.measures),
        "versions": dict(origin.versions),
        "notice": NOTICE,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()
