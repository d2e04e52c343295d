"""Text that is burned into the pixels, and what hides in bits that no pixel uses."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Text is looked for in this outer part of a frame on each side; the patient lies within.
_BAND = 0.2
#: A glyph in pixels: height, width, fewest pixels, and the part of them that has one value. Noise
#: keeps anything scanned from having that.
_HEIGHT, _WIDTH, _PIXELS, _FLAT = (5, 64), (1, 64), 5, 0.6
#: Glyphs of one value side by side that make it text, and fewer that do if they stand as letters.
_GLYPHS, _LETTERS = 4, 3
#: Of how far the frame's values reach: how much text stands out from the ground that most of the
#: border has (twice: soft edges may join letters), and from what it is drawn on, wherever that is.
_FROM_GROUND, _SHARP = (0.3, 0.7), 0.25
#: Parts of a glyph's pixels, and of those around it, that a sharp edge parts.
_EDGE, _RING = 0.3, 0.6
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

    Text is drawn in one value, brighter or darker than what is around it, in glyphs that stand side
    by side. Text in the middle of the picture, or drawn with many shades, is not found.
    """
    rows, columns = frame.shape
    edge = (int(rows * _BAND), int(columns * _BAND))
    border = np.ones(frame.shape, bool)
    border[edge[0] : rows - edge[0], edge[1] : columns - edge[1]] = False
    outer = frame[border]
    if not outer.size:
        return []
    low, high = float(outer.min()), float(outer.max())
    if low == high:
        return []
    ground = float(np.median(outer[:: max(1, outer.size // 20000)]))
    found = _sharp(frame, border, _SHARP * (high - low))
    for share in _FROM_GROUND:
        step = share * max(high - ground, ground - low)
        found += _on_ground(frame, (frame > ground + step) & border)
        found += _on_ground(frame, (frame < ground - step) & border)
    return list(dict.fromkeys(found))


def _on_ground(frame: NDArray[Any], marked: NDArray[np.bool_]) -> list[Box]:
    """Text whose pixels, soft edges included, are parted by what is not ``marked``."""
    glyphs: dict[float, list[Box]] = {}
    for place, part in _parts(marked):
        values = frame[place][part]
        found, counts = np.unique(values, return_counts=True)
        most = int(np.argmax(counts))
        if counts[most] >= _FLAT * len(values):
            glyphs.setdefault(float(found[most]), []).append(_box(place))
    return [box for same in glyphs.values() for box in _lines(same)]


def _sharp(frame: NDArray[Any], border: NDArray[np.bool_], step: float) -> list[Box]:
    """Text with hard edges on any ground."""
    values = frame.astype(np.float32)
    drawn = _hard_edged(values, step) & border
    found, counts = np.unique(values[drawn], return_counts=True)
    result = []
    for value in found[counts >= _LETTERS * _PIXELS]:
        glyphs = [
            _box(place)
            for place, part in _parts((values == value) & border)
            if np.count_nonzero(drawn[place] & part) >= _EDGE * np.count_nonzero(part)
            and _stands_out(values, place, part, step)
        ]
        result += _lines(glyphs)
    return result


def _hard_edged(values: NDArray[np.float32], step: float) -> NDArray[np.bool_]:
    """Pixels beside one of the same value and one that is at least ``step`` from it.

    The blur of a scanner leaves no such pixels.
    """
    same, far = np.zeros((2, *values.shape), bool)
    for ahead, behind in (
        ((slice(1, None), slice(None)), (slice(-1), slice(None))),
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
    ):
        jump = np.abs(values[ahead] - values[behind])
        for side in (ahead, behind):
            same[side] |= jump == 0
            far[side] |= jump >= step
    edged: NDArray[np.bool_] = same & far
    return edged


def _stands_out(
    values: NDArray[np.float32], place: tuple[slice, slice], part: NDArray[np.bool_], step: float
) -> bool:
    """Whether most of what is around a part of one value is far from it, and to the same side."""
    from scipy import ndimage

    j, i = place
    j = slice(max(0, j.start - 1), j.stop + 1)
    i = slice(max(0, i.start - 1), i.stop + 1)
    whole = np.pad(part, 1)[(0 if place[0].start else 1) :, (0 if place[1].start else 1) :]
    around = values[j, i]
    whole = whole[: around.shape[0], : around.shape[1]]
    ring = ndimage.binary_dilation(whole, np.ones((3, 3), bool)) & ~whole
    apart = around[ring] - values[place][part][0]
    sides = np.count_nonzero(apart >= step), np.count_nonzero(apart <= -step)
    return bool(max(sides) >= _RING * np.count_nonzero(ring))


def _parts(marked: NDArray[np.bool_]) -> list[tuple[tuple[slice, slice], NDArray[np.bool_]]]:
    """Connected parts of the size of a glyph: place in the frame, and pixels in it."""
    if np.count_nonzero(marked) < _LETTERS * _PIXELS:
        return []
    from scipy import ndimage

    labels, _ = ndimage.label(marked, np.ones((3, 3), int))
    result = []
    for number, (j, i) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = j.stop - j.start, i.stop - i.start
        if not (_HEIGHT[0] <= height <= _HEIGHT[1] and _WIDTH[0] <= width <= _WIDTH[1]):
            continue
        part = labels[j, i] == number
        if np.count_nonzero(part) >= _PIXELS:
            result.append(((j, i), part))
    return result


def _box(place: tuple[slice, slice]) -> Box:
    return Box(place[0].start, place[0].stop, place[1].start, place[1].stop)


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
        if len(line) >= _GLYPHS or (len(line) >= _LETTERS and _is_word(line))
    ]


def _is_word(line: list[Box]) -> bool:
    """Whether a few glyphs have one base line, like heights, and lie no farther apart than wide."""
    tall = [box.bottom - box.top for box in line]
    bases = [box.bottom for box in line]
    gaps = [after.left - before.right for before, after in pairwise(line)]
    return (
        max(bases) - min(bases) <= max(1, max(tall) // 8)
        and min(tall) >= 0.5 * max(tall)
        and max(gaps) <= max(tall)
    )


def black_out(frame: NDArray[Any], boxes: list[Box]) -> None:
    """Fill each rectangle, and a margin, with the frame's lowest value, in place.

    At both ends as much as a line is high, since its first or last letter may not have been told.
    """
    lowest = frame.min()
    for box in boxes:
        wide = max(_MARGIN, box.bottom - box.top)
        frame[
            max(0, box.top - _MARGIN) : box.bottom + _MARGIN,
            max(0, box.left - wide) : box.right + wide,
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
