"""NRRD, NIfTI and MetaImage: voxels and grid as they were, nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from privacy_makers import KEY, WORD, all_bytes, encodings_of
from scan_makers import GRIDS, assert_markers, marked, write_nifti, write_nrrd
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import Pseudonyms, deidentify
from SkinSegLib.privacy.volumes import clean_volume
from SkinSegLib.scan import read

NAMES = Pseudonyms(KEY)
GRID = GRIDS["oblique"]


def check(source: Path, out: Path, ending: str) -> Path:
    before = read(source)
    outcome = deidentify(source.parent, out, pseudonyms=NAMES)
    assert (outcome.written >= 1, dict(outcome.refused)) == (True, {})
    content = all_bytes(out)
    for code in encodings_of(WORD):
        assert code not in content
    (path,) = out.glob(f"*{ending}")
    after = read(path)
    assert_markers(after, GRID)
    np.testing.assert_array_equal(after.voxels, before.voxels)
    np.testing.assert_allclose(after.ijk_to_ras, before.ijk_to_ras, atol=1e-6)
    again = deidentify(source.parent, out, pseudonyms=NAMES)
    assert (again.written, again.already) == (0, outcome.written)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_nifti(tmp_path: Path, packed: bool) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / f"{WORD}.nii"
    write_nifti(path, GRID, marked(GRID))
    content = bytearray(path.read_bytes())
    for offset, size in ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)):
        content[offset : offset + size] = WORD.encode().ljust(size)[:size]
    # A header extension, and something behind the voxels.
    extension = b"\1\0\0\0" + (32).to_bytes(4, "little") + (6).to_bytes(4, "little")
    extension += WORD.encode().ljust(24)
    content[108:112] = np.float32(352 + 32).tobytes()
    content = content[:348] + extension + content[352:] + WORD.encode()
    if packed:
        path.unlink()
        path = path.with_suffix(".nii.gz")
        with gzip.GzipFile(f"{WORD}.nii", "wb", fileobj=open(path, "wb")) as file:
            file.write(content)
        assert WORD.encode() in path.read_bytes()  # gzip's own header names the file
    else:
        path.write_bytes(content)
    sidecar = {"PatientName": WORD, "KVP": 120, "SliceThickness": f"{WORD}", "Extra": [1, WORD]}
    (folder / f"{WORD}.json").write_text(json.dumps(sidecar))
    check(path, tmp_path / "out", ".nii.gz" if packed else ".nii")
    (beside,) = (tmp_path / "out").glob("*.json")
    assert json.loads(beside.read_text()) == {"KVP": 120}


def test_nrrd(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / f"{WORD}.nrrd"
    extra = (f"content: {WORD}", f"# {WORD}", f"DicomPatient:={WORD}", f'labels: "{WORD}" "" ""')
    write_nrrd(path, GRID, marked(GRID), "LPS", *extra, f'space units: "{WORD}" "mm" "mm"')
    path.write_bytes(path.read_bytes() + WORD.encode())
    check(path, tmp_path / "out", ".nrrd")


def test_nrrd_with_its_voxels_beside(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / f"{WORD}.nhdr"
    write_nrrd(path, GRID, marked(GRID), "LPS")
    head, _, voxels = path.read_bytes().partition(b"\n\n")
    name = f"{WORD}.raw.gz"
    with gzip.GzipFile(WORD, "wb", fileobj=open(folder / name, "wb")) as file:
        file.write(voxels)
    head = head.replace(b"encoding: raw", b"encoding: gzip")
    path.write_bytes(head + f"\ndata file: {name}\n".encode())
    outcome = deidentify(path, tmp_path / "out", pseudonyms=NAMES)
    assert outcome.written == 1
    (new,) = (tmp_path / "out").iterdir()
    assert_markers(read(new), GRID)
    assert WORD.encode() not in all_bytes(tmp_path / "out")


def test_metaimage(tmp_path: Path) -> None:
    import SimpleITK as sitk

    folder = tmp_path / "in"
    folder.mkdir()
    image = sitk.GetImageFromArray(marked(GRID))
    image.SetSpacing(GRID.spacing)
    image.SetDirection(GRID.axes.ravel().tolist())
    image.SetOrigin(GRID.origin)
    image.SetMetaData("PatientName", WORD)
    path = folder / f"{WORD}.mha"
    sitk.WriteImage(image, str(path))
    assert path.read_bytes().count(WORD.encode())
    path.write_bytes(path.read_bytes() + WORD.encode())
    check(path, tmp_path / "out", ".mha")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.nhdr"])
@pytest.mark.parametrize("content", [b"", b"junk", b"NRRD0005\ntype: short\n\n", b"\x1f\x8bjunk"])
def test_damaged_files_are_left_out(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(content)
    outcome = deidentify(tmp_path / "in", tmp_path / "out", pseudonyms=NAMES)
    assert outcome.written == 0
    assert sum(outcome.refused.values()) == 1
    assert not (tmp_path / "out").exists()


def test_words_and_numbers_where_none_belong(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    head = (
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nendian: little\n"
        "space: SECRET DOE 1950\nthicknesses: 078-05-1120 1 1\nold min: 19500102\n\n"
    )
    path.write_bytes(head.encode() + bytes(16))
    content, _suffix = clean_volume(path, ".nrrd")
    for planted in (b"SECRET", b"078-05", b"19500102"):
        assert planted not in content
    assert content.endswith(bytes(16))


def test_a_header_cannot_have_another_file_copied_out(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_bytes(b"Dear Mrs Secret." * 2)
    path = tmp_path / "a.nhdr"
    path.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
        "data file: letter.txt\n\n"
    )
    with pytest.raises(PrivacyError):
        clean_volume(path, ".nhdr")


def test_what_lies_behind_the_voxels_of_a_packed_metaimage(tmp_path: Path) -> None:
    import zlib

    voxels = np.arange(8, dtype="<i2").tobytes()
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\n"
        "DimSize = 2 2 2\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path = tmp_path / "a.mha"
    path.write_bytes(head.encode() + zlib.compress(voxels + b"Mr Secret"))
    content, _suffix = clean_volume(path, ".mha")
    unpacked = zlib.decompress(content.partition(b"LOCAL\n")[2])
    assert unpacked == voxels
