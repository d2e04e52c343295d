"""The panel, put together from its sections."""

from __future__ import annotations

from typing import Any

from .advanced_section import AdvancedSection
from .dicom_section import DicomSection
from .edit_section import EditSection
from .export_section import ExportSection
from .packages import Packages
from .panel import Panel
from .review_section import ReviewSection
from .scan_section import ScanSection
from .segment_section import SegmentSection
from .sharing_section import SharingSection


def build_panel(ui: Any) -> Panel:
    """The panel on the widgets of the ``.ui`` file, in the order of the work."""
    panel = Panel(ui)
    scan = ScanSection(panel)
    packages = Packages()
    segment = SegmentSection(panel, packages)
    panel.sections = [
        scan,
        segment,
        ReviewSection(panel),
        EditSection(panel, scan),
        ExportSection(panel),
        DicomSection(panel),
        SharingSection(panel),
        AdvancedSection(panel, segment, packages),
    ]
    return panel


def connect_selector(selector: Any, module_name: str) -> None:
    """Have a selector of parameter nodes show those of this module alone."""
    selector.addAttribute("vtkMRMLScriptedModuleNode", "ModuleName", module_name)
