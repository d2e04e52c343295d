"""How often a scan that shows no head is doubted, and how often one that does.

    python SkinSeg/Testing/Benchmarks/not_a_head.py --engine threshold --count 10

Made scans of every kind, seeds from --first on; with $SKINSEG_DATA the real scans too: heads, and
the chests of the radiotherapy scans, cut below the neck. The detector was tuned on seeds 100 to
123 and on the radiotherapy scans of even index, the single scans having been looked at too; the
table is of other seeds and of the scans of odd index. A scan that is refused with a
SegmentationError was not passed silently: the column says how many.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import CTVolume, FindingKind, SegmentationError, SkinSegError  # noqa: E402
from SkinSegLib.scan import read  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions, segment  # noqa: E402
from SkinSegLib.training.labels.scans import data_folder, scan_of  # noqa: E402
from SkinSegLib.training.negatives import NEGATIVES, below_neck, make_negative  # noqa: E402
from SkinSegLib.training.positives import POSITIVES, make_positive  # noqa: E402

#: The single scans; all were looked at in tuning.
SINGLE = (
    "volumes/unc_cthead.nrrd",
    "volumes/vhm_head_8bit.nrrd",
    "volumes/dicom2stl_ct_head.nrrd",
    "volumes/chd_phantom.nrrd",
    "volumes/dicom2stl_ct_example.nrrd",
    "dicom/weasis_headneck",
    "dicom/keinos_head.zip",
    "dicom/ge_tilt",
    "cranium",
)
#: Of the radiotherapy scans, the first so many are used.
RADIOTHERAPY = 80
Scan = tuple[str, bool, Callable[[], CTVolume | None]]


def scans(negatives: range, heads: range, spacing_mm: float) -> Iterator[Scan]:
    """Kind, whether it is a head, and what gives the scan (None where it does not apply)."""
    for seed in negatives:
        for kind in NEGATIVES:
            yield kind, False, partial(make_negative, kind, seed, spacing_mm)
    for seed in heads:
        for kind in POSITIVES:
            yield kind, True, partial(make_positive, kind, seed, spacing_mm)
    for path in SINGLE:
        yield "real single scan", True, partial(scan_of, path)
    index = data_folder() / "openkbp" / "index.json"
    if not index.is_file():
        return
    names = [entry["pt"] for entry in json.loads(index.read_text(encoding="utf-8"))]
    for name in names[1:RADIOTHERAPY:2]:
        path = index.with_name(f"{name}.nrrd")
        yield "radiotherapy scan", True, partial(read, path)
        yield "its chest", False, partial(_chest, path)


def _chest(path: Path) -> CTVolume | None:
    return below_neck(read(path))


def outcome(volume: CTVolume, options: SegmentOptions) -> str:
    """What a user would see: "doubted", "refused" or "passed"."""
    try:
        findings = segment(volume, options).findings
    except SegmentationError:
        return "refused"
    doubted = any(f.kind is FindingKind.NOT_A_HEAD for f in findings)
    return "doubted" if doubted else "passed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", default="threshold", choices=("auto", "network", "threshold"))
    parser.add_argument("--model", default=SegmentOptions.model)
    parser.add_argument("--count", type=int, default=12, help="made scans of each kind")
    parser.add_argument("--heads", type=int, help="made heads of each kind, which take longer")
    parser.add_argument("--first", type=int, default=200, help="the first seed")
    parser.add_argument("--spacing", type=float, default=3.0, help="voxel size, mm")
    arguments = parser.parse_args()
    options = SegmentOptions(engine=arguments.engine, model=arguments.model)
    first = arguments.first
    heads = arguments.count if arguments.heads is None else arguments.heads
    ranges = range(first, first + arguments.count), range(first, first + heads)
    found: dict[tuple[bool, str], list[str]] = {}
    for kind, is_head, load in scans(*ranges, arguments.spacing):
        try:
            volume = load()
        except SkinSegError as error:
            print(f"{kind}: {error}", file=sys.stderr)
            continue
        if volume is not None:
            found.setdefault((is_head, kind), []).append(outcome(volume, options))
    report(found)


def report(found: dict[tuple[bool, str], list[str]]) -> None:
    """Print a Markdown table, negatives first, with the sums."""
    print("| scan | scans | doubted | refused | passed | recall or false alarms |")
    print("|---|---|---|---|---|---|")
    for is_head in (False, True):
        rows = {kind: seen for (head, kind), seen in found.items() if head is is_head}
        rows["**all heads**" if is_head else "**all without a head**"] = [
            w for seen in rows.values() for w in seen
        ]
        for kind, seen in rows.items():
            doubted, refused, passed = (seen.count(w) for w in ("doubted", "refused", "passed"))
            share = (doubted + refused) / max(1, len(seen))
            print(f"| {kind} | {len(seen)} | {doubted} | {refused} | {passed} | {share:.1%} |")


if __name__ == "__main__":
    main()
