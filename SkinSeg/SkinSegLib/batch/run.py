"""A plan carried out: tasks to workers, results to the output folder, and stopping in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..core import Progress
from .case import LOST, record_failure, run_case
from .cluster import Where, connected, outcomes
from .ledger import begin_run, end_run, leftovers
from .plan import CaseTask, Plan, result_before
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
    as failed, and the rest go on. Raises Cancelled, MissingPackageError, and WorkerError or
    ModelError if no workers can be had, or one has not what it takes; what was finished by then
    stays.
    """
    if not plan.tasks:
        return
    _clear(output)
    run = begin_run(output.absolute())
    tasks = [replace(task, run=run) for task in plan.tasks]
    try:
        with (
            progress.stage("Cases", 0.9),
            connected(where, (run, tasks[0].root), len(tasks), progress) as client,
        ):
            try:
                given = outcomes(client, work, tasks, run.name, progress)
                for number, (task, result) in enumerate(given, start=1):
                    if result is None:
                        result = record_failure(task, LOST, run / f"{task.case}-lost", attempt=2)
                    say(result, number, len(tasks))
                    progress.update(number / len(tasks))
            finally:
                end_run(run)  # before the workers are waited for: they stop by this
    finally:
        _clear(output)


def all_results(plan: Plan, finished: Sequence[CaseResult]) -> list[CaseResult]:
    """The results of every case of a plan, by name; what is not ``finished`` is waiting.

    But for a case that a worker finished and could no longer tell of.
    """
    ended = {result.case for result in finished}
    rest = []
    for task in plan.tasks:
        if task.case not in ended:
            known = result_before(task)
            done = known is not None and known.status is Status.DONE
            rest.append(known if known is not None and done else task.result(Status.WAITING))
    return sorted((*plan.before, *finished, *rest), key=lambda r: (len(r.case), r.case))


def _clear(output: Path) -> None:
    """Remove what runs that are over, or were killed, have left behind."""
    for folder in leftovers(output):
        shutil.rmtree(folder, ignore_errors=True)
