"""Masks of InVesalius projects, in and out.

A mask is a property list ``mask_N.plist`` and its voxels ``mask_N.dat``, uint8, one larger than the
scan along each axis: index 0 of each axis holds marks that InVesalius keeps of slices, and the mask
begins at 1 (``data/mask.py``; on Debian's ``Cranium.inv3`` both masks are then exactly the
threshold ranges that they state). More than 127 is inside: 255 by threshold, 253 and 254 painted;
1 and 2 are erased. A slice that nobody has looked at is still to be thresholded: it is empty, and
its mark is 0.
"""

from __future__ import annotations

import io
import plistlib
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import LPS_RAS, CTVolume, OutputError, ScanReadError, replacing
from ..core.geometry import Matrix
from .invesalius import Content, damaged, geometry, opened

_INSIDE = 127
#: Version that InVesalius writes for its plist, and the range of the threshold that is none.
_FORMAT, _EVERYTHING = 1, [-10000, -10000]


@dataclass(frozen=True)
class ProjectMask:
    """A mask, (k, j, i) uint8 0 and 1, and the scan of its project with its 4x4 to RAS mm.

    The project has no origin: its first voxel is put at 0.
    """

    name: str
    mask: NDArray[np.uint8]
    scan: NDArray[Any]
    ijk_to_ras: Matrix


def read_project_mask(path: Path, name: str | None = None, fallback: str = "Head") -> ProjectMask:
    """A mask of a project by its name; without one the only mask, or the one named ``fallback``.

    Raises ScanReadError for a damaged project, or one without such a mask.
    """
    with opened(path) as content:
        masks = _masks(content)
        shown = [str(plist.get("name", f"mask {n + 1}")) for n, plist in enumerate(masks)]
        wanted = name if name is not None else fallback
        found = [n for n, one in enumerate(shown) if one == wanted]
        if name is None and len(masks) == 1:
            found = [0]
        if len(found) != 1:
            if not masks:
                raise ScanReadError(f"{path} holds no mask. Make one in InVesalius and save it.")
            raise ScanReadError(
                f"{path}: choose a mask by --segment. There are: {', '.join(shown)}."
            )
        scan = content.matrix()
        mask = _voxels(content, masks[found[0]], scan)
        matrix, _ = geometry(content.project, scan.shape, path)
    return ProjectMask(shown[found[0]], mask, scan, matrix)


def _masks(content: Content) -> list[dict[str, Any]]:
    names = content.project.get("masks") or {}
    if not isinstance(names, dict):
        raise damaged(content.path)
    try:
        found = [plistlib.loads(content.member(str(names[key]))) for key in sorted(names)]
    except (plistlib.InvalidFileException, ValueError) as error:
        raise damaged(content.path) from error
    if not all(isinstance(plist, dict) for plist in found):
        raise damaged(content.path)
    return found


def _voxels(content: Content, plist: dict[str, Any], scan: NDArray[Any]) -> NDArray[np.uint8]:
    # Older projects have spaces in the keys.
    file = plist.get("mask_file", plist.get("mask file"))
    limits = plist.get("threshold_range", plist.get("threshold range"))
    raw = content.member(str(file))
    larger = tuple(n + 1 for n in scan.shape)
    if len(raw) != np.prod(larger):
        raise damaged(content.path)
    stored = np.frombuffer(raw, np.uint8).reshape(larger)
    mask = stored[1:, 1:, 1:] > _INSIDE
    unseen = (stored[1:, 0, 0] == 0) & ~stored[1:, 1:, 1:].any(axis=(1, 2))
    if unseen.any() and not (stored[0, 1:, 0].any() or stored[0, 0, 1:].any()):
        try:
            low, high = (float(limit) for limit in limits or ())
        except (TypeError, ValueError) as error:
            raise damaged(content.path) from error
        mask[unseen] = (scan[unseen] >= low) & (scan[unseen] <= high)
    return mask.view(np.uint8)


def write_project(path: Path, volume: CTVolume, mask: NDArray[np.uint8], name: str) -> None:
    """A new project with a scan and one mask (k, j, i), stored as InVesalius stores a series.

    It has no origin: InVesalius does not keep where in space a scan lies. Raises OutputError for a
    sheared grid, which InVesalius cannot hold, and for an unwritable place.
    """
    axes = LPS_RAS[:3, :3] @ volume.ijk_to_ras[:3, :3] / np.array(volume.spacing)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 1e-4:
        raise OutputError(
            "InVesalius cannot hold the scan's grid, whose slices are sheared (gantry tilt). "
            "Write the label as .seg.nrrd."
        )
    # InVesalius stores rows upside down, and slices along row x column.
    row, column = axes[:, 0], axes[:, 1]
    order = slice(None) if np.cross(row, column) @ axes[:, 2] > 0 else slice(None, None, -1)
    scan = np.ascontiguousarray(volume.voxels[order, ::-1])
    stored = np.zeros([n + 1 for n in scan.shape], np.uint8)
    stored[1:, 1:, 1:] = np.where(mask[order, ::-1] > 0, 254, 0)
    stored[1:, 0, 0] = stored[0, 1:, 0] = stored[0, 0, 1:] = 1
    mask_plist = {
        "index": 0,
        "name": name,
        "colour": [0.33, 1.0, 0.33],
        "opacity": 0.4,
        "threshold_range": _EVERYTHING,
        "edition_threshold_range": [float(scan.min()), float(scan.max())],
        "visible": True,
        "edited": True,
        "mask_file": "mask_0.dat",
        "mask_shape": list(stored.shape),
    }
    project = {
        "format_version": _FORMAT,
        "invesalius_version": "3.1",
        "name": "SkinSeg",
        "modality": volume.modality,
        "orientation": 1,
        "patient_orientation": [*map(float, row), *map(float, column)],
        "spacing": list(map(float, volume.spacing)),
        "window_width": 406.0,
        "window_level": -18.0,
        "scalar_range": [float(scan.min()), float(scan.max())],
        "matrix": {"filename": "matrix.dat", "shape": list(scan.shape), "dtype": str(scan.dtype)},
        "masks": {"0": "mask_0.plist"},
        "surfaces": {},
        "measurements": "measurements.plist",
        "annotations": {},
    }
    files = {
        "matrix.dat": scan.astype(scan.dtype.newbyteorder("<"), copy=False).tobytes(),
        "mask_0.dat": stored.tobytes(),
        "mask_0.plist": plistlib.dumps(mask_plist),
        "measurements.plist": plistlib.dumps({}),
        "main.plist": plistlib.dumps(project),
    }
    with replacing(path) as temporary, tarfile.open(temporary, "w:gz", compresslevel=3) as archive:
        for member, content in files.items():
            item = tarfile.TarInfo(f"skinseg/{member}")
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
