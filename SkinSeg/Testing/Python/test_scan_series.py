"""DICOM series: what each is, what is the matter with it, and which is the best for a head."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.fileset import FileSet
from pydicom.uid import generate_uid
from scan_makers import (
    GRIDS,
    NAME,
    Grid,
    assert_markers,
    load,
    marked,
    rotation,
    write_enhanced,
)
from series_makers import issues, series
from SkinSegLib.core import Cancelled, OutputError, Progress, ScanReadError
from SkinSegLib.scan import IssueKind, Outcome, check_files, list_series, read, survey
from SkinSegLib.scan.dicom_choice import plane_of, sharpness
from SkinSegLib.scan.dicom_files import files_listed
from SkinSegLib.scan.dicom_filter import filter_by_plane
from SkinSegLib.scan.dicom_series import find

AXIAL = GRIDS["axial"]
CORONAL = GRIDS["coronal"]
SAGITTAL = Grid(axes=np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizers"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "secondary captures"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "secondary captures"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.67", "Modality": "SR"}, "dose sheets"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CSA REPORT"]}, "dose sheets"),
        ({"ImageType": ["ORIGINAL", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "dose sheets"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4", "Modality": "MR"}, "MR"),
        ({"Modality": "Doe^Secret"}, "other objects"),
        ({"SamplesPerPixel": 3}, "colour pictures"),
        ({"ImagePositionPatient": None}, "pictures without a position"),
    ],
)
def test_what_is_no_ct_is_named(changes: dict[str, Any], kind: str, tmp_path: Path) -> None:
    series(tmp_path, SeriesNumber=9, **changes)
    found = survey(tmp_path)
    assert not found.series
    assert [(other.number, other.kind, other.files) for other in found.others] == [(9, kind, 6)]
    with pytest.raises(ScanReadError, match=f"6 {kind}"):
        read(tmp_path)


pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")

FINE, RIGHT, REFUSED = Outcome.FINE, Outcome.CORRECTED, Outcome.REFUSED


@pytest.mark.parametrize(
    ("kind", "outcome", "changes"),
    [
        (IssueKind.MISSING, RIGHT, {"places": [0, 1, 2, 4, 5, 6]}),
        (IssueKind.VARIABLE_SPACING, RIGHT, {"places": [0, 1, 2, 3.5, 5, 6.5]}),
        (IssueKind.MISSING, REFUSED, {"places": [0, 1, 2, 20, 21, 22]}),
        (IssueKind.REPEATED, REFUSED, {"places": [0, 1, 2, 0, 1, 2]}),
        (IssueKind.DERIVED, FINE, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        (IssueKind.PADDING, FINE, {"PixelPaddingValue": -2000}),
        (IssueKind.NOT_CALIBRATED, FINE, {"RescaleType": "US"}),
        (IssueKind.NOT_CALIBRATED, FINE, {"RescaleIntercept": None}),
        (IssueKind.GEOMETRY, REFUSED, {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}),
        (IssueKind.GEOMETRY, REFUSED, {"PixelSpacing": [0, 0]}),
    ],
)
def test_each_issue_is_named(
    kind: IssueKind, outcome: Outcome, changes: dict[str, Any], tmp_path: Path
) -> None:
    """And the reader agrees: what is refused does not read, everything else does."""
    series(tmp_path, Grid(spacing=(1, 1, 4)), **changes)
    assert issues(tmp_path) == {kind: outcome}
    assert survey(tmp_path).series[0].outcome == outcome
    if outcome == REFUSED:
        with pytest.raises(Exception, match=r"\."):
            read(tmp_path)
    else:
        read(tmp_path)


def test_a_clean_series_has_no_issue(tmp_path: Path) -> None:
    series(tmp_path, Grid(spacing=(0.8, 0.8, 2.5)), ConvolutionKernel="H30s", KVP="120")
    [info] = survey(tmp_path).series
    assert info.issues == ()
    assert info.outcome == FINE


def test_pixels_and_scales_are_named(tmp_path: Path) -> None:
    for k, path in enumerate(series(tmp_path)):
        data = load(path)
        data.RescaleIntercept = -k
        data.ConvolutionKernel = f"H{k % 2 + 3}0s"
        data.save_as(path)
    assert issues(tmp_path) == {
        IssueKind.RESCALE: FINE,
        IssueKind.NON_SQUARE: FINE,
        IssueKind.MIXED_KERNEL: FINE,
    }


def test_tilt_copies_and_a_single_slice_are_named(tmp_path: Path) -> None:
    axes = np.eye(3)
    axes[:, 1] = rotation(15, (1, 0, 0))[:, 1]
    paths = series(tmp_path / "t", Grid(axes=axes, spacing=(1, 1, 3)))
    paths[0].with_suffix(".copy").write_bytes(paths[0].read_bytes())
    assert issues(tmp_path / "t") == {IssueKind.TILT: RIGHT, IssueKind.DUPLICATE: RIGHT}
    series(tmp_path / "s", Grid(shape=(1, 9, 11), spacing=(1, 1, 3)))
    assert issues(tmp_path / "s") == {IssueKind.SINGLE_SLICE: RIGHT}


@pytest.mark.parametrize(
    ("differing", "kind"),
    [
        ({"ConvolutionKernel": ["H30s", "H60s"]}, IssueKind.MIXED_KERNEL),
        ({"KVP": ["80", "140"]}, IssueKind.ENERGIES),
        ({"TemporalPositionIdentifier": ["1", "2"]}, IssueKind.PHASES),
        ({"NominalPercentageOfCardiacPhase": [40, 75]}, IssueKind.PHASES),
        ({"ImageType": [["ORIGINAL", "PRIMARY", "A"], ["ORIGINAL", "PRIMARY", "B"]]}, None),
    ],
)
def test_repeats_are_told_apart(
    differing: dict[str, list[Any]], kind: IssueKind | None, tmp_path: Path
) -> None:
    """Also where each slice has an acquisition number of its own, which tells nothing."""
    [(name, values)] = differing.items()
    uid = generate_uid()
    grid = Grid(spacing=(1, 1, 3))
    other = marked(grid) + np.int16(20)
    for value, voxels in zip(values, (marked(grid), other), strict=True):
        folder = tmp_path / str(voxels[0, 0, 0])
        paths = series(folder, grid, voxels=voxels, SeriesInstanceUID=uid, **{name: value})
        for number, path in enumerate(paths):
            data = load(path)
            data.AcquisitionNumber = number
            data.save_as(path)
    assert issues(tmp_path).get(kind or IssueKind.REPEATED) == RIGHT
    voxels = read(tmp_path).voxels
    assert any(np.array_equal(voxels, whole) for whole in (marked(grid), other))


def test_slices_of_another_size_or_orientation_are_apart(tmp_path: Path) -> None:
    uid = "1.2.9"
    square = (1.0, 1.0, 2.0)
    series(tmp_path / "a", Grid(spacing=square), SeriesInstanceUID=uid)
    short = (2, 9, 11)
    turned = replace(CORONAL, spacing=square, shape=short)
    wide = Grid(spacing=(2.0, 2.0, 2.0), shape=short)
    series(tmp_path / "b", turned, SeriesInstanceUID=uid)
    series(tmp_path / "c", wide, SeriesInstanceUID=uid)
    first, *others = survey(tmp_path).series
    assert {issue.kind for issue in first.issues} == {
        IssueKind.MIXED_SIZE,
        IssueKind.MIXED_ORIENTATION,
    }
    assert first.slices == 6
    assert [info.slices for info in others] == [2, 2]


def test_the_table_holds_what_the_headers_say(tmp_path: Path) -> None:
    series(
        tmp_path / "a",
        ConvolutionKernel=["Br40f", "3"],
        BodyPartExamined="HEAD",
        ContrastBolusAgent="Agent of Doe^Secret",
        SeriesDescription=NAME,
    )
    [info] = survey(tmp_path / "a").series
    assert (info.kernel, info.body_part, info.contrast) == ("Br40f", "HEAD", True)
    assert (info.slices, info.rows, info.columns) == (6, 9, 11)
    np.testing.assert_allclose(info.spacing_mm, (0.7, 0.9, 2.5), atol=1e-5)
    assert info.thickness_mm == 2.5
    assert (info.plane, round(info.off_plane_degrees)) == ("axial", 0)
    assert "Secret" not in repr(survey(tmp_path / "a"))
    # What is no kernel and no body part might be anything: not shown.
    series(tmp_path / "c", ConvolutionKernel="Secret")
    assert survey(tmp_path / "c").series[0].kernel == ""
    series(tmp_path / "b", ConvolutionKernel="Secret J. Doe", BodyPartExamined="head of Doe")
    [info] = survey(tmp_path / "b").series
    assert (info.kernel, info.body_part) == ("", "OTHER")


def test_one_slice_stands_for_what_is_beside_it(tmp_path: Path) -> None:
    paths = series(tmp_path)
    series(tmp_path / "below")
    assert [info.slices for info in survey(paths[2]).series] == [6]
    write_enhanced(tmp_path / "frames", AXIAL, marked(AXIAL)[:4], SeriesInstanceUID="1.9")
    assert [info.slices for info in survey(tmp_path / "frames").series] == [4]
    assert sorted(info.slices for info in survey(paths[2]).series) == [4, 6]


def test_headers_alone_are_read(tmp_path: Path) -> None:
    paths = series(tmp_path)
    whole = survey(tmp_path)
    for path in paths:
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"\xe0\x7f\x10\x00")])
    assert survey(tmp_path) == whole
    assert check_files(paths) == whole


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({}, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ({}, {"ImageType": ["DERIVED", "PRIMARY", "MIP"]}),
        ({}, {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "CT_SOM5 MPR"]}),
        ({"BodyPartExamined": "HEADNECK"}, {"BodyPartExamined": "CHEST"}),
        ({}, {"BodyPartExamined": "ABDOMEN"}),
        ({"ConvolutionKernel": "H31s"}, {"ConvolutionKernel": "H60s"}),
        ({"ConvolutionKernel": "STANDARD"}, {"ConvolutionKernel": "BONE"}),
        ({"spacing": (1, 1, 20)}, {"spacing": (1, 1, 10)}),  # more of the head
        ({"spacing": (1, 1, 1)}, {"spacing": (1, 1, 5)}),  # finer, both short
        ({}, {"places": [0, 1, 2, 0, 1, 2]}),  # the other is refused
    ],
)
def test_the_best_series_for_a_head(
    better: dict[str, Any], worse: dict[str, Any], tmp_path: Path
) -> None:
    """Either way round, and the reason says so."""
    for number, changes in enumerate((worse, better), start=1):
        spacing = changes.pop("spacing", (1, 1, 2.5))
        series(tmp_path / str(number), Grid(spacing=spacing), SeriesNumber=number, **changes)
    found = survey(tmp_path)
    assert [info.number for info in found.series] == [2, 1]
    assert "covers" in found.reason
    assert [info.number for info in list_series(tmp_path)] == [2, 1]
    notes = read(tmp_path).notes
    assert any("2 CT series" in note for note in notes)
    assert any("1 of the CT series" in note for note in notes) == ("places" in worse)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("H30s", "soft"),
        ("Br40f", "soft"),
        ("J45s", "soft"),
        ("H60s", "sharp"),
        ("Hr64u", "sharp"),
        ("FC21", "soft"),
        ("FC44", "soft"),
        ("FC81", "sharp"),
        ("STD+", "soft"),
        ("BONEPLUS", "sharp"),
        ("UB", "soft"),
        ("", "unknown"),
    ],
)
def test_kernels(kernel: str, expected: str) -> None:
    assert sharpness(kernel) == expected


@pytest.mark.parametrize("degrees", [0, 12, -29])
@pytest.mark.parametrize(
    ("grid", "plane"), [(AXIAL, "axial"), (CORONAL, "coronal"), (SAGITTAL, "sagittal")]
)
def test_planes(grid: Grid, plane: str, degrees: float, tmp_path: Path) -> None:
    turned = replace(grid, axes=rotation(degrees, (1, 1, 1)) @ grid.axes)
    paths = series(tmp_path, turned)
    [[frame, *_]] = find(paths).series
    named, off = plane_of(frame)
    cosine = abs((rotation(degrees, (1, 1, 1)) @ grid.axes[:, 2]) @ grid.axes[:, 2])
    assert named == plane
    assert off == pytest.approx(np.degrees(np.arccos(min(1.0, cosine))), abs=1e-3)


def test_filter_lists_and_copies(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    tilted = replace(AXIAL, axes=rotation(20, (1, 0, 0)) @ AXIAL.axes)
    axial = series(source / "Doe^Secret", AXIAL, SeriesNumber=1)
    series(source / "t", tilted, SeriesNumber=2)
    series(source / "c", CORONAL, SeriesNumber=3)
    series(source / "s", SAGITTAL, SeriesNumber=4)
    series(source / "l", SeriesNumber=5, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    numbers = {
        (plane, tolerance): [
            info.number for info in filter_by_plane(source, plane, tolerance).series
        ]
        for plane in ("axial", "coronal", "sagittal")
        for tolerance in (5, 25)
    }
    assert numbers == {
        ("axial", 5): [1],
        ("axial", 25): [1, 2],
        ("coronal", 5): [3],
        ("coronal", 25): [3],
        ("sagittal", 5): [4],
        ("sagittal", 25): [4],
    }
    out.mkdir()
    found = filter_by_plane(source, "axial", 5, out)
    index = found.series[0].index
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.dcm")) == [
        f"series-{index}/{number:06d}.dcm" for number in range(1, 7)
    ]
    assert {p.read_bytes() for p in found.files} == {p.read_bytes() for p in axial}
    with pytest.raises(OutputError, match="not empty"):
        filter_by_plane(source, "axial", 5, out)
    with pytest.raises(OutputError, match="scan's own"):
        filter_by_plane(source, "axial", 5, source / "new")


def test_a_filter_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    series(source)
    out.mkdir()
    seen: list[float] = []

    def cancelled() -> bool:
        return bool(seen) and seen[-1] > 0.7

    progress = Progress(lambda stage, share: seen.append(share), cancelled)
    with pytest.raises(Cancelled), progress.stage("Filter", 1.0):
        filter_by_plane(source, "axial", 5, out, progress)
    assert list(out.iterdir()) == []


def test_dicomdir(tmp_path: Path) -> None:
    """Only what the directory lists, also where a disc was copied in lower case."""
    listed = FileSet()
    for path in series(tmp_path / "made", PatientName="X", StudyDate="20000101", StudyTime="10"):
        data = load(path)
        data.StudyID = "1"
        listed.add(data)
    disc = tmp_path / "disc"
    listed.write(disc)
    series(disc / "beside", SeriesNumber=77)
    directory = disc / "DICOMDIR"
    assert [info.slices for info in survey(directory).series] == [6]
    assert_markers(read(directory), AXIAL)
    assert survey(disc).others == ()  # found in its folder, it is no object of its own
    lower = tmp_path / "lower"
    for path in disc.rglob("*"):
        if path.is_file():
            target = lower / path.relative_to(disc).as_posix().lower()
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    assert_markers(read(lower / "dicomdir"), AXIAL)
    if not hasattr(pydicom, "pixels"):
        return  # pydicom 2.4 does not read a DICOMDIR whose offsets are no longer right
    # Nothing outside its folder is followed, by name or by link.
    [outside, *_] = series(tmp_path / "outside")
    text = load(directory)
    records = [r for r in text.DirectoryRecordSequence if r.get("ReferencedFileID")]
    records[0].ReferencedFileID = ["..", "outside", outside.name]
    (disc / "LINK").symlink_to(outside)
    records[1].ReferencedFileID = ["LINK"]
    text.save_as(directory)
    assert len(files_listed(directory)) == 4
    for record in records:
        record.ReferencedFileID = ["GONE"]
    text.save_as(directory)
    with pytest.raises(ScanReadError, match="none of them is there"):
        read(directory)


def test_values_that_break_the_standard_are_quoted_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    """pydicom warns of them with the value; on the screen, and in Slicer's log."""
    wrong = {"ConvolutionKernel": 30 * "x" + "Doe", "BodyPartExamined": "head of Doe"}
    series(tmp_path, RescaleType="Doe", AcquisitionNumber=1, **wrong)
    caplog.clear()
    recwarn.clear()
    survey(tmp_path)
    read(tmp_path)
    assert not caplog.records
    assert not list(recwarn)
