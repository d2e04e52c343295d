"""Meshes for the tests of surfaces, each with what a test needs to be wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from SkinSegLib.core import SkinMesh


def skin_mesh(points: object, triangles: object) -> SkinMesh:
    """Closed as far as its maker says."""
    corners = np.asarray(triangles, np.int32).reshape(-1, 3)
    return SkinMesh(np.asarray(points, np.float32), corners, np.zeros(len(corners), bool), True)


def head_like() -> SkinMesh:
    """A ball of 80 mm with a nose (anterior) and one ear (left), off the origin, in RAS mm."""
    ball = trimesh.creation.icosphere(4, 80.0)
    points = ball.vertices.copy()
    points[points[:, 1] > 78] += (0, 25, 0)
    points[points[:, 0] < -78] += (-12, 0, 0)
    return skin_mesh(points + (5.25, -3.5, 40.125), ball.faces)


def ball(radius: float = 10.0, at: tuple[float, float, float] = (0, 0, 0)) -> SkinMesh:
    """A closed good mesh of 320 triangles."""
    made = trimesh.creation.icosphere(2, radius)
    return skin_mesh(made.vertices + at, made.faces)


def together(*meshes: SkinMesh) -> SkinMesh:
    """Several meshes as one, their points apart."""
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes)])
    return skin_mesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=False)]
        ),
    )


def inside_out(mesh: SkinMesh) -> SkinMesh:
    return skin_mesh(mesh.points, mesh.triangles[:, ::-1])


def pyramid() -> SkinMesh:
    """A square base of 20 mm, 15 mm high: six triangles."""
    points = [(-10, -10, 0), (10, -10, 0), (10, 10, 0), (-10, 10, 0), (0, 0, 15)]
    sides = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4)]
    return skin_mesh(points, [*sides, (0, 3, 1), (1, 3, 2)])


def text_ply(path: Path, points: object, faces: list[tuple[int, ...]]) -> Path:
    """A PLY as other programs write it: text, polygons of any number of corners."""
    rows = np.asarray(points).tolist()
    head = ["ply", "format ascii 1.0", f"element vertex {len(rows)}"]
    head += [f"property float {axis}" for axis in "xyz"]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    body = [" ".join(map(str, row)) for row in rows]
    body += [" ".join(map(str, (len(face), *face))) for face in faces]
    path.write_text("\n".join([*head, *body]) + "\n")
    return path
