"""The job that FLARE runs: three small JSON files and the weights to begin with. No code, no data.

FLARE takes the components from the SkinSeg that is installed at each site.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SkinSegLib.core import MissingPackageError, OutputError, SkinSegError
from SkinSegLib.segmentation.bundle import Bundle

from .plan import FederatedPlan
from .result import START, model_values
from .weights import Weights, weights_of, write_weights

#: What a site's administrator allows, see Docs/federated.md.
PACKAGE = "SkinSegLib.training.federated."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def require_flare() -> None:
    """Raise MissingPackageError if NVIDIA FLARE is not installed."""
    if find_spec("nvflare") is None:
        raise MissingPackageError(
            "Training with other sites needs NVIDIA FLARE. Install it with "
            "pip install 'skinseg[federated]'."
        )


def export_job(
    folder: Path,
    name: str,
    version: str,
    start: Bundle,
    plan: FederatedPlan,
    weights: Weights | None = None,
    first: int = 0,
) -> Path:
    """Write the job ``folder``/``name``, and return that folder.

    ``name``, ``version``: of the model that comes out. ``start``: the model that it begins with, of
    the plan's design. ``weights``, ``first``: those after another job's last round, and how many
    rounds it had. Raises OutputError where there is something already, SkinSegError for a name
    that cannot be one, MissingPackageError.
    """
    require_flare()
    if not _NAME.fullmatch(name):
        raise SkinSegError(f"{name!r} is no name for a job. Use letters, digits, _ and -.")
    if (folder / name).exists():
        raise OutputError(f"There is a {name} in {folder} already. Choose another name.")
    with TemporaryDirectory() as place:
        file = Path(place) / START
        write_weights(weights or weights_of(start.load_network()), file)
        try:
            _job(name, version, start, plan, file, first).export_job(str(folder))
        except OSError as error:
            raise OutputError(
                f"The job cannot be written to {folder} ({error.strerror}). Choose another folder."
            ) from error
    return folder / name


def _job(
    name: str, version: str, start: Bundle, plan: FederatedPlan, file: Path, first: int
) -> Any:
    from nvflare.job_config.api import FedJob

    from .client import SiteTrainer
    from .server import Rounds, WeightsFile

    job = FedJob(name=name, min_clients=plan.min_sites)
    # The components are those of the installed SkinSeg: code never travels.
    job.set_app_packages(["SkinSegLib"])
    job.to_server(Rounds(plan.plain(), model_values(name, version, start), first))
    job.to_server(WeightsFile(), id="persistor")
    job.to_clients(SiteTrainer(plan.plain()), tasks=["train"])
    job.add_file_to_server(str(file), app_folder_type="config")
    return job
