"""The whole job on real scans, through the command.

Parameters were chosen on those that the data's README gives to training, and on no other.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from command import names, skinseg
from SkinSegLib.core import transform_points
from SkinSegLib.scan import read
from SkinSegLib.segmentation import segment

#: Scans with plausible ranges: volume in mL, and extents in mm from left to right and from
#: anterior to posterior, shoulders and couch included where the scan shows them.
SCANS = {
    "volumes/unc_cthead.nrrd": ((3000, 4500), (150, 220), (200, 270)),
    "volumes/vhm_head_8bit.nrrd": ((4000, 6000), (150, 480), (180, 280)),
    "volumes/dicom2stl_ct_head.nrrd": ((3800, 5200), (150, 200), (190, 260)),
    "volumes/chd_phantom.nrrd": ((5000, 13000), (300, 500), (200, 300)),
    "volumes/dicom2stl_ct_example.nrrd": ((2000, 3500), (140, 240), (180, 280)),
    "dicom/weasis_headneck": ((7000, 10000), (250, 280), (200, 280)),
    "dicom/keinos_head.zip": ((2300, 3600), (140, 210), (180, 240)),
    "dicom/ge_tilt": ((2500, 4200), (140, 220), (180, 260)),
}


def run(path: Path, folder: Path, *more: str) -> tuple[dict, trimesh.Trimesh]:
    """``skinseg segment`` with a report; returns that and the mesh as another library reads it."""
    result = skinseg(
        *("segment", path, "-o", folder / "skin.stl", "--json", folder / "report.json", *more),
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    mesh = trimesh.load_mesh(folder / "skin.stl")
    report = json.loads((folder / "report.json").read_text())
    assert mesh.is_watertight
    assert len(mesh.split(only_watertight=False)) == 1
    assert report["closed"] is True
    assert report["triangles"] == len(mesh.faces)
    assert report["volume_ml"] == pytest.approx(mesh.volume / 1000, rel=1e-3)
    return report, mesh


def test_cranium_through_the_command(cranium_path, tmp_path):
    report, mesh = run(
        cranium_path, tmp_path, "--mask", tmp_path / "head.seg.nrrd", "--preview",
        tmp_path / "skin.png",
    )  # fmt: skip
    assert {"skin.stl", "report.json", "head.seg.nrrd"} <= set(names(tmp_path))
    assert report["engine"] == "threshold"
    assert report["level_hu"] == -480
    assert 2800 < report["volume_ml"] < 3700
    width, depth, height = mesh.extents
    assert 185 < width < 200  # ear to ear; the head alone is some 150 mm wide
    assert 215 < depth < 235  # nose to occiput; the pillow begins right behind
    assert 155 < height < 163  # the scan's own height less the air above the vertex
    # The ears hang out on both sides, seen from the middle of the face; left is left is tested
    # with markers (test_scan_markers.py) and on the scan itself (test_scan_real.py).
    nose = mesh.vertices[mesh.vertices[:, 1].argmin()]
    assert abs(nose[0] - mesh.bounds[:, 0].mean()) < 12


def test_both_ears_of_the_cranium_are_whole(cranium_path):
    """Every voxel of tissue where the ears are, in two boxes drawn by hand around them."""
    volume = read(cranium_path)
    mask = segment(volume).voxels > 0
    tissue = np.argwhere(volume.voxels >= -480)
    ras = transform_points(volume.ijk_to_ras, tissue[:, ::-1])
    found = mask[tuple(tissue.T)]
    for low, high in ((-49, -23), (-223, -197)):
        box = (ras[:, 0] > low) & (ras[:, 0] < high) & (ras[:, 1] > 82) & (ras[:, 1] < 135)
        box &= ras[:, 2] < 62
        assert np.count_nonzero(box) > 4000
        assert found[box].all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_other_scans_through_the_command(skinseg_data, tmp_path, name):
    path = skinseg_data / name
    if not path.exists():
        pytest.skip(f"no {path}")
    volume, width, depth = SCANS[name]
    report, mesh = run(path, tmp_path)
    print(f"{name}: {report['volume_ml']:.0f} mL, extents {mesh.extents.round()} mm")
    assert volume[0] < report["volume_ml"] < volume[1]
    assert width[0] < mesh.extents[0] < width[1]
    assert depth[0] < mesh.extents[1] < depth[1]
