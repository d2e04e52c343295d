"""Every fault at every stage, through the command and through the worker; writes a table.

    python SkinSeg/Testing/Benchmarks/faults.py --table Docs/faults.md
    python SkinSeg/Testing/Benchmarks/faults.py --only "worker/mesh/kill child" "command/*/memory"

The scan is a small made head; "network" is the shipped model's pass. Each case has a process and
folders of its own, and files of those names are there before. A case is survived if

* the fault did strike, and the program ended in time: all was done, or it was refused with a
  message, or the process was killed;
* every file is the old one or the whole new one, as computed without a fault, and all are old or
  all are new (of a killed program: at the latest when the next one writes into their folder);
* the scene is as it was before the step that failed (worker only, where the owner lives on);
* the next run, by the same owner where it lives on, gives the right files; after it there is no
  other file, no temporary folder and no process.

Mounts of its own, for disks that are really full or read-only, need root on Linux; without them
these cases are left out, and said to be.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import fnmatch
import hashlib
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTING = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTING.parent), str(TESTING), str(TESTING / "Python")]

from Benchmarks import fault_doors as doors  # noqa: E402
from Benchmarks import fault_kinds as kinds  # noqa: E402
from Benchmarks.fault_kinds import Case, Place  # noqa: E402

#: Of one process; far more than any takes, also where other work has the cores.
LIMIT_S = 240.0
OLD = b"old"
#: Said where nobody foresaw what happened.
_UNFORESEEN = ("failed unexpectedly", "Something went wrong that should not")


@dataclass
class Outcome:
    """``how`` it ended: done, refused, unclear (no message that helps), or killed by a signal."""

    case: Case
    how: str = ""
    said: str = ""
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0


def forked(work: Callable[[], int], log: Path) -> tuple[int, float]:
    """Do ``work`` in a process of its own; returns its status as of os.waitpid, and seconds.

    It is a copy of this one, which has all it needs imported and has computed nothing yet.
    """
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setsid()
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for number in (1, 2):
                os.dup2(file, number)
            faulthandler.dump_traceback_later(0.75 * LIMIT_S)  # where it hangs, if it does
            code = work()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    while time.monotonic() - started < LIMIT_S:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status, time.monotonic() - started
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -1, LIMIT_S


class Matrix:
    """Runs cases in ``root``, a folder of its own."""

    def __init__(self, root: Path, has_mounts: bool) -> None:
        from command import write_scan

        self.root, self.has_mounts = root, has_mounts
        self.scan = root / "scan.nrrd"
        status, _ = forked(lambda: bool(not write_scan(self.scan)), root / "log")
        assert status == 0, (root / "log").read_text()
        self._right: dict[tuple[str, str], dict[str, str]] = {}

    def can(self, case: Case) -> bool:
        """Whether this machine can have the fault."""
        return self.has_mounts or case.fault not in ("disk full", "read-only")

    def run(self, case: Case) -> Outcome:
        """One case, with its next run."""
        right = self._reference(case)
        place, base = self._place(case)
        found = Outcome(case)
        try:
            if case.fault in ("disk full", "read-only"):
                assert kinds.mount_disk(place.out, 32 << 20)
                assert kinds.mount_disk(place.tmp, 96 << 20)
            self._run(case, place, base, right, found)
        finally:
            for folder in (place.out, place.tmp):
                if os.path.ismount(folder):
                    os.system(f"umount '{folder}'")
            shutil.rmtree(base, ignore_errors=True)
        return found

    def _run(
        self, case: Case, place: Place, base: Path, right: dict[str, str], found: Outcome
    ) -> None:
        files, wrong = sorted(right), found.wrong
        for name in files:
            (place.out / name).write_bytes(OLD)
        log, tell = base / "log", base / "told.json"
        status, found.seconds = forked(lambda: self._work(case, place, True, tell), log)
        said = log.read_text(errors="replace")
        found.how, found.said = _ended(status, said)
        if not place.struck:
            wrong.append("the fault never struck")
        told = json.loads(tell.read_text()) if tell.exists() else {}
        if told and found.how == "done":
            found.how, found.said = told["first"]["how"], told["first"]["said"]
            if not told["first"]["scene"]:
                wrong.append("the scene was changed")
        if found.how == "hang" or (found.how == "killed" and case.fault not in MAY_KILL):
            wrong.append(f"{found.how}: {found.said[-200:]}")
        if any(words in found.said for words in _UNFORESEEN):
            found.how = "unclear"
        next_run = told.get("next")
        if next_run is None:  # in the other case, they are those of the next run already
            if found.how == "killed":
                wrong += self._files(case, place.out, files, right, False, mixed=True)
                forked(lambda: _look(place.out), base / "look")
            wrong += self._files(case, place.out, files, right, found.how == "done")
        kinds.lift(case, place)
        if next_run is None and found.how != "done":
            status, _ = forked(lambda: self._work(case, place, False, tell), base / "next")
            told = json.loads(tell.read_text()) if tell.exists() else {}
            next_run = told.get("first", {"how": _ended(status, "")[0], "said": ""})
            if case.door == "command":
                next_run = {"how": _ended(status, "")[0], "said": (base / "next").read_text()}
        if next_run is not None and next_run["how"] != "done":
            wrong.append(f"the next run: {next_run['how']}: {next_run['said'][-200:]}")
        else:
            wrong += self._files(case, place.out, files, right, True)
        wrong += [f"left: {name}" for name in _left(place, files)]

    def _work(self, case: Case, place: Place, armed: bool, tell: Path) -> int:
        os.environ["TMPDIR"] = tempfile.tempdir = str(place.tmp)
        if case.fault == "locked":
            kinds.obey_permissions()
        if case.door == "command":
            return doors.run_command(case, place, armed)
        return doors.run_worker(case, place, armed, tell)

    def _place(self, case: Case) -> tuple[Place, Path]:
        base = Path(tempfile.mkdtemp(dir=self.root))
        odd = base
        if case.fault == "non-ASCII path":
            odd = base / "Schädel 頭 (Ω)"
        elif case.fault == "300-character path":
            while len(str(odd)) < 300:
                odd = odd / ("long" * 15)
        folder = {"in": base, "tmp": base, "model": base, "out": base}
        own = {"read": "in", "hand over": "tmp", "network": "model"}.get(case.stage, "out")
        folder[own] = odd
        paths = {name: folder[name] / name for name in folder}
        for name in ("in", "tmp", "out"):
            paths[name].mkdir(parents=True)
        if doors.engine_of(case) == "network":
            from SkinSegLib.core import resource_path

            shutil.copytree(resource_path("Models", "skin-ct-head"), paths["model"])
        shutil.copy(self.scan, paths["in"] / "scan.nrrd")
        place = Place(
            paths["in"] / "scan.nrrd", paths["out"], paths["tmp"], paths["model"], base / "struck"
        )
        return place, base

    def _reference(self, case: Case) -> dict[str, str]:
        """Digests of the right files, by name."""
        key = case.door, doors.engine_of(case)
        if key not in self._right:
            plain = Case(case.door, case.stage if key[1] == "network" else "mesh", "none")
            place, base = self._place(plain)
            tell, log = base / "told.json", base / "log"
            status, _ = forked(lambda: self._work(plain, place, False, tell), log)
            assert status == 0, log.read_text()
            files = doors.COMMAND_FILES if case.door == "command" else doors.WORKER_FILES
            self._right[key] = {name: digest(place.out / name) for name in files}
            shutil.rmtree(base)
        return self._right[key]

    def _files(
        self,
        case: Case,
        out: Path,
        files: Sequence[str],
        right: dict[str, str],
        new: bool,
        mixed: bool = False,
    ) -> list[str]:
        """What is wrong with the results; ``new``: all of them must be there; ``mixed``: some may
        be old."""
        states = {}
        for name in files:
            path = out / name
            if not path.exists():
                states[name] = "missing"
            elif path.read_bytes() == OLD:
                states[name] = "old"
            else:
                states[name] = "new" if digest(path) == right[name] else "not right"
        if new:
            return [f"{name} is {state}" for name, state in states.items() if state != "new"]
        gone = case.fault == "deleted" and case.stage == "write"  # with their folder
        mixed |= case.door == "worker"  # three saves of their own
        bad = [n for n, s in states.items() if s == "not right" or (s == "missing" and not gone)]
        if len(set(states.values())) > 1 and not mixed and not bad:
            return ["some files are new and some are old"]
        return [f"{name} is {states[name]}" for name in bad]


#: Where the system ends the process, or the libraries do: no room in C++ is no exception.
MAY_KILL = ("kill host", "memory")


def _ended(status: int, said: str) -> tuple[str, str]:
    if status == -1:
        return "hang", said
    if os.WIFSIGNALED(status):
        return "killed", signal.Signals(os.WTERMSIG(status)).name
    code = os.WEXITSTATUS(status)
    lines = [line for line in said.splitlines() if line.startswith("Error: ")]
    if code == 0:
        return "done", ""
    return ("refused" if code == 1 and lines else "unclear"), "\n".join(lines) or said[-400:]


def _look(folder: Path) -> int:
    """What a next run does before it writes into the folder, whatever that is."""
    from SkinSegLib.core import require_writable

    require_writable(folder / "other.stl")
    return 0


def _left(place: Place, files: Sequence[str]) -> list[str]:
    """What lies there and should not, after the next run."""
    from SkinSegLib.worker import remove_leftovers

    tempfile.tempdir = str(place.tmp)
    remove_leftovers()  # as every new worker does
    tempfile.tempdir = None
    found = [path.name for path in place.out.iterdir() if path.name not in files]
    # The owner's own cache folder, which goes as it ends, unless it is killed or forked.
    found += [p.name for p in place.tmp.iterdir() if not p.name.startswith("skinseg-scene-")]
    return found


def digest(path: Path) -> str:
    """Of what a file says, without its times and names."""
    if path.suffix == ".mrb":
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None
            scenes = [name for name in archive.namelist() if name.endswith(".mrml")]
            return f"whole {whole}, {len(scenes)} scene"
    if path.name.endswith(".seg.nrrd"):
        import SimpleITK as sitk

        content = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()
    elif path.name == "r.json":
        report = json.loads(path.read_text(encoding="utf-8"))
        kept = ("geometry", "engine", "level_hu", "volume_ml", "triangles", "closed", "measures")
        content = json.dumps([report[key] for key in kept]).encode()
    else:
        content = path.read_bytes()
    return hashlib.sha256(content).hexdigest()


def table(outcomes: Sequence[Outcome], left_out: Sequence[Case]) -> str:
    """A Markdown table for each door, and how many were survived."""
    by_case = {(o.case.door, o.case.stage, o.case.fault): o for o in outcomes}
    skipped = {(c.door, c.stage, c.fault) for c in left_out}
    lines: list[str] = []
    for door in kinds.DOORS:
        known = by_case.keys() | skipped
        rows = [s for s in kinds.STAGES if any((door, s, f) in known for f in kinds.FAULTS)]
        columns = [f for f in kinds.FAULTS if any((door, s, f) in known for s in rows)]
        if not rows:
            continue
        lines += [f"| {door} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for stage in rows:
            cells = []
            for fault in columns:
                found = by_case.get((door, stage, fault))
                blank = "not tried" if (door, stage, fault) in skipped else "-"
                cells.append(blank if found is None else _cell(found))
            lines.append(f"| {stage} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _cell(found: Outcome) -> str:
    return f"**{found.how}, not survived**" if found.wrong else found.how


def counted(outcomes: Sequence[Outcome]) -> str:
    """One sentence of figures."""
    survived = [o for o in outcomes if not o.wrong]
    how = Counter(o.how for o in outcomes)
    parts = ", ".join(f"{how[name]} {name}" for name in sorted(how))
    return f"{len(survived)} of {len(outcomes)} survived ({parts})."


def wanted(patterns: Sequence[str]) -> list[Case]:
    """Cases whose ``door/stage/fault`` one of the patterns fits."""
    return [
        case
        for case in kinds.cases()
        if any(fnmatch.fnmatch(f"{case.door}/{case.stage}/{case.fault}", p) for p in patterns)
    ]


def prepare(cases: Sequence[Case]) -> None:
    """Import what the processes need, which are copies of this one."""
    import SimpleITK  # noqa: F401
    from mrml_makers import head_scan  # noqa: F401
    from scipy import ndimage  # noqa: F401
    from SkinSegLib import cli, job, mrml  # noqa: F401
    from SkinSegLib.mrml import jobs  # noqa: F401
    from vtkmodules import vtkFiltersCore, vtkFiltersGeneral  # noqa: F401

    if any(case.stage == "network" and case.door == "command" for case in cases):
        import monai.inferers  # noqa: F401
        import torch  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=["*"], help="door/stage/fault, with * and ?")
    parser.add_argument("--table", type=Path, help="Markdown file whose tables are replaced")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    has_mounts = kinds.own_mounts()
    chosen = wanted(options.only)
    prepare(chosen)
    outcomes: list[Outcome] = []
    left_out: list[Case] = []
    with tempfile.TemporaryDirectory(prefix="skinseg-faults-") as root:
        matrix = Matrix(Path(root), has_mounts)
        for case in chosen:
            if not matrix.can(case):
                left_out.append(case)
                continue
            found = matrix.run(case)
            outcomes.append(found)
            name = f"{case.door}/{case.stage}/{case.fault}"
            said = found.said.strip().splitlines()
            print(f"{name}: {found.how} {found.seconds:.1f} s {'; '.join(found.wrong)}", flush=True)
            print("    " + (said[-1][:160] if said else ""), flush=True)
    print(counted(outcomes))
    if options.json:
        entries: list[dict[str, Any]] = [
            {"case": vars(o.case), "how": o.how, "said": o.said, "wrong": o.wrong} for o in outcomes
        ]
        options.json.write_text(json.dumps(entries, indent=1), encoding="utf-8")
    if options.table:
        _fill_in(options.table, outcomes, left_out)
    sys.exit(any(o.wrong for o in outcomes))


def _fill_in(page: Path, outcomes: Sequence[Outcome], left_out: Sequence[Case]) -> None:
    """Put the tables between the two marks of a page."""
    begin, end = "<!-- faults.py -->\n", "<!-- end -->\n"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    machine = f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores"
    about = f"{time.strftime('%Y-%m-%d')}, {machine}, Python {platform.python_version()}: "
    text = f"{about}{counted(outcomes)}\n\n{table(outcomes, left_out)}"
    page.write_text(before + begin + text + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
