"""What a site has: its data, which stay there, and the steps that it trains in a round."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SkinSegLib.core import Progress, SkinSegError, replacing
from SkinSegLib.segmentation.architectures import build
from SkinSegLib.segmentation.network import choose_device, threads
from SkinSegLib.segmentation.plain_weights import load_plain

from ..dataset import CaseFolder
from ..designs import DESIGNS
from ..finetune import MADE_HEADS, OWN, mixed_scene, own_head
from ..scenes import HeadSource, load_sources, save_sources
from ..scenes.sources import made_source
from ..session import HEAD_MM
from ..train import make_optimiser, run_steps
from ..transplant import surroundings
from .plan import FederatedPlan
from .weights import Weights, checked, put_weights, read_weights, weights_of, write_weights

if TYPE_CHECKING:
    import torch

#: Names a JSON file on the site's own computer; else it is FILE in the folder "local" of FLARE.
VARIABLE, FILE = "SKINSEG_SITES", "skinseg.json"
HEADS, _OPTIMISER = "heads.npz", "optimiser.pt"


@dataclass(frozen=True)
class Site:
    """``data``: folder of a data set. ``heads``: file that its heads are kept in, or a file with
    heads alone. ``state``: folder for the optimiser's state; both are in FLARE's folder of the job
    where not given. ``device``, ``workers``: see TrainOptions. ``threads``: of the CPU, None for
    all."""

    name: str
    data: Path | None = None
    heads: Path | None = None
    state: Path | None = None
    device: str = "auto"
    workers: int = 0
    threads: int | None = None


def find_site(name: str, local: Path) -> Site:
    """The site of a name, as the site itself has set it up; ``local``: FLARE's folder of it.

    The file maps names of sites to the values of :class:`Site`. Raises
    SkinSegError where it is missing or damaged, or says nothing of this site.
    """
    path = Path(os.environ.get(VARIABLE) or local / FILE)
    hint = f'Write {{"{name}": {{"data": FOLDER}}}} to {FILE} in the local folder of FLARE.'
    try:
        values = json.loads(path.read_text(encoding="utf-8"))[name]
        settings: dict[str, Any] = {
            key: Path(value) if key in ("data", "heads", "state") else value
            for key, value in values.items()
        }
        site = Site(name, **settings)
    except OSError as error:
        raise SkinSegError(f"This site has not said where its data are. {hint}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SkinSegError(f"What this site says of its data cannot be read. {hint}") from error
    if site.data is None and site.heads is None:
        raise SkinSegError(f"This site has not said where its data are. {hint}")
    return site


def site_heads(
    site: Site, folder: Path, made: list[HeadSource] | None = None, progress: Progress | None = None
) -> list[HeadSource]:
    """The heads of a site's training cases, and made ones to rehearse on; kept for the next time.

    ``folder``: where they are kept unless ``site.heads`` says. ``made``: the made ones, to save
    their making. Progress stage: Heads. Raises SkinSegError without a case for training.
    """
    kept = site.heads or folder / HEADS
    if kept.is_file():
        return load_sources(kept)
    if site.data is None:
        raise SkinSegError(f"The heads of {site.name} are not where its setting says.")
    cases = CaseFolder.open(site.data)
    chosen = [record for record in cases.records() if record.split == "train"]
    if not chosen:
        raise SkinSegError(f"The data set of {site.name} has no cases for training. Add some.")
    progress = progress or Progress()
    heads: list[HeadSource] = []
    total = len(chosen) + (0 if made is not None else MADE_HEADS)
    with progress.stage("Heads", 1.0):
        for record in chosen:
            heads.append(own_head(cases, record))
            progress.update(len(heads) / total)
        heads += [surroundings(head) for head in heads]
        if made is None:
            for seed in range(MADE_HEADS):
                heads.append(made_source(seed, HEAD_MM))
                progress.update((len(chosen) + seed + 1) / total)
        else:
            heads += made
    with replacing(kept) as temporary:
        save_sources(heads, temporary)
    # As they come back: half precision, so that every round sees the same.
    return load_sources(kept)


def case_count(heads: list[HeadSource]) -> int:
    """How many of them are a site's own: what its weights count for."""
    return sum(head.name.startswith(OWN) for head in heads) or len(heads)


def train_round(
    plan: FederatedPlan,
    site: Site,
    heads: list[HeadSource],
    weights: Any,
    number: int,
    folder: Path,
    progress: Progress | None = None,
) -> Weights:
    """A site's weights after round ``number`` (from 0), begun with ``weights``.

    ``weights``: what was received; checked first. ``folder``: of the site, keeps the optimiser's
    state from round to round: it is never sent or averaged, and a site that lost it begins with a
    new one. Raises ModelError for weights that do not fit, Cancelled.
    """
    import torch

    steps = plan.steps_of(number)
    network, optimiser, device = _begun(plan, site, weights)
    state = folder / _OPTIMISER
    if number > 0 and state.is_file():
        optimiser.load_state_dict(load_plain(state, device))
    _take(plan, site, heads, network, optimiser, device, steps, progress)
    with replacing(state) as temporary:
        torch.save(optimiser.state_dict(), temporary)
    return weights_of(network)


def train_alone(
    plan: FederatedPlan,
    site: Site,
    heads: list[HeadSource],
    weights: Weights,
    folder: Path,
    progress: Progress | None = None,
) -> Weights:
    """All rounds of a plan without anybody else: what a site can do alone.

    ``folder``: keeps what each round left; a training that was stopped goes on from there. Progress
    stage: Alone. Raises what :func:`train_round` raises, Cancelled with the last round in place.
    """
    progress = progress or Progress()
    folder.mkdir(parents=True, exist_ok=True)
    kept = {int(path.stem.partition("-")[2]): path for path in folder.glob("round-*.npz")}
    first = max(kept, default=0)
    if first:
        weights = read_weights(kept[first])
    with progress.stage("Alone", 1.0):
        for number in range(first, plan.rounds):
            progress.update(number / plan.rounds)
            part = Progress(is_cancelled=progress.is_cancelled)
            weights = train_round(plan, site, heads, weights, number, folder, part)
            write_weights(weights, folder / f"round-{number + 1}.npz")
            (folder / f"round-{number}.npz").unlink(missing_ok=True)
    return weights


def _begun(
    plan: FederatedPlan, site: Site, weights: Any
) -> tuple[torch.nn.Module, torch.optim.Optimizer, str]:
    design = DESIGNS[plan.design]
    device = choose_device(site.device)
    network = build(design.network, dict(design.arguments))
    put_weights(network, checked(weights, weights_of(network)))
    network = network.to(device)
    return network, make_optimiser(network, plan.training(Path(), 0)), device


def _take(
    plan: FederatedPlan,
    site: Site,
    heads: list[HeadSource],
    network: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    device: str,
    steps: range,
    progress: Progress | None,
) -> None:
    options = plan.training(Path(), plan.seed_of(site.name), device, site.workers)
    make = partial(mixed_scene, share=plan.share)
    with nullcontext() if site.threads is None else threads(site.threads):
        run_steps(network, optimiser, heads, options, steps, make, progress)


def write_sites(sites: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Write the file that :func:`find_site` reads."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(sites, indent=1) + "\n", encoding="utf-8")
