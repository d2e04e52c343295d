"""DICOM series without their face as files, and back, pixel by pixel."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from deface_makers import cut_of, mask_of
from scan_makers import GRIDS, set_pixels, write_dicom, write_enhanced
from SkinSegLib.core import (
    LPS_RAS,
    CTVolume,
    OutputError,
    PrivacyError,
    Progress,
    ScanReadError,
    SkinMask,
)
from SkinSegLib.privacy import deface_files, vault
from SkinSegLib.privacy.deface import Defaced, DefaceOptions, FaceCut
from SkinSegLib.privacy.deface_files import DefaceJob, deface_scan
from SkinSegLib.privacy.objects import Refused, as_file
from SkinSegLib.privacy.restore import restore
from SkinSegLib.privacy.side_file import SideFile
from SkinSegLib.scan import read
from test_privacy_frames import plant

PASSPHRASE = "correct horse battery"
GRID = GRIDS["oblique"]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with less memory than in earnest."""
    monkeypatch.setattr(vault, "_LOG_N", 12)


def fake(**values: Any) -> Any:
    return SimpleNamespace(**values)


def hounsfield(seed: int = 1) -> np.ndarray:
    """Even numbers, so that a slope of two stores them; a part of them is bone."""
    return 2 * np.random.default_rng(seed).integers(-500, 400, GRID.shape).astype(np.int16)


def wavy_cut(blur: bool) -> FaceCut:
    """A cut that goes through the scan, in a part of its slices."""
    rng = np.random.default_rng(2)
    corners = [GRID.ras((i, j, k)) for i in (0, 10) for j in (0, 8) for k in (0, 5)]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    nz, ny, nx = np.ceil((high - low)[::-1] / 1.5).astype(int) + 1
    smooth = rng.uniform(-900, 0, (nz, ny, nx)).astype(np.float32)
    cut = cut_of(
        rng.uniform(low[1] + 2, high[1] - 2, (nz, nx)),
        **{"low": low, "fill_hu": -999.0, "smooth": smooth if blur else None},
    )
    face = replace(cut.face, top=float(low[2]) + 1, bottom=float(low[2]), back=-900.0)
    return replace(cut, face=face)


@pytest.fixture(params=[False, True], ids=["remove", "blur"])
def cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FaceCut:
    """What defacing takes for the cut."""
    made = wavy_cut(request.param)

    def given(volume: CTVolume, mask: SkinMask, options: DefaceOptions) -> Defaced:
        nothing: Any = None
        return Defaced(volume, np.zeros(volume.voxels.shape, bool), mask, made, nothing)

    monkeypatch.setattr(deface_files, "deface", given)
    return made


def job_of(folder: Path, **changes: Any) -> DefaceJob:
    given = {"side": folder / "side", "passphrase": PASSPHRASE} | changes
    return DefaceJob(folder / "in", folder / "out", DefaceOptions(), **given)


def run(job: DefaceJob, progress: Progress | None = None) -> int:
    def solid(volume: CTVolume, inner: Progress) -> SkinMask:
        with inner.stage("Segment", 1.0):
            return mask_of(np.ones(volume.voxels.shape), np.array(volume.ijk_to_ras))

    return deface_scan(job, solid, progress or Progress())[1]


def expected(cut: FaceCut, before: np.ndarray, step: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """HU after, slice by slice, in multiples of a step, and which pixels are new."""
    after, region = before.copy(), np.zeros(before.shape, bool)
    for k in range(len(before)):
        matrix = np.eye(4)
        for column, beside in ((0, (1, 0, k)), (1, (0, 1, k))):
            matrix[:3, column] = GRID.ras(beside) - GRID.ras((0, 0, k))
        matrix[:3, 3] = GRID.ras((0, 0, k))
        region[k] = cut.region(matrix, before[k])
        after[k][region[k]] = step * np.rint(cut.replacement(matrix, region[k]) / step)
    assert region.any(axis=(1, 2)).sum() > 2
    assert not region.any(axis=(1, 2)).all()
    assert 0.1 < region.mean() < 0.8
    return after, region


def by_place(folder: Path) -> list[Any]:
    """The data sets of a folder along the grid's third axis."""
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    for path, data in zip(folder.iterdir(), files, strict=True):
        assert path.name == f"{data.SOPInstanceUID}.dcm" or folder.name == "in"
    axis = GRID.axes[:, 2]
    return sorted(files, key=lambda d: float(np.dot(d.ImagePositionPatient, axis)))


def test_each_slice_loses_what_is_before_the_sheet(tmp_path: Path, cut: FaceCut) -> None:
    """Stored with a slope and an intercept, in twelve bits without sign; and comes back."""
    before = hounsfield()
    stored = ((before + 1024) // 2).astype(np.uint16)
    write_dicom(tmp_path / "in", GRID, stored, RescaleSlope=2, RescaleIntercept=-1024,
                BitsStored=12, HighBit=11, SmallestImagePixelValue=1)  # fmt: skip
    told: list[tuple[str, float]] = []
    progress = Progress(lambda *what: told.append(what))
    assert run(job_of(tmp_path), progress) == len(before)
    after, region = expected(cut, before)
    files, old = by_place(tmp_path / "out"), by_place(tmp_path / "in")
    assert [f.pixel_array.dtype for f in files] == [np.uint16] * len(files)
    np.testing.assert_array_equal(
        np.stack([2 * f.pixel_array.astype(int) - 1024 for f in files]), after
    )
    assert {f.SeriesInstanceUID for f in files}.isdisjoint({f.SeriesInstanceUID for f in old})
    assert len({f.SeriesInstanceUID for f in files}) == 1
    assert [f.PatientName for f in files] == [f.PatientName for f in old]
    assert not any("SmallestImagePixelValue" in f for f in files)
    kept = SideFile.load(tmp_path / "side", PASSPHRASE)
    assert kept.pieces.keys() == {f.SOPInstanceUID for f in files}
    for k, data in enumerate(files):
        piece = kept.pieces[data.SOPInstanceUID]
        assert piece.shape == before[k].shape
        np.testing.assert_array_equal(piece.values, stored[k][region[k]])

    stages = {name: [f for n, f in told if n == name] for name, _ in told}
    writing = [0.7 + 0.3 * n / len(before) for n in range(len(before))]
    assert stages["Write"] == pytest.approx([0.7, *writing, 1.0])
    reading = [0.0, *np.linspace(0.075, 0.13125, 6), 0.15, 0.15]
    assert stages["Read"] == pytest.approx(reading)
    ends = {name: (share[0], share[-1]) for name, share in stages.items() if name != "Write"}
    assert ends == {"Read": (0.0, 0.15), "Segment": (0.15, 0.55), "Face": (0.55, 0.7)}
    assert progress.finished

    told.clear()
    progress = Progress(lambda *what: told.append(what))
    count = restore(tmp_path / "out", tmp_path / "side", PASSPHRASE, tmp_path / "back", progress)
    assert count == len(before)
    assert told == [("Restore", pytest.approx(n)) for n in
                    (0.0, *np.arange(count) / count, 1.0)]  # fmt: skip
    assert progress.finished
    back = by_place(tmp_path / "back")
    np.testing.assert_array_equal(np.stack([f.pixel_array for f in back]), stored)
    uids = [{f.SOPInstanceUID for f in some} for some in (old, files, back)]
    assert [len(some) for some in uids] == [count] * 3
    assert len(set.union(*uids)) == 3 * count
    assert len({f.SeriesInstanceUID for f in back}) == 1
    assert {f.RecognizableVisualFeatures for f in back} == {"YES"}


def test_the_series_that_was_asked_for(tmp_path: Path, cut: FaceCut) -> None:
    """By its number, of two in a folder."""
    write_dicom(tmp_path / "in" / "a", GRID, hounsfield(1))
    write_dicom(tmp_path / "in" / "b", GRID, hounsfield(2), SeriesInstanceUID="1.2.3.5",
                SeriesNumber=5)  # fmt: skip
    for series, seed in (("4", 1), ("5", 2)):
        folder = tmp_path / series
        run(replace(job_of(tmp_path, series=series, side=None), target=folder))
        after, _ = expected(cut, hounsfield(seed), 1)
        np.testing.assert_array_equal(np.stack([f.pixel_array for f in by_place(folder)]), after)


def test_of_an_archive_its_own_name_is_told(tmp_path: Path) -> None:
    """And not the folder that it was unpacked to."""
    (path,) = write_dicom(tmp_path / "other", GRID, hounsfield()[:1], Modality="US")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(path, "a.dcm")
    job = replace(job_of(tmp_path), source=tmp_path / "scan.zip")
    with pytest.raises(ScanReadError, match=r"scan\.zip"):
        run(job)
    assert not (tmp_path / "out").exists()


def test_each_frame_of_a_multi_frame_file(tmp_path: Path, cut: FaceCut) -> None:
    """Its frames lie in any order, each with an intercept of its own."""
    before = hounsfield()
    (tmp_path / "in").mkdir()
    write_enhanced(tmp_path / "in" / "a.dcm", GRID, before)
    assert run(job_of(tmp_path)) == 1
    after, _ = expected(cut, before, 1)
    (path,) = (tmp_path / "out").iterdir()
    np.testing.assert_array_equal(along_the_grid(path), after)
    assert restore(path.parent, tmp_path / "side", PASSPHRASE, tmp_path / "b", Progress()) == 1
    (back,) = (tmp_path / "b").iterdir()
    stored = pydicom.dcmread(tmp_path / "in" / "a.dcm").pixel_array
    np.testing.assert_array_equal(pydicom.dcmread(back).pixel_array, stored)


def along_the_grid(path: Path) -> np.ndarray:
    volume = read(path)
    axis = LPS_RAS[:3, :3] @ volume.ijk_to_ras[:3, 2]
    return volume.voxels if axis @ GRID.axes[:, 2] > 0 else volume.voxels[::-1]


def test_a_file_of_more_than_the_scan_is_refused(tmp_path: Path, cut: FaceCut) -> None:
    """With a localizer among its frames; nothing is left of what was written before."""
    (tmp_path / "in").mkdir()
    write_enhanced(tmp_path / "in" / "a.dcm", GRID, hounsfield())
    plant(tmp_path / "in" / "a.dcm", localizer=True)
    with pytest.raises(PrivacyError, match="holds more than this scan"):
        run(job_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_written_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: FaceCut
) -> None:
    def damaged(dataset: Any) -> bytes:
        pixels = dataset.pixel_array.copy()
        pixels[0, 0] += 1
        set_pixels(dataset, pixels)
        return as_file(dataset)

    write_dicom(tmp_path / "in", GRID, hounsfield())
    monkeypatch.setattr(deface_files, "as_file", damaged)
    with pytest.raises(OutputError, match=r"^A slice did not read back as written\. Check"):
        run(job_of(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# De-identified on the way.


class Objects:
    """Blacks out the first pixel, and says what it was given."""

    def __init__(self, refused: str = "") -> None:
        self.asked: list[str] = []
        self.refused = refused
        self.patients = fake(learn=lambda path: self.asked.append(f"learn {path.name[:2]}"))

    def ask(self, what: str) -> None:
        self.asked.append(what)
        if what == self.refused:
            raise Refused("a reason")

    def check_pixels(self, dataset: Any) -> None:
        self.ask("check")
        pixels = dataset.pixel_array.copy()
        pixels[0, 0] = -1000
        set_pixels(dataset, pixels)

    def subject(self, dataset: Any) -> str:
        return f"subject of {dataset.PatientID}"

    def clean(self, dataset: Any, subject: str) -> bytes:
        assert subject == "subject of S3cretID"
        assert dataset.RecognizableVisualFeatures == "NO"
        assert (0x0011, 0x1001) in dataset  # left to this
        self.ask("clean")
        del dataset.PatientName
        return as_file(dataset)


def with_private(folder: Path) -> None:
    for path in write_dicom(folder, GRID, hounsfield()):
        data = pydicom.dcmread(path)
        data.private_block(0x0011, "MAKER", create=True).add_new(1, "OB", b"12")
        data.save_as(path)


def test_a_series_that_is_de_identified_too(tmp_path: Path, cut: FaceCut) -> None:
    """Patients are learned from all files first; text is blacked out before the face is kept."""
    with_private(tmp_path / "in")
    objects: Any = Objects()
    count = run(job_of(tmp_path, objects=objects))
    assert objects.asked == ["learn IM"] * count + ["check", "clean"] * count
    blacked = hounsfield()
    blacked[:, 0, 0] = -1000
    files = by_place(tmp_path / "out")
    after, _ = expected(cut, blacked, 1)
    np.testing.assert_array_equal(np.stack([f.pixel_array for f in files]), after)
    assert not any("PatientName" in f for f in files)
    restore(tmp_path / "out", tmp_path / "side", PASSPHRASE, tmp_path / "back", Progress())
    back = by_place(tmp_path / "back")
    np.testing.assert_array_equal(np.stack([f.pixel_array for f in back]), blacked)


def test_what_makers_keep_in_a_header_may_show_the_face_and_goes(
    tmp_path: Path, cut: FaceCut
) -> None:
    with_private(tmp_path / "in")
    run(job_of(tmp_path, side=None))
    assert not any(tag.group % 2 for data in by_place(tmp_path / "out") for tag in data.keys())  # noqa: SIM118
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}


@pytest.mark.parametrize("step", ["check", "clean"])
def test_what_cannot_be_de_identified_is_not_written(
    tmp_path: Path, cut: FaceCut, step: str
) -> None:
    with_private(tmp_path / "in")
    objects: Any = Objects(step)
    with pytest.raises(PrivacyError, match=r"^The scan cannot be de-identified: a reason\. "
                       r"Nothing was written\.$"):  # fmt: skip
        run(job_of(tmp_path, objects=objects))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


# Back.


def test_only_the_series_that_was_written_is_put_back(tmp_path: Path, cut: FaceCut) -> None:
    """All of it, and nothing else; a folder that is not there is told so."""
    write_dicom(tmp_path / "in", GRID, hounsfield())
    run(job_of(tmp_path))
    side, out, back = (tmp_path / name for name in ("side", "out", "back"))
    with pytest.raises(PrivacyError, match=r"^There is no folder \S+nothing\. Check its name"):
        restore(tmp_path / "nothing", side, PASSPHRASE, back, Progress())
    first, *_ = sorted(out.iterdir())
    content = first.read_bytes()
    first.unlink()
    with pytest.raises(PrivacyError, match="belongs to another scan"):
        restore(out, side, PASSPHRASE, back, Progress())
    first.write_bytes(content[:-100])
    with pytest.raises(PrivacyError, match=rf"^{first.name} is damaged\. Give the defaced scan as"):
        restore(out, side, PASSPHRASE, back, Progress())
    first.write_bytes(content[:153])
    with pytest.raises(PrivacyError, match=rf"^{first.name} is damaged\."):
        restore(out, side, PASSPHRASE, back, Progress())
    first.write_bytes(content)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(PrivacyError, match="not an empty folder"):
        restore(out, side, PASSPHRASE, tmp_path / "full", Progress())
    assert not back.exists()
    restore(out, side, PASSPHRASE, back, Progress())


# A picture.


def test_a_picture_of_what_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from SkinSegLib import surface

    seen: list[Any] = []

    def build(mask: Any, volume: Any, options: Any) -> str:
        seen.append((mask, volume, options))
        return "mesh"

    monkeypatch.setattr(surface, "build", build)
    monkeypatch.setattr(surface, "render_views", lambda *a, **o: seen.append((a, o)))
    done: Any = fake(mask="mask", volume="volume")
    deface_files.render_defaced(done, tmp_path / "a.png")
    assert seen == [
        ("mask", "volume", surface.SurfaceOptions(detail_mm=1.5)),
        (("mesh", tmp_path / "a.png"), {"label": "defaced"}),
    ]
