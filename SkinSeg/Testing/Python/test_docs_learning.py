"""The worked example of Docs/learning.md, line by line, with a tiny model on made eggs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK as sitk
from case_makers import made_case
from command import REPOSITORY
from model_makers import write_model
from SkinSegLib import cli
from SkinSegLib.core import LPS_RAS
from SkinSegLib.segmentation import live, models
from SkinSegLib.training import compare, finetune, train
from SkinSegLib.training.dataset import CaseFolder
from tuning_makers import WITH_TINY, ball_source


def commands() -> list[list[str]]:
    text = (REPOSITORY / "Docs" / "learning.md").read_text(encoding="utf-8")
    found = [line.split() for line in re.findall(r"^    skinseg (.*)$", text, re.MULTILINE)]
    assert len(found) == 14
    return found


def write(path, voxels, matrix) -> None:
    image = sitk.GetImageFromArray(voxels)
    lps = LPS_RAS @ matrix
    image.SetSpacing([4.0] * 3)
    image.SetDirection((lps[:3, :3] / 4.0).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))


@pytest.fixture
def hospital(tmp_path, monkeypatch):
    """Five scans with a holder, four of them corrected, and a tiny model in use."""
    monkeypatch.setenv(models.FOLDER_VARIABLE, str(tmp_path / "own"))
    monkeypatch.chdir(tmp_path)
    for module in (finetune, train):
        monkeypatch.setattr(module, "DESIGNS", WITH_TINY)
    monkeypatch.setattr(finetune, "made_source", ball_source)
    monkeypatch.setattr(compare, "_SCENES", 0)
    for n in range(1, 6):
        volume, mask = made_case(n)
        voxels = volume.voxels.copy()
        voxels[10:40, 2:8, 15:45] = 30
        write(f"scan{n}.nrrd", voxels, volume.ijk_to_ras)
        write(f"corrected{n}.nrrd", mask, volume.ijk_to_ras)
    write_model(tmp_path / "first", tmp_path)
    models.add_model(tmp_path / "first")
    live.make_live("first")
    return tmp_path


@pytest.mark.slow
def test_the_worked_example(hospital, capsys):
    said = {}
    for command in commands():
        short = ["--steps", "60", "--workers", "0"] if command[0] == "train" else []
        code = cli.main([*command, *short])
        out, err = capsys.readouterr()
        assert code == 0, (command, out, err)
        said[" ".join(command[:2])] = out
        if command[:2] == ["models", "--use"]:
            assert live.live_model() == "ours-1"
    records = CaseFolder.open(hospital / "ours").records()
    assert [r.split for r in records] == ["train", "train", "train", "test", "unlabelled"]
    assert records[0].edited_ml is not None
    assert [r.labelled_by for r in records[:4]] == ["Anna", "Anna", "Ben", "Ben"]
    page = (hospital / "audit.html").read_text(encoding="utf-8")
    assert "3 cases for training, 1 for testing, 1 without a label" in page
    assert "head_0005.nii.gz" in said["data next"]
    assert "head_0004: " in said["models --use"]
    assert (hospital / "compared" / "comparison.md").is_file()
    assert live.live_model() == "first"
    assert (hospital / "skin5.stl").stat().st_size > 10_000
    raw = hospital / "nnUNet_raw" / "Dataset501_SkinSeg"
    assert len(list((raw / "imagesTr").iterdir())) == 3
    assert np.isclose(records[4].spacing, 4.0).all()
