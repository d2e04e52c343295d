"""Tasks on a data set: adding to it, training on it, and what to label next."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import CTVolume, MissingPackageError, Progress, SkinSegError
from .exchange import get
from .messages import ScanMessage, scan_from
from .tasks_mesh import segment_on_scan


def cases(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """How many cases the data set ``dataset`` has, which model is in use, and what is undecided.

    Returns ``train``, ``test`` (counts), ``waiting`` (names of cases without a label), ``live``,
    ``before`` (models that were used before), ``problem`` (why nothing can be trained, or "") and
    ``training``: the newest that nobody decided on (``name``, ``started``, ``stage``, ``folder``,
    and ``found`` once it was compared), else None.
    """
    from ..segmentation.live import live_model, models_before
    from ..training.dataset import CaseFolder
    from ..training.trainings import compared, require_packages, trainings

    folder = Path(arguments["dataset"])
    there = CaseFolder.open(folder) if CaseFolder.is_one(folder) else None
    problem, open_one = "", None
    try:
        require_packages()
    except MissingPackageError as error:
        problem = str(error)
    for training in [] if there is None else trainings(there):
        if training.stage != "decided":
            open_one = _said(training)
            if training.stage == "compared":
                open_one["found"] = compared(training)
    return {
        **_counts(folder),
        "live": live_model(),
        "before": models_before(),
        "problem": problem,
        "training": open_one,
    }


def add_case(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Add ``scan`` with its ``segment``, or alone, to the data set ``dataset``, made if new.

    ``split``: "train", "test" or "unlabelled". ``labelled_by``, ``patient`` (number, may be empty),
    ``deface``, ``allow_alike``, ``dicom_files``: those that the scan was loaded from. ``engine``,
    ``model``: what made the mask before it was corrected; ``before``: whether that lies there as
    "before". Returns ``name``, ``edited_ml``, ``key`` (file of the pseudonyms' key if it was made
    now, else "") and the counts of :func:`cases`.
    """
    from ..privacy import Pseudonyms
    from ..privacy.deface import DefaceOptions
    from ..training.dataset import CaseFolder
    from ..training.dataset.intake import Authorship, own_key, patient_pseudonym, prepare

    mask: NDArray[np.uint8] | None = None
    if "segment" in arguments:
        scan, drawn = segment_on_scan(arguments)
        mask = drawn.voxels
    else:
        scan = scan_from(arguments["scan"])
    folder = Path(arguments["dataset"])
    there = CaseFolder.create(folder)
    header = _header([Path(name) for name in arguments["dicom_files"]])
    key, path, is_new = own_key()
    who = Authorship(
        labelled_by=arguments["labelled_by"] if mask is not None else "",
        engine=arguments["engine"],
        model=dict(arguments["model"]),
        before=_before(arguments, scan),
    )
    taken = prepare(
        scan,
        mask,
        patient_pseudonym(Pseudonyms(key), scan, header, arguments["patient"]),
        arguments["split"],
        who,
        header,
        DefaceOptions() if arguments["deface"] else None,
        progress.part(0.0, 0.6),
    )
    with progress.part(0.6, 0.4).stage("Write", 1.0):
        added = there.add(taken.record, taken.volume, taken.mask, arguments["allow_alike"])
    return {
        "name": added.name,
        "edited_ml": added.edited_ml,
        "key": str(path) if is_new else "",
        **_counts(folder),
    }


def case_scan(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """The scan of the case ``name``, into the exchange folder."""
    from ..training.dataset import CaseFolder

    there = CaseFolder.open(Path(arguments["dataset"]))
    with progress.stage("Read", 1.0):
        volume, _ = there.read(there.record(arguments["name"]))
        message = ScanMessage.of(volume, Path(arguments["folder"]))
    return {"scan": asdict(message)}


def begin_training(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Begin a training on ``dataset`` by ``options`` (of FineTuneOptions); see trainings.begin.

    ``instead_of``: name of one to delete first, or "". Returns what it is (see :func:`cases`).
    """
    from ..training.dataset import CaseFolder
    from ..training.trainings import begin, discard, require_packages, training_of

    require_packages()
    there = CaseFolder.open(Path(arguments["dataset"]))
    if arguments["instead_of"]:
        discard(training_of(there, arguments["instead_of"]))
    return _said(begin(there, arguments["options"], arguments["made"]))


def learn(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do what is left of the training ``name``, on ``device``: train, and compare.

    ``nice``: how far this process gives way to others, 0 to 19 (Unix: setpriority). Returns what
    trainings.compared does. The curves are drawn as it goes.
    """
    from ..training.dataset import CaseFolder
    from ..training.trainings import go_on, training_of

    there = CaseFolder.open(Path(arguments["dataset"]))
    training = training_of(there, arguments["name"])
    if hasattr(os, "setpriority"):
        os.setpriority(os.PRIO_PROCESS, 0, arguments["nice"])
    return go_on(there, training, arguments["device"], _drawing(progress, training.folder))


def decide(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """What a person chose for the training ``name``: ``how`` is "use", "keep" (the model in use).

    Returns the ``live`` model.
    """
    from ..segmentation.live import live_model
    from ..training.dataset import CaseFolder
    from ..training.trainings import keep_present, training_of, use

    there = CaseFolder.open(Path(arguments["dataset"]))
    training = training_of(there, arguments["name"])
    with progress.stage("Model", 1.0):
        if arguments["how"] == "use":
            use(there, training)
        else:
            keep_present(training)
    return {"live": live_model()}


def back(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Use the model again that was used before; returns the ``live`` one."""
    from ..segmentation.live import roll_back

    with progress.stage("Model", 1.0):
        return {"live": roll_back()}


def rank(arguments: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Order the scans of ``dataset`` that wait, on ``device``: see training.ranking.

    Returns ``ranking``: [name, mL in doubt or None], the one to label first first; ``live``: the
    model that was asked.
    """
    from ..segmentation.live import live_model
    from ..segmentation.models import find_model, require_packages
    from ..training.dataset import CaseFolder
    from ..training.ranking import rank as ranked

    require_packages()
    there = CaseFolder.open(Path(arguments["dataset"]))
    live = live_model()
    found = ranked(there, find_model(live), arguments["device"], progress)
    return {
        "live": live,
        "ranking": [
            [one.record.name, None if np.isnan(one.doubt_ml) else one.doubt_ml] for one in found
        ],
    }


def _counts(folder: Path) -> dict[str, Any]:
    from ..training.dataset import CaseFolder

    records = CaseFolder.open(folder).records() if CaseFolder.is_one(folder) else []
    splits = [record.split for record in records]
    return {
        "train": splits.count("train"),
        "test": splits.count("test"),
        "waiting": [record.name for record in records if not record.labelled],
    }


def _said(training: Any) -> dict[str, Any]:
    return {
        "name": training.name,
        "started": training.started,
        "stage": training.stage,
        "folder": str(training.folder),
    }


def _before(arguments: Mapping[str, Any], scan: CTVolume) -> NDArray[np.uint8] | None:
    """The mask as the engine made it, where it is on the grid of the scan."""
    if not arguments["before"]:
        return None
    found = get(Path(arguments["folder"]), "before")
    return found if found.shape == scan.voxels.shape else None


def _header(files: list[Path]) -> Any:
    """A header of the files that a scan was loaded from, None without one that can be read."""
    from ..scan.dicom_header import read_dataset
    from ..training.dataset.intake import HEADER

    for path in files[:1]:
        try:
            return read_dataset(path, stop_before_pixels=True, specific_tags=list(HEADER))
        except Exception as error:  # pydicom documents no closed list of what damage may raise
            raise SkinSegError(
                "The DICOM files that the volume was loaded from cannot be read. Check that they "
                "are there, or save the volume as NRRD and load that."
            ) from error
    return None


def _drawing(progress: Progress, folder: Path) -> Progress:
    """A progress that draws the curves of a training whenever its log has grown."""
    from ..training.session import draw_curves

    last = 0.0

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        log = folder / "log.csv"
        changed = log.stat().st_mtime if log.exists() else 0.0
        if changed > last:
            last = changed
            draw_curves(folder, narrow=True)
        if progress.report is not None:
            progress.report(stage, fraction)

    return Progress(report, progress.is_cancelled)
