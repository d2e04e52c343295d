"""``skinseg label``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from label_makers import dicom_scan, grid, on_grid
from scan_makers import write_nrrd
from SkinSegLib import cli_label
from SkinSegLib.cli import main
from SkinSegLib.training.exchange import Kind, Method, read_label, write_label


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.nrrd"
    write_nrrd(path, grid("axial"), on_grid("axial")[0].voxels, "LPS")
    return path


@pytest.fixture
def given(tmp_path: Path) -> Path:
    volume, truth = on_grid("axial")
    return write_label(tmp_path / "given.nii.gz", volume, truth)


def run(*arguments: object) -> int:
    return main(["label", *map(str, arguments)])


def test_the_choices_are_those_of_the_package() -> None:
    assert set(cli_label.KINDS) == set(Kind)
    assert set(cli_label.METHODS) == set(Method)


@pytest.mark.parametrize("name", ["x.seg.nrrd", "x.mha", "x.inv3", "labelme", "png"])
def test_export_and_import(scan: Path, given: Path, tmp_path: Path, name: str, capsys) -> None:
    volume, truth = on_grid("axial")
    kind = ["--as", name] if "." not in name else []
    assert run("export", given, "--scan", scan, "-o", tmp_path / name, *kind) == 0
    back = tmp_path / "back.nrrd"
    assert run("import", tmp_path / name, "--scan", scan, "-o", back) == 0
    np.testing.assert_array_equal(read_label(back, volume), truth)
    out, err = capsys.readouterr()
    assert f"{truth.sum() * volume.voxel_volume_ml:.0f} mL" in out
    assert "Note" not in err


@pytest.mark.slow
def test_into_dicom_and_back(tmp_path: Path, capsys) -> None:
    source, truth = dicom_scan(tmp_path / "scan", "axial")
    given = write_label(tmp_path / "given.nrrd", source.volume, truth)
    for name, kind in (("seg.dcm", "dicom-seg"), ("rt.dcm", "rtstruct")):
        done = run(
            "export", given, "--scan", tmp_path / "scan", "-o", tmp_path / name, "--as", kind
        )
        assert done == 0
        back = tmp_path / f"{kind}.seg.nrrd"
        assert run("import", tmp_path / name, "--scan", tmp_path / "scan", "-o", back) == 0
        np.testing.assert_array_equal(read_label(back, source.volume), truth)
    # The scan of somebody else, in the same place.
    dicom_scan(tmp_path / "other", "axial", FrameOfReferenceUID="1.2.3.98")
    capsys.readouterr()
    arguments = ["--scan", tmp_path / "other", "-o", tmp_path / "y.nrrd"]
    assert run("import", tmp_path / "seg.dcm", *arguments) == 1
    assert "another frame of reference" in capsys.readouterr().err
    assert not (tmp_path / "y.nrrd").exists()


def test_a_mirrored_label_is_refused_and_pictures_can_be_flipped(
    scan: Path, tmp_path: Path, capsys
) -> None:
    volume, truth = on_grid("axial")
    mirrored = np.ascontiguousarray(truth[:, :, ::-1])
    folder = write_label(tmp_path / "png", volume, mirrored, Kind.PNG)
    out = tmp_path / "x.nrrd"
    assert run("import", folder, "--scan", scan, "-o", out) == 1
    assert "mirrored along i" in capsys.readouterr().err
    assert not out.exists()
    assert run("import", folder, "--scan", scan, "-o", out, "--flip", "i") == 0
    np.testing.assert_array_equal(read_label(out, volume), truth)
    assert run("import", folder, "--scan", scan, "-o", out, "--no-check") == 0
    np.testing.assert_array_equal(read_label(out, volume), mirrored)


def test_holes_are_noted_and_filled(scan: Path, tmp_path: Path, capsys) -> None:
    volume, truth = on_grid("axial")
    hollow = truth.copy()
    middle = tuple(int(axis.mean()) for axis in np.nonzero(truth))
    hollow[tuple(slice(m - 2, m + 3) for m in middle)] = 0
    given = write_label(tmp_path / "hollow.nrrd", volume, hollow)
    out = tmp_path / "x.nrrd"
    assert run("import", given, "--scan", scan, "-o", out) == 0
    assert "Fill it (--fill)" in capsys.readouterr().err
    assert run("import", given, "--scan", scan, "-o", out, "--fill") == 0
    assert "Note" not in capsys.readouterr().err
    np.testing.assert_array_equal(read_label(out, volume), truth)


def test_outputs_that_make_no_sense(scan: Path, given: Path, tmp_path: Path, capsys) -> None:
    for arguments, words in (
        (["-o", tmp_path / "x"], "--as"),
        (["-o", tmp_path / "x.nrrd", "--as", "png"], "no name for png"),
        (["-o", tmp_path / "x.dcm"], "its scan in DICOM"),
        (["-o", tmp_path / "missing" / "x.nrrd"], "does not exist"),
    ):
        assert run("export", given, "--scan", scan, *arguments) == 1
        assert words in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("")
    arguments = ["--scan", scan, "-o", tmp_path / "full", "--as", "png"]
    assert run("export", given, *arguments) == 1
    assert "new or empty" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "given.nii.gz"]


@pytest.mark.slow
def test_fuse_and_compare(scan: Path, tmp_path: Path, capsys) -> None:
    from scipy import ndimage

    volume, truth = on_grid("axial")
    labels = {"A. Author": truth, "B": truth, "C": ndimage.binary_dilation(truth).view(np.uint8)}
    inputs = [
        f"{name}={write_label(tmp_path / f'{n}.nrrd', volume, mask)}"
        for n, (name, mask) in enumerate(labels.items())
    ]
    out, report, picture = tmp_path / "x.seg.nrrd", tmp_path / "x.json", tmp_path / "x.png"
    outputs = ["--json", report, "--picture", picture]
    assert run("fuse", *inputs, "--scan", scan, "-o", out, *outputs) == 0
    np.testing.assert_array_equal(read_label(out, volume), truth)
    np.testing.assert_array_equal(read_label(out, volume, "C"), labels["C"])
    said = json.loads(report.read_text())
    assert said["method"] == "staple"
    assert set(said["authors"]) == set(labels)
    assert said["authors"]["C"]["specificity"] < said["authors"]["B"]["specificity"]
    assert {row["region"] for row in said["agreement"]} >= {"whole", "upper third", "left half"}
    assert picture.stat().st_size > 10_000
    capsys.readouterr()
    assert run("compare", *inputs, "--scan", scan) == 0
    table = capsys.readouterr().out
    assert "A. Author and B" in table
    assert str(tmp_path) not in table
    [line] = [row for row in table.splitlines() if row.startswith("  whole")][:1]
    assert line.split()[1:] == ["1.0000", "1.000", "1.000", "0.00", "0.00", "0.0"]


def test_authors_need_names_of_their_own(scan: Path, given: Path, capsys) -> None:
    assert run("compare", f"A={given}", f"A={given}", "--scan", scan) == 1
    assert "name of its own" in capsys.readouterr().err
    for text in (str(given), "Head=x", "A=", "<A>=x"):
        with pytest.raises(SystemExit):
            run("compare", text, f"B={given}", "--scan", scan)
