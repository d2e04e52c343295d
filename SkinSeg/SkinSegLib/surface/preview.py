"""A picture of a mesh from four sides, made without a screen and without risking the job.

VTK does not raise when the machine lacks a graphics library: it ends the whole process by a
segmentation fault (seen with the vtk 9.6 wheel). So the picture is rendered in a child process,
and a crash of the child becomes a message that says what to install.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, OutputError, Progress, SkinMesh, replacing

#: VTK's off-screen windows on Linux, tried in this order. Named outright, neither needs X11;
#: left to choose for itself, VTK tries X11 first and crashes where libX11 is missing.
_LINUX_WINDOWS = ("vtkEGLRenderWindow", "vtkOSOpenGLRenderWindow")

_HELP = (
    "The preview picture needs a graphics library that this machine lacks; nothing else does. "
    "Install one (Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri) and run again, "
    "or leave the preview out."
)

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class VertexColors:
    """Colours for a mesh's vertices and what they mean.

    ``rgb``: (n, 3) uint8. ``table``: (256, 3) uint8, the colours from ``low`` to ``high``.
    ``title``, ``note``: above and below the scale, lines of a few words.
    """

    rgb: NDArray[np.uint8]
    table: NDArray[np.uint8]
    low: float
    high: float
    title: str
    note: str = ""


def render_views(
    mesh: SkinMesh,
    path: Path | str,
    *,
    height: int = 560,
    progress: Progress | None = None,
    colors: VertexColors | None = None,
    label: str = "",
) -> Path:
    """Write one PNG with the mesh seen from the front, the left, the back and below.

    All four are parallel projections at the same scale, seen from there: in the front view the
    patient's right is on the image's left. R and L (A and P in the left view) are drawn in.
    Triangles with ``is_cut`` get a colour of their own.

    ``mesh``: RAS mm. ``height``: of the picture, in pixels; it is about 3.6 times as wide.
    ``progress``: only asked whether to cancel. ``colors``: of the skin, in place of its own, with
    their scale on the right. ``label``: added to the title of each view, such as "mirrored".
    Returns ``path``.

    Raises OutputError if the picture cannot be written, MissingPackageError if the machine lacks
    the graphics library (the message says what to install), Cancelled if the user cancelled.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise OutputError(f"The preview is a PNG picture. Let the name end in .png: {target}.")
    if not len(mesh.triangles):
        raise OutputError("There is nothing to draw: the surface has no triangles.")
    picture = None
    # The file has no name where the system allows that: a face is for nobody else to read.
    with tempfile.TemporaryFile() as packed:
        arrays: dict[str, Any] = {
            "points": mesh.points,
            "triangles": mesh.triangles,
            "is_cut": mesh.is_cut,
            "label": np.array(label),
        }
        np.savez(packed, **arrays, **_scale(colors))
        for window in _windows():
            packed.seek(0)
            picture = _render(window, height, packed, progress)
            if picture is not None:
                break
    if picture is None:
        raise MissingPackageError(_HELP)
    with replacing(target) as temporary:
        temporary.write_bytes(picture)
    return target


def _scale(colors: VertexColors | None) -> dict[str, Any]:
    """What the child needs of the colours."""
    if colors is None:
        return {}
    return {
        "rgb": colors.rgb,
        "table": colors.table,
        "range": np.array([colors.low, colors.high]),
        "words": np.array([colors.title, colors.note]),
    }


def _windows() -> tuple[str | None, ...]:
    """The kinds of window to try; None leaves the choice to VTK."""
    if os.environ.get("VTK_DEFAULT_OPENGL_WINDOW") or not sys.platform.startswith("linux"):
        return (None,)
    return _LINUX_WINDOWS


def _render(
    window: str | None, height: int, packed: IO[bytes], progress: Progress | None
) -> bytes | None:
    """The picture as the bytes of a PNG, or None if this kind of window crashed the child.

    Raises OutputError if the child failed in an orderly way: another window would not help.
    """
    library = str(Path(__file__).resolve().parents[2])
    environment = dict(os.environ)
    inherited = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([library, inherited] if inherited else [library])
    if window is not None:
        environment["VTK_DEFAULT_OPENGL_WINDOW"] = window
    with subprocess.Popen(
        [sys.executable, "-m", "SkinSegLib.surface.preview_child", str(height)],
        stdin=packed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as child:
        try:
            picture, complaints = _output_of(child, progress)
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0 and picture:
        return picture
    last = "".join(complaints.decode(errors="replace").strip().splitlines()[-1:])
    # A Python exception; a crash has another status. VTK before 9.5 needs libX11 to be imported.
    if child.returncode == 1 and not last.startswith("ImportError"):
        raise OutputError(
            f"The preview picture could not be rendered ({last or 'no reason given'}). "
            "Leave the preview out, or report this."
        )
    return None


def _output_of(child: subprocess.Popen[bytes], progress: Progress | None) -> tuple[bytes, bytes]:
    """Standard output and error of the child, which is waited for."""
    end = time.monotonic() + _TIMEOUT_S
    while True:
        try:
            return child.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            if progress is not None:
                progress.check()
            if time.monotonic() > end:
                raise OutputError(
                    f"Rendering the preview took more than {_TIMEOUT_S:.0f} seconds. "
                    "Leave the preview out, or try on a faster computer."
                ) from None
