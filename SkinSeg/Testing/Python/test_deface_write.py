"""Volumes without their face as files, and back, voxel by voxel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from deface_makers import mask_of
from scan_makers import GRIDS
from SkinSegLib.core import (
    CTVolume,
    OutputError,
    PrivacyError,
    Progress,
    ScanReadError,
    SkinMask,
    replacing_together,
)
from SkinSegLib.privacy import deface_files, vault
from SkinSegLib.privacy.deface import Defaced, DefaceOptions
from SkinSegLib.privacy.deface_files import DefaceJob, deface_scan
from SkinSegLib.privacy.restore import restore
from SkinSegLib.privacy.side_file import SideFile
from SkinSegLib.scan import read

PASSPHRASE = "correct horse battery"
KINDS = ("int16", "uint16", "uint8", "int32", "float32", "float64")
ENDINGS = (".nrrd", ".nii", ".nii.gz", ".mha")


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with less memory than in earnest."""
    monkeypatch.setattr(vault, "_LOG_N", 12)


def job_of(source: Path, target: Path, **changes: Any) -> DefaceJob:
    return DefaceJob(source, target, DefaceOptions(), **changes)


# Volumes.


def write(path: Path, voxels: np.ndarray) -> Path:
    """A volume with a place, and a name in its header where the format has room for one."""
    grid = GRIDS["axial"]
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetMetaData("patient", "Doe^Secret")
    sitk.WriteImage(image, str(path))
    return path


def voxels_of(kind: str, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low, high = (0, 255) if kind == "uint8" else (0, 3000) if kind[0] == "u" else (-1000, 3000)
    values = rng.integers(low, high, GRIDS["axial"].shape)
    return values.astype(kind) + (0.25 if kind[0] == "f" else 0)


def defaced(volume: CTVolume, new: Any) -> Defaced:
    """A scan in which a random part has other grey values."""
    region = np.random.default_rng(4).random(volume.voxels.shape) < 0.3
    voxels = volume.voxels.astype(np.float32)
    voxels[region] = np.resize(new, np.count_nonzero(region))
    nothing: Any = None
    done = replace(volume, voxels=voxels)
    return Defaced(done, region, mask_of(region, np.array(volume.ijk_to_ras)), nothing, nothing)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Defacing takes :func:`defaced` for its answer; what it was asked is listed."""
    asked: list[Any] = []

    def fake(volume: CTVolume, mask: SkinMask, options: DefaceOptions) -> Defaced:
        asked.append((volume, mask, options))
        return defaced(volume, [-1000.4, 70000.0, 12.6, -40000.0, -3e9, 4e9])

    monkeypatch.setattr(deface_files, "deface", fake)
    return asked


def run(job: DefaceJob, progress: Progress | None = None) -> Defaced:
    def solid(volume: CTVolume, inner: Progress) -> SkinMask:
        with inner.stage("Segment", 1.0):
            return mask_of(np.ones(volume.voxels.shape), np.array(volume.ijk_to_ras))

    done, count = deface_scan(job, solid, progress or Progress())
    assert count == 1
    return done


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_volume_and_back(tmp_path: Path, given: list[Any], kind: str, ending: str) -> None:
    """Of the type it was; integers rounded and within what the type holds."""
    before = voxels_of(kind)
    source, target = write(tmp_path / f"a{ending}", before), tmp_path / f"b{ending}"
    job = job_of(source, target, side=tmp_path / "side", passphrase=PASSPHRASE)
    done = run(job)
    volume, mask, options = given[0]
    assert options is job.options
    assert mask.voxels.all()
    np.testing.assert_array_equal(volume.voxels, before.astype(volume.voxels.dtype))
    after = sitk.GetArrayFromImage(sitk.ReadImage(str(target)))
    assert after.dtype == before.dtype
    np.testing.assert_array_equal(after[~done.region], before[~done.region])
    new = done.volume.voxels[done.region].astype(np.float64)
    if kind[0] != "f":
        limits = np.iinfo(kind)
        new = np.array([min(max(round(v), limits.min), limits.max) for v in new.tolist()])
    np.testing.assert_array_equal(after[done.region], new.astype(kind))
    np.testing.assert_allclose(read(target).ijk_to_ras, read(source).ijk_to_ras, atol=1e-4)
    back, told = tmp_path / f"back{ending}", list[tuple[str, float]]()
    progress = Progress(lambda *what: told.append(what))
    assert restore(target, tmp_path / "side", PASSPHRASE, back, progress) == 1
    assert told == [("Restore", 0.0), ("Restore", 1.0)]
    assert progress.finished
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(back)))
    assert again.tobytes() == before.tobytes()
    assert again.dtype == before.dtype
    np.testing.assert_allclose(read(back).ijk_to_ras, read(source).ijk_to_ras, atol=1e-4)


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
@pytest.mark.usefixtures("given")
def test_what_a_header_says_goes_only_if_that_is_wanted(tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / f"a{ending}", voxels_of("int16"))
    for name, objects, there in (("b", None, True), ("c", SimpleNamespace(), False)):
        target = tmp_path / f"{name}{ending}"
        run(job_of(source, target, objects=objects, side=tmp_path / name, passphrase=PASSPHRASE))
        assert (b"Doe^Secret" in target.read_bytes()) is there
        back = tmp_path / f"back{name}{ending}"
        restore(target, tmp_path / name, PASSPHRASE, back, Progress())
        assert (b"Doe^Secret" in back.read_bytes()) is there


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.usefixtures("given")
def test_what_is_packed_is_packed_again(tmp_path: Path, ending: str) -> None:
    source, target = write(tmp_path / f"a{ending}", voxels_of("int16")), tmp_path / f"b{ending}"
    run(job_of(source, target))
    content = target.read_bytes()
    assert (content[:2] == b"\x1f\x8b") is (ending == ".nii.gz")
    assert (b"encoding: gzip" in content) is (ending == ".nrrd")
    assert (b"CompressedData = True" in content) is False


@pytest.mark.usefixtures("given")
def test_how_far_it_is(tmp_path: Path) -> None:
    """No faster at the end than it takes, and too late to cancel once all is written."""
    source, told = write(tmp_path / "a.nrrd", voxels_of("int16")), list[tuple[str, float]]()
    progress = Progress(lambda *what: told.append(what))
    run(job_of(source, tmp_path / "b.nrrd"), progress)
    stages = {name: [f for n, f in told if n == name] for name, _ in told}
    assert stages["Read"] == pytest.approx([0.0, 0.015, 0.105, 0.15, 0.15])
    ends = {name: (share[0], share[-1]) for name, share in stages.items()}
    assert ends == {
        "Read": (0.0, 0.15), "Segment": (0.15, 0.55), "Face": (0.55, 0.7), "Write": (0.7, 1.0),
    }  # fmt: skip
    assert progress.finished


@pytest.mark.usefixtures("given")
def test_a_volume_is_written_as_one(tmp_path: Path) -> None:
    """Over a file that was there, but in no other format."""
    source = write(tmp_path / "a.nrrd", voxels_of("int16"))
    with pytest.raises(PrivacyError, match="one file that ends the same"):
        run(job_of(source, tmp_path / "b.nii"))
    (tmp_path / "b.nrrd").write_bytes(b"an earlier one")
    run(job_of(source, tmp_path / "b.nrrd"))
    assert read(tmp_path / "b.nrrd").voxels.shape == GRIDS["axial"].shape


@pytest.mark.usefixtures("given")
def test_cancelled_at_the_last_moment_nothing_is_written(tmp_path: Path) -> None:
    source, last = write(tmp_path / "a.nrrd", voxels_of("int16")), Progress()
    last.is_cancelled = lambda: last.finished
    with pytest.raises(Exception, match="Cancelled"):
        run(job_of(source, tmp_path / "b.nrrd", side=tmp_path / "side", passphrase="x" * 20), last)
    assert [path.name for path in tmp_path.iterdir()] == ["a.nrrd"]


@pytest.mark.usefixtures("given")
def test_a_file_with_several_volumes_is_refused(tmp_path: Path) -> None:
    """One that is read as a scan, and would be written as something else."""
    image = sitk.GetImageFromArray(voxels_of("int16"))
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / "a.nrrd"))
    with pytest.raises(PrivacyError, match=r"^The file holds more than one volume\. Export the"):
        run(job_of(tmp_path / "a.nrrd", tmp_path / "b.nrrd"))
    assert not (tmp_path / "b.nrrd").exists()


def moved(image: Any, path: str, write_image: Callable[..., None], **options: Any) -> None:
    image.SetOrigin([value + 0.01 for value in image.GetOrigin()])
    write_image(image, path, **options)


def changed(image: Any, path: str, write_image: Callable[..., None], **options: Any) -> None:
    other = sitk.GetImageFromArray(sitk.GetArrayFromImage(image) + np.int16(1))
    other.CopyInformation(image)
    write_image(other, path, **options)


@pytest.mark.parametrize("wrong", [moved, changed])
@pytest.mark.usefixtures("given")
def test_what_does_not_read_back_as_written_is_no_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Callable[..., None]
) -> None:
    source, write_image = write(tmp_path / "a.mha", voxels_of("int16")), sitk.WriteImage
    monkeypatch.setattr(
        sitk, "WriteImage", lambda image, path, **o: wrong(image, path, write_image, **o)
    )
    with pytest.raises(OutputError, match=r"^b\.mha did not read back as written\. Choose \.nrrd"):
        run(job_of(source, tmp_path / "b.mha"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.mha"]


def test_a_face_that_goes_nowhere_is_not_kept(tmp_path: Path) -> None:
    kept = SideFile()
    kept.add("", np.zeros(4), np.ones(4), np.ones(4, bool))
    with replacing_together() as files:
        deface_files._keep_side(job_of(tmp_path, tmp_path), kept, files)
    assert not list(tmp_path.iterdir())
    with replacing_together() as files:
        job = job_of(tmp_path, tmp_path, side=tmp_path / "side", passphrase=PASSPHRASE)
        deface_files._keep_side(job, kept, files)
    assert SideFile.load(tmp_path / "side", PASSPHRASE).pieces.keys() == {""}
    assert (tmp_path / "side").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["a.nrrd", "link", "b.nrrd"])
@pytest.mark.usefixtures("given")
def test_the_removed_face_is_not_written_over_the_scan(tmp_path: Path, name: str) -> None:
    """Nor is its file the output."""
    source = write(tmp_path / "a.nrrd", voxels_of("int16"))
    content = source.read_bytes()
    (tmp_path / "link").symlink_to(source)
    job = job_of(source, tmp_path / "b.nrrd", side=tmp_path / name, passphrase=PASSPHRASE)
    with pytest.raises(PrivacyError, match=r"^The removed face would take the place of a scan\. "
                       r"Choose another name for its file\.$"):  # fmt: skip
        run(job)
    assert source.read_bytes() == content
    assert not (tmp_path / "b.nrrd").exists()


# Putting it back.


def test_the_face_of_a_series_is_not_put_into_a_volume(tmp_path: Path) -> None:
    kept = SideFile()
    kept.add("2.25.1", np.zeros(4), np.ones(4), np.ones(4, bool))
    kept.save(tmp_path / "side", PASSPHRASE)
    source = write(tmp_path / "a.nrrd", voxels_of("int16"))
    (tmp_path / "in").mkdir()
    message = r"^The removed face belongs to another scan\. Give the one it came from\.$"
    for path, target in ((source, tmp_path / "b.nrrd"), (tmp_path / "in", tmp_path / "out")):
        with pytest.raises(PrivacyError, match=message):
            restore(path, tmp_path / "side", PASSPHRASE, target, Progress())
    assert {path.name for path in tmp_path.iterdir()} == {"side", "a.nrrd", "in"}


def test_a_scan_is_not_put_back_over_itself(tmp_path: Path) -> None:
    SideFile().save(tmp_path / "side", PASSPHRASE)
    source = write(tmp_path / "a.nrrd", voxels_of("int16"))
    with pytest.raises(PrivacyError, match="the scan itself"):
        restore(source, tmp_path / "side", PASSPHRASE, source, Progress())


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_volume_that_cannot_be_read_is_told_in_words(tmp_path: Path, ending: str) -> None:
    """A name that is mistyped, and a file that is damaged: not in those of ITK."""
    kept = SideFile()
    kept.add("", np.zeros(4), np.ones(4), np.ones(4, bool))
    kept.save(tmp_path / "side", PASSPHRASE)
    source, target = tmp_path / f"a{ending}", tmp_path / f"b{ending}"
    with pytest.raises(ScanReadError, match="does not exist"):
        restore(source, tmp_path / "side", PASSPHRASE, target, Progress())
    source.write_bytes(b"no scan")
    with pytest.raises(ScanReadError):
        restore(source, tmp_path / "side", PASSPHRASE, target, Progress())
    assert not target.exists()
