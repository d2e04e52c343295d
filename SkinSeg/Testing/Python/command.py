"""Shared by the tests of the command: a small made scan, and calling ``skinseg``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
REPOSITORY = LIBRARY.parent

#: Code for a process that has imported all it needs: root, whom nothing stops, becomes nobody.
BECOME_NOBODY = """
import os
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
"""

#: Stages of a plain run to a surface, a labelmap of its layer and a preview, in order.
STAGES = (
    "Read",
    "Level",
    "Locate",
    "Openings",
    "Delineate",
    "Check",
    "Surface",
    "Layer",
    "Write",
    "Preview",
)


def write_scan(path: Path) -> Path:
    """A block of the size of a head in air, with a nose and one ear, at 3 mm; as NRRD."""
    import SimpleITK as sitk

    x, y, z = np.meshgrid(*[np.arange(-108.0, 109.0, 3.0)] * 3, indexing="ij")

    def ball(cx: float, cy: float, cz: float, *radii: float) -> np.ndarray:
        a, b, c = radii
        return ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 < 1

    inside = ball(0, 0, 0, 70, 85, 95) | ball(0, -84, -10, 14, 20, 18) | ball(-74, 5, 0, 10, 16, 26)
    noise = np.random.default_rng(0).normal(0, 10, inside.shape)
    voxels = (np.where(inside, 40, -1000) + noise).astype(np.int16).transpose(2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetSpacing((3.0, 3.0, 3.0))
    image.SetOrigin((-108.0, -108.0, -108.0))
    sitk.WriteImage(image, str(path))
    return path


def skinseg(
    *arguments: object, cwd: Path | None = None, code: str = "", timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; ``code`` is run before, in the same process."""
    start = "from SkinSegLib.cli import main; sys.exit(main())"
    script = f"import sys; sys.path.insert(0, {str(LIBRARY)!r})\n{code}\n{start}"
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


@contextmanager
def locked_folder() -> Iterator[Path]:
    """An empty folder that everyone may read and nobody but root may write to."""
    # Not pytest's: no other user may enter that.
    with tempfile.TemporaryDirectory() as outer:
        folder = Path(outer) / "locked"
        folder.mkdir()
        Path(outer).chmod(0o755)
        folder.chmod(0o555)
        try:
            yield folder
        finally:
            folder.chmod(0o755)


def names(folder: Path) -> list[str]:
    """What is in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
