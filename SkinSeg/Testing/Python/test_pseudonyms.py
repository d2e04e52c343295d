"""Keyed pseudonyms, and what is encrypted under a passphrase."""

from __future__ import annotations

import hashlib
import re
import stat
import unicodedata
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from privacy_makers import KEY
from SkinSegLib.core import PrivacyError
from SkinSegLib.privacy import LinkTable, Pseudonyms, load_key, make_key, seal, unseal, vault
from SkinSegLib.privacy.dates import shifted
from SkinSegLib.privacy.words import cleaned

NAMES, OTHERS = Pseudonyms(KEY), Pseudonyms(KEY[::-1])
PASSPHRASE = "correct horse battery"
TEXT = st.text(min_size=1).filter(lambda text: text.strip("\0 \t\r\n"))
UIDS = st.from_regex(r"1\.2(\.(0|[1-9][0-9]{0,8})){1,5}", fullmatch=True).filter(
    lambda uid: not uid.startswith("1.2.840.10008.")
)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with less memory than in earnest."""
    monkeypatch.setattr(vault, "_LOG_N", 12)


@given(TEXT, TEXT)
def test_a_pseudonym_is_stable_and_a_patients_own(one: str, other: str) -> None:
    assert NAMES.patient(one) == Pseudonyms(bytes(KEY)).patient(f" {one}\0")
    assert re.fullmatch("S[A-Z2-7]{20}", NAMES.patient(one))
    assert NAMES.patient(one) != OTHERS.patient(one)
    same = NAMES.patient(one) == NAMES.patient(other)
    settled = [unicodedata.normalize("NFKC", text).strip("\0 \t\r\n") for text in (one, other)]
    assert same == (settled[0] == settled[1])


@given(UIDS, UIDS)
def test_uids(one: str, other: str) -> None:
    new = NAMES.uid(one)
    assert len(new) <= 64
    assert re.fullmatch(r"2\.25\.[1-9][0-9]*", new)
    assert int(new[5:]) < 1 << 128
    assert new == NAMES.uid(one + "\0") != OTHERS.uid(one)
    assert (NAMES.uid(other) == new) == (one == other)


def test_uids_of_the_standard_stay() -> None:
    assert NAMES.uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
    assert NAMES.uid("") == ""


@given(st.dates(min_value=date(1900, 1, 1)), TEXT)
def test_dates_move_back_by_the_patients_own_days(day: date, patient: str) -> None:
    days = NAMES.shift_days(patient)
    assert -3650 <= days <= -1
    new = shifted(f"{day:%Y%m%d}", "DA", days)
    assert date.fromisoformat(new) - day == timedelta(days)
    assert shifted(f"{day:%Y%m%d}131411.5+0100", "DT", days) == f"{new}131411.5+0100"


@pytest.mark.parametrize(
    "text", ["", "Doe", "20121301", "20120507 Doe", "2012", "99", "20120507Doe", "00000000"]
)
def test_what_is_no_date_is_emptied(text: str) -> None:
    assert shifted(text, "DA", -5) == ""


@given(st.text())
def test_only_known_words_stay(text: str) -> None:
    assert set(cleaned(text).lower().split()) <= set(text.lower().replace("_", " ").split()) | set(
        re.findall(r"[^\W_]+", text.lower())
    )
    assert cleaned(f"{text} Zyxomel 1957 head").endswith("head")
    assert "Zyxomel" not in cleaned(f"Zyxomel {text}")


def test_a_patient_called_head() -> None:
    assert cleaned("CT Head", {"head"}) == "CT"


@pytest.mark.usefixtures("fast")
def test_sealed_data_opens_with_the_passphrase_alone() -> None:
    sealed = seal(b"4711 Doe", PASSPHRASE, "table")
    assert b"Doe" not in sealed
    assert sealed != seal(b"4711 Doe", PASSPHRASE, "table")
    assert unseal(sealed, PASSPHRASE, "table") == b"4711 Doe"
    for wrong, purpose in ((PASSPHRASE + " ", "table"), (PASSPHRASE, "face")):
        with pytest.raises(PrivacyError, match="wrong"):
            unseal(sealed, wrong, purpose)
    for place in range(0, len(sealed), 3):  # the header too
        altered = bytearray(sealed)
        altered[place] ^= 1
        with pytest.raises(PrivacyError):
            unseal(bytes(altered), PASSPHRASE, "table")
    with pytest.raises(PrivacyError, match="short"):
        seal(b"", "short", "table")
    with pytest.raises(PrivacyError, match="no file"):
        unseal(b"x", PASSPHRASE, "table")


def test_a_file_that_was_cut_short_or_is_another() -> None:
    for content in (b"", b"SKINVLT1", b"SKINVLT1" + bytes(30), b"not ours".ljust(200)):
        with pytest.raises(PrivacyError, match=r"that SkinSeg has encrypted\. Choose another"):
            unseal(content, PASSPHRASE, "table")


def test_files_encrypted_before_open_for_ever() -> None:
    """By what the header says, with another implementation of scrypt (RFC 7914)."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = bytes(range(16)), bytes(range(100, 112))
    header = b"SKINVLT1" + bytes((11, 2, 3)) + salt + nonce
    key = hashlib.scrypt(PASSPHRASE.encode(), salt=salt, n=2**11, r=2, p=3, dklen=32)
    data = AESGCM(key).encrypt(nonce, b"4711 Doe", header + b"table")
    assert unseal(header + data, PASSPHRASE, "table") == b"4711 Doe"


def test_a_file_cannot_ask_for_all_memory() -> None:
    header = vault._HEADER.pack(b"SKINVLT1", 40, 8, 1, bytes(16), bytes(12))
    with pytest.raises(PrivacyError, match="damaged"):
        unseal(header + bytes(32), PASSPHRASE, "table")


def test_the_real_cost_of_a_guess() -> None:
    """OWASP's advice for scrypt: N of 2^17 with r of 8."""
    assert (vault._LOG_N, vault._R) == (17, 8)


@pytest.mark.usefixtures("fast")
def test_the_table_is_never_in_clear(tmp_path: Path) -> None:
    table = LinkTable()
    facts = {"patient_id": "4711-0815", "patient_name": "Doe^Secret", "date_shift_days": "-7"}
    table.add("SABC", facts, ("2.25.1", "1.2.3.4711"))
    path = tmp_path / "who"
    table.save(path, PASSPHRASE)
    content = path.read_bytes()
    for word in (b"4711", b"Doe", b"SABC", b"1.2.3"):
        assert word not in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["who"]
    again = LinkTable.load(path, PASSPHRASE)
    assert again.patient("SABC") == facts
    assert again.studies == {"2.25.1": "1.2.3.4711"}
    assert "Doe" not in repr(again)
    with pytest.raises(PrivacyError, match="wrong"):
        LinkTable.load(path, "another passphrase")
    with pytest.raises(PrivacyError, match=r"does not hold.* made with another table or key"):
        again.patient("SXYZ")
    with pytest.raises(PrivacyError, match=r"elsewhere cannot be read. Check its name"):
        LinkTable.load(tmp_path / "elsewhere", PASSPHRASE)


@pytest.mark.usefixtures("fast")
def test_a_disk_that_loses_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table that was there is left alone."""
    path = tmp_path / "who"
    LinkTable({"SABC": {"patient_id": "4711"}}).save(path, PASSPHRASE)
    before, read = path.read_bytes(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read(self)[:-1])
    with pytest.raises(PrivacyError, match=r"The table did not read back.* Check the disk"):
        LinkTable().save(path, PASSPHRASE)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["who"]


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path) == key
    assert len(key) == 32
    with pytest.raises(PrivacyError, match="already"):
        make_key(path)
    path.write_text("secret")
    with pytest.raises(PrivacyError, match="no key"):
        load_key(path)
    with pytest.raises(PrivacyError, match="short"):
        Pseudonyms(b"x" * 31)
    assert key.hex() not in repr(Pseudonyms(key))


def test_a_passphrase_comes_from_the_environment_or_a_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(vault.PASSPHRASE_VARIABLE, PASSPHRASE)
    assert vault.read_passphrase() == PASSPHRASE
    monkeypatch.delenv(vault.PASSPHRASE_VARIABLE)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(PrivacyError, match=vault.PASSPHRASE_VARIABLE):
        vault.read_passphrase()
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([PASSPHRASE, "a typing error"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    with pytest.raises(PrivacyError, match="differ"):
        vault.read_passphrase(new=True)


def test_what_is_typed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for a file that is there, twice for a new one, and short ones are refused at once."""
    monkeypatch.delenv(vault.PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def typed(*answers: str, new: bool) -> str:
        asked.clear()
        waiting = iter(answers)
        monkeypatch.setattr("getpass.getpass", lambda text: asked.append(text) or next(waiting))
        return vault.read_passphrase(new)

    assert typed("short", new=False) == "short"  # of another program's day: not for us to refuse
    assert len(asked) == 1
    assert typed("ten letter", "ten letter", new=True) == "ten letter"
    assert asked[0].startswith("Passphrase")
    assert asked[1].startswith("Again")
    with pytest.raises(PrivacyError, match="short"):
        typed("short", "short", new=True)
    assert len(asked) == 1
    with pytest.raises(PrivacyError, match=r"two passphrases differ. Run the command again"):
        typed(PASSPHRASE, "short", new=True)


def test_a_short_one_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(vault.PASSPHRASE_VARIABLE, "nine lett")
    assert vault.read_passphrase() == "nine lett"
    with pytest.raises(PrivacyError, match=r"short. Choose one of at least 10"):
        vault.read_passphrase(new=True)
    monkeypatch.setenv(vault.PASSPHRASE_VARIABLE, "ten letter")
    assert vault.read_passphrase(new=True) == "ten letter"
