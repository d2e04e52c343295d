"""What all sites agree on before they begin; it travels as plain numbers in the job."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from SkinSegLib.core import SkinSegError

from ..train import TrainOptions

#: Seeds of runs: with a million scenes each, those of validation begin at 2000.
_SEEDS = 1900


@dataclass(frozen=True)
class FederatedPlan:
    """``design``: a name in DESIGNS. ``rounds``: of ``local_steps`` steps at every site, at once.

    ``min_sites``: the training goes on while so many sites send a result. ``wait_minutes``: for
    the others, once these have; who has not sent a result then is left out of this round.
    ``share``: of the scenes, that show a site's own cases, 0..1. ``learning_rate``: of the first
    round; it falls by one cosine over all rounds. ``batch``: scenes a step, None for the design's.

    Raises SkinSegError for values that make no sense.
    """

    design: str
    rounds: int = 15
    local_steps: int = 20
    min_sites: int = 2
    wait_minutes: float = 60.0
    share: float = 0.6
    learning_rate: float = 1.5e-3
    seed: int = 0
    batch: int | None = 1

    def __post_init__(self) -> None:
        self.training(Path(), 0)
        whole = (self.rounds, self.local_steps, self.min_sites)
        if min(whole) < 1 or not (0 <= self.share <= 1 and 0 < self.wait_minutes < 1e5):
            raise SkinSegError(
                "Rounds, steps and sites must be at least 1, the share of own cases 0 to 1, and "
                "the time to wait positive."
            )

    @property
    def steps(self) -> int:
        """Steps of each site in all rounds together."""
        return self.rounds * self.local_steps

    def steps_of(self, number: int) -> range:
        """Those of a round, counted from 0. Raises SkinSegError for a round beyond the plan."""
        if not 0 <= number < self.rounds:
            raise SkinSegError(f"There is no round {number + 1} among {self.rounds}.")
        return range(number * self.local_steps, (number + 1) * self.local_steps)

    def training(
        self, folder: Path, seed: int, device: str = "cpu", workers: int = 0
    ) -> TrainOptions:
        """The options of the usual training. ``folder``: is not written to by rounds."""
        return TrainOptions(
            folder,
            self.design,
            self.steps,
            None,
            device,
            seed,
            workers,
            batch=self.batch,
            learning_rate=self.learning_rate,
        )

    def seed_of(self, site: str) -> int:
        """The seed of a site's scenes: other ones at every site, the same in every run."""
        return (zlib.crc32(site.encode()) + self.seed) % _SEEDS

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def plan_from(values: Mapping[str, Any]) -> FederatedPlan:
    """What :meth:`FederatedPlan.plain` gave. Raises SkinSegError if it is no such thing."""
    try:
        return FederatedPlan(**values)
    except TypeError as error:
        raise SkinSegError(
            "The job's plan is of another version of SkinSeg. Install the same one at every site."
        ) from error
