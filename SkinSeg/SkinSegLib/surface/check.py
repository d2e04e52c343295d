"""Whether a mesh can be printed, and if not, what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import MissingPackageError, SkinMesh, SurfaceError
from .deviation import area_mm2
from .measures import measures
from .nesting import inside_others
from .parts import part_volumes_ml
from .topology import bow_ties, edges_of, parts, repeats
from .untangle import intersecting_pairs

#: Lowest and highest x, y, z.
Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]

_REPAIR = "Repair it in a mesh program (MeshLab, Blender, Meshmixer), or export it again."


@dataclass(frozen=True)
class MeshCheck:
    """What :func:`check` found; counts, but for the last ones.

    ``components``: parts that share no point, cavities among them. ``closed``: every edge is
    shared by exactly two triangles that run along it in opposite directions. ``boundary_edges``:
    edges of one triangle; ``non_manifold_edges``: of three and more; ``inconsistent_edges``: along
    which two triangles run the same way; ``bow_tie_vertices``: points at which triangles meet that
    share no edge there. ``degenerate_triangles``: without area, or with a corner twice; those with
    a corner twice count for nothing else. ``duplicate_triangles``: with the same corners as
    another one. ``outward``: the enclosed volume is positive, and so is that of each component
    but cavities. ``cavities``: inside-out components within others, as a hollow's wall has to be;
    ``inside_out_components``: those that are not. ``self_intersections``: pairs of triangles that
    touch or pass through each other without being neighbours, among them the two beside a triangle
    without area; None if that was not asked.
    ``volume_ml`` in mL, ``area_cm2`` in cm2; ``bounds_mm``: lowest and highest x, y, z in RAS mm.
    ``reasons``: why it is not printable, and what to do; ``notes``: what to know all the same.
    """

    triangles: int
    components: int
    closed: bool
    boundary_edges: int
    non_manifold_edges: int
    inconsistent_edges: int
    bow_tie_vertices: int
    degenerate_triangles: int
    duplicate_triangles: int
    outward: bool
    cavities: int
    inside_out_components: int
    self_intersections: int | None
    volume_ml: float
    area_cm2: float
    bounds_mm: Bounds

    @property
    def printable(self) -> bool:
        """No reason speaks against it. A program for printing may still want thicker walls."""
        return not self.reasons

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not printable, in plain words, with what to do next."""
        if not self.triangles:
            return ("It has no triangles. Segment the scan again.",)
        holes = _count(self.boundary_edges, "edge lies", "edges lie")
        thick = _count(self.non_manifold_edges, "edge has", "edges have")
        turned = _count(self.inconsistent_edges, "edge has", "edges have")
        ties = _count(self.bow_tie_vertices, "point is", "points are")
        empty = _count(self.degenerate_triangles, "triangle has", "triangles have")
        twice = _count(self.duplicate_triangles, "triangle is", "triangles are")
        pairs = _count(self.self_intersections or 0, "pair", "pairs")
        wrong = _count(self.inside_out_components, "part is", "parts are")
        found = (
            (holes, f"{holes} on the rim of a hole: the surface is open. Close holes. {_REPAIR}"),
            (thick, f"{thick} more than two triangles: walls meet in a line. {_REPAIR}"),
            (turned, f"{turned} triangles that face opposite ways. Unify the normals. {_REPAIR}"),
            (ties, f"{ties} all that holds walls together: they have no strength. {_REPAIR}"),
            (empty, f"{empty} no area. Remove degenerate faces. {_REPAIR}"),
            (twice, f"{twice} there twice. Remove duplicate faces. {_REPAIR}"),
            (pairs, f"{pairs} of triangles pass through each other. {_REPAIR}"),
            (wrong, f"{wrong} inside out: the inside would be printed as air. Flip the normals."),
        )
        reasons = tuple(text for count, text in found if count)
        if not self.outward and not reasons:
            reasons = ("It encloses no volume. Choose another file, or segment the scan again.",)
        return reasons

    @property
    def notes(self) -> tuple[str, ...]:
        """What is no fault, but is to be known before printing."""
        notes = []
        bodies = self.components - self.cavities
        if bodies > 1:
            notes.append(f"It has {bodies} separate parts. Delete loose ones before printing.")
        if self.cavities:
            hollow = _count(self.cavities, "closed hollow", "closed hollows")
            notes.append(f"It has {hollow}, which trap resin or powder. Add a drain hole.")
        if self.self_intersections is None:
            notes.append("Whether triangles pass through each other was not checked.")
        return tuple(notes)


def check(mesh: SkinMesh, *, self_intersections: bool = True) -> MeshCheck:
    """Look for everything that keeps a mesh from being printed.

    ``mesh``: any triangles, in RAS mm. ``self_intersections``: also look for triangles that pass
    through each other (exact predicates, by libigl); triangles without area and repeated ones are
    left out of that, for they touch others by nature.

    Raises MissingPackageError where libigl is wanted and not installed, SurfaceError where
    coordinates are no numbers or a triangle names a point that is not there.
    """
    points, triangles = mesh.points.astype(np.float64), mesh.triangles.astype(np.int64)
    if not np.isfinite(points).all() or (
        triangles.size and not 0 <= triangles.min() <= triangles.max() < len(points)
    ):
        raise SurfaceError("The mesh is damaged: its coordinates are no numbers, or points lack.")
    areas = area_mm2(mesh)
    collapsed = (triangles == np.roll(triangles, 1, axis=1)).any(axis=1)
    degenerate, again = (areas == 0) | collapsed, repeats(triangles) & ~collapsed
    whole = triangles[~collapsed]
    edges, part = edges_of(whole), parts(whole, len(points))
    volumes = part_volumes_ml(points, whole, part)
    cavity = _cavities(points, whole, part, volumes)
    inside_out = int(((volumes < 0) & ~cavity).sum())
    size = measures(mesh)
    closed = not (edges.boundary or edges.non_manifold or edges.inconsistent) and len(whole) > 0
    pairs = None
    if self_intersections:
        pairs = _intersections(mesh, ~degenerate & ~again)
    return MeshCheck(
        triangles=len(triangles),
        components=len(volumes),
        closed=closed,
        boundary_edges=edges.boundary,
        non_manifold_edges=edges.non_manifold,
        inconsistent_edges=edges.inconsistent,
        bow_tie_vertices=bow_ties(whole, edges),
        degenerate_triangles=int(degenerate.sum()),
        duplicate_triangles=int(again.sum()),
        outward=float(volumes.sum()) > 0 and inside_out == 0,
        cavities=int(cavity.sum()),
        inside_out_components=inside_out,
        self_intersections=pairs,
        volume_ml=float(volumes.sum()),
        area_cm2=float(areas.sum()) / 100.0,
        bounds_mm=(size.low_ras, size.high_ras),
    )


def _cavities(
    points: NDArray[np.float64],
    triangles: NDArray[np.int64],
    part: NDArray[np.int64],
    volumes: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which parts are the walls of hollows: inside out, and within the solid of others."""
    cavity = np.zeros(len(volumes), bool)
    candidates = np.flatnonzero(volumes < 0)
    if candidates.size and candidates.size < len(volumes):
        cavity[candidates] = inside_others(points, triangles, part, candidates)
    return cavity


def _intersections(mesh: SkinMesh, which: NDArray[np.bool_]) -> int:
    if not which.any():
        return 0
    some = SkinMesh(mesh.points, mesh.triangles[which], mesh.is_cut[which], mesh.closed)
    try:
        return len(intersecting_pairs(some))
    except ImportError as error:
        raise MissingPackageError(
            "Looking for triangles that pass through each other needs the package libigl. Install "
            "it (pip install 'skinseg[mesh]', or pip install libigl), or leave this check out "
            "(--no-self-intersections)."
        ) from error


def _count(number: int, one: str, several: str) -> str:
    """ "3 edges lie"; "" for none."""
    return f"{number} {one if number == 1 else several}" if number else ""
