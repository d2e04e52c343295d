"""A label made elsewhere, on the grid of its scan."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import (
    LPS_RAS,
    CTVolume,
    GeometryError,
    ScanReadError,
    header_texts_unsaid,
    transform_points,
)
from SkinSegLib.core.geometry import Matrix
from SkinSegLib.scan.masks import onto_scan, read_mask

from .kinds import Kind, recognised
from .polygons import filled, on_places

if TYPE_CHECKING:
    from SkinSegLib.dicom.label_objects import Frames, LabelObject

#: The segment that is taken of several if none is named.
OURS = "Head"
#: A label that is smaller than this, mm, or larger than so many scans, has wrong units.
_SMALLEST_MM, _LARGEST = 40.0, 3.0
#: An outline may leave its slice by this share of the distance between slices.
_FLAT = 0.05
_WITHOUT_PLACE = (Kind.LABELME, Kind.PNG)


def read_label(
    path: str | os.PathLike[str],
    volume: CTVolume,
    segment: str | None = None,
    label: int | None = None,
    flip: str = "",
    header: Any = None,
) -> NDArray[np.uint8]:
    """The label in a file or folder, put on the grid of its scan: (k, j, i) uint8, 0 and 1.

    ``path``: of any kind in :class:`.kinds.Kind`, told by its content. Where it is on another grid
    it is interpolated linearly and cut at one half. ``segment``: name of a segment, mask, region or
    labelme label; needed where there are several and none is called Head (of a structure set the
    outer contour is taken too). ``label``: value of a labelmap or of pictures; without it, all that
    is not 0. ``flip``: for pictures, which do not state where they lie, the axes of the scan (of
    "ijk") along which they run the other way. ``header``: pydicom dataset of a slice of the scan; a
    DICOM label must then be of the same frame of reference.

    Reads only; :func:`.check.check_label` says whether it fits. Raises ScanReadError for what is
    damaged, empty, or holds no such segment; GeometryError for what belongs to another scan, or
    whose units are wrong; MissingPackageError.
    """
    place = Path(path)
    kind, source = recognised(place)
    if set(flip) - set("ijk") or (flip and kind not in _WITHOUT_PLACE):
        raise ScanReadError(
            f"{place} states by itself where it lies, or the axes to flip are not among i, j and "
            "k. Flip only folders of pictures."
        )
    if label is not None and kind not in (Kind.LABELMAP, Kind.PNG):
        raise ScanReadError(f"{place} has names, not values. Choose by --segment, not by --label.")
    if segment is not None and kind in (Kind.LABELMAP, Kind.PNG):
        raise ScanReadError(f"{place} has values, not names. Choose by --label, not by --segment.")
    try:
        mask = _read(kind, source, volume, segment, label, header)
    except OSError as error:
        raise ScanReadError(
            f"{place} cannot be read ({error.strerror or 'input error'}). Check its permissions."
        ) from error
    for axis in flip:
        mask = np.flip(mask, "kji".index(axis))
    if not mask.any():
        raise ScanReadError(f"{place}: the label is empty on this scan. Choose another one.")
    return np.ascontiguousarray(mask, np.uint8)


def _read(
    kind: Kind,
    path: Path,
    volume: CTVolume,
    segment: str | None,
    label: int | None,
    header: Any,
) -> NDArray[np.uint8]:
    if kind in (Kind.SEGMENTS, Kind.LABELMAP):
        return _placed(*read_mask(path, segment, label), volume)
    if kind == Kind.INVESALIUS:
        return _of_project(path, volume, segment)
    if kind == Kind.LABELME:
        from .labelme import read_labelme

        return read_labelme(path, volume, segment)
    if kind == Kind.PNG:
        from .pictures import read_pictures

        return read_pictures(path, volume, label)
    from SkinSegLib.dicom.label_objects import damaged, frames_of, loops_of, read_object
    from SkinSegLib.scan.dicom_codes import require_inflatable

    try:
        with header_texts_unsaid():
            require_inflatable(path)
    except (ValueError, zlib.error, struct.error) as error:
        raise damaged(path) from error
    found = read_object(path)
    _require_same_frame(found.header, header)
    number = _chosen(found, segment)
    if kind == Kind.DICOM_SEG:
        return _placed(*stacked(frames_of(found, number)), volume)
    return _outlined(loops_of(found, number), volume)


def _chosen(found: LabelObject, wanted: str | None) -> int:
    """The number of the segment or region to take."""
    parts = found.parts
    matches = [number for number, name, _ in parts if name == (wanted or OURS)]
    if wanted is None and not matches:
        matches = [number for number, _, outer in parts if outer]
    if wanted is None and len(parts) == 1:
        matches = [parts[0][0]]
    if len(matches) == 1:
        return matches[0]
    there = ", ".join(name for _, name, _ in parts)
    problem = "choose a segment by --segment" if not matches else "several have this name"
    raise ScanReadError(f"{found.path}: {problem}. There are: {there}.")


def _require_same_frame(label: Any, scan: Any) -> None:
    from SkinSegLib.dicom.label_objects import frame_of_reference

    if scan is None:
        return
    theirs, ours = frame_of_reference(label), frame_of_reference(scan)
    if theirs and ours and theirs != ours:
        raise GeometryError(
            "The label lies in another frame of reference than the scan: it is of another scan, or "
            "of another patient. Give the scan that it was made on."
        )


def _placed(mask: NDArray[np.uint8], ijk_to_ras: Matrix, volume: CTVolume) -> NDArray[np.uint8]:
    index = np.argwhere(mask.any(axis=0))
    k = np.flatnonzero(mask.any(axis=(1, 2)))
    (j0, i0), (j1, i1) = index.min(axis=0), index.max(axis=0)
    corners = [[i, j, n] for i in (i0, i1) for j in (j0, j1) for n in (k[0], k[-1])]
    _require_mm(transform_points(ijk_to_ras, corners), volume)
    return onto_scan(mask, ijk_to_ras, volume)


def _require_mm(points: NDArray[np.float64], volume: CTVolume) -> None:
    """Raise GeometryError if points (n, 3; mm) say that a label's unit is not the mm."""
    size = float(np.ptp(points, axis=0).max())
    scan = max(n * s for n, s in zip(volume.voxels.shape[::-1], volume.spacing, strict=True))
    if scan < _SMALLEST_MM or _SMALLEST_MM <= size <= _LARGEST * scan:
        return
    raise GeometryError(
        f"The label is {size:.3g} mm large and the scan {scan:.0f} mm: its units may be wrong (cm "
        "or m for mm). Correct its voxel size where it comes from, and export it again in mm."
    )


def stacked(frames: Frames) -> tuple[NDArray[np.uint8], Matrix]:
    """The frames of a segment as one mask (k, j, i) and its 4x4 from ijk to RAS mm.

    Left-out frames are empty. Frames of a tilted gantry give a sheared grid; uneven ones are put
    on even slices by :func:`.polygons.on_places`. Raises ScanReadError if they lie in no row.
    """
    normal = np.cross(frames.row, frames.column)
    height = frames.positions @ normal
    order = np.argsort(height, kind="stable")
    positions, height = frames.positions[order], height[order]
    pixels = frames.pixels[order]
    fresh = np.r_[True, np.diff(height) > 1e-3]
    if not fresh.all():  # several frames at one place
        starts = np.flatnonzero(fresh)
        pixels = np.maximum.reduceat(pixels, starts, axis=0)
        positions, height = positions[fresh], height[fresh]
    if len(height) == 1:
        step, places = normal * frames.thickness_mm, np.zeros(1)
    else:
        least = float(np.diff(height).min())
        places = (height - height[0]) / least
        counts = np.cumsum(np.r_[0, np.rint(np.diff(places))])
        # What is rounded adds up over many slices: the step is that of all of them.
        step = (positions[-1] - positions[0]) / counts[-1]
        if np.abs(height - height[0] - counts * float(step @ normal)).max() < 0.05 * least:
            places = counts
        else:
            step = (positions[-1] - positions[0]) / places[-1]
    off = positions - positions[0] - np.outer(places, step)
    if np.abs(off).max() > 0.5 * min(frames.spacing):
        raise ScanReadError(
            "The frames of the segmentation do not lie in a row. Export it on the grid of its scan."
        )
    mask = on_places(pixels != 0, places, round(float(places[-1])) + 1)
    matrix = np.eye(4)
    matrix[:3, :3] = np.column_stack(
        [frames.row * frames.spacing[0], frames.column * frames.spacing[1], step]
    )
    matrix[:3, 3] = positions[0]
    return mask, LPS_RAS @ matrix


def _outlined(loops: Sequence[NDArray[np.float64]], volume: CTVolume) -> NDArray[np.uint8]:
    """What outlines (n, 3; LPS mm) enclose."""
    _require_mm(np.concatenate(loops), volume)
    to_index = np.linalg.inv(LPS_RAS @ volume.ijk_to_ras)
    placed = [transform_points(to_index, loop) for loop in loops]
    heights = [float(loop[:, 2].mean()) for loop in placed]
    if max(float(np.ptp(loop[:, 2])) for loop in placed) > 2 * _FLAT:
        raise GeometryError(
            "The outlines do not lie in the scan's slices. Export them on the scan that is given, "
            "or give the scan they were drawn on."
        )
    nk, nj, ni = volume.voxels.shape
    planes: dict[float, list[NDArray[np.float64]]] = {}
    for loop, height in zip(placed, heights, strict=True):
        near = round(height)
        place = float(near) if abs(height - near) < _FLAT else round(height, 2)
        planes.setdefault(place, []).append(loop[:, :2])
    inside = [
        -0.5 <= place <= nk - 0.5 and bool(((loop > -0.6) & (loop < (ni, nj))).all(axis=1).any())
        for place, some in planes.items()
        for loop in some
    ]
    if np.mean(inside) < 0.9:
        raise GeometryError(
            "Most of the outlines lie outside the scan. Give the scan that they were drawn on."
        )
    places = sorted(planes)
    drawn = np.stack([filled(planes[place], (nj, ni)) for place in places])
    return on_places(drawn, places, nk)


def _of_project(path: Path, volume: CTVolume, segment: str | None) -> NDArray[np.uint8]:
    """A project states no origin: its own scan must be the one given."""
    from SkinSegLib.scan.invesalius_masks import read_project_mask

    found = read_project_mask(path, segment, OURS)
    other = GeometryError(
        f"{path} holds another scan than the one given. Give the scan the project was made from, "
        "or the project itself as the scan."
    )
    # Each axis of the project is one of the scan's, or one of those the other way.
    turn = np.linalg.inv(_directions(volume.ijk_to_ras)) @ _directions(found.ijk_to_ras)
    axes = np.abs(turn).argmax(axis=0)  # of i, j, k of the project
    if sorted(axes) != [0, 1, 2]:
        raise other
    order = [2 - int(np.flatnonzero(axes == 2 - a)[0]) for a in range(3)]
    mask, scan = found.mask.transpose(order), found.scan.transpose(order)
    for a in range(3):
        if turn[2 - a, 2 - order[a]] < 0:
            mask, scan = np.flip(mask, a), np.flip(scan, a)
    if scan.shape != volume.voxels.shape:
        raise other
    step = max(1, round((scan.size / 2e6) ** (1 / 3)))
    mine = volume.voxels[::step, ::step, ::step].astype(np.float32)
    theirs = scan[::step, ::step, ::step].astype(np.float32)
    # Air is alike in all scans; padding, and values that were cut off, may differ.
    shown = mine > mine.mean()
    if not shown.any() or np.mean(np.abs(mine - theirs)[shown] <= 2) < 0.8:
        raise other
    return mask


def _directions(matrix: Matrix) -> NDArray[np.float64]:
    result: NDArray[np.float64] = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    return result
