"""Recipes of reference masks: the label protocol (DESIGN section 1), step by recorded step.

A recipe is JSON in Resources/Labels: ``NAME.json``, and ``NAME.second.json`` for the pass of a
second labeller who has not seen the first. The mask itself is not in the repository: it is made
from the scan, and its hash is compared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import (
    CTVolume,
    SkinSegError,
    bounding_box,
    components,
    distance_to,
    replacing,
    resource_path,
)
from SkinSegLib.segmentation.openings import outside_part

from .shapes import Bools, Spacing, region

SECOND = ".second"


@dataclass(frozen=True)
class Recipe:
    """How a reference mask is made.

    ``scan``: path below $SKINSEG_DATA, or "cranium". ``level_hu``: grey value of the skin.
    ``steps``: see :func:`make_label`. ``doubtful``: places, {"at": [k, j, i], "what": text}, of
    which the labeller was not sure. ``sha256``, ``volume_ml``: of the mask; empty until made.
    ``in_slices``: whether the scan's slices are thicker than 3 mm, so that only its outlines
    within them are a measure. ``about``: who made it and how it was reviewed.
    """

    name: str
    scan: str
    level_hu: float
    steps: tuple[Mapping[str, Any], ...]
    doubtful: tuple[Mapping[str, Any], ...] = ()
    in_slices: bool = False
    about: str = ""
    sha256: str = ""
    volume_ml: float = 0.0
    extra: Mapping[str, Any] = field(default_factory=dict)


def recipes(second: bool = False) -> tuple[str, ...]:
    """Names of the scans that have a recipe, or a second one."""
    names = sorted(path.name.removesuffix(".json") for path in resource_path("Labels").glob("*"))
    return tuple(
        name.removesuffix(SECOND)
        for name in names
        if name.endswith(SECOND) == second and not name.startswith(".")
    )


def load_recipe(name: str, second: bool = False) -> Recipe:
    """The recipe of a scan. Raises MissingPackageError where there is none."""
    path = resource_path("Labels", f"{name}{SECOND if second else ''}.json")
    return read_recipe(path)


def read_recipe(path: Path) -> Recipe:
    """A recipe from a file. Raises SkinSegError if it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Recipe(
            **{
                **content,
                "steps": tuple(content["steps"]),
                "doubtful": tuple(content.get("doubtful", ())),
            }
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SkinSegError(f"{path.name} is no recipe of a label. Check the file.") from error


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe, one step a line."""
    head = {k: v for k, v in vars(recipe).items() if k not in ("steps", "doubtful")}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key in ("doubtful", "steps"):
        rows = ",\n".join(f"    {json.dumps(row)}" for row in getattr(recipe, key))
        lines.append(f'  "{key}": [\n{rows}\n  ]' if rows else f'  "{key}": []')
    with replacing(path) as temporary:
        temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def label_of(name: str, volume: CTVolume, second: bool = False) -> NDArray[np.uint8] | None:
    """The reference mask (k, j, i) of a scan, None for one without a recipe.

    ``second``: by the recipe of the second labeller. Raises SkinSegError if the mask made is not
    the one that was reviewed.
    """
    if name not in recipes(second):
        return None
    recipe = load_recipe(name, second)
    mask = make_label(volume, recipe)
    if recipe.sha256 and mask_hash(mask) != recipe.sha256:
        raise SkinSegError(
            f"The label of {name} is not the one that was reviewed. Get the scan again, or review "
            "the label and write its new hash to the recipe."
        )
    return mask


def mask_hash(mask: NDArray[np.uint8]) -> str:
    """SHA-256 of a mask's shape and bits."""
    digest = hashlib.sha256(repr(mask.shape).encode())
    digest.update(np.packbits(mask > 0).tobytes())
    return digest.hexdigest()


def make_label(volume: CTVolume, recipe: Recipe) -> NDArray[np.uint8]:
    """The solid head (k, j, i; uint8) that a recipe makes of a scan.

    It begins with all tissue: voxels at ``level_hu`` or above, without padding. Then each step, in
    order. ``do`` says what; a shape (see :func:`shapes.region`) says where:

    * ``remove``: nothing in the shape is patient. ``add``: tissue in it is; with
      ``"matter": "all"`` air in it too (a cap).
    * ``open``, ``radius_mm``: in the shape, take away what an opening with that ball leaves out
      and that hangs together in parts of ``least_ml`` or more (0 unless given).
    * ``keep``, ``seed``: only the part that hangs together with that voxel.
    * ``seal``, ``radius_mm``: air in the shape that a ball of that radius cannot reach from
      outside becomes patient.
    * ``smooth``, ``sigma_mm``: in the shape, the border between patient and other tissue.
    * ``fill``: all air that the patient encloses.

    Raises SkinSegError for any other step.
    """
    spacing = volume.spacing[::-1]
    tissue = volume.voxels >= recipe.level_hu
    padding = volume.padding_mask()
    if padding is not None:
        tissue &= ~padding
    patient = tissue.copy()
    for step in recipe.steps:
        patient = _done(step, patient, tissue, spacing)
    return patient.astype(np.uint8)


def _done(step: Mapping[str, Any], patient: Bools, tissue: Bools, spacing: Spacing) -> Bools:
    what = step.get("do")
    if what == "keep":
        return _part_at(patient, step["seed"])
    if what == "fill":
        return ~outside_part(~patient)
    where = region(step, patient.shape, spacing)  # type: ignore[arg-type]
    if what == "remove":
        return patient & ~where
    if what == "add":
        return patient | (where if step.get("matter") == "all" else where & tissue)
    if what in ("open", "seal"):
        radius = float(step["radius_mm"])
        # What lies farther off than the ball is wide has no say.
        near = bounding_box(where, margin=3 + round(2 * radius / min(spacing)))
        if near is None:
            return patient
        result = patient.copy()
        if what == "open":
            least_ml = float(step.get("least_ml", 0.0))
            result[near] &= ~_thin(patient[near], where[near], spacing, radius, least_ml)
        else:
            centres = _centres(patient, spacing, radius)[near]
            unreached = distance_to(centres, spacing) > radius
            result[near] |= where[near] & unreached
        return result
    if what == "smooth":
        return _smoothed(patient, tissue, where, spacing, float(step["sigma_mm"]))
    raise SkinSegError(f"A recipe has a step that is not known: {what!r}.")


def _part_at(patient: Bools, seed: list[int]) -> Bools:
    labels, _ = components(patient)
    label = labels[tuple(seed)]
    if label == 0:
        raise SkinSegError(f"A recipe's seed {seed} is not in the patient. Choose another voxel.")
    result: Bools = labels == label
    return result


def _thin(
    patient: Bools, where: Bools, spacing: Spacing, radius_mm: float, least_ml: float
) -> Bools:
    """What an opening takes away within a region, in parts of at least ``least_ml``."""
    core = distance_to(~np.pad(patient, 1, mode="edge"), spacing)[1:-1, 1:-1, 1:-1] > radius_mm
    # Half a voxel for the rounding of the discrete ball.
    opened = distance_to(core, spacing) <= radius_mm + min(spacing) / 2
    thin = patient & ~opened & where
    least = least_ml * 1000 / float(np.prod(spacing))
    if least > 0:
        labels, count = components(thin)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        sizes[0] = 0
        thin = (sizes >= least)[labels]
    return thin


def _centres(patient: Bools, spacing: Spacing, radius_mm: float) -> Bools:
    """Where the centre of a ball can be that comes from outside."""
    centres = np.ones_like(patient)
    box = bounding_box(patient, margin=3 + round(2 * radius_mm / min(spacing)))
    if box is not None:
        centres[box] = outside_part(distance_to(patient[box], spacing) > radius_mm)
    return centres


def _smoothed(
    patient: Bools, tissue: Bools, where: Bools, spacing: Spacing, sigma_mm: float
) -> Bools:
    """The majority around each tissue voxel of a region; air does not vote."""
    from scipy import ndimage

    sigma = [sigma_mm / size for size in spacing]
    votes = ndimage.gaussian_filter((patient & tissue).astype(np.float32), sigma, truncate=3.0)
    of = ndimage.gaussian_filter(tissue.astype(np.float32), sigma, truncate=3.0)
    changed = where & tissue
    return np.where(changed, votes > of / 2, patient)
