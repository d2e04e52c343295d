"""Text in the pixels: dark, short, on any ground; and none in real scans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, plain_file
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify
from SkinSegLib.privacy.pixels import black_out, find_text
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
