"""Who may import whom, read from the source: the rules of the design, for every planned folder."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import LIBRARY

ROOT = LIBRARY / "SkinSegLib"
MODULE = LIBRARY / "SkinSeg.py"

_HANDED_OVER_TO = {"core", "scan", "dicom", "segmentation", "surface"}
#: The folders of SkinSegLib that each one may import; itself always.
MAY_IMPORT = {
    "core": set(),
    "dicom": {"core"},
    "scan": {"core", "dicom"},
    "segmentation": {"core"},
    "surface": {"core"},
    "pipeline": {"core", "segmentation", "surface"},
    "privacy": _HANDED_OVER_TO,
    "training": _HANDED_OVER_TO | {"privacy"},
    "batch": _HANDED_OVER_TO | {"job", "report"},
    "worker": _HANDED_OVER_TO | {"pipeline", "privacy", "training", "web"},
    "web": {"core", "scan", "segmentation", "privacy"},
    "mrml": _HANDED_OVER_TO | {"pipeline", "privacy", "worker"},
    "widgets": {"core", "mrml", "worker"},
}
#: The command and what is beside it; these import anything, and nothing imports them but batch,
#: which runs the job for many scans.
DOOR = {
    *(
        "cli",
        "cli_arguments",
        "cli_batch",
        "cli_check",
        "cli_data",
        "cli_deface",
        "cli_dicom",
        "cli_dicom_export",
        "cli_evaluate",
        "cli_federated",
        "cli_label",
        "cli_mesh",
        "cli_models",
        "cli_privacy",
        "cli_thickness",
        "cli_train",
        "cli_web",
    ),
    *("job", "report", "terminal"),
}

#: Packages and the folders that may import them.
ONLY_IN = {
    "slicer": {"mrml", "widgets"},
    "qt": {"widgets"},
    "ctk": {"widgets"},
    "torch": {"segmentation", "training"},
    "monai": {"segmentation", "training"},
    "rich": {"terminal"},
    "PySide6": set(),
    "trame": set(),
    "matplotlib": {"training"},
    "manifold3d": {"surface"},
    "igl": {"surface"},
    "lib3mf": {"surface"},
    "cryptography": {"privacy"},
    "dicomanonymizer": {"privacy"},
    "highdicom": {"dicom"},
    "filelock": {"batch", "training", "web"},
    "nvflare": {"training"},
    "dask": {"batch"},
    "distributed": {"batch"},
    "requests": {"web"},
    "requests_toolbelt": {"web"},
    "dicomweb_client": {"web"},
}
#: Too slow to import before they are needed; torch also because the panel opens without it.
LAZY = {
    *("torch", "monai", "vtk", "vtkmodules", "SimpleITK", "scipy", "pydicom", "rich", "slicer"),
    *("matplotlib", "igl", "lib3mf", "manifold3d", "cryptography", "dicomanonymizer"),
    *("highdicom", "dask", "distributed", "filelock"),
    *("requests", "requests_toolbelt", "dicomweb_client"),
}


@dataclass(frozen=True)
class Import:
    """One import: the full dotted name, and whether it runs when the module is imported."""

    name: str
    at_once: bool
    line: int


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in a file, wherever it stands; relative ones are resolved."""
    inside = path.relative_to(LIBRARY).with_suffix("").parts
    package = inside if path.name == "__init__.py" else inside[:-1]
    package = package[:-1] if package and package[-1] == "__init__" else package

    def walk(node: ast.AST, at_once: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, at_once, child.lineno)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) - child.level + 1] if child.level else ()
                start = ".".join((*base, *filter(None, [child.module])))
                for alias in child.names:
                    yield Import(f"{start}.{alias.name}", at_once, child.lineno)
            elif isinstance(child, ast.Call) and getattr(child.func, "attr", "") == "import_module":
                assert isinstance(child.args[0], ast.Constant), f"{path}:{child.lineno}"
                yield Import(child.args[0].value, at_once, child.lineno)
            runs_later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
            yield from walk(child, at_once and not runs_later and not typing_only)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), True)


def folder_of(path: Path) -> str:
    """The folder of SkinSegLib a file lies in, or its own name beside them."""
    first = path.relative_to(ROOT).parts[0]
    return first.removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))
BY_ID = {path.relative_to(LIBRARY).as_posix(): path for path in FILES}


def test_every_folder_has_a_rule() -> None:
    there = {folder_of(path) for path in FILES}
    assert {"core", "scan", "segmentation", "surface", "training", "mrml", "cli"} <= there
    assert there <= set(MAY_IMPORT) | DOOR | {"__init__"}


def test_both_doors_share_one_pipeline() -> None:
    """Nothing else puts segmentation and surface together."""
    together = set()
    for path in FILES:
        calls = {found.name.removeprefix("SkinSegLib.") for found in imports_of(path)}
        segments = calls & {"segmentation", "segmentation.segment"}
        builds = calls & {"surface", "surface.build"}
        if segments and builds and folder_of(path) != "training":
            together.add(path.relative_to(ROOT).as_posix())
    assert together == {"pipeline.py"}
    for door in ("job.py", "mrml/job.py"):
        assert "SkinSegLib.pipeline.compute" in {found.name for found in imports_of(ROOT / door)}


@pytest.mark.parametrize("path", BY_ID.values(), ids=BY_ID)
def test_imports(path: Path) -> None:
    folder = folder_of(path)
    allowed = MAY_IMPORT.get(folder, set(MAY_IMPORT) | DOOR) | {folder}
    wrong = []
    for found in imports_of(path):
        top, *rest = found.name.split(".")
        if top == "SkinSegLib" and rest[0] != "__version__" and rest[0] not in allowed:
            wrong.append(f"line {found.line}: {folder} must not import {rest[0]}")
        if top in ONLY_IN and folder not in ONLY_IN[top]:
            wrong.append(f"line {found.line}: {top} is only for {sorted(ONLY_IN[top])}")
        in_slicer = folder == "widgets" and top == "slicer"  # never imported anywhere else
        if top in LAZY and found.at_once and not in_slicer:
            wrong.append(f"line {found.line}: {top} must be imported inside a function")
    assert not wrong


def test_the_rules_have_no_circle() -> None:
    left = {name: set(allowed) for name, allowed in MAY_IMPORT.items()}
    while left:
        free = [name for name, allowed in left.items() if not allowed & set(left)]
        assert free, f"these import each other: {sorted(left)}"
        for name in free:
            del left[name]


def test_modules_have_no_circle() -> None:
    """Between modules too, counting only what runs at import time."""
    names = {".".join(path.relative_to(LIBRARY).with_suffix("").parts): path for path in FILES}
    needs: dict[str, set[str]] = {}
    for name, path in names.items():
        wanted = {found.name for found in imports_of(path) if found.at_once}
        # "from .x import y" is x, or the module x.y.
        needs[name] = {
            other
            for other in names
            for want in wanted
            if want == other or want.rpartition(".")[0] == other
        } - {name}
    while needs:
        free = [name for name, others in needs.items() if not others & set(needs)]
        assert free, f"these import each other: {sorted(needs)}"
        for name in free:
            del needs[name]


def test_the_module_imports_no_heavy_package_at_once() -> None:
    """Slicer has vtk loaded anyway, but torch must not come with the panel."""
    assert MODULE.is_file()
    for found in imports_of(MODULE):
        top = found.name.split(".")[0]
        assert top not in ("torch", "monai", "PySide6"), f"line {found.line}"
        if found.at_once and found.name.startswith("SkinSegLib."):
            assert found.name.split(".")[1] in ("core", "widgets"), f"line {found.line}"


def test_the_walk_sees_what_it_should(tmp_path: Path) -> None:
    """A test that reads source could pass by not reading it."""
    path = ROOT / "terminal.py"
    found = {(item.name, item.at_once) for item in imports_of(path)}
    assert ("rich.console.Console", False) in found
    assert ("SkinSegLib.core.Progress", True) in found
    assert ("threading", True) in found


def test_importing_every_stage_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]);"
        "import SkinSegLib.job, SkinSegLib.report, SkinSegLib.terminal, SkinSegLib.mrml;"
        "import SkinSegLib.training.phantom, SkinSegLib.privacy;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[2:])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(LIBRARY), *LAZY],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
