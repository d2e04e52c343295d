"""How a segmentation came to be, kept with it for the record beside an exported file."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ..pipeline import JobResult
from ..surface import Provenance
from .keepers import labelmap_fingerprint
from .segments import HEAD

ATTRIBUTE = "SkinSeg.Origin"


def remember_origin(segmentation: Any, result: JobResult) -> None:
    """Keep engine, model and level of a run with its segmentation."""
    mask = result.mask
    kept = {
        "engine": mask.engine,
        "model": dict(mask.model),
        "level_hu": mask.level_hu,
        "head": _voxels_of_head(segmentation),
    }
    segmentation.SetAttribute(ATTRIBUTE, json.dumps(kept))


def origin_of(segmentation: Any) -> dict[str, Any]:
    """``engine``, ``model`` and ``level_hu`` of the run that a segmentation is from."""
    text = segmentation.GetAttribute(ATTRIBUTE)
    unknown: dict[str, Any] = {"engine": "unknown", "model": {}, "level_hu": None}
    return {**unknown, **json.loads(text)} if text else unknown


def record_of(segmentation: Any, versions: dict[str, str], options: dict[str, Any]) -> Any:
    """The record for a surface of the segmentation, as :class:`.jobs.ExportRequest` takes it.

    ``versions``: of the packages that matter; ``options``: what was chosen for the file.
    """
    kept = origin_of(segmentation)
    edited = kept.get("head") != _voxels_of_head(segmentation)
    given = {"level_hu": kept["level_hu"], "edited_by_hand": edited, **options}
    return asdict(Provenance(kept["engine"], versions, kept["model"], given))


def _voxels_of_head(segmentation: Any) -> str:
    return labelmap_fingerprint(segmentation, HEAD.segment_id).split()[0]
