"""What a worker of our own loads as it starts (Dask's "preload")."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ctrl-C in a terminal goes to every process; only the one that the user sees acts on it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
