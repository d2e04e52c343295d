"""Arrays between a worker and its owner: NumPy's own files, mapped into memory, never compressed.

They lie in a folder that only the user can read, in memory where the system has such a place with
room (Linux: /dev/shm), and are removed as soon as both sides have mapped them. A scan is a picture
of a face: what a killed process left behind is removed by the next one.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import OutputError, WorkerError, is_running, lacks_memory

_PREFIX = "skinseg-exchange-"
_MEMORY = Path("/dev/shm")
#: What is written before others get a turn: about 5 ms.
_SLAB_BYTES = 8 << 20


class Exchange:
    """One folder for the arrays of one task; a context manager.

    ``room_bytes``: how much it will hold at most. Raises OutputError where there is no room.
    """

    def __init__(self, room_bytes: int = 0) -> None:
        base = _place(room_bytes)
        try:
            made = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=base)
        except OSError as error:
            raise OutputError(
                f"The folder for temporary files cannot be used ({error.strerror}). "
                "Free some space on that disk and try again."
            ) from error
        self.folder = Path(made)

    def __enter__(self) -> Exchange:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the folder. Arrays that were mapped stay usable where the system allows that."""
        shutil.rmtree(self.folder, ignore_errors=True)  # Windows keeps mapped files: see below

    def put_slowly(self, name: str, voxels: NDArray[Any]) -> Iterator[tuple[float, NDArray[Any]]]:
        """Write (k, j, i) voxels in slabs; yields how much is written (0..1), and the slab.

        Each step takes milliseconds, so that a window can be kept alive between them.
        Raises OutputError if the disk is full.
        """
        count = len(voxels)
        depth = max(1, int(_SLAB_BYTES * count / max(voxels.nbytes, 1)))
        path = self.folder / f"{name}.npy"
        target = empty(path, voxels.dtype, voxels.shape, reserve=False)
        for start in range(0, count, depth):
            slab = voxels[start : start + depth]
            _reserve(path, target.offset + start * voxels[0].nbytes, slab.nbytes)
            target[start : start + depth] = slab
            yield min(start + depth, count) / count, slab


def put(folder: Path, name: str, array: NDArray[Any]) -> None:
    """Write an array as ``name``. Raises OutputError if the disk is full."""
    array = np.asarray(array)
    if not array.size:
        np.save(folder / f"{name}.npy", array)  # there is nothing to map
        return
    empty(folder / f"{name}.npy", array.dtype, array.shape)[...] = array


def get(folder: Path, name: str) -> NDArray[Any]:
    """The array ``name``, mapped into memory: what is changed in it is changed for nobody else.

    The file is removed at once where the system allows that. Raises WorkerError if it is gone,
    or is no whole array of numbers.
    """
    path = folder / f"{name}.npy"
    try:
        try:
            array: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
        except ValueError:
            array = _without_voxels(path)
        if sys.platform != "win32":
            path.unlink()
    except Exception as error:  # NumPy's reader has a dozen kinds for a damaged header
        if lacks_memory(error):
            raise
        raise WorkerError(
            "What was handed over is gone or not whole; another program may have cleared the "
            "folder for temporary files. Nothing was changed. Try again."
        ) from error
    return array


def _without_voxels(path: Path) -> NDArray[Any]:
    """An array of no elements, which cannot be mapped; raises ValueError for any other.

    Not by np.load: that would take as much memory as a damaged header asks for.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("no array of ours")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or np.prod(shape) != 0:
        raise ValueError("no whole array of numbers")
    return np.empty(shape, dtype)


def empty(
    path: Path, dtype: Any, shape: tuple[int, ...], *, reserve: bool = True
) -> np.memmap[Any, Any]:
    """A new file for an array, mapped. Raises OutputError if there is no room for it.

    ``reserve``: take the room now, or else before each part of it is written. Without, a disk (or
    /dev/shm) that others fill meanwhile ends the process by SIGBUS as the memory is touched.
    """
    need = int(np.prod(shape)) * np.dtype(dtype).itemsize
    try:
        if _room(path.parent) < need + (16 << 20):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        mapped: np.memmap[Any, Any] = np.lib.format.open_memmap(
            path, mode="w+", dtype=dtype, shape=shape
        )
    except OSError as error:
        raise _no_room(need, error) from error
    if reserve:
        _reserve(path, mapped.offset, mapped.nbytes)
    return mapped


def _room(folder: Path) -> int:
    """Free bytes on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _reserve(path: Path, start: int, count: int) -> None:
    """Take the room for ``count`` bytes of a file from ``start`` on, where the system can."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        file = os.open(path, os.O_RDWR)
        try:
            os.posix_fallocate(file, start, max(count, 1))
        finally:
            os.close(file)
    except OSError as error:
        raise _no_room(count, error) from error


def _no_room(need: int, error: OSError) -> OutputError:
    if errno.errorcode.get(error.errno or 0) in ("ENOSPC", "EDQUOT", "EFBIG"):
        what = f"There is no room for {need / 1e6:.0f} MB of temporary files"
    else:
        what = f"The folder for temporary files cannot be used ({error.strerror})"
    return OutputError(f"{what}. Free some space on that disk and try again.")


def remove_leftovers() -> int:
    """Remove the folders of processes that are gone; returns how many. They hold scans."""
    count = 0
    for base in {_MEMORY, Path(tempfile.gettempdir())}:
        for folder in base.glob(f"{_PREFIX}*-*"):
            owner = folder.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdecimal() and not is_running(int(owner)):
                shutil.rmtree(folder, ignore_errors=True)
                count += not folder.exists()
    return count


def _place(room_bytes: int) -> Path:
    usable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    # Twice: the system and the task need memory too.
    if usable and _room(_MEMORY) >= 2 * room_bytes + (64 << 20):
        return _MEMORY
    return Path(tempfile.gettempdir())
