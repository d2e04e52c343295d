"""Damaged scans by the thousand, in a process of its own: ``python fuzz_reading.py COUNT [SEED]``.

Whatever the bytes, reading ends with a scan or a SkinSegError, soon, within a bound of memory, and
writes nowhere. Prints one line of JSON. test_fuzz.py runs it; run it by hand for longer.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pydicom.fileset import FileSet
from pydicom.uid import JPEGLSLossless, RLELossless
from scan_makers import Grid, jpeg_2000, load, marked, write_dicom, write_enhanced, write_nrrd
from series_makers import REFERABLE, series
from SkinSegLib.core import SkinSegError
from SkinSegLib.scan import read, survey
from SkinSegLib.scan.dicom_filter import filter_by_plane
from SkinSegLib.scan.masks import read_mask

#: Reading scans of less than 30 kB, however damaged, may take this much more memory than reading
#: them undamaged (_LARGEST_RATIO and MAX_DEFLATED in SkinSegLib.scan see to it). 12 000 took
#: 125 MB, in part what hypothesis remembers of each.
MEMORY_MB = 512
#: Of address space, so that a runaway allocation fails instead of filling the machine.
ADDRESS_SPACE = 6 * 1024**3
DEADLINE_S = 5
#: What a scan that took all of it ends with.
NO_MEMORY = "does not fit into this computer's memory"

GRID = Grid(shape=(3, 40, 48), spacing=(1, 1, 3))
VALUES = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x01", b"\xff\xff", b"\xff" * 4, bytes(4))
WORDS = (b"-1", b"0", b"1e308", b"nan", b"999999999", b"../../x", b"/etc/passwd", b"\n")


def made(folder: Path) -> dict[str, Path]:
    """One small scan of each kind, as a folder; the file to damage is the last in it."""
    scans: dict[str, Path] = {}
    stored = (marked(GRID) + 1024).astype(np.uint16)
    for name in ("plain", "rle", "jpegls", "jpeg2000"):
        for path in series(folder / name, GRID, voxels=stored, RescaleIntercept=-1024):
            data = load(path)
            if name == "rle":
                data.compress(RLELossless, generate_instance_uid=False)
            elif name == "jpegls":
                data.compress(JPEGLSLossless, generate_instance_uid=False)
            elif name == "jpeg2000":
                jpeg_2000(data)
            data.save_as(path)
        scans[name] = folder / name
    (folder / "enhanced").mkdir()
    write_enhanced(folder / "enhanced" / "scan.dcm", GRID, marked(GRID))
    (folder / "nrrd").mkdir()
    write_nrrd(folder / "nrrd" / "scan.nrrd", GRID, marked(GRID), "left-posterior-superior")
    (folder / "zip").mkdir()
    with zipfile.ZipFile(folder / "zip" / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, path in enumerate(sorted((folder / "plain").iterdir())):
            archive.write(path, f"../{number}")
    disc = FileSet()
    for path in write_dicom(folder / "source", GRID, marked(GRID), **REFERABLE):
        disc.add(load(path))
    disc.write(folder / "disc")
    for name in ("enhanced", "nrrd", "zip", "disc"):
        scans[name] = folder / name
    return scans


def target(name: str, folder: Path) -> Path:
    return folder / "DICOMDIR" if name == "disc" else sorted(folder.rglob("*"))[-1]


#: Where in the file, as a share; what is done there; with which of the values.
EDIT = st.tuples(
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(("flip", "set", "word", "cut", "drop", "double")),
    st.integers(0, 255),
)


def damaged(content: bytes, edits: list[tuple[float, str, int]], head: int) -> bytes:
    """``head``: how many bytes at the start most edits go to, where the header is."""
    for share, kind, value in edits:
        if not content:
            break
        span = min(len(content), head) if value % 8 else len(content)
        at = int(share * span)
        if kind == "flip":
            content = content[:at] + bytes([content[at] ^ (1 << value % 8)]) + content[at + 1 :]
        elif kind in ("set", "word"):
            new = (VALUES if kind == "set" else WORDS)[value % 8]
            content = content[:at] + new + content[at + len(new) :]
        elif kind == "cut":
            content = content[:at] if value % 4 == 0 else content
        elif kind == "drop":
            content = content[:at] + content[at + 1 + value % 16 :]
        else:
            content = content[:at] + content[at : at + 1 + value % 64] + content[at:]
    return content


def attempts(name: str, folder: Path, out: Path) -> list[Callable[[], object]]:
    """What is done with a damaged scan."""
    if name == "nrrd":
        path = folder / "scan.nrrd"
        return [lambda: read(path), lambda: read_mask(path)]
    path = target(name, folder) if name in ("zip", "disc") else folder
    return [
        lambda: read(path),
        lambda: survey(path),
        lambda: filter_by_plane(path, "axial", 45.0, out),
    ]


def fuzz(count: int, number: int) -> dict[str, object]:
    outcomes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        root = Path(place)
        scans = made(root / "scans")
        private = root / "tmp"
        private.mkdir()
        tempfile.tempdir = str(private)
        for name, folder in scans.items():
            for number_of, attempt in enumerate(attempts(name, folder, root / "out")):
                (root / "out").mkdir()
                attempt()  # undamaged, each of them works
                outcomes[f"{name} {number_of} whole"] += 1
                _empty(root / "out")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        whole = {name: target(name, folder).read_bytes() for name, folder in scans.items()}

        @seed(number)
        @settings(
            max_examples=count,
            deadline=DEADLINE_S * 1000,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(sorted(scans)), st.lists(EDIT, min_size=1, max_size=6))
        def check(name: str, edits: list[tuple[float, str, int]]) -> None:
            path = target(name, scans[name])
            path.write_bytes(damaged(whole[name], edits, 1600))
            there = set(root.rglob("*"))
            try:
                for attempt in attempts(name, scans[name], root / "out"):
                    (root / "out").mkdir()
                    try:
                        attempt()
                        outcomes["read"] += 1
                    except SkinSegError as error:
                        kind = "no memory" if NO_MEMORY in str(error) else "refused"
                        outcomes[kind] += 1
                    made_now = set(root.rglob("*")) - there
                    stray = [p for p in made_now if root / "out" not in (p, *p.parents)]
                    assert not stray, stray
                    assert not list(private.iterdir())
                    _empty(root / "out")
            finally:
                _empty(root / "out")
                path.write_bytes(whole[name])

        check()
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"outcomes": dict(outcomes), "grown_mb": (after - before) / 1024}


def _empty(folder: Path) -> None:
    if folder.is_dir():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.rmdir()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    result = fuzz(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    print(json.dumps(result))
