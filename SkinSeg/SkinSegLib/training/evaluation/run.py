"""Engines side by side on data sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, Progress, SkinSegError
from SkinSegLib.segmentation import SegmentOptions, segment

from .cases import Case, DataSet, Entry
from .child import EngineProcess, Result, Segmenter
from .measures import Figures, measure

#: In place of an engine: the second reference, scored against the first.
SECOND_REFERENCE = "second reference"


@dataclass(frozen=True)
class Engine:
    """What makes masks, and what it is called in the table."""

    name: str
    run: Segmenter


@dataclass(frozen=True)
class Row:
    """One engine on one case. ``reference``: "first" or "second".

    ``seconds``, ``peak_mb``: see :class:`.child.Result`; NaN for the second reference. ``problem``:
    why the engine gave no mask, which is then scored as an empty one.
    """

    data_set: str
    case: str
    engine: str
    reference: str
    figures: Figures
    seconds: float
    peak_mb: float
    problem: str = ""


@dataclass(frozen=True)
class Evaluation:
    """All rows, in the order of data sets, cases and engines, and what was left out."""

    rows: tuple[Row, ...]
    warnings: tuple[str, ...]


def network_engine(name: str, model: str, device: str = "auto") -> Engine:
    """The network engine of SkinSeg with a ``model``, by its name or as a folder."""
    options = SegmentOptions(engine="network", model=model, device=device)
    return Engine(name, partial(by_segment, options=options))


def by_segment(volume: CTVolume, options: SegmentOptions) -> NDArray[np.uint8]:
    """An engine of SkinSeg as a function, for :class:`Engine`."""
    return segment(volume, options).voxels


def evaluate(
    sets: Sequence[DataSet],
    engines: Sequence[Engine],
    progress: Progress | None = None,
    done: Callable[[Row], None] | None = None,
) -> Evaluation:
    """Run engines over data sets, one case at a time and one engine at a time.

    A case whose scan or reference is missing is left out and named in ``warnings``; an engine that
    fails has a row all the same. Each engine runs in a process of its own. Progress: a stage for
    each case. ``done`` is told each row. Raises SkinSegError if no case is left, Cancelled.
    """
    progress = progress or Progress()
    rows: list[Row] = []
    warnings: list[str] = []
    total = sum(len(data.entries) for data in sets)
    with ExitStack() as stack:
        processes = {
            engine.name: stack.enter_context(EngineProcess(engine.run)) for engine in engines
        }
        for data in sets:
            for entry in data.entries:
                with progress.stage(f"{data.name}: {entry.name}", 1 / total):
                    case = _loaded(entry, warnings, progress)
                    if case is None:
                        continue
                    for row in _rows(data.name, entry.name, case, processes, progress):
                        rows.append(row)
                        if done is not None:
                            done(row)
    if not rows:
        raise SkinSegError(" ".join(["There is nothing to evaluate.", *warnings]))
    return Evaluation(tuple(rows), tuple(warnings))


def _loaded(entry: Entry, warnings: list[str], progress: Progress) -> Case | None:
    try:
        return entry.load(progress)
    except SkinSegError as error:
        warnings.append(f"{entry.name} was left out: {error}")
        return None


def _rows(
    data: str, name: str, case: Case, processes: dict[str, EngineProcess], progress: Progress
) -> Iterator[Row]:
    references = {"first": case.reference}
    if case.second is not None:
        references["second"] = case.second
    for number, (engine, process) in enumerate(processes.items()):
        result = process.run(case.reference.volume, progress)
        mask, problem = _usable(result, case.reference.mask.shape)
        for which, reference in references.items():
            figures = measure(mask, reference)
            yield Row(data, name, engine, which, figures, result.seconds, result.peak_mb, problem)
        progress.update((number + 1) / (len(processes) + 1))
    if case.second is not None:
        figures = measure(case.second.mask, case.reference)
        yield Row(data, name, SECOND_REFERENCE, "first", figures, math.nan, math.nan)


def _usable(result: Result, shape: tuple[int, ...]) -> tuple[NDArray[np.uint8], str]:
    """The mask, or an empty one and why."""
    if result.mask is None:
        return np.zeros(shape, np.uint8), result.problem
    if result.mask.shape != shape:
        return np.zeros(shape, np.uint8), "Its mask is not on the grid of the scan."
    return result.mask, ""
