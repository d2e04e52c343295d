"""Listing what a server holds, and bringing it into a folder, so that it can be gone on with."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import OutputError, PrivacyError, Progress, ServerError, header_texts_unsaid, replacing
from .asking import asked
from .dicomweb import DicomWeb, Series


@dataclass
class FetchOutcome:
    """``written``, ``already``: files fetched, and found as they should be. ``identified``: of all
    of them, those that do not say that Patient Identity was Removed."""

    series: int = 0
    written: int = 0
    already: int = 0
    identified: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return dict(vars(self))


def list_series(
    web: DicomWeb, study: str | None = None, progress: Progress | None = None
) -> list[Series]:
    """The series on a server, or those of one study. Raises ServerError, Cancelled."""
    return asked(lambda: web.series(study), web.server, progress or Progress())


def fetch(
    web: DicomWeb, folder: Path, chosen: Iterable[Series], progress: Progress | None = None
) -> FetchOutcome:
    """Bring series into ``folder`` as ``<series UID>/<instance UID>.dcm``.

    Each file is there whole or not at all; one that is there is not fetched again. Raises
    ServerError, OutputError, Cancelled; files done stay.
    """
    progress, outcome = progress or Progress(), FetchOutcome()
    wanted = list(chosen)
    with progress.stage("Fetch", 1.0):
        for number, one in enumerate(wanted):
            instances = asked(
                lambda one=one: web.instances(one.study, one.series),  # type: ignore[misc]
                web.server,
                progress,
            )
            place = _made(folder / one.series, folder)
            outcome.series += 1
            for index, instance in enumerate(sorted(set(instances))):
                progress.update((number + index / len(instances)) / len(wanted))
                _one(web, one, instance, place, outcome, progress)
    return outcome


def _one(
    web: DicomWeb,
    series: Series,
    instance: str,
    place: Path,
    outcome: FetchOutcome,
    progress: Progress,
) -> None:
    path = place / f"{instance}.dcm"
    there = _header(path)
    if there is not None and _uids(there) == (series.study, series.series, instance):
        outcome.already += 1
        outcome.identified += not _says_removed(there)
        return
    dataset = asked(
        lambda: web.retrieve(series.study, series.series, instance), web.server, progress
    )
    with header_texts_unsaid():
        if _uids(dataset) != (series.study, series.series, instance):
            raise ServerError(
                "The server sent another object than it was asked for. Ask who runs the server."
            )
        content = _as_file(dataset)
        outcome.identified += not _says_removed(dataset)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        if temporary.read_bytes() != content:
            raise OutputError("A file did not read back as written. Check the disk.")
    outcome.written += 1


def _header(path: Path) -> Any | None:
    """Of a file that is there and can be read; None else."""
    import pydicom

    if path.is_symlink() or not path.is_file():
        return None
    try:
        with header_texts_unsaid():
            return pydicom.dcmread(path, stop_before_pixels=True)
    except Exception:  # it may be damaged in any way: it is fetched again
        return None


def _uids(dataset: Any) -> tuple[str, ...]:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
    return tuple(str(dataset.get(name, "")) for name in names)


def _says_removed(dataset: Any) -> bool:
    return str(dataset.get("PatientIdentityRemoved") or "") == "YES"


def _as_file(dataset: Any) -> bytes:
    import pydicom

    buffer = io.BytesIO()
    if "TransferSyntaxUID" not in dataset.file_meta:
        raise ServerError("The server sent no DICOM file. Ask who runs the server.")
    pydicom.dcmwrite(buffer, dataset)
    return buffer.getvalue()


def _made(place: Path, root: Path) -> Path:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"A folder for the files cannot be made ({error.strerror}). Choose another one by -o."
        ) from error
    if not place.resolve().is_relative_to(root.resolve()):
        raise PrivacyError("The folder holds a link that leads elsewhere. Choose an empty one.")
    return place
