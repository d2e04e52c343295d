"""A network that trains in a second, and heads that are balls, for tests of fine-tuning."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from model_makers import ARGUMENTS
from SkinSegLib.core import SkinSegError
from SkinSegLib.segmentation.models import find_model
from SkinSegLib.training import finetune, train
from SkinSegLib.training.dataset import CaseFolder
from SkinSegLib.training.designs import DESIGNS, Design
from SkinSegLib.training.finetune import FineTuned, FineTuneOptions, fine_tune
from SkinSegLib.training.scenes import HeadSource

TINY = Design("UNet", ARGUMENTS, 4.0, ((24, 24, 24),), 2)
WITH_TINY = {**DESIGNS, "tiny": TINY}


def ball_source(seed: int, size_mm: float) -> HeadSource:
    """A ball in place of a made head, larger by its seed."""
    axis = (np.arange(60) - 29.5) * size_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    radius = 35 + seed % 7
    filled = np.clip(0.5 - (np.sqrt(x**2 + y**2 + z**2) - radius) / size_mm, 0, 1)
    filled = filled.astype(np.float32)
    return HeadSource(f"phantom-{seed}", filled, filled, None, (size_mm,) * 3)


def make_it_tiny() -> None:
    """Have the tiny design, and balls to rehearse on, in this process."""
    finetune.DESIGNS = train.DESIGNS = WITH_TINY  # type: ignore[attr-defined]
    finetune.made_source = ball_source  # type: ignore[attr-defined]


def tune(folder: Path, cases: Path, model: Path, steps: int, resume: bool = False) -> FineTuned:
    """Fine-tune the tiny ``model`` on the data set ``cases``."""
    options = FineTuneOptions(folder, "mine", steps=steps, minutes=None, workers=0, resume=resume)
    return fine_tune(CaseFolder.open(cases), find_model(str(model)), options)


def _killed_again_and_again(output: Path, cases: Path, model: Path, steps: int, times: int) -> None:
    """Start a training ``times`` times and kill each at a random moment; the last one ends."""
    # Imported before the children are made, and nothing computed: a fork with threads would hang.
    import monai.losses
    import torch

    torch.set_num_threads(1)
    make_it_tiny()
    chance = random.Random(8)
    kills = 0
    while kills < times:
        child = os.fork()
        if not child:
            code = 1
            try:
                tune(output, cases, model, steps, resume=(output / "checkpoint.pt").is_file())
                code = 0
            except SkinSegError as error:
                print(error, flush=True)
            finally:
                os._exit(code)
        time.sleep(chance.uniform(0.05, 2.0))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        kills += 1
    print(f"killed {kills} times", monai.losses.__name__, flush=True)


if __name__ == "__main__":
    places = [Path(text) for text in sys.argv[1:4]]
    _killed_again_and_again(*places, int(sys.argv[4]), int(sys.argv[5]))
