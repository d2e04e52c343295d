"""Labels that are not the head of their scan, and files that hold none."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
from label_makers import dicom_scan, grid, head, on_grid
from scan_makers import Grid, write_nifti
from SkinSegLib.core import CTVolume, GeometryError, LabelError, ScanReadError, SkinSegError
from SkinSegLib.scan import read
from SkinSegLib.segmentation import SegmentOptions, segment
from SkinSegLib.training.exchange import (
    Kind,
    check_label,
    filled_holes,
    read_label,
    write_label,
    write_segments,
)

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")


def test_the_exact_label_fits() -> None:
    volume, truth = on_grid("axial")
    fit = check_label(volume, truth)
    assert fit.mean_mm < 0.25 * max(volume.spacing)
    assert fit.near > 0.97
    assert fit.tissue_inside > 0.85
    assert fit.tissue_outside < 0.02
    assert fit.holes_ml == 0
    assert fit.notes == ()


@pytest.mark.parametrize("axes", ["oblique", "left-handed oblique", "tilted"])
def test_it_fits_on_any_grid(axes: str) -> None:
    volume, truth = on_grid(axes)
    assert check_label(volume, truth).near > 0.95


@pytest.mark.parametrize("flips", [(2,), (1,), (0,), (1, 2), (0, 1, 2)])
def test_a_mirrored_label_is_refused(flips: tuple[int, ...]) -> None:
    """Along i that is left and right, which is 8 mm off here; along i and j RAS taken for LPS."""
    volume, truth = on_grid("axial")
    along = ", ".join("kji"[axis] for axis in sorted(flips, reverse=True))
    with pytest.raises(LabelError, match=f"fits clearly better mirrored along {along}. It was"):
        check_label(volume, np.flip(truth, flips))


def test_a_turned_label_is_refused() -> None:
    phantom = head()
    j = slice(4, 64)
    volume = CTVolume(phantom.volume.voxels[:, j], phantom.volume.ijk_to_ras)
    turned = np.ascontiguousarray(phantom.truth[:, j].transpose(0, 2, 1))
    with pytest.raises(LabelError, match="with i and j exchanged"):
        check_label(volume, turned)


def test_what_is_wrong_in_a_label_is_not_taken_for_a_mirror_image() -> None:
    """An ear cut off, the other side swollen: no reason to say that it is mirrored."""
    from scipy import ndimage

    volume, truth = on_grid("axial")
    wrong = truth.copy()
    i = np.flatnonzero(truth.any(axis=(0, 1)))
    wrong[:, :, : i[0] + 3] = 0
    half = wrong.shape[2] // 2
    wrong[:, :, half:] = ndimage.binary_dilation(wrong)[:, :, half:]
    assert check_label(volume, wrong).mean_mm > check_label(volume, truth).mean_mm


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (np.zeros_like, "is empty"),
        (np.ones_like, "whole picture"),
        (lambda truth: 1 - truth, "is inverted"),
        (lambda truth: np.roll(truth, 30, axis=2), "outside the head"),
        (lambda truth: np.roll(truth, 5, axis=1), "within 6.25 mm of the scan's skin"),
    ],
)
def test_other_labels_are_refused(spoil: object, words: str) -> None:
    volume, truth = on_grid("axial")
    with pytest.raises(LabelError, match=words):
        check_label(volume, spoil(truth))


def test_another_size_is_refused() -> None:
    volume, truth = on_grid("axial")
    with pytest.raises(GeometryError, match="60 x 70 x 42 voxels and the scan 60 x 70 x 43"):
        check_label(volume, truth[1:])


def test_holes_are_told_and_filled() -> None:
    volume, truth = on_grid("axial")
    middle = tuple(int(axis.mean()) for axis in np.nonzero(truth))
    hollow = truth.copy()
    hollow[tuple(slice(m - 2, m + 3) for m in middle)] = 0
    fit = check_label(volume, hollow)
    assert fit.holes_ml == pytest.approx(125 * 0.08)
    assert "--fill" in fit.notes[0]
    np.testing.assert_array_equal(filled_holes(hollow > 0), truth > 0)


def test_a_label_within_the_scan_alone_says_nothing() -> None:
    """All of its surface is where the scan ends."""
    volume, truth = on_grid("axial")
    k, j, i = (int(axis.mean()) for axis in np.nonzero(truth))
    box = np.s_[k - 4 : k + 5, j - 4 : j + 5, i - 4 : i + 5]
    part = np.ones((9, 9, 9), np.uint8)
    part[0, 0, 0] = 0
    voxels = volume.voxels[box].copy()
    voxels[0, 0, 0] = -1000
    fit = check_label(CTVolume(voxels, volume.ijk_to_ras), part, level_hu=-480)
    assert math.isnan(fit.mean_mm)
    assert "Too little" in fit.notes[0]


def test_on_a_real_head(cranium_path: Path) -> None:
    volume = read(cranium_path)
    small = CTVolume(volume.voxels[::3, ::3, ::3], volume.ijk_to_ras @ np.diag([3, 3, 3, 1]))
    mask = segment(small, SegmentOptions(engine="threshold")).voxels
    assert check_label(small, mask).near > 0.95
    for axis, name in enumerate("kji"):
        with pytest.raises(LabelError, match=f"mirrored along {name}"):
            check_label(small, np.flip(mask, axis))


# Files.


def test_a_label_of_another_scan_in_another_place(tmp_path: Path) -> None:
    volume, truth = on_grid("axial")
    own = grid("axial")
    write_nifti(tmp_path / "x.nii", replace(own, origin=(500.0, 17.0, 503.0)), truth)
    with pytest.raises(GeometryError, match="Give the scan that the mask was made on"):
        read_label(tmp_path / "x.nii", volume)


@pytest.mark.parametrize("factor", [0.1, 0.001, 10.0])
def test_wrong_units(tmp_path: Path, factor: float) -> None:
    volume, truth = on_grid("axial")
    own = grid("axial")
    spacing = tuple(s * factor for s in own.spacing)
    write_nifti(tmp_path / "x.nii", Grid(own.axes, spacing, own.origin), truth)
    with pytest.raises(GeometryError, match="units may be wrong"):
        read_label(tmp_path / "x.nii", volume)


@pytest.mark.parametrize("kind", [Kind.DICOM_SEG, Kind.RTSTRUCT])
def test_another_patients_frame_of_reference(tmp_path: Path, kind: Kind) -> None:
    source, truth = dicom_scan(tmp_path / "scan", "axial")
    path = write_label(tmp_path / "x.dcm", source.volume, truth, kind, source)
    stranger = pydicom.Dataset()
    stranger.FrameOfReferenceUID = "1.2.3.98"
    with pytest.raises(GeometryError, match="another frame of reference"):
        read_label(path, source.volume, header=stranger)
    content = path.read_bytes()
    for length in (150, len(content) // 3, len(content) // 2):
        (tmp_path / "cut.dcm").write_bytes(content[:length])
        with pytest.raises(ScanReadError, match=r"damaged|neither|empty|no closed"):
            read_label(tmp_path / "cut.dcm", source.volume)


def test_outlines_in_other_units_and_between_slices(tmp_path: Path) -> None:
    source, truth = dicom_scan(tmp_path / "scan", "axial")
    path = write_label(tmp_path / "x.dcm", source.volume, truth, Kind.RTSTRUCT, source)
    found = pydicom.dcmread(path)
    contours = found.ROIContourSequence[0].ContourSequence
    kept = [np.array(c.ContourData, float) for c in contours]

    def read_with(change: object) -> np.ndarray:
        for contour, data in zip(contours, kept, strict=True):
            points = change(data.reshape(-1, 3))
            contour.ContourData = [f"{v:.4f}" for v in points.ravel()]
        found.save_as(tmp_path / "y.dcm")
        return read_label(tmp_path / "y.dcm", source.volume)

    with pytest.raises(GeometryError, match="units"):
        read_with(lambda points: points / 10)
    with pytest.raises(GeometryError, match="outside the scan"):
        read_with(lambda points: points + (600, 0, 0))
    with pytest.raises(GeometryError, match="do not lie in the scan's slices"):
        read_with(lambda points: points[:, [0, 2, 1]])
    # Half a slice off, as drawn on another series: what two planes hold together is kept.
    between = read_with(lambda points: points + (0, 0, 2.5))
    both = np.count_nonzero(between) + np.count_nonzero(truth)
    assert 2 * np.count_nonzero(between & truth) / both > 0.95


def test_several_segments(tmp_path: Path) -> None:
    volume, truth = on_grid("axial")
    two = {"Skull": truth, "Soft tissue": np.flip(truth, 1)}
    path = write_segments(tmp_path / "x.seg.nrrd", volume, two)
    with pytest.raises(ScanReadError, match=r"--segment. There are: Skull, Soft tissue\."):
        read_label(path, volume)
    np.testing.assert_array_equal(read_label(path, volume, "Skull"), truth)
    with pytest.raises(ScanReadError, match="by --segment, not by --label"):
        read_label(path, volume, label=1)
    with pytest.raises(ScanReadError, match="Flip only folders of pictures"):
        read_label(path, volume, "Skull", flip="i")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Segment0_Layer:=0", b"Segment0_Layer:=x"),
        (b"Segment0_Layer:=0", b"Segment0_Layer:=7"),
        (b"Segment0_LabelValue:=1", b"Segment0_LabelValue:=\xe9"),
    ],
)
def test_a_damaged_list_of_segments(tmp_path: Path, old: bytes, new: bytes) -> None:
    volume, truth = on_grid("axial")
    path = write_segments(tmp_path / "x.seg.nrrd", volume, {"Head": truth, "Other": truth})
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ScanReadError, match="list of segments is damaged"):
        read_label(path, volume)
    path.write_bytes(content.replace(b"Segment1_Color:", b"Segment1_\xe9olor:"))
    np.testing.assert_array_equal(read_label(path, volume), truth)


def test_values_of_a_labelmap(tmp_path: Path) -> None:
    volume, truth = on_grid("axial")
    values = truth * np.uint8(3)
    values[0, 0, 0] = 7
    write_nifti(tmp_path / "x.nii", grid("axial"), values)
    np.testing.assert_array_equal(read_label(tmp_path / "x.nii", volume, label=3), truth)
    with pytest.raises(ScanReadError, match="empty"):
        read_label(tmp_path / "x.nii", volume, label=5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.nii", b""),
        ("x.nii.gz", gzip.compress(b"nothing of the kind" * 40, mtime=0)),
        ("x.nrrd", b"NRRD0004\ntype: uint8\n"),
        ("x.seg.nrrd", b"NRRD0004\n" + bytes(300)),
        ("x.inv3", b"not a tar" * 100),
        ("x.json", b"{}"),
        ("x.png", b"\x89PNG\r\n\x1a\n"),
        ("x.dcm", bytes(128) + b"DICM" + bytes(40)),
        ("x.nii", b"NRRD0004\ntype: uint8\n"),
        ("x", b"whatever"),
    ],
    ids=range(10),
)
def test_files_that_hold_no_label(tmp_path: Path, name: str, content: bytes) -> None:
    volume, _ = on_grid("axial")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ScanReadError):
        read_label(path, volume)


def test_folders_and_paths_that_hold_no_label(tmp_path: Path) -> None:
    volume, _ = on_grid("axial")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ScanReadError, match=r"no label|does not exist"):
            read_label(path, volume)


@pytest.mark.parametrize("kind", [Kind.PNG, Kind.LABELME])
def test_pictures_of_another_scan(tmp_path: Path, kind: Kind) -> None:
    volume, truth = on_grid("axial")
    folder = write_label(tmp_path / "x", volume, truth, kind)
    moved = CTVolume(volume.voxels, on_grid("oblique")[0].ijk_to_ras)
    with pytest.raises(GeometryError, match="another scan"):
        read_label(folder, moved)
    (folder / "skinseg-grid.json").unlink()
    # Pictures alone fit any scan of their size; only --flip can say more.
    np.testing.assert_array_equal(read_label(folder, moved), truth)
    turned = read_label(folder, volume, flip="jk")
    np.testing.assert_array_equal(turned, truth[::-1, ::-1])
    fewer = CTVolume(volume.voxels[1:], volume.ijk_to_ras)
    with pytest.raises(GeometryError, match="43 pictures and the scan 42 slices"):
        read_label(folder, fewer)
    narrow = CTVolume(volume.voxels[:, :, 1:], volume.ijk_to_ras)
    with pytest.raises(GeometryError, match="60 x 70 pixels and a slice of the scan 59 x 70"):
        read_label(folder, narrow)
    with pytest.raises(ScanReadError, match="axes to flip"):
        read_label(folder, volume, flip="x")


def test_damaged_pictures_and_outlines(tmp_path: Path) -> None:
    volume = CTVolume(np.zeros((1, 20, 30), np.int16), np.eye(4))
    PIL.Image.new("L", (30, 20)).save(tmp_path / "0.png")
    for shape in (
        {"label": "a", "shape_type": "line", "points": [[1, 2], [3, 4]]},
        {"label": "a", "shape_type": "polygon", "points": [[1, 2], [3, float("inf")], [3, 1]]},
        {"label": "a", "shape_type": "polygon", "points": [[1, 2]]},
        {"label": "a", "shape_type": "mask", "points": [[1, 2], [3, 4]], "mask": "AAAA"},
        {"points": [[1, 2], [3, 4]]},
    ):
        (tmp_path / "0.json").write_text(json.dumps({"shapes": [shape]}))
        with pytest.raises(ScanReadError, match=r"damaged|encloses nothing"):
            read_label(tmp_path, volume)
    (tmp_path / "0.json").unlink()
    (tmp_path / "0.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    with pytest.raises(ScanReadError, match="damaged picture"):
        read_label(tmp_path, volume)


def test_a_project_of_another_scan(tmp_path: Path) -> None:
    volume, truth = on_grid("axial")
    path = write_label(tmp_path / "x.inv3", volume, truth)
    for other in (
        CTVolume(np.ascontiguousarray(volume.voxels[:, :, ::-1]), volume.ijk_to_ras),
        CTVolume(volume.voxels[1:], volume.ijk_to_ras),
    ):
        with pytest.raises(GeometryError, match="another scan"):
            read_label(path, other)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SkinSegError, match=r"truncated|damaged"):
        read_label(path, volume)
