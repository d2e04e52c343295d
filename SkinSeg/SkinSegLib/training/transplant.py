"""Other heads in the surroundings of a corrected scan.

Three corrected scans show three heads, and a network that sees only them learns these heads and not
the holder. So what lay around the head is kept, the hole that the head leaves is filled from its
rim, and other heads are laid into it: what was in contact stays in contact (pasting what was cut
out elsewhere: Ghiasi et al. 2021, CVPR, for pictures).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.segmentation.coarse import Floats

from .scenes import HeadSource

#: Before the name of a source that holds surroundings, and no head.
SURROUNDINGS = "around/"
#: The other head lies up to so many mm away from where the first lay.
_OFF_MM = (8.0, 4.0, 6.0)


def surroundings(source: HeadSource) -> HeadSource:
    """What is around the head of a scan, on the same grid, with the head's place filled from its
    rim; ``filled`` still says where the head was."""
    from scipy import ndimage

    if source.around is None:
        raise ValueError("a head that is alone has no surroundings")
    taken = ndimage.binary_dilation(source.filled > 0.02)
    nearest = ndimage.distance_transform_edt(
        taken, sampling=source.spacing, return_distances=False, return_indices=True
    )
    filled_up = np.ascontiguousarray(source.around[tuple(nearest)])
    name = SURROUNDINGS + source.name
    return HeadSource(name, source.grey * 0, source.filled, filled_up, source.spacing)


def transplanted(place: HeadSource, head: HeadSource, rng: np.random.Generator) -> HeadSource:
    """A head in the surroundings of another: crown to crown, back to back, the middles alike.

    ``place``: of :func:`surroundings`. The scan begins where the head's own scan began, if that
    was cut higher up.
    """
    assert place.around is not None
    at = _landmarks(place.filled) - _landmarks(head.filled)
    off = rng.uniform(-1, 1, 3) * _OFF_MM / np.array(place.spacing)
    shift = np.rint(at + off).astype(int)
    grey = _shifted(head.grey, shift, place.filled.shape)
    filled = _shifted(head.filled, shift, place.filled.shape)
    around = grey + (1 - filled) * place.around
    # Below, a head ends where its own scan did: it goes on there, and so must the field end.
    low = np.flatnonzero(filled.max(axis=(1, 2)) > 0)
    start = int(low[0]) if low.size and head.filled[0].max() > 0.5 else 0
    parts = (part[start:] for part in (grey, filled, around))
    grey, filled, around = (np.ascontiguousarray(part, np.float32) for part in parts)
    return HeadSource(head.name, grey, filled, around, place.spacing)


def _landmarks(filled: Floats) -> NDArray[np.float64]:
    """Index of the crown along S, the back along A, and the middle along R."""
    solid = filled >= 0.5
    crown, back = (np.flatnonzero(solid.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    across = np.flatnonzero(solid.any(axis=(0, 1)))
    return np.array([crown[-1], back[0], (across[0] + across[-1]) / 2], np.float64)


def _shifted(values: Floats, shift: NDArray[np.int_], shape: tuple[int, ...]) -> Floats:
    """The array moved by whole cells on a grid of ``shape``; 0 where nothing comes to lie."""
    result = np.zeros(shape, np.float32)
    target, source = [], []
    for move, size, room in zip(shift, values.shape, shape, strict=True):
        target.append(slice(max(0, int(move)), max(0, min(room, int(move) + size))))
        source.append(slice(max(0, -int(move)), max(0, min(size, room - int(move)))))
    result[tuple(target)] = values[tuple(source)]
    return result
