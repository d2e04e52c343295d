"""One door for every engine: a scan in, the solid head out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ..core import (
    CTVolume,
    Finding,
    FindingKind,
    ModelError,
    Progress,
    SegmentationError,
    SkinMask,
    at_most,
    beside,
    cores,
)
from .bare import bare_parts
from .coarse import CoarseGrid, Floats
from .delineate import delineate
from .findings import cut_faces, find
from .layers import loose_range
from .level import Level, find_level
from .locate import Bools, Location, locate, locate_by
from .models import find_model, network_is_there, require_packages
from .openings import cavities_of
from .options import LIVE_MODEL, SegmentOptions
from .plausible import measure

#: Block size in mm of the grid on which patient and objects are told apart.
_COARSE_MM = 2.0
#: A scan must be larger than this along two axes; one slice of a head is.
_SMALLEST_MM = 40.0
#: Grey values of bone on a calibrated scan: none below, all of it above.
_BONE_HU = (200.0, 400.0)
#: Half the range of soft tissue, and its middle, as shares of the contrast: -65 to 205 HU.
_SOFT = (0.13, 0.03)


def segment(
    volume: CTVolume,
    options: SegmentOptions | None = None,
    progress: Progress | None = None,
) -> SkinMask:
    """The solid head in a CT or CBCT scan (label protocol: DESIGN section 1).

    Stages: Level, Locate, Openings, Delineate, Check. ``progress`` is told of each, and can
    cancel between and within them.

    Raises SegmentationError if there is no patient to be found, Cancelled if the user says so.
    """
    options = options or SegmentOptions()
    progress = progress or Progress()
    with at_most(options.workers):
        return _segment(volume, options, progress)


def _segment(volume: CTVolume, options: SegmentOptions, progress: Progress) -> SkinMask:
    with progress.stage("Level", 0.05):
        level = find_level(volume, options.level_hu)
    with progress.stage("Locate", 0.3):
        grid = CoarseGrid.over(volume, _COARSE_MM)
        extents = sorted(n * size for n, size in zip(grid.shape, volume.spacing[::-1], strict=True))
        if extents[1] < _SMALLEST_MM:
            raise SegmentationError(
                "The scan is too small to hold a head. Choose the series that shows the patient."
            )
        found, said = _located(volume, level, options, grid, progress)
    with progress.stage("Openings", 0.2):
        cavities = cavities_of(
            found.patient, grid.spacing, options.seal_mm, options.cavity_depth_mm, found.likely
        )
    with progress.stage("Delineate", 0.4):
        mask, cut_off = delineate(
            volume,
            level.skin,
            grid,
            found.patient,
            found.objects,
            cavities,
            progress,
            found.side,
            loose_range(level),
        )
    with progress.stage("Check", 0.05):
        cuts = cut_faces(mask, volume.spacing)
        shape = measure(volume, level, grid, found.patient, cavities)
        contacts = found.contacts | cut_off
        findings = find(volume, level, mask, cuts, grid, contacts, shape, found.doubt)
        findings += tuple(Finding(FindingKind.COMPUTING_NOTE, note) for note in said.notes)
    return SkinMask(
        mask,
        volume.ijk_to_ras,
        said.engine,
        level.skin,
        (level.tissue - level.air) / 2,
        cuts,
        findings,
        dict(progress.seconds),
        said.model,
    )


def engine_for(options: SegmentOptions) -> str:
    """The engine to try first: "network" or "threshold".

    A model that was named is used, or the user is told why not.
    """
    if options.engine != "auto":
        return options.engine
    named = options.model != LIVE_MODEL
    return "network" if named or network_is_there(options.model) else "threshold"


@dataclass(frozen=True)
class _Said:
    """Which engine it was, notes for the user, and the model's identity (empty without one)."""

    engine: str
    notes: tuple[str, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)


def _located(
    volume: CTVolume, level: Level, options: SegmentOptions, grid: CoarseGrid, progress: Progress
) -> tuple[Location, _Said]:
    """Patient and objects, and who said so. The network computes beside the classical engine."""
    if engine_for(options) != "network":
        return _by_thresholds(volume, level, options, grid, progress)[0], _Said("threshold")
    with beside(partial(_said_by_network, volume, level, options, grid), progress) as said:
        found, tissue = _by_thresholds(volume, level, options, grid, progress)
        try:
            likely, cell_mm, notes, model = said()
        except ModelError as error:
            if options.engine == "network" or options.model != LIVE_MODEL:
                raise
            note = f"The network could not be used, so the engine threshold was: {error}"
            return found, _Said("threshold", (note,))
    progress.update(0.9)
    found = locate_by(
        likely, tissue.fraction, grid.spacing, cell_mm, tissue.bare, found.objects, tissue.soft
    )
    return found, _Said("network", notes, model)


@dataclass(frozen=True)
class _Tissue:
    """On the coarse grid (k, j, i): how much of each block is tissue, 0..1; what lies bare; what is
    as dense as soft tissue."""

    fraction: Floats
    bare: Bools
    soft: Bools


def _by_thresholds(
    volume: CTVolume, level: Level, options: SegmentOptions, grid: CoarseGrid, progress: Progress
) -> tuple[Location, _Tissue]:
    # Half of this is the level, wherever the user has put it.
    span = (level.tissue - level.air) / 2
    edge = replace(level, air=level.skin - span, tissue=level.skin + span)
    fraction = grid.tissue_fraction(volume, edge)
    progress.update(0.4)
    grey = grid.at_centres(volume).astype(np.float32)
    bare = bare_parts(grey, fraction, level, grid.spacing)
    contrast = level.tissue - level.air
    soft = np.abs((grey - level.tissue) / contrast - _SOFT[1]) <= _SOFT[0]
    if level.calibrated:
        bone = np.clip((grey - _BONE_HU[0]) / (_BONE_HU[1] - _BONE_HU[0]), 0, 1)
    else:
        bone = np.zeros_like(fraction)
    progress.update(0.6)
    found = locate(fraction, bone, grid.spacing, options.opening_mm, options.reach_mm, bare)
    return found, _Tissue(fraction, bare, soft)


def _said_by_network(
    volume: CTVolume, level: Level, options: SegmentOptions, grid: CoarseGrid, progress: Progress
) -> tuple[Floats, float, tuple[str, ...], dict[str, str]]:
    """How likely each block is patient, the size of the network's cells, notes, and which model."""
    from .network import patient_probability

    require_packages()
    bundle = find_model(options.model)
    # Threads of PyTorch that wait for a core keep it from the rest.
    workers = max(1, cores() - 1)
    cells, probability, notes = patient_probability(
        volume, level, bundle, options.device, progress, workers
    )
    return cells.on_coarse(probability, grid), bundle.cell_mm, notes, bundle.identity
