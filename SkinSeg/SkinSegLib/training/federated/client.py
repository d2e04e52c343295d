"""FLARE's component at a site: weights in, trained weights and the number of cases out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLMetaKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from SkinSegLib.core import Cancelled, Progress, SkinSegError

from ..scenes import HeadSource
from .plan import plan_from
from .site import Site, case_count, find_site, site_heads, train_round


class SiteTrainer(Executor):  # type: ignore[misc]
    """Trains the rounds of a plan (its plain values) on the site's own data.

    What leaves the site: the weights, and how many cases they were trained on. What went wrong is
    said in the site's own log alone; the server only learns that this site has no result.
    """

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        self.plan = plan
        self._heads: list[HeadSource] = []
        self._site: Site | None = None

    def execute(
        self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal
    ) -> Shareable:
        """Train one round; called by FLARE."""
        if task_name != AppConstants.TASK_TRAIN:
            return make_reply(ReturnCode.TASK_UNKNOWN)
        progress = Progress(is_cancelled=lambda: bool(abort_signal.triggered))
        try:
            return self._round(shareable, fl_ctx, progress)
        except Cancelled:
            return make_reply(ReturnCode.TASK_ABORTED)
        except SkinSegError as error:
            # No event: those can be sent on to the server.
            self.log_error(fl_ctx, str(error), fire_event=False)
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)

    def _round(self, shareable: Shareable, fl_ctx: FLContext, progress: Progress) -> Shareable:
        plan = plan_from(self.plan)
        workspace = fl_ctx.get_engine().get_workspace()
        folder = Path(workspace.get_run_dir(fl_ctx.get_job_id()))
        if self._site is None:
            site = find_site(fl_ctx.get_identity_name(), Path(workspace.get_site_config_dir()))
            self._heads = site_heads(site, folder, progress=progress)
            self._site = site
        received = FLModelUtils.from_shareable(shareable)
        number = shareable.get_header(AppConstants.CURRENT_ROUND)
        if not isinstance(number, int):
            raise SkinSegError("The server has sent no number of the round. Check its version.")
        state = self._site.state or folder
        weights = train_round(
            plan, self._site, self._heads, received.params, number, state, progress
        )
        cases = case_count(self._heads)
        # FLARE's name for what a result counts for.
        sent = FLModel(params=weights, meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: cases})
        return FLModelUtils.to_shareable(sent)
