"""From averaged weights to a model that the network engine takes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SkinSegLib.segmentation.bundle import Bundle, write_bundle

from ..card import LICENCE, NOT_COMPARED, model_card, trained_on
from ..session import MODEL
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
            card=model_card(
                f"{model['model']} {model['model_version']}",
                f"{trained_on(*(model[f'start_{of}'] for of in ('name', 'version', 'sha256')))} "
                f"{how}.",
                NOT_COMPARED,
                plan.plain(),
            ),
            licence=LICENCE,
            authors="Whoever trained it",
        )
