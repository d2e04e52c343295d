"""The shipped model: whole, small, and able to tell a made head from what touches it, in any pose.

The made head's seed is not among those that were trained on. Real scans: ``skinseg evaluate``.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from SkinSegLib.core import CTVolume, FindingKind, distance_to, resource_path
from SkinSegLib.segmentation import SegmentOptions, segment
from SkinSegLib.segmentation.models import find_model, list_models
from SkinSegLib.segmentation.options import SHIPPED_MODEL
from SkinSegLib.training.phantom import PhantomSpec, make_phantom

#: Trained on were 0 to 11, validated on 1000 to 1005.
SEED = 77


@pytest.fixture(scope="module")
def touched():
    """A made head on a pillow and a table, with a strap and a tube, in 2 mm voxels."""
    return make_phantom(PhantomSpec.touching(seed=SEED).resampled((2.0, 2.0, 2.0)))


def turned(volume: CTVolume, axis: int, degrees: float) -> CTVolume:
    """The scan with the patient turned in the scanner, about an axis of R, A, S."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    a, b = (n for n in range(3) if n != axis)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return replace(volume, ijk_to_ras=matrix @ volume.ijk_to_ras)


def deep_ml(volume: CTVolume, mask, truth) -> tuple[float, float]:
    """Not-patient in the mask and patient not in it, in mL, 2 mm and more from the true surface."""
    spacing = volume.spacing[::-1]
    depth = np.maximum(distance_to(truth, spacing), distance_to(~truth, spacing)) > 2.0
    ml = volume.voxel_volume_ml
    return float((mask & ~truth & depth).sum() * ml), float((truth & ~mask & depth).sum() * ml)


def test_it_is_whole_and_small():
    bundle = find_model(SHIPPED_MODEL)
    assert bundle.load_network() is not None  # checks the weights' SHA-256
    weights = bundle.folder / "models" / "model.pt"
    assert weights.stat().st_size <= 20_000_000
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    for word in ("weasis_headneck", "threshold", "slicer-recipe", "Known failures", "seed"):
        assert word in card
    assert "OpenKBP" in (bundle.folder / "LICENSE").read_text(encoding="utf-8")
    assert (SHIPPED_MODEL, True) in [(m.name, m.shipped) for m in list_models()]


def test_monais_parser_builds_the_same_network():
    from monai.bundle import ConfigParser

    bundle = find_model(SHIPPED_MODEL)
    parser = ConfigParser()
    parser.read_config(resource_path("Models", SHIPPED_MODEL, "configs", "inference.json"))
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(bundle.load_network().state_dict())
    text = (bundle.folder / "configs" / "metadata.json").read_text(encoding="utf-8")
    assert "$" not in text
    assert json.loads(text)["skinseg"]["weights_sha256"] == bundle.sha256


def test_it_is_the_default(touched):
    mask = segment(touched.volume)
    assert mask.engine == "network"
    assert mask.model["name"] == SHIPPED_MODEL
    assert len(mask.model["sha256"]) == 64


POSES = {
    "supine": (2, 0),
    "prone": (2, 180),
    "left side": (2, 90),
    "right side": (2, -90),
    "upside down": (0, 180),
    "oblique": (1, 30),
}


@pytest.mark.slow
@pytest.mark.parametrize("pose", POSES)
def test_what_touches_the_head_is_left_out_in_any_pose(touched, pose):
    volume = turned(touched.volume, *POSES[pose])
    truth = touched.truth > 0
    mask = segment(volume, SegmentOptions(engine="network", device="cpu")).voxels > 0
    taken, lost = deep_ml(volume, mask, truth)
    print(f"{pose}: taken in {taken:.1f} mL, lost {lost:.1f} mL")
    assert taken <= 2.0
    assert lost <= 2.0


def test_a_scan_in_thick_slices_is_still_a_head(touched):
    """10 mm slices: every fifth of 2 mm, as some scouts and old scans are."""
    volume = touched.volume
    matrix = volume.ijk_to_ras.copy()
    matrix[:, 2] *= 5
    thick = CTVolume(np.ascontiguousarray(volume.voxels[2::5]), matrix)
    truth = touched.truth[2::5] > 0
    mask = segment(thick, SegmentOptions(engine="network", device="cpu"))
    found = mask.voxels > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    assert FindingKind.THICK_SLICES in {finding.kind for finding in mask.findings}


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(0, 255), (0, 4095)], ids=["8 bit", "12 bit"])
def test_scans_in_other_greys_give_the_same_head(touched, low, high):
    """Exports in 0..255 and 0..4095: the levels are found in the scan itself."""
    hu = touched.volume.voxels.astype(np.float32)
    greys = np.clip((hu + 1000) / 3000, 0, 1) * (high - low) + low
    volume = CTVolume(greys.round().astype(np.int16), touched.volume.ijk_to_ras)
    mask = segment(volume, SegmentOptions(engine="network", device="cpu"))
    truth = touched.truth > 0
    taken, lost = deep_ml(volume, mask.voxels > 0, truth)
    assert taken <= 3.0
    assert lost <= 2.0
    assert FindingKind.NOT_CALIBRATED in {finding.kind for finding in mask.findings}
