"""The edges by which text is told from a scan, pixel by pixel against what they are said to be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from SkinSegLib.privacy.pixels import Box, _hard_edged, _sharp, _stands_out

#: Few values, so that neighbours are often alike and as often just a step apart.
VALUES = np.array([-300, -200, 0, 100, 200], np.float32)
STEP = 200.0
PLACES = [(0, 0), (0, 5), (6, 0), (3, 4), (12, 11), (7, 11), (12, 4)]


def pixels(seed: int, shape: tuple[int, int] = (15, 14)) -> np.ndarray:
    return np.random.default_rng(seed).choice(VALUES, shape)


def neighbours(frame: np.ndarray, j: int, i: int) -> list[float]:
    """Values above, below, left and right, as far as there are any."""
    around = [(j - 1, i), (j + 1, i), (j, i - 1), (j, i + 1)]
    rows, columns = frame.shape
    return [float(frame[b, a]) for b, a in around if 0 <= b < rows and 0 <= a < columns]


@pytest.mark.parametrize("shape", [(15, 14), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("seed", range(3))
def test_a_hard_edge_is_beside_its_like_and_beside_what_is_far(seed: int, shape) -> None:
    frame = pixels(seed, shape)
    expected = np.zeros(shape, bool)
    for j, i in np.ndindex(shape):
        apart = [abs(value - float(frame[j, i])) for value in neighbours(frame, j, i)]
        expected[j, i] = 0 in apart and any(step >= STEP for step in apart)
    np.testing.assert_array_equal(_hard_edged(frame, STEP), expected)


def surrounding(frame: np.ndarray, part: np.ndarray) -> list[float]:
    """Values of the pixels that are not in the part and touch it, corners counted."""
    return [
        float(frame[j, i])
        for j, i in np.argwhere(~part)
        if part[max(0, j - 1) : j + 2, max(0, i - 1) : i + 2].any()
    ]


@pytest.mark.parametrize("corner", PLACES)
@pytest.mark.parametrize("seed", range(20))
def test_a_glyph_stands_out_from_the_pixels_around_it(seed: int, corner: tuple[int, int]) -> None:
    """Parts of any form, at the frame's edges as well, on a ground that is mostly darker."""
    rng = np.random.default_rng([seed, *corner])
    frame = rng.choice(VALUES, (15, 14), p=[0.25, 0.35, 0.15, 0.15, 0.1])
    size = rng.integers(1, 4, 2)
    labels, _ = ndimage.label(rng.random(size) < 0.8, np.ones((3, 3)))
    if not labels.any():
        labels[0, 0] = 1
    (found,) = ndimage.find_objects((labels == labels.max()).astype(int))
    part = (labels == labels.max())[found]
    place = tuple(slice(c, c + n) for c, n in zip(corner, part.shape, strict=True))
    whole = np.zeros(frame.shape, bool)
    whole[place] = part
    value = float(rng.choice([0, 100]))
    frame[whole] = value
    apart = [around - value for around in surrounding(frame, whole)]
    brighter, darker = sum(a >= STEP for a in apart), sum(a <= -STEP for a in apart)
    expected = max(brighter, darker) >= 0.6 * len(apart)
    assert _stands_out(frame, place, part, STEP) == expected


@pytest.mark.parametrize("corner", PLACES)
@pytest.mark.parametrize("sign", [1, -1])
def test_three_fifths_of_the_ring_are_enough(corner: tuple[int, int], sign: int) -> None:
    """Each number of pixels of the ring in turn; the others are just less than a step away."""
    part = np.array([[1, 1, 0], [0, 1, 1]], bool)
    place = tuple(slice(c, c + n) for c, n in zip(corner, part.shape, strict=True))
    whole = np.zeros((15, 14), bool)
    whole[place] = part
    ring = [tuple(at) for at in np.argwhere(ndimage.binary_dilation(whole, np.ones((3, 3))))]
    ring = [at for at in ring if not whole[at]]
    for count in range(len(ring) + 1):
        for chosen in (ring[:count], ring[len(ring) - count :]):
            # What is not beside the part is far from it, and must not count.
            frame = np.full(whole.shape, -sign * 1000, np.float32)
            for at in ring:
                frame[at] = sign * (STEP if at in chosen else STEP - 1)
            frame[whole] = 0
            assert _stands_out(frame, place, part, STEP) == (count >= 0.6 * len(ring))


@pytest.mark.parametrize(
    ("number", "height", "width", "text"),
    [(4, 12, 12, True), (4, 16, 10, True), (4, 13, 13, False), (4, 60, 60, False), (3, 5, 1, True)],
)
def test_a_glyph_is_mostly_edge(number: int, height: int, width: int, text: bool) -> None:
    """48 of the 160 pixels of 16 x 10 are its edge, just enough. On a ground as bright as glyphs
    at its other end, where no level tells them."""
    frame = np.tile(np.linspace(0, 400, 400, dtype=np.float32), (100, 1))
    for n in range(number):
        frame[20 : 20 + height, 4 + n * (width + 4) :][:, :width] = 300
    boxes = _sharp(frame, np.ones(frame.shape, bool), 20.0)
    right = 4 + number * (width + 4) - 4
    assert boxes == ([Box(20, 20 + height, 4, right)] if text else [])
