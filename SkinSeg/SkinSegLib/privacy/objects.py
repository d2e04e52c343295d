"""One DICOM object: whether it can be de-identified, doing it, and knowing one's own work again."""

from __future__ import annotations

import hashlib
import hmac
import io
import re
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..core import PrivacyError
from ..scan.dicom_header import DOSE_WORDS, SCREEN_WORDS, image_words
from .patients import Patients
from .pixels import black_out, clear_unused_bits, find_text, frames_of, set_frames, trim
from .profile import Action, DeidentifyOptions, Profile
from .pseudonyms import Pseudonyms
from .rewrite import Rewriter, Subject, mark, subject_of

#: Kinds of objects that are images and nothing else: CT, MR and PET, single- and multi-frame, and
#: cone-beam. Everything else is refused, by the first of the reasons below that fits.
IMAGES = frozenset(
    "1.2.840.10008.5.1.4.1.1." + last
    for last in (
        *("2", "2.1", "2.2"),
        *("4", "4.1", "4.3", "4.4"),
        *("128", "128.1", "130"),
        *("13.1.1", "13.1.2"),
    )
)
_REASONS = (
    ("1.2.840.10008.1.3.10", "DICOMDIR: an index of files; make a new one of the output"),
    ("1.2.840.10008.5.1.4.1.1.88.", "structured report: free text"),
    ("1.2.840.10008.5.1.4.1.1.104.", "encapsulated document or model"),
    ("1.2.840.10008.5.1.4.1.1.11.", "presentation state: free text and drawings"),
    ("1.2.840.10008.5.1.4.1.1.7", "secondary capture: a picture of a screen"),
    ("1.2.840.10008.5.1.4.1.1.9.", "waveform or curve"),
    ("1.2.840.10008.5.1.4.1.1.66", "segmentation or registration: may be a face"),
)
_OTHER = "another kind of object than a CT, MR or PET image"
BURNED_IN = "text burned into the pixels (--burned-in blackout, or accept after looking)"
UNDECODED = "pixels that nothing here can decompress, so they cannot be looked at"
DAMAGED = "damaged"
SCREEN = "a picture of a screen, a protocol or a report (--burned-in accept after looking)"
#: Image Type values of such pictures that scanners and workstations send as CT or MR images: what
#: is written in them lies all over, in any shade.
_SCREENS = DOSE_WORDS | SCREEN_WORDS | {"REPORT", "SCREEN", "SCREENSHOT", "SNAPSHOT", "CAPTURE"}
_COLOUR = "colour pictures, in which text is not looked for"

_SEAL, _BLANK = "Seal ", "0" * 32
_SEALED = re.compile(rb"Seal ([0-9a-f]{32})")
#: Ours, in the file meta information: a UUID made once.
_IMPLEMENTATION = "2.25.248871364213347236128264174823465104513"


class Refused(Exception):
    """This object is left out; the text is the reason, and holds nothing of the file."""


@dataclass
class ObjectDeidentifier:
    """De-identifies one object after the other. ``also``: further codes of CID 7050 for what was
    done to the pixels. ``tally``: see :class:`Rewriter`; ``blacked_out``: objects that had text;
    ``patients``: let them learn from all files first."""

    options: DeidentifyOptions
    pseudonyms: Pseudonyms
    also: tuple[str, ...] = ()
    blacked_out: int = 0
    patients: Patients = field(default_factory=Patients, repr=False)
    _rewriter: Rewriter = field(init=False)

    def __post_init__(self) -> None:
        from .profile import BURNED_IN as CHOICES

        if self.options.burned_in not in CHOICES:
            raise PrivacyError(f"Choose one of {', '.join(CHOICES)} for burned-in text.")
        self._rewriter = Rewriter(Profile(self.options), self.pseudonyms)

    @property
    def tally(self) -> Counter[tuple[str, Action]]:
        """What was done to which attribute, so far."""
        return self._rewriter.tally

    def read(self, content: bytes) -> Any:
        """pydicom's data set. Raises Refused for what is damaged or no image."""
        import pydicom

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they may quote the header
                dataset = pydicom.dcmread(io.BytesIO(content), force=content[128:132] != b"DICM")
                kind = str(dataset.get("SOPClassUID", "")) or _in_meta(dataset)
                known = bool(dataset.file_meta.get("TransferSyntaxUID"))
        except Exception as error:  # a header may be damaged in any way
            raise Refused(DAMAGED) from error
        if kind not in IMAGES:
            fits = (reason for root, reason in _REASONS if kind.startswith(root))
            raise Refused(next(fits, _OTHER))
        if not known or not dataset.get("SOPInstanceUID") or "PixelData" not in dataset:
            raise Refused(DAMAGED)
        return dataset

    def check_pixels(self, dataset: Any) -> None:
        """Look for text, black it out if that was chosen. Raises Refused."""
        choice = self.options.burned_in
        if choice != "accept" and _is_screen(dataset):
            raise Refused(SCREEN)
        stated = str(dataset.get("BurnedInAnnotation") or "").strip().upper() == "YES"
        try:
            trim(dataset)
            clear_unused_bits(dataset)
            frames = frames_of(dataset)
            colours = int(dataset.get("SamplesPerPixel") or 1)
        except Exception as error:  # decoders raise whatever they like
            raise Refused(UNDECODED) from error
        if colours != 1:
            raise Refused(_COLOUR)
        if dataset.file_meta.TransferSyntaxUID.is_compressed:
            # A code stream has room for comments and more, which nobody sees.
            set_frames(dataset, frames)
            if clear_unused_bits(dataset):  # pydicom 2.4 unpacks them too
                frames = frames_of(dataset)
        if choice == "accept":
            return
        found = [find_text(frame) for frame in frames] if frames.ndim == 3 else [[]]
        if not any(found):
            if stated:  # somewhere: where is not known, so it cannot be blacked out either
                raise Refused(BURNED_IN)
            return
        if choice == "refuse":
            raise Refused(BURNED_IN)
        frames = frames.copy()
        for frame, boxes in zip(frames, found, strict=True):
            if boxes:
                black_out(frame, boxes)
        set_frames(dataset, frames)
        dataset.BurnedInAnnotation = "NO"
        self.blacked_out += 1

    def subject(self, dataset: Any) -> Subject:
        """Whose object it is; ask before :meth:`clean`."""
        return subject_of(dataset, self.pseudonyms, self.patients)

    def clean(self, dataset: Any, subject: Subject) -> bytes:
        """The de-identified object as a whole file, sealed; ``dataset`` is changed. Raises Refused.

        Preamble and file meta information are new (PS3.10, 7.1): nothing of the old ones is left
        but the transfer syntax.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._rewriter.apply(dataset, subject)
                codes = (*self.options.codes(), *self.also)
                mark(dataset, self.options, _SEAL + _BLANK, codes)
                return self._sealed(as_file(dataset))
        except Refused:
            raise
        except Exception as error:  # values may be damaged in any way
            raise Refused(DAMAGED) from error

    def is_own_work(self, content: bytes) -> bool:
        """Whether a file is, to the byte, what :meth:`clean` makes with this key and options."""
        found = _SEALED.findall(content)
        if len(found) != 1:
            return False
        blank = content.replace(_SEAL.encode() + found[0], (_SEAL + _BLANK).encode(), 1)
        return hmac.compare_digest(self._tag(blank), found[0])

    def _sealed(self, content: bytes) -> bytes:
        blank = (_SEAL + _BLANK).encode()
        if content.count(blank) != 1 or len(_SEALED.findall(content)) != 1:
            raise Refused(DAMAGED)
        return content.replace(blank, _SEAL.encode() + self._tag(content), 1)

    def _tag(self, content: bytes) -> bytes:
        """Over the whole file: nothing can be added to it later and pass for de-identified."""
        chosen = "|".join((self.options.text(), *self.also))
        digest = self.pseudonyms.digest(f"seal|{chosen}", hashlib.sha256(content).digest())
        return digest.hex()[:32].encode()


def as_file(dataset: Any) -> bytes:
    """A data set as a DICOM file with new preamble and file meta information."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    from .. import __version__

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian:
        syntax = ExplicitVRLittleEndian
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = f"SKINSEG_{__version__}"[:16]
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    buffer = io.BytesIO()
    if hasattr(pydicom, "pixels"):
        dataset.save_as(buffer, enforce_file_format=True)
    else:  # pydicom 2.4
        dataset.is_little_endian, dataset.is_implicit_VR = (
            syntax.is_little_endian,
            syntax.is_implicit_VR,
        )
        dataset.save_as(buffer, write_like_original=False)
    return buffer.getvalue()


def _is_screen(dataset: Any) -> bool:
    kinds = dataset.get("ImageType") or ()
    values = (kinds,) if isinstance(kinds, str) else tuple(map(str, kinds))
    words = image_words(tuple(value.strip().upper().replace("_", " ") for value in values))
    return bool(words & {word.replace("_", " ") for word in _SCREENS})


def _in_meta(dataset: Any) -> str:
    meta = getattr(dataset, "file_meta", None)
    return "" if meta is None else str(meta.get("MediaStorageSOPClassUID", ""))
