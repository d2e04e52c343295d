"""Mesh files in other programs' hands: the same solid, in the right unit, upright, not mirrored."""

from __future__ import annotations

import json
import zipfile

import meshio
import numpy as np
import pytest
import trimesh
from mesh_makers import head_like
from SkinSegLib.core import MissingPackageError
from SkinSegLib.surface import FORMATS, check_format, read_mesh, write

GLTF = (".glb", ".gltf")


@pytest.fixture(scope="module")
def head():
    return head_like()


def needs(suffix):
    if suffix == ".3mf":
        pytest.importorskip("lib3mf", reason="lib3mf is not installed")


def glb_document(path):
    content = path.read_bytes()
    return json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s != ".vtp"])
@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_trimesh_sees_the_same_solid(head, tmp_path, suffix, space):
    needs(suffix)
    body = trimesh.load_mesh(write(head, tmp_path / f"skin{suffix}", space))
    mm = 1000.0 if suffix in GLTF else 1.0
    assert body.is_watertight
    assert len(body.faces) == len(head.triangles)
    assert body.volume * mm**3 / 1000 == pytest.approx(head.volume_ml, rel=1e-5)


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj"])
def test_meshio_sees_the_same_solid(head, tmp_path, suffix):
    read = meshio.read(write(head, tmp_path / f"skin{suffix}"))
    (corners,) = (cells.data for cells in read.cells if cells.type == "triangle")
    a, b, c = (read.points[corners[:, n]].astype(np.float64) for n in range(3))
    volume = (a * np.cross(b, c)).sum() / 6000
    assert volume == pytest.approx(head.volume_ml, rel=1e-4)


def test_text_stl_in_trimesh(head, tmp_path):
    body = trimesh.load_mesh(write(head, tmp_path / "skin.stl", ascii=True))
    assert body.is_watertight
    assert body.volume / 1000 == pytest.approx(head.volume_ml, rel=1e-6)


@pytest.mark.parametrize("space", ["LPS", "RAS"])
@pytest.mark.parametrize("suffix", GLTF)
def test_in_gltf_a_head_stands_and_looks_at_the_viewer(head, tmp_path, suffix, space):
    """The viewer is at +Z and up is +Y: the nose comes towards it, the patient's left is at +X."""
    points = trimesh.load_mesh(write(head, tmp_path / f"skin{suffix}", space)).vertices
    r, a, s = head.points.T
    assert points.max(axis=0) == pytest.approx(np.array([-r.min(), s.max(), a.max()]) / 1000)
    assert points.min(axis=0) == pytest.approx(np.array([-r.max(), s.min(), a.min()]) / 1000)
    assert points[points[:, 2].argmax()] == pytest.approx(
        np.array([-r[a.argmax()], s[a.argmax()], a.max()]) / 1000, abs=1e-6
    )


@pytest.mark.parametrize(("space", "signs"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1))])
def test_gltf_says_how_to_get_back_to_the_patient(head, tmp_path, space, signs):
    path = write(head, tmp_path / "skin.glb", space)
    extras = glb_document(path)["asset"]["extras"]
    assert extras["SPACE"] == space
    back = trimesh.transform_points(
        trimesh.load_mesh(path).vertices, np.reshape(extras["toPatient"], (4, 4)).T
    )
    expected = head.points * np.array(signs)
    assert back.min(axis=0) == pytest.approx(expected.min(axis=0), abs=1e-3)
    assert back.max(axis=0) == pytest.approx(expected.max(axis=0), abs=1e-3)


def test_gltf_accessors_are_as_specified(head, tmp_path):
    """What the Khronos validator looks for first: bounds, lengths, alignment."""
    path = write(head, tmp_path / "skin.glb")
    content, document = path.read_bytes(), glb_document(path)
    assert int.from_bytes(content[8:12], "little") == len(content)
    assert len(content) % 4 == 0
    positions, indices = document["accessors"]
    assert indices["count"] == head.triangles.size
    assert (np.array(positions["max"]) > positions["min"]).all()
    ends = [view.get("byteOffset", 0) + view["byteLength"] for view in document["bufferViews"]]
    assert document["buffers"][0]["byteLength"] == max(ends)
    assert all(view.get("byteOffset", 0) % 4 == 0 for view in document["bufferViews"])
    assert "cameras" not in document


def test_3mf_is_in_millimetres_and_names_its_space(head, tmp_path):
    needs(".3mf")
    path = write(head, tmp_path / "skin.3mf", "RAS")
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        text = packed.read("3D/3dmodel.model").decode()
    start = text[: text.index("<resources>")]
    assert 'unit="millimeter"' in start
    assert "SPACE=RAS" in start
    assert text.count("<object ") == text.count("<item ") == 1


def test_3mf_from_elsewhere_in_inches_and_moved(head, tmp_path):
    lib3mf = pytest.importorskip("lib3mf", reason="lib3mf is not installed")
    wrapper = lib3mf.get_wrapper()
    model = wrapper.CreateModel()
    model.SetUnit(lib3mf.ModelUnit.Inch)
    body = model.AddMeshObject()
    corners = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    faces = [(0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)]
    body.SetGeometry(
        [lib3mf.Position(Coordinates=corner) for corner in corners],
        [lib3mf.Triangle(Indices=face) for face in faces],
    )
    model.AddBuildItem(body, wrapper.GetTranslationTransform(10, 0, 0))
    model.QueryWriter("3mf").WriteToFile(str(tmp_path / "inch.3mf"))
    mesh = read_mesh(tmp_path / "inch.3mf")
    assert mesh.closed
    assert mesh.volume_ml == pytest.approx(25.4**3 / 6000, rel=1e-5)
    # No tag: LPS, so x is turned.
    assert mesh.points[:, 0].min() == pytest.approx(-11 * 25.4, rel=1e-5)


def test_gltf_from_elsewhere_is_metres_upright(tmp_path):
    box = trimesh.creation.box(bounds=[[0, 0, 0], [0.01, 0.02, 0.03]])
    box.export(tmp_path / "box.glb")
    mesh = read_mesh(tmp_path / "box.glb")
    assert mesh.closed
    assert mesh.volume_ml == pytest.approx(6.0, rel=1e-4)
    assert mesh.points.min(axis=0) == pytest.approx((-10, 0, 0), abs=1e-4)
    assert mesh.points.max(axis=0) == pytest.approx((0, 30, 20), abs=1e-4)


def test_3mf_without_its_package_is_refused_before_computing(head, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lib3mf", None)
    with pytest.raises(MissingPackageError, match=r"skinseg\[mesh\]"):
        check_format("skin.3mf")
    with pytest.raises(MissingPackageError, match="another format"):
        write(head, tmp_path / "skin.3mf")
    assert not list(tmp_path.iterdir())
    check_format("skin.stl")
