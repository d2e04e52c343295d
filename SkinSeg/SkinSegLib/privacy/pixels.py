"""Text that is burned into the pixels, and what hides in bits that no pixel uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Text is looked for in this outer part of a frame on each side; the patient lies within.
_BAND = 0.2
#: A glyph in pixels: height, width, fewest pixels, and the part of them that has one value. Noise
#: keeps anything scanned from having that.
_HEIGHT, _WIDTH, _PIXELS, _FLAT = (5, 64), (1, 64), 5, 0.6
#: Glyphs of one value side by side that make it text.
_GLYPHS = 4
#: Pixels around glyphs that are blacked out with them: their soft edges.
_MARGIN = 4


@dataclass(frozen=True)
class Box:
    """A rectangle of a frame: rows and columns, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int


def find_text(frame: NDArray[Any]) -> list[Box]:
    """Rectangles around what looks like text near the borders of a greyscale frame (j, i).

    Text is bright, drawn in one value, in glyphs that stand side by side. Text in the middle of the
    picture, or drawn with shades, is not found.
    """
    rows, columns = frame.shape
    edge = (int(rows * _BAND), int(columns * _BAND))
    border = np.ones(frame.shape, bool)
    border[edge[0] : rows - edge[0], edge[1] : columns - edge[1]] = False
    outer = frame[border]
    if not outer.size:
        return []
    ground = float(np.median(outer[:: max(1, outer.size // 20000)]))
    step = 0.3 * (float(outer.max()) - ground)
    if step <= 0:
        return []
    bright = (frame > ground + step) & border
    if np.count_nonzero(bright) < _GLYPHS * _PIXELS:
        return []
    from scipy import ndimage

    labels, _ = ndimage.label(bright, np.ones((3, 3), int))
    glyphs: dict[float, list[Box]] = {}
    for number, (j, i) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = j.stop - j.start, i.stop - i.start
        if not (_HEIGHT[0] <= height <= _HEIGHT[1] and _WIDTH[0] <= width <= _WIDTH[1]):
            continue
        values = frame[j, i][labels[j, i] == number]
        found, counts = np.unique(values, return_counts=True)
        most = int(np.argmax(counts))
        if len(values) >= _PIXELS and counts[most] >= _FLAT * len(values):
            box = Box(j.start, j.stop, i.start, i.stop)
            glyphs.setdefault(float(found[most]), []).append(box)
    return [box for same in glyphs.values() for box in _lines(same)]


def _lines(glyphs: list[Box]) -> list[Box]:
    """Rectangles around rows of glyphs that stand close to each other."""
    lines: list[list[Box]] = []
    for glyph in sorted(glyphs, key=lambda box: box.left):
        for line in lines:
            last = line[-1]
            overlap = min(glyph.bottom, last.bottom) - max(glyph.top, last.top)
            tall = max(glyph.bottom - glyph.top, last.bottom - last.top)
            if overlap > 0 and glyph.left - last.right <= 2 * tall:
                line.append(glyph)
                break
        else:
            lines.append([glyph])
    return [
        Box(
            min(box.top for box in line),
            max(box.bottom for box in line),
            min(box.left for box in line),
            max(box.right for box in line),
        )
        for line in lines
        if len(line) >= _GLYPHS
    ]


def black_out(frame: NDArray[Any], boxes: list[Box]) -> None:
    """Fill each rectangle, and a margin, with the frame's lowest value, in place."""
    lowest = frame.min()
    for box in boxes:
        frame[
            max(0, box.top - _MARGIN) : box.bottom + _MARGIN,
            max(0, box.left - _MARGIN) : box.right + _MARGIN,
        ] = lowest


def frames_of(dataset: Any) -> NDArray[Any]:
    """The stored values of all frames, (n, j, i); whatever a decoder raises comes through."""
    pixels = np.asarray(dataset.pixel_array)
    return pixels[None] if pixels.ndim == 2 else pixels


def set_frames(dataset: Any, frames: NDArray[Any]) -> None:
    """Put stored values back, (n, j, i), uncompressed and little endian."""
    from pydicom.uid import ExplicitVRLittleEndian

    bits = int(dataset.BitsAllocated)
    kind = np.dtype(f"<{'i' if int(dataset.PixelRepresentation) else 'u'}{bits // 8}")
    content = np.ascontiguousarray(frames, kind).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in dataset:
            delattr(dataset, name)


def trim(dataset: Any) -> None:
    """Cut off what follows the last pixel of uncompressed frames, where anything could be."""
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return
    size = int(dataset.BitsAllocated) // 8
    for name in ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames"):
        size *= int(dataset.get(name) or 1)
    if len(dataset.PixelData) > size:
        dataset.PixelData = bytes(dataset.PixelData[:size]) + b"\0" * (size % 2)


def clear_unused_bits(dataset: Any) -> bool:
    """Whether bits above the stored ones (where old overlays hide, PS3.5, 8.1.1) were cleared.

    Only in uncompressed pixels; those of signed images get the sign, as they should have it.
    Raises ValueError for bits that do not lie at the low end.
    """
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    unused = allocated - stored
    high = int(dataset.get("HighBit", stored - 1))
    if unused <= 0 and high == stored - 1:
        return False
    if unused < 0 or allocated not in (8, 16, 32) or high != stored - 1:
        raise ValueError("a rare layout of bits")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        return False
    order = "<" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if int(dataset.PixelRepresentation) else 'u'}{allocated // 8}")
    before = np.frombuffer(dataset.PixelData, kind)
    after = ((before << unused) >> unused).astype(kind)
    if np.array_equal(before, after):
        return False
    dataset.PixelData = after.tobytes()
    return True
