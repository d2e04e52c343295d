"""The findings of a run, kept with its segmentation, and going to the place of one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ..core import Finding, severest_first
from ..worker.messages import finding_entry, finding_from
from .host import ensure_host

ATTRIBUTE = "SkinSeg.Findings"


@dataclass(frozen=True)
class Review:
    """A finding, and whether somebody has looked at it."""

    finding: Finding
    checked: bool = False


def remember_findings(segmentation: Any, findings: Iterable[Finding]) -> None:
    """Keep findings with their segmentation, the severest first, none of them checked."""
    _store(segmentation, [Review(finding) for finding in severest_first(findings)])


def reviews_of(segmentation: Any) -> list[Review]:
    """The findings that are kept with a segmentation; none for one that is not ours."""
    text = segmentation.GetAttribute(ATTRIBUTE)
    entries = json.loads(text) if text else []
    return [Review(finding_from(entry), bool(entry["checked"])) for entry in entries]


def set_checked(segmentation: Any, index: int, checked: bool = True) -> None:
    """Mark the finding at ``index`` as looked at, or not."""
    reviews = reviews_of(segmentation)
    reviews[index] = replace(reviews[index], checked=checked)
    _store(segmentation, reviews)


def jump_to(position_ras: tuple[float, float, float]) -> None:
    """Move all slice views to a place (world RAS, mm), and centre them on it."""
    slicer = ensure_host()
    node = slicer.vtkMRMLSliceNode
    node.JumpAllSlices(slicer.mrmlScene, *position_ras, node.CenteredJumpSlice)


def _store(segmentation: Any, reviews: list[Review]) -> None:
    entries = [{**finding_entry(r.finding), "checked": r.checked} for r in reviews]
    segmentation.SetAttribute(ATTRIBUTE, json.dumps(entries))
