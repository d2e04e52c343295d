"""The scan of a node on its way to a worker, a few milliseconds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..worker import Exchange
from ..worker.messages import ScanMessage
from .volumes import (
    Placement,
    checksum_of,
    is_regular,
    node_state,
    node_voxels,
    placed_scan,
    world_matrix,
)


@dataclass(frozen=True)
class HandedScan:
    """A scan that lies in an exchange folder, and where its node was when it was put there."""

    message: ScanMessage
    placement: Placement


class HandOver:
    """Copies the scan of a volume node into an exchange folder.

    :meth:`steps` yields how much is done (0..1) every few milliseconds, so that a window can stay
    alive in between; at its end ``result`` is there. A node below a non-linear transform is
    resampled first, in one go.
    """

    def __init__(self, node: Any, place: Exchange) -> None:
        self._node, self._place = node, place
        self.result: HandedScan | None = None

    def steps(self) -> Iterator[float]:
        """Raises SceneError, ScanReadError, GeometryError, or OutputError if there is no room."""
        voxels = node_voxels(self._node)
        if not is_regular(self._node):
            placed = placed_scan(self._node)
            yield 0.5
            message = ScanMessage.of(placed.scan, self._place.folder)
            self.result = HandedScan(message, placed)
            return
        checksum, name = 0, "scan"
        for fraction, slab in self._place.put_slowly(name, voxels):
            # As the slab is copied: what is changed after this is found by Placement.check.
            checksum = checksum_of(slab, checksum)
            yield fraction
        matrix = world_matrix(self._node)
        state = node_state(self._node, checksum)
        message = ScanMessage(str(self._place.folder), name, tuple(matrix.ravel().tolist()))
        self.result = HandedScan(message, Placement(self._node, matrix, False, state))


def room_for(node: Any) -> int:
    """How many bytes the exchange of a scan and its results takes at most."""
    voxels = node_voxels(node)
    # Two masks of a byte per voxel, and meshes that are far smaller than both together.
    return int(voxels.nbytes + 4 * voxels.size) + (64 << 20)
