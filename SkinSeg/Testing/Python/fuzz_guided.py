"""Bytes that a fuzzer guided by coverage makes up: ``python fuzz_guided.py TARGET -runs=100000``.

Whatever the bytes, they are taken or refused by a SkinSegError. TARGET: ``protocol`` (what a worker
says to its owner), ``stl``, ``ply``, ``obj`` (meshes), ``array`` (what is handed over), ``labelme``
(outlines). Needs ``pip install atheris``, which is in no list of ours, as it has no wheels for
Windows; the rest of the line goes to libFuzzer. Run by hand; pytest runs fuzz_reading.py.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
with atheris.instrument_imports(include=["SkinSegLib"]):
    from SkinSegLib.core import CTVolume, SkinMesh, SkinSegError
    from SkinSegLib.surface import check, read_mesh, write
    from SkinSegLib.training.exchange.labelme import read_labelme, write_labelme
    from SkinSegLib.worker import Task, Worker, exchange
    from SkinSegLib.worker.protocol import encode

VOLUME = CTVolume(np.zeros((2, 12, 12), np.int16), np.eye(4))
MASK = np.zeros(VOLUME.voxels.shape, np.uint8)
MASK[:, 3:9, 3:9] = 1
MESH = SkinMesh(
    np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]], np.float32),
    np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], np.int32),
    np.zeros(4, bool),
    True,
)


class Silent:
    """A transport without a child."""

    def start(self, owner: Worker) -> None:
        """Nothing is started."""

    def send(self, data: bytes) -> None:
        """Nobody listens."""

    def kill(self) -> None:
        """Nobody is there."""


def protocol(place: Path) -> Callable[[bytes], None]:
    """A worker's owner hears the bytes; its task ends at most once, and it can begin another."""
    logging.disable()

    def one(data: bytes) -> None:
        worker = Worker(Silent)
        ends: list[object] = []
        worker.run(Task("warm", {}, ends.append, ends.append, ends.append, lambda *_: None))
        worker.heard(encode("hello", pid=1))
        worker.heard(data)
        worker.tick()
        worker.close()
        assert len(ends) == 1, ends
        worker.run(Task("warm", {}, ends.append, ends.append, ends.append))
        worker.close()

    return one


def mesh(place: Path, ending: str) -> Callable[[bytes], None]:
    """The bytes are a mesh file; what is read can be checked."""
    path = place / f"mesh{ending}"

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(SkinSegError):
            check(read_mesh(path))

    return one


def array(place: Path) -> Callable[[bytes], None]:
    """The bytes are an array that the other side hands over."""

    def one(data: bytes) -> None:
        (place / "array.npy").write_bytes(data)
        with suppress(SkinSegError):
            assert exchange.get(place, "array").dtype != object

    return one


def labelme(place: Path) -> Callable[[bytes], None]:
    """The bytes are the outlines of one slice; a mask of the scan's size comes of them."""
    write_labelme(place, VOLUME, MASK)
    path = sorted(place.glob("*.json"))[-1]

    def one(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(SkinSegError):
            assert read_labelme(place, VOLUME, None).shape == MASK.shape

    return one


def seeds(target: str, place: Path) -> None:
    """Files to begin with, as the program itself writes them."""
    if target == "protocol":
        messages = [
            encode("alive"),
            encode("progress", stage="Level", fraction=0.5),
            encode("done", result={}),
            encode("failed", error="OutputError", message="Full.", trace=[]),
            encode("cancelled"),
        ]
        for n, message in enumerate(messages):
            (place / str(n)).write_bytes(message)
    elif target == "array":
        np.save(place / "seed.npy", np.arange(6, dtype=np.int16).reshape(1, 2, 3))
    elif target == "labelme":
        write_labelme(place, VOLUME, MASK)
    else:
        write(MESH, place / f"seed.{target}")
        if target == "stl":
            write(MESH, place / "ascii.stl", ascii=True)


TARGETS: dict[str, Callable[[Path], Callable[[bytes], None]]] = {
    "protocol": protocol,
    "stl": lambda place: mesh(place, ".stl"),
    "ply": lambda place: mesh(place, ".ply"),
    "obj": lambda place: mesh(place, ".obj"),
    "array": array,
    "labelme": labelme,
}

if __name__ == "__main__":
    target = sys.argv.pop(1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        work, corpus = Path(name) / "work", Path(name) / "corpus"
        work.mkdir()
        corpus.mkdir()
        seeds(target, corpus)
        atheris.Setup([*sys.argv, str(corpus)], TARGETS[target](work))
        atheris.Fuzz()
