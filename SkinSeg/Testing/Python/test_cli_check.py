"""``skinseg check``: what a user sees, the exit code, the JSON; ``segment --ascii``."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from command import names, skinseg, write_scan
from mesh_makers import ball, pyramid, skin_mesh, text_ply, together
from SkinSegLib.cli import main
from SkinSegLib.cli_arguments import MESH_ENDINGS
from SkinSegLib.surface import FORMATS, write


@pytest.fixture(scope="module", autouse=True)
def _libigl():
    pytest.importorskip("igl", reason="libigl is not installed")


def test_endings_are_those_of_the_library():
    assert MESH_ENDINGS == FORMATS


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_good_mesh_in_every_format(tmp_path, capsys, suffix):
    if suffix == ".3mf":
        pytest.importorskip("lib3mf", reason="lib3mf is not installed")
    path = write(ball(), tmp_path / f"ball{suffix}")
    assert main(["check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["Printable", "yes"]
    assert "Triangles    320" in out
    assert "Volume       4.0 mL" in out
    assert "Size         20.0 x 20.0 x 20.0 mm" in out
    assert "Reason" not in out
    assert out.count("\n") <= 24, "more than one screen"
    assert err == ""


def test_a_hole_is_told_with_what_to_do(tmp_path, capsys):
    mesh = ball()
    path = write(skin_mesh(mesh.points, mesh.triangles[1:]), tmp_path / "hole.stl")
    report = tmp_path / "hole.json"
    assert main(["check", str(path), "--json", str(report)]) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split() == ["Printable", "NO"]
    assert "3 edges lie on the rim of a hole" in out
    assert "Repair it" in out
    assert err == ""
    known = json.loads(report.read_text())
    assert known["printable"] is False
    assert known["boundary_edges"] == 3
    assert len(known["reasons"]) == 1
    assert known["bounds_mm"][1] == pytest.approx([10, 10, 10], abs=0.2)


def test_two_walls_are_seen_unless_told_not_to_look(tmp_path, capsys):
    path = write(together(ball(), ball(at=(12, 0, 0))), tmp_path / "two.stl")
    assert main(["check", str(path)]) == 1
    assert "pass through each other" in capsys.readouterr().out
    assert main(["check", str(path), "--no-self-intersections"]) == 0
    assert "not checked" in capsys.readouterr().out


def test_meshes_made_elsewhere(tmp_path, capsys):
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (0, 3, 2, 1)]
    text_ply(tmp_path / "quads.ply", pyramid().points, faces)
    trimesh.creation.icosphere(2, 10).export(tmp_path / "soup.stl")
    for name in ("quads.ply", "soup.stl"):
        assert main(["check", str(tmp_path / name)]) == 0, name
        assert "Closed       yes" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".vtp", ".glb", ".gltf"])
def test_a_damaged_file_is_one_message(tmp_path, suffix):
    """In a process of its own: VTK prints past Python."""
    path = write(ball(), tmp_path / f"half{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = skinseg("check", path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(f"Error: half{suffix} cannot be read")
    assert len(done.stderr.splitlines()) == 1


def test_empty_and_missing_files(tmp_path, capsys):
    (tmp_path / "empty.obj").write_text("")
    assert main(["check", str(tmp_path / "empty.obj")]) == 1
    assert "holds no triangle" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "none.stl")]) == 1
    assert "There is no file none.stl" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "skin.step")])
    assert ended.value.code == 2


def test_a_place_that_cannot_be_written_is_found_first(tmp_path, capsys):
    path = write(ball(), tmp_path / "ball.stl")
    assert main(["check", str(path), "--json", str(tmp_path / "none" / "r.json")]) == 1
    out, err = capsys.readouterr()
    assert "does not exist" in err
    assert out == ""


def test_segment_writes_text_and_the_check_takes_it(tmp_path, capsys):
    scan, mesh = write_scan(tmp_path / "scan.nrrd"), tmp_path / "skin.stl"
    given = ["segment", str(scan), "-o", str(mesh), "--engine", "threshold", "--ascii"]
    assert main(given) == 0
    assert mesh.read_bytes().startswith(b"solid SkinSeg. SPACE=LPS")
    capsys.readouterr()
    assert main(["check", str(mesh)]) == 0
    out = capsys.readouterr().out
    assert "Printable    yes" in out
    facets = mesh.read_bytes().count(b"endfacet")
    assert f"Triangles    {facets}" in out


def test_text_of_another_format_is_refused_before_computing(tmp_path, capsys):
    scan = write_scan(tmp_path / "scan.nrrd")
    given = ["segment", str(scan), "-o", str(tmp_path / "s.ply"), "--ascii"]
    assert main(given) == 1
    err = capsys.readouterr().err
    assert "only STL can be written as text" in err
    assert "Level" not in err
    assert names(tmp_path) == ["scan.nrrd"]


def test_3mf_without_its_package_is_refused_before_computing(tmp_path, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lib3mf", None)
    scan = write_scan(tmp_path / "scan.nrrd")
    assert main(["segment", str(scan), "-o", str(tmp_path / "s.3mf")]) == 1
    err = capsys.readouterr().err
    assert "pip install 'skinseg[mesh]'" in err
    assert "Level" not in err


def test_coordinates_far_away(tmp_path, capsys):
    """A mesh in another program's coordinates, metres from the origin, is checked like any."""
    mesh = ball()
    far = skin_mesh(mesh.points + np.float32(4000), mesh.triangles)
    path = write(far, tmp_path / "far.stl")
    assert main(["check", str(path)]) == 0
    assert "Volume       4.0 mL" in capsys.readouterr().out
