"""Planes, kernels, and which series is the best one to take a head's skin from."""

from __future__ import annotations

import re
from typing import Literal

import numpy as np

from .dicom_header import HEAD_PARTS, OTHER_PART, SHARP_KERNELS, SOFT_KERNELS, Frame, image_words

Plane = Literal["axial", "coronal", "sagittal"]
#: Planes by the axis of the patient (x, y, z in LPS) that they are across.
PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
#: Image Type values of pictures made from slices: never the default while there are slices.
PROJECTIONS = {
    *("MIP", "MINIP", "AVERAGE", "PROJECTION IMAGE", "MAX_IP", "MIN_IP", "VOLUME_RENDER", "VRT"),
}
#: Image Type values of slices cut anew through a volume.
REFORMATTED = {"MPR", "REFORMATTED", "MPR THIN", "MPR THICK", "CURVED", "RESAMPLED"}
#: A head from chin to vertex; more coverage is no better.
_ENOUGH_MM = 200.0
#: Coverage and slice distance are compared in such steps: small differences decide nothing.
_COVERAGE_STEP_MM, _DISTANCE_STEP_MM = 40.0, 0.5
#: Positions are rounded in the header, and a distance of 2.4999 mm is one of 2.5.
_ROUNDING = 0.01


def plane_of(frame: Frame) -> tuple[Plane, float]:
    """The named plane a slice is nearest to, and the angle between them in degrees.

    By Image Orientation (Patient) (PS3.3, C.7.6.2.1.1); the side it is seen from does not count.
    """
    normal = np.cross(frame.row, frame.column)
    length = float(np.linalg.norm(normal))
    if length < 1e-6:
        return "axial", 90.0
    shares = np.abs(normal) / length
    nearest = int(np.argmax(shares))
    return PLANES[nearest], float(np.degrees(np.arccos(min(1.0, float(shares[nearest])))))


def sharpness(kernel: str) -> Literal["soft", "sharp", "unknown"]:
    """Whether a kernel is for soft tissue (little noise) or for bone, by the makers' names.

    Siemens numbers kernels by sharpness (H30s, Br40f, above 50 for bone and lung), Canon and
    Toshiba call those from FC30 on bone and lung, GE and Philips use words and letters.
    """
    text = kernel.upper()
    if text in SHARP_KERNELS:
        return "sharp"
    if text in SOFT_KERNELS:
        return "soft"
    if found := re.match(r"FC(\d+)", text):
        return "sharp" if int(found[1]) >= 30 and not 41 <= int(found[1]) <= 49 else "soft"
    if found := re.match(r"[A-Z]{1,2}(\d\d)", text):
        return "sharp" if int(found[1]) > 50 else "soft"
    return "unknown"


def extent_mm(frames: list[Frame]) -> float:
    """From the first slice to the last along the normal, one thickness included."""
    depths = _depths(frames)
    return float(depths[-1] - depths[0]) + frames[0].thickness


def distance_mm(frames: list[Frame]) -> float:
    """The median distance between neighbouring slices along the normal, repeats left out."""
    gaps = np.diff(_depths(frames))
    gaps = gaps[gaps > 1e-3]
    return float(np.median(gaps)) if gaps.size else frames[0].thickness


def made_from_slices(frame: Frame) -> str | None:
    """What a derived picture is (projection, MPR, derived); None for an original slice."""
    words = image_words(frame.image_type)
    if PROJECTIONS & image_words(frame.image_type[2:]):
        return "projection"
    if REFORMATTED & words:
        return "MPR"
    return "derived" if "DERIVED" in words else None


def rank(frames: list[Frame]) -> tuple[bool | int | float | str, ...]:
    """A key to sort series by, the best for a head's skin first.

    In this order: no projection; a body part with a head, or none stated; slices as measured, no
    MPR; coverage up to a whole head; fine slices; a kernel for soft tissue; more voxels.
    """
    first = frames[0]
    made = made_from_slices(first)
    voxels = len(frames) * first.shape[0] * first.shape[1]
    return (
        made == "projection",
        not _shows_head(first),
        made == "MPR",
        -int(min(extent_mm(frames), _ENOUGH_MM) / _COVERAGE_STEP_MM + _ROUNDING),
        int(distance_mm(frames) / _DISTANCE_STEP_MM + _ROUNDING),
        ("soft", "unknown", "sharp").index(sharpness(first.details.kernel)),
        -voxels,
        first.number if first.number is not None else 1 << 31,
        first.series,
    )


def reasons(frames: list[Frame]) -> str:
    """Why a series was ranked as it was, in the order of :func:`rank`."""
    first = frames[0]
    plane, off = plane_of(first)
    made = made_from_slices(first)
    part = first.details.body_part
    stated = "no body part stated" if not part else f"body part {part}"
    if part and not _shows_head(first):
        stated += " (no head)"
    kernel = sharpness(first.details.kernel)
    words = [
        "original slices" if made is None else f"{made} pictures",
        stated,
        f"covers {extent_mm(frames):.0f} mm",
        f"a slice every {distance_mm(frames):.2f} mm",
        {"soft": "kernel for soft tissue", "sharp": "sharp kernel"}.get(kernel, "unknown kernel"),
        plane if off < 1 else f"{plane}, off by {off:.0f} degrees",
    ]
    return ", ".join(words)


def _shows_head(frame: Frame) -> bool:
    part = frame.details.body_part
    return part in ("", OTHER_PART) or any(word in part for word in HEAD_PARTS)


def _depths(frames: list[Frame]) -> np.ndarray:
    normal = np.cross(frames[0].row, frames[0].column)
    return np.sort(np.array([frame.position for frame in frames]) @ normal)
