"""What holds the project together: file lists, catalogue entries, the commands of the README."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from command import LIBRARY, REPOSITORY

#: Properties of Slicer's catalogue entry schema 1.0.2.
SCHEMA_REQUIRED = {"$schema", "category", "scm_url"}
SCHEMA_ALLOWED = SCHEMA_REQUIRED | {
    "scm_revision",
    "scm_type",
    "build_dependencies",
    "dicom_support_rule",
    "build_subdirectory",
    "enabled",
    "tier",
}


def cmake_list(text: str, name: str) -> list[str]:
    """The words of ``set(NAME ...)``."""
    found = re.search(rf"set\({name}\s+(.*?)\)", text, re.DOTALL)
    assert found, f"no set({name} ...)"
    return found.group(1).split()


def cmake_value(name: str) -> str:
    found = re.search(rf'set\({name} "(.*?)"\)', (REPOSITORY / "CMakeLists.txt").read_text())
    assert found, f"no set({name} ...)"
    return found.group(1)


def s4ext() -> dict[str, str]:
    lines = (REPOSITORY / "SkinSeg.s4ext").read_text().splitlines()
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return {key: value for key, _, value in pairs}


def tracked() -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this is no git checkout")
    paths = (REPOSITORY / name for name in done.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def readme_commands() -> list[str]:
    """The two long commands of the README, in order: the main job, the tests."""
    lines = (REPOSITORY / "README.md").read_text().splitlines()
    return [line.strip() for line in lines if line.startswith("    ") and "pip install" in line]


def test_cmake_lists_every_file() -> None:
    text = (LIBRARY / "CMakeLists.txt").read_text()
    scripts = cmake_list(text, "MODULE_PYTHON_SCRIPTS")
    resources = cmake_list(text, "MODULE_PYTHON_RESOURCES")
    library = (path for path in LIBRARY.glob("SkinSegLib/**/*.py"))
    assert sorted(scripts) == sorted(
        ["SkinSeg.py", *(path.relative_to(LIBRARY).as_posix() for path in library)]
    )
    files = (path for path in LIBRARY.glob("Resources/**/*") if path.is_file())
    assert sorted(resources) == sorted(path.relative_to(LIBRARY).as_posix() for path in files)
    assert "Resources/UI/SkinSeg.ui" in resources
    assert "Resources/Icons/SkinSeg.png" in resources


def test_cmake_registers_the_module_and_its_test() -> None:
    text = (LIBRARY / "CMakeLists.txt").read_text()
    assert cmake_list(text, "MODULE_NAME") == ["SkinSeg"]
    assert "slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)" in text
    top = (REPOSITORY / "CMakeLists.txt").read_text()
    assert "add_subdirectory(SkinSeg)" in top
    for needed in ("find_package(Slicer REQUIRED)", "Slicer_USE_FILE", "EXTENSION_GENERATE_CONFIG"):
        assert needed in top


def test_slicer_takes_no_helper_for_a_module() -> None:
    assert [path.name for path in LIBRARY.glob("*.py")] == ["SkinSeg.py"]


def test_catalogue_entries_agree() -> None:
    old, new = s4ext(), json.loads((REPOSITORY / "SkinSeg.json").read_text())
    assert SCHEMA_REQUIRED <= set(new) <= SCHEMA_ALLOWED
    assert new["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    depends = cmake_value("EXTENSION_DEPENDS").split()
    assert depends == ["PyTorch"]
    assert old["depends"].split() == new["build_dependencies"] == depends
    assert old["category"] == new["category"]
    assert old["scm"] == new["scm_type"]
    assert old["scmurl"] == new["scm_url"]
    assert old["scmrevision"] == new["scm_revision"]
    assert old["build_subdirectory"] == new["build_subdirectory"] == "."
    assert bool(int(old["enabled"])) == new["enabled"]
    assert 1 <= new["tier"] <= 5
    for key in ("homepage", "contributors", "description", "iconurl", "screenshoturls"):
        assert old[key] == cmake_value(f"EXTENSION_{key.upper()}")


def test_module_says_the_same_category() -> None:
    tree = ast.parse((LIBRARY / "SkinSeg.py").read_text())
    lists = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "self.parent.categories"
    ]
    assert len(lists) == 1
    words = {node.value for node in ast.walk(lists[0]) if isinstance(node, ast.Constant)}
    assert s4ext()["category"] in words


@pytest.mark.parametrize("key", ["iconurl", "screenshoturls"])
def test_pictures_of_the_catalogue_are_there(key: str) -> None:
    """The addresses are placeholders, but their last parts are files of this repository."""
    entry = s4ext()
    part = entry[key].removeprefix(entry["homepage"] + "/")
    assert (REPOSITORY / part).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_slicer_core_is_never_installed_into_slicer() -> None:
    """Its package is named slicer and would hide the real one."""
    lines = (LIBRARY / "Resources" / "requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert not [line for line in wanted if re.match(r"(slicer|vtk|trame|skinseg)", line.lower())]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert not [item for item in project["dependencies"] if item.startswith("slicer")]
    extras = project["optional-dependencies"]
    assert {name for name, items in extras.items() if any("slicer-core" in i for i in items)} == {
        "headless"
    }


def test_ci_runs_the_command_of_the_readme() -> None:
    job, tests = readme_commands()
    assert job.endswith("skinseg demo")
    assert tests.endswith("pytest")
    script = (REPOSITORY / ".ci" / "run").read_text().rstrip().splitlines()
    assert script[-1] == tests
    assert any(line.endswith('ruff" check .') for line in script)
    assert any(line.endswith('mypy"') for line in script)


def test_constraints_cover_what_is_asked_for() -> None:
    """Pins of everything the project names, as plain versions."""
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w-]+", item).group().lower().replace("_", "-") for item in asked}
    assert names - {"skinseg"} <= pinned


def test_no_registry_or_machine_is_named() -> None:
    # Put together here, or this file would name them itself.
    hosts = ["py" + "pi.org", "python" + "hosted", "deb.debian" + ".org", "npm" + "js.org"]
    places = ["/wo" + "rk/", "/tm" + "p/w", "/ro" + "ot/", "/ho" + "me/"]
    named = [
        f"{path.relative_to(REPOSITORY)}: {word}"
        for path in tracked()
        for word in (*hosts, *places)
        if word.encode() in path.read_bytes()
    ]
    assert not named


def test_no_scan_is_committed() -> None:
    endings = (
        ".nrrd",
        ".nhdr",
        ".nii",
        ".gz",
        ".mha",
        ".mhd",
        ".raw",
        ".dcm",
        ".inv3",
        ".zip",
        ".npz",
    )
    assert not [path for path in tracked() if path.name.lower().endswith(endings)]
    assert not [path for path in tracked() if path.read_bytes()[128:132] == b"DICM"]


def test_licence() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
