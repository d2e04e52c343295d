"""Several data sets on one computer as if they were hospitals: what sharing weights would bring."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SkinSegLib.core import OutputError, Progress, SkinSegError, replacing
from SkinSegLib.segmentation.bundle import Bundle, load_bundle

from ..dataset import CaseFolder
from ..evaluation import DataSet, case_folder
from ..finetune import MADE_HEADS, OWN
from ..scenes import HeadSource
from ..scenes.sources import made_source
from ..session import HEAD_MM, MODEL
from ..transplant import SURROUNDINGS
from .compare import COMPARISON, compare
from .job import export_job, require_flare
from .plan import FederatedPlan
from .result import RESULT, TABLE, bundle_of, model_values, write_model
from .simulator import rounds_in, run_job
from .site import Site, case_count, site_heads, train_alone
from .weights import read_weights, weights_of

POOLED = "pooled"
_PLAN, _PREPARED, _ALONE = "plan.json", "heads", "alone"

#: What comes of the cases of a site: heads, and what was around them.
_OF_CASES = (OWN, SURROUNDINGS)


@dataclass(frozen=True)
class Simulated:
    """``federated``: the model of all sites together; ``pooled``: of all their data in one place;
    ``alone``: of each site by itself. ``table``: the comparison, Markdown."""

    federated: Bundle
    pooled: Bundle
    alone: Mapping[str, Bundle]
    table: Path


def simulate(
    data: Mapping[str, Path],
    start: Bundle,
    plan: FederatedPlan,
    output: Path,
    name: str = "federated",
    version: str = "1",
    device: str = "auto",
    more: tuple[DataSet, ...] = (),
    progress: Progress | None = None,
) -> Simulated:
    """Train a model by federated rounds in FLARE's simulator, and those to compare it with.

    ``data``: name of a site to the folder of its data set; training cases are trained on, test
    cases compared on. ``more``: data sets to compare on too. All models begin with ``start`` and
    take the same number of steps, those of the plan; the last weights count, nothing is selected.
    What ``output`` holds of the same plan is not made again. Progress stages: Heads, Rounds, Alone,
    and one for each case.

    Raises SkinSegError where a site has no training case, there is no test case, or a site fails;
    OutputError; MissingPackageError; Cancelled, with all that was done in place.
    """
    require_flare()
    progress = progress or Progress()
    own = [case_folder(CaseFolder.open(folder), "test", site) for site, folder in data.items()]
    sets = [*own, *more]
    if not any(part.entries for part in sets):
        raise SkinSegError("None of the data sets has a test case to compare on. Set some aside.")
    _begin(output, start, plan, list(data))
    threads = max(1, (os.cpu_count() or 1) // len(data))
    sites = {
        site: Site(
            site,
            folder,
            output / _PREPARED / f"{site}.npz",
            output / _ALONE / f"{site}-state",
            device,
            0,
            threads,
        )
        for site, folder in data.items()
    }
    heads = _heads(sites, output / _PREPARED, progress.part(0.0, 0.1))
    values = model_values(name, version, start)
    if not (output / MODEL).is_dir():
        _federate(sites, start, plan, output, name, version, progress.part(0.1, 0.3))
    federated = load_bundle(output / MODEL)
    trained = {}
    together = [head for part in heads.values() for head in part if head.name.startswith(_OF_CASES)]
    everyone = {**heads, POOLED: together + _made(next(iter(heads.values())))}
    for n, (who, part) in enumerate(everyone.items()):
        folder = output / _ALONE / who
        if not (folder / MODEL).is_dir():
            share = progress.part(0.4 + 0.4 * n / len(everyone), 0.4 / len(everyone))
            begun = weights_of(start.load_network())
            weights = train_alone(plan, Site(who, device=device), part, begun, folder, share)
            how = f"on {case_count(part)} cases ({who}), {plan.steps} steps"
            values["model"] = f"{name}-{who}"
            bundle_of(weights, folder / MODEL, values, plan, how)
        trained[who] = load_bundle(folder / MODEL)
    pooled = trained.pop(POOLED)
    models = {"before": start, **trained, POOLED: pooled, "federated": federated}
    compare(models, sets, output, device, progress.part(0.8, 0.2))
    return Simulated(federated, pooled, trained, output / COMPARISON)


def _begin(output: Path, start: Bundle, plan: FederatedPlan, sites: list[str]) -> None:
    """Note what is trained, or see that it is the same. Raises OutputError if it is not."""
    noted = {"plan": plan.plain(), "start": start.identity, "sites": sites}
    path = output / _PLAN
    output.mkdir(parents=True, exist_ok=True)
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != noted:
            raise OutputError(
                f"{output} holds a training by another plan, model or sites. Choose another folder."
            )
    elif any(output.iterdir()):
        raise OutputError(f"{output} is not empty. Choose another folder.")
    else:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(noted, indent=1) + "\n", encoding="utf-8")
    for folder in (_PREPARED, _ALONE, *(f"{_ALONE}/{site}-state" for site in sites)):
        (output / folder).mkdir(exist_ok=True)


def _heads(
    sites: Mapping[str, Site], folder: Path, progress: Progress
) -> dict[str, list[HeadSource]]:
    """The heads of every site; the made ones, alike at all sites, are made once."""
    heads: dict[str, list[HeadSource]] = {}
    made: list[HeadSource] = []
    if not all(site.heads is not None and site.heads.is_file() for site in sites.values()):
        with progress.stage("Heads", 0.5):
            for seed in range(MADE_HEADS):
                made.append(made_source(seed, HEAD_MM))
                progress.update(len(made) / MADE_HEADS)
    for n, (name, site) in enumerate(sites.items()):
        part = progress.part(0.5 + 0.5 * n / len(sites), 0.5 / len(sites))
        heads[name] = site_heads(site, folder, made, part)
    return heads


def _made(heads: list[HeadSource]) -> list[HeadSource]:
    return [head for head in heads if not head.name.startswith(_OF_CASES)]


def _federate(
    sites: Mapping[str, Site],
    start: Bundle,
    plan: FederatedPlan,
    output: Path,
    name: str,
    version: str,
    progress: Progress,
) -> None:
    first = rounds_in(output / TABLE)
    if first >= plan.rounds:
        write_model(output, model_values(name, version, start), plan)
        return
    weights = read_weights(output / RESULT) if first else None
    settings = {site: _plain(value) for site, value in sites.items()}
    with TemporaryDirectory(prefix="skinseg-") as place:
        job = export_job(Path(place), name, version, start, plan, weights, first)
        run_job(job, settings, plan, output, progress)


def _plain(site: Site) -> dict[str, Any]:
    values: dict[str, Any] = {"device": site.device, "threads": site.threads}
    places = {"data": site.data, "heads": site.heads, "state": site.state}
    return values | {k: str(p.resolve()) for k, p in places.items() if p is not None}
