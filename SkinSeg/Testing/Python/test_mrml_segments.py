"""The segmentation node: what is in it, where it stands, and whose surface it shows."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from mrml_makers import GRIDS, bent, head_scan, linear, mask_of, segmented, small_scan, volume_node
from SkinSegLib import mrml, surface
from SkinSegLib.core import SceneError
from SkinSegLib.mrml.keepers import SEGMENT_ATTRIBUTE, remove_orphans
from SkinSegLib.mrml.segments import SEGMENTATION_NAME
from SkinSegLib.mrml.volumes import vtk_matrix

MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


pytestmark = pytest.mark.usefixtures("empty_scene")


def closed_surface(node, segment_id="Head"):
    """The closed surface as the node holds it."""
    from vtkmodules.vtkCommonDataModel import vtkPolyData

    polydata = vtkPolyData()
    assert node.GetClosedSurfaceRepresentation(segment_id, polydata)
    return polydata


def points_of(polydata):
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(polydata.GetPoints().GetData())


def is_ours(node, mesh, segment_id="Head"):
    points = points_of(closed_surface(node, segment_id))
    return points.shape == mesh.points.shape and np.array_equal(points, mesh.points)


def test_two_segments_with_names_codes_and_colours():
    slicer = mrml.ensure_host()
    node, _mesh, mask = segmented(volume_node(head_scan()))
    segmentation = node.GetSegmentation()
    assert segmentation.GetSegmentIDs() == ("Head", "Skin")
    expected = {
        "Head": ("123037004", "Anatomical Structure", "69536005", "Head", None),
        "Skin": ("85756007", "Tissue", "39937001", "Skin", "69536005"),
    }
    for segment_id, (category, category_name, kind, kind_name, region) in expected.items():
        segment = segmentation.GetSegment(segment_id)
        assert segment.GetName() == segment_id
        np.testing.assert_allclose(np.array(segment.GetColor()) * 255, (177, 122, 101), atol=1e-3)
        entry = slicer.vtkSlicerTerminologyEntry()
        logic = slicer.modules.terminologies.logic()
        text = segment.GetTerminology()
        assert logic.DeserializeTerminologyEntry(text, entry)
        assert logic.SerializeTerminologyEntry(entry) == text
        assert entry.GetCategoryObject().GetCodeValue() == category
        assert entry.GetCategoryObject().GetCodeMeaning() == category_name
        assert entry.GetTypeObject().GetCodeValue() == kind
        assert entry.GetTypeObject().GetCodeMeaning() == kind_name
        assert entry.GetTypeObject().GetCodingSchemeDesignator() == "SCT"
        assert (entry.GetRegionObject().GetCodeValue() or None) == region
    voxels, _matrix = mrml.segment_labelmap(node, "Head")
    assert np.count_nonzero(voxels) == np.count_nonzero(mask.voxels)
    layer, _matrix = mrml.segment_labelmap(node, "Skin")
    assert 0 < np.count_nonzero(layer) < np.count_nonzero(voxels)


@pytest.mark.parametrize("grid", GRIDS)
def test_labelmaps_lie_on_the_volumes_grid(grid):
    scan = head_scan(grid)
    node, _mesh, mask = segmented(volume_node(scan))
    voxels, matrix = mrml.segment_labelmap(node, "Head")
    k, j, i = (np.flatnonzero(mask.voxels.any(axis=a))[0] for a in ((1, 2), (0, 2), (0, 1)))
    expected = scan.ijk_to_ras.copy()
    expected[:3, 3] += scan.ijk_to_ras[:3, :3] @ [i, j, k]
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    box = tuple(slice(a, a + n) for a, n in zip((k, j, i), voxels.shape, strict=True))
    assert np.array_equal(voxels, mask.voxels[box])


def test_reference_geometry_and_parent_transform_are_the_volumes():
    parent = linear(MIRROR)
    volume = volume_node(head_scan(), parent)
    node, _mesh, _mask = segmented(volume)
    role = node.GetReferenceImageGeometryReferenceRole()
    assert node.GetNodeReference(role).GetID() == volume.GetID()
    assert node.GetParentTransformNode().GetID() == parent.GetID()
    assert node.GetSegmentation().GetSourceRepresentationName() == "Binary labelmap"


def test_stands_beside_the_volume_under_its_study():
    slicer = mrml.ensure_host()
    volume = volume_node(head_scan())
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "patient")
    study = tree.CreateStudyItem(patient, "study")
    tree.CreateItem(study, volume)
    node, _mesh, _mask = segmented(volume)
    assert tree.GetItemParent(tree.GetItemByDataNode(node)) == study
    model = mrml.add_model(node)
    assert tree.GetItemParent(tree.GetItemByDataNode(model)) == study


def test_stands_beside_a_volume_that_is_in_no_study():
    slicer = mrml.ensure_host()
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert tree.GetItemParent(tree.GetItemByDataNode(node)) == tree.GetSceneItemID()


def test_names_say_nothing_about_the_patient():
    volume = volume_node(head_scan())
    volume.SetName("DOE^JANE 1234567")
    first, second = segmented(volume)[0], segmented(volume)[0]
    assert first.GetName() == SEGMENTATION_NAME
    assert second.GetName() not in (first.GetName(), volume.GetName())
    for node in mrml.ensure_host().util.getNodesByClass("vtkMRMLStorableNode"):
        assert node is volume or "DOE" not in (node.GetName() or "")


def test_only_one_of_the_two_is_seen_in_3d():
    display = segmented(volume_node(head_scan()))[0].GetDisplayNode()
    assert [display.GetSegmentVisibility3D(s) for s in ("Head", "Skin")] == [True, False]
    assert [display.GetSegmentVisibility2DFill(s) for s in ("Head", "Skin")] == [False, True]
    assert [display.GetSegmentVisibility2DOutline(s) for s in ("Head", "Skin")] == [True, False]
    assert display.GetDisplayRepresentationName3D() == "Closed surface"


def test_the_closed_surface_is_our_mesh_and_conversions_leave_it():
    node, mesh, _mask = segmented(volume_node(head_scan()))
    assert is_ours(node, mesh)
    node.CreateClosedSurfaceRepresentation()
    node.CreateBinaryLabelmapRepresentation()
    assert is_ours(node, mesh)
    np.testing.assert_array_equal(mrml.world_surface(node, "Head").triangles, mesh.triangles)
    assert closed_surface(node).GetPointData().GetNormals() is not None


def test_the_exact_shell_can_be_the_surface_of_skin():
    volume = volume_node(head_scan())
    placed = mrml.placed_scan(volume)
    mask = mask_of(placed.scan)
    head = surface.build(mask, placed.scan)
    shell = surface.build(mask, placed.scan, surface.SurfaceOptions(layer_mm=5.0))
    layer = surface.layer_voxels(mask, head, 5.0)
    node = mrml.add_segmentation(placed, mask.voxels, head, layer, shell)
    assert is_ours(node, head)
    assert is_ours(node, shell, "Skin")
    assert mrml.restore_surface(node) == ("Head", "Skin")


@pytest.mark.parametrize("make", [lambda: linear(MIRROR), bent], ids=["mirrored", "bent"])
def test_in_the_world_the_surface_is_ours_and_faces_outward(make):
    node, mesh, _mask = segmented(volume_node(head_scan("oblique"), make()))
    world = mrml.world_surface(node, "Head")
    assert world.closed
    assert world.volume_ml == pytest.approx(mesh.volume_ml, rel=1e-3)
    assert np.abs(world.points - mesh.points).max() < 0.01


def edit(node):
    """What a brush does: voxels change, and Slicer is told of it."""
    slicer = mrml.ensure_host()
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, "Head")
    array[tuple(n // 2 for n in array.shape)] = 0
    image = node.GetBinaryLabelmapInternalRepresentation("Head")
    image.Modified()


def test_our_surface_is_dropped_by_an_edit_and_not_put_back_on_other_voxels():
    node, mesh, _mask = segmented(volume_node(head_scan()))
    edit(node)
    node.CreateClosedSurfaceRepresentation()
    assert not is_ours(node, mesh)
    assert mrml.restore_surface(node) == ()
    assert not is_ours(node, mesh)


def test_our_surface_is_put_back_after_a_conversion_on_the_same_voxels():
    node, mesh, _mask = segmented(volume_node(head_scan()))
    node.GetSegmentation().CreateRepresentation("Closed surface", True)
    assert not is_ours(node, mesh)
    assert mrml.restore_surface(node) == ("Head",)
    assert is_ours(node, mesh)


def test_kept_surfaces_are_hidden_and_go_with_their_segmentation(empty_scene):
    slicer = mrml.ensure_host()
    if hasattr(slicer, "_skinseg_watch"):  # of another test file in this process: it would tidy up
        slicer._skinseg_watch.close()
    node, _mesh, _mask = segmented(volume_node(head_scan()))
    keepers = [
        n
        for n in slicer.util.getNodesByClass("vtkMRMLModelNode")
        if n.GetAttribute(SEGMENT_ATTRIBUTE)
    ]
    assert [bool(n.GetHideFromEditors()) for n in keepers] == [True]
    assert remove_orphans() == 0
    empty_scene.RemoveNode(node)
    assert remove_orphans() == 1


def test_nothing_is_left_when_the_volume_is_gone(empty_scene):
    volume = volume_node(head_scan())
    placed = mrml.placed_scan(volume)
    mask = mask_of(placed.scan)
    mesh = surface.build(mask, placed.scan)
    empty_scene.RemoveNode(volume)
    before = empty_scene.GetNumberOfNodes()
    with pytest.raises(SceneError, match="removed"):
        mrml.add_segmentation(placed, mask.voxels, mesh, mask.voxels)
    assert empty_scene.GetNumberOfNodes() == before


def test_nothing_is_left_when_the_middle_of_it_fails(empty_scene, monkeypatch):
    volume = volume_node(head_scan())
    before = empty_scene.GetNumberOfNodes()

    def fail(*_args):
        raise SceneError("no")

    monkeypatch.setattr("SkinSegLib.mrml.segments._show", fail)
    with pytest.raises(SceneError):
        segmented(volume)
    assert empty_scene.GetNumberOfNodes() <= before + 1  # the subject hierarchy may be new


def test_nothing_is_left_when_the_last_step_fails(empty_scene, monkeypatch):
    volume = volume_node(head_scan())
    before = empty_scene.GetNumberOfNodes()

    def fail(*_args):
        raise SceneError("no")

    monkeypatch.setattr("SkinSegLib.mrml.segments.place_beside", fail)
    with pytest.raises(SceneError):
        segmented(volume)
    assert empty_scene.GetNumberOfNodes() == before  # display and kept surface are gone too


@pytest.mark.parametrize("make", [lambda: linear(MIRROR), bent, lambda: None])
def test_model_on_request_lies_as_the_segmentation_does(make):
    node, mesh, _mask = segmented(volume_node(head_scan(), make()))
    model = mrml.add_model(node)
    assert model.GetPolyData().GetNumberOfPolys() == len(mesh.triangles)
    assert model.GetTransformNodeID() == node.GetTransformNodeID()
    assert model.GetDisplayNode().GetVisibility()
    model.HardenTransform()
    assert np.abs(points_of(model.GetPolyData()) - mesh.points).max() < 0.01
    with pytest.raises(SceneError, match="no segment"):
        mrml.add_model(node, "Nose")


# The volume changes while it is segmented


def moved(volume):
    volume.GetParentTransformNode().SetMatrixTransformToParent(vtk_matrix(np.eye(4)))


def shifted(volume):
    volume.SetOrigin(1, 2, 3)


def taken_out(volume):
    volume.SetAndObserveTransformNodeID(None)


def other_voxels(volume):
    mrml.ensure_host().util.updateVolumeFromArray(volume, np.zeros((4, 5, 6), np.int16))


def painted(volume):
    mrml.ensure_host().util.arrayFromVolume(volume)[0, 0, 0] += 1  # nobody is told of it


def other_extent(volume):
    volume.GetImageData().SetExtent(*[v + 1 for v in volume.GetImageData().GetExtent()])


def emptied(volume):
    volume.SetAndObserveImageData(None)


@pytest.mark.parametrize(
    "change", [moved, shifted, taken_out, other_voxels, painted, other_extent, emptied]
)
def test_a_volume_that_changed_is_refused(empty_scene, change):
    volume = volume_node(small_scan(), linear(MIRROR))
    placed = mrml.placed_scan(volume)
    mask = mask_of(placed.scan)
    mesh = surface.build(mask, placed.scan)
    placed.check()
    before = empty_scene.GetNumberOfNodes()
    change(volume)
    with pytest.raises(SceneError, match="changed while it was segmented"):
        mrml.add_segmentation(placed, mask.voxels, mesh, mask.voxels)
    assert empty_scene.GetNumberOfNodes() == before


def test_a_bend_that_changed_is_refused():
    parent = bent()
    placed = mrml.placed_scan(volume_node(small_scan(), parent))
    placed.check()
    other = bent(7.0)
    parent.SetAndObserveTransformToParent(other.GetTransformToParent())
    with pytest.raises(SceneError, match="changed while it was segmented"):
        placed.check()


def test_looking_at_a_volume_does_not_change_it():
    volume = volume_node(small_scan())
    placed = mrml.placed_scan(volume)
    volume.GetImageData().GetScalarRange()
    volume.GetDisplayNode().AutoWindowLevelOn()
    volume.GetImageData().Modified()
    volume.SetName("another")
    placed.check()
