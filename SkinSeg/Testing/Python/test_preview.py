"""The picture of the four sides: left is left, cuts have their colour, no library no crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from SkinSegLib.core import Cancelled, MissingPackageError, OutputError, Progress, SkinMesh
from SkinSegLib.surface import preview, render_views

HEIGHT = 300
FRONT, LEFT, BACK, BELOW = range(4)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> SkinMesh:
    """An axis-aligned box in RAS mm, its lower face marked as cut."""
    corners = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
    points = np.float32(low) + corners * (np.float32(high) - np.float32(low))
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = [t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))]
    is_cut = np.repeat([False, False, False, False, True, False], 2)
    return SkinMesh(points, np.array(triangles, np.int32), is_cut, closed=True)


def joined(*meshes: SkinMesh) -> SkinMesh:
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes)])
    return SkinMesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate([mesh.triangles + s for mesh, s in zip(meshes, starts, strict=False)]),
        np.concatenate([mesh.is_cut for mesh in meshes]),
        closed=True,
    )


#: A block with one ear, on the patient's right, and a nose in front.
HEAD = joined(
    box((-50, -60, -70), (50, 60, 70)),
    box((50, -10, -10), (80, 10, 30)),
    box((-8, 60, -9), (8, 90, 9)),
)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    path = tmp_path_factory.mktemp("preview") / "skin.png"
    try:
        assert render_views(HEAD, path, height=HEIGHT) == path
    except MissingPackageError as error:
        pytest.skip(str(error))
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def views(picture: np.ndarray) -> list[np.ndarray]:
    return np.split(picture, 4, axis=1)


def skin(view: np.ndarray) -> np.ndarray:
    """Where a view shows skin or cut, not text (grey) or background."""
    return np.ptp(view, axis=2) > 15


def reach(view: np.ndarray) -> tuple[int, int]:
    """How far the head reaches to the left and right of the main block's middle, in pixels."""
    columns = np.flatnonzero(skin(view).any(axis=0))
    return columns[0], columns[-1]


def edges_of_rows(view: np.ndarray, rows: slice) -> tuple[int, int]:
    columns = np.flatnonzero(skin(view)[rows].any(axis=0))
    return columns[0], columns[-1]


def ear_side(view: np.ndarray) -> str:
    """The side of the picture on which the outline is wider than in its top rows."""
    rows = np.flatnonzero(skin(view).any(axis=1))
    top = edges_of_rows(view, slice(rows[0] + 2, rows[0] + 6))
    whole = reach(view)
    wider_left, wider_right = top[0] - whole[0], whole[1] - top[1]
    assert abs(wider_left - wider_right) > 10
    return "left" if wider_left > wider_right else "right"


def test_four_views_of_equal_size(picture: np.ndarray) -> None:
    assert picture.shape[0] == HEIGHT
    assert picture.shape[1] % 4 == 0
    assert all(skin(view).sum() > 1000 for view in views(picture))


def test_right_ear_is_on_the_right_side(picture: np.ndarray) -> None:
    seen = views(picture)
    assert ear_side(seen[FRONT]) == "left"
    assert ear_side(seen[BACK]) == "right"
    # Seen from the left the ear is hidden, and the nose points to the left.
    assert ear_side(seen[LEFT]) == "left"


def test_below_the_nose_is_up_and_the_ear_left(picture: np.ndarray) -> None:
    below = views(picture)[BELOW]
    rows = np.flatnonzero(skin(below).any(axis=1))
    nose = edges_of_rows(below, slice(rows[0], rows[0] + 3))
    left, right = reach(below)
    chin = edges_of_rows(below, slice(rows[-1] - 3, rows[-1]))
    assert nose[1] - nose[0] < 0.3 * (right - left)
    assert chin[0] - left > 10  # the ear
    assert abs(right - chin[1]) <= 2


def test_cut_has_its_own_colour_and_shows_only_from_below(picture: np.ndarray) -> None:
    blue = [(view[..., 2] > view[..., 0] + 15).sum() for view in views(picture)]
    assert blue[BELOW] > 1000
    assert blue[FRONT] == blue[LEFT] == blue[BACK] == 0
    front = views(picture)[FRONT]
    red = front[skin(front)]
    assert (red[:, 0] > red[:, 2]).all()


def test_same_scale_everywhere(picture: np.ndarray) -> None:
    seen = views(picture)
    heights = [np.ptp(np.flatnonzero(skin(view).any(axis=1))) for view in seen]
    assert abs(heights[FRONT] - heights[BACK]) <= 1
    assert abs(heights[FRONT] - heights[LEFT]) <= 1
    widths = [np.ptp(reach(view)) for view in seen]
    assert abs(widths[FRONT] - widths[BACK]) <= 1
    assert widths[FRONT] / heights[FRONT] == pytest.approx(130 / 140, rel=0.03)
    assert widths[LEFT] / heights[LEFT] == pytest.approx(150 / 140, rel=0.03)


def test_letters_are_drawn_at_both_sides(picture: np.ndarray) -> None:
    for view in views(picture):
        dark = (view.max(axis=2) < 100) & ~skin(view)
        columns = np.flatnonzero(dark[: int(0.85 * HEIGHT)].any(axis=0))
        assert columns.min() < 0.1 * view.shape[1]
        assert columns.max() > 0.9 * view.shape[1]
        assert dark[int(0.9 * HEIGHT) :].any()  # the title


def test_wrong_ending_and_empty_mesh(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"\.png"):
        render_views(HEAD, tmp_path / "skin.jpg")
    empty = SkinMesh(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, bool), True
    )
    with pytest.raises(OutputError, match="no triangles"):
        render_views(empty, tmp_path / "skin.png")


@pytest.mark.skipif(os.name == "nt", reason="crashes are signals here")
def test_crash_of_the_renderer_becomes_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where graphics libraries are missing VTK ends its process by a segmentation fault."""
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(preview.sys, "executable", str(crashing))
    old = tmp_path / "skin.png"
    old.write_text("old")
    with pytest.raises(MissingPackageError, match="libegl1"):
        render_views(HEAD, old)
    assert old.read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["python", "skin.png"]


def test_orderly_failure_of_the_renderer_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho 'ValueError: odd mesh' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(preview.sys, "executable", str(failing))
    with pytest.raises(OutputError, match=r"could not be rendered \(ValueError: odd mesh\)"):
        render_views(HEAD, tmp_path / "skin.png")


def test_cancelling_ends_the_renderer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeping = tmp_path / "python"
    sleeping.write_text("#!/bin/sh\nexec sleep 60\n")
    sleeping.chmod(0o755)
    monkeypatch.setattr(preview.sys, "executable", str(sleeping))
    with pytest.raises(Cancelled):
        render_views(HEAD, tmp_path / "skin.png", progress=Progress(is_cancelled=lambda: True))
    assert [p.name for p in tmp_path.iterdir()] == ["python"]


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="needs to hide libraries"
)
def test_machine_without_graphics_libraries(tmp_path: Path) -> None:
    """The real thing: EGL, GL and X11 hidden in a mount namespace of the child's own."""
    code = """
import sys
sys.path[:0] = sys.argv[2:]
from SkinSegLib.core import MissingPackageError
from SkinSegLib.surface import render_views
from test_preview import HEAD
try:
    render_views(HEAD, sys.argv[1])
except MissingPackageError as error:
    print(error)
    sys.exit(7)
"""
    folder = Path(__file__).resolve().parent
    hide = (
        "for f in $(ldconfig -p | sed -n 's/.*=> //p' |"
        " grep -E '/lib(EGL|GL|X11|OSMesa)\\\\.so'); do"
        ' mount --bind /dev/null "$(readlink -f "$f")" || exit 9; done; exec "$@"'
    ).replace("\\\\", "\\")
    python = [
        sys.executable,
        "-c",
        code,
        str(tmp_path / "a.png"),
        str(folder.parents[1]),
        str(folder),
    ]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hide, "sh", *python],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 9 or "unshare" in done.stderr:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")
    assert done.returncode == 7, done.stderr
    assert "apt-get install libegl1" in done.stdout
    assert list(tmp_path.iterdir()) == []
