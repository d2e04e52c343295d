"""DICOM series: how their pixels are stored, from compression to headers that claim too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import ExplicitVRBigEndian, JPEGLSLossless, RLELossless
from scan_makers import Grid, jpeg_2000, load, marked, save, write_enhanced
from series_makers import issues, series
from SkinSegLib.core import ScanReadError
from SkinSegLib.scan import IssueKind, Outcome, read, survey


def rle(path: Path) -> None:
    data = load(path)
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(path)


def jpeg_ls(path: Path) -> None:
    data = load(path)
    data.compress(JPEGLSLossless, generate_instance_uid=False)
    data.save_as(path)


def jpeg_2k(path: Path) -> None:
    data = load(path)
    jpeg_2000(data)
    data.save_as(path)


def jpeg(path: Path) -> None:
    """JPEG Lossless by GDCM; geometry as it was."""
    data = load(path)
    image = sitk.GetImageFromArray(data.pixel_array)
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(path.with_suffix(".dcm")))
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(image)
    code = load(path.with_suffix(".dcm"))
    path.with_suffix(".dcm").unlink()
    data.PixelData = code.PixelData
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = code.file_meta.TransferSyntaxUID
    data.save_as(path)


@pytest.mark.parametrize(
    ("compress", "name"),
    [(rle, "RLE"), (jpeg_ls, "JPEG-LS"), (jpeg_2k, "JPEG 2000"), (jpeg, "JPEG Lossless")],
)
def test_compressed_pixels(compress: Any, name: str, tmp_path: Path) -> None:
    if compress is jpeg_ls and not hasattr(pydicom, "pixels"):
        pytest.skip("pydicom 2.4 cannot write JPEG-LS")
    grid = Grid(shape=(3, 40, 48), spacing=(1, 1, 3))
    stored = (marked(grid) + 1024).astype(np.uint16)
    for path in series(tmp_path, grid, voxels=stored, RescaleIntercept=-1024):
        compress(path)
    [info] = survey(tmp_path).series
    assert name in info.compression
    assert {issue.kind for issue in info.issues} == {IssueKind.COMPRESSED}
    np.testing.assert_array_equal(read(tmp_path).voxels, marked(grid))


def test_big_endian(tmp_path: Path) -> None:
    grid = Grid(spacing=(1, 1, 3))
    paths = series(tmp_path, grid)
    for path in paths:
        data = load(path)
        data.PixelData = data.pixel_array.astype(">i2").tobytes()
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        if hasattr(pydicom, "pixels"):
            options = {"implicit_vr": False, "little_endian": False, "force_encoding": True}
            pydicom.dcmwrite(path, data, **options)
        else:  # pydicom 2.4
            data.is_little_endian, data.is_implicit_VR = False, False
            data.save_as(path, write_like_original=False)
    assert issues(tmp_path) == {IssueKind.BIG_ENDIAN: Outcome.FINE}
    np.testing.assert_array_equal(read(tmp_path).voxels, marked(grid))


def test_multi_frame_and_cone_beam(tmp_path: Path) -> None:
    grid = Grid(spacing=(1, 1, 2))
    write_enhanced(tmp_path / "ct", grid, marked(grid))
    assert issues(tmp_path) == {
        IssueKind.MULTI_FRAME: Outcome.FINE,
        IssueKind.RESCALE: Outcome.FINE,
    }
    (tmp_path / "ct").unlink()
    cone = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.2", "Modality": "CT"}
    write_enhanced(tmp_path / "cbct", grid, marked(grid), **cone)
    assert IssueKind.NOT_CALIBRATED in issues(tmp_path)


def test_a_header_that_claims_too_much_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    for path in series(tmp_path / "large"):
        data = load(path)
        data.Rows = data.Columns = 65535
        data.save_as(path)
    with pytest.raises(ScanReadError, match="more than can be read"):
        read(tmp_path / "large")
    for path in series(tmp_path / "empty"):
        data = load(path)
        data.Rows = data.Columns = 10000
        save(data, path)
    with pytest.raises(ScanReadError, match="too small to hold"):
        read(tmp_path / "empty")
