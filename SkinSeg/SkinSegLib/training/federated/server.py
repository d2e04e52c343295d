"""FLARE's components at the server: rounds, the check of what sites send, the model's file."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.abstract.model import ModelLearnable, make_model_learnable
from nvflare.app_common.abstract.model_persistor import ModelPersistor
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg

from SkinSegLib.core import ModelError

from .plan import plan_from
from .result import RESULT, START, TABLE, write_model
from .weights import Weights, checked, checked_cases, read_weights, write_weights


class WeightsFile(ModelPersistor):  # type: ignore[misc]
    """The weights that the job begins with, and those after each round, as .npz: never pickled."""

    def __init__(self) -> None:
        super().__init__()

    def load_model(self, fl_ctx: FLContext) -> ModelLearnable:
        """Called by FLARE. Raises ModelError for a file that holds no weights."""
        workspace = fl_ctx.get_engine().get_workspace()
        path = Path(workspace.get_app_config_dir(fl_ctx.get_job_id())) / START
        return make_model_learnable(read_weights(path), {})

    def save_model(self, model: ModelLearnable, fl_ctx: FLContext) -> None:
        """Called by FLARE after each round. Raises OutputError."""
        write_weights(model["weights"], result_folder(fl_ctx) / RESULT)


class Rounds(BaseFedAvg):  # type: ignore[misc]
    """Federated averaging over all sites that are there, each by the root of its number of cases.

    By the number itself the kinds of scan that a small site alone has are hardly learned.

    FLARE's own FedAvg waits for every site that it asked. Here a site that fails, is late, or
    sends what is not the job's weights is left out of that round, and asked again in the next.
    ``plan``: its plain values. ``model``: see :func:`.result.write_model`. ``first``: the round to
    begin with, for a job that goes on where another one ended.
    """

    def __init__(self, plan: dict[str, Any], model: dict[str, Any], first: int = 0) -> None:
        values = plan_from(plan)
        super().__init__(num_clients=values.min_sites, num_rounds=values.rounds)
        self.plan = plan
        self.model = model
        self.first = first

    def run(self) -> None:
        """All rounds, then the model as a bundle; called by FLARE."""
        plan = plan_from(self.plan)
        model = self.load_model()
        model.total_rounds = plan.rounds
        start: Weights = model.params
        folder = result_folder(self.fl_ctx)
        for number in range(self.first, plan.rounds):
            self.current_round = model.current_round = number
            results = self.broadcast_model(
                model,
                targets=self.sample_clients(),
                min_responses=plan.min_sites,
                wait_time_after_min_received=max(1, round(60 * plan.wait_minutes)),
            )
            if self.abort_signal.triggered:
                return
            good, lines = self._accepted(results or [], start)
            if len(good) < plan.min_sites:
                self.panic(
                    f"Only {len(good)} sites have sent usable weights, and {plan.min_sites} are "
                    "needed. See their logs, then start the job again."
                )
                return
            model = self.update_model(model, self.aggregate(good))
            checked(model.params, start)
            self.save_model(model)
            # Last: what the table tells of is in the weights.
            _tell(folder / TABLE, lines)
        write_model(folder, self.model, plan)

    def _accepted(
        self, results: Sequence[FLModel], start: Weights
    ) -> tuple[list[FLModel], list[list[Any]]]:
        """The results that can be averaged, and a line of the table for every result."""
        good, lines = [], []
        for result in results:
            site = result.meta.get("client_name", "")
            try:
                result.params = checked(result.params, start)
                cases = checked_cases(result.meta.get(FLMetaKey.NUM_STEPS_CURRENT_ROUND))
            except ModelError as error:
                self.warning(f"{site} is left out of this round. {error}")
                lines.append([self.current_round + 1, site, 0, str(error)])
                continue
            result.meta[FLMetaKey.NUM_STEPS_CURRENT_ROUND] = math.sqrt(cases)
            good.append(result)
            lines.append([self.current_round + 1, site, cases, ""])
        return good, lines


def _tell(table: Path, lines: list[list[Any]]) -> None:
    """Who has sent what in a round, as CSV."""
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["round", "site", "cases", "left out"])
        writer.writerows(lines)


def result_folder(fl_ctx: FLContext) -> Path:
    """Where a job leaves what its owner downloads."""
    workspace = fl_ctx.get_engine().get_workspace()
    return Path(workspace.get_result_root(fl_ctx.get_job_id()))
