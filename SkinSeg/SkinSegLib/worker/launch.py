"""How the child process is started, the same for every transport."""

from __future__ import annotations

import os
import sys
from pathlib import Path

#: One thread for NumPy's small matrices, as in cli.py.
_START = (
    "import os, sys; os.environ.setdefault('OPENBLAS_NUM_THREADS', '1'); "
    "sys.path.insert(0, sys.argv[1]); from SkinSegLib.worker.child import main; main()"
)


def command_line() -> list[str]:
    """Program and arguments: this Python (in Slicer: PythonSlicer), this library, this owner."""
    library = Path(__file__).resolve().parents[2]
    return [sys.executable, "-u", "-c", _START, str(library), str(os.getpid())]
