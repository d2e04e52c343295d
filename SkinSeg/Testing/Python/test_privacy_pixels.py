"""Text in the pixels: dark, short, on any ground; and none in real scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, WORD, plain_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, JPEG2000Lossless
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify
from SkinSegLib.privacy.pixels import (
    Box,
    black_out,
    clear_unused_bits,
    find_text,
    frames_of,
    set_frames,
    trim,
)
from SkinSegLib.scan import read

NAMES = Pseudonyms(KEY)
SHAPE = (256, 256)


def ground(kind: str) -> np.ndarray:
    """Noise about -1000 HU with a head in it, or what makes text harder to tell from it."""
    rng = np.random.default_rng(4)
    j, i = np.indices(SHAPE)
    frame = rng.normal(-1000, 8, SHAPE)
    frame[np.hypot(j - 140, i - 128) < 90] += 1040
    frame[np.hypot(j - 140, i - 128) < 20] += 900
    if kind == "MONOCHROME1":  # stored values go up where it gets darker
        frame = -frame
    if kind == "shaded":
        frame += 4 * i
    if kind == "box":
        frame[2:30, 2:200] = 3000
    return np.rint(frame).astype(np.int16)


def drawn(frame: np.ndarray, text: str, value: int, size: int | None = None) -> np.ndarray:
    """Text in one value; with soft edges where a size is given."""
    from PIL import Image, ImageDraw, ImageFont

    if size is None:
        picture = Image.new("1", SHAPE[::-1])
        ImageDraw.Draw(picture).text((8, 8), text, fill=1)
        return np.where(np.asarray(picture), np.int16(value), frame)
    soft = Image.new("L", SHAPE[::-1])
    ImageDraw.Draw(soft).text((8, 4), text, fill=255, font=ImageFont.load_default(size))
    share = np.asarray(soft) / 255
    return np.rint(frame * (1 - share) + value * share).astype(np.int16)


@pytest.mark.parametrize("text", ["DOE", "DOE SECRET 1957"])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("plain", 3000),
        ("plain", 300),
        ("MONOCHROME1", -3000),
        ("MONOCHROME1", -900),
        ("shaded", 2400),
        ("shaded", -2000),
        ("box", -1000),
    ],
)
def test_text_is_found_and_blacked_out(kind: str, value: int, text: str) -> None:
    frame = ground(kind)
    assert not find_text(frame)
    for size in (None,) if kind == "shaded" else (None, 24):  # soft edges need an even ground
        changed = drawn(frame, text, value, size)
        found = find_text(changed)
        assert found, size
        assert all(box.bottom < 40 and box.left < 230 for box in found)
        black_out(changed, found)
        letters = drawn(frame, text, value) != frame
        if size is None:
            assert np.unique(changed[letters]).tolist() == [changed.min()]


def test_what_is_no_text_is_none() -> None:
    frame = ground("plain")
    for n in range(12):  # specks of one value that stand in no line
        frame[4 + 20 * n : 10 + 20 * n, 3 + 3 * n : 6 + 3 * n] = 3000
    frame[40:44, 2:40] = 3000  # a bar
    assert not find_text(frame)
    for n in range(3):  # side by side, and each lower than the last
        frame[100 + 3 * n : 106 + 3 * n, 4 + 6 * n : 7 + 6 * n] = 3000
    assert not find_text(frame)


def test_steps_between_bright_and_dark_are_no_text() -> None:
    noise = np.random.default_rng(5).normal(0, 20, SHAPE)
    frame = np.full(SHAPE, -1000)
    frame[:20], frame[20:26] = 3000, 1000
    frame = np.rint(frame + noise).astype(np.int16)
    for n in range(6):  # where a blurred edge happens to have one value
        frame[20:26, 5 + 9 * n : 11 + 9 * n] = 1000
    assert not find_text(frame)


@pytest.mark.parametrize("value", [3000, -3000])
def test_thick_letters_with_wide_soft_edges(value: int) -> None:
    from scipy import ndimage

    frame = ground("plain" if value > 0 else "MONOCHROME1")
    letters = np.zeros(SHAPE)
    for n in range(4):
        letters[10:40, 10 + 28 * n : 30 + 28 * n] = 1
    share = np.clip(ndimage.distance_transform_edt(letters) / 4, 0, 1)
    soft = np.rint(frame * (1 - share) + value * share).astype(np.int16)
    assert find_text(soft)
    frame[:] = -1000
    assert not find_text(frame)


@pytest.mark.parametrize(
    "kinds",
    [
        ["DERIVED", "SECONDARY", "SCREEN SAVE"],
        ["ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM5 PROT"],
        ["DERIVED", "SECONDARY", "DOSE_INFO"],
        ["DERIVED", "SECONDARY", "OTHER", "CSA REPORT"],
    ],
)
def test_pictures_of_screens_that_say_they_are_ct(tmp_path: Path, kinds: list[str]) -> None:
    plain_file(tmp_path / "in.dcm", ImageType=kinds)
    for choice, written in (("refuse", 0), ("blackout", 0), ("accept", 1)):
        options = DeidentifyOptions(burned_in=choice)
        done = deidentify(tmp_path / "in.dcm", tmp_path / choice, options, NAMES)
        assert done.written == written
        assert written or "screen" in next(iter(done.refused))


def real_frames(data: Path) -> Iterator[np.ndarray]:
    """Slices of every head in the data folder, as their files store them."""
    for name in ("ge_tilt", "weasis_headneck"):
        paths = sorted(path for path in (data / "dicom" / name).rglob("*") if path.is_file())
        for path in paths[:: 1 + len(paths) // 8]:
            yield pydicom.dcmread(path).pixel_array
    volumes = sorted((data / "volumes").glob("*.nrrd"))
    for path in [data / "dicom" / "keinos_head.zip", *volumes]:
        yield from read(path).voxels[3::40]


@pytest.mark.slow
def test_no_real_slice_is_taken_for_text(skinseg_data: Path) -> None:
    frames = list(real_frames(skinseg_data))
    assert len(frames) > 30
    assert not [number for number, frame in enumerate(frames) if find_text(frame)]
    wrong = [n for n, frame in enumerate(frames) if find_text(frame.max() - frame.astype(np.int32))]
    assert not wrong  # MONOCHROME1
    assert all(find_text(drawn_on(frame)) for frame in frames)


def drawn_on(frame: np.ndarray) -> np.ndarray:
    """A real slice with three letters in its corner."""
    from PIL import Image, ImageDraw

    picture = Image.new("1", frame.shape[::-1])
    ImageDraw.Draw(picture).text((8, 8), "DOE", fill=1)
    return np.where(np.asarray(picture), frame.max(), frame)


def image(pixels: np.ndarray, stored: int | None = None, **changes: Any) -> Dataset:
    """What says how ``pixels`` (n, j, i) or (j, i) are stored, and their bytes."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    big = pixels.dtype.str[0] == ">"
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated = 8 * pixels.dtype.itemsize
    data.BitsStored = stored or data.BitsAllocated
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    data["PixelData"].VR = "OW"
    for name, value in changes.items():
        setattr(data, name, value)
    return data


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", "<i2", ">u2", ">i2", "<u4", "<i4"])
@pytest.mark.parametrize("unused", [1, 4])
def test_what_hides_above_the_stored_bits(kind: str, unused: int) -> None:
    values = np.array([[0, 1], [5, 7]] if kind[-2] == "u" else [[0, -1], [5, -7]], kind)
    stored = 8 * values.dtype.itemsize - unused
    if "u" in kind:
        values[1, 1] = (1 << stored) - 1  # the brightest, which has no sign
    hidden = (values ^ np.array(1 << stored, "i8").astype(kind)).astype(kind)
    for given in ({}, {"HighBit": None}):
        data = image(hidden, stored, **given)
        if given:
            del data.HighBit
        assert clear_unused_bits(data)
        assert data.PixelData == values.tobytes()
        assert not clear_unused_bits(data)
        assert data.PixelData == values.tobytes()


def test_bits_that_are_left_as_they_are() -> None:
    for kind in ("u1", "<i2", "<u4", "<f8"):  # all of them stored, in any number
        pixels = np.full((2, 2), 77, kind)
        data = image(pixels)
        assert not clear_unused_bits(data)
        assert data.PixelData == pixels.tobytes()
    code = b"\xff\x4f of a code stream "
    data = image(np.zeros((2, 2), "<u2"), 12, PixelData=code)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    assert not clear_unused_bits(data)
    trim(data)
    assert data.PixelData == code


@pytest.mark.parametrize(
    "layout", [(16, 12, 15), (16, 12, 10), (16, 16, 14), (12, 10, 9), (64, 60, 59), (8, 12, 7)]
)
def test_bits_that_do_not_lie_at_the_low_end(layout: tuple[int, int, int]) -> None:
    data = image(np.zeros((8, 8), "<u2"))
    data.BitsAllocated, data.BitsStored, data.HighBit = layout
    with pytest.raises(ValueError, match=r"^a rare layout of bits$"):
        clear_unused_bits(data)


@pytest.mark.parametrize("kind", ["u1", "<i2", "<u4"])
@pytest.mark.parametrize("counts", [{}, {"SamplesPerPixel": 3}, {"NumberOfFrames": 5}])
def test_what_lies_behind_the_last_pixel(kind: str, counts: dict[str, int]) -> None:
    number = 9 * next(iter(counts.values()), 1)
    content = np.arange(number).astype(kind).tobytes()
    padded = content + bytes(len(content) % 2)
    for behind in (b"", b"\0", WORD.encode()):
        data = image(np.zeros((3, 3), kind), **counts, PixelData=padded + behind)
        trim(data)
        assert data.PixelData == padded


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", "<i2"])
@pytest.mark.parametrize("shape", [(1, 3, 3), (2, 3, 2)])
def test_frames_that_are_put_back(kind: str, shape: tuple[int, int, int]) -> None:
    frames = (np.arange(np.prod(shape)).reshape(shape) - (3 if "i" in kind else 0)).astype(kind)
    data = image(np.zeros((3, 3), kind), ExtendedOffsetTable=bytes(8))
    data.ExtendedOffsetTableLengths = bytes(8)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "UN", True
    set_frames(data, frames.astype(np.int32).transpose(0, 2, 1).copy().transpose(0, 2, 1))
    assert data.PixelData == frames.tobytes() + bytes(frames.nbytes % 2)
    assert str(data["PixelData"].VR) == ("OB" if kind[-1] == "1" else "OW")
    assert not data["PixelData"].is_undefined_length
    assert UID(data.file_meta.TransferSyntaxUID) == ExplicitVRLittleEndian
    assert "ExtendedOffsetTable" not in data
    assert "ExtendedOffsetTableLengths" not in data
    for pixels in (frames, frames[0]):
        found = frames_of(SimpleNamespace(pixel_array=pixels))
        np.testing.assert_array_equal(found, frames[: len(found)])
        assert found.ndim == 3


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        (Box(10, 20, 30, 40), (6, 24), (20, 50)),
        (Box(10, 12, 30, 40), (6, 16), (26, 44)),
        (Box(0, 3, 0, 2), (0, 7), (0, 6)),
        (Box(38, 40, 55, 60), (34, 40), (51, 60)),
    ],
)
def test_no_more_is_blacked_out_than_needed(
    box: Box, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    frame = np.random.default_rng(6).integers(-1000, 1000, (40, 60))
    expected = frame.copy()
    expected[slice(*rows), slice(*columns)] = frame.min()
    black_out(frame, [box])
    np.testing.assert_array_equal(frame, expected)


#: Rows and columns of letters in a frame of 200 x 320; the border is 40 rows and 64 columns wide.
EDGES = [(0, 0), (0, -1), (-1, 0), (-1, -1), (1, 1), (0, 150), (-1, 150), (90, 0), (90, -1)]
INNER = [(30, 150), (-31, 150), (90, 40), (90, -41), (30, 44)]


def letters_of(text: str) -> np.ndarray:
    letters = drawn(np.zeros(SHAPE, np.int16), text, 1).astype(bool)
    first, last = np.argwhere(letters).min(0), np.argwhere(letters).max(0) + 1
    return letters[first[0] : last[0], first[1] : last[1]]


@pytest.mark.parametrize("place", EDGES + INNER)
@pytest.mark.parametrize("slope", [0, 12])
def test_text_on_each_side(slope: int, place: tuple[int, int]) -> None:
    """On even ground, and on a slope in a value that the ground has elsewhere."""
    shape = (200, 320)
    noise = np.random.default_rng(7).normal(-1000, 8, shape)
    frame = np.rint(noise + slope * np.arange(shape[1])).astype(np.int16)
    assert not find_text(frame)
    letters = letters_of("DOE")
    top, left = (
        n if n >= 0 else 1 + n + whole - part
        for n, whole, part in zip(place, shape, letters.shape, strict=True)
    )
    there = slice(top, top + letters.shape[0]), slice(left, left + letters.shape[1])
    frame[there][letters] = 3000 if not slope else frame[there].mean() + (-1500, 1500)[left < 160]
    found = find_text(frame)
    assert found == [Box(there[0].start, there[0].stop, there[1].start, there[1].stop)]
    black_out(frame, found)
    assert (frame[there] == frame.min()).all()


def test_what_is_in_the_middle_is_not_looked_at() -> None:
    letters = letters_of("DOE SECRET")
    for top, left in ((41, 100), (150, 100), (100, 66)):
        frame = np.random.default_rng(7).normal(-1000, 8, (200, 320)).astype(np.int16)
        frame[top : top + letters.shape[0], left : left + letters.shape[1]][letters] = 3000
        assert not find_text(frame)


Glyph = tuple[int, int, int, int]


def row(number: int, height: int, width: int, gap: int = 3, drop: int = 0) -> list[Glyph]:
    """Glyphs side by side, each ``drop`` lower than the last: top, left, height, width."""
    top = 20 if width > 8 else 100  # the border is 80 pixels wide
    return [(top + n * drop, 4 + n * (width + gap), height, width) for n in range(number)]


@pytest.mark.parametrize(
    ("glyphs", "text"),
    [
        *[(row(4, height, width), True) for height, width in ((5, 1), (64, 2), (5, 64), (8, 5))],
        *[(row(4, height, width), False) for height, width in ((4, 3), (65, 3), (8, 65))],
        (row(3, 5, 1), True),  # the least of words
        (row(2, 8, 5), False),
        (row(4, 6, 3, gap=12), True),  # letters, or glyphs of a wide script
        (row(4, 6, 3, gap=13), False),
        (row(4, 6, 3, drop=5), True),  # a slanted line
        (row(4, 6, 3, drop=6), False),
        (row(3, 6, 3, gap=6), True),
        (row(3, 6, 3, gap=7), False),
        ([*row(2, 6, 3), (101, 16, 6, 3)], True),  # on one line as well as pixels allow
        ([*row(2, 6, 3), (102, 16, 6, 3)], False),
        ([*row(2, 16, 3), (102, 16, 16, 3)], True),
        ([*row(2, 16, 3), (103, 16, 16, 3)], False),
        ([*row(2, 12, 3), (106, 16, 6, 3)], True),  # a small letter
        ([*row(2, 12, 3), (107, 16, 5, 3)], False),
    ],
)
@pytest.mark.parametrize("slope", [0, 4])
def test_what_glyphs_make_text(slope: int, glyphs: list[Glyph], text: bool) -> None:
    noise = np.random.default_rng(8).normal(-1000, 8, (400, 400))
    frame = np.rint(noise + slope * np.arange(400)).astype(np.int16)
    for top, left, height, width in glyphs:
        frame[top : top + height, left : left + width] = 3000
    top, left = min(one[0] for one in glyphs), min(one[1] for one in glyphs)
    bottom = max(one[0] + one[2] for one in glyphs)
    right = max(one[1] + one[3] for one in glyphs)
    assert find_text(frame) == ([Box(top, bottom, left, right)] if text else [])


def test_glyphs_of_many_values_are_no_text() -> None:
    frame = np.random.default_rng(8).normal(-1000, 8, (400, 400)).astype(np.int16)
    for n, (top, left, height, width) in enumerate(row(6, 8, 5)):
        frame[top : top + height, left : left + width] = 3000 - 40 * n
    assert not find_text(frame)
