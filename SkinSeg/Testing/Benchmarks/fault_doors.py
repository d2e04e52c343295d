"""The two ways to a result that faults.py strikes: the command, and a scene's owner and its worker.

Both run in a process of their own. What the owner of the scene saw goes into a file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from Benchmarks.fault_kinds import Case, Place, arm, lift

LIBRARY = Path(__file__).resolve().parents[2]
TESTING = LIBRARY / "Testing"
#: Thickness of the layer, for which the voxels of the scan are fine enough.
LAYER_MM = 8.0

COMMAND_FILES = ("s.stl", "s.stl.json", "m.nrrd", "r.json")
WORKER_FILES = ("s.stl", "m.seg.nrrd", "scene.mrb")


def engine_of(case: Case) -> str:
    """The network only where it is struck: it takes seconds to load."""
    return "network" if case.stage == "network" else "threshold"


def run_command(case: Case, place: Place, armed: bool) -> int:
    """``skinseg segment``; returns its exit code."""
    from SkinSegLib.cli import main

    if armed:
        arm(case, place)
    out = place.out
    given = ["segment", place.scan, "-o", out / "s.stl", "--provenance"]
    given += ["--mask", out / "m.nrrd", "--json", out / "r.json", "--layer", LAYER_MM]
    given += ["--engine", engine_of(case)]
    if engine_of(case) == "network":
        given += ["--model", place.model]
    return main([str(word) for word in given])


def run_worker(case: Case, place: Place, armed: bool, tell: Path) -> int:
    """The work of the panel: a scan into the scene, segmented by the worker, exported, saved.

    Writes what happened into ``tell``: how the first run ended, whether the scene was as before,
    and how the next run ended, which is in the same process.
    """
    owner = _Owner(case, place, armed)
    told: dict[str, Any] = {"first": owner.run()}
    if told["first"]["how"] != "done" and armed:
        lift(case, place)
        _write(tell, told)
        told["next"] = owner.run()
    owner.worker.close()
    _write(tell, told)
    return 0


def _write(tell: Path, told: dict[str, Any]) -> None:
    tell.write_text(json.dumps(told), encoding="utf-8")


class _Owner:
    """A scene in which the user has something already, and the worker it works with."""

    def __init__(self, case: Case, place: Place, armed: bool) -> None:
        from mrml_makers import head_scan, segmented, volume_node
        from SkinSegLib import mrml
        from SkinSegLib.worker import SubprocessTransport, Worker

        self.case, self.place, self.mrml = case, place, mrml
        self.scene = mrml.ensure_host().mrmlScene
        segmented(volume_node(head_scan()))
        command = _child(case, place) if armed and case.side == "child" else None
        self.worker = Worker(lambda: SubprocessTransport(command), silence_s=60.0)
        if armed and case.side == "host":
            self._arm_me()

    def _arm_me(self) -> None:
        if self.case.fault == "kill host" and self.case.stage not in ("read", "hand over", "save"):
            return  # as the child comes to the stage: see _told
        arm(self.case, self.place)

    def run(self) -> dict[str, Any]:
        """All steps; says how it ended, what was said, and whether the scene is as it was."""
        from SkinSegLib.core import SkinSegError

        before = {}
        try:
            for step in self._steps():
                before = self.seen()
                step()
        except (SkinSegError, MemoryError) as error:
            return {"how": "refused", "said": str(error), "scene": self.seen() == before}
        except Exception as error:
            kind = f"{type(error).__name__}: {error}"
            return {"how": "unclear", "said": kind, "scene": self.seen() == before}
        return {"how": "done", "said": "", "scene": True}

    def _steps(self) -> Any:
        from SkinSegLib.core import Progress
        from SkinSegLib.job import scan_at
        from SkinSegLib.mrml.jobs import ExportJob, ExportRequest, SegmentJob
        from SkinSegLib.pipeline import JobOptions
        from SkinSegLib.segmentation import SegmentOptions
        from SkinSegLib.worker.runner import run_job

        made: dict[str, Any] = {}
        engine = engine_of(self.case)
        model = {"model": str(self.place.model)} if engine == "network" else {}
        options = JobOptions(SegmentOptions(engine=engine, **model), layer_mm=LAYER_MM)
        progress = Progress(self._told)
        out = self.place.out

        def read() -> None:
            made["volume"] = self.mrml.add_volume(scan_at(self.place.scan)(Progress()), "scan")

        def segment() -> None:
            made["node"], _ = run_job(self.worker, SegmentJob(made["volume"], options), progress)

        def export() -> None:
            request = ExportRequest(out / "s.stl")
            run_job(self.worker, ExportJob(made["node"], request), progress)

        def save() -> None:
            self.mrml.save_segmentation(made["node"], out / "m.seg.nrrd")
            self.mrml.save_scene(out / "scene.mrb")

        return read, segment, export, save

    def _told(self, stage: str, fraction: float) -> None:
        """What the worker tells; a host that is to be killed is killed at the stage."""
        wanted = {"network": "Locate", "delineate": "Delineate", "mesh": "Surface"}
        wanted["write"] = "Write"
        is_due = self.case.fault == "kill host" and wanted.get(self.case.stage) == stage
        if is_due and not self.place.struck:
            self.place.mark.write_text(str(self.worker.pid))
            os.kill(os.getpid(), 9)

    def seen(self) -> dict[str, str]:
        """What the scene holds but for files' names: nodes, voxels, labelmaps and points."""
        import slicer
        from vtkmodules.util.numpy_support import vtk_to_numpy

        found: dict[str, str] = {}
        for n in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(n)
            if node.IsA("vtkMRMLStorageNode") or node.IsA("vtkMRMLSubjectHierarchyNode"):
                continue
            what = [node.GetName()]
            if node.IsA("vtkMRMLScalarVolumeNode"):
                what.append(_digest(slicer.util.arrayFromVolume(node)))
            elif node.IsA("vtkMRMLModelNode") and node.GetPolyData() is not None:
                what.append(_digest(vtk_to_numpy(node.GetPolyData().GetPoints().GetData())))
            elif node.IsA("vtkMRMLSegmentationNode"):
                for segment_id in node.GetSegmentation().GetSegmentIDs():
                    voxels, matrix = self.mrml.segment_labelmap(node, segment_id)
                    what += [segment_id, _digest(voxels), _digest(matrix)]
            found[node.GetID()] = " ".join(map(str, what))
        return found


def _digest(array: Any) -> str:
    import numpy as np

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _child(case: Case, place: Place) -> list[str]:
    """The worker's command line, with the fault put into it before it starts."""
    from SkinSegLib.worker import command_line

    start = (
        "import sys; sys.path[:0] = [sys.argv[1], sys.argv[1] + '/Testing']\n"
        "from Benchmarks.fault_doors import child; child(sys.argv[3])"
    )
    program, unbuffered, code, _, library, owner = _as_known(command_line())
    del code
    given = json.dumps({"case": asdict(case), "place": {k: str(v) for k, v in vars(place).items()}})
    return [program, unbuffered, "-c", start, library, owner, given]


def _as_known(line: list[str]) -> tuple[str, str, str, str, str, str]:
    program, unbuffered, flag, code, library, owner = line
    return program, unbuffered, code, flag, library, owner


def child(given: str) -> None:
    """The worker's child with a fault in it."""
    told = json.loads(given)
    case = Case(**told["case"])
    place = Place(**{name: Path(path) for name, path in told["place"].items()})
    from SkinSegLib.worker.child import Child, main

    real = Child._do

    def do(self: Child, *arguments: Any) -> None:
        try:
            real(self, *arguments)
        finally:
            if case.fault == "memory":  # the rest its owner takes back
                lift(case, place)

    if not place.struck or case.fault == "GPU lost":
        arm(case, place)
        Child._do = do  # type: ignore[method-assign]
    del sys.argv[3:]
    main()
