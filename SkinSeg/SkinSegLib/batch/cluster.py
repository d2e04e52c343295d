"""Dask: workers on this computer or on a cluster, and tasks given to them one by one.

Nothing large goes through Dask: a task names files, which the worker reads itself.
"""

from __future__ import annotations

import logging
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

from ..core import MissingPackageError, Progress, SkinSegError, WorkerError
from .plan import CaseTask

Result = TypeVar("Result")

#: Memory of a worker for the largest usual scans; decides how many there are by default.
_WORKER_BYTES = 4e9
#: Seconds that workers may take to be there, and that a cluster may be without any.
_START_S, _ALONE_S = 120.0, 120.0
#: Seconds that a scheduler may take to answer.
_CONNECT_S = 10.0
_POLL_S = 0.5
#: Results are small and a case's memory is its own: nothing can be spilled, and a worker that waits
#: for its memory to shrink would wait for ever. Too much ends the process, which is then replaced.
_CONFIG = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.admin.tick.limit": "1h",  # computing holds Python's lock; that is no news
}


@dataclass(frozen=True)
class Where:
    """Where a batch is computed.

    ``workers``: processes on this computer, None for as many as it has cores and memory for.
    ``memory``: the most that each may take ("6GB"), None for its share of all. ``scheduler``: the
    address of a Dask scheduler that is there already; then the others have no meaning.
    """

    workers: int | None = None
    memory: str | None = None
    scheduler: str | None = None


@contextmanager
def connected(where: Where, shared: Sequence[Path], most: int, progress: Progress) -> Iterator[Any]:
    """A distributed.Client whose workers are ready within the block.

    ``shared``: folders that every worker must see. ``most``: no more workers are of use.

    Raises MissingPackageError without Dask; WorkerError if no worker comes, or one has no SkinSeg
    or sees no such folder; Cancelled while it waits for them.
    """
    try:
        import dask
        import distributed
    except ImportError as error:
        raise MissingPackageError(
            "A batch needs Dask. Install it with pip install 'skinseg[batch]'."
        ) from error
    with warnings.catch_warnings(), dask.config.set(_CONFIG), _quiet():
        warnings.simplefilter("ignore")
        if where.scheduler is not None:
            with _client(distributed, where.scheduler) as client:
                _require_ready(client, 1, shared, progress)
                yield client
            return
        number = min(where.workers or default_workers(), most)
        own = _own_cluster(distributed, number, where.memory)
        with own as cluster, distributed.Client(cluster) as client:
            _require_ready(client, number, shared, progress)
            yield client


def default_workers() -> int:
    """How many workers this computer has cores and memory for."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(int(CPU_COUNT), int(MEMORY_LIMIT / _WORKER_BYTES)))


def outcomes(
    client: Any,
    work: Callable[[CaseTask], Result],
    tasks: Sequence[CaseTask],
    label: str,
    progress: Progress,
) -> Iterator[tuple[CaseTask, Result | None]]:
    """Do every task, and yield each with its result as it is done, in no fixed order.

    A worker is given a new task when it has none: if it is lost, no other case is. The result is
    None where Dask gave the task up because its workers were lost. Workers may come and go. Raises
    Cancelled within a second of being told; WorkerError if the scheduler, or every worker, is gone,
    or one cannot run ``work``, and what ``work`` raises: such a worker would take case after case.
    """
    from distributed import KilledWorker, TimeoutError, wait
    from distributed.comm import CommClosedError

    left = list(reversed(tasks))
    running: dict[Any, CaseTask] = {}
    alone_since: float | None = None
    try:
        while left or running:
            progress.check()
            workers = len(client.nthreads())
            alone_since = None if workers else alone_since or time.monotonic()
            if alone_since is not None and time.monotonic() - alone_since > _ALONE_S:
                raise WorkerError("No worker is left. Start workers and run the same again.")
            while left and len(running) < workers:
                task = left.pop()
                key = f"skinseg-{label}-{task.case}"
                running[client.submit(work, task, key=key, pure=False)] = task
            if not running:
                time.sleep(_POLL_S)
                continue
            try:
                done = wait(list(running), timeout=_POLL_S, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                continue
            for future in done:
                if future.status == "cancelled":
                    raise _gone()
                if future.status in ("lost", "pending"):
                    continue  # its worker went before the answer was fetched: Dask does it again
                task = running.pop(future)
                if future.status == "finished":
                    yield task, future.result()
                    continue
                error = future.exception()
                if isinstance(error, KilledWorker):
                    yield task, None
                    continue
                raise error if isinstance(error, SkinSegError) else _unfit() from error
    except (OSError, CommClosedError) as error:
        raise _gone() from error
    finally:
        if client.status == "running":
            client.cancel(list(running))


def _unfit() -> WorkerError:
    return WorkerError(
        "A worker cannot run SkinSeg. Install skinseg[batch] of the same version on every computer "
        "of the cluster."
    )


def _gone() -> WorkerError:
    return WorkerError(
        "The connection to Dask's scheduler was lost. What is finished stays; start it, and run "
        "the same again."
    )


@contextmanager
def _own_cluster(distributed: Any, number: int, memory: str | None) -> Iterator[Any]:
    """One process of one thread for each worker, on the loopback, encrypted: without that any user
    of this computer could have it run code."""
    # Dask shares all memory among the workers only where the limit is left out.
    limit = {} if memory is None else {"memory_limit": memory}
    try:
        with _deaf_to_ctrl_c():
            cluster = distributed.LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                **limit,
                security=True,
                silence_logs=logging.CRITICAL,
            )
    except ImportError as error:
        raise MissingPackageError(
            "A batch needs cryptography. Install it with pip install 'skinseg[batch]'."
        ) from error
    except (OSError, RuntimeError, TimeoutError) as error:
        raise WorkerError(
            "Dask's workers could not be started on this computer. Try fewer --workers."
        ) from error
    with cluster:
        yield cluster


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Processes and threads that start within the block, and all that those start, get no SIGINT.

    Ctrl-C in a terminal goes to every process; only the one that the user sees shall act on it.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # which would lift the block as it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _client(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        raise WorkerError(
            f"No Dask scheduler answers at {address}. Start one with dask scheduler, check the "
            "address (tcp://HOST:PORT), or leave --scheduler out to compute here."
        ) from error
    with client:
        yield client


def _require_ready(client: Any, number: int, shared: Sequence[Path], progress: Progress) -> None:
    started = time.monotonic()
    while len(client.nthreads()) < number:
        progress.check()
        if time.monotonic() - started > _START_S:
            raise WorkerError(
                "No worker came within two minutes. Start some with dask worker ADDRESS "
                "--nthreads 1."
            )
        time.sleep(_POLL_S)
    try:
        seen = client.run(_sees, [str(path) for path in shared])
    except Exception as error:  # whatever a foreign Python raises that lacks our code
        raise _unfit() from error
    if not all(seen.values()):
        raise WorkerError(
            "A worker does not see the archive or the output folder. Both must be on a disk that "
            "every computer of the cluster has under the same path, and may write to."
        )


def _sees(folders: list[str]) -> bool:
    """Run by each worker before its first case."""
    from . import case  # noqa: F401 - fails here where a package is missing

    return all(os.access(folder, os.R_OK | os.X_OK) for folder in folders)


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask logs lost workers as errors; our own table says which case it was."""
    logger = logging.getLogger("distributed")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
