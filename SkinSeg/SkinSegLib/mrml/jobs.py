"""Jobs between Slicer's scene and a worker: what it is given, and what becomes of the result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..core import SceneError
from ..pipeline import JobOptions, JobResult
from ..surface import FinishOptions, SurfaceOptions
from ..worker import Exchange
from ..worker.exchange import get, put
from ..worker.messages import get_mesh, get_result, put_mesh
from .dicom_source import dicom_files
from .handover import HandedScan, HandOver, room_for
from .job import add_result, scene_options
from .keepers import is_ours, labelmap_fingerprint
from .labelmaps import segment_labelmap
from .rebuild import remembered_level, scan_of, to_world
from .segments import HEAD, SegmentsBackup, set_labelmap
from .surfaces import restore_surface, set_surfaces, world_surface
from .volumes import is_regular


class ScanJob:
    """A job on the scan of a volume node."""

    task = ""

    def __init__(self, volume: Any) -> None:
        self._volume = volume
        self._place: Exchange | None = None
        self._handed: HandedScan | None = None

    @property
    def folder(self) -> Path:
        """Of the arrays; raises RuntimeError before :meth:`prepare`."""
        if self._place is None:
            raise RuntimeError("the job is not prepared")
        return self._place.folder

    @property
    def handed(self) -> HandedScan:
        """The scan as it was handed over; raises RuntimeError before :meth:`prepare` has ended."""
        if self._handed is None:
            raise RuntimeError("the job is not prepared")
        return self._handed

    def prepare(self) -> Iterator[float]:
        """Hand the scan over; raises SceneError if the volume is of no use."""
        self._place = Exchange(room_for(self._volume))
        over = HandOver(self._volume, self._place)
        for fraction in over.steps():
            yield fraction
            if self._volume.GetScene() is None:
                raise SceneError("The volume was removed, so the work on it was stopped.")
        self._handed = over.result

    def arguments(self) -> Mapping[str, Any]:
        """The scan, and the folder for what comes back."""
        return {"scan": asdict(self.handed.message), "folder": str(self.folder)}

    def finish(self, result: Mapping[str, Any]) -> Any:
        """What the task returned."""
        return result

    def close(self) -> None:
        """Remove the arrays that are still files."""
        if self._place is not None:
            self._place.close()


class WarmJob:
    """Has the worker import what the first run needs; see :func:`SkinSegLib.worker.tasks.warm`.

    ``options``: of SegmentOptions, those that differ from its defaults.
    """

    task = "warm"

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def prepare(self) -> Iterator[float]:
        """There is nothing to hand over."""
        return iter(())

    def arguments(self) -> Mapping[str, Any]:
        return {"options": dict(self._options)}

    def finish(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """What there is."""
        return result

    def close(self) -> None:
        """There is nothing to let go of."""


class FactsJob(ScanJob):
    """What there is to know about a volume: see :func:`SkinSegLib.worker.tasks.facts`.

    Of one that Slicer's DICOM module loaded, the series of files is checked too.
    """

    task = "facts"

    def arguments(self) -> Mapping[str, Any]:
        files = [str(path) for path in dicom_files(self._volume)]
        return {**super().arguments(), "dicom_files": files}


class SegmentJob(ScanJob):
    """From a volume node to a segmentation node, by default a new one.

    ``into``: a segmentation node whose segments Head and Skin are to be replaced. The layer takes
    as long again as the head: with ``layer_later`` the segment Skin is left to
    :class:`.layers.LayerJob`, and the head is there in half the time.
    """

    task = "segment"

    def __init__(
        self,
        volume: Any,
        options: JobOptions | None = None,
        into: Any = None,
        *,
        layer_later: bool = False,
    ) -> None:
        super().__init__(volume)
        self._options, self._into = scene_options(options), into
        #: What a run into ``into`` replaced, once it is done.
        self.backup: SegmentsBackup | None = None
        if layer_later and is_regular(volume):  # below other transforms no layer can follow
            self._options = replace(self._options, layer_voxels=False, layer_mesh=False)

    def arguments(self) -> Mapping[str, Any]:
        return {**super().arguments(), "options": asdict(self._options)}

    def finish(self, result: Mapping[str, Any]) -> tuple[Any, JobResult]:
        """The node and what was computed. Raises SceneError if the volume changed meanwhile."""
        found = get_result(result, self.folder)
        if self._into is not None and self._into.GetScene() is not None:
            self.backup = SegmentsBackup(self._into)
        return add_result(self.handed.placement, found, self._into), found


class AskJob(SegmentJob):
    """As SegmentJob, by the MONAI Label server at the address ``server``: voxels and grid of the
    volume leave this computer."""

    task = "ask"

    def __init__(self, server: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._server = server

    def arguments(self) -> Mapping[str, Any]:
        return {**super().arguments(), "server": self._server}


class OutlineJob(ScanJob):
    """Where a volume crosses a grey value, as a mesh in world RAS mm."""

    task = "outline"

    def __init__(self, volume: Any, level: float) -> None:
        super().__init__(volume)
        self._level = level

    def arguments(self) -> Mapping[str, Any]:
        return {**super().arguments(), "level": self._level}

    def finish(self, result: Mapping[str, Any]) -> Any:
        return get_mesh(result["mesh"], self.folder)


class SegmentSurfaceJob(ScanJob):
    """A job on a segment and the scan it was made on."""

    def __init__(self, segmentation: Any, segment_id: str, shape: SurfaceOptions) -> None:
        volume = scan_of(segmentation)
        if volume is None:
            raise SceneError(
                "The scan that the segmentation was made on is gone. Load it again, and choose it "
                "as the source geometry in the Segmentations module."
            )
        super().__init__(volume)
        self._segmentation, self._segment_id, self._shape = segmentation, segment_id, shape
        self._fingerprint = ""
        self._segment: dict[str, Any] = {}

    def prepare(self) -> Iterator[float]:
        """Hand over the scan and the segment's voxels."""
        matrix = to_world(self._segmentation)
        if matrix is None:
            raise SceneError("The segmentation lies below a non-linear transform. Harden it first.")
        yield from super().prepare()
        if self.handed.placement.resampled:
            raise SceneError("The scan lies below a non-linear transform. Harden it first.")
        voxels, to_node = segment_labelmap(self._segmentation, self._segment_id)
        if not voxels.size:
            raise SceneError(f"The segment {self._segment_id} is empty. Segment the scan first.")
        self._fingerprint = labelmap_fingerprint(self._segmentation, self._segment_id)
        put(self.folder, "segment", voxels)
        level = remembered_level(self._segmentation, self._segment_id)
        self._segment = {
            "name": "segment",
            "ijk_to_ras": (matrix @ to_node).ravel().tolist(),
            "level_hu": None if level is None else level[0],
            "half_contrast_hu": None if level is None else level[1],
        }
        yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        return {**super().arguments(), "segment": self._segment, "shape": asdict(self._shape)}

    def is_unchanged(self) -> bool:
        """Whether the segment still holds the voxels that were handed over."""
        return labelmap_fingerprint(self._segmentation, self._segment_id) == self._fingerprint


class RemeshJob(SegmentSurfaceJob):
    """Our surface of the head again, after it was edited."""

    task = "remesh"

    def __init__(self, segmentation: Any) -> None:
        super().__init__(segmentation, HEAD.segment_id, SurfaceOptions())

    @staticmethod
    def is_needed(segmentation: Any) -> bool:
        """Whether the head was edited since our surface of it was made, and one can be made."""
        segment_id = HEAD.segment_id
        if not is_ours(segmentation, segment_id) or segment_id in restore_surface(segmentation):
            return False
        volume = scan_of(segmentation)
        filled = segment_labelmap(segmentation, segment_id)[0].size > 0
        return filled and volume is not None and is_regular(volume)

    def finish(self, result: Mapping[str, Any]) -> bool:
        """Put it into the segment; False if that was edited again meanwhile, or is gone."""
        there = self._segmentation.GetScene() is not None
        if not there or not self.is_unchanged():
            return False
        self.handed.placement.check()
        mesh = get_mesh(result["mesh"], self.folder)
        placed = self.handed.placement.into_node_space(mesh)
        set_surfaces(self._segmentation, {self._segment_id: placed})
        return True


@dataclass(frozen=True)
class ExportRequest:
    """What is written, and how. ``shape``: default for the surface as it is shown.

    ``record``: of :class:`SkinSegLib.surface.Provenance` (dataclasses.asdict), None for none.
    """

    path: Path
    segment_id: str = HEAD.segment_id
    shape: SurfaceOptions = field(default_factory=SurfaceOptions)
    finish: FinishOptions = field(default_factory=FinishOptions)
    space: str = "LPS"
    record: Mapping[str, Any] | None = None


class ExportJob:
    """Writes a segment's surface to a file, which is read back before it takes its name.

    The surface that is shown is written as it is; where another shape is asked for, or the head
    was edited since its surface was made, it is made from the voxels and the scan first.
    """

    task = "export"

    def __init__(self, segmentation: Any, request: ExportRequest) -> None:
        self._segmentation, self._request = segmentation, request
        segment_id = request.segment_id
        ours = segment_id in restore_surface(segmentation)
        as_shown = request.shape == SurfaceOptions() and ours
        other = segment_id != HEAD.segment_id and request.shape == SurfaceOptions()
        self._inner: SegmentSurfaceJob | None = None
        self._place: Exchange | None = None
        self._mesh: dict[str, Any] | None = None
        if not as_shown and not other:
            self._inner = SegmentSurfaceJob(segmentation, segment_id, request.shape)

    @property
    def _folder(self) -> Path:
        return self._place.folder if self._place is not None else self._inner.folder  # type: ignore[union-attr]

    def prepare(self) -> Iterator[float]:
        """Hand over the surface, or the voxels and the scan."""
        if self._inner is not None:
            yield from self._inner.prepare()
            return
        mesh = world_surface(self._segmentation, self._request.segment_id)
        self._place = Exchange(4 * mesh.points.nbytes + 4 * mesh.triangles.nbytes)
        self._mesh = put_mesh(mesh, self._place.folder, "shown")
        yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        request = self._request
        given = self._inner.arguments() if self._inner is not None else {}
        return {
            **given,
            "folder": str(self._folder),
            "mesh": self._mesh,
            "path": str(request.path.absolute()),
            "finish": asdict(request.finish),
            "space": request.space,
            "record": None if request.record is None else dict(request.record),
        }

    def finish(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was written: triangles, closed, bytes, volume_ml, and sentences on what was done."""
        return result

    def close(self) -> None:
        """Remove the arrays that are still files."""
        for part in (self._inner, self._place):
            if part is not None:
                part.close()


class MendJob:
    """One-click edits of a segment: "keep" its largest part, "fill" its holes, "smooth" a place.

    ``centre_ras`` (world, mm) and ``radius_mm`` are for "smooth". The owner saves the state for
    undo before; a segment that was edited meanwhile, or is gone, stays as it is.
    """

    task = "mend"

    def __init__(
        self,
        segmentation: Any,
        segment_id: str,
        how: str,
        centre_ras: tuple[float, float, float] | None = None,
        radius_mm: float = 10.0,
    ) -> None:
        self._segmentation, self._segment_id, self._how = segmentation, segment_id, how
        self._centre, self._radius_mm = centre_ras, radius_mm
        self._place: Exchange | None = None
        self._matrix = self._world = np.eye(4)
        self._fingerprint = ""

    def prepare(self) -> Iterator[float]:
        """Hand over the segment's voxels."""
        world = to_world(self._segmentation)
        if world is None and self._how == "smooth":
            raise SceneError("The segmentation lies below a non-linear transform. Harden it first.")
        mask, self._matrix = segment_labelmap(self._segmentation, self._segment_id)
        if not mask.size:
            raise SceneError(f"The segment {self._segment_id} is empty. There is nothing to mend.")
        self._world = np.eye(4) if world is None else world
        self._fingerprint = labelmap_fingerprint(self._segmentation, self._segment_id)
        self._place = Exchange(4 * mask.nbytes)
        put(self._place.folder, "mask", mask)
        yield 1.0

    def arguments(self) -> Mapping[str, Any]:
        assert self._place is not None
        return {
            "how": self._how,
            "name": "mask",
            "folder": str(self._place.folder),
            "ijk_to_ras": (self._world @ self._matrix).ravel().tolist(),
            "centre_ras": self._centre,
            "radius_mm": self._radius_mm,
        }

    def finish(self, result: Mapping[str, Any]) -> tuple[int, int]:
        """Voxels added and removed. Raises SceneError if the segment was edited meanwhile."""
        assert self._place is not None
        if self._segmentation.GetScene() is None:
            raise SceneError("The segmentation was removed from the scene.")
        if labelmap_fingerprint(self._segmentation, self._segment_id) != self._fingerprint:
            raise SceneError("The segment was edited meanwhile and was left as it is. Try again.")
        added, removed = int(result["added"]), int(result["removed"])
        if added or removed:
            mended = get(self._place.folder, "mended")
            set_labelmap(self._segmentation, self._segment_id, mended, self._matrix)
        return added, removed

    def close(self) -> None:
        """Remove the arrays that are still files."""
        if self._place is not None:
            self._place.close()


__all__ = [
    "ExportJob",
    "ExportRequest",
    "FactsJob",
    "MendJob",
    "OutlineJob",
    "RemeshJob",
    "ScanJob",
    "SegmentJob",
    "WarmJob",
]
