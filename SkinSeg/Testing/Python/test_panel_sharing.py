"""The panel's Share: a volume without its face, files without names."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mrml_makers import linear, small_scan, volume_node
from panel_makers import FileDialog, click, empty_scene, host, panel, pump, segmentations
from SkinSegLib import mrml


@pytest.fixture(scope="module")
def head():
    """The made head, with a nose, on a coarse grid."""
    from SkinSegLib.training.phantom import PhantomSpec, make_phantom

    spec = PhantomSpec()
    return make_phantom(
        replace(spec, shape=tuple(n // 2 for n in spec.shape), spacing_mm=(2.0, 2.0, 2.0))
    ).volume


def volumes():
    return mrml.ensure_host().util.getNodesByClass("vtkMRMLScalarVolumeNode")


def voxels_of(node):
    from SkinSegLib.mrml.volumes import node_voxels

    return node_voxels(node).copy()


@pytest.mark.slow
def test_the_face_goes_into_a_new_volume_and_nothing_else_changes(panel, head):
    volume = volume_node(head, linear(np.diag([1.0, 1.0, 1.0, 1.0])))
    before = voxels_of(volume)
    assert not panel.ui.defaceButton.enabled
    assert "Segment a volume first" in panel.ui.defaceButton.toolTip
    panel.ui.engineSelector.currentIndex = 2
    click(panel, panel.ui.segmentButton)
    click(panel, panel.ui.defaceButton)
    assert "from the face on average" in panel.ui.resultLabel.text, panel.ui.resultLabel.text
    (made,) = (node for node in volumes() if node is not volume)
    assert made.GetName() == "CT without face"
    assert made.GetTransformNodeID() == volume.GetTransformNodeID()
    assert np.array_equal(voxels_of(volume), before)
    changed = voxels_of(made) != before
    assert changed.any()
    assert (voxels_of(made)[changed] < -900).all()  # air, also where noisy air was
    assert np.count_nonzero(before[changed] > -300) * 0.008 > 50  # mL of tissue are gone
    k, j, i = np.nonzero(changed)
    place = np.stack([i, j, k], axis=-1) @ head.ijk_to_ras[:3, :3].T + head.ijk_to_ras[:3, 3]
    assert place[:, 1].min() > 0  # only in front


@pytest.mark.slow
def test_what_has_no_face_is_refused(panel):
    volume_node(small_scan())
    click(panel, panel.ui.segmentButton)
    before = len(volumes())
    click(panel, panel.ui.defaceButton)
    assert len(volumes()) == before
    assert panel.ui.resultLabel.text
    assert "went wrong" not in panel.ui.resultLabel.text


def test_files_are_de_identified_into_another_folder(panel, tmp_path):
    from scan_makers import GRIDS, marked, write_dicom

    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    target.mkdir()
    write_dicom(source, GRIDS["axial"], marked(GRIDS["axial"]))
    FileDialog.answers += [str(source), str(target)]
    click(panel, panel.ui.deidentifyButton)
    assert "files written" in panel.ui.resultLabel.text, panel.ui.resultLabel.text
    files = [path for path in target.rglob("*") if path.is_file()]
    assert len(files) == len(list(source.iterdir()))
    import pydicom

    for path in files:
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"
    FileDialog.answers += [str(source), ""]  # the second dialog was closed
    click(panel, panel.ui.deidentifyButton)
    FileDialog.answers += [str(source), str(source)]
    click(panel, panel.ui.deidentifyButton)
    assert "went wrong" not in panel.ui.resultLabel.text
    assert len(list(source.iterdir())) == len(files)
