"""The computation behind both doors: what it makes, its progress, and cancelling within it."""

from __future__ import annotations

import numpy as np
import pytest
from command import write_scan
from SkinSegLib import scan
from SkinSegLib.core import Cancelled, CTVolume, LayerTooThinError, Progress, SurfaceError
from SkinSegLib.pipeline import JobOptions, compute
from SkinSegLib.surface import layer

HEAD_ONLY = JobOptions(layer_voxels=False, layer_mesh=False)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> CTVolume:
    return scan.read(write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd"))


def test_head_and_layer_in_both_forms(volume: CTVolume) -> None:
    result = compute(volume, JobOptions(layer_mm=6.0))
    assert result.head.closed
    assert result.head.volume_ml == pytest.approx(2400, rel=0.05)
    assert result.layer is not None
    assert result.layer.closed
    assert result.layer_voxels is not None
    assert result.layer_voxels.shape == volume.voxels.shape
    assert not np.any(result.layer_voxels & ~result.mask.voxels.astype(bool))
    counted = np.count_nonzero(result.layer_voxels) * volume.voxel_volume_ml
    assert counted == pytest.approx(result.layer.volume_ml, rel=0.1)
    assert {"Level", "Surface", "Layer"} <= set(result.seconds)


def test_only_what_is_asked_for(volume: CTVolume) -> None:
    result = compute(volume, HEAD_ONLY)
    assert result.layer is None
    assert result.layer_voxels is None
    assert "Layer" not in result.seconds


def test_thickness_without_sense() -> None:
    with pytest.raises(SurfaceError, match="thick"):
        JobOptions(layer_mm=0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [JobOptions(layer_mm=6.0), HEAD_ONLY])
def test_progress_is_of_the_whole(volume: CTVolume, options: JobOptions) -> None:
    seen: list[float] = []
    compute(volume, options, Progress(lambda stage, fraction: seen.append(fraction)))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == pytest.approx(1)
    assert max(np.diff(seen)) < 0.4


@pytest.mark.slow
@pytest.mark.parametrize("part", ["layer_mesh", "layer_voxels"])
def test_cancelling_within_the_layer(
    volume: CTVolume, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "_CHUNK", 1000)
    asked: list[float] = []
    start: list[float] = []

    def report(stage: str, fraction: float) -> None:
        assert not asked, "went on"
        if stage == "Layer":
            start.append(fraction)
            if start[0] < fraction < 0.97:
                asked.append(fraction)

    chosen = {"layer_mesh": False, "layer_voxels": False, part: True}
    with pytest.raises(Cancelled):
        compute(volume, JobOptions(layer_mm=6.0, **chosen), Progress(report, lambda: bool(asked)))
    assert asked


@pytest.mark.slow
def test_a_layer_too_thin_for_the_voxels(volume: CTVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "MOST_VOXELS", 100_000)
    with pytest.raises(LayerTooThinError, match="Choose a layer of"):
        compute(volume, JobOptions(layer_mm=0.5))
    result = compute(volume, JobOptions(layer_mm=0.5, layer_mesh_required=False))
    assert result.layer is None
    assert result.head.closed
    assert result.layer_voxels is not None
