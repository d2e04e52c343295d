"""``skinseg check``: whether a mesh file can be printed."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .cli_arguments import MESH_ENDINGS, ending

if TYPE_CHECKING:
    from .surface import MeshCheck

_NOT_PRINTABLE = 1


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        "check",
        help="whether a mesh file can be printed",
        description="Look for everything that keeps a mesh from being printed. The exit code is 0 "
        "if it can be, 1 if not, or if it cannot be read.",
    )
    parser.add_argument("--debug", action="store_true", help="on errors show Python's traceback")
    parser.add_argument(
        "input",
        type=ending(*MESH_ENDINGS),
        metavar="FILE",
        help=f"a mesh: {', '.join(MESH_ENDINGS)}",
    )
    parser.add_argument(
        "--json", type=ending(".json"), metavar="FILE", help="result to write as JSON"
    )
    parser.add_argument(
        "--no-self-intersections",
        action="store_true",
        help="do not look for triangles that pass through each other, which needs libigl",
    )
    parser.set_defaults(run=run, cancelled="Cancelled.")


def run(chosen: argparse.Namespace) -> int | None:
    """Print what was found; returns the exit code, None where the mesh is printable."""
    from .core import replacing, require_writable
    from .report import table
    from .surface import check, read_mesh

    if chosen.json is not None:
        require_writable(chosen.json)
    if not chosen.debug:
        _silence_vtk()
    mesh = read_mesh(chosen.input)
    found = check(mesh, self_intersections=not chosen.no_self_intersections)
    if chosen.json is not None:
        with replacing(chosen.json) as temporary:
            temporary.write_text(json.dumps(_as_dict(found), indent=2) + "\n", encoding="utf-8")
    print(table(_rows(found)), end="")
    return None if found.printable else _NOT_PRINTABLE


def _silence_vtk() -> None:
    """Its readers' helpers print to the screen what our own message says for people."""
    from vtkmodules.vtkCommonCore import vtkLogger

    vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_OFF)


def _as_dict(found: MeshCheck) -> dict[str, Any]:
    return {
        "printable": found.printable,
        "reasons": list(found.reasons),
        "notes": list(found.notes),
        **asdict(found),
    }


def _rows(found: MeshCheck) -> list[tuple[str, str]]:
    low, high = found.bounds_mm
    size = " x ".join(f"{to - of:.1f}" for of, to in zip(low, high, strict=True))
    place = ", ".join(
        f"{axis} {of:.1f} to {to:.1f}" for axis, of, to in zip("xyz", low, high, strict=True)
    )
    edges = (
        f"{found.boundary_edges} open, {found.non_manifold_edges} of more than two triangles, "
        f"{found.inconsistent_edges} between triangles that face opposite ways"
    )
    triangles = (
        f"{found.degenerate_triangles} without area, {found.duplicate_triangles} repeated, "
        + (
            "passing through each other: not checked"
            if found.self_intersections is None
            else f"{found.self_intersections} pairs that pass through each other"
        )
    )
    about = "" if found.closed else " (it is open: a guess)"
    solid = found.components - found.cavities
    parts = f"{solid} solid, {found.cavities} hollow, {found.inside_out_components} inside out"
    return [
        ("Printable", "yes" if found.printable else "NO"),
        *(("Reason", text) for text in found.reasons),
        *(("Note", text) for text in found.notes),
        ("Triangles", f"{found.triangles}: {triangles}"),
        ("Parts", parts),
        ("Closed", "yes" if found.closed else "no"),
        ("Edges", edges),
        ("Points", f"{found.bow_tie_vertices} at which walls meet only there"),
        ("Outward", "yes" if found.outward else "no"),
        (
            "Volume",
            f"{found.volume_ml:.1f} mL{about}",
        ),
        ("Area", f"{found.area_cm2:.1f} cm2"),
        ("Size", f"{size} mm"),
        ("Place", f"{place} (RAS mm)"),
    ]
