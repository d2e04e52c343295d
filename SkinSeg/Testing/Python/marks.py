"""Parameters of which only one or two are tried by ``pytest -m "not slow"``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

__all__ = ["slow"]


def slow(values: Iterable[Any]) -> list[Any]:
    """The values as slow parameters; a tuple is the parameters of one test."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow)
        for value in values
    ]
