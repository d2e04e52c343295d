"""The same work by several programs: scan in memory to an STL file, each in a process of its own.

    python contenders.py --child NAME --folder FOLDER

FOLDER has voxels.npy and ijk_to_ras.npy (main_job.py renders them); the file written is skin.stl.
What a program imports, and the network it loads, is there before the clock starts, as when the
program is open; how long that took is "start_s". Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(LIBRARY))

STL = "skin.stl"
#: HU from which a voxel is skin for the programs that are told a level.
LEVEL_HU = -480.0
_STARTED = time.perf_counter()


def scan_of(folder: Path) -> Any:
    """The scan in the folder, as CTVolume."""
    from SkinSegLib.core import CTVolume

    return CTVolume(np.load(folder / "voxels.npy"), np.load(folder / "ijk_to_ras.npy"))


def job(
    folder: Path, engine: str = "network", device: str = "cpu", profile: bool = False
) -> dict[str, Any]:
    """SkinSeg: mask, closed surface, verified file."""
    from SkinSegLib.core import CTVolume, Progress
    from SkinSegLib.segmentation import SegmentOptions, segment
    from SkinSegLib.surface import build, write

    _import_everything()
    volume = scan_of(folder)
    options = SegmentOptions(engine=engine, device=device)
    passes: list[float] = []
    if engine == "network":
        small = CTVolume(np.ascontiguousarray(volume.voxels[::4, ::4, ::4]), volume.ijk_to_ras)
        segment(small, options)
        _time_the_pass(passes)
    start = time.perf_counter() - _STARTED

    progress = Progress()

    def work() -> dict[str, Any]:
        started = time.perf_counter()
        mask = segment(volume, options, progress)
        mask_s = time.perf_counter() - started
        mesh = build(mask, volume, progress=progress)
        with progress.stage("Write", 0.0):
            write(mesh, folder / STL)
        return {
            "start_s": start,
            "seconds": time.perf_counter() - started,
            "stages": {**progress.seconds, "(Mask)": mask_s, "(Network)": sum(passes)},
        }

    return _profiled(work) if profile else work()


def _profiled(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The same, with the functions that took most time of their own."""
    import cProfile
    import pstats

    profile = cProfile.Profile()
    result = profile.runcall(work)
    rows = pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
    longest = sorted(rows, key=lambda row: -row[1][2])[:12]
    result["profile"] = [
        [f"{Path(place).name}:{name}", calls, own]
        for (place, _, name), (_, calls, own, _, _) in longest
    ]
    return result


def _time_the_pass(passes: list[float]) -> None:
    """Let ``passes`` gather how long the network itself takes."""
    from SkinSegLib.segmentation import network

    real = network._predict

    def timed(*arguments: Any) -> Any:
        started = time.perf_counter()
        result = real(*arguments)
        passes.append(time.perf_counter() - started)
        return result

    network._predict = timed


def floor(folder: Path) -> dict[str, Any]:
    """One threshold pass, flying edges, one file."""
    _import_everything()
    scan = scan_of(folder)
    start = time.perf_counter() - _STARTED
    started = time.perf_counter()
    surface_file((scan.voxels >= LEVEL_HU).view(np.uint8), scan, folder / STL)
    return {"start_s": start, "seconds": time.perf_counter() - started}


def surface_file(mask: Any, scan: Any, path: Path) -> None:
    """Flying edges of a mask of 0 and 1 (k, j, i), with the scan's axes, as binary STL."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D

    image = vtkImageData()
    image.SetDimensions(mask.shape[::-1])
    image.SetSpacing(scan.spacing)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(mask).ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    edges.ComputeNormalsOff()
    edges.Update()
    write_stl(edges.GetOutput(), path)


def write_stl(polydata: Any, path: Path) -> None:
    """By VTK's own writer, binary."""
    from vtkmodules.vtkIOGeometry import vtkSTLWriter

    writer = vtkSTLWriter()
    writer.SetFileTypeToBinary()
    writer.SetFileName(str(path))
    writer.SetInputData(polydata)
    if not writer.Write():
        raise OSError("VTK could not write the file.")


def slicer_recipe(folder: Path) -> dict[str, Any]:
    """Slicer's effects at their defaults (threshold, islands, median), closed surface at 0.5."""
    from SkinSegLib import mrml
    from SkinSegLib.mrml.usual_recipe import usual_recipe

    _import_everything()
    slicer = mrml.ensure_host()
    scan = scan_of(folder)
    start = time.perf_counter() - _STARTED
    started = time.perf_counter()
    mask = usual_recipe(scan)
    masked = time.perf_counter()
    converter = slicer.vtkSegmentationConverter
    surface = converter.GetSegmentationClosedSurfaceRepresentationName()
    segment = slicer.vtkSegment()
    segment.AddRepresentation(
        converter.GetSegmentationBinaryLabelmapRepresentationName(), _oriented(slicer, mask, scan)
    )
    segmentation = slicer.vtkSegmentation()
    segmentation.SetSourceRepresentationName(
        converter.GetSegmentationBinaryLabelmapRepresentationName()
    )
    segmentation.AddSegment(segment, "Skin")
    segmentation.SetConversionParameter("Smoothing factor", "0.5")
    if not segmentation.CreateRepresentation(surface, True):
        raise OSError("Slicer made no surface.")
    contoured = time.perf_counter()
    write_stl(segmentation.GetSegment("Skin").GetRepresentation(surface), folder / STL)
    ended = time.perf_counter()
    return {
        "start_s": start,
        "seconds": ended - started,
        "stages": {
            "Threshold, islands, median": masked - started,
            "Closed surface": contoured - masked,
            "Write": ended - contoured,
        },
    }


def _oriented(slicer: Any, mask: Any, scan: Any) -> Any:
    """A mask as Slicer's labelmap, with the scan's geometry."""
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    matrix = vtkMatrix4x4()
    matrix.DeepCopy(scan.ijk_to_ras.ravel())
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(mask.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(mask.ravel(), deep=True))
    image.SetImageToWorldMatrix(matrix)
    return image


#: Stages, channels and patch that nnU-Net's planner gives for a patch of that size: convolutions of
#: 3, twice a stage, instance norm. TotalSegmentator's "body" has three classes.
PLANS = {
    "1.5": ((32, 64, 128, 256, 320, 320), 128),
    "6": ((32, 64, 128, 256, 320), 64),
}
_CLASSES = 3


def nnunet(folder: Path, plan: str) -> dict[str, Any]:
    """A net of the size and the steps of TotalSegmentator's "body"; its weights are random.

    ``plan``: a key of PLANS, the spacing in mm. Resampled by splines of order 3, z-score, windows
    that overlap by half under a Gaussian, one fold, no mirroring, argmax, back by nearest voxel.
    The mask means nothing; the surface that is then written is that of the threshold, so that the
    work is the same.
    """
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import DynUNet
    from scipy import ndimage

    _import_everything()
    channels, patch = PLANS[plan]
    torch.manual_seed(0)
    net = DynUNet(
        3,
        1,
        _CLASSES,
        [3] * len(channels),
        [1, *[2] * (len(channels) - 1)],
        [2] * (len(channels) - 1),
        filters=channels,
        norm_name=("instance", {"affine": True}),
        act_name=("leakyrelu", {"negative_slope": 0.01}),
    ).eval()
    scan = scan_of(folder)
    infer = SlidingWindowInferer((patch,) * 3, 1, 0.5, mode="gaussian")
    start = time.perf_counter() - _STARTED
    started = time.perf_counter()
    factors = [s / float(plan) for s in scan.spacing[::-1]]
    grey = ndimage.zoom(scan.voxels.astype(np.float32), factors, order=3)
    grey = (grey - grey.mean()) / grey.std()
    resampled = time.perf_counter()
    with torch.inference_mode():
        scores = infer(torch.from_numpy(grey)[None, None], net)
        labels = scores[0].argmax(0).to(torch.uint8).numpy()
    inferred = time.perf_counter()
    back = [n / m for n, m in zip(scan.voxels.shape, labels.shape, strict=True)]
    ndimage.zoom(labels, back, order=0)  # the time counts, the labels of random weights do not
    surface_file((scan.voxels >= LEVEL_HU).view(np.uint8), scan, folder / STL)
    ended = time.perf_counter()
    return {
        "start_s": start,
        "seconds": ended - started,
        "stages": {
            "Resample": resampled - started,
            "(Network)": inferred - resampled,
            "Back, surface, write": ended - inferred,
        },
        "parameters": sum(p.numel() for p in net.parameters()),
    }


def _import_everything() -> None:
    """What the work imports on the way: a program that is open has done that already."""
    for name in (
        "cc3d",
        "fast_simplification",
        "igl.predicates",
        "scipy.ndimage",
        "scipy.sparse.csgraph",
        "scipy.spatial",
        "SimpleITK",
        "vtkmodules.util.numpy_support",
        "vtkmodules.vtkFiltersCore",
        "vtkmodules.vtkIOGeometry",
        "vtkmodules.vtkIOPLY",
        "vtkmodules.vtkIOXML",
    ):
        importlib.import_module(name)


def peak_mb() -> float:
    """The most memory that this process has held, MB.

    Not by getrusage where the system tells: that counts what the parent held when it forked.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


CONTENDERS: dict[str, Callable[..., dict[str, Any]]] = {
    "skinseg": job,
    "skinseg-gpu": lambda folder, **more: job(folder, device="cuda:0", **more),
    "skinseg-threshold": lambda folder, **more: job(folder, "threshold", **more),
    "slicer": slicer_recipe,
    "nnunet-1.5": lambda folder: nnunet(folder, "1.5"),
    "nnunet-6": lambda folder: nnunet(folder, "6"),
    "floor": floor,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", choices=CONTENDERS, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--profile", action="store_true", help="SkinSeg's: what took the time")
    chosen = parser.parse_args()
    more = {"profile": True} if chosen.profile else {}
    result = CONTENDERS[chosen.child](chosen.folder, **more)
    result["peak_mb"] = peak_mb()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
