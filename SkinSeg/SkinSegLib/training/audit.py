"""How diverse a data set is, what it lacks, and whether training and testing are kept apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from SkinSegLib.core import FindingKind, Progress, SkinSegError, replacing

from .dataset import SAME_SCAN, CaseFolder, CaseRecord
from .dataset.sketch import likeness

UNKNOWN = "not known"
#: Slices up to so many mm are thin, up to the second middling, above thick.
_THIN_MM, _MIDDLING_MM = 1.0, 2.5
#: A trait of more than this share of the cases is all that a model learns of it.
_ONE_SIDED = 0.9
#: Fewer cases than this say nothing of a model.
_FEWEST = {"training": 3, "testing": 3}
#: Traits whose values the test set should have if training has them.
_TESTED = ("Maker", "Slices", "Contrast medium")


@dataclass(frozen=True)
class Trait:
    """One property of cases: ``of`` gives its values for a case, some of ``expected`` at least."""

    name: str
    of: Callable[[CaseRecord], tuple[str, ...]]
    expected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """``faults``: what must be put right before training; ``missing``: what the set lacks.

    ``counts``: per trait and value the number of cases for training, for testing and without a
    label. ``records``: all cases.
    """

    name: str
    records: tuple[CaseRecord, ...]
    counts: dict[str, dict[str, tuple[int, int, int]]]
    faults: tuple[str, ...]
    missing: tuple[str, ...]


def audit(cases: CaseFolder, files: bool = True, progress: Progress | None = None) -> Audit:
    """Look at every case, with its ``files`` too, and at every pair of cases.

    Progress stages: Cases, Pairs. Raises SkinSegError for a data set without cases or with a
    damaged record, Cancelled.
    """
    progress = progress or Progress()
    records = cases.records()
    if not records:
        raise SkinSegError("The data set has no cases yet. Add some with skinseg data add.")
    faults = []
    with progress.stage("Cases", 0.7 if files else 0.01):
        for n, record in enumerate(records if files else ()):
            try:
                cases.read(record)
            except SkinSegError as error:
                faults.append(f"{record.name}: {error}")
            progress.update((n + 1) / len(records))
    pairs = list(combinations(records, 2))
    with progress.stage("Pairs", 0.3):
        for n, (one, other) in enumerate(pairs):
            faults += _pair_faults(one, other)
            progress.update((n + 1) / len(pairs))
    counts = {trait.name: _counts(trait, records) for trait in TRAITS}
    name = cases.folder.resolve().name
    return Audit(name, tuple(records), counts, tuple(faults), _missing(records, counts))


def write_page(found: Audit, path: Path) -> None:
    """One HTML page with plots, which needs nothing else. Raises OutputError."""
    from .audit_page import page

    with replacing(path) as temporary:
        temporary.write_text(page(found), encoding="utf-8")


def _pair_faults(one: CaseRecord, other: CaseRecord) -> list[str]:
    """What is wrong with having both of two cases."""
    same = one.image_sha256 == other.image_sha256
    like = 1.0 if same else likeness(one.sketch, other.sketch)
    apart = {one.split, other.split} == {"train", "test"}
    names = f"{one.name} and {other.name}"
    leak = " One is for training and the other for testing." if apart else ""
    if same or like >= SAME_SCAN:
        what = "are the same scan" if same else f"look like the same scan ({like:.2f})"
        return [f"{names} {what}.{leak} Remove one of them."]
    if apart and one.patient == other.patient:
        return [f"{names} are of the same patient.{leak} Use skinseg data split."]
    return []


def _counts(trait: Trait, records: Sequence[CaseRecord]) -> dict[str, tuple[int, int, int]]:
    n = {
        split: Counter(
            value for r in records if r.split == split for value in (trait.of(r) or (UNKNOWN,))
        )
        for split in ("train", "test", "unlabelled")
    }
    values = dict.fromkeys(trait.expected)
    for counter in n.values():
        values |= dict.fromkeys(sorted(counter))
    ordered = sorted(values, key=lambda v: v == UNKNOWN)
    return {v: (n["train"][v], n["test"][v], n["unlabelled"][v]) for v in ordered}


def _missing(
    records: Sequence[CaseRecord], counts: dict[str, dict[str, tuple[int, int, int]]]
) -> tuple[str, ...]:
    found = []
    for use, split in (("training", "train"), ("testing", "test")):
        chosen = [r for r in records if r.split == split]
        people = len({r.patient for r in chosen})
        if people < _FEWEST[use]:
            found.append(f"patients for {use}: {people}, and at least {_FEWEST[use]} are needed")
    labelled = sum(r.labelled for r in records)
    for trait in TRAITS:
        of = {v: n for v, n in counts[trait.name].items() if v != UNKNOWN}
        known = sum(train + test for train, test, _ in of.values())
        if labelled and not known and trait.expected:
            found.append(f"{trait.name}: known of no labelled case")
            continue
        lacking = [v for v in trait.expected if not sum(of.get(v, (0, 0, 0))[:2])]
        if known and lacking:
            found.append(f"{trait.name}: no labelled case of {', '.join(lacking)}")
        for value, (train, test, _) in of.items():
            if trait.name in _TESTED and train and not test and labelled > train:
                found.append(f"{trait.name}: {value} is in training but not in testing")
            if not trait.expected and known > 3 and (train + test) / known > _ONE_SIDED:
                found.append(f"{trait.name}: {train + test} of {known} labelled cases are {value}")
    return tuple(found)


def _thickness(record: CaseRecord) -> tuple[str, ...]:
    thick = record.scanner.thickness_mm or max(record.spacing)
    return (THICKNESS[(thick > _THIN_MM) + (thick > _MIDDLING_MM)],)


def _known(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _age(record: CaseRecord) -> tuple[str, ...]:
    if record.age_decade is None:
        return ()
    return (AGES[(record.age_decade >= 20) + (record.age_decade >= 60)],)


THICKNESS = (f"up to {_THIN_MM:g} mm", f"up to {_MIDDLING_MM:g} mm", f"over {_MIDDLING_MM:g} mm")
AGES = ("under 20", "20 to 59", "60 and over")
_ARTEFACTS = tuple(
    str(kind)
    for kind in (
        FindingKind.TOUCHES_OBJECT,
        FindingKind.METAL_STREAKS,
        FindingKind.CUT_BY_FIELD_OF_VIEW,
        FindingKind.NOT_CALIBRATED,
    )
)
#: What a data set is asked about.
TRAITS = (
    Trait("Maker", lambda r: _known(r.scanner.maker)),
    Trait("Kernel", lambda r: _known(r.scanner.kernel)),
    Trait("Slices", _thickness, THICKNESS),
    Trait("Sex", lambda r: _known(r.sex), ("F", "M")),
    Trait("Age", _age, AGES),
    Trait(
        "Contrast medium",
        lambda r: () if r.contrast is None else ("with" if r.contrast else "without",),
        ("with", "without"),
    ),
    Trait(
        "Artefacts",
        lambda r: r.artefacts or ("none",),
        _ARTEFACTS,
    ),
    Trait("Site", lambda r: _known(r.site)),
    Trait("Labelled by", lambda r: _known(r.labelled_by)),
    Trait("Face", lambda r: ("taken out" if r.defaced else "shown",)),
)
