"""Localisation on the coarse grid: which tissue is patient, which is some object.

By the network's word, or classically: table, holder and tubes are thin where they touch the
patient, or do not touch at all: what an opening leaves is solid, the solid part with most bone is
the head, and a thin part stays with it only if it is short, like an ear or a nose.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ..core import SegmentationError, distance_to

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Spacing = tuple[float, float, float]

#: How far along the tissue from the opened head a long thin part is kept: what the opening itself
#: rounded off. Not across air, or all of a plate would stay that hangs before the face on one pin.
_RIM_MM = 4.0
#: A thin part that the network left out, an ear above all, is joined again if it reaches no farther
#: than this from the patient, and if the network gives it at least this probability on average.
#: (Train scans and made heads: ears and rims 0.19 and more, masks and straps 0.15 and less. Ears
#: stand out by 20 to 25 mm, and their base may be in doubt too.)
_REJOIN_MM, _REJOIN_FROM = 35.0, 0.17
#: If most of it is as dense as soft tissue, this is enough: an ear is, a layer of plastic or cloth
#: of its thickness is blurred, and comes to -130 HU and less on the scans above.
_REJOIN_SOFT_FROM = 0.1
#: What is left may be an ear that lies on a holder: without the tissue that the network gives less
#: than this share, it is joined if it also sticks out: its volume by the area on which it sits. On
#: made heads ears come to 6 mm and more, layers along a contact to 4.
_EAR_SHARE, _EAR_HEIGHT_MM = 0.2, 5.0
#: Nothing is joined that is higher than this: what touches the patient in a point, or not at all,
#: is a tube or a blob. What was joined rightly on 24 made scenes, train and validation scans
#: came to 9.3 mm at most; of a whole ear, 8 mL on 4 cm^2, it would be 20.
_MOST_HEIGHT_MM = 25.0

#: What the classical engine takes for an object, the network must be this sure of.
_SURE = 0.8
#: Less tissue than this in a cell, a wire, says nothing of whose it is.
_LEAST_SEEN = 0.3
#: Of solid tissue the network says more or less than this if it is sure.
_DOUBT = (0.3, 0.7)
#: How far the network's word is smoothed; less than its cells blur it anyway.
_SMOOTH_MM = 1.5
_NO_TISSUE = (
    "Nothing in the scan is denser than the skin level. Choose the series that shows the patient, "
    "or lower the level."
)


@dataclass(frozen=True)
class Location:
    """Patient and objects on the coarse grid, (k, j, i) booleans.

    ``contacts``: where an object was cut from the patient. ``side``: how much of the tissue around
    each block is patient, 0..1, smooth, half of it on the border between patient and object; None
    if the engine knows no more than the blocks. ``doubt``: tissue of which the engine cannot say
    whose it is; None if it does not say how sure it is. ``likely``: how sure the engine is that a
    block lies within the patient, 0..1, or None.
    """

    patient: Bools
    objects: Bools
    contacts: Bools
    side: Floats | None = None
    doubt: Bools | None = None
    likely: Floats | None = None


def locate(
    fraction: Floats,
    bone: Floats,
    spacing: Spacing,
    opening_mm: float,
    reach_mm: float,
    bare: Bools | None = None,
) -> Location:
    """Tell the patient from objects.

    ``fraction``: tissue fraction of each coarse voxel, 0..1; ``bone``: the same for bone (zeros
    where grey values are not calibrated). ``spacing``: mm along k, j, i. ``opening_mm``,
    ``reach_mm``: see SegmentOptions. ``bare``: what cannot be patient.

    Raises SegmentationError if nothing solid is left.
    """
    from scipy import ndimage

    everything = fraction >= 0.5
    tissue = everything if bare is None else everything & ~bare
    core = _head_core(tissue, bone, spacing, opening_mm)
    connected, _ = ndimage.label(tissue)
    tissue_of_head = connected == connected[core][0]
    # The opening also rounds every edge; those crumbs belong to the core, and would otherwise
    # join an ear to a holder across the whole surface.
    core = core | (_reach(tissue_of_head & ~core, core, spacing, _RIM_MM) <= _RIM_MM)
    thin, count = ndimage.label(tissue_of_head & ~core)
    reach = _reach(thin > 0, core, spacing, 2 * reach_mm)
    farthest = ndimage.maximum(reach, thin, np.arange(1, count + 1)) if count else []
    is_object = np.zeros(count + 1, bool)
    is_object[1:] = np.asarray(farthest) > reach_mm
    cut = is_object[thin]
    patient = tissue_of_head & ~cut
    contacts = cut & (reach <= 2 * max(spacing))
    if bare is not None:
        contacts |= everything & bare & (distance_to(patient, spacing) <= 1.5 * max(spacing))
    return Location(patient, everything & ~patient, contacts)


def locate_by(
    probability: Floats,
    fraction: Floats,
    spacing: Spacing,
    cell_mm: float = 3.0,
    bare: Bools | None = None,
    doubted: Bools | None = None,
    soft: Bools | None = None,
) -> Location:
    """Tell the patient from objects by what the network says.

    ``probability``: of being patient, ``fraction``: of tissue, both 0..1 on the coarse grid.
    ``spacing``: mm along k, j, i; ``cell_mm``: size of the network's cells; ``bare``: what cannot
    be patient, whatever the network says of it; ``doubted``: what the classical engine takes for
    an object; ``soft``: what is as dense as soft tissue. The network says how much of a cell is
    patient, so an ear that fills a third of one gets a third: that is compared with how much of the
    cell is tissue. What is still missed is joined again where it is short and the network is not
    sure against it.

    Raises SegmentationError if there is no patient.
    """
    from scipy import ndimage

    everything = fraction >= 0.5
    tissue = everything if bare is None else everything & ~bare
    share = _share(probability, fraction, spacing, cell_mm)
    least = 0.5 if doubted is None else np.where(doubted, np.float32(_SURE), np.float32(0.5))
    parts, count = ndimage.label(tissue & (share >= least))
    if count == 0:
        if not tissue.any():
            raise SegmentationError(_NO_TISSUE)
        raise SegmentationError(
            "The network found no patient in the scan. Choose the series that shows the head, or "
            "use the engine threshold."
        )
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    patient = parts == int(np.argmax(sizes))
    if doubted is not None:
        tissue = tissue & (~doubted | patient)
    patient = _with_thin_parts(tissue, patient, probability, spacing, soft=soft)
    patient = _with_thin_parts(
        tissue & (share >= _EAR_SHARE), patient, probability, spacing, _EAR_HEIGHT_MM
    )
    objects = everything & ~patient
    contacts = objects & (distance_to(patient, spacing) <= 1.5 * max(spacing))
    side = _side(share, fraction, patient, objects, spacing)
    low, high = _DOUBT
    doubt = (fraction >= 0.9) & (share > low) & (share < high)
    if bare is not None:
        doubt &= ~bare  # decided, whatever the network says
    return Location(patient, objects, contacts, side, doubt, probability)


def _with_thin_parts(
    tissue: Bools,
    patient: Bools,
    probability: Floats,
    spacing: Spacing,
    least_height_mm: float = 0.0,
    soft: Bools | None = None,
) -> Bools:
    """The patient with the parts of the rest that stay near and that the network does not rule out.

    ``least_height_mm``: what lies flatter on the patient is not taken. ``soft``: see locate_by.
    """
    from scipy import ndimage

    thin, count = ndimage.label(tissue & ~patient)
    # All of a part must be near: a strap or a mask leads away from where it touches.
    leads_away = np.bincount(
        thin[distance_to(patient, spacing) > _REJOIN_MM], minlength=count + 1
    ).astype(bool)
    of_part = thin[thin > 0]
    sizes = np.maximum(np.bincount(of_part, minlength=count + 1), 1)
    likely = np.bincount(of_part, probability[thin > 0], count + 1) / sizes
    enough = likely >= _REJOIN_FROM
    if soft is not None:
        is_soft = np.bincount(thin[soft], minlength=count + 1) >= sizes / 2
        enough |= is_soft & (likely >= _REJOIN_SOFT_FROM)
    joined = ~leads_away & enough
    joined[0] = False
    seat = np.maximum(touching_area(thin, patient, spacing, count), 1e-6)
    height = sizes[1:] * float(np.prod(spacing)) / seat
    joined[1:] &= (height >= least_height_mm) & (height <= _MOST_HEIGHT_MM)
    result: Bools = patient | joined[thin]
    return result


def touching_area(
    labels: NDArray[np.int32], other: Bools, spacing: Spacing, count: int
) -> NDArray[np.float64]:
    """Area in mm^2 on which each of ``count`` labelled parts touches another region."""
    area = np.zeros(count + 1)
    for axis in range(3):
        face = float(np.prod(spacing)) / spacing[axis]
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        for here, there in ((tuple(low), tuple(high)), (tuple(high), tuple(low))):
            touching = labels[here][other[there]]
            area += face * np.bincount(touching, minlength=count + 1)
    # Voxel faces overstate the area of an oblique surface by up to sqrt(3), 1.5 on average.
    result: NDArray[np.float64] = area[1:] / 1.5
    return result


def _share(probability: Floats, fraction: Floats, spacing: Spacing, cell_mm: float) -> Floats:
    """How much of the tissue in the network's cell around each block is patient, 0..1."""
    from scipy import ndimage

    # A cell averages over its size and is interpolated linearly: variance size^2 / 12 and, on
    # average over the places between two cells, size^2 / 6. A block averages over its own size.
    sigma = [max(cell_mm**2 / 4 - size**2 / 12, 0.0) ** 0.5 / size for size in spacing]
    seen = ndimage.gaussian_filter(fraction, sigma, truncate=3.0)
    share: Floats = np.minimum(probability / np.maximum(seen, np.float32(_LEAST_SEEN)), 1)
    return share


def _side(
    share: Floats, fraction: Floats, patient: Bools, objects: Bools, spacing: Spacing
) -> Floats:
    """The network's word, averaged over the tissue around each block.

    Air does not count: at the skin it would draw the border into the patient.
    """
    from scipy import ndimage

    # Where the decision went against the network's word, the decision holds.
    word = np.where(patient, np.maximum(share, np.float32(0.6)), share)
    word = np.where(objects, np.minimum(word, np.float32(0.4)), word)
    sigma = [_SMOOTH_MM / size for size in spacing]
    weight = ndimage.gaussian_filter(fraction, sigma, truncate=3.0)
    total = ndimage.gaussian_filter(word * fraction, sigma, truncate=3.0)
    side: Floats = total / np.maximum(weight, np.float32(1e-4))
    return side


def _head_core(tissue: Bools, bone: Floats, spacing: Spacing, opening_mm: float) -> Bools:
    """The opened solid part that holds most bone, or is largest where there is no bone."""
    from scipy import ndimage

    # What an erosion separates stays apart, even if the opening's dilation would join it again.
    padded = np.pad(tissue, 1, mode="edge")
    depth = distance_to(~padded, spacing)[1:-1, 1:-1, 1:-1]
    for radius in (opening_mm, opening_mm / 2, 0.0):
        labels, count = ndimage.label(depth > radius)
        if count:
            break
    else:
        raise SegmentationError(_NO_TISSUE)
    index = np.arange(1, count + 1)
    size = ndimage.sum_labels(tissue, labels, index)
    bones = ndimage.sum_labels(bone, labels, index)
    score = bones if bones.max() * np.prod(spacing) >= 5000 else size
    eroded = labels == index[int(np.argmax(score))]
    return tissue & (distance_to(eroded, spacing) <= radius)


def _reach(thin: Bools, core: Bools, spacing: Spacing, limit_mm: float) -> Floats:
    """Length in mm of the shortest way from the core to each voxel of the thin parts.

    Infinite outside of them and beyond ``limit_mm``. Steps go to all 26 neighbours.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import dijkstra

    reach = np.full(thin.shape, np.inf, np.float32)
    count = int(np.count_nonzero(thin))
    if count == 0:
        return reach
    # Node 0 is the whole core; the thin voxels follow. -1 is neither.
    node = np.where(core, 0, -1).astype(np.int32)
    node[thin] = np.arange(1, count + 1)
    starts, ends, lengths = [], [], []
    for offset in product((-1, 0, 1), repeat=3):
        if offset <= (0, 0, 0):
            continue
        along = list(zip(offset, node.shape, strict=True))
        here = tuple(slice(max(0, -o), n - max(0, o)) for o, n in along)
        there = tuple(slice(max(0, o), n - max(0, -o)) for o, n in along)
        a, b = node[here].ravel(), node[there].ravel()
        joined = (a >= 0) & (b >= 0) & (a + b > 0)
        starts.append(a[joined])
        ends.append(b[joined])
        length = float(np.linalg.norm(np.multiply(offset, spacing)))
        lengths.append(np.full(starts[-1].size, length))
    row, column, data = np.concatenate(starts), np.concatenate(ends), np.concatenate(lengths)
    # Many voxels touch the core: of parallel edges the shortest counts, and coo would add them.
    order = np.lexsort((data, column, row))
    row, column, data = row[order], column[order], data[order]
    first = np.append(True, (np.diff(row) != 0) | (np.diff(column) != 0))
    graph = coo_array((data[first], (row[first], column[first])), shape=(count + 1,) * 2).tocsr()
    way = dijkstra(graph, directed=False, indices=0, limit=limit_mm)
    reach[thin] = way[1:]
    return reach
