"""Faults, and where they strike: for faults.py, which runs them, and its tests.

A fault strikes once, in the process and at the moment that :func:`arm` was told; nothing in the
shipped code knows of it. What it needs of the system (a small disk of its own, a right that root
gives up) is made in a mount namespace that nobody else sees.
"""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAGES = ("read", "hand over", "network", "delineate", "mesh", "write", "rename", "save")
FAULTS = (
    *("kill child", "kill host", "disk full", "read-only", "deleted", "locked"),
    *("memory", "clock", "non-ASCII path", "300-character path", "GPU lost"),
)
DOORS = ("command", "worker")
#: Faults that are there from the beginning.
STANDING = ("non-ASCII path", "300-character path")
#: Address space that is left when the memory limit comes.
_LEFT_BYTES = 1 << 20
#: So far back or forward goes the clock.
_JUMP_S = -86400.0 * 400
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


@dataclass(frozen=True)
class Case:
    """One fault at one stage, through one door."""

    door: str
    stage: str
    fault: str

    @property
    def side(self) -> str:
        """The process it strikes in: that of the command, or the worker's child or its owner."""
        if self.door == "command" or self.fault == "kill host":
            return "host"
        if self.stage == "hand over":  # both sides have a part in it
            return "child" if self.fault in ("kill child", "deleted", "locked") else "host"
        return "host" if self.stage in ("read", "save") else "child"


@dataclass(frozen=True)
class Place:
    """The folders of one run: of the scan, the results, temporary files and the model."""

    scan: Path
    out: Path
    tmp: Path
    model: Path
    mark: Path

    @property
    def struck(self) -> bool:
        return self.mark.exists()


def cases() -> list[Case]:
    """Every fault at every stage where it can strike at all."""
    return [
        Case(door, stage, fault)
        for door in DOORS
        for stage in STAGES
        for fault in FAULTS
        if _makes_sense(door, stage, fault)
    ]


def _makes_sense(door: str, stage: str, fault: str) -> bool:
    if door == "command" and (stage == "hand over" or fault == "kill child"):
        return False  # it is one process
    if stage == "rename":  # between the names of two files: of the command, which has several
        return door == "command" and fault in ("kill host", "locked", "deleted")
    if door == "worker" and fault == "kill child" and stage in ("read", "save"):
        return False  # the owner does these
    if fault == "GPU lost":
        return stage == "network"
    if fault in STANDING:
        return stage in ("read", "hand over", "network", "write", "save")
    return True


# What a fault does when it strikes, and how it is taken back


def strike(case: Case, place: Place) -> None:
    """Let the fault happen, here and now."""
    place.mark.touch()
    if case.fault.startswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif case.fault == "disk full":
        for folder in (place.out, place.tmp):
            _fill(folder)
        _say_there_is_room()
    elif case.fault == "read-only":
        for folder in (place.out, place.tmp):
            subprocess.run(["mount", "-o", "remount,ro", folder], check=False)
    elif case.fault == "deleted":
        _delete(case, place)
    elif case.fault == "locked":
        _lock(case, place)
    elif case.fault == "memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + _LEFT_BYTES, hard))
    elif case.fault == "clock":
        for name, unit in (("time", 1), ("time_ns", 10**9)):
            real = getattr(time, name)
            setattr(time, name, lambda real=real, unit=unit: real() + type(real())(_JUMP_S) * unit)


def lift(case: Case, place: Place) -> None:
    """Make all well again, before the next run."""
    if not place.struck:
        return
    if case.fault == "memory":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    elif case.fault == "disk full":
        for folder in (place.out, place.tmp):
            (folder / ".filler").unlink(missing_ok=True)
    elif case.fault == "read-only":
        for folder in (place.out, place.tmp):
            subprocess.run(["mount", "-o", "remount,rw", folder], check=False)
    place.out.mkdir(parents=True, exist_ok=True)
    for path in (place.out, place.tmp, *place.tmp.glob("skinseg-exchange-*")):
        path.chmod(0o700)
    kept = place.scan.with_suffix(".kept")
    if kept.exists():
        shutil.copy(kept, place.scan)
    weights = place.model / "models" / "model.pt"
    if weights.with_suffix(".kept").exists():
        shutil.copy2(weights.with_suffix(".kept"), weights)
    for path in (place.scan, weights):
        if path.exists():
            path.chmod(0o600)


def _fill(folder: Path) -> None:
    with (folder / ".filler").open("wb") as file:
        at, size = 0, 1 << 24
        while size >= 1024:
            try:
                os.posix_fallocate(file.fileno(), at, size)
                at += size
            except OSError:
                size //= 2


def _say_there_is_room() -> None:
    """As where others fill the disk after it was asked how much room there is."""
    from SkinSegLib.worker import exchange

    real, lots = exchange._room, 1 << 40
    exchange._room = lambda folder: real(folder) if folder == Path("/dev/shm") else lots


def _delete(case: Case, place: Place) -> None:
    weights = place.model / "models" / "model.pt"
    if case.stage == "network":
        shutil.copy2(weights, weights.with_suffix(".kept"))
        weights.unlink()
    elif case.stage == "write":
        shutil.rmtree(place.out)
    elif case.stage in ("rename", "save"):
        for path in place.out.glob(".skinseg-" + 28 * "[0-9a-f]" + "-*"):
            path.unlink()  # what is about to take its name, not what was set aside
    else:
        shutil.copy(place.scan, place.scan.with_suffix(".kept"))
        place.scan.unlink()
        for folder in place.tmp.glob("skinseg-exchange-*"):
            shutil.rmtree(folder)


def _lock(case: Case, place: Place) -> None:
    if case.stage == "network":
        (place.model / "models" / "model.pt").chmod(0)
    elif case.stage == "write":
        place.out.chmod(0o500)
    elif case.stage == "save":
        _refuse_names(place.out)
    elif case.stage == "rename":
        raise PermissionError(13, os.strerror(13))  # as on Windows, where another has it open
    else:
        place.scan.chmod(0)
        for folder in place.tmp.glob("skinseg-exchange-*"):
            folder.chmod(0)


def _refuse_names(folder: Path) -> None:
    """As on Windows, where another program has the old files open."""
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).parent == folder and not Path(target).name.startswith(".") and not done:
            done.append(target)
            raise PermissionError(13, os.strerror(13))
        real(source, target)

    done: list[Any] = []
    os.replace = replace  # type: ignore[assignment]


# Where it strikes


def arm(case: Case, place: Place) -> None:
    """Have this process struck, once, when it comes to the stage."""

    def now() -> None:
        if not place.struck:
            strike(case, place)

    if case.fault in STANDING:
        place.mark.touch()
    elif case.fault == "GPU lost":
        _with_a_gpu(place)
    elif case.stage == "hand over":
        if case.side == "host":
            from SkinSegLib.worker import Exchange

            _before(Exchange, "put_slowly", now)
        else:
            from SkinSegLib.worker import tasks

            _before(tasks, "scan_from", now)
    elif case.stage == "network":
        from SkinSegLib.segmentation import network

        _before(network, "_fitting", now)
    elif case.stage == "save":
        from SkinSegLib.core.files import Replacements

        _before(Replacements, "commit", now)
    elif case.stage == "rename":
        _at_second_name(place.out, now)
    else:
        _at_stage(case, now)


def _before(owner: Any, name: str, act: Callable[[], None]) -> None:
    real = getattr(owner, name)

    @functools.wraps(real)
    def wrapped(*given: Any, **named: Any) -> Any:
        act()
        return real(*given, **named)

    setattr(owner, name, wrapped)


def _at_stage(case: Case, act: Callable[[], None]) -> None:
    from SkinSegLib.core import Progress

    name = {"read": "Read", "delineate": "Delineate", "mesh": "Surface", "write": "Write"}
    wanted = name[case.stage]
    # A process that writes is killed in the midst of it: what is there by then is half a result.
    late = case.stage == "write" and case.fault.startswith("kill")
    real = Progress.update

    def update(self: Progress, fraction: float) -> None:
        if self._name == wanted and 0.0 < fraction < 1.0 if late else self._name == wanted:
            act()
        real(self, fraction)

    Progress.update = update  # type: ignore[method-assign]


def _at_second_name(folder: Path, act: Callable[[], None]) -> None:
    real, seen = os.replace, []

    def replace(source: Any, target: Any) -> None:
        if Path(target).parent == folder and not Path(target).name.startswith("."):
            seen.append(target)
            if len(seen) == 2:
                act()
        real(source, target)

    os.replace = replace  # type: ignore[assignment]


def _with_a_gpu(place: Place) -> None:
    from SkinSegLib.segmentation import network

    real = network._predict

    def predict(bundle: Any, grey: Any, device: str, *rest: Any) -> Any:
        if device != "cpu":
            place.mark.touch()
            raise RuntimeError("CUDA error: the launch timed out and was terminated")
        return real(bundle, grey, device, *rest)

    network._predict = predict
    network.choose_device = lambda device: "cuda"  # type: ignore[assignment]


# What the system must give


def own_mounts() -> bool:
    """Give this process mounts of its own; False where the system does not let it."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private = 0x00020000, (1 << 14) | (1 << 18)
    if os.geteuid() != 0 or libc.unshare(new_namespace) != 0:
        return False
    return libc.mount(b"none", b"/", None, private, None) == 0 and _small_shm()


def _small_shm() -> bool:
    """Too small for a scan: temporary files go to the folder for them, which a fault may fill."""
    return mount_disk(Path("/dev/shm"), 1 << 20)


def mount_disk(folder: Path, size: int) -> bool:
    """A disk of its own, of ``size`` bytes, at a folder."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def obey_permissions() -> None:
    """Give up root's right to every file, for this process and those it starts."""
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for right in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        libc.prctl(24, right, 0, 0, 0)  # PR_CAPBSET_DROP
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    libc.capget(header, data)
    without = ~((1 << _DAC_OVERRIDE) | (1 << _DAC_READ_SEARCH)) & 0xFFFFFFFF
    for n in (0, 1):
        data[n] &= without
    libc.capset(header, data)
