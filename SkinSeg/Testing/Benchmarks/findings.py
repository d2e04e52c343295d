"""Recall and false alarms of every kind of finding, on made scans with one known fault each.

    python SkinSeg/Testing/Benchmarks/findings.py --engine threshold --count 5

A finding counts if it is of the right kind and, where the fault has a place, lies there: within
15 mm of the patch of contact or the metal, on the face that cuts, within 5 mm of the round field's
rim. False alarms are counted on clean scans: a head with table and holder 12 mm off, which the
scan's lower end cuts; that one cut is right. Gantry tilt is a note of reading DICOM, not of
segmentation; for low confidence there is no scan with a known answer, so only alarms are counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import (  # noqa: E402
    FACES,
    CTVolume,
    Finding,
    FindingKind,
    SegmentationError,
    transform_points,
)
from SkinSegLib.segmentation import SegmentOptions, segment  # noqa: E402
from SkinSegLib.training.effects import GreyScale  # noqa: E402
from SkinSegLib.training.interior import filling_points  # noqa: E402
from SkinSegLib.training.phantom import Phantom, PhantomSpec, make_phantom  # noqa: E402

#: Voxels in mm, and the point spread that goes with them; teeth and thin things need smaller ones.
SPACING_MM, SIGMA = 2.5, 1.2
THING_MM = 1.2
NEAR_MM, RIM_MM = 15.0, 5.0
#: Foam and pillow are of less than the skin's level, so that nothing of them can be taken in.
CONTACTS = ("holder", "strap", "tube", "mask", "electrodes")
CUTS = ("i-", "i+", "j-", "j+", "k+")


@dataclass(frozen=True)
class Fault:
    """A scan with a fault. ``found``: whether one finding of ``kind`` tells of it."""

    name: str
    kind: FindingKind
    volume: CTVolume
    found: Callable[[Finding], bool]


def rendered(spec: PhantomSpec, spacing_mm: float = SPACING_MM) -> Phantom:
    sigma = SIGMA * spacing_mm / SPACING_MM
    return make_phantom(replace(spec.resampled((spacing_mm,) * 3), psf_sigma_mm=sigma))


def index_of(volume: CTVolume, finding: Finding) -> np.ndarray:
    """Voxel (i, j, k) of a finding's place; far away where it has none."""
    if finding.position_ras is None:
        return np.full(3, 1e6)
    return transform_points(np.linalg.inv(volume.ijk_to_ras), [finding.position_ras])[0]


def near(places: np.ndarray) -> Callable[[Finding], bool]:
    def found(finding: Finding) -> bool:
        if finding.position_ras is None or not len(places):
            return False
        return bool(np.linalg.norm(places - finding.position_ras, axis=1).min() <= NEAR_MM)

    return found


def on_face(volume: CTVolume, finding: Finding) -> str | None:
    """Which of FACES a finding lies on, within a voxel."""
    index = index_of(volume, finding)
    for face in FACES:
        axis = "ijk".index(face[0])
        end = 0 if face[1] == "-" else volume.voxels.shape[2 - axis] - 1
        if abs(index[axis] - end) <= 1:
            return face
    return None


def cropped(volume: CTVolume, truth: np.ndarray, face: str, rng: np.random.Generator) -> CTVolume:
    """The scan without the outermost fifth to third of the head at a face."""
    axis = 2 - "ijk".index(face[0])
    inside = np.flatnonzero(truth.any(axis=tuple(a for a in range(3) if a != axis)))
    lost = round(rng.uniform(0.2, 0.33) * len(inside))
    first, last = 0, volume.voxels.shape[axis]
    if face[1] == "-":
        first = int(inside[0]) + lost
    else:
        last = int(inside[-1]) + 1 - lost
    part = tuple(slice(first, last) if a == axis else slice(None) for a in range(3))
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] += matrix[:3, 2 - axis] * first
    return CTVolume(volume.voxels[part].copy(), matrix, volume.padding)


def faults(seed: int) -> Iterator[Fault]:
    rng = np.random.default_rng([seed, 50])
    thing = CONTACTS[seed % len(CONTACTS)]
    touching = rendered(PhantomSpec.touching(thing, seed=seed), THING_MM)
    skin = touching.surface_points(4.0)
    patch = skin[touching.contact_distance(skin) < 0.5]
    yield Fault(f"{thing} touches", FindingKind.TOUCHES_OBJECT, touching.volume, near(patch))

    clean = rendered(PhantomSpec.clean(seed))
    face = CUTS[seed % len(CUTS)]
    cut = cropped(clean.volume, clean.truth, face, rng)
    yield Fault(
        f"cut at {face}",
        FindingKind.CUT_BY_FIELD_OF_VIEW,
        cut,
        lambda finding: on_face(cut, finding) == face,
    )

    radius = float(rng.uniform(65, 85))
    field = rendered(replace(PhantomSpec.clean(seed), fov_radius_mm=radius)).volume

    def on_rim(finding: Finding) -> bool:
        middle = (np.array(field.voxels.shape[:0:-1]) - 1) / 2
        off = (index_of(field, finding)[:2] - middle) * field.spacing[:2]
        return bool(abs(np.hypot(*off) - radius) <= RIM_MM)

    yield Fault("round field", FindingKind.CUT_BY_FIELD_OF_VIEW, field, on_rim)

    jaw = replace(
        PhantomSpec.clean(seed), shape=(70, 230, 190), center_ras=(0.0, 0.0, -45.0), hair=False
    )
    number = int(rng.integers(6, 11))
    metal = rendered(replace(jaw, fillings=number, streak_hu=float(rng.uniform(100, 400))), 1.0)
    places = np.array(filling_points(metal.head, number))
    yield Fault("fillings", FindingKind.METAL_STREAKS, metal.volume, near(places))

    step = int(rng.integers(2, 5))
    matrix = clean.volume.ijk_to_ras @ np.diag([1, 1, step, 1.0])
    thick = CTVolume(clean.volume.voxels[::step].copy(), matrix)
    yield Fault("thick slices", FindingKind.THICK_SLICES, thick, lambda finding: True)

    greys = GreyScale(rng.uniform(0.6, 0.9), rng.uniform(150, 400), rng.uniform(0, 120))
    beam = rendered(replace(PhantomSpec.cone_beam(seed), greys=greys)).volume
    yield Fault("cone beam", FindingKind.NOT_CALIBRATED, beam, lambda finding: True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="threshold", choices=("auto", "network", "threshold"))
    parser.add_argument("--model", default=SegmentOptions.model)
    parser.add_argument("--count", type=int, default=10, help="seeds")
    parser.add_argument("--first", type=int, default=400, help="the first seed")
    arguments = parser.parse_args()
    options = SegmentOptions(engine=arguments.engine, model=arguments.model)
    told: dict[tuple[FindingKind, str], list[bool]] = {}
    alarms = dict.fromkeys(FindingKind, 0)
    for seed in range(arguments.first, arguments.first + arguments.count):
        for fault in faults(seed):
            seen = [f for f in findings_of(fault.volume, options) if f.kind is fault.kind]
            told.setdefault((fault.kind, fault.name), []).append(any(map(fault.found, seen)))
        clean = rendered(PhantomSpec.table_and_holder(12.0, seed)).volume
        for finding in findings_of(clean, options):
            right = finding.kind is FindingKind.CUT_BY_FIELD_OF_VIEW
            if not (right and on_face(clean, finding) == "k-"):
                alarms[finding.kind] += 1
    report(told, alarms, arguments.count)


def findings_of(volume: CTVolume, options: SegmentOptions) -> tuple[Finding, ...]:
    try:
        return segment(volume, options).findings
    except SegmentationError as error:
        print(error, file=sys.stderr)
        return ()


def report(
    told: dict[tuple[FindingKind, str], list[bool]], alarms: dict[FindingKind, int], clean: int
) -> None:
    """Print a Markdown table: each kind, and below it each fault."""
    print("| finding | scans | recall | false alarms per clean scan |\n|---|---|---|---|")
    for kind in FindingKind:
        rows = {name: seen for (k, name), seen in told.items() if k is kind}
        every = [seen for row in rows.values() for seen in row]
        recall = f"{np.mean(every):.0%}" if every else "-"
        print(f"| **{kind.value}** | {len(every)} | {recall} | {alarms[kind] / clean:.2f} |")
        for name, row in sorted(rows.items()):
            print(f"| {name} | {len(row)} | {np.mean(row):.0%} | |")


if __name__ == "__main__":
    main()
