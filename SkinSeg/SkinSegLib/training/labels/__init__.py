"""Reference masks of real scans, each made by a recipe that records every step."""

from .recipe import Recipe, label_of, load_recipe, make_label, mask_hash, recipes, save_recipe

__all__ = [
    "Recipe",
    "label_of",
    "load_recipe",
    "make_label",
    "mask_hash",
    "recipes",
    "save_recipe",
]
