"""Names for the cases of an archive that stay the same and say nothing of the patients."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import MissingPackageError, OutputError, replacing
from .scans import Scan

#: Beside the cases: the ledger, the lock, and what is being worked on.
PRIVATE = ".skinseg-batch"
_LEDGER, _LOCK, _RUN, _GOES_ON = "ledger.json", "lock", "run-", "goes-on"


#: What a file that is no ledger makes of itself when it is read.
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Ledger:
    """Which number each scan has in an output folder.

    A scan is known by a keyed hash (HMAC-SHA-256) of its key, so that the file that is kept names
    nobody; the key is kept beside it, and both are for their owner alone.
    """

    def __init__(self, key: str, numbers: dict[str, int]) -> None:
        self._key, self._numbers = key, numbers

    @classmethod
    def of(cls, output: Path) -> Ledger:
        """The ledger of an output folder, a new one if it is empty or missing.

        Raises OutputError if something else is in there, or the ledger is damaged.
        """
        path = output / PRIVATE / _LEDGER
        _require_own(output)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            numbers = {str(k): int(n) for k, n in content["cases"].items()}
            if min(numbers.values(), default=1) < 1 or len({*numbers.values()}) < len(numbers):
                raise ValueError("two scans would be one case")
            bytes.fromhex(content["key"])
            return cls(str(content["key"]), numbers)
        except FileNotFoundError:
            pass
        except (*_DAMAGE, OSError) as error:
            raise OutputError(
                f"{path} is damaged or cannot be read. Restore it from a backup, or choose a new "
                "output folder."
            ) from error
        other = output.exists() and (
            not output.is_dir() or any(item.name != PRIVATE for item in output.iterdir())
        )
        if other:
            raise OutputError(
                f"{output} is not empty and holds no batch. Give a new folder for the results."
            )
        return cls(secrets.token_hex(32), {})

    def name(self, scan: Scan) -> str:
        """The case's name; a scan that is new gets the next number."""
        number = self._numbers.setdefault(self._hash(scan.key), len(self._numbers) + 1)
        return f"case-{number:04d}"

    def stamp(self, scan: Scan, root: Path) -> str:
        """A keyed hash of names, sizes and times of a scan's files: another one, another scan."""
        return self._hash("\n".join(_state(path, root) for path in scan.files))

    def save(self, output: Path) -> None:
        """Write it, for its owner alone to read. Raises OutputError."""
        content = {"key": self._key, "cases": self._numbers}
        with replacing(output / PRIVATE / _LEDGER, private=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")

    def _hash(self, text: str) -> str:
        content = text.encode("utf-8", "surrogateescape")  # names need not be UTF-8
        return hmac.digest(bytes.fromhex(self._key), content, "sha256").hex()


def _state(path: Path, root: Path) -> str:
    try:
        stat = path.stat()
    except OSError:  # it went meanwhile: the case says so when it is read
        return f"{path.relative_to(root)} gone"
    return f"{path.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}"


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Within the block no other run works on ``output``; the folder is made if it is missing.

    Raises OutputError if another run does, or it cannot be made; MissingPackageError.
    """
    try:
        from filelock import FileLock, Timeout
    except ImportError as error:
        raise MissingPackageError(
            "A batch needs filelock. Install it with pip install 'skinseg[batch]'."
        ) from error
    _require_own(output)
    try:
        (output / PRIVATE).mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(output / PRIVATE / _LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"Another run works on {output}. Wait for it, or choose another output folder."
        ) from error
    except OSError as error:
        raise OutputError(
            f"The folder {output} cannot be used ({error.strerror}). Choose another one."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _require_own(output: Path) -> None:
    """A batch from elsewhere could have another folder written to, and cleared, by a link."""
    for path in (output / PRIVATE, output / PRIVATE / _LEDGER):
        if path.is_symlink():
            raise OutputError(
                f"{path.name} in {output} is a link. Choose a new output folder, or remove it."
            )


def begin_run(output: Path) -> Path:
    """A new folder for what one run works on, until :func:`end_run`."""
    folder = output / PRIVATE / f"{_RUN}{secrets.token_hex(4)}"
    folder.mkdir()
    (folder / _GOES_ON).touch()
    return folder


def end_run(folder: Path) -> None:
    """Let every worker of a run know, on whatever computer, that it is over."""
    (folder / _GOES_ON).unlink(missing_ok=True)


def goes_on(folder: Path) -> bool:
    """Whether the run of a folder is not over."""
    return (folder / _GOES_ON).exists()


def leftovers(output: Path) -> Iterable[Path]:
    """Folders of runs that are over or were killed; only for whoever holds the lock to remove."""
    return (output / PRIVATE).glob(f"{_RUN}*")
