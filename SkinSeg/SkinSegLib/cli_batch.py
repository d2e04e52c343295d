"""``skinseg batch``: every scan of an archive, on this computer or on a Dask cluster."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli_arguments import segment_options

if TYPE_CHECKING:
    from .batch import CaseResult, Ledger, Plan
    from .core import Progress

_FAILED = 1
#: More rows than this are not shown on the screen but for those that failed; the files have all.
_MOST_ROWS = 40


def add_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], engine: argparse.ArgumentParser
) -> None:
    """Add the command and its arguments; ``engine``: see cli_arguments.engine_arguments."""
    parser = commands.add_parser(
        "batch",
        parents=[engine],
        help="every scan of an archive, in parallel",
        description="Segment every scan below a folder: of each DICOM study the series best for a "
        "head, volume files, zips, InVesalius projects. Each becomes a folder case-0001, ... with "
        "mask.nrrd and case.json; summary.csv and summary.json list all. A failed scan does not "
        "stop the rest. Run the same command again to go on, or after scans were added.",
    )
    parser.add_argument("source", type=Path, metavar="SOURCE", help="folder that holds the scans")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="new or of a batch"
    )
    parser.add_argument("--stl", action="store_true", help="write skin.stl and report.json too")
    parser.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes of one thread each; default: by this computer's cores and memory",
    )
    parser.add_argument(
        "--memory",
        type=_size,
        metavar="SIZE",
        help="the most that a worker may take, as 6GB; default: its share of the memory",
    )
    parser.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="compute on the workers of this Dask scheduler (tcp://HOST:PORT, tls://HOST:PORT)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files whose path below SOURCE is like this ('*_label.nrrd'); repeatable",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="do cases again that failed before"
    )
    parser.add_argument(
        "--map", type=Path, metavar="FILE", help="CSV to write of which scan is which case"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and end")
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    parser.set_defaults(
        run=run,
        cancelled="Cancelled. Finished cases stay; run the same command again to go on.",
    )


def run(chosen: argparse.Namespace) -> int | None:
    """Find, compute, write the summary; returns the exit code, None where every case is done."""
    from .batch import Ledger, locked
    from .core import SkinSegError, require_writable
    from .terminal import watched

    if chosen.scheduler is not None and (chosen.workers or chosen.memory):
        raise SkinSegError(
            "With --scheduler the cluster decides on workers and memory. Leave out --workers and "
            "--memory."
        )
    if chosen.map is not None:
        require_writable(chosen.map)
    with watched(sys.stderr) as progress:
        ledger = Ledger.of(chosen.output)
        if chosen.dry_run:
            plan = _planned(chosen, ledger, progress)
            progress.finish()
            _show(plan, [])
            print("Nothing was computed.")
            return None
        with locked(chosen.output):
            ledger = Ledger.of(chosen.output)  # as it is now that nobody else writes it
            plan = _planned(chosen, ledger, progress)
            ledger.save(chosen.output)
            return _carried_out(chosen, plan, progress)


def _planned(chosen: argparse.Namespace, ledger: Ledger, progress: Progress) -> Plan:
    """What is to be done; says what was left out, and writes the map if it was asked for."""
    from .batch import BatchSettings, find_scans, make_plan, write_map
    from .core import ScanReadError

    settings = BatchSettings.settled(segment_options(chosen), chosen.stl)
    with progress.stage("Find", 0.05):
        archive = find_scans(chosen.source, chosen.output, chosen.exclude, progress)
    for kind, number in sorted(archive.left_out.items()):
        print(f"Left out: {number} {kind}")
    if not archive.scans:
        raise ScanReadError(
            "There is no scan in the archive. Give the folder that holds the scans, and see that "
            "--exclude leaves some."
        )
    with progress.stage("Compare", 0.05):
        plan = make_plan(archive, chosen.output, ledger, settings, chosen.retry_failed, progress)
    if chosen.map is not None:
        write_map(archive, plan, chosen.map)
        print(
            f"Warning: {chosen.map} says which patient's scan is which case. Keep it where the "
            "scans are, and never share it.",
            file=sys.stderr,
        )
    return plan


def _carried_out(chosen: argparse.Namespace, plan: Plan, progress: Progress) -> int | None:
    from .batch import Where, all_results, run_plan, write_summary

    finished: list[CaseResult] = []

    def say(result: CaseResult, number: int, of: int) -> None:
        finished.append(result)
        volume = result.volume_ml
        figure = "" if volume is None else f", {volume:.1f} mL"
        error = f": {result.error}" if result.error else ""
        print(
            f"[{number}/{of}] {result.case} {result.status.value}{figure}, "
            f"{result.seconds:.1f} s{error}",
            flush=True,
        )

    where = Where(chosen.workers, chosen.memory, chosen.scheduler)
    try:
        run_plan(plan, chosen.output, where, progress, say)
        progress.finish()
    finally:
        written = write_summary(all_results(plan, finished), chosen.output)
    failed = _show(plan, finished)
    for path in written:
        print(f"Wrote {path}")
    return _FAILED if failed else None


def _show(plan: Plan, finished: list[CaseResult]) -> int:
    """Print the table and what it adds up to; returns how many cases failed."""
    from .batch import HEADINGS, Status, all_results, row
    from .terminal import show_table

    results = all_results(plan, finished)
    failed = [result for result in results if result.status is Status.FAILED]
    shown = results if len(results) <= _MOST_ROWS else failed
    if shown:
        # Findings and errors share a column here: no case has both.
        texts = [row(result) for result in shown]
        rows = [(*text[:-2], text[-1] or text[-2]) for text in texts]
        show_table((*HEADINGS[:-2], "findings or error"), rows, sys.stdout)
    done = sum(result.status is Status.DONE for result in results)
    before = len(plan.before)
    print(
        f"{len(results)} cases: {done} done, {len(failed)} failed, "
        f"{len(results) - done - len(failed)} to do; {before} of them from before."
    )
    if any(result.status is Status.FAILED for result in plan.before):
        print("Cases that failed before were left as they are; --retry-failed does them again.")
    return len(failed)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers")
    return int(text)


def _size(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)? ?[MG]i?B", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give a number and MB or GB, as 6GB")
    return text
