"""Sending a folder of de-identified files, so that it can be stopped anywhere and gone on with.

An object counts as delivered once the server has said so (journal) and lists it (search). Objects
keep their UIDs, so sending one twice would not double it; it is not done all the same: whatever
may have arrived without the answer having come back is looked for before anything is sent again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from ..core import PrivacyError, Progress, ServerError, header_texts_unsaid
from ..privacy.audit import AuditOptions, AuditReport, Passed, audit
from .asking import AnswerError, LaterError, asked, once, pause
from .dicomweb import DicomWeb, Stored
from .journal import Journal, journal_in, opened_journal

#: Of PS3.18, Table I.2-2, whose last digits are the server's: out of resources; processing failure.
#: Later it may work.
_LATER = frozenset({*range(0xA700, 0xA800), 0x0110})
_REASONS = {
    0x0111: "the server holds this object already",
    0x0122: "the server does not take this kind of object",
    0x0124: "the server does not allow this",
    0xA900: "the server says that the object is not of its kind",
    0xC000: "the server cannot read the object",
}


@dataclass(frozen=True)
class SendOptions:
    """``audit``: what must hold of a file; ``journal``: where, None for a hidden file in the
    folder. ``group``, ``group_bytes``: at most so much in one request. ``search``: ask the server
    what it holds; without, its acknowledgements alone count."""

    audit: AuditOptions = field(default_factory=AuditOptions)
    journal: Path | None = None
    group: int = 16
    group_bytes: int = 16 * 1024**2
    search: bool = True


@dataclass
class SendOutcome:
    """``sent``: objects that this run sent; ``already``: that the server had; ``refused``: reason
    and number of those it will not take; ``unseen``: of those it had, how many could not be
    compared, since it does not give them back. Holds no value of any attribute."""

    audit: AuditReport
    sent: int = 0
    already: int = 0
    unseen: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "audit": self.audit.as_dict(),
            "sent": self.sent,
            "already_there": self.already,
            "not_compared": self.unseen,
            "refused": dict(sorted(self.refused.items())),
        }


def send(
    folder: Path,
    web: DicomWeb,
    options: SendOptions | None = None,
    progress: Progress | None = None,
    report: AuditReport | None = None,
) -> SendOutcome:
    """Audit a folder of DICOM files, and send it all if every one of them passes.

    ``report``: an audit of the folder that was made just now. What is read from the disk afterwards
    is sent only if it is, to the byte, what the audit has seen. ``progress``: asked before each
    request; the journal stays.

    Raises PrivacyError where a file does not pass or was changed since, ServerError (what was
    delivered stays so), OutputError for the journal, MissingPackageError, Cancelled.
    """
    chosen, progress = options or SendOptions(), progress or Progress()
    if report is None:
        with progress.stage("Audit", 0.3):
            report = audit(folder, chosen.audit, progress)
    require_good(report)
    place = chosen.journal or journal_in(folder, web.server.url)
    with opened_journal(place, web.server.url) as journal, progress.stage("Send", 0.7):
        sender = _Sender(web, chosen, journal, progress, SendOutcome(report))
        ordered = sorted(report.passed, key=lambda one: (one.study, one.series, one.instance))
        done = 0
        for _, files in groupby(ordered, key=lambda one: (one.study, one.series)):
            sender.total, sender.done = len(ordered), done
            series = list(files)
            sender.series(series)
            done += len(series)
    return sender.outcome


def require_good(report: AuditReport) -> None:
    """Raises PrivacyError unless the audit has passed everything."""
    if report.failed:
        raise PrivacyError(
            f"Nothing was sent: {report.failed} files do not pass the audit. Make the folder again "
            "by skinseg dicom deface with --deidentify; the list above says what is the matter."
        )
    if not report.passed:
        raise PrivacyError("There is no DICOM file in the folder. Check its name.")


@dataclass
class _Sender:
    web: DicomWeb
    options: SendOptions
    journal: Journal
    progress: Progress
    outcome: SendOutcome
    total: int = 1
    done: int = 0
    _given_up: set[str] = field(default_factory=set)

    def series(self, files: list[Passed]) -> None:
        """Deliver the files of one series."""
        missing = self._not_there(files, self._listed(files[0]))
        for group in self._groups(missing):
            self.progress.update(self.done / self.total)
            self._deliver(group)
            self.done += len(group)
        if self.options.search and missing:
            self._require_listed(files)

    def _listed(self, one: Passed) -> set[str]:
        """What the server holds of a series; nothing where it is not to be asked."""
        if not self.options.search:
            return set()
        try:
            return set(self._ask(lambda: self.web.instances(one.study, one.series)))
        except AnswerError as error:
            if error.status in (401, 403, 405, 501):
                raise AnswerError(
                    f"{error} If it lets nobody search, --no-search believes what it says when it "
                    "takes a file.",
                    error.status,
                ) from error
            if error.status == 404:  # some say so of a series that they do not hold
                return set()
            raise

    def _ask(self, question: Any) -> Any:
        return asked(question, self.web.server, self.progress)

    def _not_there(self, files: list[Passed], listed: set[str]) -> list[Passed]:
        """Those still to be sent. What came there without our knowing is compared first."""
        missing = []
        for one in files:
            known = self.journal.acknowledged.get(one.instance) == one.sha256
            if known and (one.instance in listed or not self.options.search):
                self.outcome.already += 1
            elif one.instance in listed:
                self._compare(one)
                self.journal.add([(one.instance, one.sha256)])
                self.outcome.already += 1
            else:
                missing.append(one)
        return missing

    def _compare(self, one: Passed) -> None:
        """Raises ServerError if the server holds another object by the UID."""
        try:
            theirs = self._ask(lambda: self.web.retrieve(one.study, one.series, one.instance))
        except AnswerError as error:
            if error.status not in (401, 403, 404, 405, 501):
                raise
            self.outcome.unseen += 1
            return
        if not _same(theirs, self._content(one)):
            raise ServerError(
                "The server holds another object under the UID of one of these files, and nothing "
                "was overwritten. De-identify the scan again with a key of its own."
            )

    def _groups(self, files: list[Passed]) -> Iterator[list[Passed]]:
        group: list[Passed] = []
        size = 0
        for one in files:
            bytes_ = one.path.stat().st_size
            full = len(group) >= self.options.group or size + bytes_ > self.options.group_bytes
            if group and full:
                yield group
                group, size = [], 0
            group.append(one)
            size += bytes_
        if group:
            yield group

    def _content(self, one: Passed) -> bytes:
        """The file's bytes, if they are those that passed."""
        content = one.path.read_bytes()
        if hashlib.sha256(content).hexdigest() != one.sha256:
            raise PrivacyError("A file was changed after the audit. Run this again.")
        return content

    def _deliver(self, group: list[Passed]) -> None:
        """One request, and again for what the server may take later."""
        server, left = self.web.server, group
        for attempt in range(1, server.attempts + 1):
            self.progress.check()
            contents = [self._content(one) for one in left]
            try:
                answer = once(lambda contents=contents: self.web.store(contents))  # type: ignore[misc]
            except LaterError as error:
                if attempt == server.attempts:
                    raise
                pause(server, attempt, error.after_s, self.progress)
                left = self._after_silence(left)
            else:
                self._acknowledged([one for one in left if one.instance in answer.held])
                left = [one for one in left if one.instance not in answer.held]
                left = [one for one in left if not self._is_refused(one, answer)]
                if left and not answer.held and not answer.refused:
                    left = self._after_silence(left)
                if left and attempt < server.attempts:
                    pause(server, attempt, 0.0, self.progress)
            if not left:
                return
        self._given_up |= {one.instance for one in left}
        self.outcome.refused["the server does not say that it holds the object"] += len(left)

    def _acknowledged(self, files: list[Passed]) -> None:
        self.journal.add((one.instance, one.sha256) for one in files)
        self.outcome.sent += len(files)

    def _after_silence(self, group: list[Passed]) -> list[Passed]:
        """Those that have not arrived after all, when the answer did not come back."""
        listed = self._listed(group[0])
        arrived = [one for one in group if one.instance in listed]
        for one in arrived:
            self._compare(one)
        self._acknowledged(arrived)
        return [one for one in group if one.instance not in listed]

    def _is_refused(self, one: Passed, answer: Stored) -> bool:
        """Whether the server will never take it; counted with the reason."""
        reason = answer.refused.get(one.instance)
        if reason is None or reason in _LATER:
            return False
        text = next(
            (
                _REASONS[one]
                for one in (reason, reason & 0xFF00, reason & 0xF000)
                if one in _REASONS
            ),
            "the server gives no reason that is known",
        )
        self.outcome.refused[f"{text} ({reason:04X})"] += 1
        self._given_up.add(one.instance)
        return True

    def _require_listed(self, files: list[Passed]) -> None:
        """Raises ServerError if the server does not list what it took; some need a moment."""
        wanted = {one.instance for one in files} - self._given_up
        for attempt in range(1, self.web.server.attempts + 1):
            missing = wanted - self._listed(files[0])
            if not missing:
                return
            if attempt < self.web.server.attempts:
                pause(self.web.server, attempt, 0.0, self.progress)
        raise ServerError(
            f"The server took {len(missing)} files that it does not list. Run this again later, "
            "which sends what is still missing; if it stays so, ask who runs the server."
        )


def _same(theirs: Any, content: bytes) -> bool:
    """Whether a server's object is ours, by the seal, which is over all our bytes, and pixels."""
    import io

    import numpy as np
    import pydicom

    from ..privacy.pixels import frames_of

    with header_texts_unsaid():
        ours = pydicom.dcmread(io.BytesIO(content))
        for name in ("SOPInstanceUID", "PatientID", "DeidentificationMethod"):
            if theirs.get(name) != ours.get(name):
                return False
        return bool(np.array_equal(frames_of(theirs), frames_of(ours)))
