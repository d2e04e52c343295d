"""What a side file keeps comes back byte for byte, or not at all."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import seal, unseal, vault
from SkinSegLib.privacy.side_file import SideFile, digest

PASSPHRASE = "correct horse battery"


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with less memory than in earnest."""
    monkeypatch.setattr(vault, "_LOG_N", 12)


def slices(seed: int = 1, kind: str = "<i2") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image, the same without its face, and where that was; no multiple of eight voxels."""
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 200, (3, 5, 7)).astype(kind)
    region = rng.random(before.shape) < 0.3
    after = before.copy()
    after[region] = 7
    return before, after, region


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<u2", "u1", "<f4", "<f8", ">f4"])
def test_several_images_there_and_back(tmp_path: Path, kind: str) -> None:
    kept, images = SideFile(), {f"2.25.{n}": slices(n, kind) for n in range(3)}
    for name, (before, after, region) in images.items():
        kept.add(name, before, after, region)
    kept.save(tmp_path / "side", PASSPHRASE)
    again = SideFile.load(tmp_path / "side", PASSPHRASE)
    assert list(again.pieces) == list(images)
    for name, (before, after, _) in images.items():
        given = after.copy()
        back = again.put_back(name, given)
        assert (back.dtype, back.shape) == (before.dtype, before.shape)
        assert back.tobytes() == before.tobytes()
        assert given.tobytes() == after.tobytes()  # the caller's own is left alone


def test_nothing_but_the_face_may_change() -> None:
    before, after, region = slices()
    place = tuple(np.argwhere(~region)[0])
    after[place] += 1
    side = SideFile()
    with pytest.raises(PrivacyError, match=r"A voxel outside the face.*Nothing was written"):
        side.add("", before, after, region)
    assert not side.pieces


def test_voxels_that_are_no_numbers_are_no_change() -> None:
    """A resampled scan has NaN outside its field of view, and NaN is unequal to itself."""
    before, after, region = slices(1, "<f4")
    place = tuple(np.argwhere(~region)[0])
    before[place] = after[place] = np.nan
    side = SideFile()
    side.add("", before, after, region)
    assert side.put_back("", after).tobytes() == before.tobytes()


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_they_do_not_become_water_either(tmp_path: Path, ending: str) -> None:
    """ITK reads NaN in a NIfTI as 0, and what it reads is written again."""
    import SimpleITK as sitk
    from SkinSegLib.core import replacing_together
    from SkinSegLib.privacy.deface import DefaceOptions
    from SkinSegLib.privacy.deface_files import DefaceJob, _write_volume
    from SkinSegLib.scan import read

    before = np.random.default_rng(5).normal(-1000, 5, (6, 30, 40)).astype(np.float32)
    before[0, 0, :3] = np.nan, np.inf, np.nan
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(before), str(source))
    volume, region = read(source), np.zeros(before.shape, bool)
    region[2:4, 10:20, 10:20] = True
    # As much of what deface() gives as is written.
    done: Any = SimpleNamespace(volume=volume, region=region)
    with replacing_together() as files:
        _write_volume(DefaceJob(source, target, DefaceOptions()), ending, volume, done, files)
    missing = [read(path).voxels[0, 0, :3] for path in (source, target)]
    np.testing.assert_array_equal(*missing)
    assert missing[0].max() < -1000
    np.testing.assert_array_equal(read(target).voxels, volume.voxels)


def test_only_the_scan_that_was_left() -> None:
    before, after, region = slices()
    side = SideFile()
    side.add("", before, after, region)
    other = after.copy()
    other[0, 0, 0] += 1
    for wrong in (before, other, after.reshape(5, 3, 7), after.astype("<i4"), after[:2]):
        with pytest.raises(PrivacyError, match=r"not the one.*Give the defaced scan as it was"):
            side.put_back("", wrong)


def test_a_piece_that_does_not_fit() -> None:
    before, after, region = slices()
    side = SideFile()
    side.add("", before, after, region)
    side.pieces[""].values[0] += 1
    with pytest.raises(PrivacyError, match=r"does not become what it was. Take a copy"):
        side.put_back("", after)


def test_nobody_else_reads_or_changes_it(tmp_path: Path) -> None:
    before, after, region = slices()
    side, path = SideFile(), tmp_path / "side"
    side.add("2.25.4711", before, after, region)
    side.save(path, PASSPHRASE)
    content = path.read_bytes()
    assert b"4711" not in content
    assert before[region].tobytes() not in content
    with pytest.raises(PrivacyError, match="passphrase is wrong"):
        SideFile.load(path, "another passphrase")
    for place in (0, 9, 20, 30, len(content) // 2, len(content) - 1):
        altered = bytearray(content)
        altered[place] ^= 1
        path.write_bytes(altered)
        with pytest.raises(PrivacyError):
            SideFile.load(path, PASSPHRASE)
    path.write_bytes(seal(b"{}", PASSPHRASE, "re-identification table"))  # of another purpose
    with pytest.raises(PrivacyError, match="another purpose"):
        SideFile.load(path, PASSPHRASE)
    with pytest.raises(PrivacyError, match=r"elsewhere cannot be read. Check its name"):
        SideFile.load(tmp_path / "elsewhere", PASSPHRASE)


def test_what_is_in_the_file_stays_as_it_is(tmp_path: Path) -> None:
    """Side files are kept for years: purpose, names and order of what is in one do not change."""
    before, after, region = slices()
    side = SideFile()
    side.add("2.25.1", before, after, region)
    side.save(tmp_path / "side", PASSPHRASE)
    content = unseal((tmp_path / "side").read_bytes(), PASSPHRASE, "removed face")
    with np.load(io.BytesIO(content)) as file:
        assert set(file) == {"facts", "r0", "v0"}
        facts = json.loads(file["facts"].tobytes())
        np.testing.assert_array_equal(np.unpackbits(file["r0"])[: region.size], region.ravel())
        assert file["v0"].tobytes() == before[region].tobytes()
    assert facts == [["2.25.1", [3, 5, 7], digest(before), digest(after)]]
    assert len(content) < 1500  # packed


class Program:
    """What a pickle can do to whoever opens it."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Program, "ran", True)


def test_no_program_comes_with_a_side_file(tmp_path: Path) -> None:
    """Also not from someone who knows the passphrase."""
    buffer, facts = io.BytesIO(), [("", (1,), "", "")]
    empty = np.zeros(0, "u1")
    text = np.frombuffer(json.dumps(facts).encode(), "u1")
    np.savez(buffer, facts=text, r0=empty, v0=np.array([Program()], object))
    (tmp_path / "side").write_bytes(seal(buffer.getvalue(), PASSPHRASE, "removed face"))
    with pytest.raises(PrivacyError, match="Use the version of SkinSeg that wrote it"):
        SideFile.load(tmp_path / "side", PASSPHRASE)
    assert not Program.ran


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_what_is_no_removed_face_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "side").write_bytes(seal(content, PASSPHRASE, "removed face"))
    with pytest.raises(PrivacyError, match="holds no removed face"):
        SideFile.load(tmp_path / "side", PASSPHRASE)


def test_a_digest_is_of_type_and_values_whatever_the_machine() -> None:
    array = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    #: sha256 of "<i2" and the numbers from 0 to 23, two bytes each
    known = "18a3a4fb9121e965bc5d9da07e48900fe70d24ff00fe78f0ae98d7afd588872b"
    assert digest(array) == digest(array.astype(">i2")) == known
    assert digest(np.asfortranarray(array)) == known
    assert digest(array.astype("<u2")) != known
    assert digest(array.view("<u2")) != digest(array)
