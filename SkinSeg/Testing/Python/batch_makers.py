"""Archives of made-up scans whose content is what becomes of them in a worker of Dask.

Workers are processes of their own and import this module, so what they do is decided by the files:
``fine``, ``bad`` (an error that names the file), ``oops`` (one of a library, quoting a patient),
``kill`` (the process ends as by kill -9), ``hog once`` (takes ever more memory, the first time) and
``sleep`` (goes on until cancelled).
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
from SkinSegLib.batch import (
    BatchSettings,
    CaseResult,
    Ledger,
    Plan,
    case,
    find_scans,
    make_plan,
)
from SkinSegLib.batch.plan import CaseTask
from SkinSegLib.core import Progress, SegmentationError
from SkinSegLib.segmentation import SegmentOptions

#: In every path of the archive, and nowhere else.
PATIENT = "Planted_Patricia"


def write_archive(folder: Path, *contents: str) -> Path:
    """One file for each content, in an order that is that of the cases."""
    for number, content in enumerate(contents):
        place = folder / f"{number:02d}_{PATIENT}"
        place.mkdir(parents=True)
        (place / f"{PATIENT}.nrrd").write_text(content)
    return folder


def planned(source: Path, output: Path, **options: Any) -> Plan:
    """The plan of an archive, its ledger saved."""
    (output / ".skinseg-batch").mkdir(parents=True, exist_ok=True)
    ledger = Ledger.of(output)
    settings = BatchSettings.settled(SegmentOptions(engine="threshold"), options.pop("stl", False))
    plan = make_plan(find_scans(source, output), output, ledger, settings, **options)
    ledger.save(output)
    return plan


def fake_case(task: CaseTask) -> CaseResult:
    """As run_case, but the computing is what the scan's file says."""
    case._computed = _computed
    case._warm_up = lambda options: None
    return case.run_case(task)


def unfit_case(task: CaseTask) -> CaseResult:
    """As on a computer that lacks what every case needs."""
    raise ImportError("no module of this name")


def _computed(task: CaseTask, work: Path, progress: Progress) -> dict[str, Any]:
    path = task.files[0]
    word = path.read_text()
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "bad":
        raise SegmentationError(f"{path}: no patient is in it. Choose another scan.")
    if word == "oops":
        raise RuntimeError(f"cannot parse {PATIENT}")
    if word == "sleep":
        (task.run / f"asleep-{os.getpid()}").touch()
        for _ in range(1200):
            time.sleep(0.05)
            progress.update(0.5)
    if word == "hog once" and work.name.endswith("-1"):
        taken = [np.ones(6_000_000) for _ in range(40) if time.sleep(0.05) is None]
        assert len(taken) == 40
    (work / "mask.nrrd").write_text(f"mask of attempt {work.name[-1]}")
    deaf = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    return {"deaf": deaf, "volume_ml": 1234.5, "findings": [{"kind": "thick slices"}] * 2}
