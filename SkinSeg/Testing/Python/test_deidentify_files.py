"""Pixels, files that are refused, and places that nothing is written to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from privacy_makers import (
    KEY,
    WORD,
    plain_file,
    planted_file,
    with_text,
)
from pydicom.uid import ExplicitVRBigEndian, RLELossless
from scan_makers import jpeg_2000, save
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, deidentify

NAMES = Pseudonyms(KEY)


def only(folder: Path) -> Path:
    (path,) = folder.rglob("*.dcm")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / f"in-{WORD}"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("sop", "reason"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.22", "report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "document"),
        ("1.2.840.10008.5.1.4.1.1.104.3", "model"),
        ("1.2.840.10008.5.1.4.1.1.7", "screen"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "presentation"),
        ("1.2.3.4.5", "another kind"),
    ],
)
def test_what_is_no_image_is_left_out(tmp_path: Path, source: Path, sop: str, reason: str) -> None:
    plain_file(source / "a", SOPClassUID=sop)
    (source / "notes.txt").write_text("Doe")
    (source / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM\x02\x00junk")
    outcome = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert outcome.written == 0
    assert sum(outcome.refused.values()) == 3
    assert any(reason in text for text in outcome.refused)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [3000, 300])
@pytest.mark.parametrize("packed", [False, True])
def test_text_in_the_pixels(tmp_path: Path, source: Path, value: int, packed: bool) -> None:
    data = plain_file(source / "a", with_text(value))
    if packed:
        jpeg_2000(data)
        save(data, source / "a")
    refused = deidentify(source, tmp_path / "no", pseudonyms=NAMES)
    assert (refused.written, sum(refused.refused.values())) == (0, 1)
    out = deidentify(
        source, tmp_path / "out", DeidentifyOptions(burned_in="blackout"), pseudonyms=NAMES
    )
    assert (out.written, out.blacked_out) == (1, 1)
    after = pydicom.dcmread(only(tmp_path / "out"))
    text = with_text(value) == value
    assert text.sum() > 200
    assert (after.pixel_array[text] < -900).all()
    changed = after.pixel_array != with_text(value)
    assert not changed[40:].any()
    assert "113101" in [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
    assert after.BurnedInAnnotation == "NO"


def test_stated_burned_in_text_that_is_not_found(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a", BurnedInAnnotation="YES")
    for choice, written in (("refuse", 0), ("blackout", 0), ("accept", 1)):
        options = DeidentifyOptions(burned_in=choice)
        assert deidentify(source, tmp_path / choice, options, NAMES).written == written


@pytest.mark.parametrize("packed", [False, True])
def test_bits_above_the_stored_ones_are_cleared(tmp_path: Path, source: Path, packed: bool) -> None:
    data = plain_file(source / "a")
    pixels = np.full((64, 64), 0x5123, np.uint16)
    data.PixelData, data.PixelRepresentation = pixels.tobytes(), 0
    if packed:
        data.compress(RLELossless, encoding_plugin="pydicom")
    data.BitsStored, data.HighBit = 12, 11
    save(data, source / "a")
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    after = pydicom.dcmread(only(tmp_path / "out"))
    assert set(np.frombuffer(after.PixelData, "<u2")) == {0x123}


def test_big_endian_is_read_and_kept(tmp_path: Path, source: Path) -> None:
    data = plain_file(source / "a")
    before = data.pixel_array.copy()
    data.PixelData = before.astype(">i2").tobytes()
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(source / "a", data, implicit_vr=False, little_endian=False)
    deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    np.testing.assert_array_equal(pydicom.dcmread(only(tmp_path / "out")).pixel_array, before)


def test_nothing_is_written_elsewhere(tmp_path: Path, source: Path) -> None:
    plain_file(source / "a")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    (out / NAMES.uid("1.2.3.4")).symlink_to(elsewhere)
    with pytest.raises(PrivacyError, match="link"):
        deidentify(source, out, pseudonyms=NAMES)
    assert not list(elsewhere.iterdir())
    for wrong in (source, source / "within", source.parent):
        with pytest.raises(PrivacyError, match="apart"):
            deidentify(source, wrong, pseudonyms=NAMES)


def test_a_zip_that_names_other_places(tmp_path: Path, source: Path) -> None:
    import zipfile

    plain_file(source / "a")
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        archive.write(source / "a", "../../Doe.dcm")
        archive.writestr("/etc/Doe", "text")
    outcome = deidentify(tmp_path / "in.zip", tmp_path / "deep" / "out", pseudonyms=NAMES)
    assert outcome.written == 1
    assert {path.name for path in tmp_path.iterdir()} == {"deep", source.name, "in.zip"}
    assert "Doe" not in str(list((tmp_path / "deep").rglob("*")))


def test_an_identifier_within_compressed_pixels(tmp_path: Path, source: Path) -> None:
    data = plain_file(source / "a")
    jpeg_2000(data)
    code = bytes(data.PixelData)
    comment = b"\xff\x64\x00\x0d\x00\x01Mr Secret"
    start = code.index(b"\xff\x52")  # coding style: comments may stand before it (ISO 15444-1)
    from pydicom.encaps import encapsulate

    frame = code[code.index(b"\xff\x4f\xff\x51") :]
    cut = start - code.index(b"\xff\x4f\xff\x51")
    data.PixelData = encapsulate([frame[:cut] + comment + frame[cut:]])
    data["PixelData"].is_undefined_length = True
    save(data, source / "a")
    before = pydicom.dcmread(source / "a").pixel_array
    outcome = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert outcome.written == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert b"Secret" not in path.read_bytes()
    back = pydicom.dcmread(path)
    assert not back.file_meta.TransferSyntaxUID.is_compressed
    assert np.array_equal(back.pixel_array, before)


def test_damaged_files_stop_nothing(tmp_path: Path, source: Path) -> None:
    planted_file(source / "a")
    content = (source / "a").read_bytes()
    rng = np.random.default_rng(7)
    for number in range(40):
        damaged = bytearray(content if number % 4 else content[: rng.integers(200, len(content))])
        for place in rng.integers(132, min(len(damaged), 40000), 20):
            damaged[place] = rng.integers(256)
        (source / f"{number}").write_bytes(damaged)
    outcome = deidentify(source, tmp_path / "out", pseudonyms=NAMES)
    assert outcome.written >= 1
    done = outcome.written + outcome.already + outcome.repeated + sum(outcome.refused.values())
    assert done == 41
