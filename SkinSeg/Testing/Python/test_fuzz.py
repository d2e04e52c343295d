"""Damaged and hostile scans: see fuzz_reading.py. ``SKINSEG_FUZZ=12000`` runs that many."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command import LIBRARY
from fuzz_reading import GRID, MEMORY_MB, made, target
from pydicom.uid import UID
from scan_makers import load, marked
from series_makers import series
from SkinSegLib.core import ScanReadError, SkinSegError
from SkinSegLib.scan import dicom_codes, dicom_pixels, read, survey
from SkinSegLib.scan.masks import read_mask

#: What a large run takes, per example, with room to spare on two busy cores.
SECONDS_EACH = 0.5


def fuzzed(count: int, number: int) -> None:
    """Any exception but SkinSegError, a hang, or a file written beside the output fails there."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("fuzz_reading.py")), str(count), str(number)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60 + SECONDS_EACH * count,
        env={**os.environ, "PYTHONPATH": str(LIBRARY), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["outcomes"]["read"] > 0
    assert result["outcomes"]["refused"] > 0
    assert "no memory" not in result["outcomes"]
    assert result["grown_mb"] < MEMORY_MB
    assert "Secret" not in done.stderr + done.stdout


@pytest.mark.slow
def test_a_few_damaged_scans() -> None:
    fuzzed(150, 1)


@pytest.mark.slow
def test_many_damaged_scans() -> None:
    count = int(os.environ.get("SKINSEG_FUZZ", "0"))
    if not count:
        pytest.skip("set SKINSEG_FUZZ to the number of damaged scans to read")
    fuzzed(count, int.from_bytes(os.urandom(4), "big"))


def only(folder: Path, content: bytes) -> Path:
    """A folder that holds one damaged file alone."""
    folder.mkdir()
    (folder / "scan").write_bytes(content)
    return folder


@pytest.mark.parametrize("kind", ["jpeg2000", "jpegls"])
def test_a_code_that_claims_another_size_is_not_decoded(kind: str, tmp_path: Path) -> None:
    """Decoding it would take 7 GB."""
    content = target(kind, made(tmp_path / "made")[kind]).read_bytes()
    if kind == "jpeg2000":
        at = content.index(b"\xff\x4f\xff\x51") + 8
        large = struct.pack(">2I", 60000, 60000)
        content = content[:at] + large + content[at + 8 : at + 16] + large + content[at + 24 :]
    else:
        at = content.index(b"\xff\xf7") + 5
        content = content[:at] + struct.pack(">2H", 60000, 60000) + content[at + 4 :]
    folder = only(tmp_path / "bomb", content)
    assert len(survey(folder).series) == 1
    tracemalloc.start()
    try:
        with pytest.raises(ScanReadError, match="damaged or truncated"):
            read(folder)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_deflated_data_set_that_grows_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that does not is read."""
    for path in series(tmp_path / "in", GRID, voxels=marked(GRID)):
        data = load(path)
        data.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.1.99")
        data.save_as(path)
    np.testing.assert_array_equal(read(tmp_path / "in").voxels, marked(GRID))
    monkeypatch.setattr(dicom_codes, "MAX_DEFLATED", 2000)
    found = survey(tmp_path / "in")
    assert (len(found.series), found.damaged) == (0, 3)


def test_a_decoder_that_panics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one for RLE is written in Rust: its panics are no Exception. Ctrl-C stays what it is."""

    class PanicException(BaseException):
        pass

    series(tmp_path, GRID, voxels=marked(GRID))
    for raised, expected in ((PanicException, ScanReadError), (KeyboardInterrupt,) * 2):

        def decode(*given: object, raised: type[BaseException] = raised) -> None:
            raise raised("index out of bounds")

        monkeypatch.setattr(dicom_pixels, "_decoded", decode)
        with pytest.raises(expected):
            read(tmp_path)


def test_a_nrrd_header_that_claims_too_much(tmp_path: Path) -> None:
    path = tmp_path / "scan.nrrd"
    content = target("nrrd", made(tmp_path / "made")["nrrd"]).read_bytes()
    for sizes in ("60000 60000 60000", "-1 40 3", "0 0 0", "999999999999 2 2"):
        path.write_bytes(content.replace(b"sizes: 48 40 3", f"sizes: {sizes}".encode()))
        for reader in (read, read_mask):
            with pytest.raises(SkinSegError):
                reader(path)


@pytest.mark.parametrize(
    "line",
    [
        *("1e308 origin: {}", "space origin: ({}", "spacings: {}", "space units: {}", "kinds: {}"),
        *("{}", " {}", "a: b:={}", "measurement frame: {}"),
    ],
)
def test_a_long_line_in_a_nrrd_header(line: str, tmp_path: Path) -> None:
    """ITK's reader ends the process by a segmentation fault when it complains of one."""
    path = tmp_path / "scan.nrrd"
    content = target("nrrd", made(tmp_path / "made")["nrrd"]).read_bytes()
    path.write_bytes(content.replace(b"\nendian", f"\n{line.format('x' * 5000)}\nendian".encode()))
    for reader in (read, read_mask):
        with pytest.raises(ScanReadError, match=r"damaged header|no number"):
            reader(path)
    # Such a line is fine where the reader has nothing to complain of.
    long = "\n# {0}\ncontent: {0}\nkey:={0}\nendian".format(5000 * "x").encode()
    path.write_bytes(content.replace(b"\nendian", long))
    assert read(path).voxels.shape == GRID.shape


def test_a_zip_whose_packed_bytes_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", bytes(128) + b"DICM" + os.urandom(5000))
    content = path.read_bytes()
    path.write_bytes(content[:40] + b"\xff" * 20 + content[60:])
    with pytest.raises(ScanReadError, match="damaged zip archive"):
        read(path)


def test_a_zip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stated sizes lie, and links and names that climb are not followed."""
    monkeypatch.setattr("SkinSegLib.scan.archive.MAX_BYTES", 10_000_000)
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        head = bytes(128) + b"DICM"
        archive.writestr("../../bomb", head + bytes(9_000_000))
        archive.writestr("/etc/bomb", head + bytes(9_000_000))
    with pytest.raises(ScanReadError, match="unpacks to more"):
        read(path)
    # The central directory says less than there is.
    content = path.read_bytes()
    stated = struct.pack("<I", 9_000_132)
    path.write_bytes(content.replace(stated, struct.pack("<I", 1000)))
    before = set(tmp_path.rglob("*"))
    with pytest.raises(ScanReadError):
        read(path)
    assert set(tmp_path.rglob("*")) == before
