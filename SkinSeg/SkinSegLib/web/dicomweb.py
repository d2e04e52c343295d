"""A DICOMweb service (PS3.18): searching, retrieving, storing; each call asks once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core import ServerError
from .asking import bounded
from .server import Credentials, Server, import_requests, missing_package, open_session

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
#: Requests are sent with their length and not in chunks, which some proxies do not take.
_CHUNK = 2**40
#: Pages of results that are asked for at most: a server may ignore the offset.
_PAGES = 10_000


@dataclass(frozen=True)
class Series:
    """A series on a server: its UIDs, modality, and number of instances (None if not told)."""

    study: str
    series: str
    modality: str
    instances: int | None


@dataclass
class Stored:
    """What a server says of one request: UIDs of the objects it holds now, and of those it refuses
    the reason as a number (PS3.18, Table I.2-2; 0 if it gives none)."""

    held: set[str] = field(default_factory=set)
    refused: dict[str, int] = field(default_factory=dict)


class DicomWeb:
    """A connection. Its methods raise what requests raises: see :func:`.asking.once`.

    Raises MissingPackageError, ServerError.
    """

    def __init__(self, server: Server, credentials: Credentials | None = None) -> None:
        try:
            from dicomweb_client.web import DICOMwebClient
        except ImportError as error:
            raise missing_package() from error
        self.server = server
        try:
            self._client = DICOMwebClient(
                server.url,
                session=open_session(server, credentials or Credentials()),
                headers={"Accept": "application/dicom+json"},
                callback=bounded(server.answer_s),
                chunk_size=_CHUNK,
                timeout=(server.connect_s, server.silence_s),
            )
        except ValueError as error:
            raise ServerError(
                "That is no address of a DICOMweb service. Give it as https://host/path."
            ) from error
        # Ours ask again: the client's would send an empty body the second time.
        self._client.set_http_retry_params(retry=False)

    def series(self, study: str | None = None) -> list[Series]:
        """All series, or those of a study, sorted by their UIDs."""
        found = {}
        wanted = ["StudyInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]
        for item in self._all(
            lambda offset: self._client.search_for_series(study, fields=wanted, offset=offset)
        ):
            uid, parent = _uid(item, "0020000E"), study or _uid(item, "0020000D")
            number = _first(item, "00201209")
            count = int(number) if isinstance(number, int | str) and str(number).isdigit() else None
            modality = str(_first(item, "00080060") or "")
            known = re.fullmatch(r"[A-Z0-9]{1,16}", modality)
            found[uid] = Series(parent, uid, modality if known else "?", count)
        return sorted(found.values(), key=lambda one: (one.study, one.series))

    def instances(self, study: str, series: str) -> list[str]:
        """UIDs of the instances of a series, as often as the server lists them."""
        return [
            _uid(item, "00080018")
            for item in self._all(
                lambda offset: self._client.search_for_instances(study, series, offset=offset)
            )
        ]

    def retrieve(self, study: str, series: str, instance: str) -> Any:
        """pydicom's data set of one instance, in the transfer syntax it is stored in."""
        return self._client.retrieve_instance(
            study, series, instance, media_types=(("application/dicom", "*"),)
        )

    def store(self, contents: Sequence[bytes]) -> Stored:
        """Send DICOM files as they are. Raises HTTPError only where no object was dealt with."""
        import io

        import pydicom

        failures = import_requests().exceptions
        try:
            answer = self._client.store_instances(
                [pydicom.dcmread(io.BytesIO(content)) for content in contents]
            )
        except failures.HTTPError as error:
            # 409: each object was refused, and the body says why (PS3.18, 10.5.3).
            if error.response is None or error.response.status_code != 409:
                raise
            answer = pydicom.Dataset.from_json(error.response.json())
        return Stored(
            {
                str(item.ReferencedSOPInstanceUID)
                for item in answer.get("ReferencedSOPSequence") or ()
            },
            {
                str(item.ReferencedSOPInstanceUID): int(item.get("FailureReason") or 0)
                for item in answer.get("FailedSOPSequence") or ()
            },
        )

    def _all(self, page: Any) -> Iterable[dict[str, Any]]:
        """The results of all pages; the first one without anything new is the end."""
        seen: set[str] = set()
        offset = 0
        for _ in range(_PAGES):
            items = page(offset)
            new = [item for item in items if str(item) not in seen]
            if not new:
                return
            yield from new
            seen.update(map(str, new))
            offset += len(items)


def _first(item: dict[str, Any], tag: str) -> Any:
    """The first value of an attribute of the DICOM JSON model (PS3.18, F.2)."""
    values = item.get(tag, {}).get("Value") or [None]
    return values[0]


def _uid(item: dict[str, Any], tag: str) -> str:
    """Checked, since it becomes a part of addresses and the name of a file. Raises ValueError."""
    text = str(_first(item, tag) or "")
    if len(text) > 64 or _UID.fullmatch(text) is None:
        raise ValueError("no UID")
    return text
