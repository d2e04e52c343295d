"""Labels as labelme's JSON files, one for each slice, beside the slices as pictures.

Coordinates are those of labelme's canvas: x along i, y along j, and a pixel reaches from its number
to the next, so that its centre lies at one half. (labelme's own ``shape_to_mask`` draws polygons by
Pillow, outline included: up to one pixel more.)
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, ScanReadError, components

from .kinds import is_labelme
from .pictures import (
    grey_picture,
    natural,
    read_png,
    require_count,
    require_same_grid,
    require_size,
    slice_name,
    write_grid,
    write_png,
)
from .polygons import Points, filled, loops_in

#: The version of labelme whose format this is.
_VERSION = "5.5.0"
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_POLYGONS = ("polygon", "oriented_rectangle", None)


def read_labelme(path: Path, volume: CTVolume, name: str | None) -> NDArray[np.uint8]:
    """The label ``name`` in a folder of labelme's files; without it the only one, or Head.

    A slice without a file is empty; which slice a file belongs to is told by the pictures beside
    them, one for each slice in the order of their names. Shapes are added up. Raises ScanReadError
    for damaged files and for shapes that enclose nothing, GeometryError for those of another scan.
    """
    require_same_grid(path, volume)
    files = sorted((f for f in path.glob("*.json") if is_labelme(f)), key=natural)
    slices = _slices(path, files, volume)
    read = {file: json.loads(file.read_text(encoding="utf-8")) for file in files}
    try:
        names = sorted({str(shape["label"]) for one in read.values() for shape in one["shapes"]})
        wanted = _wanted(path, names, name)
        mask = np.zeros(volume.voxels.shape, np.uint8)
        for file, one in read.items():
            size = (one.get("imageHeight"), one.get("imageWidth"))
            if all(size):
                require_size(file, (int(size[0]), int(size[1])), volume)
            for shape in one["shapes"]:
                if str(shape["label"]) == wanted:
                    mask[slices[file]] |= _drawn(shape, volume.voxels.shape[1:], file)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise ScanReadError(f"{path} holds damaged labelme files. Save them again.") from error
    return mask


def _slices(path: Path, files: Sequence[Path], volume: CTVolume) -> dict[Path, int]:
    pictures = sorted((f for f in path.iterdir() if f.suffix.lower() in _PICTURES), key=natural)
    stems = [picture.stem for picture in pictures] or [file.stem for file in files]
    require_count(path, len(stems), volume)
    if len(set(stems)) < len(stems) or not {file.stem for file in files} <= set(stems):
        raise ScanReadError(
            f"{path}: each labelme file needs its picture beside it, of the same name. "
            "Put the pictures of all slices there."
        )
    return {file: stems.index(file.stem) for file in files}


def _wanted(path: Path, names: Sequence[str], name: str | None) -> str:
    if name is None and len(names) == 1:
        return names[0]
    if (name or "Head") in names:
        return name or "Head"
    if not names:
        raise ScanReadError(f"{path}: nothing is outlined there. Choose another folder.")
    raise ScanReadError(f"{path}: choose a label by --segment. There are: {', '.join(names)}.")


def _drawn(shape: dict[str, Any], size: tuple[int, ...], file: Path) -> NDArray[np.bool_]:
    """The pixels (j, i) of one shape."""
    rows, columns = size
    kind = shape.get("shape_type")
    points = np.array(shape["points"], float).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError
    if kind == "mask":
        return _stamped(shape["mask"], points, rows, columns)
    if kind == "circle":
        centre, radius = points[0], math.dist(points[0], points[1])
        j, i = np.ogrid[:rows, :columns]
        inside: NDArray[np.bool_] = (i + 0.5 - centre[0]) ** 2 + (
            j + 0.5 - centre[1]
        ) ** 2 <= radius**2
        return inside
    if kind == "rectangle":
        (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif kind not in _POLYGONS:
        raise ScanReadError(
            f"{file} has a shape of type {str(kind)[:20]!r}, which encloses nothing. Draw "
            "polygons, rectangles, circles or masks."
        )
    if len(points) < 3:
        raise ValueError
    return filled([points - 0.5], (rows, columns))


def _stamped(text: str, points: Points, rows: int, columns: int) -> NDArray[np.bool_]:
    """A mask that is stored as a picture; its points are the first and the last pixel."""
    (x0, y0), (x1, y1) = np.rint(points[:2]).astype(int)
    try:
        content = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError from error
    with tempfile.TemporaryDirectory(prefix="skinseg-") as folder:
        place = Path(folder) / "mask.png"
        place.write_bytes(content)
        stamp = read_png(place) != 0
    if min(x0, y0) < 0 or x1 >= columns or y1 >= rows or stamp.shape != (y1 - y0 + 1, x1 - x0 + 1):
        raise ValueError
    result = np.zeros((rows, columns), bool)
    result[y0 : y1 + 1, x0 : x1 + 1] = stamp
    return result


def write_labelme(
    folder: Path, volume: CTVolume, mask: NDArray[np.uint8], name: str = "Head"
) -> None:
    """Slices as grey pictures, and for each that is not empty a file with its outlines.

    A part with holes, which a polygon cannot hold, becomes a mask (labelme 5.3 or newer).
    """
    for k, part in enumerate(mask):
        write_png(grey_picture(volume.voxels[k]), folder / f"{slice_name(k)}.png")
        if part.any():
            shapes = [_shape(name, **one) for one in _shapes(part)]
            text = json.dumps(
                {
                    "version": _VERSION,
                    "flags": {},
                    "shapes": shapes,
                    "imagePath": f"{slice_name(k)}.png",
                    "imageData": None,
                    "imageHeight": part.shape[0],
                    "imageWidth": part.shape[1],
                }
            )
            (folder / f"{slice_name(k)}.json").write_text(text, encoding="utf-8")
    write_grid(folder, volume)


def _shape(name: str, points: Points, mask: str | None = None) -> dict[str, Any]:
    return {
        "label": name,
        "points": points.tolist(),
        "group_id": None,
        "description": "",
        "shape_type": "polygon" if mask is None else "mask",
        "flags": {},
        "mask": mask,
    }


def _shapes(part: NDArray[np.uint8]) -> list[dict[str, Any]]:
    labels, count = components(part[None])
    shapes: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        one = labels[0] == number
        loops = loops_in(one[None])[0]
        if len(loops) == 1:
            shapes.append({"points": loops[0] + 0.5})
            continue
        j, i = np.nonzero(one)
        (y0, y1), (x0, x1) = (j.min(), j.max()), (i.min(), i.max())
        with tempfile.TemporaryDirectory(prefix="skinseg-") as folder:
            place = Path(folder) / "mask.png"
            write_png(one[y0 : y1 + 1, x0 : x1 + 1].astype(np.uint8) * 255, place)
            text = base64.b64encode(place.read_bytes()).decode("ascii")
        shapes.append({"points": np.array([(x0, y0), (x1, y1)], float), "mask": text})
    return shapes
