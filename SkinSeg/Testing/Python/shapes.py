"""Shared by the tests of surfaces: boxes, balls and shells as SkinMesh, in RAS mm."""

from __future__ import annotations

import numpy as np
import trimesh
from SkinSegLib.core import SkinMesh


def as_mesh(body: trimesh.Trimesh) -> SkinMesh:
    faces = np.asarray(body.faces, np.int32)
    return SkinMesh(
        np.asarray(body.vertices, np.float32), faces, np.zeros(len(faces), bool), closed=True
    )


def box(low: tuple[float, ...], high: tuple[float, ...]) -> SkinMesh:
    return as_mesh(trimesh.creation.box(bounds=[low, high]))


def ball(
    radius: float, centre: tuple[float, ...] = (0.0, 0.0, 0.0), subdivisions: int = 5
) -> SkinMesh:
    body = trimesh.creation.icosphere(subdivisions, radius)
    body.apply_translation(centre)
    return as_mesh(body)


def inverted(mesh: SkinMesh) -> SkinMesh:
    return SkinMesh(
        mesh.points, np.ascontiguousarray(mesh.triangles[:, ::-1]), mesh.is_cut, mesh.closed
    )


def joined(*meshes: SkinMesh) -> SkinMesh:
    starts = np.cumsum([0, *(len(mesh.points) for mesh in meshes)])[:-1]
    return SkinMesh(
        np.concatenate([mesh.points for mesh in meshes]),
        np.concatenate(
            [mesh.triangles + np.int32(start) for mesh, start in zip(meshes, starts, strict=True)]
        ),
        np.concatenate([mesh.is_cut for mesh in meshes]),
        closed=all(mesh.closed for mesh in meshes),
    )


def shell(outer: float, inner: float, subdivisions: int = 5) -> SkinMesh:
    """A hollow ball."""
    return joined(
        ball(outer, subdivisions=subdivisions), inverted(ball(inner, subdivisions=subdivisions))
    )


def as_trimesh(mesh: SkinMesh) -> trimesh.Trimesh:
    return trimesh.Trimesh(mesh.points, mesh.triangles, process=False)
