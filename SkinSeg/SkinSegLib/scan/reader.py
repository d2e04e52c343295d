"""One door for every format."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..core import CTVolume, Progress, ScanReadError, SkinSegError
from . import archive, dicom_folder, images, invesalius
from .dicom_checks import SeriesInfo, Survey, check_files, series_infos
from .dicom_files import files_below, files_meant
from .dicom_folder import Source
from .dicom_header import Frame
from .dicom_series import Found, find

_READABLE = (
    "a DICOM folder, file or zip, NRRD (.nrrd, .nhdr), NIfTI (.nii, .nii.gz), "
    "MetaImage (.mha, .mhd) or an InVesalius project (.inv3)"
)
#: Kinds of paths that stand for DICOM.
_DICOM = ("folder", "zip", "dicom")


def read(
    path: str | os.PathLike[str],
    series: int | str | None = None,
    progress: Progress | None = None,
) -> CTVolume:
    """Read a head CT as one volume in RAS mm.

    ``path``: a folder (searched with its subfolders), zip or DICOMDIR of DICOM files, of which the
    CT series best for a head is read; one DICOM file (a multi-frame file is a scan by itself, a
    single slice stands for its series in the same folder); NRRD, NIfTI, MetaImage; or an
    InVesalius project.
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
        if kind in _DICOM:
            with _found(source, series, progress) as (frames, found):
                return dicom_folder.read_found(frames, found, progress)
        if kind == "invesalius":
            return invesalius.read_invesalius(source, progress)
        return images.read_image(source, progress)


def list_series(path: str | os.PathLike[str]) -> list[SeriesInfo]:
    """The CT series in a DICOM folder, file, zip or DICOMDIR, the one read by default first.

    Empty for a folder without CT. Raises ScanReadError if the path is something else.
    """
    with opened(Path(path)) as files:
        return series_infos(find(files))


def survey(path: str | os.PathLike[str], progress: Progress | None = None) -> Survey:
    """All series in a DICOM folder, file, zip or DICOMDIR, with what is the matter with each.

    Reads headers only. Raises ScanReadError if the path is something else, Cancelled.
    """
    with opened(Path(path), progress) as files:
        return check_files(files, progress)


def read_source(
    path: str | os.PathLike[str],
    series: int | str | None = None,
    progress: Progress | None = None,
) -> Source:
    """A scan in DICOM as :func:`read` reads it, with the headers of the slices it was read from.

    Raises as :func:`read` does, and ScanReadError for what is no DICOM.
    """
    place = Path(path)
    with _named(place), _found(place, series, progress) as (frames, found):
        return dicom_folder.read_source(frames, found, progress)


def read_files(files: Sequence[Path], progress: Progress | None = None) -> CTVolume:
    """The CT series best for a head among DICOM files that need not be in one folder.

    Raises ScanReadError or GeometryError, whose messages name no file; Cancelled.
    """
    with _named(Path("The scan")):
        found = find(files, progress)
        if not found.series:
            raise ScanReadError("its DICOM files are gone or damaged. Copy or export it again.")
        return dicom_folder.read_found(found.series[0], found, progress)


@contextmanager
def opened(path: Path, progress: Progress | None = None) -> Iterator[list[Path]]:
    """The files of a DICOM folder, zip or DICOMDIR, or those that one file stands for.

    Those of a zip are there only within the block. Raises ScanReadError for anything else.
    """
    kind = _kind(path)
    with _named(path):
        if kind == "folder":
            yield files_below(path)
        elif kind == "zip":
            with archive.unpacked(path, progress) as folder:
                yield files_below(folder)
        elif kind == "dicom":
            yield files_meant(path)
        else:
            raise _no_dicom(path)


@contextmanager
def _found(
    path: Path, series: int | str | None, progress: Progress | None
) -> Iterator[tuple[list[Frame], Found]]:
    kind = _kind(path)
    if kind == "folder":
        yield dicom_folder.found_below(path, series, progress)
    elif kind == "zip":
        with archive.unpacked(path, progress) as folder:
            yield dicom_folder.found_below(folder, series, progress, shown=path)
    elif kind == "dicom":
        yield dicom_folder.found_by_file(path, series, progress)
    else:
        raise _no_dicom(path)


def _no_dicom(path: Path) -> ScanReadError:
    return ScanReadError(f"{path} is no DICOM scan, so it has no series to choose from.")


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
