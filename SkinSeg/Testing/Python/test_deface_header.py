"""One DICOM file without its face: where its pixels lie, and what its header says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from scan_makers import GRIDS
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy.deface_files import (
    VISUAL,
    _derived,
    _require_whole,
    _stored,
    frame_matrix,
)
from SkinSegLib.privacy.restore import _undone


def fake(**values: Any) -> Any:
    return SimpleNamespace(**values)


# Frames.


@pytest.mark.parametrize("name", GRIDS)
def test_where_a_slice_lies(name: str) -> None:
    """For pixels that are not square, whichever way the slice is turned."""
    grid = GRIDS[name]
    i_axis, j_axis = grid.axes[:, 0], grid.axes[:, 1]
    frame = fake(row=tuple(i_axis), column=tuple(j_axis), spacing=grid.spacing[:2],
                 position=grid.origin)  # fmt: skip
    matrix = frame_matrix(frame)
    for i, j in ((0, 0), (3, 0), (0, 5), (7, 2)):
        np.testing.assert_allclose((matrix @ (i, j, 0, 1))[:3], grid.ras((i, j, 0)), atol=1e-9)
    normal = np.cross(i_axis, j_axis) * (-1, -1, 1)
    np.testing.assert_allclose(matrix[:, 2], [*normal, 0], atol=1e-9)
    np.testing.assert_array_equal(matrix[3], [0, 0, 0, 1])


@pytest.mark.parametrize(("bits", "signed", "low", "high"), [
    (12, 0, 0, 4095), (16, 0, 0, 65535), (8, 0, 0, 255),
    (12, 1, -2048, 2047), (16, 1, -32768, 32767),
])  # fmt: skip
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (2.0, 10.0), (0.0, -5.0)])
def test_as_a_file_stores_it(
    bits: int, signed: int, low: int, high: int, slope: float, intercept: float
) -> None:
    """Rounded, and within its bits; a slope of zero is none."""
    frame = fake(slope=slope, intercept=intercept)
    dataset = fake(BitsStored=bits, PixelRepresentation=signed)
    stored = np.array([low - 1, low, low + 0.4, 0.6, 50.0, high - 0.4, high, high + 1, 1e9])
    found = _stored(stored * (slope or 1.0) + intercept, frame, dataset)
    assert found.tolist() == [low, low, low, 1, 50, high, high, high, high]


@pytest.mark.parametrize(("number", "indices", "whole"), [
    (None, [None], True), ("", [None], True), (1, [0], True), (3, [0, 1, 2], True),
    (3, [2, 0, 1], True), (3, [0, 1], False), (3, [1, 2], False), (3, [None], False),
    (2, [0, 1, 2], False), (None, [0, 1], False),
])  # fmt: skip
def test_a_file_shows_nothing_but_the_scan(number: Any, indices: list[Any], whole: bool) -> None:
    dataset = {} if number is None else {"NumberOfFrames": number}
    frames: list[Any] = [fake(index=index) for index in indices]
    if whole:
        _require_whole(dataset, frames)
    else:
        with pytest.raises(PrivacyError, match=r"^The multi-frame DICOM file holds more than this "
                           r"scan \(.* still show the face\. Export the scan alone"):  # fmt: skip
            _require_whole(dataset, frames)


# What headers say.


def item(**values: Any) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def new_uid(text: str) -> str:
    return {"instance 1.2.826.1": "2.25.1", "series 1.2.826.2": "2.25.2", "series ": "2.25.3"}[text]


#: Groups of overlays, curves and makers, and those beside them.
GOES = (0x5000, 0x5002, 0x501E, 0x6000, 0x6008, 0x601E)
STAYS = (0x4FFE, 0x5020, 0x5FFE, 0x6020)


def header() -> Dataset:
    data = item(
        SOPInstanceUID="1.2.826.1", SeriesInstanceUID="1.2.826.2", PatientName="A",
        ImageType=["ORIGINAL", "SECONDARY", "AXIAL"], SmallestImagePixelValue=1,
        LargestImagePixelValue=2, SmallestPixelValueInSeries=3, LargestPixelValueInSeries=4,
        IconImageSequence=[item(Rows=3)], FloatPixelData=b"1234", DoubleFloatPixelData=b"12345678",
    )  # fmt: skip
    for group in (*GOES, *STAYS):
        data.add_new(Tag(group, 0x3000), "OW", b"12")
    block = data.private_block(0x0011, "MAKER", create=True)
    block.add_new(1, "OB", b"12")
    inner = item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    inner.private_block(0x0011, "MAKER", create=True).add_new(1, "OB", b"12")
    frames = [
        item(CTImageFrameTypeSequence=[inner]),
        item(PlanePositionSequence=[item(ImagePositionPatient=[1, 2, 3])],
             XRay3DFrameTypeSequence=[item(FrameType=None), item()]),
    ]  # fmt: skip
    data.PerFrameFunctionalGroupsSequence = Sequence(frames)
    shared = item(MRImageFrameTypeSequence=[item(FrameType=["ORIGINAL"])])
    data.SharedFunctionalGroupsSequence = Sequence([shared])
    return data


OLD_PIXELS = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries", "IconImageSequence", "FloatPixelData", "DoubleFloatPixelData",
)  # fmt: skip


@pytest.mark.parametrize("bare", [None, True, False], ids=["default", "bare", "to be cleaned"])
def test_the_header_of_a_scan_without_its_face(bare: bool | None) -> None:
    data = header()
    _derived(data, new_uid, **({} if bare is None else {"bare": bare}))
    assert data.SOPInstanceUID == "2.25.1"
    assert data.SeriesInstanceUID == "2.25.2"
    assert list(data.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
    assert data.RecognizableVisualFeatures == "NO"
    assert data.DerivationDescription == "Face removed"
    assert not [name for name in OLD_PIXELS if name in data]
    first, second = data.PerFrameFunctionalGroupsSequence
    kinds = [first.CTImageFrameTypeSequence[0], *second.XRay3DFrameTypeSequence,
             data.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence[0]]  # fmt: skip
    assert [list(kind.FrameType) for kind in kinds] == [
        ["DERIVED", "PRIMARY", "VOLUME", "NONE"], ["DERIVED", "PRIMARY"],
        ["DERIVED", "PRIMARY"], ["DERIVED", "PRIMARY"],
    ]  # fmt: skip
    assert list(second.PlanePositionSequence[0].keys()) == [Tag("ImagePositionPatient")]
    groups = {tag.group for tag in data.keys()}  # noqa: SIM118
    assert groups >= set(STAYS)
    assert data.PatientName == "A"
    gone = bare is not False
    assert groups.isdisjoint(GOES) is gone
    assert (0x0011 not in groups) is gone
    assert ((0x0011, 0x1001) not in kinds[0]) is gone


def test_a_header_that_says_little() -> None:
    data = item(SOPInstanceUID="1.2.826.1")
    _derived(data, new_uid)
    assert data.SeriesInstanceUID == "2.25.3"
    assert list(data.ImageType) == ["DERIVED", "PRIMARY"]
    for kinds in (None, "ORIGINAL", ["ORIGINAL"]):
        data = item(SOPInstanceUID="1.2.826.1", ImageType=kinds)
        _derived(data, new_uid)
        assert list(data.ImageType) == ["DERIVED", "PRIMARY"]


def test_the_header_of_a_scan_with_its_face_again() -> None:
    kept, gone = item(CodeValue="113100"), item(CodeValue="113102")
    data = item(SOPInstanceUID="1.2.826.1", SeriesInstanceUID="1.2.826.2")
    _undone(data, new_uid)
    assert data.SOPInstanceUID == "2.25.1"
    assert data.SeriesInstanceUID == "2.25.2"
    assert data.RecognizableVisualFeatures == "YES"
    assert data.DerivationDescription == "Removed face put back"
    assert "DeidentificationMethodCodeSequence" not in data
    data.DeidentificationMethodCodeSequence = [gone, kept]
    _undone(data, lambda text: "2.25.4")
    assert [code.CodeValue for code in data.DeidentificationMethodCodeSequence] == ["113100"]
    assert VISUAL == "CleanRecognizableVisualFeaturesOption"
