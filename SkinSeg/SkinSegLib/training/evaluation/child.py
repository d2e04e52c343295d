"""An engine in a process of its own, so that its peak of memory is its own."""

from __future__ import annotations

import math
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, Progress, SkinSegError

#: From a scan to its mask (k, j, i; uint8). A function at the top of a module, or a partial of
#: one: it is sent to another process.
Segmenter = Callable[[CTVolume], NDArray[np.uint8]]

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_POLL_S = 0.2


@dataclass(frozen=True)
class Result:
    """``mask``: (k, j, i), None where the engine failed, with the reason in ``problem``.

    ``seconds``: from the scan in memory to the mask. ``peak_mb``: the most memory (10^6 bytes)
    that the process had at a time, with Python, its libraries and the scan; NaN if not known.
    """

    mask: NDArray[np.uint8] | None
    seconds: float
    peak_mb: float
    problem: str = ""


class EngineProcess:
    """Runs one engine on one scan after the other; a context manager.

    Before the first scan the engine runs once on a small ball, so that starting up (importing
    libraries) is not in any time. Before each scan the peak of memory is reset; where the system
    cannot do that (other than Linux), each scan has a new process.
    """

    def __init__(self, engine: Segmenter) -> None:
        self._engine = engine
        self._process: Any = None
        self._connection: Any = None

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(self, volume: CTVolume, progress: Progress) -> Result:
        """The engine's result on a scan. Raises Cancelled, having ended the process."""
        try:
            if self._process is None:
                self._start()
            self._connection.send(volume)
            while not self._connection.poll(_POLL_S):
                progress.check()
            result, again = self._connection.recv()
        except (EOFError, OSError):
            # It is no use to say more: the process was killed, mostly for want of memory.
            self.stop()
            problem = "The process of the engine ended without a result; was there enough memory?"
            return Result(None, math.nan, math.nan, problem)
        except BaseException:
            self.stop()
            raise
        if not again:
            self.stop()
        assert isinstance(result, Result)
        return result

    def stop(self) -> None:
        """End the process, also in the middle of a scan."""
        if self._process is not None:
            self._connection.close()
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        # A fork would begin with all the memory of this process.
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, self._engine), daemon=True)
        self._process.start()
        other.close()


def _serve(connection: Connection, engine: Segmenter) -> None:
    """What the process does: a scan in, (result, whether to go on) out, until it is ended."""
    # Ctrl-C reaches both processes; the other one decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(Exception):  # it will be told of the scans
        engine(_ball())
    with suppress(EOFError, OSError):
        while True:
            volume = connection.recv()
            again = _reset_peak()
            connection.send((_timed(engine, volume), again))


def _timed(engine: Segmenter, volume: CTVolume) -> Result:
    started = time.perf_counter()
    mask, problem = None, ""
    try:
        mask = engine(volume)
    except SkinSegError as error:
        problem = str(error)
    except MemoryError:
        problem = "There is not enough memory."
    except Exception as error:
        # What a library says may quote the scan's header, so only its kind is told.
        problem = f"It failed unexpectedly ({type(error).__name__})."
    return Result(mask, time.perf_counter() - started, _peak_mb(), problem)


def _ball() -> CTVolume:
    """A ball of 90 mm in air, in voxels of 4 mm."""
    axis = (np.arange(32) - 15.5) * 4
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    inside = np.sqrt(x**2 + y**2 + z**2) < 45
    noise = np.random.default_rng(0).normal(0, 10, inside.shape)
    voxels = (np.where(inside, 40, -1000) + noise).astype(np.int16)
    return CTVolume(voxels, np.diag([4.0, 4.0, 4.0, 1.0]))


def _reset_peak() -> bool:
    """Let the peak of memory begin anew (Linux: proc(5), clear_refs); whether that is done."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _peak_mb() -> float:
    try:
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return float(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    if sys.platform == "win32":
        return math.nan
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
