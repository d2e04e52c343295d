"""A model's folder: written whole, read as data, refused where it is not what it should be."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from model_makers import ARGUMENTS, write_model
from phantom_makers import whole
from SkinSegLib.core import ModelError as Refused
from SkinSegLib.core import OutputError
from SkinSegLib.segmentation.bundle import INFERENCE, METADATA, WEIGHTS, load_bundle
from SkinSegLib.segmentation.level import find_level
from SkinSegLib.segmentation.network_grid import NetworkGrid
from SkinSegLib.training.phantom import make_phantom


@pytest.fixture
def bundle(tmp_path):
    return write_model(tmp_path / "model", tmp_path)


def _edit(bundle, name, change):
    path = bundle.folder / name
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_model_comes_back_as_it_was_written(bundle):
    import torch

    again = load_bundle(bundle.folder)
    assert again == bundle
    assert (again.network, dict(again.arguments), again.cell_mm) == ("UNet", ARGUMENTS, 4.0)
    one, two = bundle.load_network(), again.load_network()
    assert not one.training
    grey = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(one(grey), two(grey))
    assert sorted(p.name for p in bundle.folder.parent.iterdir()) == ["model", "weights.pt"]


def test_monai_reads_the_configuration_too(bundle):
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle.folder / INFERENCE))
    network = parser.get_parsed_content("network_def")
    assert set(network.state_dict()) == set(bundle.load_network().state_dict())
    metadata = json.loads((bundle.folder / METADATA).read_text(encoding="utf-8"))
    for key in (
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "authors",
        "copyright",
        "network_data_format",
    ):
        assert metadata[key]


@pytest.mark.slow
def test_monai_prepares_a_scan_nearly_as_we_do(bundle):
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor

    parser = ConfigParser()
    parser.read_config(str(bundle.folder / INFERENCE))
    steps = parser.get_parsed_content("preprocessing").transforms
    assert type(parser.get_parsed_content("inferer")).__name__ == "SimpleInferer"
    volume = make_phantom(whole()).volume
    picture = torch.from_numpy(volume.voxels.transpose(2, 1, 0).astype(np.float32))[None]
    pytest.importorskip("nibabel", reason="MONAI turns axes with nibabel, which is not here")
    data = {"image": MetaTensor(picture, affine=torch.from_numpy(volume.ijk_to_ras.copy()))}
    for step in steps[2:]:
        data = step(data)
    ours = NetworkGrid.over(volume, bundle.cell_mm).grey(volume, find_level(volume))
    theirs = data["image"][0].numpy()
    assert all(a - b in (-1, 0, 1, 2) for a, b in zip(theirs.shape, ours.shape, strict=True))
    same = tuple(slice(min(a, b)) for a, b in zip(theirs.shape, ours.shape, strict=True))
    assert np.corrcoef(ours[same].ravel(), theirs[same].ravel())[0, 1] > 0.95
    assert theirs.min() >= 0
    assert theirs.max() <= 2 + 1e-5


def test_altered_weights_are_refused_before_they_are_read(bundle):
    path = bundle.folder / WEIGHTS
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refused, match="not those"):
        bundle.load_network()


def test_weights_with_a_program_in_them_are_refused(bundle, tmp_path):
    import torch

    planted = tmp_path / "planted"

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(planted),)

    path = bundle.folder / WEIGHTS
    torch.save({"weight": Program()}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _edit(bundle, METADATA, lambda m: m["skinseg"].update(weights_sha256=digest))
    with pytest.raises(Refused, match="no plain numbers"):
        load_bundle(bundle.folder).load_network()
    assert not planted.exists()


def test_weights_of_another_network_are_refused(bundle):
    def widen(metadata):
        metadata["skinseg"]["arguments"]["channels"] = [4, 16]

    _edit(bundle, METADATA, widen)
    with pytest.raises(Refused, match="do not fit"):
        load_bundle(bundle.folder).load_network()


@pytest.mark.parametrize("file", [METADATA, INFERENCE])
def test_expressions_are_never_evaluated(bundle, tmp_path, file):
    planted = tmp_path / "planted"
    text = f"$__import__('os').mkdir({str(planted)!r})"
    _edit(bundle, file, lambda content: content.update(extra=[{"deep": text}]))
    with pytest.raises(Refused, match="no programs"):
        load_bundle(bundle.folder)
    assert not planted.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("network", "os.system"),
        ("arguments", {"channels": [4, 8], "strides": [2]}),
        ("cell_mm", 0),
        ("cell_mm", "thick"),
        ("threshold", 2),
        ("weights_sha256", None),
    ],
)
def test_unusable_descriptions_are_refused(bundle, key, value):
    def change(metadata):
        if value is None:
            del metadata["skinseg"][key]
        else:
            metadata["skinseg"][key] = value

    _edit(bundle, METADATA, change)
    with pytest.raises(Refused):
        load_bundle(bundle.folder)


def test_missing_damaged_and_foreign_files_are_refused(bundle, tmp_path):
    outside = tmp_path / "outside.pt"
    (bundle.folder / WEIGHTS).rename(outside)
    with pytest.raises(Refused, match=r"lacks its file model\.pt"):
        bundle.load_network()
    (bundle.folder / WEIGHTS).symlink_to(outside)
    with pytest.raises(Refused, match="leads out"):
        bundle.load_network()
    (bundle.folder / METADATA).write_text("{", encoding="utf-8")
    with pytest.raises(Refused, match="damaged"):
        load_bundle(bundle.folder)
    (bundle.folder / METADATA).write_text('{"name": "other"}', encoding="utf-8")
    with pytest.raises(Refused, match="not made for SkinSeg"):
        load_bundle(bundle.folder)


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    def spoil(weights):
        next(iter(weights.values()))[:] = float("nan")

    with pytest.raises(Refused, match="finite"):
        write_model(tmp_path / "model", tmp_path, spoil)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.pt"]


def test_a_model_is_never_overwritten(bundle, tmp_path):
    with pytest.raises(OutputError, match="exists already"):
        write_model(bundle.folder, tmp_path)
    assert load_bundle(bundle.folder) == bundle


def test_weights_that_may_not_be_read_are_said(bundle, monkeypatch):
    real = Path.open

    def opened(self, *arguments, **options):
        if self.name == bundle.folder.joinpath(WEIGHTS).name:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(Refused, match=r"cannot be read .*Check its permissions"):
        bundle.load_network()
