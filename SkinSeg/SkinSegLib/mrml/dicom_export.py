"""A result as DICOM, in the study of the files that its volume was loaded from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import OutputError, SceneError
from ..dicom import SEGMENTATION_NAME, SURFACE_NAME
from ..surface import SurfaceOptions
from .dicom_source import dicom_files
from .jobs import SegmentSurfaceJob
from .segments import HEAD

#: What may be written.
DICOM_NAMES = (SURFACE_NAME, SEGMENTATION_NAME)


class DicomExportJob(SegmentSurfaceJob):
    """Writes the head, its layer and its surface as DICOM Segmentation and encapsulated STL.

    ``target``: a folder that is there. ``layer_mm``: thickness of the segment Skin. Raises
    SceneError if the volume's files are not known, OutputError without the folder.
    """

    task = "export_dicom"

    def __init__(self, segmentation: Any, target: Path, layer_mm: float) -> None:
        super().__init__(segmentation, HEAD.segment_id, SurfaceOptions())
        if not target.is_dir():
            raise OutputError("The folder to export to does not exist. Choose another one.")
        self._target, self._layer_mm = target, layer_mm
        self._files = [str(path) for path in dicom_files(self._volume)]
        if not self._files:
            raise SceneError(
                "The DICOM files of the volume are not found. Import the scan into Slicer's DICOM "
                "module and load it from there, or use: skinseg dicom export"
            )

    def arguments(self) -> Mapping[str, Any]:
        return {
            **super().arguments(),
            "dicom_files": self._files,
            "target": str(self._target.absolute()),
            "layer_mm": self._layer_mm,
        }

    def finish(self, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """The names ``written``, and why the Segmentation was ``left_out``, "" where it was not."""
        return result
