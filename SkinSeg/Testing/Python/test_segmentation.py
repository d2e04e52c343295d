"""The classical engine on phantoms with a known answer, and on scans that are no head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from marks import slow
from SkinSegLib.core import (
    Cancelled,
    CTVolume,
    FindingKind,
    Progress,
    SegmentationError,
    transform_points,
)
from SkinSegLib.segmentation import SegmentOptions
from SkinSegLib.segmentation import segment as by_any_engine
from SkinSegLib.segmentation.coarse import CoarseGrid
from SkinSegLib.segmentation.delineate import delineate
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.training.phantom import Phantom, PhantomSpec, make_phantom

STAGES = ["Level", "Locate", "Openings", "Delineate", "Check"]


def segment(volume, options=None, progress=None):
    """By the classical engine, whatever model is installed."""
    options = replace(options or SegmentOptions(), engine="threshold")
    return by_any_engine(volume, options, progress)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def kinds(mask) -> set[FindingKind]:
    return {finding.kind for finding in mask.findings}


@pytest.fixture(scope="module")
def small() -> Phantom:
    """Head with table and holder at 2 mm: enough for what is not about accuracy."""
    spec = PhantomSpec.table_and_holder()
    return make_phantom(replace(spec.resampled((2.0, 2.0, 2.0)), psf_sigma_mm=0.9))


@pytest.fixture(scope="module")
def small_mask(small):
    return segment(small.volume)


def test_table_and_holder_stay_out(small, small_mask):
    assert dice(small_mask.voxels, small.truth) > 0.99
    # Voxels on the edge may go either way; a table would be farther off.
    points = _far_outside(small, small_mask.voxels, 2.5)
    assert len(points) == 0, points[:5]


def _far_outside(phantom: Phantom, mask: np.ndarray, distance_mm: float) -> np.ndarray:
    """RAS points of mask voxels farther than this outside the exact skin."""
    extra = np.argwhere((mask > 0) & (phantom.truth == 0))
    ras = transform_points(phantom.volume.ijk_to_ras, extra[:, ::-1])
    return ras[phantom.signed_distance(ras) > distance_mm]


def test_enclosed_air_is_filled(small, small_mask):
    enclosed = (small.volume.voxels < -480) & (small.truth > 0)
    voxel_ml = small.volume.voxel_volume_ml
    assert np.count_nonzero(enclosed) * voxel_ml > 20
    # What stays open is the rim of the openings and creases in whose middle a voxel is air.
    assert np.count_nonzero(enclosed & (small_mask.voxels == 0)) * voxel_ml < 3


def test_one_component_without_holes(small_mask):
    from scipy import ndimage

    assert ndimage.label(small_mask.voxels)[1] == 1
    padded = np.pad(small_mask.voxels, 1)
    assert ndimage.label(padded == 0)[1] == 1


def test_cut_is_found_and_named(small, small_mask):
    assert small_mask.cut_faces == ("k-",)
    cuts = [f for f in small_mask.findings if f.kind is FindingKind.CUT_BY_FIELD_OF_VIEW]
    assert "inferior" in cuts[0].message
    lowest = transform_points(small.volume.ijk_to_ras, [[0, 0, 0]])[0, 2]
    assert cuts[0].position_ras[2] == pytest.approx(lowest, abs=0.1)


@pytest.mark.parametrize(
    ("axes", "flip"),
    [((1, 2, 0), (0, 1)), *slow([((0, 1, 2), (2,)), ((2, 0, 1), ()), ((0, 2, 1), (1,))])],
)
def test_the_mask_moves_with_the_scan(small, small_mask, axes, flip):
    """Permuted and mirrored axes, with the geometry to match, give the same patient."""
    voxels = np.flip(small.volume.voxels.transpose(axes), flip)
    matrix = small.volume.ijk_to_ras.copy()
    order = [2 - axes[2 - column] for column in range(3)]
    matrix[:3, :3] = matrix[:3, order]
    for axis in flip:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (voxels.shape[axis] - 1)
        matrix[:3, column] *= -1
    moved = segment(CTVolume(np.ascontiguousarray(voxels), matrix))
    expected = np.flip(small_mask.voxels.transpose(axes), flip)
    # Blocks of the coarse grid start at the other end of a flipped axis, so edges may differ.
    assert dice(moved.voxels, expected) > 0.9995
    assert len(moved.cut_faces) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["holder", "table"])
def test_table_and_holder_in_contact_are_cut_off(kind):
    spec = PhantomSpec.touching(kind).resampled((2.0, 2.0, 2.0))
    phantom = make_phantom(replace(spec, psf_sigma_mm=0.9))
    mask = segment(phantom.volume)
    voxel_ml = phantom.volume.voxel_volume_ml
    extra_ml = np.count_nonzero((mask.voxels > 0) & (phantom.truth == 0)) * voxel_ml
    objects_ml = np.count_nonzero((phantom.volume.voxels >= -480) & (phantom.truth == 0)) * voxel_ml
    lost_ml = np.count_nonzero((mask.voxels == 0) & (phantom.truth > 0)) * voxel_ml
    print(f"{kind} in contact: {extra_ml:.1f} of {objects_ml:.1f} mL taken in")
    assert extra_ml < 0.15 * objects_ml
    assert lost_ml < 5
    assert FindingKind.TOUCHES_OBJECT in kinds(mask)


@pytest.mark.slow
def test_cone_beam_level_and_round_field():
    spec = PhantomSpec.cone_beam().resampled((2.0, 2.0, 2.0))
    phantom = make_phantom(replace(spec, psf_sigma_mm=0.9))
    mask = segment(phantom.volume)
    assert dice(mask.voxels, phantom.truth) > 0.985
    assert FindingKind.NOT_CALIBRATED in kinds(mask)
    assert not mask.voxels[phantom.volume.padding_mask()].any()


def test_a_round_field_that_cuts_the_head_is_found(small):
    voxels = small.volume.voxels.copy()
    size = np.array(voxels.shape[1:])
    row, column = np.indices(size) - (size[:, None, None] - 1) / 2
    voxels[:, np.hypot(row, column) * 2 > 80] = -2000
    scan = CTVolume(voxels, small.volume.ijk_to_ras, padding=(-2000.0,))
    mask = segment(scan)
    (cut,) = [f for f in mask.findings if "round field" in f.message]
    assert cut.kind is FindingKind.CUT_BY_FIELD_OF_VIEW
    index = transform_points(np.linalg.inv(scan.ijk_to_ras), [cut.position_ras])[0][:2]
    radius = np.hypot(*(index - (size[::-1] - 1) / 2)) * 2
    assert radius == pytest.approx(79, abs=3)


@pytest.mark.slow
def test_a_lower_level_never_loses_volume(small):
    volumes = [segment(small.volume, SegmentOptions(level_hu=x)).volume_ml for x in (-700, -300)]
    assert volumes[0] > volumes[1] > 3000


@pytest.mark.slow
def test_stages_and_fractions_are_reported(small):
    seen: list[tuple[str, float]] = []
    progress = Progress(report=lambda stage, fraction: seen.append((stage, fraction)))
    mask = segment(small.volume, None, progress)
    assert list(dict.fromkeys(stage for stage, _ in seen)) == STAGES
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert set(mask.seconds) == set(STAGES)


@pytest.mark.parametrize("stage", ["Delineate", *slow(s for s in STAGES if s != "Delineate")])
def test_cancel_at_each_stage(small, stage):
    reached: list[str] = []
    progress = Progress(
        report=lambda name, fraction: reached.append(name), is_cancelled=lambda: stage in reached
    )
    with pytest.raises(Cancelled):
        segment(small.volume, None, progress)
    assert reached[-1] == stage


def block(value: float, spacing: float = 3.0) -> CTVolume:
    voxels = np.full((70, 70, 70), -1000, np.int16)
    voxels[8:62, 8:62, 8:62] = value
    return CTVolume(voxels, np.diag([spacing, spacing, spacing, 1.0]))


def test_a_table_behind_a_gap_narrower_than_the_coarse_blocks_stays_out():
    """The coarse grid calls it patient; at full resolution only air joins it to the patient."""
    voxels = np.full((80, 80, 80), -1000, np.int16)
    voxels[10:70, 10:60, 10:70] = 40
    voxels[10:70, 61:66, 10:70] = 40  # one voxel of air before it
    volume = CTVolume(voxels, np.eye(4))
    level = find_level(volume)
    grid = CoarseGrid.over(volume, 2.0)
    patient = grid.tissue_fraction(volume, level) >= 0.5
    nothing = np.zeros_like(patient)
    mask, _ = delineate(volume, level.skin, grid, patient, nothing, nothing, Progress())
    assert mask[10:70, 10:60, 10:70].all()
    assert not mask[:, 61:].any()


def test_where_a_strap_was_cut_off_is_told():
    """On the coarse grid it is too thin to be seen at all."""
    z, y, x = np.indices((100, 140, 140)) - np.array([50, 70, 70])[:, None, None, None]
    radius = np.sqrt(z**2 + y**2 + x**2)
    strap = (radius > 47) & (radius <= 48) & (np.abs(z) < 12) & (y < -10)
    stitch = (radius < 49) & (np.hypot(x, z) < 3) & (y < 0)
    voxels = np.where((radius <= 45) | strap | stitch, 40, -1000).astype(np.int16)
    mask = by_any_engine(CTVolume(voxels, np.eye(4)), SegmentOptions(engine="threshold"))
    assert not mask.voxels[strap & (np.abs(x) > 8)].any()
    places = [f.position_ras for f in mask.findings if f.kind is FindingKind.TOUCHES_OBJECT]
    assert places
    assert abs(np.linalg.norm(np.array(places[0]) - [70, 70, 50]) - 47) < 12


@pytest.mark.parametrize("value", [-300, 60])
def test_a_block_is_done_with_a_warning(value):
    volume = block(value)
    mask = segment(volume)
    assert FindingKind.NOT_A_HEAD in kinds(mask)
    assert np.array_equal(mask.voxels > 0, volume.voxels == value)


def test_one_slice():
    volume = block(40)
    mask = segment(CTVolume(volume.voxels[30:31].copy(), volume.ijk_to_ras))
    assert np.array_equal(mask.voxels[0] > 0, volume.voxels[30] == 40)
    assert set(mask.cut_faces) == {"k-", "k+"}


def test_too_small_a_scan_is_refused():
    with pytest.raises(SegmentationError, match="too small"):
        segment(CTVolume(block(40).voxels[20:22, :, 40:].copy(), np.eye(4)))


def test_a_level_above_everything_is_refused():
    with pytest.raises(SegmentationError, match="lower the level"):
        segment(block(40), SegmentOptions(level_hu=2500))


@pytest.mark.parametrize(
    "wrong", [{"engine": "magic"}, {"level_hu": float("nan")}, {"opening_mm": 0}]
)
def test_options_that_make_no_sense(wrong):
    with pytest.raises(SegmentationError):
        SegmentOptions(**wrong)


def test_thick_slices_are_a_finding(small):
    matrix = small.volume.ijk_to_ras @ np.diag([1, 1, 3, 1.0])
    mask = segment(CTVolume(np.ascontiguousarray(small.volume.voxels[::3]), matrix))
    assert FindingKind.THICK_SLICES in kinds(mask)


def with_metal(volume: CTVolume, value: int, blocks: int) -> CTVolume:
    """A scan with metal of ``blocks`` cubes of 2 x 2 x 2 voxels in the middle of the head."""
    voxels = volume.voxels.copy()
    k, j, i = (n // 2 for n in voxels.shape)
    voxels[k : k + 2, j : j + 2, i : i + 2 * blocks] = value
    return CTVolume(voxels, volume.ijk_to_ras)


@pytest.mark.parametrize("value", [3071, *slow([2248, 12000])])
def test_metal_is_found_with_its_place_and_volume(small, value):
    """Also where the scanner's range ends before metal does."""
    scan = with_metal(small.volume, value, 6)
    (metal,) = [f for f in segment(scan).findings if f.kind is FindingKind.METAL_STREAKS]
    assert metal.volume_ml == pytest.approx(48 * scan.voxel_volume_ml)
    place = transform_points(np.linalg.inv(scan.ijk_to_ras), [metal.position_ras])[0]
    i, j, k = np.rint(place).astype(int)
    assert scan.voxels[k, j, i] == value


@pytest.mark.slow
def test_teeth_and_a_speck_are_no_metal(small, small_mask):
    assert FindingKind.METAL_STREAKS not in kinds(small_mask)
    voxels = small.volume.voxels.copy()
    voxels[tuple(n // 2 for n in voxels.shape)] = 3071
    speck = CTVolume(voxels, small.volume.ijk_to_ras)
    assert FindingKind.METAL_STREAKS not in kinds(segment(speck))


def test_a_table_alone_and_a_dry_skull_are_doubted(small, small_mask):
    """What is found is thin all over, however large it is."""
    assert FindingKind.NOT_A_HEAD not in kinds(small_mask)
    voxels = np.full(small.volume.voxels.shape, -1000, np.int16)
    voxels[:, 100:112, 10:98] = -300
    table = segment(CTVolume(voxels, small.volume.ijk_to_ras))
    bone = np.where(small.volume.voxels > 300, small.volume.voxels, -1000).astype(np.int16)
    skull = segment(CTVolume(bone, small.volume.ijk_to_ras))
    for mask in (table, skull):
        (doubted,) = [f for f in mask.findings if f.kind is FindingKind.NOT_A_HEAD]
        assert "nowhere thicker" in doubted.message
