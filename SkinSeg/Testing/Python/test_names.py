"""File names from segment names: whatever was typed, every system takes the name."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_makers import ball
from SkinSegLib.surface import safe_file_name, sidecar_path, write

DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)( *\..*)?", re.I)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Head", "Head.stl"),
        ("Skin 2.0 mm", "Skin 2.0 mm.stl"),
        ("Kopf: außen/innen", "Kopf_ außen_innen.stl"),
        ("头部", "头部.stl"),
        ("e\u0301", "\u00e9.stl"),
        ("../../etc/passwd", "_.._etc_passwd.stl"),
        ("C:\\skin", "C__skin.stl"),
        ('<a>|"b"?*', "_a___b___.stl"),
        ("nul", "_nul.stl"),
        ("COM1.left", "_COM1.left.stl"),
        ("LPT\u00b9", "_LPT\u00b9.stl"),
        ("CON .x", "_CON .x.stl"),
        ("Console", "Console.stl"),
        ("COM10", "COM10.stl"),
        (" .name. . ", "name.stl"),
        ("", "surface.stl"),
        ("...", "surface.stl"),
        (" \u3000", "surface.stl"),
        ("a\nb\x00c\x7f", "a_b_c_.stl"),
        ("gpj.\u202elts", "gpj._lts.stl"),
        ("\ud800", "_.stl"),
    ],
)
def test_examples(name, expected):
    assert safe_file_name(name, ".stl") == expected


@given(st.text(st.characters() | st.sampled_from('.. /\\:*?"<>|\0\x1f\u202e\ud800CONul1')))
def test_every_system_takes_it(name):
    made = safe_file_name(name, ".stl")
    stem = made.removesuffix(".stl")
    assert made != stem
    assert stem
    assert len(made.encode("utf-8")) <= 255
    assert not set(made) & set('<>:"/\\|?*')
    assert not {unicodedata.category(letter) for letter in made} & {"Cc", "Cs"}
    assert stem == stem.strip(" .")
    assert not DEVICE.fullmatch(stem)
    assert safe_file_name(stem, ".stl") == made, "a name made safe stays as it is"


@given(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=20))
def test_letters_and_digits_of_all_scripts_stay(name):
    plain = unicodedata.normalize("NFC", name)
    made = safe_file_name(name, ".obj")
    assert made in (f"{plain}.obj", f"_{plain}.obj")


@pytest.mark.parametrize("letter", ["x", "é", "头", "\U0001f600"])
def test_a_long_name_can_be_written_with_its_record(tmp_path, letter):
    """Also under the longer name that the file has until it is whole."""
    name = safe_file_name(letter * 400, ".stl")
    assert name.startswith(letter * 50)
    path = write(ball(), tmp_path / name)
    sidecar_path(path).write_text("{}")
    assert len(list(tmp_path.iterdir())) == 2
