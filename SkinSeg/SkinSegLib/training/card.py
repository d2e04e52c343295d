"""The model card of a model that was trained by its user, and its licence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .evaluation.tables import CARD_MARKS

LICENCE = """Copyright the owner of the training data and of the training.

This model was trained by its user. Whoever passes it on says under which licence, and whether the
patients' consent covers it.
"""


NOT_COMPARED = "Not yet compared with the model that it was trained from."


def recipe_of(folder: Path) -> dict[str, Any]:
    """The recipe of a training in ``folder``, without the names of its heads."""
    recipe: dict[str, Any] = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    recipe["heads"] = len(recipe.pop("sources"))
    return recipe


def trained_on(name: str, version: str, sha256: str) -> str:
    """The beginning of how a model was trained on from another."""
    return f"Trained on from {name} {version} (weights' SHA-256 `{sha256[:16]}...`)"


def model_card(title: str, how: str, figures: str, recipe: Mapping[str, Any]) -> str:
    """Markdown. ``how``: sentences on how it was trained; ``figures``: what stands in the place of
    the figures until there are some; ``recipe``: a table of names and values."""
    rows = "\n".join(f"| {key} | {value} |" for key, value in recipe.items())
    return f"""# {title}

Tells the patient from table, head holder, cushions, masks and tubes in a head CT. Research only,
not a medical device. {how}

{CARD_MARKS[0]}

{figures}

{CARD_MARKS[1]}

| recipe | |
|---|---|
{rows}
"""
