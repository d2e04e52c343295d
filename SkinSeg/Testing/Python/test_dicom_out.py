"""DICOM out: Segmentation and Encapsulated STL, read by others, checked by dciodvfy."""

from __future__ import annotations

import importlib.util
import io
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import trimesh
from pydicom.uid import generate_uid
from scan_makers import Grid, load, marked, rotation, write_dicom, write_enhanced
from series_makers import REFERABLE, assert_valid, series
from SkinSegLib import cli
from SkinSegLib.core import MissingPackageError, OutputError, Progress, replacing
from SkinSegLib.dicom import (
    Segment,
    on_slices,
    require_highdicom,
    write_encapsulated_stl,
    write_segmentation,
)
from SkinSegLib.dicom import segmentation as segmentation_module
from SkinSegLib.scan import Source, read_source
from SkinSegLib.segmentation.labelmap import write_labelmap

OLD = int(pydicom.__version__.split(".")[0]) < 3
#: Segmentations need both; Slicer 5.10 has pydicom 2.4.
segmentations = pytest.mark.skipif(
    OLD or importlib.util.find_spec("highdicom") is None,
    reason="DICOM Segmentations need highdicom and pydicom 3",
)
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR")

TILTED = Grid(
    axes=np.column_stack([[1.0, 0, 0], rotation(15, (1, 0, 0))[:, 1], [0, 0, 1.0]]),
    spacing=(1, 1, 3),
)
GRIDS = {
    "plain": (Grid(), None),
    "oblique": (Grid(axes=rotation(37, (1, 2, 3))), None),
    "left-handed": (Grid(axes=np.diag([1.0, -1.0, 1.0])), None),
    "tilted": (TILTED, None),
    "uneven": (Grid(spacing=(1, 1, 4)), [0, 1, 2, 3.5, 5, 6.5]),
}


def blob(volume: Any) -> np.ndarray:
    """A mask without symmetry on the grid of a volume."""
    mask = np.zeros(volume.voxels.shape, np.uint8)
    mask[1:-1, 2:7, 3:9] = 1
    mask[1, 2, 3] = 0
    return mask


def written(source: Source, folder: Path, **masks: np.ndarray) -> Path:
    segments = [Segment(name, on_slices(mask, source.places)) for name, mask in masks.items()]
    with replacing(folder / "seg.dcm") as temporary:
        write_segmentation(segments, source.headers, temporary, "1.0")
    return folder / "seg.dcm"


def frame_places(data: Any, number: int) -> set[tuple[float, ...]]:
    return {
        tuple(round(float(v), 3) for v in item.PlanePositionSequence[0].ImagePositionPatient)
        for item in data.PerFrameFunctionalGroupsSequence
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    }


@segmentations
@pytest.mark.parametrize("name", GRIDS)
def test_segmentation(name: str, tmp_path: Path) -> None:
    """Frame for frame where its source image lies, with its codes, in the same study."""
    grid, places = GRIDS[name]
    paths = series(tmp_path / "in", grid, places=places, **REFERABLE)
    source = read_source(tmp_path / "in")
    head = blob(source.volume)
    skin = head.copy()
    skin[2:-2, 3:6, 4:8] = 0
    path = written(source, tmp_path, Head=head, Skin=skin)
    data = load(path)
    first = load(paths[0])
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientBirthDate"):
        assert data.get(keyword) == first.get(keyword)
    assert data.SeriesInstanceUID != first.SeriesInstanceUID
    described = [
        (
            item.SegmentLabel,
            item.SegmentedPropertyCategoryCodeSequence[0].CodeValue,
            item.SegmentedPropertyTypeCodeSequence[0].CodeValue,
            [region.CodeValue for region in item.get("AnatomicRegionSequence", [])],
        )
        for item in data.SegmentSequence
    ]
    assert described == [
        ("Head", "123037004", "69536005", []),
        ("Skin", "85756007", "39937001", ["69536005"]),
    ]
    referred = {
        str(item.ReferencedSOPInstanceUID)
        for item in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred == {str(load(path).SOPInstanceUID) for path in paths}
    # Each frame where the slice is whose place along k is within the mask.
    expected = {
        tuple(round(float(v), 3) for v in header.ImagePositionPatient)
        for header, place in zip(source.headers, source.places, strict=True)
        if on_slices(head, [place]).any()
    }
    assert 3 <= len(expected) < 6
    assert frame_places(data, 1) == expected
    pixels = {
        tuple(round(float(v), 3) for v in item.PlanePositionSequence[0].ImagePositionPatient): frame
        for item, frame in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True)
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2
    }
    for header, place in zip(source.headers, source.places, strict=True):
        [mask] = on_slices(skin, [place])
        key = tuple(round(float(v), 3) for v in header.ImagePositionPatient)
        np.testing.assert_array_equal(pixels.get(key, np.zeros_like(mask)), mask)
    assert_valid(path)


@segmentations
def test_segmentation_of_a_multi_frame_scan(tmp_path: Path) -> None:
    grid = Grid(spacing=(1, 1, 2))
    write_enhanced(tmp_path / "ct.dcm", grid, marked(grid), **REFERABLE)
    source = read_source(tmp_path / "ct.dcm")
    assert len(source.headers) == 1
    head = blob(source.volume)
    path = written(source, tmp_path, Head=head)
    frames = load(path).PerFrameFunctionalGroupsSequence
    assert len(frames) == 4
    places = sorted(f.PlanePositionSequence[0].ImagePositionPatient[2] for f in frames)
    np.testing.assert_allclose(places, [grid.lps((0, 0, k))[2] for k in range(1, 5)])
    assert_valid(path)


def test_a_mask_between_slices() -> None:
    mask = np.zeros((3, 1, 4), np.uint8)
    mask[0, 0, :2], mask[1, 0, :3] = 1, 1
    found = on_slices(mask, [0.0, 0.25, 0.75, 1.0, 1.6, np.nan, 2.0004, -0.2])
    assert found[:, 0].tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [0, 0, 0, 0],
        [1, 1, 0, 0],
    ]


def stl_of(size: float) -> bytes:
    content = trimesh.creation.box((size, size, size)).export(file_type="stl")
    assert isinstance(content, bytes)
    return content


def test_encapsulated_stl(tmp_path: Path) -> None:
    paths = series(tmp_path / "in", **REFERABLE, PatientAge="46", PatientIdentityRemoved="YES")
    source = read_source(tmp_path / "in")
    stl = stl_of(3)
    with replacing(tmp_path / "stl.dcm") as temporary:
        write_encapsulated_stl(stl, source.headers, temporary, "1.0")
    data = load(tmp_path / "stl.dcm")
    first = load(paths[0])
    assert bytes(data.EncapsulatedDocument)[: data.EncapsulatedDocumentLength] == stl
    assert data.MIMETypeOfEncapsulatedDocument == "model/stl"
    assert data.MeasurementUnitsCodeSequence[0].CodeValue == "mm"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert data.get(keyword) == first.get(keyword)
    assert data.SeriesInstanceUID != first.SeriesInstanceUID
    assert {str(item.ReferencedSOPInstanceUID) for item in data.SourceInstanceSequence} == {
        str(load(path).SOPInstanceUID) for path in paths
    }
    assert trimesh.load(
        io.BytesIO(bytes(data.EncapsulatedDocument)), file_type="stl"
    ).volume == pytest.approx(27)
    assert_valid(tmp_path / "stl.dcm")


@segmentations
def test_headers_that_lack_something(tmp_path: Path) -> None:
    """What may be empty is made empty; what an object must refer to is asked for."""
    less = {**REFERABLE, "PatientSex": "Female", "PatientName": None, "PatientID": None}
    for name in ("PatientBirthDate", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"):
        del less[name]
    series(tmp_path / "less", **less)
    source = read_source(tmp_path / "less")
    path = written(source, tmp_path, Head=blob(source.volume))
    assert load(path).PatientSex == "F"
    assert "PatientName" not in source.headers[0]  # the headers given are left alone
    series(tmp_path / "none", **{**REFERABLE, "FrameOfReferenceUID": ""})
    source = read_source(tmp_path / "none")
    with pytest.raises(OutputError, match="lack FrameOfReferenceUID"):
        written(source, tmp_path, Head=blob(source.volume))
    with pytest.raises(OutputError, match="lack FrameOfReferenceUID"):
        write_encapsulated_stl(stl_of(1), source.headers, tmp_path / "x", "1.0")


@segmentations
def test_what_does_not_read_back_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong pixel in the file, and a wrong byte of the STL."""
    series(tmp_path / "in", **REFERABLE)
    source = read_source(tmp_path / "in")
    made = segmentation_module._made

    def wrong(segments: list[Segment], *rest: Any) -> Any:
        other = segments[0].pixels.copy()
        other[2, 3, 4] ^= 1
        return made([replace(segments[0], pixels=other)], *rest)

    monkeypatch.setattr(segmentation_module, "_made", wrong)
    with pytest.raises(OutputError, match=r"seg\.dcm did not read back"):
        written(source, tmp_path, Head=blob(source.volume))
    save = pydicom.dataset.Dataset.save_as

    def damaged(self: Any, path: Path, **options: Any) -> None:
        self.EncapsulatedDocument = self.EncapsulatedDocument[:-2] + b"xx"
        save(self, path, **options)

    monkeypatch.setattr(pydicom.dataset.Dataset, "save_as", damaged)
    with (
        pytest.raises(OutputError, match=r"stl\.dcm did not read back"),
        replacing(tmp_path / "stl.dcm") as temporary,
    ):
        write_encapsulated_stl(stl_of(1), source.headers, temporary, "1.0")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@segmentations
def test_an_empty_mask_and_an_empty_surface_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "in", **REFERABLE)
    source = read_source(tmp_path / "in")
    with pytest.raises(OutputError, match="empty"):
        written(source, tmp_path, Head=np.zeros(source.volume.voxels.shape, np.uint8))
    with pytest.raises(OutputError, match="empty"):
        write_encapsulated_stl(b"", source.headers, tmp_path / "x", "1.0")


@segmentations
@pytest.mark.parametrize(
    ("module", "version", "said"),
    [
        ("pydicom", "2.4.4", "pydicom 3 or newer.*2.4.4.*Slicer 5.10"),
        ("highdicom", "0.22.0", "0.26 or newer.*0.22.0"),
    ],
)
def test_too_old_packages_say_so(
    module: str, version: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{module}.__version__", version)
    with pytest.raises(MissingPackageError, match=said):
        require_highdicom()


@segmentations
def test_without_highdicom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    with pytest.raises(MissingPackageError, match="pip install"):
        require_highdicom()


def head_scan(folder: Path) -> tuple[Path, Path]:
    """A ball of tissue in air as DICOM, and its mask as a labelmap."""
    grid = Grid(spacing=(4, 4, 4), origin=(-62.0, -62, -62), shape=(32, 32, 32))
    k, j, i = np.indices(grid.shape)
    inside = (k - 15.5) ** 2 + (j - 15.5) ** 2 + (i - 15.5) ** 2 < 12.3**2
    voxels = np.where(inside, 40, -1000).astype(np.int16)
    write_dicom(folder / "Doe", grid, voxels, SeriesInstanceUID=generate_uid(), **REFERABLE)
    matrix = read_source(folder / "Doe").volume.ijk_to_ras
    return folder / "Doe", write_labelmap(inside.astype(np.uint8), matrix, folder / "mask.nrrd")


@segmentations
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan, mask = head_scan(tmp_path)
    out = tmp_path / "out"
    given = ["dicom", "export", str(mask), "--scan", str(scan), "-o", str(out), "--layer", "8"]
    assert cli.main(given) == 0
    assert sorted(path.name for path in out.iterdir()) == ["segmentation.dcm", "surface.dcm"]
    seg, stl = load(out / "segmentation.dcm"), load(out / "surface.dcm")
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["Head", "Skin"]
    assert seg.StudyInstanceUID == stl.StudyInstanceUID == "1.2.3"
    assert (seg.SeriesNumber, stl.SeriesNumber) == (401, 402)
    body = trimesh.load(io.BytesIO(bytes(stl.EncapsulatedDocument)), file_type="stl")
    assert body.is_watertight
    np.testing.assert_allclose(body.bounds.mean(axis=0), 0, atol=0.5)  # LPS, as the slices
    head = seg.pixel_array[
        [
            item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
            for item in seg.PerFrameFunctionalGroupsSequence
        ]
    ]
    assert body.volume / 64 == pytest.approx(head.sum(), rel=0.03)
    for path in out.iterdir():
        assert_valid(path)
    said = "".join(capsys.readouterr())
    assert "Doe" not in said
    assert "S3cret" not in said


@segmentations
@pytest.mark.parametrize("stage", ["Read", "Layer", "Write"])
def test_ctrl_c(
    stage: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A real SIGINT: nothing is written, and what was there stays."""
    scan, mask = head_scan(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "surface.dcm").write_text("old")
    real, sent = Progress.update, []

    def update(self: Progress, fraction: float) -> None:
        real(self, fraction)
        if self._name == stage and fraction > 0 and not sent:
            sent.append(stage)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "update", update)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        given = ["dicom", "export", str(mask), "--scan", str(scan), "-o", str(out)]
        assert cli.main(given) == 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert sent == [stage]
    assert "Cancelled; nothing was written." in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in out.iterdir()] == [("surface.dcm", "old")]


@segmentations
def test_the_command_without_highdicom(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before anything is read; the STL alone goes."""
    scan, mask = head_scan(tmp_path)
    out = tmp_path / "out"
    monkeypatch.setattr(pydicom, "__version__", "2.4.4")
    given = ["dicom", "export", str(mask), "--scan", str(scan), "-o", str(out)]
    assert cli.main(given) == 1
    assert "pydicom 3" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert cli.main([*given, "--no-segmentation"]) == 0
    assert [path.name for path in out.iterdir()] == ["surface.dcm"]


def test_a_scan_that_is_no_dicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, mask = head_scan(tmp_path)
    out = tmp_path / "out"
    given = ["dicom", "export", str(mask), "--scan", str(mask), "-o", str(out)]
    assert cli.main([*given, "--no-segmentation"]) == 1
    said = capsys.readouterr().err
    assert "no DICOM scan" in said
    assert str(tmp_path) not in said
    assert not out.exists()


def test_a_pinned_older_pydicom_takes_the_other_way_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SkinSegLib.dicom import encapsulated_stl

    asked: list[dict[str, Any]] = []
    made = SimpleNamespace(save_as=lambda path, **options: asked.append(options))
    monkeypatch.setattr(pydicom, "__version__", "2.4.4")
    encapsulated_stl._save(made, tmp_path / "x")
    assert asked == [{"write_like_original": False}]
    assert (made.is_little_endian, made.is_implicit_VR) == (True, False)
