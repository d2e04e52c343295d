"""How near the surface is to the exact skin, beside Slicer's own; how long it takes, and how large.

    python SkinSeg/Testing/Benchmarks/surface.py accuracy time simplify

``accuracy``: phantoms at three voxel sizes, points spread evenly over each mesh, distances by
projection on the exact skin; away from cuts, caps, contacts and creases narrower than 2 voxels.
"bias" is the shift that the point spread alone causes, which "mean*" has taken off. Slicer's
conversion of the same labelmap, at its default smoothing of 0.5, is measured in the same run.
``time``: mask to verified STL at 512 x 512 x 250, with peak memory. ``simplify``: a surface of some
2 million triangles to 200 thousand, beside vtkQuadricDecimation of the same mesh.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

from SkinSegLib.core import SkinMask, SkinMesh  # noqa: E402
from SkinSegLib.segmentation import SegmentOptions, segment  # noqa: E402
from SkinSegLib.surface import SurfaceOptions, build, to_polydata, write  # noqa: E402
from SkinSegLib.surface.contour import is_closed  # noqa: E402
from SkinSegLib.surface.deviation import deviation, spread_points  # noqa: E402
from SkinSegLib.training.accuracy import (  # noqa: E402
    error_figures,
    in_narrow_crease,
    surface_error,
)
from SkinSegLib.training.phantom import Phantom, PhantomSpec, make_phantom  # noqa: E402

#: Shape (k, j, i), spacing (i, j, k) in mm, and the slice's thickness in mm beyond the spread.
GRIDS = {
    "0.5 mm": ((500, 512, 512), (0.5, 0.5, 0.5), 0.0),
    "1 mm": ((250, 256, 256), (1.0, 1.0, 1.0), 0.0),
    "0.5 x 0.5 x 3 mm": ((84, 512, 512), (0.5, 0.5, 3.0), 0.0),
    "the same, slices 3 mm thick": ((84, 512, 512), (0.5, 0.5, 3.0), 3.0),
}
POINTS = 40_000


def made(name: str) -> tuple[Phantom, SkinMask]:
    """A bald phantom on one of GRIDS, and its mask by the classical engine."""
    shape, spacing, slice_mm = GRIDS[name]
    spec = replace(
        PhantomSpec.table_and_holder(),
        shape=shape,
        spacing_mm=spacing,
        slice_mm=slice_mm,
        hair=False,
    )
    phantom = make_phantom(spec)
    return phantom, segment(phantom.volume, SegmentOptions(engine="threshold"))


def accuracy() -> None:
    """Print the errors of each surface on each grid."""
    for name in GRIDS:
        phantom, mask = made(name)
        ours = build(mask, phantom.volume)
        contour = build(mask, phantom.volume, SurfaceOptions(smooth_mm=0, deviation_mm=0))
        for label, mesh in (
            ("ours", ours),
            ("contour alone", contour),
            ("Slicer, 0.5", by_slicer(phantom, mask, ours)),
        ):
            print(f"{name}, {label}: {len(mesh.triangles)} triangles, {mesh.volume_ml:.1f} mL")
            show(phantom, mesh)


def show(phantom: Phantom, mesh: SkinMesh) -> None:
    """Errors of a mesh as a whole and at what smoothing could spoil."""
    points = spread_points(mesh, POINTS)
    found = surface_error(points, phantom)
    feet = phantom.nearest(points)
    counted = found.counted & ~in_narrow_crease(phantom, feet)
    head = phantom.head
    nose = np.linalg.norm(feet - head.at(0, 109, -15), axis=1) < 12
    ears = np.zeros(len(feet), bool)
    for ear in head.ears:
        local = (feet - ear.origin) @ ear.axes.T / ear.scale
        ears |= (np.abs(local) < 40).all(axis=1) & (local[:, 0] > 5) & (local[:, 2] > 2)
    lips = np.linalg.norm(feet - head.at(0, 98, -46), axis=1) < 16
    eyes = np.zeros(len(feet), bool)
    for side in (1, -1):
        eyes |= np.linalg.norm(feet - head.at(side * 32, 83, 19), axis=1) < 14
    regions = {"all": True, "nose tip": nose, "ears": ears, "lips": lips, "eyelids": eyes}
    for label, region in regions.items():
        part = counted & region
        figures = error_figures(found.distance[part])
        bias = phantom.blur_bias(feet[part])
        unblurred = error_figures(found.distance[part] + bias)
        print(
            f"    {label:8} n {figures.count:6d} mean {figures.mean:.4f} p99 {figures.p99:.3f} "
            f"p99.9 {figures.p999:.3f} max {figures.max:.2f} mm; bias {bias.mean():.4f}, "
            f"mean* {unblurred.mean:.4f} p99* {unblurred.p99:.3f} p99.9* {unblurred.p999:.3f} mm"
        )


def by_slicer(phantom: Phantom, mask: SkinMask, mesh: SkinMesh) -> SkinMesh:
    """What Slicer itself makes of the labelmap, without our surface."""
    from SkinSegLib import mrml
    from SkinSegLib.mrml.meshes import mesh_of

    slicer = mrml.ensure_host()
    volume = mrml.add_volume(phantom.volume, "Phantom")
    node = mrml.add_segmentation(mrml.placed_scan(volume), mask.voxels, mesh, mask.voxels, mesh)
    segmentation = node.GetSegmentation()
    segmentation.SetConversionParameter("Smoothing factor", "0.5")
    name = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
    segmentation.RemoveRepresentation(name)
    segmentation.CreateRepresentation(name, True)
    result = mesh_of(node.GetClosedSurfaceInternalRepresentation("Head"), closed=False)
    for part in (node, volume):
        slicer.mrmlScene.RemoveNode(part)
    return result


def timing() -> None:
    """Mask to verified STL, three times."""
    spec = replace(
        PhantomSpec.table_and_holder(), shape=(250, 512, 512), spacing_mm=(0.5, 0.5, 1.0)
    )
    phantom = make_phantom(spec)
    volume = phantom.volume
    mask = segment(volume, SegmentOptions(engine="threshold"))
    del phantom
    # Packages are imported in an open program; a small one imports them all.
    shape = (slice(100, 130), slice(200, 260), slice(200, 260))
    small = replace(volume, voxels=np.ascontiguousarray(volume.voxels[shape]))
    build(replace(mask, voxels=np.ascontiguousarray(mask.voxels[shape])), small)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(3):
            started = time.perf_counter()
            mesh = build(mask, volume)
            built = time.perf_counter() - started
            write(mesh, Path(folder) / "skin.stl")
            print(
                f"512 x 512 x 250: surface {built:.2f} s, verified STL after "
                f"{time.perf_counter() - started:.2f} s, {len(mesh.triangles)} triangles, "
                f"closed {mesh.closed}, {dict(mesh.processing)}"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MB, {before:.0f} MB before")


def simplifying() -> None:
    """About two million triangles to a tenth, beside VTK's quadric decimation."""
    from SkinSegLib.surface.untangle import intersecting_pairs
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkFiltersCore import vtkQuadricDecimation

    phantom, mask = made("0.5 mm")
    whole = build(mask, phantom.volume, SurfaceOptions(deviation_mm=0))
    count = len(whole.triangles) // 10
    started = time.perf_counter()
    build(mask, phantom.volume, SurfaceOptions(deviation_mm=0))
    without = time.perf_counter() - started
    started = time.perf_counter()
    ours = build(mask, phantom.volume, SurfaceOptions(triangles=count))
    seconds = time.perf_counter() - started - without
    decimation = vtkQuadricDecimation()
    decimation.SetInputData(to_polydata(whole))
    decimation.SetTargetReduction(0.9)
    started = time.perf_counter()
    decimation.Update()
    theirs = time.perf_counter() - started
    cells = decimation.GetOutput().GetPolys().GetConnectivityArray()
    triangles = vtk_to_numpy(cells).reshape(-1, 3).astype(np.int32)
    print(
        f"{len(whole.triangles)} triangles to {len(ours.triangles)}: ours {seconds:.2f} s with "
        f"measuring and untangling, closed {ours.closed}, {deviation(whole, ours)}; VTK "
        f"{theirs:.2f} s, closed {is_closed(triangles)}; ratio {seconds / theirs:.2f}"
    )
    started = time.perf_counter()
    pairs = len(intersecting_pairs(whole))
    print(
        f"self-intersections: {pairs} pairs of {len(whole.triangles)} triangles in "
        f"{time.perf_counter() - started:.2f} s; "
        f"{len(intersecting_pairs(ours))} of {len(ours.triangles)}"
    )


def main() -> None:
    parts = {"accuracy": accuracy, "time": timing, "simplify": simplifying}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", choices=parts, default=list(parts))
    for name in parser.parse_args().what or parts:
        parts[name]()


if __name__ == "__main__":
    main()
