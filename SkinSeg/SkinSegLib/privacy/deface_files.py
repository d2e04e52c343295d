"""Scans without the face as files: a DICOM series as a series, a volume in its own format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core import (
    LPS_RAS,
    CTVolume,
    OutputError,
    PrivacyError,
    Progress,
    Replacements,
    SkinMask,
    replacing_together,
)
from ..scan import read
from ..scan.archive import unpacked
from ..scan.dicom_folder import found_below, read_found
from ..scan.dicom_header import Frame, is_dicom, read_dataset
from ..scan.headers import check_nifti, not_finite
from ..scan.images import SUFFIXES, image_suffix
from .deface import Defaced, DefaceOptions, FaceCut, deface
from .objects import ObjectDeidentifier, Refused, as_file
from .pixels import frames_of, set_frames
from .pseudonyms import random_pseudonyms
from .side_file import SideFile, digest
from .volumes import clean_volume

#: Makes the mask of a scan.
MaskOf = Callable[[CTVolume, Progress], SkinMask]
_OF_THE_OLD_PIXELS = (
    *("SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries"),
    *("LargestPixelValueInSeries", "IconImageSequence", "FloatPixelData", "DoubleFloatPixelData"),
)
VISUAL = "CleanRecognizableVisualFeaturesOption"
_READ, _SEGMENT, _FACE, _WRITE = 0.15, 0.4, 0.15, 0.3


@dataclass(frozen=True)
class DefaceJob:
    """``source``: scan; ``target``: a new or empty folder for a DICOM series, else a file with the
    source's ending. ``series``: see :func:`SkinSegLib.scan.read`. ``objects``: de-identifies too;
    None leaves the header as it is but for what must change. ``side``, ``passphrase``: where the
    face goes, encrypted; None for nowhere.
    """

    source: Path
    target: Path
    options: DefaceOptions
    series: str | None = None
    objects: ObjectDeidentifier | None = None
    side: Path | None = None
    passphrase: str = ""


def deface_scan(job: DefaceJob, mask_of: MaskOf, progress: Progress) -> tuple[Defaced, int]:
    """Deface a scan file or series; returns what was done and the number of files written.

    All files are written, or none. Of a DICOM input only the series that was chosen comes out, with
    new series and instance UIDs. Raises PrivacyError, ScanReadError, OutputError, Cancelled.
    """
    suffix = image_suffix(job.source)
    check_target(job, suffix)
    if suffix is not None:
        with progress.part(0.0, _READ).stage("Read", 1.0) as part:
            volume = read(job.source, None, part)
        done = _computed(volume, job, mask_of, progress)
        with progress.part(1 - _WRITE, _WRITE).stage("Write", 1.0), replacing_together() as files:
            _write_volume(job, suffix, volume, done, files)
            progress.finish()
        return done, 1
    with _folder(job) as (folder, series):
        with progress.part(0.0, _READ).stage("Read", 1.0) as part:
            frames, found = found_below(folder, series, None, job.source)
            volume = read_found(frames, found, part)
        done = _computed(volume, job, mask_of, progress)
        part = progress.part(1 - _WRITE, _WRITE)
        with part.stage("Write", 1.0), made_folder(job.target), replacing_together() as files:
            count = _write_series(job, frames, done.cut, files, part)
            progress.finish()
    return done, count


def _computed(volume: CTVolume, job: DefaceJob, mask_of: MaskOf, progress: Progress) -> Defaced:
    mask = mask_of(volume, progress.part(_READ, _SEGMENT))
    with progress.part(_READ + _SEGMENT, _FACE).stage("Face", 1.0):
        return deface(volume, mask, job.options)


def check_target(job: DefaceJob, suffix: str | None) -> None:
    """Raise PrivacyError for files that must not be written; ``suffix``: None for a series."""
    if job.side is not None:
        scans = (job.source.resolve(), job.target.resolve())
        if job.side.resolve() in scans or (job.side.is_file() and is_dicom(job.side)):
            raise PrivacyError(
                "The removed face would take the place of a scan. Choose another name for its file."
            )
    if suffix is not None:
        if image_suffix(job.target) != suffix or suffix in (".nhdr", ".mhd"):
            raise PrivacyError(
                f"The output of a {suffix} file is one file that ends the same "
                "(.nrrd, .nii, .nii.gz or .mha). Choose its name so, or convert the scan."
            )
        if job.target.resolve() == job.source.resolve():
            raise PrivacyError("The output is the scan itself. Choose another name for it.")
        return
    if job.target.exists() and (not job.target.is_dir() or any(job.target.iterdir())):
        raise PrivacyError(
            f"{job.target} is there and not an empty folder. Choose a new folder for the series."
        )


@contextmanager
def _folder(job: DefaceJob) -> Iterator[tuple[Path, str | None]]:
    """The folder of a DICOM scan, and the series in it; one file stands for its series."""
    source = job.source
    if source.is_dir():
        yield source, job.series
    elif source.is_file():
        with open(source, "rb") as file:
            head = file.read(132)
        if head[128:] == b"DICM":
            header = read_dataset(source, stop_before_pixels=True)
            yield source.parent, job.series or str(header.get("SeriesInstanceUID", ""))
        else:
            with unpacked(source) as folder:
                yield folder, job.series
    else:
        raise PrivacyError(f"There is no scan {source}. Check its name.")


def _write_series(
    job: DefaceJob, frames: list[Frame], cut: FaceCut, files: Replacements, progress: Progress
) -> int:
    """Write each file of the frames without the face; returns how many."""
    side, names = SideFile(), random_pseudonyms()
    held: dict[Path, list[Frame]] = {}
    for frame in frames:
        held.setdefault(frame.path, []).append(frame)
    if job.objects is not None:
        for path in held:
            job.objects.patients.learn(path)
    for number, (path, of_file) in enumerate(held.items()):
        progress.update(number / len(held))
        dataset = read_dataset(path)
        _require_whole(dataset, of_file)
        if job.objects is not None:
            _check_pixels(job.objects, dataset)  # first: it may black out text
        before = frames_of(dataset)
        after, region = before.copy(), np.zeros(before.shape, bool)
        for frame in of_file:
            k = frame.index or 0
            region[k] = cut.region(frame_matrix(frame), before[k] * frame.slope + frame.intercept)
            if region[k].any():
                new = cut.replacement(frame_matrix(frame), region[k])
                after[k][region[k]] = _stored(new, frame, dataset)
        set_frames(dataset, after)
        _derived(dataset, names.uid, bare=job.objects is None)
        content = _as_content(job, dataset)
        instance = str(dataset.SOPInstanceUID)
        side.add(instance, alone(before), alone(after), alone(region))
        with files.add(job.target / f"{instance}.dcm") as temporary:
            temporary.write_bytes(content)
            if not np.array_equal(frames_of(read_dataset(temporary)), after):
                raise OutputError("A slice did not read back as written. Check the disk.")
    _keep_side(job, side, files)
    return len(held)


def alone(frames: NDArray[Any]) -> NDArray[Any]:
    """A single slice without the axis of frames, as side files have always had it."""
    return frames[0] if len(frames) == 1 else frames


def _require_whole(dataset: Any, frames: list[Frame]) -> None:
    """Raise PrivacyError for a file with frames that are not of the scan: they show the face too,
    and would be left as they are."""
    count = int(dataset.get("NumberOfFrames") or 1)
    if {frame.index or 0 for frame in frames} != set(range(count)):
        raise PrivacyError(
            "The multi-frame DICOM file holds more than this scan (localizers, other phases or "
            "directions), which would still show the face. Export the scan alone, or as single "
            "slices."
        )


def _as_content(job: DefaceJob, dataset: Any) -> bytes:
    """The file's bytes; the data set is changed to what they hold."""
    if job.objects is None:
        return as_file(dataset)
    try:
        return job.objects.clean(dataset, job.objects.subject(dataset))
    except Refused as reason:
        raise _refused(reason) from reason


def _check_pixels(objects: ObjectDeidentifier, dataset: Any) -> None:
    try:
        objects.check_pixels(dataset)
    except Refused as reason:
        raise _refused(reason) from reason


def _refused(reason: Refused) -> PrivacyError:
    return PrivacyError(f"The scan cannot be de-identified: {reason}. Nothing was written.")


def frame_matrix(frame: Frame) -> NDArray[np.float64]:
    """4x4 from (i, j, 0) of a DICOM slice to RAS mm (PS3.3, C.7.6.2.1.1)."""
    matrix = np.eye(4)
    row, column = np.array(frame.row), np.array(frame.column)
    matrix[:3, 0], matrix[:3, 1] = row * frame.spacing[0], column * frame.spacing[1]
    matrix[:3, 2], matrix[:3, 3] = np.cross(row, column), frame.position
    return np.asarray(LPS_RAS @ matrix)


def _stored(hounsfield: NDArray[np.float64], frame: Frame, dataset: Any) -> NDArray[np.float64]:
    """As the file stores it, within what its bits can hold."""
    bits, signed = int(dataset.BitsStored), bool(int(dataset.PixelRepresentation))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    values = np.rint((hounsfield - frame.intercept) / (frame.slope or 1.0))
    return np.asarray(np.clip(values, low, high))


def _derived(dataset: Any, new: Callable[[str], str], *, bare: bool = True) -> None:
    """Other pixels, so another object: new UIDs, and what the header says of it.

    ``bare``: takes out what may hold other pictures; else de-identification does, which comes next.
    """
    dataset.SOPInstanceUID = new(f"instance {dataset.SOPInstanceUID}")
    dataset.SeriesInstanceUID = new(f"series {dataset.get('SeriesInstanceUID', '')}")
    dataset.ImageType = _kinds_derived(dataset.get("ImageType"))
    groups = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
    for group in (item for name in groups for item in dataset.get(name) or ()):
        for sequence in group:  # CT Image Frame Type Sequence and its like (PS3.3, C.8.15.3.1)
            for item in sequence.value if "FrameTypeSequence" in sequence.keyword else ():
                item.FrameType = _kinds_derived(item.get("FrameType"))
    dataset.RecognizableVisualFeatures = "NO"
    dataset.DerivationDescription = "Face removed"
    for name in _OF_THE_OLD_PIXELS:
        if name in dataset:
            delattr(dataset, name)
    if bare:
        dataset.remove_private_tags()  # within sequences too
    for tag in list(dataset.keys()) if bare else ():  # pictures may lie in any of these
        group = int(tag) >> 16
        if group % 2 or 0x5000 <= group <= 0x501E or 0x6000 <= group <= 0x601E:
            del dataset[tag]


def _kinds_derived(kinds: Any) -> list[str]:
    """Image Type or Frame Type of a derived image; pydicom gives a single value as text."""
    rest = [] if kinds is None or isinstance(kinds, str) else list(kinds)[1:]
    return ["DERIVED", *(rest or ["PRIMARY"])]


def _write_volume(
    job: DefaceJob, suffix: str, volume: CTVolume, done: Defaced, files: Replacements
) -> None:
    image, before = read_image(job.source, suffix)
    if before.shape != volume.voxels.shape:
        raise PrivacyError("The file holds more than one volume. Export the scan alone.")
    after = before.copy()
    new = done.volume.voxels[done.region].astype(np.float64)
    if after.dtype.kind in "iu":
        limits = np.iinfo(after.dtype)
        new = np.clip(np.rint(new), limits.min, limits.max)
    after[done.region] = new
    side = SideFile()
    side.add("", before, after, done.region)
    save_image(image, after, job.target, suffix, files, volume, bare=job.objects is not None)
    _keep_side(job, side, files)


def read_image(path: Path, suffix: str) -> tuple[Any, NDArray[Any]]:
    """A volume as SimpleITK image, and its stored values (k, j, i). ITK's errors come through."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path), imageIO=SUFFIXES[suffix])
    array = sitk.GetArrayFromImage(image)
    if suffix in (".nii", ".nii.gz") and array.dtype.kind == "f":
        # ITK turns NaN and infinity into 0, which would be water: put them back, as NaN.
        array.reshape(-1)[not_finite(path, check_nifti(path)[0])] = np.nan
    return image, array


def save_image(
    image: Any,
    array: NDArray[Any],
    target: Path,
    suffix: str,
    files: Replacements,
    volume: CTVolume,
    *,
    bare: bool,
) -> None:
    """In place of the voxels of ``image`` others; ``bare``: with nothing but grid and voxels."""
    import SimpleITK as sitk

    result = sitk.GetImageFromArray(array)
    result.CopyInformation(image)
    if not bare:
        for key in image.GetMetaDataKeys():
            result.SetMetaData(key, image.GetMetaData(key))
    with files.add(target) as temporary:
        sitk.WriteImage(result, str(temporary), useCompression=suffix in (".nrrd", ".nii.gz"))
        if bare:
            temporary.write_bytes(clean_volume(temporary, suffix)[0])
        same_place = np.allclose(read(temporary).ijk_to_ras, volume.ijk_to_ras, atol=1e-3)
        if not same_place or digest(read_image(temporary, suffix)[1]) != digest(array):
            raise OutputError(f"{target.name} did not read back as written. Choose .nrrd for it.")


def _keep_side(job: DefaceJob, side: SideFile, files: Replacements) -> None:
    if job.side is not None:
        with files.add(job.side, private=True) as temporary:
            side.save(temporary, job.passphrase)


def render_defaced(done: Defaced, path: Path) -> None:
    """A picture of what is left, by :func:`SkinSegLib.surface.render_views`, with its errors."""
    from ..surface import SurfaceOptions, build, render_views

    mesh = build(done.mask, done.volume, SurfaceOptions(detail_mm=1.5))
    render_views(mesh, path, label="defaced")


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder is there in the block, and gone again if the block fails and had to make it."""
    there = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder {folder} cannot be made ({error.strerror}). Choose another one."
        ) from error
    try:
        yield
    except BaseException:
        if not there and not any(folder.iterdir()):
            folder.rmdir()
        raise
