"""What a job says about its result: one screen of text, or JSON. Holds no patient data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from .core import (
    NOTICE,
    CTVolume,
    Finding,
    FindingKind,
    SkinMask,
    SkinMesh,
    severest_first,
    versions,
)
from .scan import ScanFacts, facts
from .surface import measures

_WIDTH = 79


@dataclass(frozen=True)
class Report:
    """The figures of one finished job.

    ``engine``: the one that ran; ``model``: the network's, see SkinMask. ``level_hu``: the grey
    value taken for the skin, in the scan's own units, HU only where no finding says that they are
    not. ``volume_ml``: of the solid head, enclosed by its mesh; counted in voxels it is a little
    different. ``findings``: the severest first. ``triangles`` and ``closed`` are those of the mesh
    that was written: the solid head, or its layer of ``layer_mm`` mm. ``finish``: what was asked to
    be done to it (FinishOptions), ``done``: what was done, in sentences. ``seconds``: per stage.
    ``peak_memory_mb``: of this process so far, None where the system does not tell.
    ``warnings``: what was asked for and could not be done. ``processing``: see SkinMesh;
    ``measures``: of the mesh that was written (surface.MeshMeasures).
    """

    engine: str
    level_hu: float
    volume_ml: float
    triangles: int
    closed: bool
    findings: tuple[Finding, ...]
    seconds: Mapping[str, float]
    peak_memory_mb: float | None
    geometry: Mapping[str, Any]
    versions: Mapping[str, str]
    layer_mm: float | None = None
    warnings: tuple[str, ...] = ()
    model: Mapping[str, str] = field(default_factory=dict)
    processing: Mapping[str, float] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    finish: Mapping[str, Any] = field(default_factory=dict)
    done: tuple[str, ...] = ()

    def as_json(self) -> str:
        """The report as JSON text; a finding's position is in RAS mm."""
        return json.dumps(self.as_dict(), indent=2) + "\n"

    def as_dict(self) -> dict[str, Any]:
        """What :meth:`as_json` writes."""
        return {
            "engine": self.engine,
            "model": dict(self.model) or None,
            "level_hu": round(self.level_hu, 2),
            "volume_ml": round(self.volume_ml, 3),
            "layer_mm": self.layer_mm,
            "triangles": self.triangles,
            "closed": self.closed,
            "measures": dict(self.measures),
            "processing": {name: round(value, 4) for name, value in self.processing.items()},
            "finish": {**self.finish, "done": list(self.done)} if self.finish else None,
            "findings": [finding_as_dict(finding) for finding in self.findings],
            "seconds": {stage: round(value, 3) for stage, value in self.seconds.items()},
            "peak_memory_mb": None if self.peak_memory_mb is None else round(self.peak_memory_mb),
            "geometry": self.geometry,
            "versions": self.versions,
            "warnings": list(self.warnings),
            "notice": NOTICE,
        }

    def as_text(self) -> str:
        """The report for people, on one screen."""
        shape = "closed" if self.closed else "NOT CLOSED"
        what = "solid head" if self.layer_mm is None else f"skin layer of {self.layer_mm:g} mm"
        memory = "unknown" if self.peak_memory_mb is None else f"{self.peak_memory_mb:.0f} MB"
        rows = [
            *geometry_rows(self.geometry),
            ("Engine", self._engine()),
            ("Level", self._level()),
            ("Head", f"{self.volume_ml:.1f} mL"),
            ("Surface", f"{what}, {self.triangles} triangles, {shape}{self._processing()}"),
            ("Size", self._size()),
            *(("Finish", sentence) for sentence in self.done),
            *finding_rows(self.findings),
            *(("Warning", warning) for warning in self.warnings),
            ("Time", f"{sum(self.seconds.values()):.1f} s: {_stages(self.seconds)}"),
            ("Peak memory", memory),
            ("Versions", ", ".join(f"{name} {text}" for name, text in self.versions.items())),
        ]
        return table(rows) + f"\n{NOTICE}\n"

    def show(self, written: Iterable[Path]) -> None:
        """Print the report, the files ``written``, and warnings to the standard error stream."""
        print(self.as_text())
        for path in written:
            print(f"Wrote {path}")
        for warning in self.warnings:
            print(f"Warning: {warning}", file=sys.stderr)

    def _engine(self) -> str:
        if not self.model:
            return self.engine
        name, version, sha256 = (self.model[key] for key in ("name", "version", "sha256"))
        return f"{self.engine}, model {name} {version} (SHA-256 {sha256[:12]}...)"

    def _size(self) -> str:
        size = " x ".join(f"{value:.0f}" for value in self.measures["size_mm"])
        cut = self.measures["cut_area_cm2"]
        cuts = f" and {cut:.0f} cm2 where it is cut" if cut else ""
        return f"{size} mm, {self.measures['skin_area_cm2']:.0f} cm2 of skin{cuts}"

    def _processing(self) -> str:
        """What smoothing and simplification did to the surface."""
        done = self.processing
        text = ""
        if "deviation_p99_mm" in done:
            text += (
                f"; {done['triangles_before']:.0f} before, 99% of it within "
                f"{done['deviation_p99_mm']:.3f} mm of those"
            )
        if "smoothing_bound_mm" in done:
            text += f"; smoothed by up to {done['smoothing_bound_mm']:.2g} mm"
        return text

    def _level(self) -> str:
        kinds = {finding.kind for finding in self.findings}
        if FindingKind.NOT_CALIBRATED in kinds:
            return f"grey value {self.level_hu:g}"
        return f"{self.level_hu:.0f} HU"


def make_report(
    volume: CTVolume,
    mask: SkinMask,
    head: SkinMesh,
    written: SkinMesh,
    seconds: Mapping[str, float],
    *,
    layer_mm: float | None = None,
    finish: Mapping[str, Any] | None = None,
    done: tuple[str, ...] = (),
    warnings: tuple[str, ...] = (),
) -> Report:
    """Gather the figures of a finished job.

    ``head``: the solid head; ``written``: the mesh in the file, which is ``head`` or its layer of
    ``layer_mm`` mm, after ``finish`` (see Report).
    """
    known = facts(volume)
    # Beside the notes only the segmentation judges the scan: two judges could contradict.
    notes = (finding for finding in known.findings if finding.kind is FindingKind.READ_NOTE)
    findings = dict.fromkeys((*mask.findings, *notes))
    return Report(
        engine=mask.engine,
        level_hu=mask.level_hu,
        volume_ml=head.volume_ml,
        triangles=len(written.triangles),
        closed=written.closed,
        findings=severest_first(findings),
        seconds=dict(seconds),
        peak_memory_mb=peak_memory_mb(),
        geometry=geometry_of(volume, known),
        versions=versions(),
        layer_mm=layer_mm,
        warnings=warnings,
        model=mask.model,
        processing=written.processing,
        measures=measures(written).as_dict(),
        finish=dict(finish or {}),
        done=done,
    )


def geometry_of(volume: CTVolume, known: ScanFacts) -> dict[str, Any]:
    """The scan's grid, ready for JSON: sizes along i, j, k in voxels and mm, and the matrix."""
    return {
        "size": list(known.size),
        "spacing_mm": [round(value, 6) for value in known.spacing_mm],
        "extent_mm": [round(value, 3) for value in known.extent_mm],
        "orientation": known.orientation,
        "obliquity_degrees": round(known.obliquity_degrees, 3),
        "tilt_degrees": round(known.tilt_degrees, 3),
        "ijk_to_ras": [[round(float(value), 6) for value in row] for row in volume.ijk_to_ras],
    }


def scan_text(volume: CTVolume) -> str:
    """What a scan is, for people; no patient data."""
    known = facts(volume)
    low, high = known.hu_range
    air = "none seen" if known.air_hu is None else f"{known.air_hu:.0f}"
    padding = "none"
    if known.padding_values:
        values = ", ".join(f"{value:g}" for value in known.padding_values)
        padding = f"{values} ({known.padding_fraction:.1%} of all voxels)"
    return table(
        [
            *geometry_rows(geometry_of(volume, known)),
            ("Modality", known.modality),
            ("Grey values", f"{low:g} to {high:g} ({known.voxel_type}), air at {air}"),
            ("Padding", padding),
            *finding_rows(known.findings),
        ]
    )


def geometry_rows(geometry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The lines on a scan's grid that ``segment`` and ``info`` both show."""
    size = " x ".join(str(value) for value in geometry["size"])
    spacing = " x ".join(f"{value:.3g}" for value in geometry["spacing_mm"])
    extent = " x ".join(f"{value:.0f}" for value in geometry["extent_mm"])
    tilt = geometry["tilt_degrees"]
    grid = f"{geometry['orientation']}, {geometry['obliquity_degrees']:.1f} degrees oblique"
    return [
        ("Scan", f"{size} voxels of {spacing} mm ({extent} mm)"),
        ("Axes", grid + (f", slices sheared by {tilt:.1f} degrees" if tilt > 0.05 else "")),
    ]


def finding_rows(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """One line for each kind of finding, the severest first; the JSON lists every one."""
    rows = []
    for kind, group in groupby(severest_first(findings), key=lambda finding: finding.kind):
        same = list(group)
        # What has a place reads alike: the first one stands for all.
        places = [_place(f.position_ras) for f in same if f.position_ras is not None]
        if len(places) > 1:
            text = f"{len(same)} places, first at {places[0]}: {same[0].message}"
        else:
            text = " ".join(dict.fromkeys(finding.message for finding in same))
            text += f" At {places[0]}." if places else ""
        rows.append(("Finding", f"{kind.value}: {text}"))
    return rows or [("Findings", "none")]


def _place(position: tuple[float, float, float]) -> str:
    return "RAS {:.0f}, {:.0f}, {:.0f} mm".format(*position)


def table(rows: list[tuple[str, str]]) -> str:
    """Two columns, the second wrapped to the width of a terminal."""
    import textwrap

    lines = []
    for name, text in rows:
        head = f"{name:<13}"
        lines.append(
            textwrap.fill(text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
        )
    return "\n".join(lines) + "\n"


def peak_memory_mb() -> float | None:
    """The most memory this process has held so far, in MB; None on systems that do not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak / (1e6 if sys.platform == "darwin" else 1e6 / 1024)


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """A finding ready for JSON: its position in RAS mm, its volume in mL, or None."""
    position = finding.position_ras
    return {
        "kind": finding.kind.value,
        "message": finding.message,
        "position_ras": None if position is None else [round(value, 2) for value in position],
        "volume_ml": None if finding.volume_ml is None else round(finding.volume_ml, 3),
    }


def _stages(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {value:.1f}" for stage, value in seconds.items())
