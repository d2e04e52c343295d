"""Tasks on surfaces: making one again, an outline at a level, and writing files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, Progress, SkinMask, SkinMesh, replacing_together, require_writable
from ..core.geometry import Matrix
from ..pipeline import JobOptions, compute
from ..scan.masks import onto_scan
from ..segmentation.findings import cut_faces
from ..segmentation.level import find_level
from ..surface import (
    FinishOptions,
    Provenance,
    SurfaceOptions,
    finished,
    measures,
    sidecar_path,
    write,
    write_provenance,
)
from .exchange import get, put
from .messages import get_mesh, put_mesh, scan_from

#: Where the outline of a level is drawn, one voxel of it is not finer than this, in mm.
_OUTLINE_MM = 1.0


def remesh(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The surface of a ``segment`` on ``scan``, by ``shape`` (of SurfaceOptions)."""
    return {"mesh": put_mesh(_built(arguments, progress), Path(arguments["folder"]), "head")}


def layer(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The layer of ``layer_mm`` of a ``segment`` on ``scan`` with the surface ``head``.

    Writes "layer", its voxels on the scan's grid. ``shell``: its surface, None where the scan's
    voxels are too coarse for it.
    """
    folder = Path(arguments["folder"])
    scan, mask = segment_on_scan(arguments)
    options = JobOptions(layer_mm=arguments["layer_mm"], layer_mesh_required=False)
    head = get_mesh(arguments["head"], folder)
    result = compute(scan, options, progress, mask=mask, head=head)
    assert result.layer_voxels is not None
    put(folder, "layer", result.layer_voxels)
    shell = result.layer
    return {"shell": None if shell is None else put_mesh(shell, folder, "shell")}


def outline(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Where ``scan`` crosses ``level``: a surface to draw over the slices, open where it ends."""
    from ..surface.contour import flying_edges

    scan = scan_from(arguments["scan"])
    step = [max(1, int(_OUTLINE_MM / size)) for size in scan.spacing]
    voxels = scan.voxels[:: step[2], :: step[1], :: step[0]]
    progress.check()
    points, triangles = flying_edges(voxels.astype(np.float32), float(arguments["level"]))
    matrix = scan.ijk_to_ras @ np.diag([*step, 1.0])
    ras = (points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    mesh = SkinMesh(ras, triangles, np.zeros(len(triangles), dtype=bool), closed=False)
    return {"mesh": put_mesh(mesh, Path(arguments["folder"]), "outline")}


def export(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Write a surface to ``path`` and read it back; returns what was written.

    ``mesh``: one that is there already, else it is made of ``segment`` on ``scan`` by ``shape``.
    ``finish``: of FinishOptions. ``space``: LPS or RAS. ``record``: of Provenance, without what
    is measured here; None for no record beside the file.
    """
    path = Path(arguments["path"])
    finish = FinishOptions(**arguments["finish"])
    finish.check(path)
    require_writable(path)
    if arguments["mesh"] is not None:
        mesh = get_mesh(arguments["mesh"], Path(arguments["folder"]))
    else:
        mesh = _built(arguments, progress.part(0.0, 0.8))
    rest = progress.part(0.8, 0.2)
    done: tuple[str, ...] = ()
    with rest.stage("Write", 1.0) as stage:
        if finish:
            mesh, done = finished(mesh, finish, stage)
        found = measures(mesh)
        with replacing_together() as files:
            with files.add(path) as written:
                write(mesh, written, arguments["space"])
            stage.update(0.8)
            if arguments["record"] is not None:
                record = Provenance(**arguments["record"])
                filled = {**record.measures, **found.as_dict(), **mesh.processing}
                origin = Provenance(
                    record.engine, record.versions, record.model, record.options, filled
                )
                with files.add(sidecar_path(path)) as temporary:
                    write_provenance(origin, mesh, written, temporary, arguments["space"])
            stage.check()
    return {
        "triangles": len(mesh.triangles),
        "closed": mesh.closed,
        "bytes": path.stat().st_size,
        "volume_ml": mesh.volume_ml,
        "done": list(done),
    }


def edited_mask(
    voxels: NDArray[np.uint8],
    to_world: Matrix,
    scan: CTVolume,
    level: tuple[float, float] | None,
) -> SkinMask:
    """A segment's voxels, wherever they lie, as a mask on the grid of the scan they were drawn on.

    ``voxels``: (k, j, i), cropped to what they fill; ``to_world``: 4x4 from their indices to RAS
    mm. ``level``: grey value of the skin and half the contrast, None to find both in the scan.
    """
    padded = to_world.copy()
    padded[:3, 3] -= padded[:3, :3].sum(axis=1)  # one voxel was added at each end
    on_scan = onto_scan(np.pad(voxels, 1), padded, scan)
    if level is None:
        found = find_level(scan)
        level = found.skin, (found.tissue - found.air) / 2
    cuts = cut_faces(on_scan, scan.spacing)
    return SkinMask(on_scan, scan.ijk_to_ras, "edited", *level, cuts)


def segment_of(arguments: Mapping[str, Any]) -> tuple[NDArray[np.uint8], Matrix]:
    """The voxels of a task's segment, and the 4x4 from their indices to RAS mm."""
    given = arguments["segment"]
    voxels = get(Path(arguments["folder"]), given["name"])
    return voxels, np.array(given["ijk_to_ras"], dtype=np.float64).reshape(4, 4)


def segment_on_scan(arguments: Mapping[str, Any]) -> tuple[CTVolume, SkinMask]:
    """The scan of a task, and its segment on the scan's grid."""
    given = arguments["segment"]
    scan = scan_from(arguments["scan"])
    voxels, to_world = segment_of(arguments)
    level = None if given["level_hu"] is None else (given["level_hu"], given["half_contrast_hu"])
    return scan, edited_mask(voxels, to_world, scan, level)


def _built(arguments: Mapping[str, Any], progress: Progress) -> SkinMesh:
    """The surface of a segment as it is now, wherever its labelmap lies, exact to the scan."""
    scan, mask = segment_on_scan(arguments)
    shape = SurfaceOptions(**arguments["shape"])
    if shape.layer_mm is None:
        options = JobOptions(shape=shape, layer_mesh=False, layer_voxels=False)
        return compute(scan, options, progress, mask=mask).head
    options = JobOptions(shape=shape, layer_mm=shape.layer_mm, layer_voxels=False)
    shell = compute(scan, options, progress, mask=mask).layer
    assert shell is not None  # or compute had raised LayerTooThinError
    return shell
