"""Names and folders of defaced scans: which are refused, made, and gone again."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scan_makers import dicom_slice, save
from SkinSegLib.core import OutputError, PrivacyError
from SkinSegLib.privacy import deface_files
from SkinSegLib.privacy.deface import DefaceOptions
from SkinSegLib.privacy.deface_files import DefaceJob

ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")


def job_of(source: Path, target: Path, **changes: Any) -> DefaceJob:
    return DefaceJob(source, target, DefaceOptions(), **changes)


# Names that are refused.

SAME = r"^The output of a {} file is one file that ends the same \(.nrrd, .nii, .nii.gz or .mha\)\."


@pytest.mark.parametrize("ending", [*ENDINGS, ".nhdr", ".mhd"])
@pytest.mark.parametrize("other", [*ENDINGS, ".nhdr", ".mhd", ".dcm", ""])
def test_a_volume_becomes_a_file_of_its_own_kind(tmp_path: Path, ending: str, other: str) -> None:
    """And no header with its voxels elsewhere."""
    job = job_of(tmp_path / f"a{ending}", tmp_path / f"b{other}")
    if ending == other and ending in ENDINGS:
        deface_files.check_target(job, ending)
    else:
        with pytest.raises(PrivacyError, match=SAME.format(ending) + ".*or convert the scan"):
            deface_files.check_target(job, ending)


def test_a_scan_is_not_written_over_itself(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").touch()
    (tmp_path / "b.nrrd").symlink_to(tmp_path / "a.nrrd")
    (tmp_path / "sub").mkdir()
    for name in ("a.nrrd", "b.nrrd", "sub/../a.nrrd"):
        with pytest.raises(PrivacyError, match=r"^The output is the scan itself\. Choose another"):
            deface_files.check_target(job_of(tmp_path / "a.nrrd", tmp_path / name), ".nrrd")


def test_a_series_goes_into_an_empty_folder(tmp_path: Path) -> None:
    for name in ("empty", "full", "full/sub"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    for name in ("empty", "new", "new/sub"):
        deface_files.check_target(job_of(tmp_path, tmp_path / name), None)
    for name in ("full", "file"):
        with pytest.raises(PrivacyError, match=rf"^\S+{name} is there and not an empty folder\. "
                           "Choose a new folder for the series"):  # fmt: skip
            deface_files.check_target(job_of(tmp_path, tmp_path / name), None)


def test_the_removed_face_takes_the_place_of_no_scan(tmp_path: Path) -> None:
    """An earlier file of that kind may be replaced."""
    path = slice_file(tmp_path / "IM1")
    (tmp_path / "side").write_bytes(b"an earlier one")
    for name, taken in (("IM1", True), ("out", True), ("side", False), ("new", False)):
        job = job_of(tmp_path, tmp_path / "out", side=tmp_path / name)
        if taken:
            with pytest.raises(PrivacyError, match="would take the place of a scan"):
                deface_files.check_target(job, None)
        else:
            deface_files.check_target(job, None)
    assert path.exists()


# Folders.


def test_a_folder_that_is_made_and_stays(tmp_path: Path) -> None:
    for _ in range(2):
        with deface_files.made_folder(tmp_path / "a" / "b"):
            assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize(("there", "file", "stays"), [
    (False, False, False), (True, False, True), (False, True, True), (True, True, True),
])  # fmt: skip
@pytest.mark.parametrize("error", [KeyboardInterrupt, PrivacyError])
def test_a_folder_goes_again_if_it_was_made_for_nothing(
    tmp_path: Path, there: bool, file: bool, stays: bool, error: type[BaseException]
) -> None:
    folder = tmp_path / "out"
    if there:
        folder.mkdir()
    with pytest.raises(error), deface_files.made_folder(folder):
        if file:
            (folder / "x").touch()
        raise error
    assert folder.exists() is stays


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match=r"^The folder \S+sub cannot be made \(Not a directory\)\. "
                      r"Choose another one\.$"),
        deface_files.made_folder(tmp_path / "file" / "sub"),
    ):  # fmt: skip
        pytest.fail("the block ran")


def slice_file(path: Path, **changes: Any) -> Path:
    data = dicom_slice(np.zeros((3, 4), np.int16), (0, 0, 0), np.eye(3), (1, 1, 1), **changes)
    save(data, path)
    return path


def test_where_the_slices_of_a_scan_are(tmp_path: Path) -> None:
    """A folder; the folder of one file, and its series; what is in a zip, while it is needed."""
    path = slice_file(tmp_path / "a")
    with deface_files._folder(job_of(tmp_path, tmp_path / "out", series="7")) as found:
        assert found == (tmp_path, "7")
    with deface_files._folder(job_of(tmp_path, tmp_path / "out")) as found:
        assert found == (tmp_path, None)
    for series, expected in ((None, "1.2.3.4"), ("7", "7")):
        with deface_files._folder(job_of(path, tmp_path / "out", series=series)) as found:
            assert found == (tmp_path, expected)
    slice_file(path, SeriesInstanceUID=None)
    with deface_files._folder(job_of(path, tmp_path / "out")) as found:
        assert found == (tmp_path, "")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "folder/a")
    with deface_files._folder(job_of(tmp_path / "a.zip", tmp_path / "out", series="7")) as found:
        folder, series = found
        assert [file.read_bytes() for file in folder.iterdir()] == [path.read_bytes()]
        assert series == "7"
    assert not folder.exists()


def test_a_scan_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(PrivacyError, match=r"^There is no scan \S+nothing\. Check its name\.$"),
        deface_files._folder(job_of(tmp_path / "nothing", tmp_path / "out")),
    ):
        pytest.fail("the block ran")
