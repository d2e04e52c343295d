"""The whole job outside Slicer: read, segment, build, write, report. Holds no algorithm."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .core import (
    CTVolume,
    MissingPackageError,
    OutputError,
    Progress,
    SkinMask,
    SkinMesh,
    replacing,
    require_writable,
)
from .report import Report, make_report
from .scan import read
from .segmentation import SegmentOptions, segment
from .segmentation.labelmap import check_format as check_labelmap
from .segmentation.labelmap import write_labelmap
from .surface import SurfaceOptions, build, layer_voxels, render_views, write
from .surface import check_format as check_surface

Load = Callable[[Progress], CTVolume]

#: Thickness in mm of the Skin segment in a .seg.nrrd when no layer was asked for.
DEFAULT_LAYER_MM = 2.0
#: Labels in a plain labelmap, which cannot hold overlapping segments as .seg.nrrd does.
HEAD_LABEL, LAYER_LABEL = 1, 2

SEGMENTATION_SUFFIX = ".seg.nrrd"

#: How much of the whole job loading is, by the time it takes: a scan, and the phantom.
READ_SHARE, PHANTOM_SHARE = 0.1, 0.85
#: Where in the rest each part begins and how much of it it is.
_SEGMENT = (0.0, 0.6)
_SURFACE = (0.6, 0.1)
_LAYER = (0.7, 0.15)
_WRITE = (0.85, 0.15)


@dataclass(frozen=True)
class Outputs:
    """The files to write; None leaves one out.

    ``mesh``: STL, PLY, OBJ or VTP. ``mask``: ``.seg.nrrd`` with the segments Head and Skin
    (needs slicer-core), else a labelmap. ``report``: JSON. ``preview``: PNG.
    """

    mesh: Path
    mask: Path | None = None
    report: Path | None = None
    preview: Path | None = None

    def paths(self) -> list[Path]:
        """Those that were asked for."""
        every = (self.mesh, self.mask, self.report, self.preview)
        return [path for path in every if path is not None]


@dataclass(frozen=True)
class JobOptions:
    """``layer_mm``: None for the solid head, else the thickness of the skin layer in mm."""

    segment: SegmentOptions = field(default_factory=SegmentOptions)
    layer_mm: float | None = None


@dataclass(frozen=True)
class _Result:
    """What was computed. ``wanted``: the mesh asked for, the head itself or its layer.

    ``layer_voxels``: labelmap (k, j, i) of the skin layer, if a mask needs one.
    """

    volume: CTVolume
    mask: SkinMask
    head: SkinMesh
    wanted: SkinMesh
    layer_voxels: NDArray[np.uint8] | None


def run_job(
    load: Load,
    outputs: Outputs,
    options: JobOptions,
    progress: Progress,
    load_share: float = READ_SHARE,
) -> tuple[Report, tuple[Path, ...]]:
    """Do the whole job; at the end either every output that was asked for is there, or none.

    ``load`` gets a Progress and returns the scan; ``load_share`` (0..1) is how much of the whole
    job that is, for the progress. Returns the report and the files written. The
    one exception is the preview: where the machine lacks the graphics library, the rest is written
    and the report's ``warnings`` say why.

    Raises OutputError before anything is computed if an output could not be written, and whatever
    the parts raise: SkinSegError, or Cancelled, which only comes while no output has taken its
    place yet.
    """
    _check(outputs, options)
    volume = load(progress.part(0.0, load_share))
    rest = progress.part(load_share, 1.0 - load_share)
    result = _compute(volume, outputs, options, rest)
    with ExitStack() as finished:
        warnings = _write(result, outputs, rest.part(*_WRITE), finished)
        report = make_report(
            volume,
            result.mask,
            result.head,
            result.wanted,
            progress.seconds,
            layer_mm=options.layer_mm,
            warnings=warnings,
        )
        if outputs.report is not None:
            with _named(outputs.report, finished) as temporary:
                temporary.write_text(report.as_json(), encoding="utf-8")
        progress.check()
    # The stack is closed: every file has its name.
    missing = {outputs.preview} if warnings else set()
    return report, tuple(path for path in outputs.paths() if path not in missing)


@contextmanager
def made_folder(path: Path) -> Iterator[Path]:
    """The folder ``path``, made if it is missing; removed again if the block fails and it is empty.

    Raises OutputError if it cannot be made.
    """
    there = path.is_dir()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {path} cannot be made ({error.strerror}). Choose another one."
        ) from error
    try:
        yield path
    except BaseException:
        if not there and not any(path.iterdir()):
            path.rmdir()
        raise


def phantom(progress: Progress) -> CTVolume:
    """The made head of ``skinseg demo``: the same every time, with a table and a head holder."""
    from .training.phantom import make_phantom

    return make_phantom(progress=progress).volume


def scan_at(path: Path, series: str | None = None) -> Load:
    """What loads the scan at ``path``; see :func:`SkinSegLib.scan.read`. Stage: Read."""

    def load(progress: Progress) -> CTVolume:
        with progress.stage("Read", 1.0):
            return read(path, series, progress)

    return load


def _check(outputs: Outputs, options: JobOptions) -> None:
    """Find out now what would only fail after minutes of computing."""
    SurfaceOptions(layer_mm=options.layer_mm)
    check_surface(outputs.mesh)
    for path in outputs.paths():
        require_writable(path)
    if outputs.mask is None:
        return
    if _is_segmentation(outputs.mask):
        from .mrml import ensure_host

        ensure_host()  # or slicer-core would be missed only at the end
    else:
        check_labelmap(outputs.mask)


def _compute(
    volume: CTVolume, outputs: Outputs, options: JobOptions, progress: Progress
) -> _Result:
    mask = segment(volume, options.segment, progress.part(*_SEGMENT))
    head = build(mask, volume, progress=progress.part(*_SURFACE))
    wants_segments = outputs.mask is not None and _is_segmentation(outputs.mask)
    thickness = options.layer_mm or (DEFAULT_LAYER_MM if wants_segments else None)
    if thickness is None:
        return _Result(volume, mask, head, head, None)
    part = progress.part(*_LAYER)
    with part.stage("Layer", 1.0):
        wall = head
        if options.layer_mm is not None:
            wall = build(mask, volume, SurfaceOptions(layer_mm=thickness))
        part.update(0.6)
        voxels = layer_voxels(mask, head, thickness) if outputs.mask is not None else None
    return _Result(volume, mask, head, wall, voxels)


def _write(
    result: _Result,
    outputs: Outputs,
    progress: Progress,
    finished: ExitStack,
) -> tuple[str, ...]:
    """Write all but the report, under temporary names that ``finished`` turns into the real ones.

    Returns what could not be done.
    """
    with progress.stage("Write", 0.5):
        with _named(outputs.mesh, finished) as temporary:
            write(result.wanted, temporary)
        progress.update(0.5)
        if outputs.mask is not None:
            with _named(outputs.mask, finished) as temporary:
                _write_mask(result, temporary)
    if outputs.preview is None:
        return ()
    with progress.stage("Preview", 0.5):
        try:
            with _named(outputs.preview, finished) as temporary:
                render_views(result.wanted, temporary, progress=progress)
        except MissingPackageError as error:
            return (str(error),)
    return ()


@contextmanager
def _named(path: Path, finished: ExitStack) -> Iterator[Path]:
    """A temporary name for ``path``; once written, ``finished`` renames it at its own end."""
    with ExitStack() as own:
        temporary = own.enter_context(replacing(path))
        try:
            yield temporary
        except OutputError as error:  # it was written under a temporary name
            raise OutputError(re.sub(r"\.skinseg-[0-9a-f]{12}-", "", str(error))) from error
        finished.enter_context(own.pop_all())


def _is_segmentation(path: Path) -> bool:
    return path.name.lower().endswith(SEGMENTATION_SUFFIX)


def _write_mask(result: _Result, path: Path) -> None:
    if not _is_segmentation(path):
        labels = result.mask.voxels * np.uint8(HEAD_LABEL)
        if result.layer_voxels is not None:
            labels[result.layer_voxels > 0] = LAYER_LABEL
        write_labelmap(labels, result.mask.ijk_to_ras, path)
        return
    from . import mrml

    assert result.layer_voxels is not None
    scene = mrml.ensure_host().mrmlScene
    volume_node = mrml.add_volume(result.volume, "Head CT")
    try:
        placed = mrml.placed_scan(volume_node)
        # A .seg.nrrd holds no surfaces, so any will do for the layer of this short-lived node.
        node = mrml.add_segmentation(
            placed, result.mask.voxels, result.head, result.layer_voxels, result.wanted
        )
        try:
            mrml.save_segmentation(node, path)
        finally:
            scene.RemoveNode(node)
    finally:
        scene.RemoveNode(volume_node)
