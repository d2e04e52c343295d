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
from SkinSegLib.core import distance_to, transform_points
from SkinSegLib.scan import read
from SkinSegLib.segmentation import segment

#: Scans with what was measured when the ranges were set: volume in mL, extents in mm from left to
#: right, from front to back and from top to bottom; shoulders included.
SCANS = {
    "volumes/unc_cthead.nrrd": (3785, (171, 227, 222)),
    "volumes/vhm_head_8bit.nrrd": (4914, (348, 216, 234)),
    "volumes/dicom2stl_ct_head.nrrd": (4487, (180, 231, 235)),
    "volumes/chd_phantom.nrrd": (6122, (450, 239, 306)),
    "volumes/dicom2stl_ct_example.nrrd": (2722, (200, 247, 104)),
    "dicom/weasis_headneck": (8804, (277, 265, 295)),
    "dicom/keinos_head.zip": (2962, (188, 195, 146)),
    "dicom/ge_tilt": (3372, (197, 209, 188)),
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


@pytest.fixture(scope="module")
def cranium(cranium_path):
    """The scan and its mask."""
    volume = read(cranium_path)
    return volume, segment(volume).voxels > 0


@pytest.mark.slow
def test_cranium_through_the_command(cranium_path, tmp_path):
    report, mesh = run(
        cranium_path, tmp_path, "--mask", tmp_path / "head.seg.nrrd", "--preview",
        tmp_path / "skin.png",
    )  # fmt: skip
    assert {"skin.stl", "report.json", "head.seg.nrrd"} <= set(names(tmp_path))
    assert report["engine"] == "network"
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


def test_both_ears_of_the_cranium_are_whole(cranium):
    """Every voxel of tissue where the ears are, in two boxes drawn by hand around them."""
    volume, mask = cranium
    tissue = np.argwhere(volume.voxels >= -480)
    ras = transform_points(volume.ijk_to_ras, tissue[:, ::-1])
    found = mask[tuple(tissue.T)]
    for low, high in ((-49, -23), (-223, -197)):
        box = (ras[:, 0] > low) & (ras[:, 0] < high) & (ras[:, 1] > 82) & (ras[:, 1] < 135)
        box &= ras[:, 2] < 62
        assert np.count_nonzero(box) > 4000
        assert found[box].all()


def test_neither_holder_nor_pillow_of_the_cranium_is_taken_in(cranium):
    """Both are sheets some mm thin; behind the ears (A < 70 mm) the head has no thin part.

    Thin is what an opening with a ball of 4 mm takes away, half a voxel allowed for the rounding.
    """
    volume, head = cranium
    spacing = volume.spacing[::-1]

    def thin_ml(mask):
        core = distance_to(~np.pad(mask, 1, mode="edge"), spacing)[1:-1, 1:-1, 1:-1] > 4.0
        thin = np.argwhere(mask & (distance_to(core, spacing) > 4.5))
        behind = transform_points(volume.ijk_to_ras, thin[:, ::-1])[:, 1] < 70
        return np.count_nonzero(behind) * volume.voxel_volume_ml

    assert thin_ml(head) < 0.5
    everything = head | (volume.voxels >= -480)
    assert thin_ml(everything) > 20, thin_ml(
        everything
    )  # they are there, and the measure sees them


@pytest.mark.slow
@pytest.mark.parametrize("name", SCANS)
def test_other_scans_through_the_command(skinseg_data, tmp_path, name):
    path = skinseg_data / name
    if not path.exists():
        pytest.skip(f"no {path}")
    volume_ml, extents_mm = SCANS[name]
    report, mesh = run(path, tmp_path)
    print(f"{name}: {report['volume_ml']:.0f} mL, extents {mesh.extents.round()} mm")
    assert report["volume_ml"] == pytest.approx(volume_ml, rel=0.05)
    np.testing.assert_allclose(mesh.extents, extents_mm, rtol=0.05)
