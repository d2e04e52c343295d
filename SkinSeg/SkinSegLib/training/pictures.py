"""Pictures of masks over a scan's slices: what every label and result is reviewed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SkinSegLib.core import CTVolume, replacing

#: Grey values shown from black to white.
_WINDOW = (-1000.0, 300.0)


def slice_sheet(
    volume: CTVolume,
    masks: Mapping[str, NDArray[Any]],
    path: Path,
    axis: int = 0,
    slices: Sequence[int] | None = None,
    box: Sequence[tuple[int, int]] | None = None,
    window: tuple[float, float] = _WINDOW,
    columns: int = 4,
    inches: float = 4.0,
    shade: NDArray[Any] | None = None,
    legend: bool = False,
) -> None:
    """Draw slices across an array axis (0 is k) with each mask's outline to a PNG.

    ``masks``: name -> (k, j, i); colour: matplotlib's tableau order. ``slices``: indices, 12 evenly
    spread ones if None. ``box``: voxel ranges (low, high) to show along k, j, i. The ticks are
    voxel indices. Row direction of the picture is as the array has it, pixels true to mm.
    ``shade``: (k, j, i), what to tint. ``legend``: name the masks in the first slice.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    colours = [f"C{(1, 2, 0, 3, 4)[n % 5]}" for n in range(len(masks))]
    shape = volume.voxels.shape
    box = box or [(0, n - 1) for n in shape]
    if slices is None:
        low, high = box[axis]
        slices = [int(n) for n in np.linspace(low + 1, high - 1, 12)]
    rows = -(-len(slices) // columns)
    a, b = (n for n in range(3) if n != axis)
    spacing = volume.spacing[::-1]
    (a0, a1), (b0, b1) = box[a], box[b]
    ratio = (a1 - a0 + 1) * spacing[a] / ((b1 - b0 + 1) * spacing[b])
    figure = Figure(figsize=(columns * inches, rows * inches * ratio + 0.3 * rows), dpi=80)
    FigureCanvasAgg(figure)
    for n, index in enumerate(slices):
        axes = figure.add_subplot(rows, columns, n + 1)
        axes.imshow(
            np.take(volume.voxels, index, axis),
            cmap="gray",
            vmin=window[0],
            vmax=window[1],
            aspect=spacing[a] / spacing[b],
            interpolation="nearest",
        )
        if shade is not None:
            tint = np.take(shade, index, axis) > 0
            axes.imshow(
                tint[..., None] * np.array([1.0, 0.9, 0.0, 0.45]),
                aspect=spacing[a] / spacing[b],
                interpolation="nearest",
            )
        for colour, mask in zip(colours, masks.values(), strict=True):
            outline = np.take(mask, index, axis) > 0
            if outline.any() and not outline.all():
                axes.contour(outline, [0.5], colors=[colour], linewidths=0.9)
        if legend and n == 0:
            lines = [Line2D([], [], color=colour) for colour in colours]
            axes.legend(lines, list(masks), fontsize=7, loc="upper left")
        axes.set_xlim(b0 - 0.5, b1 + 0.5)
        axes.set_ylim(a1 + 0.5, a0 - 0.5)
        axes.set_title(f"{'kji'[axis]} = {index}", fontsize=8, pad=2)
        axes.tick_params(labelsize=6, length=2)
    figure.tight_layout(pad=0.4)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
