"""``skinseg mesh``: masks made elsewhere, on grids and in files of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh
from command import write_scan
from SkinSegLib.cli import main
from SkinSegLib.core import CTVolume, GeometryError, ScanReadError
from SkinSegLib.scan import read
from SkinSegLib.scan.masks import onto_scan, read_mask
from SkinSegLib.segmentation.labelmap import write_labelmap


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


@pytest.fixture(scope="module")
def mask(scan: Path) -> np.ndarray:
    """Tissue, with a slab painted away that the scan does not know of."""
    voxels = (read(scan).voxels > -480).astype(np.uint8)
    voxels[:25] = 0
    return voxels


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
def test_a_labelmap(scan: Path, mask: np.ndarray, tmp_path: Path, suffix: str) -> None:
    volume = read(scan)
    path = write_labelmap(mask * np.uint8(3), volume.ijk_to_ras, tmp_path / f"mask{suffix}")
    out, report = tmp_path / "skin.stl", tmp_path / "report.json"
    given = ["mesh", str(path), "--scan", str(scan), "-o", str(out), "--json", str(report)]
    assert main([*given, "--smooth", "0.1", "--triangles", "4000"]) == 0
    body = trimesh.load_mesh(out)
    assert body.is_watertight
    assert len(body.faces) == pytest.approx(4000, abs=40)
    voxel_ml = volume.voxel_volume_ml
    assert body.volume / 1000 == pytest.approx(np.count_nonzero(mask) * voxel_ml, rel=0.03)
    said = json.loads(report.read_text())
    assert said["engine"] == "none, the mask was given"
    assert said["processing"]["smoothing_bound_mm"] == 0.1
    assert said["closed"] is True
    # Below the slab that was painted away nothing is left: LPS, so S as it is.
    low = volume.ijk_to_ras[2, 3] + 24.5 * volume.spacing[2]
    assert body.bounds[0][2] > low - 0.5


def test_a_finer_and_turned_mask_is_put_onto_the_scan(scan: Path, mask: np.ndarray) -> None:
    volume = read(scan)
    finer = np.repeat(np.repeat(np.repeat(mask, 2, 0), 2, 1), 2, 2)
    matrix = volume.ijk_to_ras.copy()
    matrix[:3, 3] -= matrix[:3, :3] @ [0.25, 0.25, 0.25]
    matrix[:3, :3] /= 2
    # The same mask with its first axis counted backwards.
    flipped = np.ascontiguousarray(finer[:, :, ::-1])
    matrix[:3, 3] += matrix[:3, 0] * (finer.shape[2] - 1)
    matrix[:3, 0] *= -1
    found = onto_scan(flipped, matrix, volume)
    assert np.count_nonzero(found != mask) < 0.002 * np.count_nonzero(mask)
    assert onto_scan(mask, volume.ijk_to_ras, volume) is mask


def test_a_mask_that_lies_elsewhere(scan: Path, mask: np.ndarray) -> None:
    volume = read(scan)
    matrix = volume.ijk_to_ras.copy()
    matrix[0, 3] += 150
    with pytest.raises(GeometryError, match="Give the scan that the mask was made on"):
        onto_scan(mask, matrix, volume)


def test_one_label(scan: Path, mask: np.ndarray, tmp_path: Path) -> None:
    volume = read(scan)
    labels = mask.copy()
    labels[:40] *= 2
    path = write_labelmap(labels, volume.ijk_to_ras, tmp_path / "mask.nrrd")
    voxels, matrix = read_mask(path, label=2)
    assert np.array_equal(voxels, labels == 2)
    assert matrix == pytest.approx(volume.ijk_to_ras)
    assert np.array_equal(read_mask(path)[0], labels > 0)
    with pytest.raises(ScanReadError, match="empty"):
        read_mask(path, label=9)
    with pytest.raises(ScanReadError, match="no named segments"):
        read_mask(path, segment="Head")


@pytest.mark.slow
def test_segments_of_slicers(scan: Path, tmp_path: Path) -> None:
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    path, out = tmp_path / "head.seg.nrrd", tmp_path / "skin.stl"
    given = ["segment", str(scan), "-o", str(out), "--mask", str(path), "--engine", "threshold"]
    assert main([*given, "--layer", "8"]) == 0
    head, _ = read_mask(path)
    skin, matrix = read_mask(path, segment="Skin")
    assert 0 < np.count_nonzero(skin) < np.count_nonzero(head)
    assert not (skin & (head == 0)).any()
    assert matrix == pytest.approx(CTVolume(read(scan).voxels, read(scan).ijk_to_ras).ijk_to_ras)
    with pytest.raises(ScanReadError, match="There are: Head, Skin"):
        read_mask(path, segment="Nose")
    again = tmp_path / "again.stl"
    assert main(["mesh", str(path), "--scan", str(scan), "-o", str(again)]) == 0
    whole = tmp_path / "whole.stl"
    assert main(["segment", str(scan), "-o", str(whole), "--engine", "threshold"]) == 0
    assert trimesh.load_mesh(again).volume == pytest.approx(
        trimesh.load_mesh(whole).volume, rel=1e-4
    )


@pytest.mark.parametrize("name", ["missing.nrrd", "colour.nrrd", "text.nrrd", "mask.stl"])
def test_what_is_no_mask(
    scan: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    if name == "colour.nrrd":
        sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(path))
    elif name == "text.nrrd":
        path.write_text("no mask at all")
    out = tmp_path / "skin.stl"
    assert main(["mesh", str(path), "--scan", str(scan), "-o", str(out)]) == 1
    assert "Error: " in capsys.readouterr().err
    assert not out.exists()


def test_more_triangles_than_were_asked_for_are_told(
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As where collapsing edges that far would tear the surface."""
    from SkinSegLib.surface import simplify

    real = simplify._quadric
    monkeypatch.setattr(
        simplify, "_quadric", lambda mesh, count, *rest: real(mesh, count, *rest)
        if count > 2000 else None,
    )  # fmt: skip
    out = tmp_path / "skin.stl"
    given = ["segment", str(scan), "-o", str(out), "--engine", "threshold"]
    assert main([*given, "--triangles", "1500"]) == 0
    count = len(trimesh.load_mesh(out).faces)
    assert 2000 < count < 2400
    assert "1500 triangles were asked for" in (err := capsys.readouterr().err)
    assert f"are {count}." in err
    assert main([*given, "--triangles", "2300"]) == 0
    assert "asked for" not in capsys.readouterr().err


def test_bad_usage(scan: Path) -> None:
    for more in (["--triangles", "7"], ["--smooth", "-1"], ["--segment", "a", "--label", "1"]):
        with pytest.raises(SystemExit) as ended:
            main(["mesh", "m.nrrd", "--scan", str(scan), "-o", "s.stl", *more])
        assert ended.value.code == 2
