"""Real DICOM series: what the checks say of each, where their slices lie, and DICOM out of them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from series_makers import assert_valid
from SkinSegLib.core import MissingPackageError, replacing
from SkinSegLib.dicom import Segment, on_slices, require_highdicom, write_segmentation
from SkinSegLib.scan import IssueKind, Outcome, read_source, survey
from SkinSegLib.scan.dicom_files import files_below
from SkinSegLib.scan.dicom_series import find
from SkinSegLib.scan.dicom_stack import arrange

RIGHT, FINE = Outcome.CORRECTED, Outcome.FINE
#: Slices, kernel, body part, angle off the axial plane, and issues.
VERDICTS: dict[str, tuple[int, str, str, float, dict[IssueKind, Outcome]]] = {
    "weasis_headneck": (295, "B31s", "NECK", 0.0, {IssueKind.COMPRESSED: FINE}),
    "keinos_head.zip": (28, "FC21", "HEAD", 0.0, {IssueKind.VARIABLE_SPACING: RIGHT}),
    "ge_tilt": (
        *(28, "STD+", "HEAD", 18.5),
        {IssueKind.VARIABLE_SPACING: RIGHT, IssueKind.TILT: RIGHT, IssueKind.PADDING: FINE},
    ),
}


@pytest.fixture
def place(request: pytest.FixtureRequest, skinseg_data: Path, tmp_path: Path) -> Path:
    """A folder of the series named by the parameter."""
    path = skinseg_data / "dicom" / request.param
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        return tmp_path
    return path


@pytest.mark.parametrize("name", VERDICTS)
def test_verdicts(name: str, skinseg_data: Path) -> None:
    slices, kernel, part, off, issues = VERDICTS[name]
    [info] = survey(skinseg_data / "dicom" / name).series
    assert (info.slices, info.kernel, info.body_part, info.plane) == (slices, kernel, part, "axial")
    assert info.off_plane_degrees == pytest.approx(off, abs=0.01)
    assert {issue.kind: issue.outcome for issue in info.issues} == issues


@pytest.mark.parametrize("place", VERDICTS, indirect=True)
def test_corners_of_every_slice_are_where_simpleitk_has_them(place: Path) -> None:
    """Tilted and uneven ones too, to 0.1 mm: GDCM reads each slice by itself."""
    stack = arrange(find(files_below(place)).series[0])
    step = stack.ijk_to_lps[:3, 2]
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    first = np.array(stack.frames[0].position)
    for frame in stack.frames[:: max(1, len(stack.frames) // 30)]:
        along = (np.array(frame.position) - first) @ step / (step @ step)
        reader.SetFileName(str(frame.path))
        reader.ReadImageInformation()
        axes = np.array(reader.GetDirection()).reshape(3, 3) * reader.GetSpacing()
        columns, rows, _ = reader.GetSize()
        for corner in ((0, 0), (columns - 1, 0), (0, rows - 1), (columns - 1, rows - 1)):
            theirs = np.array(reader.GetOrigin()) + axes @ [*corner, 0]
            ours = (stack.ijk_to_lps @ [*corner, along, 1])[:3]
            assert np.linalg.norm(ours - theirs) < 0.1


@pytest.mark.parametrize("name", ["keinos_head.zip", "ge_tilt"])
def test_segmentation_of_a_real_scan(name: str, skinseg_data: Path, tmp_path: Path) -> None:
    """Valid, although both scans' own headers are not."""
    try:
        require_highdicom()
    except MissingPackageError as error:
        pytest.skip(str(error))

    source = read_source(skinseg_data / "dicom" / name)
    mask: Any = (source.volume.voxels > -480).astype(np.uint8)
    with replacing(tmp_path / "seg.dcm") as temporary:
        segments = [Segment("Head", on_slices(mask, source.places))]
        write_segmentation(segments, source.headers, temporary, "1.0")
    assert_valid(tmp_path / "seg.dcm")
