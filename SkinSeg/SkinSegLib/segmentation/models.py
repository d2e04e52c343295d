"""Which models there are: shipped ones and the user's own by name, any other as a folder."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..core import MissingPackageError, ModelError, OutputError, resource_path
from .bundle import FILES, METADATA, Bundle, load_bundle, require_file
from .options import LIVE_MODEL

PACKAGES = ("torch", "monai")
#: Names a folder's own models; see :func:`user_folder`.
FOLDER_VARIABLE = "SKINSEG_MODELS"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be chosen by name.

    ``shipped``: it came with SkinSeg and cannot be removed. ``version``: empty where ``problem``
    says why the model cannot be used.
    """

    name: str
    folder: Path
    shipped: bool
    version: str = ""
    problem: str = ""


def find_model(name: str) -> Bundle:
    """The model of a name (shipped, or the user's own) or in a folder; LIVE_MODEL: that in use.

    Raises ModelError if there is none or it is unusable.
    """
    if name == LIVE_MODEL:
        from .live import live_model

        name = live_model()
    folder = _folder_of(name)
    if folder is None:
        raise ModelError(
            f"There is no model {name}. Give the name of a model that is installed, or a model's "
            "folder."
        )
    return load_bundle(folder)


def list_models() -> tuple[ModelEntry, ...]:
    """Every model that has a name, shipped ones first; broken ones with what is wrong."""
    try:
        shipped = _entries(resource_path("Models"), shipped=True)
    except MissingPackageError:
        shipped = []
    names = {entry.name for entry in shipped}
    own = [entry for entry in _entries(user_folder(), shipped=False) if entry.name not in names]
    return (*shipped, *own)


def add_model(folder: Path, name: str | None = None) -> Bundle:
    """Copy a model, checked with its weights, to the user's own; ``name``: the folder's if None.

    Only the files of a model are copied. Raises ModelError if it is unusable, or the name is
    taken or no name; MissingPackageError without PyTorch; OutputError if it cannot be written.
    """
    require_packages()
    name = folder.resolve().name if name is None else name
    target = user_folder() / _checked_name(name)
    if _shipped_folder(name) is not None or target.exists():
        raise ModelError(f"There is a model {name} already. Remove it, or give another name.")
    load_bundle(folder)
    draft = target.with_name(f".{name}-{secrets.token_hex(4)}")
    try:
        for file in FILES:
            if (folder / file).exists():
                require_file(folder / file, folder)
                (draft / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / file, draft / file)
        # The copy is what was checked: the original may change meanwhile.
        load_bundle(draft).load_network()
        draft.rename(target)
    except OSError as error:
        raise OutputError(
            f"The model cannot be copied to {target.parent} ({error.strerror}). "
            f"Set {FOLDER_VARIABLE} to a folder that can be written to."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return load_bundle(target)


def remove_model(name: str) -> None:
    """Delete one of the user's own models.

    Raises ModelError for a shipped one and for one that is not there, OutputError if it cannot be
    deleted.
    """
    if _shipped_folder(name) is not None:
        raise ModelError(f"The model {name} came with SkinSeg and stays. Choose another one.")
    folder = user_folder() / _checked_name(name)
    if not (folder / METADATA).is_file():
        raise ModelError(f"There is no model {name} among your own. See which are installed.")
    from .live import forget

    forget(name)  # first: what is used must always be there
    gone = folder.with_name(f".{name}-{secrets.token_hex(4)}")
    try:
        # Under another name first: half a model must never be found.
        folder.rename(gone)
        if gone.is_symlink():
            gone.unlink()
        else:
            shutil.rmtree(gone)
    except OSError as error:
        raise OutputError(
            f"The model {name} cannot be deleted ({error.strerror}). "
            "Close other programs that use it, and check the permissions."
        ) from error


def user_folder() -> Path:
    """Where the user's own models are: $SKINSEG_MODELS, or where the system keeps such data."""
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
        return Path(base) / "SkinSeg" / "Models"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "SkinSeg" / "Models"
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "skinseg" / "models"


def made_user_folder() -> Path:
    """:func:`user_folder`, made if missing. Raises OutputError."""
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}). Set {FOLDER_VARIABLE} to a "
            "folder that can be written to."
        ) from error
    return folder


def network_is_there(name: str) -> bool:
    """Whether the packages and the model that the network needs are installed."""
    if any(find_spec(package) is None for package in PACKAGES):
        return False
    return name == LIVE_MODEL or _folder_of(name) is not None


def require_packages() -> None:
    """Raise MissingPackageError if the network's packages are not installed."""
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise MissingPackageError(
            f"The network needs {' and '.join(missing)}. Install them with "
            "pip install 'skinseg[network]', or use the engine threshold."
        )


def _folder_of(name: str) -> Path | None:
    """The folder of a shipped model, one of the user's own, or the folder ``name`` itself."""
    places = [Path(name)]
    if _NAME.fullmatch(name):
        shipped = _shipped_folder(name)
        places = [*([] if shipped is None else [shipped]), user_folder() / name, *places]
    return next((folder for folder in places if (folder / METADATA).is_file()), None)


def _shipped_folder(name: str) -> Path | None:
    try:
        folder = resource_path("Models", name)
    except MissingPackageError:
        return None
    return folder if (folder / METADATA).is_file() else None


def _entries(folder: Path, shipped: bool) -> list[ModelEntry]:
    """The models in a folder, by name; none where it is missing."""
    found: list[ModelEntry] = []
    if not folder.is_dir():
        return found
    for place in sorted(folder.iterdir()):
        if not _NAME.fullmatch(place.name) or not (place / METADATA).is_file():
            continue
        try:
            found.append(ModelEntry(place.name, place, shipped, load_bundle(place).version))
        except ModelError as error:
            found.append(ModelEntry(place.name, place, shipped, problem=str(error)))
    return found


def _checked_name(name: str) -> str:
    if not _NAME.fullmatch(name) or name == LIVE_MODEL:
        raise ModelError(
            f"{name!r} cannot be a model's name. Use up to 64 letters, digits, dots and hyphens."
        )
    return name
