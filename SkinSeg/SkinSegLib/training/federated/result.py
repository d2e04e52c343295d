"""From averaged weights to a model that the network engine takes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SkinSegLib.segmentation.bundle import Bundle, write_bundle

from ..evaluation.tables import CARD_MARKS
from ..session import LICENCE, MODEL
from .plan import FederatedPlan
from .weights import Weights, read_weights

#: Files of a job: the weights that it begins with; the last ones; who sent what in which round.
START, RESULT, TABLE = "start.npz", "weights.npz", "rounds.csv"


def model_values(name: str, version: str, start: Bundle) -> dict[str, Any]:
    """What :func:`write_model` needs beside the weights, as JSON holds it."""
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in start.arguments.items()}
    return {
        # FLARE takes values with a key "name" for its own components.
        "model": name,
        "model_version": version,
        "network": start.network,
        "arguments": plain,
        "cell_mm": start.cell_mm,
        "threshold": start.threshold,
        **{f"start_{key}": value for key, value in start.identity.items()},
    }


def write_model(folder: Path, model: Mapping[str, Any], plan: FederatedPlan) -> Bundle:
    """The bundle folder/model, from the weights and the table of rounds in ``folder``.

    ``model``: of :func:`model_values`. Raises OutputError, ModelError.
    """
    with (folder / TABLE).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sites = {row["site"]: int(row["cases"]) for row in rows if not row["left out"]}
    how = (
        f"by {len(sites)} sites with {sum(sites.values())} cases together, which shared weights "
        f"only: {plan.rounds} rounds of {plan.local_steps} steps each"
    )
    return bundle_of(read_weights(folder / RESULT), folder / MODEL, model, plan, how)


def bundle_of(
    weights: Weights, folder: Path, model: Mapping[str, Any], plan: FederatedPlan, how: str
) -> Bundle:
    """Weights as a model in ``folder``; ``how``: by whom they were trained, for its card."""
    import torch

    with TemporaryDirectory() as place:
        file = Path(place) / "weights.pt"
        torch.save({name: torch.from_numpy(value) for name, value in weights.items()}, file)
        return write_bundle(
            folder,
            file,
            name=str(model["model"]),
            version=str(model["model_version"]),
            network=str(model["network"]),
            arguments=model["arguments"],
            cell_mm=float(model["cell_mm"]),
            threshold=float(model["threshold"]),
            card=_card(model, plan, how),
            licence=LICENCE,
            authors="Whoever trained it",
        )


def _card(model: Mapping[str, Any], plan: FederatedPlan, how: str) -> str:
    rows = "\n".join(f"| {key} | {value} |" for key, value in plan.plain().items())
    return f"""# {model["model"]} {model["model_version"]}

Tells the patient from table, head holder, cushions, masks and tubes in a head CT. Research only,
not a medical device. Trained on from {model["start_name"]} {model["start_version"]} (weights'
SHA-256 `{model["start_sha256"][:16]}...`) {how}.

{CARD_MARKS[0]}

Not yet compared with the model that it was trained from.

{CARD_MARKS[1]}

| recipe | |
|---|---|
{rows}
"""
