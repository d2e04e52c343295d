"""Tasks that take a person out of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..core import Progress
from .exchange import put
from .tasks_mesh import segment_on_scan


def deface(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Take the face of the ``segment`` out of ``scan``.

    Writes "region", (k, j, i) uint8 of the voxels to replace, and "values", what by, in their
    order. Returns the ``proof`` (of privacy.deface.Proof, mm and mL).
    """
    from ..privacy.deface import deface as without_face

    folder = Path(arguments["folder"])
    with progress.stage("Deface", 1.0):
        scan, mask = segment_on_scan(arguments)
        found = without_face(scan, mask)
        put(folder, "region", found.region.astype("u1"))
        put(folder, "values", found.volume.voxels[found.region])
    return {"proof": asdict(found.proof)}


def deidentify(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """De-identify what lies in ``source`` into the folder ``target``, under a key thrown away.

    Returns how many files were ``written``, ``already_done`` and, by reason, ``refused``.
    """
    from ..privacy import deidentify as run

    outcome = run(Path(arguments["source"]), Path(arguments["target"]), progress=progress)
    found = outcome.as_dict()
    return {key: found[key] for key in ("written", "already_done", "refused")}
