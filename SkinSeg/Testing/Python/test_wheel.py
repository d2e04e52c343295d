"""The wheel: built, installed elsewhere, and the main job run from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import LIBRARY, REPOSITORY, write_scan


def run(*arguments: object, **options: object) -> str:
    done = subprocess.run(
        [*map(str, arguments)], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation nothing is downloaded: the extra "test" installs the build back end.
    build = ["-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    run(sys.executable, *build, REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


def test_everything_is_in_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        (entry,) = (name for name in inside if name.endswith("entry_points.txt"))
        assert "skinseg = SkinSegLib.cli:main" in archive.read(entry).decode()
    code = {path.relative_to(LIBRARY).as_posix() for path in LIBRARY.glob("SkinSegLib/**/*.py")}
    assert code <= inside
    resources = [path for path in LIBRARY.glob("Resources/**/*") if path.is_file()]
    assert resources
    for path in resources:
        assert f"SkinSegLib/{path.relative_to(LIBRARY).as_posix()}" in inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    assert not [name for name in inside if "test" in name.lower() or "pycache" in name]


@pytest.mark.slow
def test_main_job_from_the_installed_wheel(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    # The packages it needs are those of this interpreter.
    install = ["-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", site]
    run(sys.executable, *install, wheel)
    scan = write_scan(tmp_path / "scan.nrrd")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    options = {"cwd": tmp_path, "env": environment}

    where = "from SkinSegLib.core import resource_path as r; print(r('UI', 'SkinSeg.ui'))"
    assert run(sys.executable, "-c", where, **options).strip().startswith(str(site))
    where = "import SkinSegLib; print(SkinSegLib.__file__)"
    assert run(sys.executable, "-c", where, **options).strip().startswith(str(site))

    command = site / ("Scripts/skinseg.exe" if os.name == "nt" else "bin/skinseg")
    given = ["segment", scan, "-o", "skin.stl", "--json", "r.json", "--preview", "skin.png"]
    out = run(command, *given, **options)
    assert "triangles, closed" in out
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["closed"] is True
    assert report["volume_ml"] == pytest.approx(2400, rel=0.05)
    assert (tmp_path / "skin.stl").stat().st_size == 84 + 50 * report["triangles"]
    assert (tmp_path / "skin.png").is_file() or report["warnings"]
