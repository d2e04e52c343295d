"""Export: what is written, where to, and whether it is whole."""

from __future__ import annotations

import html
import os
import pathlib
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml import HEAD, export_name
from ..mrml.estimate import estimate
from ..mrml.exporting import export_request
from ..mrml.jobs import ExportJob
from ..mrml.outline import READABLE, hide_file, show_file
from .panel import Panel, ask, failure_message, show_text
from .parameters import ExportShape, export_folder, remember_export_folder

#: Before the name of the segment, so that a layer never replaces the solid head.
_LAYER_PREFIX = "Skin of "
#: Letters of a segment's name in a file's: systems take 255 bytes, and a letter may be four.
_LONGEST = 50
#: Slicer's name of the axial view.
_SLICE = "Red"


class ExportSection:
    """One click to a file, and what became of it."""

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        self._folder = ""
        show_text(ui.exportLabel, "")
        ui.folderButton.directory = export_folder(slicer.app.defaultScenePath)
        ui.folderButton.connect("directoryChanged(QString)", remember_export_folder)
        ui.exportButton.connect("clicked()", self._on_export)
        ui.cutHereButton.connect("clicked()", self._on_cut_here)
        ui.exportLabel.connect("linkActivated(QString)", self._open_folder)

    def update(self) -> None:
        """What can be clicked now, and about what it would write."""
        panel, ui, node = self._panel, self._panel.ui, self._panel.segmentation
        button = ui.exportButton
        if panel.is_busy:
            button.enabled, button.toolTip = False, _("Wait until the job is done, or cancel it.")
        elif node is None:
            button.enabled, button.toolTip = False, panel.why_no_result()
        else:
            button.enabled = True
            button.toolTip = _("Write the surface to a file in the folder above.")
        parameters = panel.parameters
        layer = parameters is not None and parameters.exportShape == ExportShape.LAYER
        ui.thicknessSlider.enabled = layer
        ui.cutSpinBox.enabled = parameters is not None and parameters.cutBelow
        show_text(ui.estimateLabel, self._estimate() if parameters is not None and node else "")

    def _estimate(self) -> str:
        parameters, node = self._panel.parameters, self._panel.segmentation
        assert parameters is not None
        found = estimate(
            node,
            layer=parameters.exportShape == ExportShape.LAYER,
            detail_mm=parameters.detail or None,
            suffix=parameters.fileFormat.value,
        )
        if found is None:
            return ""
        return str(_("About {thousand:.0f} thousand triangles, {size:.0f} MB")).format(
            thousand=found.triangles / 1000, size=max(1.0, found.bytes / 1e6)
        )

    def _on_export(self) -> None:
        """Write; a question comes only where a file would be replaced."""
        panel, parameters, node = self._panel, self._panel.parameters, self._panel.segmentation
        if parameters is None or node is None or panel.is_busy:
            return
        try:
            path = self._path(node)
            question = _("{name} is there already. Replace it?").format(name=path.name)
            there = path.exists() or path.with_name(path.name + ".json").exists()
            if there and not ask(question):
                return
            layer = parameters.exportShape == ExportShape.LAYER
            request = export_request(
                node,
                path,
                layer_mm=parameters.layerThickness if layer else None,
                detail_mm=parameters.detail or None,
                smooth_mm=parameters.smoothing.mm,
                space=parameters.space.value,
                scale=None if parameters.scale == 1.0 else parameters.scale,
                cut_below_s_mm=parameters.cutHeight if parameters.cutBelow else None,
            )
            job = ExportJob(node, request)
        except Exception as error:
            self._say(failure_message(error))
            return
        panel.remember()
        self._say("")
        hide_file()
        panel.run(
            job,
            lambda found: self._done(node, request, found),
            failed=lambda error: self._say(failure_message(error)),
            cancelled=lambda: self._say(_("Cancelled. No file was written or changed.")),
        )

    def _path(self, node: Any) -> pathlib.Path:
        parameters = self._panel.parameters
        assert parameters is not None
        suffix = parameters.fileFormat.value
        stem = export_name(node, HEAD.segment_id, suffix).removesuffix(suffix)
        # What is not the whole head at its size says so, and never takes the place of it.
        layer = parameters.exportShape == ExportShape.LAYER
        words = [_LAYER_PREFIX + stem[:_LONGEST] if layer else stem[:_LONGEST]]
        words += ["cut"] if parameters.cutBelow else []
        words += [f"scaled {parameters.scale:g}"] if parameters.scale != 1.0 else []
        name = " ".join(words) + suffix
        return pathlib.Path(self._panel.ui.folderButton.directory) / name

    def _done(self, node: Any, request: Any, found: dict[str, Any]) -> None:
        path = request.path
        text = _("Wrote {name}: {count} triangles, {size:.1f} MB, read back as it was written.")
        wrote = text.format(name=path.name, count=found["triangles"], size=found["bytes"] / 1e6)
        closed = (
            _("The surface is closed.") if found["closed"] else _("NOT CLOSED: do not print it.")
        )
        lines = [wrote, closed, *found["done"]]
        if request.finish.scale is not None:
            lines.append(_("It is scaled, so it is not drawn over the slices."))
        elif self._panel.segmentation is not node:
            lines.append(_("Another volume is shown, so it is not drawn over the slices."))
        elif path.suffix not in READABLE:
            lines.append(_("Slicer does not read such files, so it is not drawn over the slices."))
        else:
            try:
                show_file(path)
                lines.append(_("It was read by Slicer and is drawn over the slices in yellow."))
            except Exception as error:
                lines.append(failure_message(error))
        lines.append(_("This file shows a face: anybody who has it can know the patient."))
        self._panel.note("\n".join(lines))
        folder = qt.QUrl.fromLocalFile(str(path.parent)).toString()
        words = [html.escape(line) for line in lines]
        link = f'<a href="{html.escape(folder)}">{html.escape(path.name)}</a>'
        words[0] = words[0].replace(html.escape(path.name), link, 1)
        show_text(self._panel.ui.exportLabel, "<br>".join(words))

    def _say(self, text: str) -> None:
        show_text(self._panel.ui.exportLabel, html.escape(text))
        if text:
            self._panel.note(text)

    def _on_cut_here(self) -> None:
        """Take the height of the axial slice that is shown."""
        parameters = self._panel.parameters
        for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
            if node.GetName() == _SLICE and parameters is not None:
                parameters.cutHeight = node.GetSliceToRAS().GetElement(2, 3)
                parameters.cutBelow = True

    def _open_folder(self, link: str) -> None:
        qt.QDesktopServices.openUrl(qt.QUrl(link))

    def close(self) -> None:
        """The folder is the user's; nothing else is kept."""
        remember_export_folder(os.fspath(self._panel.ui.folderButton.directory))
