"""The skin at full resolution: the HU edge decides, next to what was found on the coarse grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..core import (
    Box,
    CTVolume,
    Progress,
    SegmentationError,
    bounding_box,
    distance_to,
    in_pieces,
    largest_component,
)
from .coarse import CoarseGrid, Floats
from .layers import looseness
from .locate import Bools
from .openings import outside_part
from .whiskers import without_whiskers

#: Tissue farther than this from the located patient is not patient. Wide enough for what the
#: coarse grid misses: the rim of an ear, the wings of the nose.
BAND_MM = 8.0
#: Air at least this far inside the patient is enclosed, whatever the coarse grid made of it.
_DEEP_MM = 8.0
#: Where both patient and object are nearer than the first, the network's surface decides; from
#: the second on only which of them is nearer.
_CONTACT_MM = (4.0, 8.0)
#: Over about this many mm the network's probability goes from 0 to 1 at a border.
_BORDER_MM = 8.0
#: So many mm of that what is surely too loose for a patient costs: all, so that it never is one.
_LOOSE_MM = 8.0
#: Of a voxel that may be patient, before it is known what hangs together.
_TISSUE, _AIR = np.uint8(1), np.uint8(2)
#: Slices that a thread decides in one go.
_SLICES_AT_ONCE = 16
_NOBODY = "No patient was found at this level. Lower the level, or choose another series."


@dataclass(frozen=True)
class _Fields:
    """Signed distances on the coarse grid in mm; positive where the name says.

    ``patient``: nearer to patient than to objects, and within the band; ``inside``: nearer to
    enclosed air than to outside air. ``touching``: where the network decides between patient and
    object, 0..1; None if it has no say.
    """

    patient: Floats
    inside: Floats
    touching: Floats | None


def delineate(
    volume: CTVolume,
    level_hu: float,
    grid: CoarseGrid,
    patient: Bools,
    objects: Bools,
    cavities: Bools,
    progress: Progress,
    side: Floats | None = None,
    loose: tuple[float, float] | None = None,
) -> tuple[NDArray[np.uint8], Bools]:
    """The solid head on the scan's grid, (k, j, i) uint8, one 6-connected component, no holes.

    Also the blocks of ``grid`` in which something too thin to be patient was cut off.

    A tissue voxel is patient if the located patient is nearer than any object and within BAND_MM;
    an air voxel is filled if it is nearer to enclosed air than to outside air. ``patient``,
    ``objects`` and ``cavities`` are on ``grid``; so is ``side`` (see Location), which decides in
    place of the distances where patient and object touch. There ``loose`` matter (see
    layers.loose_range) is no patient; None if nothing is told by how dense it is.

    Raises SegmentationError if nothing is left.
    """
    mask = np.zeros(grid.shape, np.uint8)
    blocks = bounding_box(patient | cavities, margin=2 + round(BAND_MM / min(grid.spacing)))
    if blocks is None:
        raise SegmentationError(_NOBODY)
    box = grid.voxels_of(blocks)
    near, scan = mask[box], volume.voxels[box]
    fields = _signed_fields(grid, patient, objects, cavities, side)
    padding = np.asarray(volume.padding, dtype=scan.dtype)
    contact = None if loose is None else fields.touching
    begins, ends = loose or (-np.inf, -np.inf)

    def decide(slices: slice) -> None:
        part = _layers(box, slices)
        both = zip(grid.slices(fields.patient, part), grid.slices(fields.inside, part), strict=True)
        around = None if contact is None else _not_zero(grid, contact, part)
        for k, (is_patient, is_inside) in enumerate(both, slices.start):
            voxels = scan[k]
            tissue = voxels >= level_hu
            if padding.size:
                tissue &= ~np.isin(voxels, padding)
            if contact is not None and around is not None:
                j, i = np.nonzero(tissue[around] & (voxels[around] < begins))
                j, i = j + around[0].start, i + around[1].start
                touching = grid.at(contact, k + box[0].start, j + box[1].start, i + box[2].start)
                some = touching > 0
                j, i = j[some], i[some]
                share = looseness(scan, k, j, i, volume.spacing[::-1], (begins, ends))
                is_patient[j, i] -= _LOOSE_MM * share * touching[some]
            near[k] = np.where(tissue, _TISSUE * (is_patient > 0), _AIR * (is_inside > 0))

    in_pieces(decide, len(scan), _SLICES_AT_ONCE, lambda done: progress.update(0.5 * done))
    tight = bounding_box(near, margin=1)
    if tight is None:
        raise SegmentationError(_NOBODY)
    solid = _one_solid(near[tight], progress)
    near[tight] = kept = without_whiskers(solid, volume.spacing[::-1])
    cut_off = np.zeros(grid.coarse_shape, bool)
    if kept is not solid:
        corner = [a.start + b.start for a, b in zip(box, tight, strict=True)]
        cut_off[tuple(((np.argwhere(solid > kept) + corner) // grid.factors).T)] = True
    progress.update(1.0)
    return mask, cut_off


def _layers(box: Box, slices: slice) -> Box:
    """Some slices of a box, counted from its first."""
    first = box[0].start
    return slice(first + slices.start, first + slices.stop), box[1], box[2]


def _not_zero(grid: CoarseGrid, field: Floats, box: Box) -> tuple[slice, slice] | None:
    """The rows and columns of a box of voxels, counted from its first, where a field is not zero.

    Somewhat more, in whole blocks, as the field is interpolated. None if it is zero all over.
    """
    within = [
        slice(max(0, part.start // f - 1), part.stop // f + 2)
        for part, f in zip(box, grid.factors, strict=True)
    ]
    found = bounding_box(field[tuple(within)] > 0, margin=1)
    if found is None:
        return None
    rows, columns = (
        slice(
            max(part.start, (a.start + b.start) * f) - part.start,
            min(part.stop, (a.start + b.stop) * f) - part.start,
        )
        for part, a, b, f in zip(box[1:], within[1:], found[1:], grid.factors[1:], strict=True)
    )
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _signed_fields(
    grid: CoarseGrid, patient: Bools, objects: Bools, cavities: Bools, side: Floats | None
) -> _Fields:
    spacing = grid.spacing
    to_patient = distance_to(patient | cavities, spacing)
    # Far from everything the exact value does not matter; infinity would not interpolate.
    limit = np.float32(2 * BAND_MM)
    to_objects = np.minimum(distance_to(objects, spacing), limit)
    touching: Floats | None = None
    nearer = to_objects - np.minimum(to_patient, limit)
    if side is not None and objects.any():
        near, far = _CONTACT_MM
        share = (far - np.maximum(to_objects, to_patient)) / np.float32(far - near)
        touching = np.clip(share, 0, 1)
        nearer += touching * ((side - np.float32(0.5)) * np.float32(_BORDER_MM) - nearer)
    to_outside = distance_to(~(patient | cavities), spacing)
    enclosed = cavities | (to_outside > _DEEP_MM)
    inside = np.minimum(to_outside, limit) - np.minimum(distance_to(enclosed, spacing), limit)
    return _Fields(np.minimum(nearer, BAND_MM - to_patient), inside, touching)


def _one_solid(mask: NDArray[np.uint8], progress: Progress) -> NDArray[np.uint8]:
    """The largest component of a mask of _TISSUE and _AIR, with all air filled that it encloses.

    Raises SegmentationError if there is no tissue in it.
    """
    # By tissue alone first: what hangs together with the patient only through air that is to be
    # filled is a table that a gap narrower than the coarse grid's blocks parts from the back.
    tissue = largest_component(mask == _TISSUE).view(np.bool_)
    if not tissue.any():
        raise SegmentationError(_NOBODY)
    progress.update(0.7)
    tissue |= mask == _AIR
    # Labels take four bytes a voxel: nothing else is kept meanwhile.
    tissue = largest_component(tissue).view(np.bool_)
    progress.update(0.8)
    # The box is the patient's own: its edges are outside air, or the patient is cut there.
    outside = outside_part(np.logical_not(tissue, out=tissue))
    progress.update(0.9)
    return (~outside).astype(np.uint8)
