"""Labels in every format: back voxel for voxel, on the right side, and as others read them."""

from __future__ import annotations

import io
import json
import plistlib
import struct
import tarfile
from pathlib import Path

import highdicom
import numpy as np
import PIL.Image
import PIL.ImageDraw
import pydicom
import pytest
from label_makers import dicom_scan, grid, on_grid, ras_of, same_place
from scan_makers import Grid, write_enhanced, write_nifti, write_nrrd
from series_makers import REFERABLE, assert_valid
from SkinSegLib.core import CTVolume, OutputError
from SkinSegLib.scan import read, read_source
from SkinSegLib.training.exchange import Kind, read_label, recognised, write_label, write_segments
from SkinSegLib.training.exchange.polygons import filled, loops_in

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")

FILES = {
    "label.seg.nrrd": Kind.SEGMENTS,
    "label.nrrd": Kind.LABELMAP,
    "label.nii.gz": Kind.LABELMAP,
    "label.mha": Kind.LABELMAP,
    "label.inv3": Kind.INVESALIUS,
    "pictures": Kind.PNG,
    "outlines": Kind.LABELME,
}
DICOM = {"label.dcm": Kind.DICOM_SEG, "outlines.dcm": Kind.RTSTRUCT}
#: ITK's NIfTI and InVesalius hold no shear.
NO_SHEAR = ("label.nii.gz", "label.inv3")


@pytest.mark.parametrize("axes", ["axial", "oblique", "left-handed oblique", "tilted"])
@pytest.mark.parametrize("name", FILES)
def test_back_voxel_for_voxel(tmp_path: Path, name: str, axes: str) -> None:
    volume, truth = on_grid(axes)
    path = tmp_path / name
    if axes == "tilted" and name in NO_SHEAR:
        with pytest.raises(OutputError, match="sheared"):
            write_label(path, volume, truth)
        assert not any(tmp_path.iterdir())
        return
    write_label(path, volume, truth, FILES[name])
    assert recognised(path) == (FILES[name], path)
    back = read_label(path, volume)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, truth)
    # A head has two sides: this test could not pass with them exchanged.
    for axis in range(3):
        assert not np.array_equal(back, np.flip(truth, axis))


@pytest.mark.slow
@pytest.mark.parametrize("axes", ["axial", "oblique", "left-handed", "tilted"])
@pytest.mark.parametrize("name", DICOM)
def test_dicom_back_voxel_for_voxel(tmp_path: Path, name: str, axes: str) -> None:
    source, truth = dicom_scan(tmp_path / "scan", axes)
    path = write_label(tmp_path / name, source.volume, truth, DICOM[name], source)
    assert recognised(path) == (DICOM[name], path)
    back = read_label(path, source.volume, header=source.headers[0])
    np.testing.assert_array_equal(back, truth)
    # In a folder of its own it is found too.
    (tmp_path / "only").mkdir()
    path.rename(tmp_path / "only" / "x")
    np.testing.assert_array_equal(read_label(tmp_path / "only", source.volume), truth)


@pytest.mark.parametrize("name", DICOM)
def test_uneven_slices(tmp_path: Path, name: str) -> None:
    """The object lies where slices were measured, and is exact there."""
    places = [*range(20), *np.arange(20.5, 40, 1.5)]
    source, _ = dicom_scan(tmp_path / "scan", "axial", places=places)
    volume = source.volume
    truth = (volume.voxels > -480).astype(np.uint8)
    path = write_label(tmp_path / name, volume, truth, DICOM[name], source)
    back = read_label(path, volume)
    measured = np.rint(source.places).astype(int)
    assert len(measured) < len(truth)
    np.testing.assert_array_equal(back[measured], truth[measured])
    both = np.count_nonzero(back) + np.count_nonzero(truth)
    assert 2 * np.count_nonzero(back & truth) / both > 0.98


@pytest.mark.parametrize("name", DICOM)
def test_a_multi_frame_scan(tmp_path: Path, name: str) -> None:
    """Its frames come in any order."""
    volume, truth = on_grid("axial")
    write_enhanced(tmp_path / "scan.dcm", grid("axial"), volume.voxels, **REFERABLE)
    source = read_source(tmp_path / "scan.dcm")
    np.testing.assert_array_equal(source.volume.voxels, volume.voxels)
    path = write_label(tmp_path / name, source.volume, truth, DICOM[name], source)
    np.testing.assert_array_equal(read_label(path, source.volume), truth)
    if DICOM[name] == Kind.DICOM_SEG:
        return
    frames = {
        int(contour.ContourImageSequence[0].ReferencedFrameNumber)
        for contour in pydicom.dcmread(path).ROIContourSequence[0].ContourSequence
    }
    assert len(frames) == np.count_nonzero(truth.any(axis=(1, 2)))


def test_outlines_of_any_mask_are_exact() -> None:
    """Noise has all there is: single voxels, holes, voxels that touch by a corner, the edge."""
    mask = np.random.default_rng(1).random((3, 31, 42)) > 0.5
    for part, loops in zip(mask, loops_in(mask), strict=True):
        np.testing.assert_array_equal(filled(loops, part.shape), part)


# As others read what is written here.


@pytest.mark.parametrize("axes", ["axial", "left-handed oblique", "tilted"])
def test_slicer_reads_segments(tmp_path: Path, empty_scene: None, axes: str) -> None:
    from SkinSegLib.mrml.labelmaps import segment_labelmap
    from SkinSegLib.mrml.storage import load_segmentation

    volume, truth = on_grid(axes)
    other = np.flip(truth, 2)
    path = write_segments(tmp_path / "x.seg.nrrd", volume, {"Head": truth, "A. Author": other})
    node = load_segmentation(path)
    segments = node.GetSegmentation()
    found = [segments.GetNthSegmentID(n) for n in range(segments.GetNumberOfSegments())]
    assert [segments.GetSegment(s).GetName() for s in found] == ["Head", "A. Author"]
    for which, mask in zip(found, (truth, other), strict=True):
        place = ras_of(*segment_labelmap(node, which))
        assert same_place(place, ras_of(mask, volume.ijk_to_ras))
    np.testing.assert_array_equal(read_label(path, volume, "A. Author"), other)


def test_a_nifti_reader_finds_each_voxel(tmp_path: Path) -> None:
    """By the header alone (nifti1.h): sform, RAS."""
    volume, truth = on_grid("left-handed oblique")
    content = write_label(tmp_path / "x.nii", volume, truth).read_bytes()
    ni, nj, nk = struct.unpack_from("<3h", content, 42)
    start = int(struct.unpack_from("<f", content, 108)[0])
    voxels = np.frombuffer(content, np.uint8, ni * nj * nk, start).reshape(nk, nj, ni)
    rows = np.array(struct.unpack_from("<12f", content, 280)).reshape(3, 4)
    assert struct.unpack_from("<h", content, 254)[0] > 0
    assert same_place(
        ras_of(voxels, np.vstack([rows, [0, 0, 0, 1]])), ras_of(truth, volume.ijk_to_ras)
    )


@pytest.mark.parametrize("axes", ["axial", "oblique"])
def test_highdicom_reads_the_segmentation(tmp_path: Path, axes: str) -> None:
    source, truth = dicom_scan(tmp_path / "scan", axes)
    path = write_label(tmp_path / "x.dcm", source.volume, truth, source=source)
    found = highdicom.seg.segread(path).get_volume(segment_numbers=[1], combine_segments=True)
    # highdicom's order is slices, rows, columns; its affine is for that, in LPS.
    to_ras = np.diag([-1.0, -1, 1, 1]) @ found.affine
    index = np.argwhere(found.array)
    points = index @ to_ras[:3, :3].T + to_ras[:3, 3]
    assert same_place(points, ras_of(truth, source.volume.ijk_to_ras))
    assert_valid(path)


def test_the_structure_set_is_valid_and_in_place(tmp_path: Path) -> None:
    source, truth = dicom_scan(tmp_path / "scan", "axial")
    path = write_label(tmp_path / "x.dcm", source.volume, truth, Kind.RTSTRUCT, source)
    found = pydicom.dcmread(path)
    assert found.PatientID == source.headers[0].PatientID
    assert found.FrameOfReferenceUID == source.headers[0].FrameOfReferenceUID
    referred = {header.SOPInstanceUID: header for header in source.headers}
    area, moment = 0.0, np.zeros(3)
    for contour in found.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, float).reshape(-1, 3)
        header = referred[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        assert np.abs(points[:, 2] - float(header.ImagePositionPatient[2])).max() < 1e-5
        x, y = points[:, 0], points[:, 1]
        cross = x * np.roll(y, -1) - np.roll(x, -1) * y
        own = cross.sum() / 2
        cx = ((x + np.roll(x, -1)) * cross).sum() / (6 * own)
        cy = ((y + np.roll(y, -1)) * cross).sum() / (6 * own)
        area += abs(own)
        moment += abs(own) * np.array([-cx, -cy, points[0, 2]])
    voxels = ras_of(truth, source.volume.ijk_to_ras)
    assert area == pytest.approx(len(voxels) * 16, rel=0.02)
    np.testing.assert_allclose(moment / area, voxels.mean(axis=0), atol=0.3)


def test_the_structure_set_passes_dciodvfy(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy: install the Debian package dicom3tools")
    source, truth = dicom_scan(tmp_path / "scan", "axial")
    path = write_label(tmp_path / "x.dcm", source.volume, truth, Kind.RTSTRUCT, source)
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert not [line for line in said.splitlines() if line.startswith("Error")], said


def test_rt_utils_reads_the_structure_set(tmp_path: Path) -> None:
    """Its own rasterizing wants square slices: here only its reading and its way to voxels."""
    rt_utils = pytest.importorskip("rt_utils", reason="rt-utils (needs OpenCV) is not installed")
    from scipy import ndimage

    source, truth = dicom_scan(tmp_path / "scan", "axial")
    path = write_label(tmp_path / "x.dcm", source.volume, truth, Kind.RTSTRUCT, source)
    structures = rt_utils.RTStructBuilder.create_from(str(tmp_path / "scan"), str(path))
    assert structures.get_roi_names() == ["Head"]
    whole = np.zeros(truth.shape, bool)
    contours = structures.ds.ROIContourSequence[0].ContourSequence
    turn = rt_utils.image_helper.get_patient_to_pixel_transformation_matrix(structures.series_data)
    order = {one.SOPInstanceUID: n for n, one in enumerate(structures.series_data)}
    for contour in contours:
        points = np.reshape(contour.ContourData, (-1, 3)).astype(float)
        index = rt_utils.image_helper.apply_transformation_to_3d_points(points, turn)
        k = order[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        whole[k] ^= filled([index[:, :2]], truth.shape[1:])
    box = ndimage.generate_binary_structure(3, 1)
    assert not (whole & ~ndimage.binary_dilation(truth, box)).any()
    assert not (ndimage.binary_erosion(truth, box) & ~whole).any()


def test_rt_utils_writes_what_is_read(tmp_path: Path) -> None:
    """Its outlines run through voxel centres: half a voxel too small, all around."""
    rt_utils = pytest.importorskip("rt_utils", reason="rt-utils (needs OpenCV) is not installed")
    from scipy import ndimage

    source, truth = dicom_scan(tmp_path / "scan", "axial")
    made = rt_utils.RTStructBuilder.create_new(str(tmp_path / "scan"))
    made.add_roi(mask=np.moveaxis(truth.astype(bool), 0, -1), name="Head")
    made.save(str(tmp_path / "x.dcm"))
    back = read_label(tmp_path / "x.dcm", source.volume)
    box = ndimage.generate_binary_structure(3, 1)
    assert not (back & ~ndimage.binary_dilation(truth, box)).any()
    assert not (ndimage.binary_erosion(truth, box) & ~(back > 0)).any()
    assert not np.array_equal(back, np.flip(truth, 2))


def test_labelme_itself_reads_the_outlines(tmp_path: Path) -> None:
    labelme_file = pytest.importorskip("labelme._label_file", reason="labelme is not installed")
    from scipy import ndimage

    volume, truth = on_grid("axial")
    write_label(tmp_path / "x", volume, truth, Kind.LABELME)
    from labelme.utils import shape_to_mask

    for k in np.flatnonzero(truth.any(axis=(1, 2)))[::5]:
        found = labelme_file.read_label_file(str(tmp_path / "x" / f"slice_{k:04d}.json"))
        assert {shape["label"] for shape in found.shapes} == {"Head"}
        drawn = np.zeros(truth.shape[1:], bool)
        for shape in found.shapes:
            if shape["shape_type"] == "polygon":
                drawn |= shape_to_mask(truth.shape[1:], shape["points"], "polygon")
            else:
                (x0, y0), (x1, y1) = np.array(shape["points"], int)
                drawn[y0 : y1 + 1, x0 : x1 + 1] |= shape["mask"]
        assert not (truth[k] & ~drawn).any()
        assert not (drawn & ~ndimage.binary_dilation(truth[k], np.ones((3, 3)))).any()


def test_pillow_draws_the_outlines_as_labelme_does(tmp_path: Path) -> None:
    """labelme fills polygons by Pillow, with their outline: up to one pixel more, none less."""
    from scipy import ndimage

    volume, truth = on_grid("axial")
    write_label(tmp_path / "x", volume, truth, Kind.LABELME)
    seen = 0
    for k, part in enumerate(truth):
        path = tmp_path / "x" / f"slice_{k:04d}.json"
        picture = PIL.Image.open(path.with_suffix(".png"))
        assert picture.size == part.shape[::-1]
        if not part.any():
            assert not path.exists()
            continue
        found = json.loads(path.read_text())
        drawn = PIL.Image.new("L", picture.size)
        for shape in found["shapes"]:
            points = [tuple(point) for point in shape["points"]]
            if shape["shape_type"] == "polygon":
                PIL.ImageDraw.Draw(drawn).polygon(points, fill=1, outline=1)
            else:
                import base64

                stamp = PIL.Image.open(io.BytesIO(base64.b64decode(shape["mask"])))
                drawn.paste(1, (int(points[0][0]), int(points[0][1])), stamp)
        mask = np.array(drawn) > 0
        assert not (part & ~mask).any()
        assert not (mask & ~ndimage.binary_dilation(part, np.ones((3, 3)))).any()
        seen += 1
    assert seen > 30


def test_pictures_show_the_array(tmp_path: Path) -> None:
    volume, truth = on_grid("axial")
    write_label(tmp_path / "x", volume, truth, Kind.PNG)
    files = sorted((tmp_path / "x").glob("*.png"))
    stack = np.stack([np.array(PIL.Image.open(file)) for file in files])
    assert set(np.unique(stack)) == {0, 255}
    np.testing.assert_array_equal(stack > 0, truth > 0)


def test_an_invesalius_project_holds_scan_and_mask_alike(tmp_path: Path) -> None:
    volume, truth = on_grid("ras")
    path = write_label(tmp_path / "x.inv3", volume, truth)
    with tarfile.open(path) as archive:
        files = {item.name.split("/")[-1]: archive.extractfile(item).read() for item in archive}
    project = plistlib.loads(files["main.plist"])
    scan = np.frombuffer(files["matrix.dat"], "<i2").reshape(project["matrix"]["shape"])
    plist = plistlib.loads(files["mask_0.plist"])
    stored = np.frombuffer(files["mask_0.dat"], np.uint8).reshape(plist["mask_shape"])
    inside = stored[1:, 1:, 1:] > 127
    assert stored.shape == tuple(n + 1 for n in scan.shape)
    # The same grey values are in the head there and here.
    assert sorted(scan[inside]) == sorted(volume.voxels[truth > 0])
    # As its own scan, which has no origin, it is the same head the same way round.
    own = read(path)
    np.testing.assert_array_equal(own.voxels[read_label(path, own) > 0].shape, (truth.sum(),))
    a, b = ras_of(read_label(path, own), own.ijk_to_ras), ras_of(truth, volume.ijk_to_ras)
    assert same_place(a - a.mean(axis=0), b - b.mean(axis=0))


def test_masks_of_a_real_invesalius_project(cranium_path: Path) -> None:
    """Both were made by threshold, which the project states."""
    volume = read(cranium_path)
    with tarfile.open(cranium_path) as archive:
        plists = {
            item.name: plistlib.loads(archive.extractfile(item).read())
            for item in archive
            if "mask_" in item.name and item.name.endswith(".plist")
        }
    assert len(plists) == 2
    for plist in plists.values():
        low, high = plist["threshold_range"]
        mask = read_label(cranium_path, volume, plist["name"])
        wanted = (volume.voxels >= low) & (volume.voxels <= high)
        assert np.mean((mask > 0) != wanted) < 1e-6  # six voxels were erased by hand


# As others write.


@pytest.mark.parametrize("space", ["RAS", "LAS", "LPS"])
def test_nrrd_of_any_space(tmp_path: Path, space: str) -> None:
    volume, truth = on_grid("oblique")
    write_nrrd(tmp_path / "x.nrrd", grid("oblique"), truth, space)
    np.testing.assert_array_equal(read_label(tmp_path / "x.nrrd", volume), truth)


@pytest.mark.parametrize("axis", range(3))
def test_a_grid_that_runs_the_other_way(tmp_path: Path, axis: int) -> None:
    volume, truth = on_grid("oblique")
    own = grid("oblique")
    last = [0, 0, 0]
    last[axis] = truth.shape[2 - axis] - 1
    flips = np.ones(3)
    flips[axis] = -1
    other = Grid(own.axes * flips, own.spacing, tuple(own.lps(last)))
    write_nifti(tmp_path / "x.nii", other, np.ascontiguousarray(np.flip(truth, 2 - axis)))
    np.testing.assert_array_equal(read_label(tmp_path / "x.nii", volume), truth)


def test_a_cropped_and_finer_grid(tmp_path: Path) -> None:
    volume, truth = on_grid("oblique")
    k, j, i = (int(axis.min()) for axis in np.nonzero(truth))
    part = np.ascontiguousarray(truth[k:, j:, i:])
    own = grid("oblique")
    fine = np.repeat(np.repeat(np.repeat(part, 2, 0), 2, 1), 2, 2)
    corner = own.lps((i - 0.25, j - 0.25, k - 0.25))
    finer = Grid(own.axes, tuple(s / 2 for s in own.spacing), tuple(corner))
    for name, some, mask in (
        ("cropped.nrrd", Grid(own.axes, own.spacing, tuple(own.lps((i, j, k)))), part),
        ("fine.nrrd", finer, fine),
    ):
        write_nrrd(tmp_path / name, some, mask, "LPS")
        np.testing.assert_array_equal(read_label(tmp_path / name, volume), truth)


def test_segments_as_slicer_saves_them(tmp_path: Path, empty_scene: None) -> None:
    """Cropped to what they fill, by the real MRML."""
    from SkinSegLib.mrml.storage import load_segmentation, save_segmentation

    volume, truth = on_grid("left-handed oblique")
    write_segments(tmp_path / "in.seg.nrrd", volume, {"Head": truth, "Other": np.flip(truth, 1)})
    loaded = load_segmentation(tmp_path / "in.seg.nrrd")
    path = save_segmentation(loaded, tmp_path / "out.seg.nrrd")
    np.testing.assert_array_equal(read_label(path, volume), truth)
    np.testing.assert_array_equal(read_label(path, volume, "Other"), np.flip(truth, 1))


def test_labelmes_other_shapes(tmp_path: Path) -> None:
    volume = CTVolume(np.zeros((2, 20, 30), np.int16), np.eye(4))
    shapes = [
        ("rectangle", [[2, 3], [6, 5]]),
        ("circle", [[15, 10], [15, 14]]),
        ("polygon", [[20.2, 1.2], [24.8, 1.2], [24.8, 3.9], [20.2, 3.9]]),
    ]
    for k in range(2):
        PIL.Image.new("L", (30, 20)).save(tmp_path / f"{k + 9}.png")
    text = {
        "imageHeight": 20,
        "imageWidth": 30,
        "shapes": [
            {"label": "skin", "shape_type": kind, "points": points} for kind, points in shapes
        ]
        + [{"label": "table", "shape_type": "rectangle", "points": [[0, 18], [30, 20]]}],
    }
    (tmp_path / "10.json").write_text(json.dumps(text))
    mask = read_label(tmp_path, volume, "skin")
    assert not mask[0].any()
    wanted = np.zeros((20, 30), np.uint8)
    wanted[3:5, 2:6] = 1
    j, i = np.indices((20, 30))
    wanted[(i - 14.5) ** 2 + (j - 9.5) ** 2 <= 16] = 1
    wanted[1:4, 20:25] = 1
    np.testing.assert_array_equal(mask[1], wanted)
