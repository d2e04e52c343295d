"""Heads for made scenes: real and made ones, without anything around them, on small grids."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, Progress, ScanReadError, SegmentationError, bounding_box
from SkinSegLib.segmentation.coarse import Floats
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.network_grid import NetworkGrid

#: Gives the solid head (k, j, i; uint8) of a named scan; None for a scan without a label.
Labeller = Callable[[str, CTVolume], NDArray[np.uint8] | None]

#: Tissue that the mask's own edge still cuts off, in voxels: keeps the blurred edge of the skin.
_EDGE_VOXELS = 1
#: Air kept around a head that is alone, so that beyond its end there is air too.
_MARGIN_CELLS = 2
#: OpenKBP scans from this index on are for validation (the data's README).
_FIRST_VALIDATION = 100


@dataclass(frozen=True)
class HeadSource:
    """One head on the network's axes (superior, anterior, right).

    ``grey``: what the network would see of it with only air around it. ``filled``: share of each
    cell that is patient, 0..1. ``around``: the same scan as it was, with all that is not patient;
    None for a head that was made, or whose surroundings were deleted. ``spacing``: mm.
    """

    name: str
    grey: Floats
    filled: Floats
    around: Floats | None
    spacing: tuple[float, float, float]

    def cropped(self) -> HeadSource:
        """Without the air around a head that is alone; what the scan's end cuts stays cut."""
        box = bounding_box(self.filled > 0, margin=_MARGIN_CELLS)
        if self.around is not None or box is None:
            return self
        grey, filled = (np.ascontiguousarray(part[box]) for part in (self.grey, self.filled))
        return replace(self, grey=grey, filled=filled)

    def with_lungs(self) -> HeadSource:
        """With all air filled that is enclosed in a slice: lungs are open where the scan ends."""
        from scipy import ndimage

        solid = self.filled >= 0.5
        closed = np.stack([ndimage.binary_fill_holes(part) for part in solid])
        return replace(self, filled=np.where(closed & ~solid, np.float32(1), self.filled))


def from_scan(
    name: str, volume: CTVolume, mask: NDArray[np.uint8], size_mm: float, real_scene: bool
) -> HeadSource:
    """A source from a scan and its solid head (both k, j, i), in cells of ``size_mm``."""
    from scipy import ndimage

    grid = NetworkGrid.over(volume, size_mm)
    level = find_level(volume)
    kept = ndimage.binary_dilation(mask > 0, iterations=_EDGE_VOXELS)
    alone = CTVolume(
        np.where(kept, volume.voxels, np.asarray(level.air, volume.voxels.dtype)),
        volume.ijk_to_ras,
        volume.padding,
    )
    spacing = tuple(grid.spacing[axis] for axis in grid.axes)
    return HeadSource(
        name,
        grid.grey(alone, level),
        grid.label(mask),
        grid.grey(volume, level) if real_scene else None,
        spacing,  # type: ignore[arg-type]
    ).cropped()


def gather_sources(
    data: Path,
    label_of: Labeller,
    size_mm: float = 2.0,
    phantoms: int = 12,
    validation: bool = False,
    progress: Progress | None = None,
) -> list[HeadSource]:
    """Sources from the data's train scans (or its validation scans) and from made heads.

    ``data``: the folder of $SKINSEG_DATA. ``label_of``: gives the solid head of a single scan.
    Raises ScanReadError where the folder lacks the scans.
    """
    from SkinSegLib.scan import read

    progress = progress or Progress()
    names = (
        ("dicom2stl_ct_example",)
        if validation
        else ("unc_cthead", "chd_phantom", "dicom2stl_ct_head", "vhm_head_8bit")
    )
    index = data / "openkbp" / "index.json"
    if not index.is_file():
        raise ScanReadError(
            f"There are no training scans in {data}. Set SKINSEG_DATA to the folder with the data."
        )
    listed = [entry["pt"] for entry in json.loads(index.read_text(encoding="utf-8"))]
    chosen = listed[_FIRST_VALIDATION:] if validation else listed[:_FIRST_VALIDATION]
    coarse = [index.with_name(f"{name}.nrrd") for name in chosen]
    sources = []
    total = len(names) + len(coarse) + phantoms
    with progress.stage("Heads", 1.0):
        for name in names:
            volume = read(data / "volumes" / f"{name}.nrrd")
            mask = label_of(name, volume)
            if mask is not None:
                sources.append(from_scan(name, volume, mask, size_mm, real_scene=True))
            progress.update(len(sources) / total)
        for path in coarse:
            volume = read(path)
            source = from_scan(path.stem, volume, _body(volume), size_mm, real_scene=False)
            sources.append(source.with_lungs())
            progress.update(len(sources) / total)
        for seed in range(phantoms):
            sources.append(made_source(seed + (1000 if validation else 0), size_mm))
            progress.update(len(sources) / total)
    return sources


def save_sources(sources: list[HeadSource], path: Path) -> None:
    """Write sources to one .npz, rounded to half precision (0.001 of the contrast)."""
    arrays: dict[str, NDArray[np.generic]] = {"names": np.array([s.name for s in sources])}
    for n, source in enumerate(sources):
        arrays[f"{n}/grey"] = source.grey.astype(np.float16)
        arrays[f"{n}/filled"] = source.filled.astype(np.float16)
        arrays[f"{n}/spacing"] = np.array(source.spacing)
        if source.around is not None:
            arrays[f"{n}/around"] = source.around.astype(np.float16)
    with path.open("wb") as file:  # by a name numpy would add .npz to it
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_sources(path: Path) -> list[HeadSource]:
    """Read what :func:`save_sources` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        sources = []
        for n, name in enumerate(arrays["names"]):
            around = f"{n}/around"
            a, b, c = (float(v) for v in arrays[f"{n}/spacing"])
            sources.append(
                HeadSource(
                    str(name),
                    arrays[f"{n}/grey"].astype(np.float32),
                    arrays[f"{n}/filled"].astype(np.float32),
                    arrays[around].astype(np.float32) if around in arrays else None,
                    (a, b, c),
                )
            )
    return sources


def _body(volume: CTVolume) -> NDArray[np.uint8]:
    """The patient of an OpenKBP scan, whose surroundings are mostly air already.

    By the classical engine: what is left of couches in some of these scans is thin.
    """
    from SkinSegLib.segmentation import SegmentOptions, segment

    return segment(volume, SegmentOptions(engine="threshold")).voxels


def made_source(seed: int, size_mm: float) -> HeadSource:
    """The made head of a seed, in cells of ``size_mm``. Raises SegmentationError for a seed that
    puts it outside its scan."""
    from ..phantom import make_phantom
    from ..spec import PhantomSpec

    spec = PhantomSpec.clean(seed).resampled((size_mm,) * 3)
    phantom = make_phantom(spec)
    source = from_scan(f"phantom-{seed}", phantom.volume, phantom.truth, size_mm, False)
    if source.filled.max() < 0.5:
        raise SegmentationError(f"The made head of seed {seed} is not in its scan.")
    return source
