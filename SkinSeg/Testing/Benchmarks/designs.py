"""Which network to train: the designs side by side, each trained for the same CPU time.

    python SkinSeg/Testing/Benchmarks/designs.py --output FOLDER --minutes 12

Every design is trained from scratch on the same heads and seeds, on one thread, until it has used
so much CPU time (making the scenes, which takes other processes, does not count). The learning
rate follows one cosine over the steps that fit, which a few steps tell beforehand. Then each is
the model of the whole engine on the validation scan and on made scenes of held-out heads; the
table has what that gives beside the CPU time of the network's pass. None of the scans and scenes
is a test one. A second start with the same folder goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from SkinSegLib.core import SkinSegError  # noqa: E402
from SkinSegLib.segmentation.architectures import build  # noqa: E402
from SkinSegLib.segmentation.bundle import write_bundle  # noqa: E402
from SkinSegLib.segmentation.models import find_model  # noqa: E402
from SkinSegLib.segmentation.options import SHIPPED_MODEL  # noqa: E402
from SkinSegLib.training.card import LICENCE  # noqa: E402
from SkinSegLib.training.designs import DESIGNS  # noqa: E402
from SkinSegLib.training.evaluation import (  # noqa: E402
    Engine,
    Row,
    evaluate,
    network_engine,
    single_scans,
)
from SkinSegLib.training.evaluation.cases import scenes  # noqa: E402
from SkinSegLib.training.labels import label_of  # noqa: E402
from SkinSegLib.training.labels.scans import data_folder  # noqa: E402
from SkinSegLib.training.scenes import gather_sources, load_sources, save_sources  # noqa: E402
from SkinSegLib.training.session import HEAD_MM  # noqa: E402
from SkinSegLib.training.train import TrainOptions, make_optimiser, run_steps  # noqa: E402

#: Made heads that are trained on: as many as the shipped model had.
MADE_HEADS = 12
#: Made heads of the scenes to choose by: those that training validates on.
FIRST_HELD_OUT, HELD_OUT = 1000, 6
#: Steps from one state on the disk to the next, and those that tell how long a step takes.
CHUNK, TRIAL = 60, 12
#: Shape of a head and shoulders at 1 mm, whose pass is timed; how often.
PASS_MM, PASSES = (256, 256, 250), 5


def heads(folder: Path) -> list[Any]:
    """What all designs are trained on, gathered once."""
    path = folder / "heads.npz"
    if not path.is_file():
        save_sources(gather_sources(data_folder(), label_of, HEAD_MM, MADE_HEADS, False), path)
    return load_sources(path)


def trained(name: str, folder: Path, minutes: float) -> dict[str, Any]:
    """Train a design for so many minutes of CPU; its model lies in folder/name/model."""
    import torch

    place = folder / name
    figures = place / "figures.json"
    if figures.is_file():
        return json.loads(figures.read_text(encoding="utf-8"))
    place.mkdir(parents=True, exist_ok=True)
    sources, design = heads(folder), DESIGNS[name]
    kept = place / "state.pt"
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
    else:
        trial = TrainOptions(place, name, steps=2 * TRIAL)
        torch.manual_seed(0)
        network = build(design.network, dict(design.arguments))
        optimiser = make_optimiser(network, trial)
        run_steps(network, optimiser, sources, trial, range(TRIAL))  # imports, first kernels
        started = time.process_time()
        run_steps(network, optimiser, sources, trial, range(TRIAL, 2 * TRIAL))
        cost = (time.process_time() - started) / TRIAL
        state = {"steps": round(60 * minutes / cost), "step": 0, "seconds": 0.0, "loss": []}
    options = TrainOptions(place, name, steps=state["steps"])
    torch.manual_seed(0)
    network = build(design.network, dict(design.arguments))
    optimiser = make_optimiser(network, options)
    if "network" in state:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
    while state["step"] < options.steps:
        steps = range(state["step"], min(state["step"] + CHUNK, options.steps))
        started = time.process_time()
        losses = run_steps(network, optimiser, sources, options, steps)
        state["seconds"] += time.process_time() - started
        state["step"] = steps.stop
        state["loss"].append(sum(losses) / len(losses))
        state["network"], state["optimiser"] = network.state_dict(), optimiser.state_dict()
        torch.save(state, kept)
        print(f"{name} {steps.stop} of {options.steps}, {state['seconds']:.0f} s, "
              f"loss {state['loss'][-1]:.4f}", file=sys.stderr, flush=True)  # fmt: skip
    torch.save(network.state_dict(), place / "weights.pt")
    write_bundle(
        place / "model",
        place / "weights.pt",
        name=name,
        version="0",
        network=design.network,
        arguments=design.arguments,
        cell_mm=design.cell_mm,
        card=f"{name}, trained to compare designs.",
        licence=LICENCE,
    )
    found = {
        "steps": options.steps,
        "seconds": state["seconds"],
        "loss": state["loss"][-1],
        "parameters": sum(p.numel() for p in network.parameters()),
        "pass_s": pass_seconds(network, design.cell_mm),
    }
    figures.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def pass_seconds(network: Any, cell_mm: float) -> float:
    """CPU seconds of the network alone on a head and shoulders, one thread; median."""
    import torch

    cells = [16 * -(-round(size / cell_mm) // 16) for size in PASS_MM]
    grey = torch.zeros(1, 1, *cells)
    network.eval()
    taken = []
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(PASSES + 1):
            started = time.process_time()
            network(grey)
            taken.append(time.process_time() - started)
    torch.set_num_threads(before)
    return statistics.median(taken[1:])


def scored(folder: Path, names: list[str], count: int) -> list[dict[str, Any]]:
    """What the engine finds with each model, and with the shipped one, row by row."""
    path = folder / "rows.json"
    if not path.is_file():
        engines: list[Engine] = [
            network_engine(name, str(folder / name / "model"), "cpu") for name in names
        ]
        engines.append(network_engine("shipped", SHIPPED_MODEL, "cpu"))
        sets = [single_scans("validation"), scenes(count, FIRST_HELD_OUT, HELD_OUT)]
        rows = [_figures(row) for row in evaluate(sets, engines, done=_say).rows]
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _figures(row: Row) -> dict[str, Any]:
    found = row.figures
    return {
        "set": row.data_set,
        "case": row.case,
        "engine": row.engine,
        "mean_mm": found.skin.mean,
        "within": found.surface_dice_1mm,
        "taken_ml": found.taken_ml,
        "lost_ml": found.lost_ml,
    }


def _say(row: Row) -> None:
    print(f"{row.case} {row.engine} {row.figures.skin.mean:.3f} mm, "
          f"{row.figures.taken_ml:.1f} taken, {row.figures.lost_ml:.1f} lost {row.problem}",
          file=sys.stderr, flush=True)  # fmt: skip


def table(found: dict[str, dict[str, Any]], rows: list[dict[str, Any]]) -> str:
    """Markdown: a row for each design, and the shipped model beside them."""
    lines = [
        "| design | steps | parameters, M | pass, CPU s | mean, mm | taken, mL | worst taken | "
        "lost, mL | all taken | all lost | within 0.3 mm | validation scan: taken / lost, mL |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in found:
        own = [r for r in rows if r["engine"] == name and r["set"] == "scenes"]
        scan = next(r for r in rows if r["engine"] == name and r["set"] == "validation")
        taken = [r["taken_ml"] for r in own]
        lost = [r["lost_ml"] for r in own]
        near = sum(r["mean_mm"] <= 0.3 for r in own)
        given = found[name]
        first = f"{given['steps']} | {given['parameters'] / 1e6:.2f} | {given['pass_s']:.2f}"
        lines.append(
            f"| {name} | {first} | {statistics.median(r['mean_mm'] for r in own):.2f} | "
            f"{statistics.median(taken):.1f} | {max(taken):.0f} | "
            f"{statistics.median(lost):.1f} | "
            f"{sum(taken):.0f} | {sum(lost):.1f} | {near} of {len(own)} | "
            f"{scan['taken_ml']:.1f} / {scan['lost_ml']:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of models and figures")
    parser.add_argument("--minutes", type=float, default=12.0, help="CPU time for each design")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--design", action="append", choices=sorted(DESIGNS), help="all of them")
    chosen = parser.parse_args()
    names = chosen.design or list(DESIGNS)
    found = {name: trained(name, chosen.output, chosen.minutes) for name in names}
    network = find_model(SHIPPED_MODEL).load_network()
    found["shipped"] = {
        "steps": "-",
        "parameters": sum(p.numel() for p in network.parameters()),
        "pass_s": pass_seconds(network, find_model(SHIPPED_MODEL).cell_mm),
    }
    text = table(found, scored(chosen.output, names, chosen.scenes))
    (chosen.output / "designs.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    try:
        main()
    except SkinSegError as error:
        sys.exit(str(error))
