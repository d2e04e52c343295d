"""DICOM: which series, in which order, with which values."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from scan_makers import (
    GRIDS,
    NAME,
    Grid,
    assert_markers,
    jpeg_2000,
    load,
    marked,
    set_pixels,
    write_dicom,
)
from SkinSegLib.core import Cancelled, MissingPackageError, Progress, ScanReadError
from SkinSegLib.scan import dicom_pixels, facts, list_series, read

AXIAL = GRIDS["axial"]
OBLIQUE = GRIDS["oblique"]


def test_largest_ct_series_is_read_and_any_other_on_request(tmp_path: Path) -> None:
    small = replace(AXIAL, shape=(3, 9, 11))
    write_dicom(tmp_path / "thin", AXIAL, marked(AXIAL), SeriesNumber=7, SeriesInstanceUID="1.7")
    write_dicom(tmp_path / "short", small, marked(small), SeriesNumber=5, SeriesInstanceUID="1.5")
    many = Grid(shape=(20, 9, 11))
    for name, changes in {
        "mr": {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
        "localizer": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "screen": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        "report": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"},
        "mip": {"ImageType": ["DERIVED", "SECONDARY", "MIP"], "SeriesInstanceUID": "1.99"},
    }.items():
        changes = {"SeriesInstanceUID": generate_uid(), "SeriesNumber": 99, **changes}
        write_dicom(tmp_path / name, many, marked(many), **changes)
    (tmp_path / "notes.txt").write_text("not a scan")
    assert [(info.number, info.slices) for info in list_series(tmp_path)] == [
        (7, 6),
        (5, 3),
        (99, 20),
    ]
    volume = read(tmp_path)
    assert_markers(volume, AXIAL)
    assert "3 CT series" in volume.notes[-1]
    for choice in (5, "5", "#2", "1.5"):
        assert read(tmp_path, series=choice).voxels.shape == (3, 9, 11)
    for missing in (6, "#4", "#x", "1.2.3"):
        with pytest.raises(ScanReadError, match=r"no such series.*#1: series 7, 6 slices"):
            read(tmp_path, series=missing)
    write_dicom(tmp_path / "twin", small, marked(small), SeriesNumber=5, SeriesInstanceUID="1.55")
    with pytest.raises(ScanReadError, match="Several series"):
        read(tmp_path, series=5)


def test_one_file_stands_for_its_series(tmp_path: Path) -> None:
    write_dicom(tmp_path, AXIAL, marked(AXIAL), SeriesInstanceUID="1.7")
    other = replace(AXIAL, shape=(9, 9, 11))
    write_dicom(tmp_path / "below", other, marked(other), SeriesInstanceUID="1.7")
    assert read(tmp_path / "IM0000").voxels.shape == (6, 9, 11)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
def test_rescale_per_slice(signed: bool, tmp_path: Path) -> None:
    """Slope and intercept differ from slice to slice, as PET-like exports have it."""
    hounsfield = marked(OBLIQUE)
    for k in range(len(hounsfield)):
        intercept = -2000 + 100 * k if not signed else 100 * k
        stored = (hounsfield[k] - intercept).astype(np.int16 if signed else np.uint16)
        grid = replace(OBLIQUE, origin=tuple(OBLIQUE.lps((0, 0, k))))
        folder = tmp_path / str(k)
        write_dicom(folder, grid, stored[None], RescaleIntercept=intercept)
    volume = read(tmp_path)
    assert volume.voxels.dtype == np.int16
    assert_markers(volume, OBLIQUE)
    assert sorted(volume.voxels.ravel()) == sorted(hounsfield.ravel())


def test_fractional_slope_and_wide_range_become_float(tmp_path: Path) -> None:
    stored = (marked(AXIAL) + 1000).astype(np.uint16)
    write_dicom(tmp_path / "f", AXIAL, stored, RescaleSlope=0.5, RescaleIntercept=-1000.25)
    half = read(tmp_path / "f")
    assert half.voxels.dtype == np.float32
    np.testing.assert_allclose(half.voxels, stored * 0.5 - 1000.25)
    write_dicom(tmp_path / "w", AXIAL, (stored + 60000).astype(np.uint16))
    wide = read(tmp_path / "w")
    assert wide.voxels.dtype == np.float32
    np.testing.assert_array_equal(wide.voxels, stored.astype(float) + 60000)


def test_overlay_bits_above_the_stored_ones_are_ignored(tmp_path: Path) -> None:
    stored = (marked(AXIAL) + 1024).astype(np.uint16)
    for path in write_dicom(tmp_path, AXIAL, stored, RescaleIntercept=-1024):
        data = load(path)
        pixels = data.pixel_array.copy()
        pixels[::2, ::3] |= 1 << 12
        set_pixels(data, pixels, stored=12)
        data.save_as(path)
    np.testing.assert_array_equal(read(tmp_path).voxels, marked(AXIAL))


@pytest.mark.parametrize("value", [-2000, 63536], ids=["SS", "US"])
def test_declared_padding_is_known_in_hu(value: int, tmp_path: Path) -> None:
    """63536 is how a header writes -2000 where it takes the element for unsigned."""
    stored = marked(AXIAL)
    stored[:, 0, :3] = -2000
    for path in write_dicom(tmp_path, AXIAL, stored, RescaleIntercept=-100):
        data = load(path)
        data.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)
        data.save_as(path)
    volume = read(tmp_path)
    assert volume.padding == (-2100.0,)
    mask = volume.padding_mask()
    assert mask is not None
    np.testing.assert_array_equal(mask, stored == -2000)


def test_a_range_of_padding_becomes_one_value(tmp_path: Path) -> None:
    """Pixel Padding Range Limit; and an intercept that changes from slice to slice."""
    stored = marked(AXIAL)
    stored[:, 0, 0], stored[:, 0, 1], stored[:, 0, 2] = -3000, -2500, -2000
    for k, path in enumerate(write_dicom(tmp_path, AXIAL, stored, PixelPaddingValue=-3000)):
        data = load(path)
        data.add_new("PixelPaddingRangeLimit", "SS", -2000)
        data.RescaleIntercept = -5 * k
        data.save_as(path)
    volume = read(tmp_path)
    assert len(volume.padding) == 1
    mask = volume.padding_mask()
    assert mask is not None
    np.testing.assert_array_equal(mask, stored <= -2000)


def test_padding_that_is_also_tissue_is_not_padding(tmp_path: Path) -> None:
    stored = marked(AXIAL)
    stored[2:4, 2:6, 3:7] = 0
    write_dicom(tmp_path, AXIAL, stored, PixelPaddingValue=0)
    volume = read(tmp_path)
    assert volume.padding == ()
    assert any("0 HU as padding" in note for note in volume.notes)


@pytest.mark.parametrize("gdcm", [False, True], ids=["pydicom", "GDCM"])
def test_jpeg_2000(gdcm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same values whether pydicom has a decoder or, as in Slicer, only SimpleITK's GDCM."""
    grid = replace(OBLIQUE, shape=(6, 40, 48))
    stored = (marked(grid) + 1024).astype(np.uint16)
    for path in write_dicom(tmp_path, grid, stored, RescaleIntercept=-1024):
        data = load(path)
        set_pixels(data, data.pixel_array.copy(), stored=12)
        jpeg_2000(data)
        data.save_as(path)
    if gdcm:
        monkeypatch.setattr(dicom_pixels, "_pydicom_decodes", lambda syntax: False)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, marked(grid))
    assert_markers(volume, grid)


def test_no_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = replace(AXIAL, shape=(2, 40, 48))
    for path in write_dicom(tmp_path, grid, marked(grid)):
        data = load(path)
        jpeg_2000(data)
        data.save_as(path)
    monkeypatch.setattr(dicom_pixels, "_pydicom_decodes", lambda syntax: False)
    monkeypatch.setattr(dicom_pixels.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install .*pylibjpeg"):
        read(tmp_path)


def test_gantry_tilt_is_a_shear_in_the_geometry(tmp_path: Path) -> None:
    """Slices lean by 20 degrees while the table moves straight: nothing is resampled."""
    tilt = np.radians(20)
    axes = np.eye(3)
    axes[:, 1] = [0, np.cos(tilt), -np.sin(tilt)]
    grid = Grid(axes=axes)  # k stays along the table, so i, j, k are sheared
    write_dicom(tmp_path, grid, marked(grid))
    volume = read(tmp_path)
    assert_markers(volume, grid)
    np.testing.assert_array_equal(volume.voxels, marked(grid))
    assert facts(volume).tilt_degrees == pytest.approx(20, abs=0.01)
    assert any("20.0 degrees" in note for note in volume.notes)


def ramp(grid: Grid, places: list[float]) -> np.ndarray:
    """Values linear in depth (100 HU per slice distance), which linear interpolation keeps."""
    return np.stack([np.full(grid.shape[1:], 100 * place, np.int16) for place in places])


@pytest.mark.parametrize(
    ("places", "pitch"),
    [
        ([0, 1, 2, 3, 4.5, 6, 7.5], 0.5),  # 4 mm then 6 mm: half the smaller one meets all
        ([0, 1, 2, 4, 5, 6], 1.0),  # one slice missing
        ([0, 1, 2, 2.3, 4.1, 5.9, 7.7], 0.5),  # no common step; one pair almost coincides
    ],
)
def test_uneven_gaps_get_a_regular_grid(places: list[float], pitch: float, tmp_path: Path) -> None:
    grid = replace(OBLIQUE, spacing=(0.7, 0.9, 4.0), shape=(len(places), 9, 11))
    voxels = ramp(grid, places)
    write_dicom(tmp_path, grid, voxels, places=places)
    volume = read(tmp_path)
    assert volume.spacing[2] == pytest.approx(4 * pitch, abs=1e-4)
    assert volume.slice_gap_mm == pytest.approx(4 * np.diff(places).max(), abs=1e-3)
    for k, part in enumerate(volume.voxels):
        point = np.linalg.inv(volume.ijk_to_ras) @ [*grid.ras((3, 4, k * pitch)), 1]
        np.testing.assert_allclose(point[:3], [3, 4, k], atol=1e-3)
        np.testing.assert_allclose(part, 100 * k * pitch, atol=1.0)
    assert any("interpolated linearly" in note for note in volume.notes)
    assert len(volume.voxels) == int(places[-1] / pitch + 0.02) + 1


def test_padding_is_not_mixed_into_interpolated_slices(tmp_path: Path) -> None:
    grid = replace(AXIAL, shape=(4, 9, 11), spacing=(1, 1, 4))
    voxels = np.full(grid.shape, -1000, np.int16)
    voxels[:2, 0, :4] = -2000
    write_dicom(tmp_path, grid, voxels, places=[0, 1, 2.5, 4], PixelPaddingValue=-2000)
    volume = read(tmp_path)
    assert volume.padding == (-2000.0,)
    assert set(np.unique(volume.voxels)) == {-2000, -1000}


def test_rounded_positions_are_no_irregularity(tmp_path: Path) -> None:
    grid = replace(AXIAL, shape=(12, 9, 11), spacing=(0.5, 0.5, 0.625))
    places = [round(0.625 * k, 1) / 0.625 for k in range(12)]
    write_dicom(tmp_path, grid, marked(grid), places=places)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, marked(grid))
    assert volume.spacing[2] == pytest.approx(0.625, abs=0.01)
    assert volume.slice_gap_mm is None


def test_a_wide_hole_is_refused(tmp_path: Path) -> None:
    write_dicom(tmp_path, AXIAL, marked(AXIAL), places=[0, 1, 2, 20, 21, 22])
    with pytest.raises(ScanReadError, match="gap of 45 mm"):
        read(tmp_path)


def test_copies_are_read_once(tmp_path: Path) -> None:
    for path in write_dicom(tmp_path, AXIAL, marked(AXIAL)):
        path.with_suffix(".copy").write_bytes(path.read_bytes())
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, marked(AXIAL))
    assert any("6 slices are there twice" in note for note in volume.notes)


def test_phases_at_the_same_place(tmp_path: Path) -> None:
    """Told apart by their acquisition number, else refused: never shuffled into each other."""
    write_dicom(tmp_path / "a", AXIAL, marked(AXIAL), AcquisitionNumber=1)
    second = marked(AXIAL)[:4] * 0
    write_dicom(tmp_path / "b", replace(AXIAL, shape=(4, 9, 11)), second, AcquisitionNumber=2)
    volume = read(tmp_path)
    np.testing.assert_array_equal(volume.voxels, marked(AXIAL))
    assert any("several acquisitions" in note for note in volume.notes)
    write_dicom(tmp_path / "c", AXIAL, marked(AXIAL), AcquisitionNumber=1)
    with pytest.raises(ScanReadError, match="10 slices of the series lie where another one lies"):
        read(tmp_path)


def test_slices_out_of_line_are_refused(tmp_path: Path) -> None:
    for k in range(6):
        grid = replace(AXIAL, origin=(8.0 * (k == 3), 0, 2.5 * k), shape=(1, 9, 11))
        write_dicom(tmp_path / str(k), grid, marked(AXIAL)[k : k + 1])
    with pytest.raises(ScanReadError, match="straight line"):
        read(tmp_path)


def test_no_header_text_in_notes_or_messages(tmp_path: Path) -> None:
    """Neither the patient's name and ID nor the names of the files beside the path given."""
    write_dicom(tmp_path / "ok", AXIAL, marked(AXIAL), places=[0, 1, 2, 3, 4.5, 6])
    texts = list(read(tmp_path / "ok").notes)
    write_dicom(tmp_path / "mr", AXIAL, marked(AXIAL), Modality="MR")
    short = write_dicom(tmp_path / "short", AXIAL, marked(AXIAL))[2]
    short.write_bytes(short.read_bytes()[:-100])
    for folder, wrong in (("mr", "1 MR|6 MR"), ("short", "Slice 3 of 6.*damaged or truncated")):
        with pytest.raises(ScanReadError, match=wrong) as caught:
            read(tmp_path / folder)
        texts.append(str(caught.value))
    with pytest.raises(ScanReadError) as caught:
        read(tmp_path / "ok", series=77)
    texts.append(str(caught.value))
    for text in texts:
        assert NAME.split("^")[1] not in text
        assert "S3cret" not in text
        assert "IM00" not in text


def test_damaged_headers_are_left_out_and_told(tmp_path: Path) -> None:
    write_dicom(tmp_path, AXIAL, marked(AXIAL))
    data = load(tmp_path / "IM0000")
    del data.PixelSpacing
    data.SOPInstanceUID = generate_uid()
    data.save_as(tmp_path / "bad")
    volume = read(tmp_path)
    assert_markers(volume, AXIAL)
    assert any("1 damaged" in note for note in volume.notes)


def test_progress_rises_and_cancels(tmp_path: Path) -> None:
    write_dicom(tmp_path / "s", AXIAL, marked(AXIAL))
    seen: list[float] = []
    progress = Progress(report=lambda name, fraction: seen.append(fraction))
    with progress.stage("Read", 1.0):
        read(tmp_path / "s", progress=progress)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    asked = iter([False] * 4 + [True] * 100)
    with pytest.raises(Cancelled):
        read(tmp_path / "s", progress=Progress(is_cancelled=lambda: next(asked)))


def test_zip_is_unpacked_safely_and_cleaned_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that climb out, links and other files are never written anywhere."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, item in enumerate(write_dicom(tmp_path / "files", AXIAL, marked(AXIAL))):
            archive.write(item, f"../../evil{number}")
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        outside = replace(AXIAL, origin=AXIAL.lps((0, 0, 6)), shape=(1, 9, 11))
        [more] = write_dicom(tmp_path / "more", outside, marked(outside))
        archive.writestr(link, more.read_bytes())
        archive.writestr("readme.txt", "x" * 1000)
    before = set(tmp_path.rglob("*"))
    assert_markers(read(path), AXIAL)
    assert set(tmp_path.rglob("*")) == before
    assert [info.slices for info in list_series(path)] == [6]
    monkeypatch.setattr("SkinSegLib.scan.archive.MAX_BYTES", 1000)
    with pytest.raises(ScanReadError, match="unpacks to more than"):
        read(path)
    assert not list(temporary.iterdir())


def test_pydicom_can_read_what_the_tests_write(tmp_path: Path) -> None:
    """The made files are real DICOM: without this the tests above might prove nothing."""
    path = write_dicom(tmp_path, OBLIQUE, marked(OBLIQUE))[0]
    data = pydicom.dcmread(path)
    np.testing.assert_array_equal(data.pixel_array, marked(OBLIQUE)[0])
    import SimpleITK as sitk

    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    image = sitk.ReadImage(names)
    ours = read(tmp_path)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), ours.voxels)
    corner = image.TransformIndexToPhysicalPoint((10, 8, 5))
    np.testing.assert_allclose(
        (ours.ijk_to_ras @ [10, 8, 5, 1])[:3], np.array(corner) * [-1, -1, 1], atol=1e-3
    )
