"""``python -m SkinSegLib.training.labels make|show RECIPE``: for whoever labels a scan."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..pictures import slice_sheet
from .recipe import make_label, mask_hash, read_recipe, save_recipe
from .scans import scan_of


def main() -> None:
    """Make a recipe's mask (and write its hash), or draw it over slices."""
    parser = argparse.ArgumentParser(prog="python -m SkinSegLib.training.labels")
    parser.add_argument("what", choices=("make", "show"))
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="PNG to draw")
    parser.add_argument("--axis", type=int, default=0, help="0: k, 1: j, 2: i")
    parser.add_argument("--slices", type=int, nargs="*", help="indices; default: 12 of all")
    parser.add_argument("--box", type=int, nargs=6, help="k0 k1 j0 j1 i0 i1 to show")
    parser.add_argument("--columns", type=int, default=4)
    parser.add_argument("--inches", type=float, default=4.0, help="width of one slice")
    parser.add_argument("--window", type=float, nargs=2, default=(-1000, 300))
    parser.add_argument("--plain", action="store_true", help="show the scan without a mask")
    chosen = parser.parse_args()
    recipe = read_recipe(chosen.recipe)
    volume = scan_of(recipe.scan)
    print(f"{recipe.name}: {volume.voxels.shape} (k, j, i), spacing k j i {volume.spacing[::-1]}")
    masks = {} if chosen.plain else {"label": make_label(volume, recipe)}
    for mask in masks.values():
        volume_ml = round(int(np.count_nonzero(mask)) * volume.voxel_volume_ml, 1)
        print(f"{volume_ml} mL, sha256 {mask_hash(mask)}")
        if chosen.what == "make":
            save_recipe(replace(recipe, sha256=mask_hash(mask), volume_ml=volume_ml), chosen.recipe)
    if chosen.output is not None:
        box = chosen.box and [
            (chosen.box[0], chosen.box[1]),
            (chosen.box[2], chosen.box[3]),
            (chosen.box[4], chosen.box[5]),
        ]
        slice_sheet(
            volume,
            masks,
            chosen.output,
            chosen.axis,
            chosen.slices,
            box,
            tuple(chosen.window),
            chosen.columns,
            chosen.inches,
        )


if __name__ == "__main__":
    main()
