"""Multi-frame files: functional groups are cleaned; for their frames see also test_deface."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import KEY, without_new_uids
from pydicom.dataset import Dataset
from scan_makers import Grid, write_enhanced
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify
from SkinSegLib.privacy.deface_files import _require_whole
from SkinSegLib.scan import read
from SkinSegLib.scan.dicom_series import find

NAMES = Pseudonyms(KEY)


def item(**values: object) -> Dataset:
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def plant(path: Path, localizer: bool = False) -> None:
    """Give the functional groups what they should lose, and what they should keep."""
    data = pydicom.dcmread(path)
    for number, group in enumerate(data.PerFrameFunctionalGroupsSequence):
        content = item(
            FrameComments="of SECRET",
            FrameAcquisitionDateTime="20120507131411",
            FrameAcquisitionNumber=1,
            FrameLabel="SECRET",
        )
        content.private_block(0x0011, "SECRET MAKER", create=True).add_new(1, "LO", "SECRET")
        group.FrameContentSequence = [content]
        kind = ["ORIGINAL", "PRIMARY", "LOCALIZER" if localizer and number == 0 else "VOLUME"]
        group.CTImageFrameTypeSequence = [item(FrameType=kind)]
        source = item(ReferencedSOPInstanceUID="1.2.826.99.5", ReferencedSOPClassUID="1.2")
        group.DerivationImageSequence = [item(SourceImageSequence=[source])]
        group.private_block(0x0011, "SECRET MAKER", create=True).add_new(2, "OB", b"SECRET")
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.private_block(0x0011, "SECRET MAKER", create=True).add_new(3, "LO", "SECRET")
    data.PatientName, data.PatientID = "SECRET^Ann", "4711-0815"
    data.save_as(path, enforce_file_format=True)


def test_functional_groups_are_cleaned(tmp_path: Path) -> None:
    source = tmp_path / "in.dcm"
    grid = Grid(shape=(5, 40, 32))
    voxels = np.random.default_rng(1).integers(-1020, -980, grid.shape).astype(np.int16)
    write_enhanced(source, grid, voxels)
    plant(source)
    options = DeidentifyOptions(keep_dates=True)
    outcome = deidentify(source, tmp_path / "out", options, NAMES)
    assert (outcome.written, outcome.refused) == (1, {})
    (path,) = (tmp_path / "out").rglob("*.dcm")
    for planted in (b"SECRET", b"20120507", b"1.2.826.99", b"4711"):
        assert planted in source.read_bytes()
        assert planted not in without_new_uids(path)
    after, before = pydicom.dcmread(path), pydicom.dcmread(source)
    assert len(after.PerFrameFunctionalGroupsSequence) == 5
    first = after.PerFrameFunctionalGroupsSequence[0]
    assert first.FrameContentSequence[0].FrameAcquisitionNumber == 1
    assert first.CTImageFrameTypeSequence[0].FrameType[2] == "VOLUME"
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
    np.testing.assert_array_equal(read(path).voxels, read(source).voxels)


def test_other_frames_in_the_file_would_still_show_the_face(tmp_path: Path) -> None:
    grid = Grid(shape=(5, 40, 32))
    write_enhanced(tmp_path / "in.dcm", grid, np.zeros(grid.shape, np.int16))
    plant(tmp_path / "in.dcm")
    (frames,) = find([tmp_path / "in.dcm"]).series
    _require_whole(pydicom.dcmread(tmp_path / "in.dcm"), frames)
    plant(tmp_path / "in.dcm", localizer=True)
    (frames,) = find([tmp_path / "in.dcm"]).series
    assert len(frames) == 4
    with pytest.raises(PrivacyError, match="holds more than this scan"):
        _require_whole(pydicom.dcmread(tmp_path / "in.dcm"), frames)
