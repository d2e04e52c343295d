"""The panel's Export as DICOM: into the study of the files that the volume was loaded from."""

# Fixtures are imported, and are arguments of the same name.
# ruff: noqa: F401, F811

from __future__ import annotations

import os
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from mrml_makers import linear, small_scan, volume_node
from panel_makers import click, empty_scene, host, panel, pump, segmentations
from series_makers import REFERABLE
from SkinSegLib import mrml
from SkinSegLib.core import MissingPackageError
from SkinSegLib.dicom import require_highdicom
from SkinSegLib.scan import read


def has_segmentations() -> bool:
    try:
        require_highdicom()
    except MissingPackageError:
        return False
    return True


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A small head as a DICOM series in Slicer's database, and as a volume loaded from there."""
    scan = small_scan()
    folder = tmp_path / "in"
    folder.mkdir()
    files = written(folder, scan)
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    slicer = mrml.ensure_host()
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    node = volume_node(read(folder))
    node.SetAttribute("DICOM.instanceUIDs", " ".join(files))
    return node, files, folder


def written(folder, scan):
    """The scan as slices, by instance UID."""
    from scan_makers import dicom_slice, save

    to_lps = np.diag([-1.0, -1, 1, 1]) @ scan.ijk_to_ras
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    files = {}
    for k, pixels in enumerate(scan.voxels):
        place = to_lps @ [0, 0, k, 1]
        data = dicom_slice(
            np.asarray(pixels, np.int16),
            tuple(place[:3]),
            to_lps[:3, :3] / spacing,
            tuple(spacing),
            **{**REFERABLE, "InstanceNumber": k + 1, "PatientID": "4711"},
        )
        path = folder / f"{k:03d}.dcm"
        save(data, path)
        files[str(data.SOPInstanceUID)] = str(path)
    return files


@pytest.fixture
def done(panel, study, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    panel._parameterNode.inputVolume = study[0]
    panel.ui.engineSelector.currentIndex = 2
    click(panel, panel.ui.segmentButton)
    panel.ui.folderButton.directory = str(out)
    return panel, segmentations()[0], out


@pytest.mark.slow
def test_one_click_writes_both_into_the_study(done, study, monkeypatch):
    panel, node, out = done
    assert panel.ui.exportDicomButton.enabled, panel.ui.exportDicomButton.toolTip
    click(panel, panel.ui.exportDicomButton)
    text = panel.ui.exportLabel.text
    wanted = ["segmentation.dcm", "surface.dcm"] if has_segmentations() else ["surface.dcm"]
    assert sorted(os.listdir(out)) == wanted, text
    assert "show a face" in text
    assert out.as_uri() in text
    first = pydicom.dcmread(next(iter(study[1].values())))
    for name in wanted:
        data = pydicom.dcmread(out / name)
        assert data.StudyInstanceUID == first.StudyInstanceUID
        assert data.PatientID == "4711"
    assert "4711" not in panel.ui.logText.plainText
    if has_segmentations():
        data = pydicom.dcmread(out / "segmentation.dcm")
        assert [item.SegmentLabel for item in data.SegmentSequence] == ["Head", "Skin"]
        voxels, _matrix = mrml.segment_labelmap(node, "Head")
        heads = [
            frame
            for frame, item in zip(
                data.pixel_array, data.PerFrameFunctionalGroupsSequence, strict=True
            )
            if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
        ]
        assert sum(int(frame.sum()) for frame in heads) == np.count_nonzero(voxels)
    stl = pydicom.dcmread(out / "surface.dcm").EncapsulatedDocument
    surface = mrml.world_surface(node, "Head")
    assert int.from_bytes(stl[80:84], "little") == pytest.approx(len(surface.triangles), rel=0.02)
    # There already: asked, and left alone if the answer is no.
    asked = []
    before = (out / "surface.dcm").read_bytes()
    monkeypatch.setattr(
        mrml.ensure_host().util, "confirmYesNoDisplay", lambda text, *_a, **_k: asked.append(text)
    )
    click(panel, panel.ui.exportDicomButton)
    assert "surface.dcm" in asked[0]
    assert (out / "surface.dcm").read_bytes() == before


def test_without_highdicom_the_surface_is_written_and_the_reason_said(done, monkeypatch):
    panel, node, out = done
    from SkinSegLib.core import Progress
    from SkinSegLib.mrml.dicom_export import DicomExportJob
    from SkinSegLib.worker import tasks_dicom

    def missing() -> None:
        raise MissingPackageError("Install highdicom.")

    monkeypatch.setattr(tasks_dicom, "require_highdicom", missing)
    job = DicomExportJob(node, out, 2.0)
    try:
        for _fraction in job.prepare():
            pass
        found = job.finish(tasks_dicom.export_dicom(job.arguments(), Progress()))
    finally:
        job.close()
    assert found == {"written": ["surface.dcm"], "left_out": "Install highdicom."}
    panel.panel.sections[5]._done(out, found)
    assert "No Segmentation: Install highdicom." in panel.ui.exportLabel.text


@pytest.mark.parametrize("moved", ["mirrored", "shifted"])
def test_a_volume_that_was_moved_is_refused(done, study, moved):
    panel, _node, out = done
    matrix = np.diag([-1.0 if moved == "mirrored" else 1.0, 1, 1, 1])
    matrix[1, 3] = 12.0 if moved == "shifted" else 0.0
    study[0].SetAndObserveTransformNodeID(linear(matrix).GetID())
    segmentations()[0].SetAndObserveTransformNodeID(study[0].GetTransformNodeID())
    click(panel, panel.ui.exportDicomButton)
    assert "does not lie where its DICOM files say" in panel.ui.exportLabel.text
    assert not os.listdir(out)


def test_only_what_came_from_dicom(panel, done, study, monkeypatch):
    panel, _node, out = done
    for path in study[2].iterdir():
        path.unlink()
    click(panel, panel.ui.exportDicomButton)
    assert "are not found" in panel.ui.exportLabel.text
    study[0].RemoveAttribute("DICOM.instanceUIDs")
    panel.panel.update()
    assert not panel.ui.exportDicomButton.enabled
    assert "DICOM module" in panel.ui.exportDicomButton.toolTip
    assert not os.listdir(out)
