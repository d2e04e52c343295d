"""The whole job outside Slicer: read, segment, build, write, report. Holds no algorithm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .core import (
    CTVolume,
    MissingPackageError,
    OutputError,
    Progress,
    Replacements,
    SkinMask,
    SkinMesh,
    SurfaceError,
    replacing_together,
    require_writable,
    versions,
)
from .pipeline import DEFAULT_LAYER_MM, JobOptions, JobResult, compute
from .report import Report, make_report
from .scan import read
from .segmentation import SegmentOptions
from .segmentation.labelmap import check_format as check_labelmap
from .segmentation.labelmap import check_grid, write_labelmap
from .surface import (
    FinishOptions,
    Provenance,
    SurfaceOptions,
    finished,
    measures,
    render_views,
    sidecar_path,
    write,
    write_provenance,
)
from .surface import check_format as check_surface

Load = Callable[[Progress], CTVolume]
#: Makes the mask of a scan that was loaded.
Given = Callable[[CTVolume], SkinMask]

#: Labels in a plain labelmap, which cannot hold overlapping segments as .seg.nrrd does.
HEAD_LABEL, LAYER_LABEL = 1, 2

SEGMENTATION_SUFFIX = ".seg.nrrd"

#: In place of an engine's name, where the mask was made elsewhere.
GIVEN = "none, the mask was given"

#: Engines that can compute on a GPU.
GPU_ENGINES: frozenset[str] = frozenset({"network"})

#: How much of the whole job loading is, by the time it takes: a scan, and the phantom.
READ_SHARE, PHANTOM_SHARE = 0.1, 0.85
#: Where in the rest each part begins and how much of it it is.
_COMPUTE = (0.0, 0.85)
_WRITE = (0.85, 0.15)


@dataclass(frozen=True)
class Outputs:
    """The files to write; None leaves one out.

    ``mesh``: STL, PLY, OBJ, VTP, 3MF (needs lib3mf) or glTF; ``ascii``: STL as text; ``space``: LPS
    or RAS, of its coordinates;
    ``provenance``: also a record of how it was made, beside it (``skin.stl.json``). ``mask``:
    ``.seg.nrrd`` with the segments Head and Skin (needs slicer-core), else a labelmap.
    ``report``: JSON. ``preview``: PNG.
    """

    mesh: Path
    mask: Path | None = None
    report: Path | None = None
    preview: Path | None = None
    ascii: bool = False
    space: str = "LPS"
    provenance: bool = False

    @property
    def sidecar(self) -> Path | None:
        """The record of the mesh, None if it was not asked for."""
        return sidecar_path(self.mesh) if self.provenance else None

    def paths(self) -> list[Path]:
        """Those that were asked for."""
        every = (self.mesh, self.sidecar, self.mask, self.report, self.preview)
        return [path for path in every if path is not None]

    def absolute(self) -> Outputs:
        """The same files, wherever the process goes meanwhile."""
        mask, report, preview = (
            None if path is None else path.absolute()
            for path in (self.mask, self.report, self.preview)
        )
        return replace(self, mesh=self.mesh.absolute(), mask=mask, report=report, preview=preview)


def run_job(
    load: Load,
    outputs: Outputs,
    progress: Progress,
    options: SegmentOptions | None = None,
    *,
    layer_mm: float | None = None,
    finish: FinishOptions | None = None,
    load_share: float = READ_SHARE,
    surface: SurfaceOptions | None = None,
    given: Given | None = None,
) -> tuple[Report, tuple[Path, ...]]:
    """Do the whole job; at the end either every output that was asked for is there, or none.

    ``load`` gets a Progress and returns the scan; ``load_share`` (0..1) is how much of the whole
    job that is, for the progress. ``layer_mm``: None for the solid head as the mesh, else the
    thickness of its layer in mm. ``finish``: what to do to that mesh before it is written; mask and
    volume stay those of the head. ``surface``: how the surface is made, but for its layer.
    ``given``: what makes the mask instead of a segmentation. Returns the report and the files
    written, named as in ``outputs``. The one exception is the preview: where the machine lacks the
    graphics library, the rest is written and the report's ``warnings`` say why.

    Raises OutputError before anything is computed if an output could not be written, and whatever
    the parts raise: SkinSegError, or Cancelled, which only comes before ``progress.finish()``:
    after it, what is left is to give the finished files their names.
    """
    options = options or SegmentOptions()
    finish = finish or FinishOptions()
    wanted = outputs.paths()
    outputs = outputs.absolute()
    _check(outputs, layer_mm, finish)
    volume = load(progress.part(0.0, load_share))
    if outputs.mask is not None and not _is_segmentation(outputs.mask):
        check_grid(outputs.mask, volume.ijk_to_ras, volume.voxels.shape)
    rest = progress.part(load_share, 1.0 - load_share)
    mask = None if given is None else given(volume)
    job = _job_options(options, surface or SurfaceOptions(), outputs, layer_mm)
    result = compute(volume, job, rest.part(*_COMPUTE), mask=mask)
    mesh = result.layer or result.head
    done: tuple[str, ...] = ()
    if finish:
        with rest.part(_WRITE[0], 0.0).stage("Finish", 1.0) as stage:
            mesh, done = finished(mesh, finish, stage)
    warnings = (
        *_device_warnings(options.device, result.mask.engine),
        *_triangle_warnings(result.layer or result.head, job.shape.triangles),
    )
    origin = _provenance(result.mask, mesh, options, job, layer_mm, finish)
    with replacing_together() as files:
        part = rest.part(*_WRITE)
        missing = _write(volume, result, mesh, origin, outputs, part, files, finish.label)
        report = make_report(
            volume,
            result.mask,
            result.head,
            mesh,
            progress.seconds,
            layer_mm=layer_mm,
            finish=finish.as_dict(),
            done=done,
            warnings=(*warnings, *missing.values()),
        )
        if outputs.report is not None:
            with files.add(outputs.report) as temporary:
                temporary.write_text(report.as_json(), encoding="utf-8")
        progress.finish()
    return report, tuple(path for path in wanted if path.absolute() not in missing)


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


def mask_at(
    path: Path,
    segment: str | None = None,
    label: int | None = None,
    level_hu: float | None = None,
) -> Given:
    """What puts the mask in a file onto a scan; see :func:`SkinSegLib.scan.masks.read_mask`.

    ``level_hu``: grey value of the skin, None to find it in the scan.
    """

    def mask_of(volume: CTVolume) -> SkinMask:
        from .scan.masks import onto_scan, read_mask
        from .segmentation.findings import cut_faces
        from .segmentation.level import find_level

        level = find_level(volume, level_hu)
        voxels = onto_scan(*read_mask(path, segment, label), volume)
        half = (level.tissue - level.air) / 2
        cuts = cut_faces(voxels, volume.spacing)
        return SkinMask(voxels, volume.ijk_to_ras, GIVEN, level.skin, half, cuts)

    return mask_of


def _check(outputs: Outputs, layer_mm: float | None, finish: FinishOptions) -> None:
    """Find out now what would only fail after minutes of computing."""
    SurfaceOptions(layer_mm=layer_mm)
    if finish.drain_hole_mm is not None and layer_mm is None:
        raise SurfaceError(
            "A drain hole is for a skin layer, not for a solid head. Choose a layer."
        )
    finish.check(outputs.mesh, outputs.preview)
    check_surface(outputs.mesh, ascii=outputs.ascii)
    for path in outputs.paths():
        require_writable(path)
    if outputs.mask is None:
        return
    if _is_segmentation(outputs.mask):
        from .mrml import ensure_host

        ensure_host()  # or slicer-core would be missed only at the end
    else:
        check_labelmap(outputs.mask)


def _job_options(
    options: SegmentOptions, surface: SurfaceOptions, outputs: Outputs, layer_mm: float | None
) -> JobOptions:
    """Only what the outputs need: a labelmap has a layer if one was asked for, .seg.nrrd always."""
    segments = outputs.mask is not None and _is_segmentation(outputs.mask)
    return JobOptions(
        options,
        surface,
        DEFAULT_LAYER_MM if layer_mm is None else layer_mm,
        layer_voxels=segments or (outputs.mask is not None and layer_mm is not None),
        layer_mesh=layer_mm is not None,
    )


def _provenance(
    mask: SkinMask,
    mesh: SkinMesh,
    options: SegmentOptions,
    job: JobOptions,
    layer_mm: float | None,
    finish: FinishOptions,
) -> Provenance:
    """Without the model's option, which may be a path; ``model`` says which one it was."""
    return Provenance(
        mask.engine,
        versions(),
        mask.model,
        options={
            "engine": options.engine,
            "level_hu": options.level_hu,
            **asdict(job.shape if layer_mm is None else job.shell()),
            **finish.as_dict(),
        },
        measures={**measures(mesh).as_dict(), **mesh.processing},
    )


def _device_warnings(device: str, engine: str) -> tuple[str, ...]:
    if device in ("auto", "cpu") or engine in GPU_ENGINES:
        return ()
    return (f"The engine {engine} computes on the CPU; the device {device} was not used.",)


def _triangle_warnings(mesh: SkinMesh, wanted: int | None) -> tuple[str, ...]:
    if wanted is None or len(mesh.triangles) <= 1.02 * wanted:
        return ()
    return (
        f"{wanted} triangles were asked for; the fewest tried with which the surface stayed closed "
        f"are {len(mesh.triangles)}.",
    )


def _write(
    volume: CTVolume,
    result: JobResult,
    mesh: SkinMesh,
    origin: Provenance,
    outputs: Outputs,
    progress: Progress,
    files: Replacements,
    label: str,
) -> dict[Path, str]:
    """Write all but the report; returns what could not be made, and why."""
    with progress.stage("Write", 0.5):
        with files.add(outputs.mesh) as written:
            write(mesh, written, outputs.space, ascii=outputs.ascii)
        if outputs.sidecar is not None:
            with files.add(outputs.sidecar) as temporary:
                write_provenance(origin, mesh, written, temporary, outputs.space)
        progress.update(0.5)
        if outputs.mask is not None:
            with files.add(outputs.mask) as temporary:
                _write_mask(volume, result, temporary)
    if outputs.preview is None:
        return {}
    with progress.stage("Preview", 0.5):
        try:
            with files.add(outputs.preview) as temporary:
                render_views(mesh, temporary, progress=progress, label=label)
        except MissingPackageError as error:
            return {outputs.preview: str(error)}
    return {}


def mask_to_file(volume: CTVolume, mask: SkinMask, path: Path) -> None:
    """Write a mask alone: ``.seg.nrrd`` with the segments Head and Skin (needs slicer-core; the
    layer is of the default thickness), else a labelmap. Raises OutputError, MissingPackageError.
    """
    wanted = JobOptions(layer_voxels=_is_segmentation(path), layer_mesh=False)
    if _is_segmentation(path):
        result = compute(volume, wanted, mask=mask)
        with replacing_together() as files, files.add(path) as temporary:
            _write_mask(volume, result, temporary)
    else:
        write_labelmap(mask.voxels * np.uint8(HEAD_LABEL), mask.ijk_to_ras, path)


def _is_segmentation(path: Path) -> bool:
    return path.name.lower().endswith(SEGMENTATION_SUFFIX)


def _write_mask(volume: CTVolume, result: JobResult, path: Path) -> None:
    if not _is_segmentation(path):
        labels = result.mask.voxels * np.uint8(HEAD_LABEL)
        if result.layer_voxels is not None:
            labels[result.layer_voxels > 0] = LAYER_LABEL
        write_labelmap(labels, result.mask.ijk_to_ras, path)
        return
    from . import mrml

    assert result.layer_voxels is not None
    scene = mrml.ensure_host().mrmlScene
    volume_node = mrml.add_volume(volume, "Head CT")
    try:
        placed = mrml.placed_scan(volume_node)
        # A .seg.nrrd holds no surfaces; with one at hand, Slicer makes none of the layer.
        node = mrml.add_segmentation(
            placed, result.mask.voxels, result.head, result.layer_voxels, result.head
        )
        try:
            mrml.save_segmentation(node, path)
        finally:
            scene.RemoveNode(node)
    finally:
        scene.RemoveNode(volume_node)
