"""The command: cut, mirrored, scaled, drilled surfaces, and thickness maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from command import names, skinseg, write_scan
from SkinSegLib.cli import main
from SkinSegLib.core import CTVolume, MissingPackageError, Progress, SurfaceError
from SkinSegLib.job import Outputs, run_job
from SkinSegLib.surface import FinishOptions

FAST = ("--engine", "threshold")


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "scan.nrrd")


def write_skull_scan(path: Path, scale: float = 1.0, shift: float = 0.0) -> Path:
    """A head of 70 x 85 x 95 mm with a shell of bone 6 mm under the skin, at 3 mm; as NRRD.

    Grey values are HU * ``scale`` + ``shift``.
    """
    import SimpleITK as sitk

    x, y, z = np.meshgrid(*[np.arange(-108.0, 109.0, 3.0)] * 3, indexing="ij")

    def inside(less: float) -> np.ndarray:
        a, b, c = 70 - less, 85 - less, 95 - less
        return (x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2 < 1

    hu = np.where(inside(0), 40.0, -1000.0)
    hu[inside(6) & ~inside(13)] = 1000.0
    hu += np.random.default_rng(0).normal(0, 10, hu.shape)
    voxels = (hu * scale + shift).astype(np.int16).transpose(2, 1, 0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels))
    image.SetSpacing((3.0, 3.0, 3.0))
    image.SetOrigin((-108.0, -108.0, -108.0))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def skull(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_skull_scan(tmp_path_factory.mktemp("skull") / "skull.nrrd")


def segment(scan: Path, mesh: Path, *more: object) -> tuple[dict, trimesh.Trimesh]:
    report = mesh.with_suffix(".json")
    given = ["segment", scan, "-o", mesh, "--json", report, *FAST, *more]
    assert main([str(part) for part in given]) == 0
    return json.loads(report.read_text()), trimesh.load_mesh(mesh)


# --- what is done to a surface


def test_nothing_is_done_unless_asked_for(scan: Path, tmp_path: Path) -> None:
    report, body = segment(scan, tmp_path / "skin.stl")
    assert report["finish"] is None
    assert body.extents == pytest.approx([154, 189, 190], abs=4)


def test_cut_and_scaled(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("manifold3d", reason="manifold3d is not installed: skinseg[mesh]")
    report, body = segment(scan, tmp_path / "skin.stl", "--cut-below", "-20.5", "--scale", "0.5")
    out = capsys.readouterr().out
    assert body.is_watertight
    assert body.volume > 0
    assert body.extents == pytest.approx([77, 94.5, (95 + 20.5) / 2], abs=2)
    assert len(body.faces) == report["triangles"]
    assert report["closed"] is True
    assert report["volume_ml"] == pytest.approx(2400, rel=0.05), "of the patient's head"
    finish = report["finish"]
    assert (finish["cut_below_s_mm"], finish["scale"]) == (-20.5, 0.5)
    for words in ("Cut off below S -20.5 mm.", "Scaled by 0.5"):
        assert words in out
        assert any(words in said for said in finish["done"])
    assert "Finish" in report["seconds"]


def test_mirrored(scan: Path, tmp_path: Path) -> None:
    """The ear of the made head is on its right, which is -x in LPS."""
    _, plain = segment(scan, tmp_path / "skin.stl")
    report, body = segment(scan, tmp_path / "skin_mirrored.stl", "--mirror", "left-right")
    assert report["finish"]["mirror"] == "left-right"
    assert body.is_watertight
    assert body.volume == pytest.approx(plain.volume, rel=1e-5)
    assert body.bounds == pytest.approx(plain.bounds, abs=1e-3)
    slab = [np.abs(mesh.vertices[:, 1] + 5) < 3 for mesh in (plain, body)]
    middle = plain.bounds[:, 0].mean()
    ear = [
        mesh.vertices[rows][:, 0] - middle for mesh, rows in zip((plain, body), slab, strict=True)
    ]
    assert ear[0].mean() == pytest.approx(-ear[1].mean(), abs=0.1)
    assert abs(ear[0].mean()) > 1


@pytest.mark.parametrize("which", ["-o", "--preview"])
def test_a_mirrored_head_needs_a_name_that_says_so(
    scan: Path, tmp_path: Path, which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"-o": "mirrored.stl", "--preview": "mirrored.png"}
    files[which] = files[which].replace("mirrored", "face")
    given = [str(part) for item in files.items() for part in (item[0], tmp_path / item[1])]
    with pytest.raises(SystemExit) as stop:
        main(["segment", str(scan), *given, "--mirror", "left-right"])
    assert stop.value.code == 2
    assert f"Name it face-mirrored{Path(files[which]).suffix}" in capsys.readouterr().err
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--drain-hole", "5"], "needs --layer"),
        (["--drain-hole", "0.1", "--layer", "2"], "out of range"),
        (["--scale", "0"], "out of range"),
        (["--scale", "-1"], "out of range"),
        (["--cut-below", "chin"], "is no number"),
        (["--mirror", "front"], "invalid choice"),
    ],
)
def test_bad_usage(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["segment", "a.nrrd", "-o", "a.stl", *given])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_a_drain_hole_through_the_layer(scan: Path, tmp_path: Path) -> None:
    """The made head floats free in its scan: its shell is closed."""
    pytest.importorskip("manifold3d", reason="manifold3d is not installed: skinseg[mesh]")
    _, shell = segment(scan, tmp_path / "shell.ply", "--layer", "6")
    report, body = segment(scan, tmp_path / "skin.ply", "--layer", "6", "--drain-hole", "8")
    assert shell.body_count > body.body_count
    assert body.is_watertight
    assert "Drain hole of 8 mm" in report["finish"]["done"][0]
    gone = shell.volume - body.volume
    assert gone == pytest.approx(np.pi * 16 * 6, rel=0.15)


def test_a_cut_that_leaves_nothing_writes_nothing(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("manifold3d", reason="manifold3d is not installed: skinseg[mesh]")
    given = ["segment", str(scan), "-o", str(tmp_path / "s.stl"), *FAST, "--cut-below", "500"]
    assert main(given) == 1
    assert "all of the surface is below it" in capsys.readouterr().err
    assert names(tmp_path) == []


def test_what_is_missing_is_found_before_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(progress: Progress) -> CTVolume:
        raise AssertionError("the scan was read")

    outputs = Outputs(tmp_path / "skin.stl")
    with pytest.raises(SurfaceError, match="Choose a layer"):
        run_job(never, outputs, Progress(), finish=FinishOptions(drain_hole_mm=5.0))
    monkeypatch.setitem(__import__("sys").modules, "manifold3d", None)
    with pytest.raises(MissingPackageError, match=r"skinseg\[mesh\]"):
        run_job(never, outputs, Progress(), finish=FinishOptions(cut_below_s_mm=-80.0))


@pytest.mark.slow
def test_demo_names_its_files_mirrored(scan: Path, tmp_path: Path) -> None:
    done = skinseg("demo", scan, "-o", tmp_path / "out", *FAST, "--mirror", "left-right")
    assert done.returncode == 0, done.stderr
    assert "not the patient's head" in done.stdout
    assert {"skin-mirrored.stl", "report.json"} <= set(names(tmp_path / "out"))
    assert "skin.stl" not in names(tmp_path / "out")


# --- thickness


def thickness(scan: Path, mesh: Path, *more: object) -> int:
    return main([str(part) for part in ("thickness", scan, "-o", mesh, *FAST, *more)])


def test_thickness_in_figures_and_as_a_mesh(
    skull: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mesh, figures = tmp_path / "map.ply", tmp_path / "map.json"
    assert thickness(skull, mesh, "--json", figures, "--bone-hu", "520") == 0
    out, err = capsys.readouterr()
    known = json.loads(figures.read_text())
    found = known["thickness"]
    # 3 mm voxels that know no partial volume: the surface is off by a part of a voxel.
    assert found["median_mm"] == pytest.approx(6, abs=0.7)
    assert found["p5_mm"] < found["median_mm"] < found["p95_mm"]
    assert found["without_bone"] == 0
    assert (found["bone_hu"], found["range_mm"]) == (520, [0, 20])
    assert known["volume_ml"] == pytest.approx(4 / 3 * np.pi * 7 * 8.5 * 9.5, rel=0.05)
    assert f"median {found['median_mm']:.1f} mm" in out
    assert f"Wrote {mesh}" in out
    assert "Not a medical device" in out
    assert all(stage in err for stage in ("Bone", "Thickness"))
    body = trimesh.load(mesh, process=False)
    assert len(np.unique(body.visual.vertex_colors, axis=0)) > 10
    assert names(tmp_path) == ["map.json", "map.ply"]


def test_uncalibrated_scans_need_a_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Air at 0 and tissue at 520: 300 HU lie at 650, and the message says so."""
    scan = write_skull_scan(tmp_path / "cbct.nrrd", scale=0.5, shift=500)
    assert thickness(scan, tmp_path / "map.ply") == 1
    err = capsys.readouterr().err
    assert "no calibrated HU" in err
    suggested = float(err.split("try ")[1].split(",")[0])
    assert suggested == pytest.approx(650, abs=25)
    assert "Locate" not in err, "found out before the work"
    assert thickness(scan, tmp_path / "map.ply", "--bone-hu", suggested) == 0
    assert "Bone" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--bone-hu", "0"], 1, "not above the scan's soft tissue"),
        (["--bone-hu", "2500"], 1, "no bone within the skin"),
        (["--range", "9", "3"], 1, "the second the larger"),
        (["--json", "none/r.json"], 1, "does not exist"),
    ],
)
def test_thickness_that_cannot_be(
    skull: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert thickness(skull, tmp_path / "map.ply", *given) == code
    assert words in capsys.readouterr().err
    assert names(tmp_path) == []


def test_other_endings_are_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["thickness", "a.nrrd", "-o", "a.stl"])
    assert stop.value.code == 2
    assert ".ply, .vtp" in capsys.readouterr().err


@pytest.mark.slow
def test_thickness_of_the_cranium(cranium_path: Path, tmp_path: Path) -> None:
    """A real head: a few mm over the vault, more over cheeks and temples."""
    mesh, figures = tmp_path / "map.vtp", tmp_path / "map.json"
    done = skinseg("thickness", cranium_path, "-o", mesh, "--json", figures, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())["thickness"]
    assert found["median_mm"] == pytest.approx(6.4, abs=0.5)
    assert found["p5_mm"] == pytest.approx(3.7, abs=0.5)
    assert found["without_bone"] < 0.02

    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(mesh))
    reader.Update()
    points = vtk_to_numpy(reader.GetOutput().GetPoints().GetData())
    values = vtk_to_numpy(reader.GetOutput().GetPointData().GetArray("thickness_mm"))
    vault = points[:, 2] > points[:, 2].max() - 40
    assert np.nanpercentile(values[vault], [1, 99]) == pytest.approx([4, 6], abs=3.5)
