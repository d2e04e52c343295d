"""A plan carried out: tasks to workers, results to the output folder, and stopping in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..core import Progress
from .case import LOST, record_failure, run_case
from .cluster import Where, connected, outcomes
from .ledger import leftovers, run_folder
from .plan import CaseTask, Plan
from .record import CaseResult, Status

#: Told what became of a case, how many are finished with it, and how many there are.
Say = Callable[[CaseResult, int, int], None]


def run_plan(
    plan: Plan,
    output: Path,
    where: Where,
    progress: Progress,
    say: Say,
    work: Callable[[CaseTask], CaseResult] = run_case,
) -> None:
    """Do every task of a plan, in the stage Cases; ``say`` gets each result once it is in place.

    Only within ``ledger.locked(output)``. A case that fails, or whose worker is lost twice, is told
    as failed, and the rest go on. Raises Cancelled, MissingPackageError, and WorkerError if no
    workers can be had; what was finished by then stays.
    """
    if not plan.tasks:
        return
    _clear(output)
    run = run_folder(output.absolute())
    tasks = [replace(task, run=run) for task in plan.tasks]
    try:
        with (
            progress.stage("Cases", 0.9),
            connected(where, (run, tasks[0].root), progress) as client,
        ):
            try:
                given = outcomes(client, work, tasks, run.name, progress)
                for number, (task, result) in enumerate(given, start=1):
                    if result is None:
                        result = record_failure(task, LOST, run / f"{task.case}-lost")
                    say(result, number, len(tasks))
                    progress.update(number / len(tasks))
            finally:
                # Before the workers are waited for: they stop when it is gone.
                run.rename(run.with_name(f"{run.name}-over"))
    finally:
        _clear(output)


def all_results(plan: Plan, finished: Sequence[CaseResult]) -> list[CaseResult]:
    """The results of every case of a plan, by name; what is not ``finished`` is waiting."""
    ended = {result.case for result in finished}
    waiting = [task.result(Status.WAITING) for task in plan.tasks if task.case not in ended]
    return sorted((*plan.before, *finished, *waiting), key=lambda result: result.case)


def _clear(output: Path) -> None:
    """Remove what runs that are over, or were killed, have left behind."""
    for folder in leftovers(output):
        shutil.rmtree(folder, ignore_errors=True)
