"""Scan: which volume, and what there is to know about it before anything is computed."""

from __future__ import annotations

from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..mrml.jobs import FactsJob
from .panel import Panel, failure_message, show_text

#: After a volume was selected or changed, its facts are looked for this much later.
_PAUSE_MS = 200


class ScanSection:
    """The volume, its facts, and the ways to load one."""

    def __init__(self, panel: Panel) -> None:
        self._panel, ui = panel, panel.ui
        self._shown: tuple[str, int] | str | None = "nothing yet"
        #: Grey value of the skin in the selected volume, None while it is not known.
        self.level: float | None = None
        self.hu_range: tuple[float, float] | None = None
        self._watched: tuple[Any, int] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._find_facts)
        ui.dicomButton.connect("clicked()", self._open_dicom)
        ui.sampleButton.connect("clicked()", self._open_samples)

    def update(self) -> None:
        """Show what is known at once, and look for the rest if the volume is another one."""
        ui, volume = self._panel.ui, self._panel.volume
        ui.inputSelector.enabled = not self._panel.is_busy
        self._watch(volume)
        key = self._key(volume)
        if key == self._shown:
            return
        self._shown = key
        self.level = self.hu_range = None
        show_text(ui.warningsLabel, "")
        show_text(ui.factsLabel, self._size_text(volume))
        if key is not None:
            self._timer.start(_PAUSE_MS)

    def close(self) -> None:
        self._timer.stop()
        self._watch(None)

    def scene_closes(self) -> None:
        """Let go of the volume that is about to go."""
        self._watch(None)

    def _watch(self, volume: Any) -> None:
        """Notice when the volume gets voxels, or other ones."""
        if self._watched is not None:
            if self._watched[0] is volume:
                return
            self._watched[0].RemoveObserver(self._watched[1])
            self._watched = None
        if volume is not None:
            event = slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent
            self._watched = (volume, volume.AddObserver(event, self._panel.update))

    def _key(self, volume: Any) -> tuple[str, int] | None:
        """Changes with the volume and its voxels."""
        image = volume.GetImageData() if volume is not None else None
        return None if image is None else (volume.GetID(), image.GetMTime())

    def _size_text(self, volume: Any) -> str:
        image = volume.GetImageData() if volume is not None else None
        if image is None:
            return ""
        size = " x ".join(str(n) for n in image.GetDimensions())
        spacing = " x ".join(f"{step:.2f}" for step in volume.GetSpacing())
        return str(_("{size} voxels of {spacing} mm").format(size=size, spacing=spacing))

    def _find_facts(self) -> None:
        panel = self._panel
        if panel.closed or panel.volume is None:
            return
        key = self._shown

        def done(found: Any) -> None:
            if key == self._shown:
                self._show(found)

        def failed(error: Exception) -> None:
            if key == self._shown:
                show_text(panel.ui.warningsLabel, failure_message(error))

        # Whatever the user starts goes first; then the facts are asked for again.
        started = panel.run(FactsJob(panel.volume), done, failed=failed, cancelled=self._again)
        if not started:
            self._again()

    def _again(self) -> None:
        self._timer.start(5 * _PAUSE_MS)

    def _show(self, found: dict[str, Any]) -> None:
        ui = self._panel.ui
        low, high = found["hu_range"]
        self.hu_range, self.level = (low, high), found["level"]
        text = _("{size}, values {low:.0f} to {high:.0f}").format(
            size=self._size_text(self._panel.volume), low=low, high=high
        )
        show_text(ui.factsLabel, text)
        warnings = [*found["warnings"], *([found["problem"]] if found["problem"] else [])]
        # A word, not colour alone.
        lines = [str(_("Warning: {text}")).format(text=text) for text in warnings]
        show_text(ui.warningsLabel, "\n".join(lines))
        self._panel.update()

    def _open_dicom(self) -> None:
        slicer.util.selectModule("DICOM")

    def _open_samples(self) -> None:
        slicer.util.selectModule("SampleData")
