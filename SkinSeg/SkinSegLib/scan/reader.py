"""One door for every format."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core import CTVolume, Progress, ScanReadError, SkinSegError
from . import archive, dicom_folder, dicom_series, images, invesalius
from .dicom_series import SeriesInfo

_READABLE = (
    "a DICOM folder, file or zip, NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), "
    "MetaImage (.mha, .mhd) or an InVesalius project (.inv3)"
)


def read(
    path: str | os.PathLike[str],
    series: int | str | None = None,
    progress: Progress | None = None,
) -> CTVolume:
    """Read a head CT as one volume in RAS mm.

    ``path``: a folder (searched with its subfolders) or zip of DICOM files, of which the largest CT
    series is read; one DICOM file (a multi-frame file is a scan by itself, a single slice stands
    for its series in the same folder); NRRD, NIfTI, MetaImage; or an InVesalius project.
    ``series`` (DICOM only): a series number, "#n" for the n-th of :func:`list_series`, or a Series
    Instance UID. ``progress``: gets ``update(0..1)`` within the caller's current stage.

    What had to be put right (uneven slices, padding, an orientation that the file lacks) is in the
    volume's ``notes``. Raises ScanReadError, GeometryError or MissingPackageError with a message
    that says what to do; Cancelled if the user cancels.
    """
    source = Path(path)
    kind = _kind(source)
    if series is not None and kind in ("image", "invesalius"):
        raise ScanReadError(f"{source} holds a single scan; a series can only be chosen in DICOM.")
    with _named(source):
        if kind == "folder":
            return dicom_folder.read_folder(source, series, progress)
        if kind == "zip":
            with archive.unpacked(source, progress) as folder:
                return dicom_folder.read_folder(folder, series, progress, shown=source)
        if kind == "dicom":
            return dicom_folder.read_single(source, series, progress)
        if kind == "invesalius":
            return invesalius.read_invesalius(source, progress)
        return images.read_image(source, progress)


def list_series(path: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The CT series in a DICOM folder, file or zip, the one read by default first.

    Empty for a folder without CT. Raises ScanReadError if the path is something else.
    """
    source = Path(path)
    kind = _kind(source)
    with _named(source):
        if kind == "folder":
            return dicom_folder.series_in(source)
        if kind == "zip":
            with archive.unpacked(source) as folder:
                return dicom_folder.series_in(folder, shown=source)
        if kind == "dicom":
            return dicom_series.find([source]).infos()
    raise ScanReadError(f"{source} is no DICOM scan, so it has no series to choose from.")


@contextmanager
def _named(source: Path) -> Iterator[None]:
    """Every error says which scan it is about, by the path that the user gave, and says it once.

    What lies below knows slices and matrices, and not always where they came from.
    """
    try:
        yield
    except SkinSegError as error:
        text = str(error)
        if text.startswith(f"{source} ") or f" in {source}." in text:
            raise
        raise type(error)(f"{source}: {text}") from error
    except MemoryError as error:
        raise ScanReadError(
            f"{source} does not fit into this computer's memory. "
            "Close other programs, or export the scan at a lower resolution."
        ) from error
    except OSError as error:
        raise _unreadable(source, error) from error


def _kind(path: Path) -> str:
    if path.is_dir():
        return "folder"
    if not path.exists():
        raise ScanReadError(f"{path} does not exist. Check the path.")
    if not path.is_file():
        raise ScanReadError(f"{path} is neither a file nor a folder. Give {_READABLE}.")
    if images.image_suffix(path) is not None:
        return "image"
    suffix = path.suffix.lower()
    if suffix == ".inv3":
        return "invesalius"
    try:
        with open(path, "rb") as file:
            head = file.read(264)
    except OSError as error:
        raise _unreadable(path, error) from error
    if head[128:132] == b"DICM" or (suffix in (".dcm", ".ima") and archive.looks_like_dicom(head)):
        return "dicom"
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06") or suffix == ".zip":
        return "zip"
    if not head:
        raise ScanReadError(f"{path} is empty. Copy or download it again.")
    raise ScanReadError(f"{path} is of a kind that cannot be read. Give {_READABLE}.")


def _unreadable(path: Path, error: OSError) -> ScanReadError:
    return ScanReadError(
        f"{path} cannot be read ({error.strerror or 'input error'}). "
        "Check its permissions and the disk."
    )
