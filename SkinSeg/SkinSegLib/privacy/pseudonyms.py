"""Keyed pseudonyms: the same for the same person wherever the same key is, and no way back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

from ..core import PrivacyError, replacing

#: Bytes of a key, and characters of a pseudonym after its letter: 100 bits, no two alike by chance.
KEY_BYTES, _LENGTH = 32, 20
#: Root of the context groups (PS3.16), of which the dictionary has not all.
_CONTEXT_GROUPS = "1.2.840.10008.6.1."
#: Dates go back by 1 to this many days; not forward, which would make days to come.
MAX_SHIFT_DAYS = 3650


@dataclass(frozen=True)
class Pseudonyms:
    """HMAC-SHA-256 (RFC 2104) of identifiers under ``key``, one domain for each kind of them.

    ``key``: at least 32 random bytes. Whoever has the key can test a guess (is this pseudonym that
    patient's?), so it is as secret as the identifiers. Patients of two sites that share a key,
    number their patients independently and do not say who issued the number get mixed up: give
    such sites a key each.

    Raises PrivacyError for a key that is too short.
    """

    key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.key) < KEY_BYTES:
            raise PrivacyError(
                f"The key is too short; {KEY_BYTES} bytes are needed. Make one with --new-key."
            )

    def digest(self, domain: str, value: bytes) -> bytes:
        """32 bytes that depend on the key, on what the value is, and on the value."""
        return hmac.digest(self.key, domain.encode() + b"\0" + value, hashlib.sha256)

    def patient(self, identifier: str, issuer: str = "") -> str:
        """The pseudonym of a Patient ID, such as ``S7KQ2...``: 21 characters of A-Z and 2-7.

        ``issuer``: of the ID; two issuers may give the same one to two patients. Spaces and zeros
        at either end, which DICOM pads with, and Unicode's different ways of writing one character
        make no difference.
        """
        found = self.digest(*_named("patient", identifier, issuer))
        return "S" + base64.b32encode(found).decode()[:_LENGTH]

    def uid(self, uid: str) -> str:
        """The UID that replaces another: 2.25 and a 128-bit number (PS3.5, B.2).

        The standard's own UIDs, and no UID, stay as they are.
        """
        text = str(uid).strip("\0 ")
        if not text or is_standard(text):
            return text
        found = bytearray(self.digest("uid", text.encode())[:16])
        found[6] = (found[6] & 0x0F) | 0x80  # a UUID of version 8 (RFC 9562), as B.2 wants a UUID
        found[8] = (found[8] & 0x3F) | 0x80
        return f"2.25.{int.from_bytes(found, 'big')}"

    def shift_days(self, identifier: str, issuer: str = "") -> int:
        """Days to add to a patient's dates, -3650 to -1."""
        found = self.digest(*_named("shift", identifier, issuer))
        return -1 - int.from_bytes(found[:8], "big") % MAX_SHIFT_DAYS


def is_standard(uid: str) -> bool:
    """Whether the standard itself gave a UID its meaning: anybody can begin one with its root."""
    from pydicom.uid import UID_dictionary

    return uid in UID_dictionary or uid.startswith(_CONTEXT_GROUPS)


def random_pseudonyms() -> Pseudonyms:
    """With a key that nobody keeps: consistent within one run, and never to be linked again."""
    return Pseudonyms(secrets.token_bytes(KEY_BYTES))


def make_key(path: Path) -> bytes:
    """Write a new key, as 64 hexadecimal digits, for its owner alone to read.

    Raises PrivacyError if the file is there already: a lost key ends the link between uploads.
    """
    if os.path.lexists(path):
        raise PrivacyError(f"{path} is there already. Use it without --new-key, or name another.")
    key = secrets.token_bytes(KEY_BYTES)
    with replacing(path, private=True) as temporary:
        temporary.write_text(key.hex() + "\n", encoding="ascii")
    return key


def load_key(path: Path) -> bytes:
    """The key in a file of :func:`make_key`. Raises PrivacyError if it holds none."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(
            f"The key {path} cannot be read. Check its name, or make one with --new-key."
        ) from error
    if not re.fullmatch(r"[0-9a-f]{64,}", text) or len(text) % 2:
        raise PrivacyError(f"{path} holds no key. Make one with --new-key.")
    return bytes.fromhex(text)


def settled(identifier: str) -> str:
    """An identifier without what makes no difference between two of them."""
    return unicodedata.normalize("NFKC", str(identifier)).strip("\0 \t\r\n")


def _named(domain: str, identifier: str, issuer: str) -> tuple[str, bytes]:
    """Domain and value of a digest; without an issuer as they were before issuers counted."""
    number, who = settled(identifier).encode(), settled(issuer).encode()
    if not who:
        return domain, number
    return f"{domain} of issuer", len(who).to_bytes(8, "big") + who + number
