"""What was taken out of a scan, encrypted in a file of its own, to be put back bit for bit."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ..core import PrivacyError
from .vault import seal, unseal

_PURPOSE = "removed face"


@dataclass(frozen=True)
class Piece:
    """What one image lost. ``shape``: of its array; ``region``: packed bits of where; ``values``:
    what was there, in the array's type; ``before``, ``after``: SHA-256 of the whole array."""

    shape: tuple[int, ...]
    region: NDArray[np.uint8]
    values: NDArray[Any]
    before: str
    after: str


@dataclass
class SideFile:
    """Pieces by the instance UID of the image that they belong to; "" for a volume in one file."""

    pieces: dict[str, Piece] = field(default_factory=dict)

    def add(
        self, name: str, before: NDArray[Any], after: NDArray[Any], region: NDArray[np.bool_]
    ) -> None:
        """Keep what ``region`` held. Raises PrivacyError if anything changed outside of it."""
        if digest(before[~region]) != digest(after[~region]):  # NaN is not equal to itself
            raise PrivacyError("A voxel outside the face would change. Nothing was written.")
        self.pieces[name] = Piece(
            before.shape, np.packbits(region), before[region], digest(before), digest(after)
        )

    def put_back(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        """The array as it was. Raises PrivacyError if it is not the one that was left."""
        piece = self.pieces[name]
        count = int(np.prod(piece.shape))
        if array.shape != piece.shape or digest(array) != piece.after:
            raise PrivacyError(
                "The scan is not the one that the removed face was taken from, or was changed "
                "since. Give the defaced scan as it was written."
            )
        region = np.unpackbits(piece.region, count=count).astype(bool).reshape(piece.shape)
        result = array.copy()
        result[region] = piece.values
        if digest(result) != piece.before:
            raise PrivacyError("The scan does not become what it was. Take a copy of both files.")
        return result

    def save(self, path: Path, passphrase: str) -> None:
        """Write in place, encrypted; use it within ``Replacements.add(..., private=True)``.

        Raises PrivacyError."""
        arrays: dict[str, Any] = {}
        facts = []
        for number, (name, piece) in enumerate(self.pieces.items()):
            arrays[f"r{number}"], arrays[f"v{number}"] = piece.region, piece.values
            facts.append((name, piece.shape, piece.before, piece.after))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, facts=np.frombuffer(json.dumps(facts).encode(), "u1"), **arrays)
        path.write_bytes(seal(buffer.getvalue(), passphrase, _PURPOSE))

    @classmethod
    def load(cls, path: Path, passphrase: str) -> SideFile:
        """Raises PrivacyError if it cannot be read or decrypted."""
        try:
            sealed = path.read_bytes()
        except OSError as error:
            raise PrivacyError(f"{path} cannot be read. Check its name.") from error
        content = io.BytesIO(unseal(sealed, passphrase, _PURPOSE))
        try:
            with np.load(content, allow_pickle=False) as file:
                facts = json.loads(file["facts"].tobytes())
                return cls(
                    {
                        name: Piece(tuple(shape), file[f"r{n}"], file[f"v{n}"], before, after)
                        for n, (name, shape, before, after) in enumerate(facts)
                    }
                )
        except (ValueError, TypeError, KeyError, EOFError, OSError, BadZipFile) as error:
            raise PrivacyError(
                f"{path} holds no removed face that this version can read. "
                "Use the version of SkinSeg that wrote it."
            ) from error


def digest(array: NDArray[Any]) -> str:
    """SHA-256 of an array's type and values, the same on machines of either byte order."""
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.dtype.str.encode() + little.tobytes()).hexdigest()
