"""What is chosen in the panel: saved with the scene, and the last choice kept for the user."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import qt
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

SETTINGS = "SkinSeg"


class Engine(enum.Enum):
    """Which engine finds the patient; the value is what SegmentOptions takes."""

    AUTO = "auto"
    NETWORK = "network"
    THRESHOLD = "threshold"

    def label(self) -> str:
        return {
            "auto": _("Automatic"),
            "network": _("Network"),
            "threshold": _("Threshold (no PyTorch needed)"),
        }[self.value]


class ExportShape(enum.Enum):
    """What is written."""

    SOLID = "solid"
    LAYER = "layer"

    def label(self) -> str:
        return {"solid": _("Solid head"), "layer": _("Skin layer")}[self.value]


class Smoothing(enum.Enum):
    """The farthest that smoothing may move the surface, in mm; None for SkinSeg's own bound."""

    AUTOMATIC = "automatic"
    NONE = "none"
    HALF = "0.5 mm"
    ONE = "1 mm"

    def label(self) -> str:
        return {
            "automatic": _("Automatic (0.2 mm or a third of a voxel)"),
            "none": _("None"),
            "0.5 mm": _("At most 0.5 mm"),
            "1 mm": _("At most 1 mm"),
        }[self.value]

    @property
    def mm(self) -> float | None:
        return {"automatic": None, "none": 0.0, "0.5 mm": 0.5, "1 mm": 1.0}[self.value]


class FileFormat(enum.Enum):
    """The kind of file; the value is its ending."""

    STL = ".stl"
    PLY = ".ply"
    OBJ = ".obj"
    VTP = ".vtp"
    THREE_MF = ".3mf"
    GLB = ".glb"

    def label(self) -> str:
        return self.value.removeprefix(".").upper()


class Space(enum.Enum):
    """Direction of the coordinates in a file."""

    LPS = "LPS"
    RAS = "RAS"

    def label(self) -> str:
        return {"LPS": _("LPS (usual)"), "RAS": "RAS"}[self.value]


@parameterNodeWrapper
class SkinSegParameterNode:
    """What is saved with the scene. Lengths in mm.

    inputVolume - the head CT.
    segmentation - the result of the last run: what is reviewed, edited and exported.
    outputSegmentation - where the next run writes; none for a new one.
    manualLevel, level - whether the grey value of the skin is chosen by hand, and which.
    detail - step of the surface's grid, 0 for the scan's own.
    cutBelow, cutHeight - whether to cut the surface off, and below which S coordinate (RAS).
    model - a model's name, or "live" for the one in use.
    workers - CPU threads, 0 for all but one.
    recalled - whether the user's last choices were put into it.

    The folder of exports is kept for the user alone: its name may be a patient's, and scenes are
    shared.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    segmentation: vtkMRMLSegmentationNode
    outputSegmentation: vtkMRMLSegmentationNode
    engine: Engine = Engine.AUTO
    model: str = "live"
    device: str = "auto"
    manualLevel: bool = False
    level: Annotated[float, WithinRange(-100000, 100000)] = -480.0
    opening: Annotated[float, WithinRange(0.5, 20)] = 5.0
    seal: Annotated[float, WithinRange(0.5, 20)] = 6.0
    cavityDepth: Annotated[float, WithinRange(1, 50)] = 11.0
    workers: Annotated[int, WithinRange(0, 64)] = 0
    keepWarmMinutes: Annotated[int, WithinRange(0, 120)] = 10
    layerThickness: Annotated[float, WithinRange(0.2, 50)] = 2.0
    paintAnywhere: bool = False
    fillStrokes: bool = False
    exportShape: ExportShape = ExportShape.SOLID
    detail: Annotated[float, WithinRange(0, 20)] = 0.0
    smoothing: Smoothing = Smoothing.AUTOMATIC
    fileFormat: FileFormat = FileFormat.STL
    space: Space = Space.LPS
    scale: Annotated[float, WithinRange(0.01, 100)] = 1.0
    cutBelow: bool = False
    cutHeight: Annotated[float, WithinRange(-2000, 2000)] = 0.0
    recalled: bool = False


#: What is kept for the user's next scene.
REMEMBERED = (
    *("engine", "model", "device", "opening", "seal", "cavityDepth", "workers", "keepWarmMinutes"),
    *("layerThickness", "exportShape", "detail", "smoothing", "fileFormat", "space"),
)


def wrapped(node: Any) -> SkinSegParameterNode:
    """A parameter node of the scene, typed; a new one starts with the user's last choices."""
    parameters = SkinSegParameterNode(node)
    if not parameters.recalled:
        _recall(parameters)
        parameters.recalled = True
    return parameters


def remember(parameters: SkinSegParameterNode) -> None:
    """Keep what is chosen now for the user's next scene."""
    settings = qt.QSettings()
    for name in REMEMBERED:
        value = getattr(parameters, name)
        text = value.name if isinstance(value, enum.Enum) else str(value)
        settings.setValue(f"{SETTINGS}/{name}", text)


def export_folder(fallback: str) -> str:
    """Where the user exported to last."""
    return str(qt.QSettings().value(f"{SETTINGS}/ExportFolder") or fallback)


def remember_export_folder(folder: str) -> None:
    """Keep where the user exports to."""
    qt.QSettings().setValue(f"{SETTINGS}/ExportFolder", folder)


def server_address() -> str:
    """The server that was asked last: kept for the user alone, as scenes are shared."""
    return str(qt.QSettings().value(f"{SETTINGS}/Server") or "")


def remember_server(address: str) -> None:
    """Keep which server was asked."""
    qt.QSettings().setValue(f"{SETTINGS}/Server", address)


def _recall(parameters: SkinSegParameterNode) -> None:
    settings = qt.QSettings()
    for name in REMEMBERED:
        text = settings.value(f"{SETTINGS}/{name}")
        if text is None:
            continue
        kind = type(getattr(parameters, name))
        try:
            value = kind[text] if issubclass(kind, enum.Enum) else kind(text)
            setattr(parameters, name, value)
        except (KeyError, ValueError):
            settings.remove(f"{SETTINGS}/{name}")  # of another version: the default holds
