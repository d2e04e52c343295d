"""The face is gone, everything else is as it was, and it comes back bit for bit with the key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from marks import slow
from phantom_makers import ras_of_voxels, whole
from privacy_makers import KEY
from scan_makers import Grid, write_dicom, write_enhanced
from SkinSegLib.core import LPS_RAS, Cancelled, CTVolume, PrivacyError, Progress, SkinMask
from SkinSegLib.privacy import DeidentifyOptions, Pseudonyms, vault
from SkinSegLib.privacy.audit import FACE, AuditOptions, audit
from SkinSegLib.privacy.deface import Defaced, DefaceOptions, deface
from SkinSegLib.privacy.deface_files import VISUAL, DefaceJob, deface_scan
from SkinSegLib.privacy.face import find_face, on_axes
from SkinSegLib.privacy.objects import ObjectDeidentifier
from SkinSegLib.privacy.restore import restore
from SkinSegLib.scan import read
from SkinSegLib.training.phantom import Phantom, make_phantom
from test_privacy_frames import plant

PASSPHRASE = "correct horse battery"
LEVEL = -480.0


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(whole(3.0))


@pytest.fixture(scope="module")
def mask(phantom: Phantom) -> SkinMask:
    return SkinMask(phantom.truth, phantom.volume.ijk_to_ras, "truth", LEVEL)


@pytest.fixture(scope="module")
def plain(phantom: Phantom, mask: SkinMask) -> Defaced:
    return deface(phantom.volume, mask)


def turned(volume: CTVolume, mask: SkinMask, matrix: np.ndarray) -> tuple[CTVolume, SkinMask]:
    """The same voxels with the patient elsewhere: RAS points multiplied with ``matrix``."""
    to_ras = matrix @ volume.ijk_to_ras
    return replace(volume, ijk_to_ras=to_ras), replace(mask, ijk_to_ras=to_ras)


@pytest.mark.parametrize("mode", ["remove", "blur"])
def test_the_face_is_gone_and_nothing_else(
    phantom: Phantom, mask: SkinMask, plain: Defaced, mode: str
) -> None:
    before = phantom.volume
    done = plain if mode == "remove" else deface(before, mask, DefaceOptions(mode))
    np.testing.assert_array_equal(done.volume.voxels[~done.region], before.voxels[~done.region])
    np.testing.assert_array_equal(done.volume.ijk_to_ras, before.ijk_to_ras)
    assert done.volume.voxels.dtype == before.voxels.dtype
    # The tip of the phantom's nose, from its exact surface.
    skin = phantom.surface_points(3.0)
    nose = skin[np.argmax(skin[:, 1])]
    assert np.linalg.norm(np.array(done.cut.face.tip) - nose) < 5
    place = ras_of_voxels(before)
    x, y, z = np.moveaxis(place, -1, 0)
    assert y[done.region].min() > 0  # nothing behind the ears
    # Skull and brain: no bone is touched, nor what lies behind it.
    bone = (before.voxels > 400) & (mask.voxels > 0)
    assert bone.sum() > 5000
    assert not (bone & done.region).any()
    brain = (x / 62) ** 2 + (y / 85) ** 2 + ((z - 57) / 62) ** 2 < 1
    brain &= (before.voxels > 0) & (before.voxels < 60)  # without the frontal sinus
    assert brain.sum() > 25000
    assert not (brain & done.region).any()
    if mode == "remove":
        assert len(np.unique(done.volume.voxels[done.region])) == 1
    assert done.proof.mean_mm > 2.0
    assert done.proof.removed_ml > 100


def test_deeper_takes_more(phantom: Phantom, mask: SkinMask, plain: Defaced) -> None:
    less = deface(phantom.volume, mask, DefaceOptions(depth_mm=7.5))
    assert less.proof.removed_ml < 0.85 * plain.proof.removed_ml


def test_the_distance_is_measured_on_an_answer_that_is_known(
    phantom: Phantom, mask: SkinMask
) -> None:
    """A face that is only shifted is found again by aligning; so that is no hiding."""
    from SkinSegLib.privacy.deface import face_cut, prove

    grid = on_axes(phantom.volume, mask)
    cut = face_cut(grid, mask, DefaceOptions())
    same = prove(grid, grid, cut, mask, 0.0)
    assert same.before_mm < 0.01
    assert same.mean_mm < 0.05
    shifted = replace(
        grid, grey=np.roll(grid.grey, -4, axis=1), head=np.roll(grid.head, -4, axis=1)
    )
    found = prove(grid, shifted, cut, mask, 0.0)
    assert found.before_mm > 1.5
    assert found.mean_mm < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("flips", [*slow([((2,),)]), (0, 1, 2)])
def test_any_order_of_voxels(
    phantom: Phantom, mask: SkinMask, plain: Defaced, flips: tuple[int, ...]
) -> None:
    """Axes that run the other way, left-handed grids too, and slices along another axis."""
    voxels, truth = phantom.volume.voxels, mask.voxels
    matrix = np.array(phantom.volume.ijk_to_ras)
    for axis in flips:
        voxels, truth = np.flip(voxels, axis), np.flip(truth, axis)
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (voxels.shape[axis] - 1)
        matrix[:3, column] *= -1
    voxels, truth = voxels.transpose(1, 2, 0), truth.transpose(1, 2, 0)  # (j, i, k): coronal
    matrix = matrix[:, [2, 0, 1, 3]]
    volume = CTVolume(np.ascontiguousarray(voxels), matrix)
    done = deface(volume, replace(mask, voxels=np.ascontiguousarray(truth), ijk_to_ras=matrix))
    region = done.region.transpose(2, 0, 1)
    for axis in flips:
        region = np.flip(region, axis)
    assert np.count_nonzero(region != plain.region) < 0.01 * np.count_nonzero(plain.region)


@pytest.mark.parametrize("axis", ["yaw", *slow(["pitch"])])
def test_a_head_that_is_turned(phantom: Phantom, mask: SkinMask, axis: str) -> None:
    from scan_makers import rotation

    matrix = np.eye(4)
    matrix[:3, :3] = rotation(15, (1, 0, 0) if axis == "pitch" else (0, 0, 1))
    volume, turned_mask = turned(phantom.volume, mask, matrix)
    done = deface(volume, turned_mask)
    skin = phantom.surface_points(3.0)
    nose = matrix[:3, :3] @ skin[np.argmax(skin[:, 1])]
    assert np.linalg.norm(np.array(done.cut.face.tip) - nose) < 8
    assert done.proof.mean_mm > 2.0


def test_a_face_that_cannot_be_told(phantom: Phantom, mask: SkinMask) -> None:
    back = np.diag([-1.0, -1.0, 1.0, 1.0])  # the header has front and back the wrong way round
    sideways = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for matrix in (back, sideways):
        volume, wrong = turned(phantom.volume, mask, matrix)
        with pytest.raises(PrivacyError, match="front"):
            deface(volume, wrong)
    z = ras_of_voxels(phantom.volume)[:, 0, 0, 2]
    vertex = z > 30  # no nose
    matrix = np.array(phantom.volume.ijk_to_ras)
    matrix[2, 3] = z[vertex][0]
    part = CTVolume(phantom.volume.voxels[vertex], matrix)
    with pytest.raises(PrivacyError, match="nose"):
        deface(part, replace(mask, voxels=mask.voxels[vertex], ijk_to_ras=matrix))
    empty = replace(mask, voxels=np.zeros_like(mask.voxels))
    with pytest.raises(PrivacyError, match="no head"):
        deface(phantom.volume, empty)


def test_a_scan_that_ends_at_the_lips_is_said_to(phantom: Phantom, mask: SkinMask) -> None:
    z = ras_of_voxels(phantom.volume)[:, 0, 0, 2]
    kept = z > -45
    matrix = np.array(phantom.volume.ijk_to_ras)
    matrix[2, 3] = z[kept][0]
    part = CTVolume(phantom.volume.voxels[kept], matrix)
    part_mask = replace(mask, voxels=mask.voxels[kept], ijk_to_ras=matrix)
    found = find_face(on_axes(part, part_mask), LEVEL)
    assert found.cut_off
    assert not find_face(on_axes(phantom.volume, mask), LEVEL).cut_off


@pytest.mark.slow
def test_a_face_that_would_still_be_there(phantom: Phantom, mask: SkinMask) -> None:
    with pytest.raises(PrivacyError, match="still be there"):
        deface(phantom.volume, mask, DefaceOptions("blur", depth_mm=3.0))


@pytest.mark.parametrize("options", [{"mode": "hide"}, {"depth_mm": 1}, {"depth_mm": np.nan}])
def test_options_that_make_no_sense(options: dict) -> None:
    with pytest.raises(PrivacyError):
        DefaceOptions(**options)


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault, "_LOG_N", 12)


def as_series(folder: Path, volume: CTVolume, **changes: object) -> list[Path]:
    lps = LPS_RAS @ volume.ijk_to_ras
    axes = lps[:3, :3] / volume.spacing
    grid = Grid(axes, volume.spacing, tuple(lps[:3, 3]), volume.voxels.shape)
    return write_dicom(folder, grid, volume.voxels, **changes)


def pixels_by_place(folder: Path) -> dict[float, np.ndarray]:
    files = [pydicom.dcmread(path) for path in folder.iterdir()]
    return {float(data.ImagePositionPatient[2]): data.pixel_array for data in files}


@pytest.mark.usefixtures("fast")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["remove", "blur"])
def test_a_dicom_series_and_back(
    tmp_path: Path, phantom: Phantom, mask: SkinMask, mode: str
) -> None:
    as_series(tmp_path / "in", phantom.volume, BodyPartExamined="HEAD")
    job = DefaceJob(
        tmp_path / "in",
        tmp_path / "out",
        DefaceOptions(mode),
        objects=ObjectDeidentifier(DeidentifyOptions(), Pseudonyms(KEY), (VISUAL,)),
        side=tmp_path / "side",
        passphrase=PASSPHRASE,
    )
    shares: list[float] = []
    progress = Progress(lambda _, fraction: shares.append(fraction))
    done, count = deface_scan(job, lambda *_: mask, progress)
    assert count == len(phantom.volume.voxels)
    assert shares == sorted(shares)
    after = read(tmp_path / "out")
    np.testing.assert_array_equal(after.voxels, done.volume.voxels)
    np.testing.assert_allclose(after.ijk_to_ras, phantom.volume.ijk_to_ras, atol=1e-4)
    data = pydicom.dcmread(next((tmp_path / "out").iterdir()))
    assert data.RecognizableVisualFeatures == "NO"
    assert data.ImageType[0] == "DERIVED"
    codes = [item.CodeValue for item in data.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113102"]
    assert data.PatientID == Pseudonyms(KEY).patient("S3cretID")
    assert data.BodyPartExamined == "HEAD"
    sealed = AuditOptions(pseudonyms=Pseudonyms(KEY))
    assert len(audit(tmp_path / "out", sealed).passed) == count
    for path in (tmp_path / "in").iterdir():
        assert pydicom.dcmread(path).SOPInstanceUID.encode() not in data.SOPInstanceUID.encode()
    restore(tmp_path / "out", tmp_path / "side", PASSPHRASE, tmp_path / "back", Progress())
    before, back = pixels_by_place(tmp_path / "in"), pixels_by_place(tmp_path / "back")
    assert before.keys() == back.keys()
    for place, pixels in before.items():
        assert back[place].dtype == pixels.dtype
        np.testing.assert_array_equal(back[place], pixels)
    again = pydicom.dcmread(next((tmp_path / "back").iterdir()))
    assert again.RecognizableVisualFeatures == "YES"
    assert [i.CodeValue for i in again.DeidentificationMethodCodeSequence] == ["113100"]
    assert FACE in audit(tmp_path / "back", AuditOptions()).problems


@pytest.mark.usefixtures("fast")
def test_a_multi_frame_file_is_defaced_and_back(
    tmp_path: Path, phantom: Phantom, mask: SkinMask
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    lps = LPS_RAS @ phantom.volume.ijk_to_ras
    axes = lps[:3, :3] / phantom.volume.spacing
    shape = phantom.volume.voxels.shape
    grid = Grid(axes, phantom.volume.spacing, tuple(lps[:3, 3]), shape)
    write_enhanced(source / "a.dcm", grid, phantom.volume.voxels)
    plant(source / "a.dcm")
    objects = ObjectDeidentifier(DeidentifyOptions(), Pseudonyms(KEY), (VISUAL,))
    job = DefaceJob(
        *(source, tmp_path / "out", DefaceOptions(), None),
        *(objects, tmp_path / "side", PASSPHRASE),
    )
    done, count = deface_scan(job, lambda *_: mask, Progress())
    assert count == 1
    (path,) = (tmp_path / "out").iterdir()
    after = read(path)
    np.testing.assert_array_equal(after.voxels, done.volume.voxels)
    assert (after.voxels != phantom.volume.voxels).sum() > 1000
    assert b"SECRET" not in path.read_bytes()
    data = pydicom.dcmread(path)
    kinds = {
        g.CTImageFrameTypeSequence[0].FrameType[0] for g in data.PerFrameFunctionalGroupsSequence
    }
    assert kinds == {data.ImageType[0]} == {"DERIVED"}
    restore(tmp_path / "out", tmp_path / "side", PASSPHRASE, tmp_path / "back", Progress())
    (back,) = (tmp_path / "back").iterdir()
    before = pydicom.dcmread(source / "a.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(back).pixel_array, before.pixel_array)


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("ending", [".nii.gz", *slow([".nrrd", ".mha"])])
def test_a_volume_and_back(tmp_path: Path, phantom: Phantom, mask: SkinMask, ending: str) -> None:
    import SimpleITK as sitk

    lps = LPS_RAS @ phantom.volume.ijk_to_ras
    image = sitk.GetImageFromArray(phantom.volume.voxels)
    image.SetSpacing(phantom.volume.spacing)
    image.SetDirection((lps[:3, :3] / phantom.volume.spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    source, target = tmp_path / f"in{ending}", tmp_path / f"out{ending}"
    sitk.WriteImage(image, str(source))
    side = tmp_path / "side"
    job = DefaceJob(source, target, DefaceOptions(), side=side, passphrase=PASSPHRASE)
    done, _ = deface_scan(job, lambda *_: mask, Progress())
    np.testing.assert_array_equal(read(target).voxels, done.volume.voxels)
    assert PASSPHRASE.encode() not in side.read_bytes()
    back = tmp_path / f"back{ending}"
    with pytest.raises(PrivacyError, match="wrong"):
        restore(target, side, "another passphrase", back, Progress())
    with pytest.raises(PrivacyError, match="not the one"):
        restore(source, side, PASSPHRASE, back, Progress())
    assert not back.exists()
    restore(target, side, PASSPHRASE, back, Progress())
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(back))),
        (sitk.GetArrayFromImage(sitk.ReadImage(str(source)))),
    )


@pytest.mark.slow
def test_a_zip(tmp_path: Path, phantom: Phantom, mask: SkinMask) -> None:
    import shutil

    as_series(tmp_path / "in", phantom.volume)
    archive = Path(shutil.make_archive(str(tmp_path / "scan"), "zip", tmp_path / "in"))
    job = DefaceJob(archive, tmp_path / "out", DefaceOptions())
    done, _ = deface_scan(job, lambda *_: mask, Progress())
    np.testing.assert_array_equal(read(tmp_path / "out").voxels, done.volume.voxels)


def test_cancelled_while_writing(tmp_path: Path, phantom: Phantom, mask: SkinMask) -> None:
    as_series(tmp_path / "in", phantom.volume)
    seen: list[str] = []
    progress = Progress(lambda stage, _: seen.append(stage), lambda: seen.count("Write") > 9)
    job = DefaceJob(tmp_path / "in", tmp_path / "out", DefaceOptions())
    with pytest.raises(Cancelled):
        deface_scan(job, lambda *_: mask, progress)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_targets_that_are_refused(tmp_path: Path, phantom: Phantom, mask: SkinMask) -> None:
    as_series(tmp_path / "in", phantom.volume)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    job = DefaceJob(tmp_path / "in", tmp_path / "full", DefaceOptions())
    with pytest.raises(PrivacyError, match="empty"):
        deface_scan(job, lambda *_: mask, Progress())
    (tmp_path / "a.nrrd").write_bytes(b"NRRD")
    job = DefaceJob(tmp_path / "a.nrrd", tmp_path / "b.nii", DefaceOptions())
    with pytest.raises(PrivacyError, match="ends the same"):
        deface_scan(job, lambda *_: mask, Progress())
    job = DefaceJob(tmp_path / "a.nrrd", tmp_path / "a.nrrd", DefaceOptions())
    with pytest.raises(PrivacyError, match="itself"):
        deface_scan(job, lambda *_: mask, Progress())
