"""Delineation on small scans whose answer can be told voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from SkinSegLib.core import Cancelled, CTVolume, Progress, SegmentationError, at_most
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.delineate import BAND_MM, delineate

AIR, TISSUE, LEVEL = -1000, 40, -480.0
#: Half of an edge of the cube that is the patient in most tests, and of the scan, mm.
CUBE, SCAN = 16, 30


class Scan:
    """A scan of (k, j, i) voxels of ``spacing`` (mm along i, j, k) about the origin, all air."""

    def __init__(self, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self.spacing = spacing
        shape = [round(2 * SCAN / size) for size in spacing[::-1]]
        self.voxels = np.full(shape, AIR, np.int16)
        axes = [
            (np.arange(n) + 0.5) * size - SCAN for n, size in zip(shape, spacing[::-1], strict=True)
        ]
        self.z, self.y, self.x = np.meshgrid(*axes, indexing="ij")

    def box(self, *sides: tuple[float, float]) -> NDArray[np.bool_]:
        """Voxels whose centres lie between the bounds along x, y and z (mm)."""
        inside = np.ones(self.voxels.shape, bool)
        for centre, (low, high) in zip((self.x, self.y, self.z), sides, strict=True):
            inside &= (centre > low) & (centre < high)
        return inside

    def fill(self, where: NDArray[np.bool_], value: int = TISSUE) -> NDArray[np.bool_]:
        self.voxels[where] = value
        return where

    def volume(self, padding: tuple[float, ...] = ()) -> CTVolume:
        return CTVolume(self.voxels, np.diag([*self.spacing, 1.0]), padding)

    def grid(self) -> CoarseGrid:
        return CoarseGrid.over(self.volume(), 2.0)

    def blocks(self, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The blocks of the grid of which more than half lies in ``where``."""
        grid = self.grid()
        shape = [(n, f) for n, f in zip(grid.coarse_shape, grid.factors, strict=True)]
        parts = where.reshape([size for pair in shape for size in pair])
        return np.asarray(parts.mean(axis=(1, 3, 5)) > 0.5)


def cube(scan: Scan) -> NDArray[np.bool_]:
    return scan.box((-CUBE, CUBE), (-CUBE, CUBE), (-CUBE, CUBE))


def found(
    scan: Scan,
    patient: NDArray[np.bool_],
    objects: NDArray[np.bool_] | None = None,
    cavities: NDArray[np.bool_] | None = None,
    side: NDArray[np.float32] | None = None,
    padding: tuple[float, ...] = (),
) -> NDArray[np.bool_]:
    """The mask, for a patient, objects and cavities that are known by voxels."""
    nothing = np.zeros(scan.grid().coarse_shape, bool)
    mask, _ = delineate(
        scan.volume(padding),
        LEVEL,
        scan.grid(),
        scan.blocks(patient),
        nothing if objects is None else scan.blocks(objects),
        nothing if cavities is None else scan.blocks(cavities),
        Progress(),
        side,
    )
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 1}
    return mask > 0


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 2), (2, 1, 0.5)])
def test_tissue_of_the_patient_voxel_by_voxel(spacing) -> None:
    scan = Scan(spacing)
    # A corner is off, so that no two axes can be exchanged.
    head = cube(scan) & ~scan.box((0, SCAN), (6, SCAN), (-4, SCAN))
    scan.fill(head)
    assert (found(scan, head) == head).all()


def test_the_level_belongs_to_the_patient() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    rim = head & ~scan.box(*[(-CUBE + 1, CUBE - 1)] * 3)
    scan.fill(rim, int(LEVEL))
    assert (found(scan, head) == head).all()
    scan.fill(rim, int(LEVEL) - 1)
    assert (found(scan, head) == (head & ~rim)).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 2)])
def test_tissue_is_joined_within_the_band(axis: int, spacing) -> None:
    scan = Scan(spacing)
    head = scan.fill(cube(scan))
    sides = [(-6.0, 6.0)] * 3
    sides[axis] = (CUBE - 1, SCAN)
    arm = scan.fill(scan.box(*sides)) & ~head
    mask = found(scan, head)
    assert (mask & ~arm == head).all()
    along = (scan.x, scan.y, scan.z)[axis]
    # From the centre of the patient's last block, which lies 1 mm within.
    reach = BAND_MM - 1
    size = spacing[axis]
    assert mask[arm & (along < CUBE + reach - size)].all()
    assert not mask[along > CUBE + reach + size].any()


def test_air_between_is_not_tissue() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    scan.fill(scan.box((CUBE + 2, CUBE + 6), (-6, 6), (-6, 6)))
    assert (found(scan, head) == head).all()


def side_by_side() -> tuple[Scan, NDArray[np.bool_], NDArray[np.bool_]]:
    """The patient, and an object as dense that lies against its right side."""
    scan = Scan()
    head = scan.fill(cube(scan))
    board = scan.fill(scan.box((CUBE, CUBE + 8), (-CUBE, CUBE), (-CUBE, CUBE)))
    return scan, head, board


def test_what_is_nearer_to_an_object_is_not_patient() -> None:
    scan, head, board = side_by_side()
    assert (found(scan, head, board) == head).all()


def test_without_the_object_the_band_takes_it() -> None:
    scan, head, board = side_by_side()
    assert found(scan, head)[board].mean() > 0.8


@pytest.mark.parametrize("border", [-2.0, 1.0, 3.0])
def test_where_they_touch_the_network_says_where(border: float) -> None:
    scan, head, board = side_by_side()
    x = scan.x[0, 0].reshape(-1, 2).mean(axis=1)
    grid = scan.grid()
    # From one to zero over 8 mm, half where the border is.
    side = np.broadcast_to(0.5 + (CUBE + border - x) / 8, grid.coarse_shape)
    mask = found(scan, head, board, side=np.clip(side, 0, 1).astype(np.float32))
    middle = mask & scan.box((0, SCAN), (-4, 4), (-4, 4))
    ends = np.where(middle, scan.x, -np.inf).max(axis=2)
    ends = ends[np.isfinite(ends)] + 0.5
    assert np.abs(ends - (CUBE + border)).max() <= 0.5


def test_far_from_contacts_the_network_says_nothing() -> None:
    scan, head, board = side_by_side()
    side = np.zeros(scan.grid().coarse_shape, np.float32)
    mask = found(scan, head, board, side=side)
    middle = head & scan.box((0, CUBE), (-4, 4), (-4, 4))
    # d mm from the object's first centre counts d + (8 - d) / 4 * (-4 - d), d at blocks' centres:
    # 1 at 6 mm, -4 at 4 mm, and nothing at 5.6 mm between them.
    assert mask[middle & (scan.x < CUBE - 5)].all()
    assert not mask[middle & (scan.x > CUBE - 5)].any()


def test_without_objects_the_network_says_nothing() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    side = np.zeros(scan.grid().coarse_shape, np.float32)
    assert (found(scan, head, side=side) == head).all()


def test_cavities_are_filled_up_to_their_caps() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    nose = scan.fill(scan.box((-4, 4), (-4, CUBE), (-4, 4)), AIR)
    # Up to 2 mm below the surface it is a cavity; the rest is open air.
    cavity = nose & (scan.y < CUBE - 2)
    mask = found(scan, head & ~nose, cavities=cavity)
    assert (mask & ~nose == head & ~nose).all()
    assert mask[nose & (scan.y < CUBE - 2)].all()
    assert not mask[nose & (scan.y > CUBE - 2)].any()


def test_an_open_notch_stays_open() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    notch = scan.fill(scan.box((-4, 4), (4, CUBE), (-4, 4)), AIR)
    assert (found(scan, head & ~notch) == head & ~notch).all()


def test_air_deep_within_is_filled_whatever_the_blocks_say() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    scan.fill(scan.box((-3, 3), (-3, 3), (-3, 3)), AIR)
    assert (found(scan, head) == head).all()


def test_bubbles_are_filled() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    scan.fill(scan.box((10, 13), (10, 13), (10, 13)), AIR)
    assert (found(scan, head) == head).all()


def test_only_one_part_is_kept() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    scan.fill(scan.box((CUBE + 2, CUBE + 5), (-8, 8), (-8, 8)))
    mask = found(scan, head)
    assert (mask == head).all()


def test_what_only_filled_air_joins_is_left_out() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    gap = scan.box((CUBE, CUBE + 2), (-CUBE, CUBE), (-CUBE, CUBE))
    scan.fill(scan.box((CUBE + 2, CUBE + 6), (-CUBE, CUBE), (-CUBE, CUBE)))
    mask = found(scan, head, cavities=gap)
    assert mask[head].all()
    assert not mask[scan.x > CUBE + 2].any()


def test_padding_is_no_tissue() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    corner = scan.fill(scan.box((4, CUBE), (4, CUBE), (-CUBE, CUBE)), 3000)
    rest = head & ~corner
    assert (found(scan, rest, padding=(3000.0,)) == rest).all()
    assert found(scan, rest)[corner].any()


def both(
    scan: Scan, patient: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """The mask, the blocks in which something was cut off, and these as voxels."""
    grid = scan.grid()
    nothing = np.zeros(grid.coarse_shape, bool)
    mask, cut_off = delineate(
        scan.volume(), LEVEL, grid, scan.blocks(patient), nothing, nothing, Progress()
    )
    assert cut_off.dtype == bool
    told = cut_off
    for axis, factor in enumerate(grid.factors):
        told = np.repeat(told, factor, axis)
    return mask > 0, cut_off, told


@pytest.mark.parametrize("spacing", [(1, 1, 1), (1, 1, 2), (0.5, 1, 1)])
def test_a_thin_sheet_is_cut_off_and_told(spacing) -> None:
    scan = Scan(spacing)
    head = scan.fill(cube(scan))
    sheet = scan.fill(scan.box((0, 2), (CUBE, CUBE + 6), (-12, 12)))
    mask, _, told = both(scan, head)
    # What the ball reaches into the corner between the two stays.
    beyond = scan.y > CUBE + 1
    assert (mask == head)[beyond | head].all()
    assert told[sheet & beyond].all()
    assert (told & ~sheet).sum() <= 0.5 * sheet.sum()


def test_along_voxels_larger_than_the_ball_nothing_is_thin() -> None:
    scan = Scan((1, 1, 2))
    head = scan.fill(cube(scan))
    sheet = scan.fill(scan.box((-12, 12), (CUBE, CUBE + 6), (0, 2)))
    mask, cut_off, _ = both(scan, head)
    assert (mask == (head | sheet)).all()
    assert not cut_off.any()


def test_nothing_is_told_where_nothing_was_cut_off() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    _, cut_off, _ = both(scan, head)
    assert cut_off.shape == scan.grid().coarse_shape
    assert not cut_off.any()


@pytest.mark.parametrize("empty", ["patient", "level", "small"])
def test_nobody_there(empty: str) -> None:
    scan = Scan()
    head = scan.fill(cube(scan), TISSUE if empty == "patient" else AIR)
    patients = {"patient": np.zeros_like(head), "level": head, "small": scan.box(*[(-2, 2)] * 3)}
    patient = patients[empty]
    with pytest.raises(
        SegmentationError,
        match=r"^No patient was found at this level\. Lower the level, or choose another series\.$",
    ):
        found(scan, patient)


def test_progress_goes_on_to_the_end() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    nothing = np.zeros(scan.grid().coarse_shape, bool)
    told: list[float] = []
    progress = Progress(lambda _, fraction: told.append(fraction))
    with progress.stage("Delineate", 1.0):
        delineate(scan.volume(), LEVEL, scan.grid(), scan.blocks(head), nothing, nothing, progress)
    assert told == sorted(told)
    assert {0.5, 0.7, 0.8, 0.9, 1.0} <= {round(value, 6) for value in told}


def test_it_can_be_cancelled() -> None:
    scan = Scan()
    head = scan.fill(cube(scan))
    nothing = np.zeros(scan.grid().coarse_shape, bool)
    stop = Progress(is_cancelled=lambda: True)
    with pytest.raises(Cancelled):
        delineate(scan.volume(), LEVEL, scan.grid(), scan.blocks(head), nothing, nothing, stop)


def test_one_thread_finds_what_several_do() -> None:
    scan, head, board = side_by_side()
    several = found(scan, head, board)
    with at_most(1):
        assert (found(scan, head, board) == several).all()
