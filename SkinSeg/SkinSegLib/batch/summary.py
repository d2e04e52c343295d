"""What became of every case, as CSV and JSON, and on request which scan each case is."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..core import NOTICE, replacing, versions
from .plan import Plan
from .record import CaseResult
from .scans import Archive

TABLE, SUMMARY = "summary.csv", "summary.json"
HEADINGS = ("case", "kind", "status", "volume_ml", "seconds", "findings", "error")


def row(result: CaseResult) -> tuple[str, ...]:
    """A case as texts, in the order of HEADINGS; mL and seconds."""
    volume = result.volume_ml
    return (
        result.case,
        result.kind,
        result.status.value,
        "" if volume is None else f"{volume:.1f}",
        f"{result.seconds:.1f}" if result.seconds else "",
        "; ".join(result.findings),
        result.error,
    )


def write_summary(results: Sequence[CaseResult], output: Path) -> tuple[Path, Path]:
    """Write summary.csv and summary.json into a folder; returns them. Raises OutputError."""
    table, summary = output / TABLE, output / SUMMARY
    with replacing(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEADINGS)
        writer.writerows(row(result) for result in results)
    content = {
        "counts": dict(Counter(result.status.value for result in results)),
        "cases": [_as_dict(result) for result in results],
        "versions": versions(),
        "notice": NOTICE,
    }
    with replacing(summary) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return table, summary


def write_map(archive: Archive, plan: Plan, path: Path) -> None:
    """Write which scan each case is, as CSV for its owner alone: **this names patients**.

    Columns: case; path below the archive (of DICOM, of the folder or file that holds the series);
    UID of the series. Raises OutputError.
    """
    with (
        replacing(path, private=True) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("case", "source", "series"))
        for name, scan in zip(plan.names, archive.scans, strict=True):
            place = scan.files[0] if len(scan.files) == 1 else scan.files[0].parent
            source = place.relative_to(archive.root).as_posix()
            writer.writerow((name, source, scan.series))


def _as_dict(result: CaseResult) -> dict[str, Any]:
    report = result.report
    return {
        "case": result.case,
        "kind": result.kind,
        "status": result.status.value,
        "volume_ml": result.volume_ml,
        "seconds": result.seconds,
        "engine": report.get("engine"),
        "model": report.get("model"),
        "level_hu": report.get("level_hu"),
        "findings": list(report.get("findings", ())),
        "error": result.error or None,
        "about": result.about or None,
        "attempt": result.attempt,
    }
