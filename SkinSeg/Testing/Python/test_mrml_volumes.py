"""Volume nodes to scans and back, below every kind of transform."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from mrml_makers import EAR, GRIDS, NO_EAR, bent, head_scan, linear, rotation, volume_node
from SkinSegLib import mrml
from SkinSegLib.core import SceneError, transform_points

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])
TRANSFORMS = {
    "none": None,
    "moved": rotation(20, 2) @ np.array([[1, 0, 0, 9], [0, 1, 0, -4], [0, 0, 1, 30], [0, 0, 0, 1]]),
    "mirrored": MIRROR,
    "scaled and sheared": np.array(
        [[1.2, 0.1, 0, 5], [0, 0.9, 0, 0], [0, 0.2, 1, 0], [0, 0, 0, 1]]
    ),
}


pytestmark = pytest.mark.usefixtures("empty_scene")


def at(scan, position):
    """The voxel of a scan nearest to a world position."""
    index = transform_points(np.linalg.inv(scan.ijk_to_ras), [position])[0]
    i, j, k = np.rint(index).astype(int)
    return scan.voxels[k, j, i]


def test_host_is_ready_and_made_once():
    first = mrml.ensure_host()
    scene, modules = first.mrmlScene, first.modules
    assert mrml.ensure_host().mrmlScene is scene
    assert mrml.ensure_host().modules is modules
    for name in ("colors", "volumes", "terminologies", "segmentations", "subjecthierarchy"):
        assert getattr(modules, name).logic() is not None


def test_host_lets_slicer_util_work():
    slicer = mrml.ensure_host()
    node = slicer.util.addVolumeFromArray(np.ones((3, 4, 5), np.int16))
    assert slicer.util.arrayFromVolume(node).shape == (3, 4, 5)


def test_errors_of_vtk_reach_the_log(caplog):
    mrml.ensure_host().vtkSegmentation().AddSegment(None)
    assert "Invalid segment" in caplog.text


@pytest.mark.parametrize("name", GRIDS)
def test_a_scan_comes_back_from_its_node(name):
    scan = head_scan(name)
    back = mrml.placed_scan(mrml.add_volume(scan, "scan")).scan
    assert back.voxels.dtype == np.int16
    assert np.array_equal(back.voxels, scan.voxels)
    np.testing.assert_allclose(back.ijk_to_ras, scan.ijk_to_ras, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_voxels_are_looked_at_and_not_copied(dtype):
    scan = head_scan(dtype=dtype)
    if dtype is np.float32:
        scan.voxels[0, 0, 0] = -1000.25  # else whole numbers would become int16
    node = mrml.add_volume(scan, "scan")
    seen = mrml.placed_scan(node).scan.voxels
    assert np.shares_memory(seen, mrml.ensure_host().util.arrayFromVolume(node))


@pytest.mark.parametrize("grid", ["plain", "left-handed"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_linear_transforms_above_the_volume_are_applied_once(grid, transform):
    matrix = TRANSFORMS[transform]
    parent = None if matrix is None else linear(matrix)
    placed = mrml.placed_scan(volume_node(head_scan(grid), parent))
    to_world = np.eye(4) if matrix is None else matrix
    assert not placed.resampled
    assert at(placed.scan, transform_points(to_world, [EAR])[0]) > 0
    assert at(placed.scan, transform_points(to_world, [NO_EAR])[0]) < -900


def test_two_transforms_above_the_volume():
    inner, outer = linear(MIRROR), linear(TRANSFORMS["moved"])
    inner.SetAndObserveTransformNodeID(outer.GetID())
    scan = mrml.placed_scan(volume_node(head_scan(), inner)).scan
    assert at(scan, transform_points(TRANSFORMS["moved"] @ MIRROR, [EAR])[0]) > 0


@pytest.mark.parametrize("grid", ["plain", "left-handed", "oblique"])
def test_a_nonlinear_transform_is_resampled_and_undone(grid):
    scan, parent = head_scan(grid), bent()
    placed = mrml.placed_scan(volume_node(scan, parent))
    assert placed.resampled
    # In the world, the ear is where the transform takes it.
    general = parent.GetTransformToParent()
    assert at(placed.scan, np.array(general.TransformPoint(EAR))) > -100
    assert at(placed.scan, np.array(general.TransformPoint(NO_EAR))) < -900
    # Back on the node's own grid, the mask is the head as it was scanned.
    mask = placed.onto_node_grid((placed.scan.voxels > -480).astype(np.uint8))
    truth = scan.voxels > -480
    dice = 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))
    assert mask.shape == scan.voxels.shape
    assert dice > 0.985
    assert placed.scan.padding == (-32768.0,)


def test_what_lies_outside_a_warped_scan_is_no_measurement():
    scan = mrml.placed_scan(volume_node(head_scan(), bent(15))).scan
    padding = scan.padding_mask()
    assert padding is not None
    assert padding.any()
    assert scan.voxels[~padding].min() >= -1000


def test_refuses_what_is_no_scan():
    slicer = mrml.ensure_host()
    scene = slicer.mrmlScene
    with pytest.raises(SceneError, match="No volume is selected"):
        mrml.placed_scan(None)
    with pytest.raises(SceneError, match="no voxels"):
        mrml.placed_scan(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode"))
    labels = slicer.util.addVolumeFromArray(
        np.ones((3, 3, 3), np.int16), nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    with pytest.raises(SceneError, match="no scan"):
        mrml.placed_scan(labels)
    colour = slicer.util.addVolumeFromArray(
        np.ones((3, 3, 3, 3), np.uint8), nodeClassName="vtkMRMLVectorVolumeNode"
    )
    with pytest.raises(SceneError, match="colour"):
        mrml.placed_scan(colour)


def test_messages_name_the_node_by_its_id_and_not_by_the_patient():
    node = mrml.ensure_host().mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "DOE^JANE")
    with pytest.raises(SceneError) as caught:
        mrml.placed_scan(node)
    assert "DOE" not in str(caught.value)
    assert node.GetID() in str(caught.value)


def test_an_image_that_does_not_start_at_index_zero():
    node = mrml.add_volume(head_scan(), "scan")
    image, matrix = node.GetImageData(), mrml.placed_scan(node).scan.ijk_to_ras
    image.SetExtent(*[value + 7 for value in image.GetExtent()])
    moved = mrml.placed_scan(node).scan.ijk_to_ras
    np.testing.assert_allclose(moved[:3, 3], matrix[:3, 3] + matrix[:3, :3] @ [7, 7, 7])
