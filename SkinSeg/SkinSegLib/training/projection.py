"""Exact distances to an implicit surface: by projection on its zero set, never by formula.

A point is moved along the gradient, x <- x - f g / |g|^2, until |f| / |g| is below
:data:`TOLERANCE_MM`, then slid along the surface until the line back to where it came from is
perpendicular to the surface: the foot of the (locally) nearest point. Central differences give
gradients and curvatures; coordinates are float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SkinSegLib.core import Progress, SurfaceError

Points = NDArray[np.float64]
Field = Callable[[Points], NDArray[np.float64]]

#: A projected point is within this of the zero set, in mm.
TOLERANCE_MM = 1e-4
#: From here on (mm) the gradient may lead to another part of the surface than the nearest one.
FAR_MM = 1.0
_STEP_MM = 1e-3
_BATCH = 32768
_BLOCK = 4


def as_field(shape: Callable[..., NDArray[np.float64]]) -> Field:
    """A shape of three coordinate arrays as a function of points (n, 3), evaluated in batches."""

    def field(points: Points) -> NDArray[np.float64]:
        result = np.empty(len(points))
        for start in range(0, len(points), _BATCH):
            x, y, z = np.ascontiguousarray(points[start : start + _BATCH].T)
            result[start : start + _BATCH] = shape(x, y, z)
        return result

    return field


def gradient(field: Field, points: ArrayLike, step: float = _STEP_MM) -> Points:
    """Gradient (n, 3) at points (n, 3), by central differences over ``step`` mm."""
    p = np.asarray(points, np.float64)
    shifts = np.concatenate([np.eye(3), -np.eye(3)]) * step
    values = field((p[None, :, :] + shifts[:, None, :]).reshape(-1, 3)).reshape(6, -1)
    result: Points = (values[:3] - values[3:]).T / (2 * step)
    return result


def _newton(field: Field, start: Points, steps: int) -> tuple[Points, NDArray[np.bool_]]:
    """Points after so many Newton steps (each at most 8 mm), and whether they arrived."""
    result = start.copy()
    todo = np.arange(len(result))
    for _ in range(steps):
        p = result[todo]
        f, g = field(p), gradient(field, p)
        squared = np.maximum((g * g).sum(axis=1), 1e-12)
        length = np.abs(f) / np.sqrt(squared)
        move = g * (-f / squared)[:, None]
        move *= np.minimum(1, 8.0 / np.maximum(length, 1e-12))[:, None]
        result[todo] += move
        todo = todo[length > 0.1 * TOLERANCE_MM]
        if not todo.size:
            break
    arrived = np.ones(len(result), bool)
    arrived[todo] = False
    return result, arrived


def project(field: Field, points: ArrayLike, *, steps: int = 40) -> Points:
    """Points (n, 3) moved onto the zero set along the gradient.

    The rare point that does not arrive, because the gradient vanishes on its way, is tried again
    from places up to 2 mm around it, and the foot nearest to it is taken. Raises SurfaceError if
    none of these arrives either (the point lies deep inside or far away).
    """
    start = np.asarray(points, np.float64).reshape(-1, 3)
    result, arrived = _newton(field, start, steps)
    around = np.concatenate([np.eye(3), -np.eye(3)])
    around = np.concatenate([0.5 * around, 1.0 * around, 2.0 * around])
    for number in np.nonzero(~arrived)[0]:
        tried, reached = _newton(field, start[number] + around, steps)
        if not reached.any():
            raise SurfaceError(
                f"{int((~arrived).sum())} points do not reach the phantom's surface. "
                "Start from points nearer to it."
            )
        far = np.linalg.norm(tried[reached] - start[number], axis=1)
        result[number] = tried[reached][np.argmin(far)]
    return result


def normals(field: Field, points: ArrayLike) -> Points:
    """Outward unit normals (n, 3) at points on or near the zero set."""
    g = gradient(field, points)
    unit: Points = g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-12)
    return unit


def nearest(
    field: Field,
    points: ArrayLike,
    *,
    slides: int = 12,
    anchors: Callable[[], Points] | None = None,
) -> tuple[Points, Points]:
    """Feet (n, 3) of the perpendiculars from points (n, 3), and the slip left over (n,), in mm.

    After projection the foot slides along the surface towards where the point was, until the
    tangential rest (the slip) is below 1e-3 mm. The slip says how far off the perpendicular the
    foot still is; the distance is then too long by about slip^2 / (2 distance).

    ``anchors`` gives points that lie densely on the surface: where a point is more than
    :data:`FAR_MM` off, or its projection does not arrive, the nearest of them is where the sliding
    begins if it is nearer. Without them such points raise SurfaceError as :func:`project` does.
    """
    start = np.asarray(points, np.float64).reshape(-1, 3)
    if anchors is None:
        foot = project(field, start)
    else:
        foot, arrived = _newton(field, start, 40)
        far = np.linalg.norm(start - foot, axis=1)
        _anchor(start, foot, np.where(arrived, far, np.inf), anchors)
    slip = np.zeros(len(start))
    todo = np.arange(len(start))
    gain = np.ones(len(start))
    for _ in range(slides):
        p, q = start[todo], foot[todo]
        n = normals(field, q)
        back = p - q
        along = (back * n).sum(axis=1, keepdims=True)
        tangent = back - along * n
        slip[todo] = np.linalg.norm(tangent, axis=1)
        wanting = slip[todo] > 1e-3
        if not wanting.any():
            break
        todo, tangent = todo[wanting], tangent[wanting]
        size = np.linalg.norm(tangent, axis=1, keepdims=True)
        step = tangent * gain[todo, None] * np.minimum(1, 2.0 / np.maximum(size, 1e-12))
        moved, arrived = _newton(field, foot[todo] + step, 40)
        before = np.linalg.norm(start[todo] - foot[todo], axis=1)
        better = arrived & (np.linalg.norm(start[todo] - moved, axis=1) <= before)
        foot[todo[better]] = moved[better]
        gain[todo[~better]] *= 0.4
    return foot, slip


def _anchor(
    start: Points, foot: Points, far: NDArray[np.float64], anchors: Callable[[], Points]
) -> None:
    """Replace feet farther than FAR_MM by the nearest anchor where that is nearer, in place."""
    from scipy.spatial import cKDTree

    doubtful = np.nonzero(far > FAR_MM)[0]
    if not doubtful.size:
        return
    samples = anchors()
    distance, index = cKDTree(samples).query(start[doubtful])
    nearer = distance < far[doubtful]
    foot[doubtful[nearer]] = samples[index[nearer]]


def curvature_terms(field: Field, points: ArrayLike, step: float = 0.05) -> tuple[Points, Points]:
    """Normals (n, 3) and Hessians of the distance (n, 3, 3; 1/mm) at points on the zero set.

    The Hessian is that of f / |g| restricted to the tangent plane: its trace is k1 + k2, twice
    the mean curvature, positive on a ball. ``step``: mm between the samples it is made from.
    """
    p = np.asarray(points, np.float64)
    g = gradient(field, p)
    size = np.maximum(np.linalg.norm(g, axis=1), 1e-12)
    n = g / size[:, None]
    moves = [(i, j, a, b) for i in range(3) for j in range(i) for a in (1, -1) for b in (1, -1)]
    unit = np.eye(3) * step
    shifts = [*unit, *-unit, *(a * unit[i] + b * unit[j] for i, j, a, b in moves)]
    values = field(np.concatenate([p + shift for shift in shifts])).reshape(len(shifts), -1)
    hessian = np.zeros((len(p), 3, 3))
    middle = field(p)
    for i in range(3):
        hessian[:, i, i] = (values[i] + values[3 + i] - 2 * middle) / step**2
    for (i, j, a, b), value in zip(moves, values[6:], strict=True):
        hessian[:, i, j] += a * b * value / (4 * step**2)
        hessian[:, j, i] += a * b * value / (4 * step**2)
    across = np.eye(3) - n[:, :, None] * n[:, None, :]
    return n, across @ hessian @ across / size[:, None, None]


def surface_samples(
    field: Field, low: ArrayLike, high: ArrayLike, spacing: float, progress: Progress | None = None
) -> Points:
    """Points on the zero set within a box (RAS mm), about one per spacing x spacing mm.

    A grid of that spacing is searched for points within half a cell of the surface, which are
    then projected. Deterministic.
    """
    from .implicit import SLOPE

    start = np.asarray(low, np.float64)
    counts = (
        np.maximum(np.ceil((np.asarray(high, np.float64) - start) / spacing), 0).astype(int) + 1
    )
    sizes = [int(n) for n in -(-counts // _BLOCK)]
    blocks = np.indices(sizes).reshape(3, -1).T * _BLOCK
    middle = start + (blocks + (_BLOCK - 1) / 2) * spacing
    half = spacing * ((_BLOCK - 1) / 2 * np.sqrt(3) + 0.5)
    blocks = blocks[np.abs(field(middle)) < SLOPE * half]
    offsets = np.indices((_BLOCK, _BLOCK, _BLOCK)).reshape(3, -1).T
    found = [np.empty((0, 3))]
    for number in range(0, len(blocks), 512):
        if progress is not None:
            progress.update(number / len(blocks))
        index = (blocks[number : number + 512, None, :] + offsets).reshape(-1, 3)
        points = start + index[(index < counts).all(axis=1)] * spacing
        value = field(points)
        points = points[np.abs(value) < 0.5 * SLOPE * spacing]
        size = np.linalg.norm(gradient(field, points), axis=1)
        near = np.abs(field(points)) < 0.5 * spacing * size
        feet, arrived = _newton(field, points[near], 40)
        found.append(feet[arrived])
    return np.concatenate(found)
