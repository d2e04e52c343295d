"""Which models there are: shipped ones by name, any other as a folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from ..core import MissingPackageError, ModelError, resource_path
from .bundle import METADATA, Bundle, load_bundle

PACKAGES = ("torch", "monai")


def find_model(name: str) -> Bundle:
    """The model of a name (shipped) or in a folder.

    Raises ModelError if there is none or it is unusable.
    """
    if Path(name).name == name:
        try:
            return load_bundle(resource_path("Models", name))
        except MissingPackageError:
            pass  # no shipped model of that name: perhaps a folder beside us
    if not (Path(name) / METADATA).is_file():
        raise ModelError(
            f"There is no model {name}. Give the name of a shipped model, or a model's folder."
        )
    return load_bundle(Path(name))


def network_is_there(name: str) -> bool:
    """Whether the packages and the model that the network needs are installed."""
    if any(find_spec(package) is None for package in PACKAGES):
        return False
    try:
        resource_path("Models", name, *METADATA.split("/"))
    except MissingPackageError:
        return (Path(name) / METADATA).is_file()
    return True


def require_packages() -> None:
    """Raise MissingPackageError if the network's packages are not installed."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingPackageError(
            f"The network needs {' and '.join(missing)}. Install them with "
            "pip install 'skinseg[train]', or use the engine threshold."
        )
