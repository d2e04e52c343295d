"""What cannot be read gives a message that says what is wrong and what to do."""

from __future__ import annotations

import gzip
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scan_makers import GRIDS, Grid, marked, write_dicom, write_inv3, write_nifti, write_nrrd
from SkinSegLib.core import GeometryError, ScanReadError, SkinSegError
from SkinSegLib.scan import list_series, read

GRID = GRIDS["axial"]


def fails(path: Path, match: str, kind: type[SkinSegError] = ScanReadError) -> str:
    """The message: it names the path, says what is wrong, and ends with what to do."""
    with pytest.raises(kind, match=match) as caught:
        read(path)
    text = str(caught.value)
    assert "ITK" not in text
    assert text.endswith(".")
    assert text.count(str(path)) == 1
    return text


def image(path: Path, voxels: np.ndarray | None = None, compress: bool = False) -> Path:
    sitk.WriteImage(
        sitk.GetImageFromArray(marked(GRID) if voxels is None else voxels), str(path), compress
    )
    return path


def test_no_such_path(tmp_path: Path) -> None:
    fails(tmp_path / "nowhere.nrrd", "does not exist")
    with pytest.raises(ScanReadError, match="does not exist"):
        list_series(tmp_path / "nowhere")


def test_empty_folder_and_folder_without_ct(tmp_path: Path) -> None:
    fails(tmp_path, "no DICOM files")
    (tmp_path / "a.txt").write_text("hello")
    fails(tmp_path, "holds no CT series .no DICOM files found")
    assert list_series(tmp_path) == []


def test_unknown_and_empty_files(tmp_path: Path) -> None:
    (tmp_path / "scan.stl").write_text("solid")
    fails(tmp_path / "scan.stl", "kind that cannot be read")
    for name in ("a.nrrd", "a.nii", "a.mha", "a"):
        (tmp_path / name).touch()
        fails(tmp_path / name, "is empty")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes on a path")
def test_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    fails(tmp_path / "pipe", "neither a file nor a folder")


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".inv3"])
def test_text_under_another_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"scan{suffix}"
    path.write_text("This is a letter.\n" * 100)
    fails(path, "not a|no InVesalius|truncated|cannot be read|damaged")


@pytest.mark.parametrize("compress", [False, True], ids=["raw", "gzip"])
@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd"])
def test_truncated_images(suffix: str, compress: bool, tmp_path: Path) -> None:
    """ITK itself reads a truncated NIfTI as zeros."""
    path = image(tmp_path / f"scan{suffix}", compress=compress)
    data = max(tmp_path.iterdir(), key=lambda item: item.stat().st_size)
    whole = data.read_bytes()
    for cut in (30, len(whole) // 2):
        data.write_bytes(whole[:-cut])
        fails(path, "truncated")
    data.write_bytes(whole)
    assert read(path).voxels.shape == GRID.shape


def test_nifti_in_several_gzip_members_is_not_truncated(tmp_path: Path) -> None:
    whole = image(tmp_path / "a.nii").read_bytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(whole[:700]) + gzip.compress(whole[700:]))
    np.testing.assert_array_equal(read(path).voxels, marked(GRID))


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_header_without_its_data(suffix: str, tmp_path: Path) -> None:
    path = image(tmp_path / f"scan{suffix}")
    for item in tmp_path.iterdir():
        if item != path:
            item.unlink()
    fails(path, "only a header")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".mha"])
def test_wrong_dimensions_and_colours(suffix: str, tmp_path: Path) -> None:
    zeros = np.zeros((2, 3, 4, 5), np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(zeros, isVector=False), str(tmp_path / f"4d{suffix}"))
    fails(tmp_path / f"4d{suffix}", "4 dimensions.*time series")
    rgb = sitk.GetImageFromArray(zeros[..., :3].astype(np.uint8)[0], isVector=True)
    sitk.WriteImage(rgb, str(tmp_path / f"rgb{suffix}"))
    fails(tmp_path / f"rgb{suffix}", "colour")
    fails(image(tmp_path / f"flat{suffix}", zeros[0, 0]), "flat picture")
    one = sitk.GetImageFromArray(np.full((1, 3, 4, 5), 7, np.int16), isVector=False)
    sitk.WriteImage(one, str(tmp_path / f"one{suffix}"))
    assert read(tmp_path / f"one{suffix}").voxels.shape == (3, 4, 5)


def test_complex_and_segmentation(tmp_path: Path) -> None:
    picture = sitk.Cast(sitk.GetImageFromArray(marked(GRID)), sitk.sitkComplexFloat32)
    sitk.WriteImage(picture, str(tmp_path / "c.mha"))
    fails(tmp_path / "c.mha", "values per voxel|no grey value")
    fails(image(tmp_path / "head.seg.nrrd"), "a segmentation, not a scan")


def test_spacing_of_zero_or_no_number(tmp_path: Path) -> None:
    base = "NRRD0005\ntype: short\ndimension: 3\nsizes: 11 9 6\nencoding: raw\nendian: little\n"
    raw = b"\n" + marked(GRID).tobytes()
    for text in ("0", "nan", "inf"):
        path = tmp_path / f"{text}.nrrd"
        path.write_bytes(f"{base}spacings: 1 {text} 1\n".encode() + raw)
        fails(path, "spacing of zero")
    axes = "space: LPS\nspace origin: (0,0,0)\nspace directions: (1,0,0) {} (0,0,1)\n"
    for number, axis in enumerate(("(0,0,0)", "(1,0,0)", "(nan,nan,nan)")):
        path = tmp_path / f"axis{number}.nrrd"
        path.write_bytes((base + axes.format(axis)).encode() + raw)
        fails(path, "spacing of zero|same way|damaged")
    write_nifti(tmp_path / "zero.nii", GRID, marked(GRID), pixdim=(1, 0, 1))
    fails(tmp_path / "zero.nii", "spacing of zero")
    meta = image(tmp_path / "zero.mha").read_bytes()
    (tmp_path / "zero.mha").write_bytes(
        meta.replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = 1 0 1")
    )
    fails(tmp_path / "zero.mha", "spacing of zero")
    write_dicom(tmp_path / "dicom", GRID, marked(GRID), PixelSpacing=[0, 1])
    fails(tmp_path / "dicom", "pixel spacing of the series is zero", GeometryError)
    write_inv3(tmp_path / "zero.inv3", marked(GRID), (1, 1, 0))
    fails(tmp_path / "zero.inv3", "spacing of zero")


def test_nrrd_in_las_with_damaged_axes(tmp_path: Path) -> None:
    write_nrrd(tmp_path / "a.nrrd", GRID, marked(GRID), "LAS")
    whole = (tmp_path / "a.nrrd").read_bytes()
    for old, new in ((b"origin: (", b"origin: (x"), (b"directions: (", b"directions: ")):
        (tmp_path / "a.nrrd").write_bytes(whole.replace(old, new))
        fails(tmp_path / "a.nrrd", "spacing of zero|axes cannot be understood")


def test_sheared_nifti_says_what_to_use_instead(tmp_path: Path) -> None:
    sform = np.array([[-1.0, 0, 0, 0], [0, -1, 0.8, 0], [0, 0, 2, 0]])
    write_nifti(tmp_path / "tilt.nii", GRID, marked(GRID), sform=sform)
    fails(tmp_path / "tilt.nii", "sheared.*DICOM")


def test_orientation_that_is_missing_is_told(tmp_path: Path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 11 9 6\nencoding: raw\nendian: little\n"
    raw = b"\n" + marked(GRID).tobytes()
    (tmp_path / "a.nrrd").write_bytes((header + "spacings: 1 2 3\n").encode() + raw)
    volume = read(tmp_path / "a.nrrd")
    assert "does not say how the patient lies" in volume.notes[0]
    np.testing.assert_allclose(np.diag(volume.ijk_to_ras), [-1, -2, 3, 1])
    (tmp_path / "b.nrrd").write_bytes(header.encode() + raw)
    assert "1 mm was assumed" in read(tmp_path / "b.nrrd").notes[0]
    write_nifti(tmp_path / "c.nii", GRID, marked(GRID), sform_code=0)
    assert "does not say how the patient lies" in read(tmp_path / "c.nii").notes[0]
    write_nrrd(tmp_path / "d.nrrd", GRID, marked(GRID), "RAS")
    assert read(tmp_path / "d.nrrd").notes == ()


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_a_number(suffix: str, value: float, tmp_path: Path) -> None:
    voxels = marked(GRID).astype(np.float32) + np.float32(0.5)
    few = voxels.copy()
    few[0, 0, :3] = value
    volume = read(image(tmp_path / f"few{suffix}", few))
    assert volume.padding == (-3024.0,)
    assert "3 voxels are not a number" in volume.notes[0]
    mask = volume.padding_mask()
    assert mask is not None
    np.testing.assert_array_equal(mask, ~np.isfinite(few))
    np.testing.assert_array_equal(volume.voxels[~mask], few[~mask])
    many = voxels.copy()
    many[:, 0] = value
    path = image(tmp_path / f"many{suffix}", many)
    fails(path, r"11\.1 % of the voxels are not a number")


def test_odd_content_still_reads(tmp_path: Path) -> None:
    """Constant values and all air are for the segmentation to judge."""
    for number, value in enumerate((0, -1000, 40, -2000)):
        path = image(tmp_path / f"{number}.nrrd", np.full((4, 5, 6), value, np.int16))
        volume = read(path)
        assert (volume.voxels == value).all()
        assert volume.padding == ()


def test_bad_zips(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    path.write_bytes(b"PK\x03\x04 not really")
    fails(path, "damaged zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    fails(path, "no DICOM files")
    with zipfile.ZipFile(path, "w") as archive:
        for item in write_dicom(tmp_path / "d", GRID, marked(GRID)):
            archive.write(item, item.name)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(path, "damaged zip")
    marked_encrypted = bytearray(whole)
    start = 0
    while (start := marked_encrypted.find(b"PK\x01\x02", start)) >= 0:
        marked_encrypted[start + 8] |= 1
        start += 4
    path.write_bytes(bytes(marked_encrypted))
    fails(path, "encrypted")


def test_bad_invesalius_projects(tmp_path: Path) -> None:
    path = tmp_path / "p.inv3"
    write_inv3(path, marked(GRID), (1, 1, 1))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    fails(path, "truncated|damaged")
    voxels = marked(GRID)
    for changes in (
        {"spacing": [1.0, 1.0]},
        {"matrix": {"filename": "matrix.dat", "shape": [60, 90, 110], "dtype": "int16"}},
        {"matrix": {"filename": "matrix.dat", "shape": [6, 9, 11], "dtype": "object"}},
        {"matrix": {"filename": "/etc/passwd", "shape": [6, 9, 11], "dtype": "int16"}},
        {"matrix": {}},
        {"patient_orientation": ["a"] * 6},
        {"patient_orientation": "1,0,0,0,1,0"},
        {"patient_orientation": {"row": [1.0, 0.0, 0.0]}},
        {"patient_orientation": [1.0, 0.0, 0.0]},
    ):
        write_inv3(path, voxels, changes.pop("spacing", (1, 1, 1)), **changes)
        fails(path, "damaged|spacing")
    for directions in ([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], [float("nan")] * 6):
        write_inv3(path, voxels, (1, 1, 1), patient_orientation=directions)
        fails(path, "same way|not a finite", GeometryError)
    write_inv3(path, voxels, (1, 1, 1), modality="MR")
    fails(path, "modality MR, not a CT")
    with tarfile.open(path, "w:gz") as archive:
        item = tarfile.TarInfo("x/main.plist")
        item.type, item.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(item)
    fails(path, "no main.plist")


def test_a_series_can_only_be_chosen_in_dicom(tmp_path: Path) -> None:
    path = image(tmp_path / "a.nrrd")
    with pytest.raises(ScanReadError, match="only be chosen in DICOM"):
        read(path, series=2)
    with pytest.raises(ScanReadError, match="no DICOM scan"):
        list_series(path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read anything")
def test_no_permission(tmp_path: Path) -> None:
    path = image(tmp_path / "a.nrrd")
    path.chmod(0)
    try:
        fails(path, "cannot be read")
    finally:
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_single_dicom_files_that_are_no_ct(tmp_path: Path) -> None:
    path = write_dicom(tmp_path, GRID, marked(GRID), Modality="MR")[0]
    fails(path, "holds no CT series .found: 1 MR")
    (tmp_path / "b.dcm").write_bytes(b"\0" * 128 + b"DICM" + struct.pack("<HH", 8, 5) + b"XX")
    fails(tmp_path / "b.dcm", "damaged|no CT series")


def test_dicom_without_directions(tmp_path: Path) -> None:
    write_dicom(tmp_path, GRID, marked(GRID), ImageOrientationPatient=[0, 0, 0, 0, 0, 0])
    fails(tmp_path, "no usable slice orientation", GeometryError)
    write_dicom(tmp_path, GRID, marked(GRID), ImageOrientationPatient=None)
    fails(tmp_path, "holds no CT series .found: 6 damaged")


def test_errors_name_the_scan_as_the_user_gave_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, whoever noticed the error, and also where the name is a word of the message."""
    write_dicom(tmp_path / "scan", GRID, marked(GRID), PixelSpacing=[0, 1])
    write_dicom(tmp_path / "series", GRID, marked(GRID), places=[0, 1, 2, 20, 21, 22])
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        for item in (tmp_path / "scan").iterdir():
            archive.write(item, item.name)
    monkeypatch.chdir(tmp_path)
    for name, kind in (("scan", GeometryError), ("scan.zip", GeometryError)):
        with pytest.raises(kind, match=rf"^{name}: The pixel spacing"):
            read(name)
    with pytest.raises(ScanReadError, match=r"^series: Slices are missing"):
        read("series")
    with pytest.raises(ScanReadError, match=r"^There is no such series in series\."):
        read("series", series=77)
    one = next((tmp_path / "series").iterdir())
    fails(one, "Slices are missing")


def test_grids_are_as_described() -> None:
    """The made grids cover what they claim to."""
    signs = {name: np.linalg.det(grid.axes) for name, grid in GRIDS.items()}
    assert signs["left-handed"] == pytest.approx(-1)
    assert signs["left-handed oblique"] == pytest.approx(-1)
    assert isinstance(Grid().ras((0, 0, 0)), np.ndarray)
