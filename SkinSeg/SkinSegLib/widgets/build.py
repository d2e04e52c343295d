"""The panel, put together from its sections."""

from __future__ import annotations

from typing import Any

from .advanced_section import AdvancedSection
from .dicom_section import DicomSection
from .edit_section import EditSection
from .export_section import ExportSection
from .learn_section import LearnSection
from .learning import Learning
from .packages import Packages
from .panel import Panel
from .review_section import ReviewSection
from .scan_section import ScanSection
from .segment_section import SegmentSection
from .sharing_section import SharingSection
from .train_section import TrainSection


def build_panel(ui: Any) -> Panel:
    """The panel on the widgets of the ``.ui`` file, in the order of the work."""
    panel = Panel(ui)
    scan = ScanSection(panel)
    packages = Packages()
    segment = SegmentSection(panel, packages)
    learning = Learning(panel)
    panel.sections = [
        scan,
        segment,
        ReviewSection(panel),
        EditSection(panel, scan),
        ExportSection(panel),
        DicomSection(panel),
        SharingSection(panel),
        learning,
        LearnSection(panel, learning),
        TrainSection(panel, learning),
        AdvancedSection(panel, segment, packages),
    ]
    return panel


def connect_selector(selector: Any, module_name: str) -> None:
    """Have a selector of parameter nodes show those of this module alone."""
    selector.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", module_name)
