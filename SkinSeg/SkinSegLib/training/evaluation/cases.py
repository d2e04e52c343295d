"""Data sets to evaluate on: real scans with a reference, made scenes, a folder of pairs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, Progress, SkinSegError, distance_to, largest_component
from SkinSegLib.scan import read
from SkinSegLib.segmentation.level import find_level

from ..dataset import CaseFolder, CaseRecord
from ..labels import label_of, load_recipe, recipes
from ..labels.scans import data_folder, scan_of
from ..loader import EVALUATION_SEED
from ..scenes import HeadSource, Scene, make_scene
from ..scenes.sources import made_source
from .measures import Reference

#: Which scan is for what (the data's README). None may move from test to another.
SPLITS = {
    "test": ("weasis_headneck", "keinos_head", "ge_tilt", "cranium"),
    "validation": ("dicom2stl_ct_example",),
    "train": ("unc_cthead", "vhm_head_8bit", "dicom2stl_ct_head", "chd_phantom"),
}
#: Slices thicker than this are compared by their outlines only, mm.
_THICK_MM = 3.0
#: Of the radiotherapy scans, those that are for validation: from this index on.
_FIRST_VALIDATION = 100
#: Made heads for made scenes: seeds that neither training nor its validation uses, and how many.
_FIRST_MADE, _MADE = 5000, 16
#: A made scene: voxels along superior, anterior and right, and their size in mm.
SCENE_CELLS, SCENE_MM = (160, 208, 192), 1.0
#: A label is off at the skin by less than this, mm.
_SKIN_MM = 3.0
#: Network units: 0 is air, 1 soft tissue.
_AIR_HU, _CONTRAST_HU = -1000.0, 1040.0
_SCANS = (".nrrd", ".nii.gz")
_LABEL = "_label"


@dataclass(frozen=True)
class Case:
    """A scan with its reference, and a second reference where there is one."""

    reference: Reference
    second: Reference | None = None


@dataclass(frozen=True)
class Entry:
    """A case not yet loaded.

    ``load`` is given what is asked whether to go on; it raises SkinSegError where the case cannot
    be had, Cancelled.
    """

    name: str
    load: Callable[[Progress], Case]


@dataclass(frozen=True)
class DataSet:
    """Cases that make up one table."""

    name: str
    entries: tuple[Entry, ...]


def single_scans(split: str) -> DataSet:
    """The single scans of a split (a key of SPLITS), with their references by recipe."""
    return DataSet(split, tuple(Entry(n, partial(_single_scan, n)) for n in SPLITS[split]))


def _single_scan(name: str, progress: Progress) -> Case:
    if name not in recipes():
        raise SkinSegError(f"There is no recipe for the label of {name}.")
    volume = scan_of(load_recipe(name).scan)
    first = _by_recipe(name, volume, second=False)
    if first is None:
        raise SkinSegError(f"The label of {name} is not finished: its recipe has no hash.")
    second = _by_recipe(name, volume, second=True) if name in recipes(second=True) else None
    return Case(first, second)


def _by_recipe(name: str, volume: CTVolume, second: bool) -> Reference | None:
    """None for a recipe whose mask was never made: it is still being worked on."""
    recipe = load_recipe(name, second)
    mask = label_of(name, volume, second) if recipe.sha256 else None
    if mask is None:
        return None
    return Reference(volume, mask, recipe.level_hu, recipe.in_slices)


def outlines() -> DataSet:
    """The validation part of the radiotherapy scans, with the outlines of a third party as given.

    The outlines end below and above before the patient does: only slices that have one count.
    Raises SkinSegError where the data lacks these scans.
    """
    index = data_folder() / "openkbp" / "index.json"
    if not index.is_file():
        raise SkinSegError(
            f"There are no radiotherapy scans in {data_folder()}. Set SKINSEG_DATA to the folder "
            "with the data."
        )
    listed = [entry["pt"] for entry in json.loads(index.read_text(encoding="utf-8"))]
    return DataSet(
        "outlines",
        tuple(
            Entry(name, partial(_outlined, index.with_name(f"{name}.nrrd")))
            for name in listed[_FIRST_VALIDATION:]
        ),
    )


def _outlined(path: Path, progress: Progress) -> Case:
    volume = read(path)
    mask = _mask_at(path.with_name(f"{path.stem}_body.nrrd"), volume)
    filled = np.flatnonzero(mask.any(axis=(1, 2)))
    if not filled.size:
        raise SkinSegError(f"The outline of {path.stem} is empty.")
    slices = int(filled[0]), int(filled[-1]) + 1
    return Case(Reference(volume, mask, find_level(volume).skin, slices=slices))


def pairs_in(folder: Path) -> DataSet:
    """Scans NAME.nrrd or NAME.nii.gz of a folder, each with NAME_label in one of these formats.

    Raises SkinSegError where there is none.
    """
    if not folder.is_dir():
        raise SkinSegError(f"{folder} is neither a folder nor the name of a data set.")
    entries = []
    for path in sorted(folder.iterdir()):
        name = next((path.name.removesuffix(s) for s in _SCANS if path.name.endswith(s)), None)
        if name is None:
            continue
        labels = [folder / f"{name}{_LABEL}{suffix}" for suffix in _SCANS]
        label = next((other for other in labels if other.is_file()), None)
        if label is not None:
            entries.append(Entry(name, partial(_pair, path, label)))
    if not entries:
        raise SkinSegError(
            f"{folder} has no pairs of a scan NAME.nrrd or NAME.nii.gz and a label "
            f"NAME{_LABEL}.nrrd or NAME{_LABEL}.nii.gz."
        )
    return DataSet(folder.resolve().name, tuple(entries))


def case_folder(cases: CaseFolder, split: str, name: str = "") -> DataSet:
    """The labelled cases of a hospital's own data set, of "train" or "test", maybe none.

    ``name``: of the data set, the folder's if empty.
    """

    def load(record: CaseRecord, progress: Progress) -> Case:
        progress.check()
        volume, mask = cases.read(record)
        if mask is None:
            raise SkinSegError(f"{record.name} has no label.")
        return _labelled(volume, mask)

    chosen = [record for record in cases.records() if record.split == split]
    entries = tuple(Entry(record.name, partial(load, record)) for record in chosen)
    return DataSet(name or cases.folder.resolve().name, entries)


def _pair(scan: Path, label: Path, progress: Progress) -> Case:
    volume = read(scan)
    return _labelled(volume, _mask_at(label, volume))


def _labelled(volume: CTVolume, mask: NDArray[Any]) -> Case:
    thick = max(volume.spacing[2], volume.slice_gap_mm or 0) > _THICK_MM
    in_slices = thick and volume.spacing[2] > 1.5 * max(volume.spacing[:2])
    return Case(Reference(volume, mask, find_level(volume).skin, in_slices))


def _mask_at(path: Path, volume: CTVolume) -> NDArray[Any]:
    """A mask from a file, (k, j, i), 1 for every label. Raises SkinSegError for another grid."""
    label = read(path)
    same = label.voxels.shape == volume.voxels.shape and np.allclose(
        label.ijk_to_ras, volume.ijk_to_ras, atol=1e-2
    )
    if not same:
        raise SkinSegError(f"{path.name} does not lie on the grid of its scan. Resample it.")
    return (label.voxels > 0).astype(np.uint8)


def scenes(count: int, first_made: int = _FIRST_MADE, made: int = _MADE) -> DataSet:
    """``count`` made scenes of heads that training never sees, seeds from EVALUATION_SEED on.

    The heads are ``made`` ones of seeds from ``first_made`` on: their surface is known exactly,
    which that of the radiotherapy scans is not.
    """

    heads: list[HeadSource] = []

    def load(n: int, progress: Progress) -> Case:
        # They take a minute, so only once one is wanted, and then for all.
        while len(heads) < made:
            progress.check()
            heads.append(made_source(first_made + len(heads), SCENE_MM))
        return _scene(heads, n)

    return DataSet("scenes", tuple(Entry(f"scene-{n:03}", partial(load, n)) for n in range(count)))


def _scene(heads: list[HeadSource], n: int) -> Case:
    scene = make_scene(heads, EVALUATION_SEED + n, SCENE_CELLS, SCENE_MM, odd=0.0)
    truth = _skin_of(scene)
    if not truth.any():
        raise SkinSegError(f"The made scene {n} holds no patient, as some do.")
    voxels = np.rint(scene.grey * _CONTRAST_HU + _AIR_HU).astype(np.int16)
    # The scene's axes are superior, anterior, right; an array's are k, j, i.
    to_ras = np.diag([SCENE_MM, SCENE_MM, SCENE_MM, 1.0])
    return Case(Reference(CTVolume(voxels, to_ras), truth, _AIR_HU + _CONTRAST_HU / 2))


def _skin_of(scene: Scene) -> NDArray[np.uint8]:
    """The patient of a scene, up to where its own grey crosses the half height.

    The label comes from a mask on the voxels of the head's scan, and is up to half a voxel off at
    the skin; the greys are not. Within the patient and at caps the label holds.
    """
    spacing = (SCENE_MM,) * 3
    solid = scene.alone >= 0.5
    # A hand beside the head is no part of it, also where thick slices blur the two together.
    label = largest_component(scene.filled >= 0.5).view(np.bool_)
    if not label.any():
        return label.view(np.uint8)
    outside = ~(label | solid)
    # Partial voxels of the skin lie next to both tissue and air; a cap lies across a hole.
    skin = (distance_to(solid, spacing) <= _SKIN_MM) & (distance_to(outside, spacing) <= _SKIN_MM)
    near = distance_to(label, spacing) <= _SKIN_MM
    return largest_component((label & (solid | ~skin)) | (solid & near))
