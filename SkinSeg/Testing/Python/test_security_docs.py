"""Docs/security.md names every direct dependency, and tests and commands that there are."""

from __future__ import annotations

import re
import tomllib
from itertools import chain

from command import LIBRARY, REPOSITORY

TEXT = (REPOSITORY / "Docs" / "security.md").read_text(encoding="utf-8")


def plain(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found is not None
    return found[0].lower().replace("_", "-")


def test_every_dependency_has_its_licence() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = chain(project["dependencies"], *(extras[name] for name in extras if name != "test"))
    rows = re.findall(r"^\| ([\w-]+) \| ([\w, ]*) ?\| ([^|]+) \|$", TEXT, re.MULTILINE)
    listed = {name.lower(): extra.strip() for name, extra, licence in rows if licence.strip()}
    assert {plain(item) for item in asked} - {"skinseg"} <= listed.keys()
    for name, items in extras.items():
        if name != "test":
            for item in {plain(item) for item in items} - {"skinseg"}:
                assert name in listed[item].split(", ")


def test_what_it_points_to_is_there() -> None:
    for name in re.findall(r"`(test_[\w*]+\.py)`", TEXT):
        assert list((LIBRARY / "Testing" / "Python").glob(name)), name
    assert (REPOSITORY / ".ci" / "sbom").is_file()
    for name in re.findall(r"\]\((\w+\.md)\)", TEXT):
        assert (REPOSITORY / "Docs" / name).is_file()
    assert "Docs/security.md" in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_required_versions_are_those_it_speaks_of() -> None:
    from SkinSegLib.segmentation.plain_weights import SAFE_TORCH

    safe = ".".join(map(str, SAFE_TORCH))
    assert f"| {safe} is required" in TEXT
    for file in ("pyproject.toml", "SkinSeg/Resources/requirements.txt"):
        assert f"torch>={safe}" in (REPOSITORY / file).read_text()
    code = (LIBRARY / "SkinSegLib" / "widgets" / "packages.py").read_text(encoding="utf-8")
    assert f'"torch>={safe}"' in code
