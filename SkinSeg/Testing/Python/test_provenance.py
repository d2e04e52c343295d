"""The record beside a mesh: what it says, and that it comes with the mesh or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import pytest
import trimesh
from command import names, write_scan
from mesh_makers import ball
from SkinSegLib.cli import main
from SkinSegLib.surface import Provenance, read_mesh, sidecar_path, write, write_provenance


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "Doe^Jane_1970.nrrd")


def test_its_place():
    assert sidecar_path("a/skin.stl") == Path("a/skin.stl.json")
    assert sidecar_path("skin.tar.3mf").name == "skin.tar.3mf.json"


@pytest.mark.parametrize(
    ("suffix", "unit", "axes"),
    [(".stl", "mm", "RAS"), (".glb", "m", "+X left, +Y superior, +Z anterior")],
)
def test_what_it_says(tmp_path, suffix, unit, axes):
    mesh = ball()
    path = write(mesh, tmp_path / f"Doe Jane{suffix}", "RAS")
    origin = Provenance(
        "network",
        {"skinseg": "1.2.3"},
        {"name": "m", "version": "1", "sha256": "ab" * 32},
        {"layer_mm": 2.0},
        {"volume_ml": 4.1},
    )
    write_provenance(origin, mesh, path, sidecar_path(path), "RAS")
    text = sidecar_path(path).read_text()
    known = json.loads(text)
    assert known["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert known["triangles"] == 320
    assert known["closed"] is True
    assert (known["space"], known["unit"], known["axes"]) == ("RAS", unit, axes)
    assert known["engine"] == "network"
    assert known["model"]["sha256"] == "ab" * 32
    assert known["options"] == {"layer_mm": 2.0}
    assert known["measures"] == {"volume_ml": 4.1}
    assert known["versions"] == {"skinseg": "1.2.3"}
    assert "Doe" not in text
    assert str(tmp_path) not in text


def test_the_command_writes_it(scan, tmp_path, capsys):
    mesh = tmp_path / "skin.ply"
    given = ["segment", str(scan), "-o", str(mesh), "--provenance", "--engine", "threshold"]
    assert main([*given, "--level", "-450"]) == 0
    assert names(tmp_path) == ["skin.ply", "skin.ply.json"]
    assert f"Wrote {mesh}.json" in capsys.readouterr().out
    text = (tmp_path / "skin.ply.json").read_text()
    known = json.loads(text)
    assert known["sha256"] == hashlib.sha256(mesh.read_bytes()).hexdigest()
    assert known["engine"] == "threshold"
    assert known["options"]["level_hu"] == -450
    assert known["model"] is None
    assert {"skinseg", "python", "numpy", "vtk"} <= set(known["versions"])
    body = trimesh.load_mesh(mesh)
    assert known["triangles"] == len(body.faces)
    assert known["measures"]["volume_ml"] == pytest.approx(body.volume / 1000, rel=1e-4)
    assert known["measures"]["skin_area_cm2"] == pytest.approx(body.area / 100, rel=1e-4)
    low, high = (known["measures"][name] for name in ("low_ras_mm", "high_ras_mm"))
    ours = read_mesh(mesh).points
    assert low == pytest.approx(ours.min(axis=0).tolist(), abs=1e-3)
    assert high == pytest.approx(ours.max(axis=0).tolist(), abs=1e-3)
    for private in ("Doe", "1970", str(scan.parent), str(tmp_path)):
        assert private not in text


def test_the_model_is_named_and_never_by_its_path(scan, tmp_path):
    assert main(["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--provenance"]) == 0
    known = json.loads((tmp_path / "s.stl.json").read_text())
    assert known["engine"] == "network"
    assert known["model"]["name"] == "skin-ct-head"
    assert len(known["model"]["sha256"]) == 64
    assert "model" not in known["options"]


def test_without_the_option_there_is_none(scan, tmp_path):
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--engine", "threshold"]
    assert main(given) == 0
    assert names(tmp_path) == ["s.stl"]


def test_mesh_and_record_come_together_or_not_at_all(scan, tmp_path, monkeypatch, capsys):
    import SkinSegLib.job as job

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(job, "write_provenance", no_space)
    for name in ("s.stl", "s.stl.json"):
        (tmp_path / name).write_text("old")
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), "--engine", "threshold"]
    assert main([*given, "--provenance"]) == 1
    err = capsys.readouterr().err
    assert "s.stl.json" in err
    assert "No space left" in err
    assert names(tmp_path) == ["s.stl", "s.stl.json"]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"old"}


def test_the_report_cannot_take_its_name(scan, tmp_path, capsys):
    mesh = tmp_path / "s.stl"
    with pytest.raises(SystemExit) as ended:
        main(["segment", str(scan), "-o", str(mesh), "--provenance", "--json", f"{mesh}.json"])
    assert ended.value.code == 2
    assert "two outputs have the same name" in capsys.readouterr().err
    assert names(tmp_path) == []
