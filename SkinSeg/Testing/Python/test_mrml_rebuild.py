"""After an edit our surface comes back, from the voxels of now; and what is left to Slicer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh
from mrml_makers import (
    EAR,
    bent,
    erase,
    head_scan,
    linear,
    nearest,
    rotation,
    segmented,
    volume_node,
)

pytest.importorskip("slicer", reason="slicer-core is not installed")

from SkinSegLib import mrml
from SkinSegLib.core import transform_points


@pytest.fixture(autouse=True)
def empty_scene():
    slicer = mrml.ensure_host()
    yield
    slicer.mrmlScene.Clear(False)


def erase_ear(node) -> None:
    erase(node, EAR - [8, 14, 18], [-42, *(EAR[1:] + [14, 18])])


@pytest.mark.parametrize("name", ["plain", "turned"])
def test_export_after_an_edit_is_our_surface_again(name, tmp_path):
    volume = volume_node(head_scan("plain"))
    if name == "turned":
        volume.SetAndObserveTransformNodeID(linear(rotation(30, 2)).GetID())
    node, before, mask = segmented(volume)
    mrml.remember_level(node, "Head", mask)
    assert mrml.restore_surface(node) == ("Head",)
    erase_ear(node)
    assert mrml.restore_surface(node) == ()
    path = mrml.export_surface(node, tmp_path / "head.stl", space="RAS")
    body = trimesh.load_mesh(path)
    assert body.is_watertight
    turn = rotation(30, 2) if name == "turned" else np.eye(4)
    ear = transform_points(turn, [EAR])[0]
    assert nearest(before.points, ear) < 15
    assert before.volume_ml - body.volume / 1000 > 1.0
    # Ours again: at the HU edge, not at voxel faces.
    ours = mrml.world_surface(node, "Head")
    assert ours.closed
    assert len(ours.triangles) == len(body.faces)
    assert off_skin(ours, turn) < 1.05 * off_skin(before, turn)


def off_skin(mesh, turn) -> float:
    """About how far the right side of a mesh is off the head's, on average, mm."""
    radii = np.linalg.norm(
        transform_points(np.linalg.inv(turn), mesh.points) / [42.0, 52.0, 55.0], axis=1
    )
    right = transform_points(np.linalg.inv(turn), mesh.points)[:, 0] > 0
    return float(np.abs(radii - 1)[right].mean() * 48)


def test_what_fits_is_not_made_again():
    node, _, _ = segmented(volume_node(head_scan()))
    assert mrml.rebuild_surface(node, "Head") is None


def test_what_is_left_to_slicer(tmp_path):
    """No scan, a bent transform, a segment of the user's own: Slicer's conversion is exported."""
    slicer = mrml.ensure_host()
    volume = volume_node(head_scan())
    node, _, _ = segmented(volume)
    erase_ear(node)
    slicer.mrmlScene.RemoveNode(volume)
    assert mrml.rebuild_surface(node, "Head") is None
    assert mrml.export_surface(node, tmp_path / "head.stl").is_file()
    below, _, _ = segmented(volume_node(head_scan(), bent()))
    erase_ear(below)
    assert mrml.rebuild_surface(below, "Head") is None
    assert mrml.rebuild_surface(below, "no such segment") is None


def test_the_level_is_kept():
    """A level chosen by hand, not the one that would be found, decides after an edit too."""
    node, _, mask = segmented(volume_node(head_scan()))
    erase_ear(node)
    found = mrml.rebuild_surface(node, "Head")
    erase(node, (-2, -2, -2), (2, 2, 2))
    mrml.remember_level(node, "Head", replace(mask, level_hu=-200.0))
    chosen = mrml.rebuild_surface(node, "Head")
    assert found is not None
    assert chosen is not None
    assert chosen.volume_ml < found.volume_ml - 2
