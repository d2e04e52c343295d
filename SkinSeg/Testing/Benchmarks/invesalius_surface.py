"""InVesalius's own functions without its window: skin preset, surface, largest region, STL.

    /usr/bin/python3 invesalius_surface.py FOLDER

Run by Debian's Python, beside Debian's package "invesalius" (3.1), whose code is used as installed.
The steps and their defaults are those of its "Create surface" with "Keep largest region": pieces of
20 slices by a process for each core, joined, normals. FOLDER has voxels.npy and ijk_to_ras.npy, in
HU; skin.stl is written there. Prints one line of JSON.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

_STARTED = time.perf_counter()
sys.path[:0] = ["/usr/share/invesalius", "/usr/lib/invesalius"]

import numpy as np  # noqa: E402
import vtk  # noqa: E402
from invesalius.data import surface_process  # noqa: E402

#: "Skin Tissue (Adult)" of its presets, HU.
PRESET = (-718, -177)
#: Slices of a piece; relaxation, iterations and reduction of "Optimal".
_PIECE, _RELAXATION, _ITERATIONS, _REDUCTION = 20, 0.3, 2, 0.4


class _NoQueue:
    """Messages for the window."""

    def put_nowait(self, message: str) -> None:
        """There is no window."""


def _memory_map(path: Path, shape: tuple[int, ...], kind: type) -> np.memmap:
    return np.memmap(path, mode="w+", dtype=kind, shape=shape)


def main(folder: Path) -> None:
    """Do the work and print the figures."""
    voxels = np.load(folder / "voxels.npy")
    matrix = np.load(folder / "ijk_to_ras.npy")
    spacing = tuple(float(s) for s in np.linalg.norm(matrix[:3, :3], axis=0))
    # Its scan lies in a file that is mapped into memory; that is how it has it when it is open.
    scan = _memory_map(folder / "scan.dat", voxels.shape, np.int16)
    scan[:] = voxels
    context = multiprocessing.get_context("spawn")
    pool = context.Pool(len(_cores()))
    pool.map(abs, range(8))
    workers = multiprocessing.active_children()
    start = time.perf_counter() - _STARTED

    started = time.perf_counter()
    shape = tuple(n + 1 for n in voxels.shape)
    mask = _memory_map(folder / "mask.dat", shape, np.uint8)
    low, high = PRESET
    for n, section in enumerate(scan):
        mask[n + 1, 1:, 1:] = ((section >= low) & (section <= high)) * 255
    mask.flush()
    masked = time.perf_counter()
    count = int(round(voxels.shape[0] / _PIECE + 0.5, 0))
    common = (spacing, "CONTOUR", low, high, _REDUCTION, _RELAXATION, _ITERATIONS)
    rest = ("en", True, False, "Default", 0, True)
    pieces = [
        pool.apply_async(
            surface_process.create_surface_piece,
            (str(folder / "scan.dat"), voxels.shape, scan.dtype)
            + (str(folder / "mask.dat"), shape, mask.dtype)
            + (slice(n * _PIECE, n * _PIECE + _PIECE + 1), *common, *rest),
        )
        for n in range(count)
    ]
    names = [piece.get() for piece in pieces]
    joined, _ = pool.apply(
        surface_process.join_process_surface,
        (names, "Default", _ITERATIONS, _RELAXATION, _REDUCTION, True, False, {}, _NoQueue()),
    )
    surfaced = time.perf_counter()
    reader = vtk.vtkXMLPolyDataReader()
    reader.SetFileName(joined)
    writer = vtk.vtkSTLWriter()
    writer.SetFileTypeToBinary()
    writer.SetFileName(str(folder / "skin.stl"))
    writer.SetInputConnection(reader.GetOutputPort())
    writer.Write()
    ended = time.perf_counter()
    # The largest of the processes, which do the work one beside the other.
    peak = max(_peak_mb(process.pid) for process in (multiprocessing.current_process(), *workers))
    pool.close()
    pool.join()
    for name in (*names, joined, folder / "scan.dat", folder / "mask.dat"):
        Path(name).unlink()
    print(
        json.dumps(
            {
                "start_s": start,
                "seconds": ended - started,
                "peak_mb": peak,
                "stages": {
                    "Threshold": masked - started,
                    "Surface, largest region": surfaced - masked,
                    "Write": ended - surfaced,
                },
            }
        )
    )


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def _peak_mb(process: int) -> float:
    """The most memory that a process has held."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
