"""Where the real scans are. They are never committed; without them their tests are skipped."""

from __future__ import annotations

import os
from pathlib import Path

# As the command and the worker have it, before NumPy is imported: several processes test at once.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
CRANIUM = Path("/usr/share/doc/invesalius-examples/examples/Cranium.inv3")


@pytest.fixture(scope="session")
def skinseg_data() -> Path:
    """The folder of real scans: $SKINSEG_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("SKINSEG_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real scans: set SKINSEG_DATA ({folder} does not exist)")
    return folder


@pytest.fixture(scope="session")
def cranium_path() -> Path:
    """Debian's Cranium.inv3: $SKINSEG_CRANIUM, or where the package invesalius-examples puts it."""
    path = Path(os.environ.get("SKINSEG_CRANIUM") or CRANIUM)
    if not path.is_file():
        pytest.skip(
            f"no {path}: install the Debian package invesalius-examples or set SKINSEG_CRANIUM"
        )
    return path


@pytest.fixture
def empty_scene():
    """The scene of the headless host, empty before and after the test."""
    from SkinSegLib import mrml

    scene = mrml.ensure_host().mrmlScene
    scene.Clear()
    yield scene
    scene.Clear()
