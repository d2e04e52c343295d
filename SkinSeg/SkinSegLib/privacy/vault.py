"""Data under a passphrase: scrypt and AES-256-GCM, both from the package cryptography."""

from __future__ import annotations

import os
import struct
import sys
import unicodedata
from typing import Any

from ..core import PrivacyError
from .profile import missing_package

#: Read before the screen is asked. Never an argument: those are in the list of processes.
PASSPHRASE_VARIABLE = "SKINSEG_PASSPHRASE"
SHORTEST_PASSPHRASE = 10

#: Magic, log2 of scrypt's N, r, p, salt, nonce. All of it is authenticated with the data.
_HEADER = struct.Struct("<8sBBB16s12s")
_MAGIC = b"SKINVLT1"
#: scrypt (RFC 7914) with 128 MB, a few tenths of a second, on every guess.
_LOG_N, _R, _P = 17, 8, 1
#: scrypt takes 128 * N * r bytes; a file that asks for more than this is not ours.
MAX_MEMORY = 1 << 30


def seal(data: bytes, passphrase: str, purpose: str) -> bytes:
    """``data`` encrypted; ``purpose`` must be named again to open it, so that no file passes for
    another. Raises PrivacyError for a passphrase that is too short, MissingPackageError."""
    _require_long(passphrase)
    header = _HEADER.pack(_MAGIC, _LOG_N, _R, _P, os.urandom(16), os.urandom(12))
    cipher = _cipher(header, passphrase)
    return header + bytes(cipher.encrypt(header[-12:], data, header + purpose.encode()))


def unseal(sealed: bytes, passphrase: str, purpose: str) -> bytes:
    """What :func:`seal` was given.

    Raises PrivacyError for a wrong passphrase, which cannot be told from an altered file, and for
    what is no such file; MissingPackageError without the package cryptography.
    """
    header = sealed[: _HEADER.size]
    if len(header) < _HEADER.size or not header.startswith(_MAGIC):
        raise PrivacyError("This is no file that SkinSeg has encrypted. Choose another one.")
    log_n, r, p = header[8], header[9], header[10]
    sensible = 10 <= log_n <= 30 and 1 <= r <= 16 and 1 <= p <= 4
    if not sensible or 128 * r << log_n > MAX_MEMORY:
        raise PrivacyError("The encrypted file is damaged. Take a copy of it.")
    cipher = _cipher(header, passphrase)
    from cryptography.exceptions import InvalidTag

    try:
        return bytes(
            cipher.decrypt(header[-12:], sealed[_HEADER.size :], header + purpose.encode())
        )
    except InvalidTag as error:
        raise PrivacyError(
            "The passphrase is wrong, or the encrypted file was altered or is one for another "
            "purpose. Without the passphrase there is no way to what it holds."
        ) from error


def _cipher(header: bytes, passphrase: str) -> Any:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
    except ImportError as error:
        raise missing_package() from error
    salt = header[11:27]
    kdf = Scrypt(salt=salt, length=32, n=1 << header[8], r=header[9], p=header[10])
    return AESGCM(kdf.derive(_secret(passphrase)))


def _secret(passphrase: str) -> bytes:
    """The bytes of a passphrase: the same ones for the same letters, since keyboards and systems
    write an accent as part of a letter or behind it (Unicode, NFC).

    Raises PrivacyError for what is no text, such as bytes of another encoding in a variable.
    """
    try:
        return unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError:
        raise PrivacyError(
            f"The passphrase is no valid text. If it comes from {PASSPHRASE_VARIABLE}, set that in "
            "UTF-8, or type the passphrase in."
        ) from None


def _require_long(passphrase: str) -> None:
    if len(_secret(passphrase).decode()) < SHORTEST_PASSPHRASE:
        raise PrivacyError(
            f"The passphrase is too short. Choose one of at least {SHORTEST_PASSPHRASE} characters."
        )


def read_passphrase(new: bool = False) -> str:
    """The passphrase from $SKINSEG_PASSPHRASE, or typed in unseen (twice if it is a ``new`` one).

    Raises PrivacyError where there is neither the variable nor a terminal, the two differ, it is no
    text, or a new one is too short, which is better known before hours of work than after.
    """
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:
        return _checked(given, new)
    if not sys.stdin.isatty():
        raise PrivacyError(
            f"A passphrase is needed. Put it into the variable {PASSPHRASE_VARIABLE}, "
            "or run this in a terminal, which will ask for it."
        )
    import getpass

    first = _checked(getpass.getpass("Passphrase: "), new)
    if new and _checked(getpass.getpass("Again: "), False) != first:
        raise PrivacyError("The two passphrases differ. Run the command again.")
    return first


def _checked(passphrase: str, new: bool) -> str:
    if new:
        _require_long(passphrase)
    return _secret(passphrase).decode()
