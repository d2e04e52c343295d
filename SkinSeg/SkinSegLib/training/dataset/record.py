"""What is known of one case: where it is from, who labelled it, and nothing about whom it shows."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from SkinSegLib.core import SkinSegError

#: What a case is used for. Unlabelled ones wait for somebody to label them.
SPLITS = ("train", "test", "unlabelled")
_NAME = re.compile(r"head_\d{4,6}")
_PATIENT = re.compile(r"[A-Z0-9]{4,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Names of makers, kernels, sites and people who label. Everything else could be an identifier.
_WORDS = re.compile(r"[\w .,+/()#^-]{0,64}")
_SEXES = ("", "F", "M", "O")
#: Safe Harbor: ages over 89 are one class (45 CFR 164.514(b)(2)(i)(C)).
OLDEST_DECADE = 90


@dataclass(frozen=True)
class Scanner:
    """``maker``, ``model``, ``kernel``: as the DICOM headers have them, empty if not known.
    ``kvp``: kV, ``thickness_mm``: of the slices; None if not known."""

    maker: str = ""
    model: str = ""
    kernel: str = ""
    kvp: float | None = None
    thickness_mm: float | None = None


@dataclass(frozen=True)
class CaseRecord:
    """One case of a data set.

    ``patient``: a pseudonym, the same for all scans of a person. ``added``: day, ISO 8601.
    ``labelled_by``: who answers for the label; ``authors``: whose labels it was fused from.
    ``engine``, ``model``, ``software``: what made the mask that was corrected: its engine, the
    model's name, version and sha256, and SkinSeg's version. ``edited_ml``: volume in mL that was
    corrected by hand, None if not known. ``defaced``: whether the face was taken out.
    ``age_decade``: 30 for 30 to 39, 90 for older than 89. ``contrast``: contrast medium, None if
    not known. ``shape``: (k, j, i), ``spacing``: mm along i, j, k. ``head_ml``: volume of the
    label, 0 without one. ``artefacts``: kinds of findings (core.FindingKind). ``notes``: what
    intake changed. ``image_sha256``, ``label_sha256``: of voxels and grid (see
    :func:`.files.digest`). ``sketch``: see :mod:`.sketch`; empty where it could not be made.

    Raises SkinSegError for values that make no sense or that could name a person.
    """

    name: str
    split: str
    patient: str
    added: str
    labelled_by: str = ""
    authors: tuple[str, ...] = ()
    engine: str = ""
    model: Mapping[str, str] = field(default_factory=dict)
    software: str = ""
    edited_ml: float | None = None
    defaced: bool = False
    site: str = ""
    scanner: Scanner = field(default_factory=Scanner)
    sex: str = ""
    age_decade: int | None = None
    contrast: bool | None = None
    shape: tuple[int, int, int] = (0, 0, 0)
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    head_ml: float = 0.0
    artefacts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    image_sha256: str = ""
    label_sha256: str = ""
    sketch: str = ""

    def __post_init__(self) -> None:
        texts = [self.labelled_by, *self.authors, self.site, self.engine, self.software]
        texts += [self.scanner.maker, self.scanner.model, self.scanner.kernel]
        checks = {
            "name": _NAME.fullmatch(self.name) is not None,
            "split": self.split in SPLITS,
            "patient": _PATIENT.fullmatch(self.patient) is not None,
            "added": re.fullmatch(r"\d{4}-\d\d-\d\d", self.added) is not None,
            "label": (self.split == "unlabelled") == (self.label_sha256 == ""),
            "sex": self.sex in _SEXES,
            "age_decade": self.age_decade is None or self.age_decade in range(0, 91, 10),
            "texts": all(_WORDS.fullmatch(text) for text in texts),
            "spacing": all(math.isfinite(s) and s >= 0 for s in self.spacing),
            "checksums": all(
                not s or _SHA256.fullmatch(s) for s in (self.image_sha256, self.label_sha256)
            ),
        }
        wrong = [what for what, good in checks.items() if not good]
        if wrong:
            raise SkinSegError(
                f"The record of a case is not usable ({', '.join(wrong)}). Who labels and where is "
                "named by up to 64 letters, digits, spaces and . , + / ( ) # ^ - only."
            )

    @property
    def labelled(self) -> bool:
        """Whether the case has a label."""
        return self.split != "unlabelled"

    @property
    def image(self) -> str:
        """The scan's file within the data set, as dataset.json names it."""
        return f"images{FOLDERS[self.split]}/{self.name}.nii.gz"

    @property
    def label(self) -> str:
        """The label's file within the data set; the solid head is 1."""
        if not self.labelled:
            raise SkinSegError(f"{self.name} has no label yet. Label it, or choose another case.")
        return f"labels{FOLDERS[self.split]}/{self.name}.nii.gz"

    def to_json(self) -> str:
        """As text, the same for the same record."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


#: Endings of the folders' names, as the Medical Segmentation Decathlon and nnU-Net have them.
FOLDERS = {"train": "Tr", "test": "Ts", "unlabelled": "Ul"}


def record_from(text: str) -> CaseRecord:
    """The record that :meth:`CaseRecord.to_json` wrote.

    Raises SkinSegError if it is damaged or not one.
    """
    try:
        found = json.loads(text)
        found["scanner"] = Scanner(**found["scanner"])
        for name in ("authors", "shape", "spacing", "artefacts", "notes"):
            found[name] = tuple(found[name])
        return CaseRecord(**found)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SkinSegError(
            "The record of a case is damaged. Restore it from a backup, or remove the case."
        ) from error


def tame(text: Any) -> str:
    """A header's text as a record may hold it: other characters become spaces, and it is cut."""
    kept = re.sub(r"[^\w .,+/()#^-]", " ", str(text or ""))
    return " ".join(kept.split())[:64].strip()
