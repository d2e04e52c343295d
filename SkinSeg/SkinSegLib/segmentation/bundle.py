"""Models as data: a folder in MONAI Bundle layout, read by us and never evaluated.

``configs/metadata.json`` says in its section "skinseg" which network on the list it is, how coarse
its cells are and what its weights' SHA-256 is; ``configs/inference.json`` is for MONAI's own
tools; ``models/model.pt`` holds numbers only.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core import ModelError, OutputError
from .architectures import build, check_arguments, multiple_of
from .level import AIR_HU, TISSUE_HU
from .network_grid import GREY_RANGE
from .plain_weights import load_plain

if TYPE_CHECKING:
    import torch

METADATA, INFERENCE, WEIGHTS = "configs/metadata.json", "configs/inference.json", "models/model.pt"
#: The largest files that are read: a shipped model has 20 MB at most, a user's own some more.
_MOST_TEXT, _MOST_WEIGHTS = 1_000_000, 200_000_000
LICENCE, CARD = "LICENSE", "docs/README.md"
#: Every file of a model.
FILES = (METADATA, INFERENCE, WEIGHTS, LICENCE, CARD)
_CELL_MM = (0.5, 10.0)
#: Of name and version, which are shown on screens and written into reports.
_LONGEST = 100


@dataclass(frozen=True)
class Bundle:
    """A model whose description was checked; its weights are read by :meth:`load_network`.

    ``network``, ``arguments``: see :mod:`.architectures`. ``cell_mm``: size of the cells that it
    was trained on. ``threshold``: probability from which a cell is patient. ``sha256``: of the
    weights' file.
    """

    folder: Path
    name: str
    version: str
    network: str
    arguments: Mapping[str, Any] = field(hash=False)
    cell_mm: float
    threshold: float
    sha256: str

    @property
    def identity(self) -> dict[str, str]:
        """Name, version and sha256: which model it is, beyond doubt."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}

    def load_network(self, device: str = "cpu") -> torch.nn.Module:
        """The network with its weights, ready to compute on ``device``.

        Raises ModelError if the weights are missing, altered, no plain numbers, or of
        another network; MissingPackageError where PyTorch is too old to read a stranger's safely.
        """
        import pickle

        import torch

        path = self.folder / WEIGHTS
        require_file(path, self.folder)
        if _sha256(path) != self.sha256:
            raise ModelError(
                f"The weights of the model {self.name} are not those that it was made with. "
                "Install the model again."
            )
        network = build(self.network, self.arguments)
        try:
            weights = load_plain(path)
            network.load_state_dict(weights)
        except (pickle.UnpicklingError, EOFError) as error:
            raise ModelError(
                f"The weights of the model {self.name} are no plain numbers and were not read. "
                "Choose another model."
            ) from error
        except (RuntimeError, TypeError, KeyError, AttributeError, ValueError) as error:
            raise ModelError(
                f"The weights of the model {self.name} do not fit its network. "
                "Install the model again."
            ) from error
        if not all(bool(torch.isfinite(value).all()) for value in network.state_dict().values()):
            raise ModelError(
                f"The weights of the model {self.name} are not finite numbers. "
                "Install the model again."
            )
        return network.eval().to(device)


def load_bundle(folder: Path) -> Bundle:
    """Read and check a model's description; its weights are not touched yet.

    Raises ModelError if it is missing, damaged, holds expressions, or is not for SkinSeg.
    """
    metadata = _read_json(folder / METADATA, folder)
    if (folder / INFERENCE).exists():
        _read_json(folder / INFERENCE, folder)
    ours = metadata.get("skinseg")
    if not isinstance(ours, dict):
        raise ModelError(f"The model in {folder} was not made for SkinSeg. Choose one that was.")
    try:
        bundle = Bundle(
            folder,
            str(metadata["name"]),
            str(metadata["version"]),
            str(ours["network"]),
            check_arguments(str(ours["network"]), dict(ours["arguments"])),
            float(ours["cell_mm"]),
            float(ours["threshold"]),
            str(ours["weights_sha256"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The description of the model in {folder} is incomplete. Install the model again."
        ) from error
    low, high = _CELL_MM
    if not all(text.isprintable() and len(text) <= _LONGEST for text in bundle.identity.values()):
        raise ModelError(
            f"The description of the model in {folder} has an unusable name or version. "
            "Choose another model."
        )
    if not (low <= bundle.cell_mm <= high and 0 < bundle.threshold < 1):
        raise ModelError(
            f"The description of the model {bundle.name} has values out of range. "
            "Install the model again."
        )
    return bundle


def write_bundle(
    folder: Path,
    weights: Path,
    *,
    name: str,
    version: str,
    network: str,
    arguments: Mapping[str, Any],
    cell_mm: float,
    card: str,
    licence: str,
    threshold: float = 0.5,
    authors: str = "The SkinSeg contributors",
) -> Bundle:
    """Write a model; all of it or nothing. ``weights``: a file with a state dict.

    ``card``: the model card, Markdown; ``licence``: the text of its licence, whose first line is
    also the copyright note. Raises OutputError
    if ``folder`` exists already or cannot be written, ModelError if the model is unusable.
    """
    if folder.exists():
        raise OutputError(f"{folder} exists already. Choose another name for the model.")
    arguments = check_arguments(network, arguments)
    draft = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        for part in ("configs", "models", "docs"):
            (draft / part).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, draft / WEIGHTS)
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in arguments.items()}
        ours = {
            "network": network,
            "arguments": plain,
            "cell_mm": cell_mm,
            "threshold": threshold,
            "weights_sha256": _sha256(draft / WEIGHTS),
        }
        _write_json(draft / METADATA, _metadata(name, version, ours, authors, licence))
        _write_json(draft / INFERENCE, _inference(network, plain, cell_mm))
        (draft / LICENCE).write_text(licence, encoding="utf-8")
        (draft / CARD).write_text(card, encoding="utf-8")
        load_bundle(draft).load_network()
        draft.rename(folder)
    except OSError as error:
        raise OutputError(
            f"The model cannot be written to {folder} ({error.strerror}). Choose another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return load_bundle(folder)


def _metadata(
    name: str, version: str, ours: Mapping[str, Any], authors: str, licence: str
) -> dict[str, Any]:
    """What MONAI's bundle specification asks for, and our own section."""
    import monai
    import numpy
    import torch

    def grey(kind: str, values: list[float], channel: str) -> dict[str, Any]:
        return {
            "type": "image",
            "format": kind,
            "num_channels": 1,
            "spatial_shape": ["*", "*", "*"],
            "dtype": "float32",
            "value_range": values,
            "is_patch_data": False,
            "channel_def": {"0": channel},
        }

    return {
        "name": name,
        "version": version,
        "changelog": {version: "See docs/README.md."},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": numpy.__version__,
        "task": "Localisation of the patient in head CT and CBCT",
        "description": "Tells the patient from table, head holder, cushions, masks and tubes.",
        "authors": authors,
        "copyright": licence.strip().partition("\n")[0],
        "intended_use": "Research only. Not a medical device.",
        "network_data_format": {
            "inputs": {"image": grey("hounsfield", [0, 2], "grey: 0 air, 1 soft tissue")},
            "outputs": {"pred": grey("logits", [], "logit of patient")},
        },
        "skinseg": dict(ours),
    }


def _inference(network: str, arguments: Mapping[str, Any], cell_mm: float) -> dict[str, Any]:
    """Network, preparation and inferer for MONAI's own tools, without a single expression.

    For calibrated scans: only ours finds the levels of others. MONAI's linear interpolation is
    not our average over each cell, so the last digits differ.
    """
    size: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 1}
    low, high = GREY_RANGE
    contrast = TISSUE_HU - AIR_HU
    keys = {"keys": ["image"]}
    scale = {
        "a_min": AIR_HU + low * contrast,
        "a_max": AIR_HU + high * contrast,
        "b_min": low,
        "b_max": high,
        "clip": True,
    }
    steps = [
        {"_target_": "LoadImaged", **keys},
        {"_target_": "EnsureChannelFirstd", **keys},
        {"_target_": "ScaleIntensityRanged", **keys, **scale},
        {"_target_": "Orientationd", **keys, "axcodes": "SAR"},
        {"_target_": "Spacingd", **keys, "pixdim": [cell_mm] * 3, "mode": "bilinear"},
        {
            "_target_": "DivisiblePadd",
            **keys,
            "k": multiple_of(network, arguments),
            "mode": "edge",
            "method": "end",
        },
    ]
    return {
        "network_def": {"_target_": network, **size, **arguments},
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [{"_target_": "Activationsd", "keys": ["pred"], "sigmoid": True}],
        },
    }


def _read_json(path: Path, folder: Path) -> dict[str, Any]:
    require_file(path, folder)
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"The file {path.name} of the model in {folder} is damaged. Install the model again."
        ) from error
    if not isinstance(read, dict):
        raise ModelError(
            f"The file {path.name} of the model in {folder} is damaged. Install the model again."
        )
    if _has_expression(read):
        raise ModelError(
            f"The file {path.name} of the model in {folder} holds expressions, which are programs. "
            "SkinSeg runs no programs from models. Choose another model."
        )
    return read


def _has_expression(value: Any) -> bool:
    """Whether any text in it is one that MONAI's parser would evaluate, or a number is none."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend([*part.keys(), *part.values()])
        elif isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, str):
            if part.lstrip().startswith("$"):
                return True
        elif isinstance(part, float) and not math.isfinite(part):
            return True
    return False


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def require_file(path: Path, folder: Path) -> None:
    """Raise ModelError unless it is a plain file within the model's folder and of a sane size."""
    if not path.is_file():
        raise ModelError(
            f"The model in {folder} lacks its file {path.name}. Install the model again."
        )
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(
            f"The file {path.name} of the model in {folder} leads out of its folder. "
            "Choose another model."
        )
    if path.stat().st_size > (_MOST_WEIGHTS if path.suffix == ".pt" else _MOST_TEXT):
        raise ModelError(
            f"The file {path.name} of the model in {folder} is too large. Choose another model."
        )
    try:
        path.open("rb").close()
    except OSError as error:
        raise ModelError(
            f"The file {path.name} of the model in {folder} cannot be read ({error.strerror}). "
            "Check its permissions, or choose another model."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
