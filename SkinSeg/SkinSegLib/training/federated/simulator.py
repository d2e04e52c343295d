"""Runs a job in FLARE's simulator: a server and every site, each a process on this computer."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SkinSegLib.core import OutputError, Progress, SkinSegError, replacing

from ..session import MODEL
from .job import PACKAGE
from .plan import FederatedPlan
from .result import RESULT, TABLE
from .site import VARIABLE, write_sites

LOG = "flare.log"
#: What the simulator calls its server and its only job.
_RESULTS = ("server", "simulate_job")
_POLL_S = 0.5
#: Where SkinSegLib lies.
_LIBRARY = Path(__file__).resolve().parents[3]
#: FLARE puts names of sites into folders and addresses.
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


def run_job(
    job: Path,
    sites: Mapping[str, Mapping[str, Any]],
    plan: FederatedPlan,
    output: Path,
    progress: Progress | None = None,
) -> None:
    """Run a job with the given sites and leave weights, table, model and FLARE's log in ``output``.

    ``sites``: name to what :func:`.site.find_site` reads. A table and weights that are in
    ``output`` already are of rounds before. Progress stage: Rounds. Raises
    SkinSegError where the job fails, with the log to look into; OutputError; Cancelled, having
    ended every process.
    """
    progress = progress or Progress()
    wrong = [name for name in sites if not _SITE.fullmatch(name) or name == "server"]
    if wrong:
        raise SkinSegError(f"{wrong[0]!r} is no name for a site. Use letters, digits, _ and -.")
    if len(sites) < plan.min_sites:
        raise SkinSegError(f"There are {len(sites)} sites, and {plan.min_sites} are needed.")
    # FLARE builds command lines of its folder's name, so it must be one without spaces.
    with TemporaryDirectory(prefix="skinseg-") as place:
        folder = Path(place)
        write_sites(sites, folder / "sites.json")
        _allow(folder / "flare" / "local")
        table = output / TABLE
        before = table.read_text(encoding="utf-8") if table.is_file() else ""
        names = ",".join(sites)
        command = [sys.executable, "-m", "nvflare.private.fed.app.simulator.simulator", str(job)]
        command += ["-w", str(folder / "flare"), "-c", names, "-n", str(len(sites))]
        command += ["-t", str(len(sites)), "-l", "concise"]
        with (output / LOG).open("wb") as log, progress.stage("Rounds", 1.0):
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=folder,
                env=_environment(folder / "sites.json"),
                start_new_session=True,
            )
            results = folder.joinpath("flare", *_RESULTS)
            try:
                # The model is the last that is written; FLARE itself takes longer to end.
                while process.poll() is None and not (results / MODEL).is_dir():
                    if rounds_in(results / TABLE) > rounds_in(table):
                        _take_over(results, output, before)
                    progress.update(rounds_in(table) / plan.rounds)
                    time.sleep(_POLL_S)
            finally:
                _end(process)
            _take_over(results, output, before)
    if not (output / MODEL).is_dir():
        raise SkinSegError(
            f"The sites did not train a model together. {LOG} in {output} says what failed."
        )


def _allow(local: Path) -> None:
    """What an administrator does by hand: let FLARE load our components, and no others."""
    local.mkdir(parents=True)
    allowed = json.dumps({"class_allow_list": [PACKAGE]})
    (local / "resources.json").write_text(allowed, encoding="utf-8")


def _environment(sites: Path) -> dict[str, str]:
    """Of the simulator: it must find the SkinSeg that runs, installed or not."""
    places = [str(_LIBRARY), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        VARIABLE: str(sites),
        "PYTHONPATH": os.pathsep.join(place for place in places if place),
    }


def rounds_in(table: Path) -> int:
    """How many rounds a table tells of."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
    last = lines[-1].partition(",")[0] if lines else ""
    return int(last) if last.isdigit() else 0


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the simulator and, since it leaves its children behind when killed, their group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _take_over(results: Path, output: Path, before: str) -> None:
    """Copy what the server has written; ``before``: the table of earlier jobs."""
    try:
        # Weights are written before their lines of the table.
        if (results / TABLE).is_file():
            lines = (results / TABLE).read_text(encoding="utf-8")
            with replacing(output / RESULT) as temporary:
                shutil.copyfile(results / RESULT, temporary)
            with replacing(output / TABLE) as temporary:
                new = lines.partition("\n")[2] if before else lines
                temporary.write_text(before + new, encoding="utf-8")
        if (results / MODEL).is_dir():
            shutil.copytree(results / MODEL, output / MODEL)
    except OSError as error:
        raise OutputError(
            f"The model cannot be written to {output} ({error.strerror}). Choose another folder."
        ) from error
