"""The trainings of a data set: begun, gone on with, compared, and decided by a person.

Each has a folder in ``trainings`` of the data set. It holds pieces of the patients' scans while it
trains, so it stays where the scans are; what was decided keeps the model, the log and the figures.
Whoever works on a training holds its lock, which the system lets go of if the process is killed.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from SkinSegLib.core import (
    MissingPackageError,
    ModelError,
    OutputError,
    Progress,
    SkinSegError,
    replacing,
)
from SkinSegLib.segmentation import models
from SkinSegLib.segmentation.bundle import CARD, load_bundle
from SkinSegLib.segmentation.live import live_model, make_live
from SkinSegLib.segmentation.models import add_model, find_model, list_models
from SkinSegLib.segmentation.options import LIVE_MODEL

from .compare import Comparison, compare, pairs, write_comparison
from .dataset import CaseFolder
from .evaluation import Row, write_card
from .finetune import FineTuneOptions, can_resume, fine_tune
from .session import MODEL

TRAININGS = "trainings"
STAGES = ("running", "stopped", "trained", "compared", "decided")
_PLAN, _COMPARISON, _LOCK = "training.json", "comparison.json", ".lock"
#: Kept once it is decided; everything else goes.
_KEPT = {_PLAN, _COMPARISON, _LOCK, MODEL, "log.csv", "recipe.json", "cases.json"}
_KEPT_ENDINGS = (".png", ".md", ".csv")
#: Shares of the whole: training, and comparing.
_TRAIN = 0.85
#: Letters that a name takes of the data set's.
_LONGEST = 40


@dataclass(frozen=True)
class Training:
    """One training: ``folder``; ``name``, which is the model's; ``started``: ISO 8601, local time.

    ``start``: name of the model that it began with. ``options``: those of
    :class:`.finetune.FineTuneOptions` that differ from its defaults. ``made``: made scenes of the
    comparison. ``decided``: "used" or "kept" (the one before), empty while nobody has.
    """

    folder: Path
    name: str
    started: str
    start: str
    options: Mapping[str, Any] = field(default_factory=dict)
    made: int = 8
    decided: str = ""

    @property
    def stage(self) -> str:
        """One of STAGES."""
        if self.decided:
            return "decided"
        if _is_locked(self.folder):
            return "running"
        if not (self.folder / MODEL).exists():
            return "stopped"
        return "compared" if (self.folder / _COMPARISON).is_file() else "trained"


def begin(cases: CaseFolder, options: Mapping[str, Any], made: int = 8) -> Training:
    """A new training from the model in use, called as the data set with the next number.

    Nothing is computed yet. Raises SkinSegError where there is nothing to train or to test on,
    OutputError if its folder cannot be made, ModelError if no model can be used.
    """
    splits = [record.split for record in cases.records()]
    for split, use in (("train", "training"), ("test", "testing")):
        if split not in splits:
            raise SkinSegError(
                f"The data set has no case for {use}. Add at least one corrected scan for {use}."
            )
    start = live_model()
    find_model(start)
    place = cases.folder / TRAININGS
    stem = re.sub(r"[^A-Za-z0-9]+", "-", cases.folder.resolve().name).strip("-")[:_LONGEST]
    number = _next_number(place, f"{stem or 'heads'}-v")
    name = f"{stem or 'heads'}-v{number}"
    training = Training(
        place / name,
        name,
        datetime.now().astimezone().isoformat(timespec="minutes"),
        start,
        {**options, "name": name, "version": str(number)},
        made,
    )
    try:
        training.folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"The training cannot be kept in {place} ({error.strerror}). Check that you may write "
            "there, and try again."
        ) from error
    _write(training)
    return training


def trainings(cases: CaseFolder) -> list[Training]:
    """All trainings of a data set, the oldest first; folders that are none are passed over."""
    found = []
    for path in (cases.folder / TRAININGS).glob(f"*/{_PLAN}"):
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            found.append(Training(path.parent, **kept))
        except (OSError, ValueError, TypeError):
            continue  # one that was killed as it began, or removed meanwhile
    return sorted(found, key=lambda training: (training.started, training.name))


def training_of(cases: CaseFolder, name: str) -> Training:
    """The training of a name. Raises SkinSegError if there is none."""
    for training in trainings(cases):
        if training.name == name:
            return training
    raise SkinSegError(f"There is no training {name} in the data set any more. Begin a new one.")


def go_on(
    cases: CaseFolder, training: Training, device: str, progress: Progress | None = None
) -> dict[str, Any]:
    """Do what is left of a training: train, from its last checkpoint on, and compare.

    Returns what :func:`compared` does. ``device``: "auto", "cpu", "cuda", "cuda:N". Progress
    stages: those of fine_tune() and compare(). Raises what these raise, and SkinSegError while
    somebody else works on it; Cancelled with the last checkpoint in place.
    """
    from SkinSegLib.segmentation.network import choose_device

    progress = progress or Progress()
    require_packages()  # before half an hour of training
    with _locked(training.folder):
        if not (training.folder / MODEL).exists():
            options = FineTuneOptions(
                training.folder,
                **training.options,
                device=choose_device(device),
                resume=can_resume(training.folder),
            )
            fine_tune(cases, find_model(training.start), options, progress.part(0.0, _TRAIN))
        if not _is_fresh(cases, training):
            new = load_bundle(training.folder / MODEL)
            part = progress.part(_TRAIN, 1 - _TRAIN)
            found = compare(
                cases, find_model(LIVE_MODEL), new, device, made=training.made, progress=part
            )
            _keep(cases, training, found)
    return compared(training)


def compared(training: Training) -> dict[str, Any]:
    """What the comparison of a training found, ready for JSON.

    ``old``, ``new``: identities; ``worse``: why the new model may not go live; ``rows``: by case,
    ``old`` and ``new`` of it: ``within`` (surface Dice at 1 mm), ``mean_mm``, ``taken_ml`` and
    ``lost_ml``. Raises SkinSegError if there is none.
    """
    try:
        found: dict[str, Any] = json.loads(
            (training.folder / _COMPARISON).read_text(encoding="utf-8")
        )
    except (OSError, ValueError) as error:
        raise SkinSegError(
            f"The model of {training.name} was not compared yet. Go on with its training."
        ) from error
    return found


def use(cases: CaseFolder, training: Training) -> str:
    """Install the model of a training and use it from now on; returns its name.

    Raises SkinSegError where it is worse than the one in use, or where that one or the cases for
    testing are others than it was compared with; ModelError, OutputError, MissingPackageError.
    """
    with _locked(training.folder):
        found = compared(training)
        if found["worse"]:
            raise SkinSegError(
                f"The model {training.name} is worse than the one in use, which stays: "
                f"{'; '.join(found['worse'])}."
            )
        if not _is_fresh(cases, training):
            (training.folder / _COMPARISON).unlink()
            raise SkinSegError(
                "The model in use or the cases for testing changed since the comparison. Go on "
                "with the training: the new model is compared again."
            )
        if not _is_installed(training.name, found["new"]["sha256"]):
            add_model(training.folder / MODEL, training.name)
        make_live(training.name)
    _decide(training, "used")
    return training.name


def keep_present(training: Training) -> None:
    """Let the model in use stay: the training is decided. Raises OutputError."""
    _decide(training, "kept")


def discard(training: Training) -> None:
    """Delete a training that nobody decided on. Raises SkinSegError while somebody works on it."""
    with _locked(training.folder):
        pass
    shutil.rmtree(training.folder, ignore_errors=True)


def _decide(training: Training, how: str) -> None:
    _write(replace(training, decided=how))
    for path in training.folder.iterdir():
        if path.name not in _KEPT and not path.name.endswith(_KEPT_ENDINGS):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _keep(cases: CaseFolder, training: Training, found: Comparison) -> None:
    """Tables and picture, the card's figures, and last what :func:`compared` reads."""
    write_comparison(found, training.folder)
    write_card(found.evaluation, training.folder / MODEL / CARD)
    names = dict.fromkeys(row.data_set for row in found.evaluation.rows)
    kept = {
        "old": found.old,
        "new": found.new,
        "worse": list(found.worse),
        "tests": _tests(cases),
        "rows": [
            {"case": case, "old": _figures(old), "new": _figures(new)}
            for name in names
            for case, old, new in pairs(found.evaluation, name)
        ],
    }
    with replacing(training.folder / _COMPARISON) as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def _figures(row: Row) -> dict[str, float]:
    found = row.figures
    return {
        "within": found.surface_dice_1mm,
        "mean_mm": found.skin.mean,
        "taken_ml": found.taken_ml,
        "lost_ml": found.lost_ml,
    }


def _tests(cases: CaseFolder) -> list[str]:
    return [record.label_sha256 for record in cases.records() if record.split == "test"]


def _is_fresh(cases: CaseFolder, training: Training) -> bool:
    """Whether the training was compared with the model in use, on the cases that there are."""
    try:
        found = compared(training)
    except SkinSegError:
        return False
    return bool(found["old"] == find_model(LIVE_MODEL).identity and found["tests"] == _tests(cases))


def _is_installed(name: str, sha256: str) -> bool:
    """Whether a kill came between installing and using it."""
    try:
        return find_model(name).sha256 == sha256
    except ModelError:
        return False


def _next_number(place: Path, stem: str) -> int:
    """One that neither a training nor a model has."""
    names = [path.name for path in place.glob(f"{stem}*")]
    names += [entry.name for entry in list_models()]
    numbers = (name.removeprefix(stem) for name in names if name.startswith(stem))
    return max((int(n) for n in numbers if n.isdecimal()), default=0) + 1


def _write(training: Training) -> None:
    kept = asdict(training)
    del kept["folder"]
    with replacing(training.folder / _PLAN) as temporary:
        temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def require_packages() -> None:
    """Raise MissingPackageError if what a training needs is not installed."""
    models.require_packages()
    for name in ("matplotlib", "filelock"):
        if find_spec(name) is None:
            raise MissingPackageError(
                f"Training needs {name}. Install it with pip install {name}, in Slicer under "
                "Advanced."
            )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    # The makers of scenes of a training that was killed share its lock until they notice: 5 s.
    lock = FileLock(folder / _LOCK, timeout=10)
    try:
        lock.acquire()
    except Timeout as error:
        raise SkinSegError(
            "Somebody else is working on this training. Wait until it is done."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _is_locked(folder: Path) -> bool:
    try:
        from filelock import FileLock, Timeout
    except ImportError:
        return False
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError):  # nobody may work on it who may not write there
        return True
    lock.release()
    return False
