"""The way back from pseudonyms to patients, on disk only ever encrypted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..core import PrivacyError, replacing
from .vault import seal, unseal

_PURPOSE = "re-identification table"


@dataclass
class LinkTable:
    """Patients by pseudonym. ``patients``: the pseudonym's "patient_id", "issuer_of_patient_id"
    where it is known, "patient_name" and "date_shift_days"; ``studies``: the old Study Instance UID
    by the new one.
    """

    patients: dict[str, dict[str, str]] = field(default_factory=dict, repr=False)
    studies: dict[str, str] = field(default_factory=dict, repr=False)

    def add(self, pseudonym: str, facts: Mapping[str, str], study: tuple[str, str]) -> None:
        """``study``: its new UID, and its old one. Facts that are empty leave those before."""
        given = {name: value for name, value in facts.items() if value}
        self.patients[pseudonym] = {**facts, **self.patients.get(pseudonym, {}), **given}
        if study[0]:
            self.studies[study[0]] = study[1]

    def patient(self, pseudonym: str) -> Mapping[str, str]:
        """Raises PrivacyError if the table does not have it."""
        try:
            return self.patients[pseudonym.strip()]
        except KeyError:
            raise PrivacyError(
                "The table does not hold this pseudonym. It was made with another table or key."
            ) from None

    def save(self, path: Path, passphrase: str) -> None:
        """Encrypt and write; what was there is replaced whole. Raises PrivacyError, OutputError."""
        content = json.dumps({"patients": self.patients, "studies": self.studies})
        sealed = seal(content.encode(), passphrase, _PURPOSE)
        with replacing(path, private=True) as temporary:
            temporary.write_bytes(sealed)
            if temporary.read_bytes() != sealed:
                raise PrivacyError("The table did not read back as written. Check the disk.")

    @classmethod
    def load(cls, path: Path, passphrase: str) -> LinkTable:
        """Raises PrivacyError if it cannot be read or decrypted."""
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise PrivacyError(f"The table {path} cannot be read. Check its name.") from error
        content = json.loads(unseal(sealed, passphrase, _PURPOSE))
        return cls(content["patients"], content["studies"])
