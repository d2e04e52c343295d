"""Reading meshes, ours and others': the same place in RAS, corners merged, damage found."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_makers import ball, head_like, pyramid, skin_mesh, text_ply
from SkinSegLib.core import OutputError
from SkinSegLib.surface import FORMATS, read_mesh, write
from SkinSegLib.surface.ply import parse


def needs(suffix):
    if suffix == ".3mf":
        pytest.importorskip("lib3mf", reason="lib3mf is not installed")


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_every_format_comes_back_to_the_same_place(tmp_path, suffix, space):
    needs(suffix)
    head = head_like()
    back = read_mesh(write(head, tmp_path / f"skin{suffix}", space))
    assert back.closed
    assert not back.is_cut.any()
    assert len(back.points) == len(head.points)
    assert back.points.dtype == np.float32
    assert back.triangles.dtype == np.int32
    ours, theirs = head.points[head.triangles], back.points[back.triangles]
    np.testing.assert_allclose(theirs, ours, atol=1e-3)


@pytest.mark.parametrize("space", ["LPS", "RAS"])
def test_an_stl_header_that_is_not_utf8(tmp_path, space):
    head = head_like()
    path = write(head, tmp_path / "skin.stl", space)
    header = b"Sch\xe4del " + (b"SPACE=RAS" if space == "RAS" else b"\xff\xfe")
    path.write_bytes(header.ljust(80) + path.read_bytes()[80:])
    back = read_mesh(path).points
    np.testing.assert_allclose(back.min(axis=0), head.points.min(axis=0), atol=1e-3)
    np.testing.assert_allclose(back.max(axis=0), head.points.max(axis=0), atol=1e-3)


def test_text_stl_comes_back(tmp_path):
    head = head_like()
    back = read_mesh(write(head, tmp_path / "skin.stl", ascii=True))
    np.testing.assert_array_equal(back.points[back.triangles], head.points[head.triangles])
    assert back.closed


@pytest.mark.parametrize("suffix", [".stl", ".ply", ".obj"])
def test_a_file_without_a_tag_is_lps(tmp_path, suffix):
    box = trimesh.creation.box(bounds=[[1, 2, 3], [4, 6, 8]])
    box.export(tmp_path / f"box{suffix}")
    mesh = read_mesh(tmp_path / f"box{suffix}")
    assert mesh.closed
    assert len(mesh.points) == 8
    assert mesh.points.min(axis=0) == pytest.approx((-4, -6, 3))
    assert mesh.points.max(axis=0) == pytest.approx((-1, -2, 8))
    assert mesh.volume_ml == pytest.approx(0.06)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
@pytest.mark.parametrize("seed", range(40))
def test_wrong_numbers_in_a_gltf_do_not_take_the_program_along(tmp_path, suffix, seed):
    """Counts, offsets and types changed in the text: read as it is, or refused (VTK crashes)."""
    path = write(ball(), tmp_path / f"skin{suffix}")
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    start, end = 0, content.find(b"base64,")
    if suffix == ".glb":
        start, end = 20, 20 + int.from_bytes(content[12:16], "little")
    digits = [n for n in range(start, end) if chr(content[n]).isdigit()]
    for n in rng.choice(digits, 3, replace=False):
        content[n] = ord("0") + rng.integers(10)
    path.write_bytes(content)
    try:
        mesh = read_mesh(path)
    except OutputError:
        return
    assert 0 <= mesh.triangles.min() <= mesh.triangles.max() < len(mesh.points)


def test_a_scene_of_another_program_with_parts_in_their_places(tmp_path):
    """One box moved and turned, one mirrored by its node: both outward, where they belong."""
    scene = trimesh.Scene()
    one, two = (trimesh.creation.box(extents=(0.02, 0.03, 0.04)) for _ in range(2))
    turned = trimesh.transformations.rotation_matrix(np.radians(90), (0, 1, 0), (0, 0, 0))
    turned[:3, 3] = (0.1, 0.2, 0.3)
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = -0.1
    scene.add_geometry(one, transform=turned, node_name="one")
    scene.add_geometry(two, transform=mirror, node_name="two")
    path = tmp_path / "boxes.glb"
    path.write_bytes(scene.export(file_type="glb"))
    mesh = read_mesh(path)
    assert mesh.closed
    assert mesh.volume_ml == pytest.approx(2 * 0.02 * 0.03 * 0.04 * 1e6)
    # glTF: x left, y superior, z anterior, in metres. The turned box is 40 mm wide and 20 deep.
    assert mesh.points.min(axis=0) == pytest.approx((-120, -20, -15), abs=1e-3)
    assert mesh.points.max(axis=0) == pytest.approx((110, 310, 215), abs=1e-3)


def test_corners_a_hair_apart_stay_apart(tmp_path):
    """Merging is exact: it must not close a gap that is there."""
    mesh = ball()
    moved = mesh.points[mesh.triangles].copy()
    moved[0, 0, 2] = np.nextafter(moved[0, 0, 2], np.float32(1e9))
    soup = skin_mesh(moved.reshape(-1, 3), np.arange(moved.shape[0] * 3).reshape(-1, 3))
    back = read_mesh(write(soup, tmp_path / "gap.stl"))
    assert not back.closed
    assert len(back.points) == len(mesh.points) + 1


def test_minus_zero_is_zero(tmp_path):
    mesh = pyramid()
    soup = mesh.points[mesh.triangles].copy()
    soup[::2][soup[::2] == 0] = -0.0
    corners = skin_mesh(soup.reshape(-1, 3), np.arange(soup.shape[0] * 3).reshape(-1, 3))
    back = read_mesh(write(corners, tmp_path / "zero.stl", "RAS"))
    assert back.closed
    assert len(back.points) == 5


def test_polygons_become_triangles(tmp_path):
    mesh = pyramid()
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (0, 3, 2, 1)]
    rows = "".join("v {} {} {}\n".format(*p) for p in mesh.points)
    rows += "".join("f " + " ".join(str(n + 1) for n in face) + "\n" for face in faces)
    (tmp_path / "p.obj").write_text(rows)
    text_ply(tmp_path / "p.ply", mesh.points, faces)
    for name in ("p.obj", "p.ply"):
        back = read_mesh(tmp_path / name)
        assert back.closed, name
        assert len(back.triangles) == 6
        assert back.volume_ml == pytest.approx(mesh.volume_ml)


@pytest.mark.parametrize("order", ["<", ">"])
def test_binary_ply_of_mixed_polygons_and_more_columns(tmp_path, order):
    """As scanners write it: colours, confidence, quads among triangles, either byte order."""
    mesh = pyramid()
    faces = [(0, 1, 4), (0, 3, 2, 1), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
    name = "little" if order == "<" else "big"
    head = f"ply\nformat binary_{name}_endian 1.0\ncomment by a scanner\nelement vertex 5\n"
    head += "property double x\nproperty double y\nproperty double z\nproperty uchar red\n"
    head += "element face 5\nproperty uchar flags\nproperty list uchar int vertex_index\n"
    head += "element edge 1\nproperty int a\nend_header\n"
    body = b"".join(struct.pack(f"{order}dddB", *map(float, p), 7) for p in mesh.points)
    body += b"".join(struct.pack(f"{order}BB{len(f)}i", 1, len(f), *f) for f in faces)
    (tmp_path / "scan.ply").write_bytes(head.encode() + body + struct.pack(f"{order}i", 3))
    back = read_mesh(tmp_path / "scan.ply")
    assert back.closed
    assert back.volume_ml == pytest.approx(mesh.volume_ml)


def damaged(content, how):
    return {
        "nothing": b"",
        "half": content[: len(content) // 2],
        "short": content[:-60],
        "text": b"no mesh at all\n" * 30,
        "noise": np.random.default_rng(0).bytes(4000),
    }[how]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("how", ["nothing", "half", "short", "text", "noise"])
def test_damage_is_found(tmp_path, suffix, how):
    if (suffix, how) == (".obj", "short"):
        pytest.skip("nothing in an OBJ says how long it should be; the check finds the hole")
    needs(suffix)
    path = write(ball(), tmp_path / f"skin{suffix}")
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(OutputError, match=path.name):
        read_mesh(path)


@pytest.mark.parametrize("how", ["half", "short"])
def test_a_text_stl_cut_short_is_found(tmp_path, how):
    path = write(ball(), tmp_path / "skin.stl", ascii=True)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(OutputError, match="cut short"):
        read_mesh(path)


def test_points_that_are_not_there(tmp_path):
    """VTK's PLY reader ends the process on this one."""
    mesh = pyramid()
    faces = [(0, 1, 4), (0, 1, 99_999), (2, 3, -1)]
    text_ply(tmp_path / "p.ply", mesh.points, faces)
    rows = "".join("v {} {} {}\n".format(*p) for p in mesh.points) + "f 1 2 99999\n"
    (tmp_path / "p.obj").write_text(rows)
    for name in ("p.ply", "p.obj"):
        with pytest.raises(OutputError, match="damaged"):
            read_mesh(tmp_path / name)


def test_coordinates_that_are_no_numbers(tmp_path):
    points = pyramid().points.copy()
    points[2] = np.nan
    text_ply(tmp_path / "p.ply", points, [(0, 1, 2)])
    with pytest.raises(OutputError, match="no numbers"):
        read_mesh(tmp_path / "p.ply")


def test_points_alone_are_no_mesh(tmp_path):
    text_ply(tmp_path / "p.ply", pyramid().points, [])
    with pytest.raises(OutputError, match="no triangle"):
        read_mesh(tmp_path / "p.ply")


def test_missing_file_and_unknown_ending(tmp_path):
    with pytest.raises(OutputError, match=r"no file none\.stl"):
        read_mesh(tmp_path / "none.stl")
    with pytest.raises(OutputError, match=r"ends in \.stl"):
        read_mesh(tmp_path / "none.step")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 10_000), st.integers(0, 255))
def test_no_bytes_upset_the_ply_parser(extra, place, value):
    """Whatever a file holds, it is read or refused."""
    head = b"ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\n"
    head += b"property float y\nproperty float z\nelement face 1\n"
    head += b"property list uchar int vertex_indices\nend_header\n"
    content = bytearray(head + np.zeros(9, "<f4").tobytes() + struct.pack("<Biii", 3, 0, 1, 2))
    assert parse(bytes(content)) is not None
    content[place % len(content)] = value
    for tried in (bytes(content), bytes(content[: place % len(content)]), head + extra, extra):
        found = parse(tried)
        if found is not None:
            assert found.counts.sum() == len(found.corners)
            assert found.points.shape[1] == 3
