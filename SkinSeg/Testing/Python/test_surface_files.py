"""Mesh files: read back by other programs, tagged for Slicer, whole or not there at all."""

from __future__ import annotations

import errno

import numpy as np
import pytest
import trimesh
from SkinSegLib.core import OutputError, SkinMesh
from SkinSegLib.surface import FORMATS, read_points, write


@pytest.fixture
def mesh() -> SkinMesh:
    """A box from (1, 2, 3) to (11, 32, 53) RAS with the corner (11, 32, 53) pulled out."""
    box = trimesh.creation.box(bounds=[[1, 2, 3], [11, 32, 53]])
    points = box.vertices.astype(np.float32)
    points[points.sum(axis=1).argmax()] += (2, 4, 6)
    faces = box.faces.astype(np.int32)
    return SkinMesh(points, faces, np.zeros(len(faces), bool), True)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_read_back(mesh, tmp_path, suffix, space):
    path = write(mesh, tmp_path / f"skin{suffix}", space)
    points, count, tag = read_points(path)
    assert (count, tag) == (len(mesh.triangles), space)
    signs = (-1, -1, 1) if space == "LPS" else (1, 1, 1)
    expected = np.unique((mesh.points * signs).round(3), axis=0)
    assert np.unique(points.round(3), axis=0) == pytest.approx(expected, abs=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_text_stl(mesh, tmp_path):
    path = write(mesh, tmp_path / "skin.stl", ascii=True)
    lines = path.read_text(encoding="ascii").splitlines()
    assert lines[0].startswith("solid")
    assert "SPACE=LPS" in lines[0]
    assert sum(line.split()[:1] == ["facet"] for line in lines) == len(mesh.triangles)
    _points, count, tag = read_points(path)
    assert (count, tag) == (len(mesh.triangles), "LPS")


@pytest.mark.parametrize("suffix", [s for s in FORMATS if s != ".stl"])
def test_other_formats_have_no_text_form_to_choose(mesh, tmp_path, suffix):
    with pytest.raises(OutputError, match=r"only STL"):
        write(mesh, tmp_path / f"skin{suffix}", ascii=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("suffix", "words"), [(".ply", b"comment unit: mm"), (".obj", b"# unit: mm")]
)
def test_the_unit_is_named_where_there_is_room(mesh, tmp_path, suffix, words):
    assert words in write(mesh, tmp_path / f"skin{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mesh_without_triangles_is_not_written(tmp_path, suffix):
    empty = SkinMesh(
        np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), np.zeros(0, bool), False
    )
    with pytest.raises(OutputError, match="no triangles"):
        write(empty, tmp_path / f"skin{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj", ".vtp"])
def test_slicer_reads_the_tag(mesh, tmp_path, suffix):
    """Slicer's own model storage node puts both files at the same place in the scene."""
    slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
    bounds = []
    for space in ("LPS", "RAS"):
        path = write(mesh, tmp_path / f"{space}{suffix}", space)
        scene = slicer.vtkMRMLScene()
        node = scene.AddNewNodeByClass("vtkMRMLModelNode")
        storage = scene.AddNewNodeByClass("vtkMRMLModelStorageNode")
        storage.SetFileName(str(path))
        assert storage.ReadData(node)
        values = [0.0] * 6
        node.GetPolyData().GetBounds(values)
        bounds.append(values)
    assert bounds[0] == pytest.approx(bounds[1], abs=1e-3)
    assert bounds[0] == pytest.approx([1, 13, 2, 36, 3, 59], abs=1e-3)


def test_unknown_endings_and_spaces(mesh, tmp_path):
    with pytest.raises(OutputError, match=r"ends in \.stl"):
        write(mesh, tmp_path / "skin.step")
    with pytest.raises(OutputError, match="coordinate system"):
        write(mesh, tmp_path / "skin.stl", "LAS")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", FORMATS)
def test_full_disk_leaves_the_old_file(mesh, tmp_path, suffix):
    """A limit on the size of files, which the system enforces as it does a full disk."""
    resource = pytest.importorskip("resource", reason="needs a POSIX system")
    target = tmp_path / f"skin{suffix}"
    target.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150, hard))
    try:
        with pytest.raises(OutputError):
            write(mesh, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_reads_back_wrong_is_discarded(mesh, tmp_path, monkeypatch, suffix):
    import SkinSegLib.surface.files as files

    target = tmp_path / f"skin{suffix}"
    target.write_text("old")
    real = files._write

    def cut_short(mesh, path, space, ascii):
        real(mesh, path, space, ascii)
        path.write_bytes(path.read_bytes()[:-50])

    monkeypatch.setattr(files, "_write", cut_short)
    with pytest.raises(OutputError, match="did not read back"):
        write(mesh, target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_a_file_with_another_shape_of_the_same_size_is_discarded(mesh, tmp_path, monkeypatch):
    """Count and bounds alone would not see it."""
    import SkinSegLib.surface.files as files

    real = files._write

    def twice_the_first(mesh, path, space, ascii):
        real(mesh, path, space, ascii)
        content = bytearray(path.read_bytes())
        content[84 + 50 * 5 : 84 + 50 * 6] = content[84 : 84 + 50]
        path.write_bytes(content)

    monkeypatch.setattr(files, "_write", twice_the_first)
    with pytest.raises(OutputError, match="did not read back"):
        write(mesh, tmp_path / "skin.stl")


def test_system_errors_become_messages(mesh, tmp_path, monkeypatch):
    import SkinSegLib.surface.files as files

    def no_space(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_write", no_space)
    with pytest.raises(OutputError, match="No space left"):
        write(mesh, tmp_path / "skin.stl")
    with pytest.raises(OutputError, match="does not exist"):
        write(mesh, tmp_path / "missing" / "skin.stl")
    assert not list(tmp_path.iterdir())
