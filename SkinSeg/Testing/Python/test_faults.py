"""A few cells of the table of Benchmarks/faults.py, which runs them all (Docs/faults.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import LIBRARY

pytest.importorskip("slicer", reason="slicer-core is not installed")
if sys.platform != "linux":
    pytest.skip("the faults are made by means of Linux", allow_module_level=True)

pytestmark = pytest.mark.slow

#: Case, and how it has to end.
CELLS = {
    "command/read/disk full": "refused",
    "command/write/kill host": "killed",
    "command/save/read-only": "refused",
    "command/rename/locked": "refused",
    "command/rename/kill host": "killed",
    "worker/mesh/kill child": "refused",
}
NEED_MOUNTS = ("disk full", "read-only")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """What became of each, by case."""
    told = tmp_path_factory.mktemp("faults") / "told.json"
    script = LIBRARY / "Testing" / "Benchmarks" / "faults.py"
    done = subprocess.run(
        [sys.executable, str(script), "--json", str(told), "--only", *CELLS],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert told.exists(), done.stdout + done.stderr
    return {"/".join(entry["case"].values()): entry for entry in json.loads(told.read_text())}


@pytest.mark.parametrize("cell", CELLS)
def test_a_fault_is_survived(cell: str, found: dict[str, dict]) -> None:
    if cell not in found and cell.endswith(NEED_MOUNTS):
        pytest.skip("this system gives no mounts of one's own: root on Linux may make them")
    assert found[cell]["wrong"] == []
    assert found[cell]["how"] == CELLS[cell], found[cell]["said"]


def test_every_stage_and_every_fault_has_its_case() -> None:
    sys.path.insert(0, str(LIBRARY / "Testing"))
    from Benchmarks import fault_kinds

    cases = fault_kinds.cases()
    assert {case.stage for case in cases} == set(fault_kinds.STAGES)
    assert {case.fault for case in cases} == set(fault_kinds.FAULTS)
    assert len(cases) > 100
    assert Path(fault_kinds.__file__).parent.name == "Benchmarks"
