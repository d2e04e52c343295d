"""Which model is used where none is named: the shipped one, until another goes live."""

from __future__ import annotations

import json
from pathlib import Path

from ..core import ModelError, replacing
from .models import find_model, made_user_folder, require_packages, user_folder
from .options import LIVE_MODEL, SHIPPED_MODEL

_FILE = "live.json"
#: So many earlier ones are remembered.
_MOST = 50
#: Of the file, in bytes: 50 names of 64 letters have room many times.
_LARGEST = 1 << 20


def live_model() -> str:
    """The name of the model that is used where none is named.

    Raises ModelError where the note of it is damaged.
    """
    return (_history() or [SHIPPED_MODEL])[-1]


def models_before() -> list[str]:
    """Names of the models that were used before the present one, the latest last.

    Raises ModelError where the note of it is damaged.
    """
    return _history()[:-1]


def make_live(name: str) -> str:
    """Use a model from now on, after checking its weights; returns the one that was used before.

    Raises ModelError if it is unusable, MissingPackageError without PyTorch, OutputError.
    """
    require_packages()
    if name == LIVE_MODEL:
        raise ModelError(f"{LIVE_MODEL!r} stands for the model that is used. Give its own name.")
    find_model(name).load_network()
    history = _history() or [SHIPPED_MODEL]
    before = history[-1]
    if name != before:
        _write([*history, name][-_MOST:])
    return before


def roll_back() -> str:
    """Use the model again that was used before; returns its name.

    One that was removed meanwhile is passed over. Raises ModelError if there is none.
    """
    history = (_history() or [SHIPPED_MODEL])[:-1]
    while history:
        try:
            find_model(history[-1])
        except ModelError:
            history.pop()
            continue
        _write(history)
        return history[-1]
    raise ModelError("No other model was used before this one.")


def forget(name: str) -> None:
    """Have a model that is to be removed no more among the live ones; the one before takes over."""
    history = _history()
    kept = [other for other in history if other != name]
    if kept != history:
        _write(kept or [SHIPPED_MODEL])


def _history() -> list[str]:
    """Names of the models that were live, the present one last; empty if none ever was."""
    path = _path()
    try:
        if path.stat().st_size > _LARGEST or not path.is_file():
            raise _damaged(path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _damaged(path) from error
    try:
        names = json.loads(text)["models"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error
    if not (isinstance(names, list) and names and all(isinstance(name, str) for name in names)):
        raise _damaged(path)
    return list(names)


def _write(history: list[str]) -> None:
    path = made_user_folder() / _FILE
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"models": history}, indent=1) + "\n", encoding="utf-8")


def _path() -> Path:
    return user_folder() / _FILE


def _damaged(path: Path) -> ModelError:
    return ModelError(
        f"{path}, which says which model is used, is damaged. Delete it to use the shipped model."
    )
