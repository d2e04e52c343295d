"""Export as DICOM: the result into the study of its scan."""

from __future__ import annotations

import html
import pathlib
from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from ..mrml.dicom_export import DICOM_NAMES, DicomExportJob
from ..mrml.dicom_source import came_from_dicom
from .panel import Panel, ask, failure_message, show_text


class DicomSection:
    """One click to a Segmentation and an encapsulated STL, in the folder of the other exports."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        panel.ui.exportDicomButton.connect("clicked()", self._on_export)

    def update(self) -> None:
        """What can be clicked now, and why not."""
        button, why_not = self._panel.ui.exportDicomButton, self._why_not()
        button.enabled = not why_not
        button.toolTip = why_not or _(
            "Write the segments as DICOM Segmentation and the surface as encapsulated STL, in the "
            "study of the scan."
        )

    def _why_not(self) -> str:
        panel = self._panel
        if panel.is_busy:
            return str(_("Wait until the job is done, or cancel it."))
        if panel.segmentation is None:
            return panel.why_no_result()
        if panel.volume is None or not came_from_dicom(panel.volume):
            return str(_("Only for a volume that was loaded by Slicer's DICOM module."))
        return ""

    def _on_export(self) -> None:
        """Write; a question comes only where a file would be replaced."""
        panel, node = self._panel, self._panel.segmentation
        if panel.parameters is None or node is None or panel.is_busy:
            return
        folder = pathlib.Path(panel.ui.folderButton.directory)
        there = [name for name in DICOM_NAMES if (folder / name).exists()]
        question = _("{name} is there already. Replace it?").format(name=", ".join(there))
        if there and not ask(question):
            return
        try:
            job = DicomExportJob(node, folder, panel.parameters.layerThickness)
        except Exception as error:
            self._say(failure_message(error))
            return
        panel.remember()
        self._say("")
        panel.run(
            job,
            lambda found: self._done(folder, found),
            failed=lambda error: self._say(failure_message(error)),
            cancelled=lambda: self._say(_("Cancelled. No file was written or changed.")),
        )

    def _done(self, folder: pathlib.Path, found: Mapping[str, Any]) -> None:
        names = ", ".join(found["written"])
        lines = [_("Wrote {names}, read back as written.").format(names=names)]
        if found["left_out"]:
            lines.append(_("No Segmentation: {reason}").format(reason=found["left_out"]))
        lines += [
            _("They are of the patient and the study of the scan, and name them as its files do."),
            _("To see them there, import the folder into Slicer's DICOM module."),
            _("These files show a face: anybody who has one can know the patient."),
        ]
        self._panel.note("\n".join(lines))
        link = html.escape(qt.QUrl.fromLocalFile(str(folder)).toString())
        words = [html.escape(line) for line in lines]
        shown = html.escape(names)
        words[0] = words[0].replace(shown, f'<a href="{link}">{shown}</a>', 1)
        show_text(self._panel.ui.exportLabel, "<br>".join(words))

    def _say(self, text: str) -> None:
        show_text(self._panel.ui.exportLabel, html.escape(text))
        if text:
            self._panel.note(text)
