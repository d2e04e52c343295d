"""From a volume node back to its DICOM files, as Slicer's DICOM module leaves the traces."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer
from scan_makers import GRIDS, load, marked, write_dicom
from SkinSegLib import mrml
from SkinSegLib.scan import IssueKind, read

AXIAL = GRIDS["axial"]

pytestmark = pytest.mark.usefixtures("empty_scene")


def test_the_checks_run_on_a_volume_that_slicer_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write_dicom(tmp_path, AXIAL, marked(AXIAL), places=[0, 1, 2, 4, 5, 6])
    files = {str(load(path).SOPInstanceUID): str(path) for path in paths}
    node = mrml.add_volume(read(tmp_path), "Head CT")
    assert mrml.dicom_files(node) == ()  # not from DICOM
    node.SetAttribute("DICOM.instanceUIDs", " ".join([*files, "1.2.3.unknown"]))
    assert mrml.dicom_survey(node) is None  # slicer-core has no database
    database = SimpleNamespace(isOpen=True, fileForInstance=lambda uid: files.get(uid, ""))
    monkeypatch.setattr(slicer, "dicomDatabase", database, raising=False)
    assert mrml.dicom_files(node) == tuple(paths)
    found = mrml.dicom_survey(node)
    assert found is not None
    [info] = found.series
    assert (info.slices, info.issues[0].kind) == (6, IssueKind.MISSING)
    paths[0].unlink()
    assert len(mrml.dicom_files(node)) == 5
    database.isOpen = False
    assert mrml.dicom_files(node) == ()
